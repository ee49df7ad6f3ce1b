//! The index keys of a receipt's entry against what they are said to be made from.

use super::Context;
use crate::event::facet::Facet;
use crate::event::keys::{open_facet_key, period_of, person_facet_key};
use crate::log::hash::Hash;
use crate::prove::entry_view::{EntryView, EventView};
use crate::prove::receipt::{KeyOpening, Openings};
use crate::prove::verdict::{Report, Verdict};

/// Checks that each key of the entry is made from what its opening says.
pub(super) fn check(
    openings: &Openings,
    view: &EntryView<'_>,
    event: &EventView<'_>,
    context: &Context<'_>,
    report: &mut Report,
) {
    check_open(&openings.keys, view, event, context, report);
    check_persons(&openings.keys, view, event, context, report);
}

pub(super) fn is_open_key(
    view: &EntryView<'_>,
    facet: Facet,
    value: &str,
    key: Hash,
    context: &Context<'_>,
) -> bool {
    let reader = context.reader.map_or(&[][..], |reader| reader.read.as_slice());
    reader.iter().any(|k_read| open_facet_key(k_read, view.ledger, facet, value) == key)
}

fn check_open(
    openings: &[KeyOpening],
    view: &EntryView<'_>,
    event: &EventView<'_>,
    context: &Context<'_>,
    report: &mut Report,
) {
    let open: Vec<_> = event.keys().filter(|(facet, _)| !facet.is_person()).collect();
    let stated: Vec<_> = openings.iter().filter(|opening| !opening.facet.is_person()).collect();
    if context.reader.is_none_or(|reader| reader.read.is_empty()) {
        let detail = format!("{} open keys; no reader key was given", open.len());
        report.note("keys", Verdict::NotProvable, detail);
        return;
    }
    let mut left = open.clone();
    for opening in &stated {
        let made = |(facet, key): &(Facet, Hash)| {
            let value = opening.value.as_deref();
            let is_key = |value| is_open_key(view, *facet, value, *key, context);
            *facet == opening.facet && value.is_some_and(is_key)
        };
        let Some(at) = left.iter().position(made) else {
            let name = opening.facet.name().unwrap_or("unnamed");
            let detail =
                format!("a key of facet {name} is not in the entry, under the reader key given");
            report.push("keys", Verdict::Failed, detail);
            return;
        };
        left.remove(at);
    }
    if left.is_empty() {
        report.push("keys", Verdict::Verified, format!("{} open keys recomputed", open.len()));
    } else {
        let detail = format!("{} of {} open keys are not opened", left.len(), open.len());
        report.push("keys", Verdict::NotProvable, detail);
    }
}

fn check_persons(
    openings: &[KeyOpening],
    view: &EntryView<'_>,
    event: &EventView<'_>,
    context: &Context<'_>,
    report: &mut Report,
) {
    let period = period_of(view.time_us);
    let keys: Vec<_> = event.keys().filter(|(facet, _)| facet.is_person()).collect();
    let stated = || openings.iter().filter(|opening| opening.facet.is_person());
    if stated().any(|opening| opening.period != Some(period) || opening.value.is_some()) {
        report.push("person-keys", Verdict::Failed, "a person's key is not of the entry's month");
        return;
    }
    let count = |facet: Facet| keys.iter().filter(|(seen, _)| *seen == facet).count();
    let stated_count = |facet: Facet| stated().filter(|opening| opening.facet == facet).count();
    if stated().any(|opening| stated_count(opening.facet) > count(opening.facet)) {
        report.push("person-keys", Verdict::Failed, "more keys of a person are stated than there are");
        return;
    }
    let is_made = |(facet, key): &&(Facet, Hash)| {
        let secrets = context.persons.iter().filter(|person| person.facet == *facet);
        secrets
            .map(|person| person_facet_key(&person.secret, view.ledger, period))
            .any(|made| made == *key)
    };
    let made = keys.iter().filter(is_made).count();
    let detail = format!("{made} of {} keys of persons recomputed", keys.len());
    if made == keys.len() {
        report.note("person-keys", Verdict::Verified, detail);
    } else {
        report.note(
            "person-keys",
            Verdict::NotProvable,
            format!("{detail}; the others need their secrets"),
        );
    }
}
