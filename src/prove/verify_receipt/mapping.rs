//! The index keys of an entry against those the opened event would have.

use super::Context;
use super::content::Opened;
use super::keys::is_open_key;
use crate::event::catalogue::Catalogue;
use crate::event::envelope;
use crate::event::facet::Facet;
use crate::event::json::Value;
use crate::event::parts::{self, FacetSource, SplitEvent};
use crate::prove::entry_view::{EntryView, EventView};
use crate::prove::verdict::{Report, Verdict};

/// Checks the mapping when every part is opened and the caller gave the catalogue.
pub(super) fn check(
    view: &EntryView<'_>,
    event: &EventView<'_>,
    opened: &Opened<'_>,
    context: &Context<'_>,
    report: &mut Report,
) {
    match context.catalogue {
        None => report.note("mapping", Verdict::NotProvable, "no catalogue was given"),
        Some(_) if !opened.all => {
            report.note("mapping", Verdict::NotProvable, "not every part is opened");
        }
        Some(catalogue) => check_mapping(catalogue, view, event, opened, context, report),
    }
}

/// Splits the opened event again and compares the keys it should have with those it has.
fn check_mapping(
    catalogue: &Catalogue,
    view: &EntryView<'_>,
    event: &EventView<'_>,
    opened: &Opened<'_>,
    context: &Context<'_>,
    report: &mut Report,
) {
    let Some(split) = split_again(catalogue, opened) else {
        report.push("mapping", Verdict::NotProvable, "the opened event is not one of the catalogue's");
        return;
    };
    if split.class != event.class {
        report.push("mapping", Verdict::Failed, "the entry has another class than the event's type");
        return;
    }
    let parts = split.parts.iter().map(|part| (part.role, part.body.as_slice()));
    if !parts.eq(opened.bodies.iter().map(|(role, body)| (*role, body.as_bytes()))) {
        report.push("mapping", Verdict::Failed, "the event divides into other parts than the entry has");
        return;
    }
    if split.sequence != event.sequence {
        report.push("mapping", Verdict::Failed, "the entry has another sequence number than the event");
        return;
    }
    let mut facets: Vec<_> = split.terms.iter().map(|term| term.facet).collect();
    facets.sort_unstable();
    if !facets.iter().copied().eq(event.keys().map(|(facet, _)| facet)) {
        let detail = format!("the event has {} keys or other facets than the entry", facets.len());
        report.push("mapping", Verdict::Failed, detail);
        return;
    }
    if context.reader.is_none_or(|reader| reader.read.is_empty()) {
        report.note("mapping", Verdict::NotProvable, "facets fit; no reader key was given");
        return;
    }
    let keys: Vec<_> = event.keys().collect();
    let there = |facet: Facet, value: &str| {
        keys.iter().any(|(seen, key)| *seen == facet && is_open_key(view, facet, value, *key, context))
    };
    let missing = split.terms.iter().find(|term| match &term.source {
        FacetSource::Open(value) => !there(term.facet, value),
        FacetSource::Person(_) => false,
    });
    match missing {
        None => report.push("mapping", Verdict::Verified, "the keys are those of the opened event"),
        Some(term) => {
            let name = term.facet.name().unwrap_or("unnamed");
            report.push("mapping", Verdict::Failed, format!("a key of facet {name} is not the event's"));
        }
    }
}

fn split_again(catalogue: &Catalogue, opened: &Opened<'_>) -> Option<SplitEvent> {
    let merged = parts::merge(opened.bodies.iter().map(|(role, body)| (*role, body.as_bytes()))).ok()?;
    let event = envelope::from_value(Value::Object(merged)).ok()?;
    parts::split(&event, catalogue).ok()
}

#[cfg(test)]
mod tests;
