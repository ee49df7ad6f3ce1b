//! The opened parts of a receipt against the commitments of its entry.

use super::Context;
use crate::event::facet::Role;
use crate::event::json::{self, JsonLimits, Object, Value};
use crate::event::keys::{event_key, part_commitment};
use crate::prove::entry_view::{EntryView, EventView};
use crate::prove::receipt::{FullReceipt, PartContent, RECEIPT_BYTES_MAX, Receipt};
use crate::prove::verdict::{PartCounts, Report, Verdict};

/// Deepest nesting of an event (design section 3.1).
const BODY_DEPTH_MAX: usize = 32;

/// What the opened parts hold, once their commitments were recomputed.
pub(super) struct Opened<'r> {
    /// Bodies that are what was committed, by role.
    pub(super) bodies: Vec<(Role, &'r str)>,
    /// Whether that is every part of the event.
    pub(super) all: bool,
}

/// Checks the parts, and that the open part is the event the receipt names. `gone` are the roles of the
/// parts that are proven to be erased or pruned.
pub(super) fn check<'r>(
    receipt: &Receipt,
    full: &'r FullReceipt,
    view: &EntryView<'_>,
    event: &EventView<'_>,
    gone: &[Role],
    context: &Context<'_>,
    report: &mut Report,
) -> Opened<'r> {
    let parts = check_parts(full, view, event, gone, report);
    let open = parts.bodies.iter().find(|(role, _)| *role == Role::OPEN);
    let Some(object) = open.and_then(|(_, body)| object(body)) else {
        report.note("identity", Verdict::NotProvable, "the open part is not opened");
        return parts;
    };
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    if text("id") != Some(receipt.id.as_str()) {
        report.push("identity", Verdict::Failed, "the open part has another id than the receipt");
        return parts;
    }
    report.push("identity", Verdict::Verified, "the open part has the receipt's id");
    let keys = context.reader.map_or(&[][..], |reader| reader.event.as_slice());
    let Some(source) = text("source").filter(|_| !keys.is_empty()) else {
        report.note("event-key", Verdict::NotProvable, "no event key was given");
        return parts;
    };
    if keys.iter().any(|key| event_key(key, view.ledger, source, &receipt.id) == event.event_key) {
        report.push("event-key", Verdict::Verified, "recomputed from source and id");
    } else {
        report.push("event-key", Verdict::Failed, "not the key of the open part's source and id");
    }
    parts
}

fn check_parts<'r>(
    full: &'r FullReceipt,
    view: &EntryView<'_>,
    event: &EventView<'_>,
    gone: &[Role],
    report: &mut Report,
) -> Opened<'r> {
    let openings = &full.openings.parts;
    let mut counts = PartCounts::default();
    let mut opened = Opened { bodies: Vec::new(), all: true };
    let mut wrong = None;
    let mut unstated = 0_u64;
    if !openings.is_sorted_by(|a, b| a.role < b.role) {
        wrong = Some("the openings are not in ascending order of role, once each".to_owned());
    }
    for stated in openings.iter().filter(|part| event.parts().all(|(role, _)| role != part.role)) {
        wrong.get_or_insert(format!("part {} is not in the entry", stated.role.name()));
    }
    for (role, commitment) in event.parts() {
        let Some(part) = openings.iter().find(|part| part.role == role) else {
            unstated += 1;
            continue;
        };
        match &part.content {
            PartContent::Withheld => counts.withheld += 1,
            PartContent::Erased if gone.contains(&role) => counts.erased += 1,
            PartContent::Pruned if gone.contains(&role) => counts.pruned += 1,
            PartContent::Erased | PartContent::Pruned => {
                // That it is not proven to be gone is held against the receipt by `removed`.
                counts.lost += 1;
            }
            PartContent::Lost => {
                counts.lost += 1;
                wrong.get_or_insert(format!("part {} is lost", role.name()));
            }
            PartContent::Open { salt, body } => {
                let found = part_commitment(view.ledger, &event.event_key, role, salt, body.as_bytes());
                if found != commitment {
                    wrong.get_or_insert(format!("part {} is not what was committed", role.name()));
                } else if object(body).is_none() {
                    wrong.get_or_insert(format!("part {} is not a strict JSON object", role.name()));
                } else {
                    counts.open += 1;
                    opened.bodies.push((role, body));
                }
            }
        }
    }
    opened.all = counts.open == u64::try_from(event.parts().len()).unwrap_or(u64::MAX);
    report.parts.add(&counts);
    match wrong {
        Some(what) => report.push("content", Verdict::Failed, what),
        None if unstated == 0
            && counts.total() > 0
            && counts.total() == counts.erased + counts.pruned =>
        {
            report.note("content", Verdict::NotProvable, format!("nothing is left to open: {counts}"));
        }
        None if counts.open == 0 => {
            report.push("content", Verdict::NotProvable, format!("nothing is opened: {counts}"));
        }
        None if unstated > 0 => {
            let detail = format!("{unstated} parts of the entry are not mentioned; {counts}");
            report.push("content", Verdict::NotProvable, detail);
        }
        None => report.push("content", Verdict::Verified, counts.to_string()),
    }
    opened
}

/// A part's body, which must be one strict JSON object.
pub(super) fn object(body: &str) -> Option<Object> {
    let limits = JsonLimits { depth_max: BODY_DEPTH_MAX, bytes_max: RECEIPT_BYTES_MAX };
    match json::parse(body.as_bytes(), &limits) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}
