//! The list of what is due by the retention table: what has been kept too long, what a hold keeps, what
//! waits.
//!
//! In scope: grouping parts and saying of each group what a data protection officer needs. Out of scope:
//! deciding what is due ([`crate::ledger::retention`]). Nobody is listed by name or number: parts are
//! counted by rule, type, kind of part, categories and the day on which they are due.
//!
//! Invariants: the same view, moment and stored parts give the same rows; the number of rows and the
//! entries read for one answer are bounded, and what was not listed or reached is said.

use std::collections::BTreeMap;

use crate::event::facet::{ClassCode, Facet};
use crate::event::json::{Object, Value};
use crate::event::retention::{RetentionTable, Rule};
use crate::event::time;
use crate::ledger::retention::{Evaluation, Found, Standing};
use crate::ledger::{Access, HoldId, InForce, Snapshot};
use crate::log::hash::Hash;

use super::query::HistoryError;
use super::report::Report;

/// Entries looked at for one answer at most: at 3 µs each 3 s.
const ENTRIES_READ_MAX: u64 = 1_000_000;

/// Groups told apart in one answer, about 300 bytes each: 3 MB. Parts of further ones are counted only.
const GROUPS_MAX: usize = 10_000;

const US_PER_DAY: u64 = 86_400_000_000;

/// The columns of the list.
pub const DUE_COLUMNS: &[&str] = &[
    "rule_id",
    "subject_or_set",
    "categories",
    "anchor_event",
    "anchor_at",
    "expires_at",
    "statutory_expires_at",
    "days_over",
    "hold_id",
    "extension_basis",
    "system",
    "next_action",
];

/// What rows are told apart by, in their order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    rule: usize,
    standing: u8,
    due_day: Option<u64>,
    statute_day: Option<u64>,
    class: ClassCode,
    part: String,
    hold: Option<HoldId>,
    categories: Vec<Hash>,
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    parts: u64,
    /// The earliest of what they count from.
    anchor_us: Option<u64>,
    /// An event of the group.
    example: u64,
}

/// Lists what is due in `snapshot` at `at_us` (Unix microseconds), beginning with the entry at `from`.
///
/// # Errors
/// What the ledger reports.
pub fn retention_due(snapshot: &Snapshot, at_us: u64, from: u64) -> Result<Report, HistoryError> {
    let (table, holds) = snapshot.duties()?;
    let mut listing = Listing { groups: BTreeMap::new(), unlisted: 0 };
    let mut next = None;
    if let Some(table) = &table {
        let mut evaluation = Evaluation::new(snapshot, &table.table, &holds, at_us)?;
        let end = evaluation.end()?;
        let stop = end.min(from.saturating_add(ENTRIES_READ_MAX));
        for index in from..stop {
            evaluation.look(index, &mut |found| listing.count(found))?;
        }
        next = (stop < end).then_some(stop);
    }
    let rows = match &table {
        Some(table) => listing.rows(snapshot, &table.table, at_us)?,
        None => Vec::new(),
    };
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let as_of =
        [("size", number(snapshot.size().0)), ("root", Value::from(snapshot.root().to_string()))];
    let as_of = as_of.into_iter().map(|(name, value)| (name.to_owned(), value));
    let settings = table.as_deref().map(|InForce { index, .. }| number(*index));
    let head = vec![
        ("ledger", Value::from(snapshot.ledger_name())),
        ("origin", Value::from(snapshot.origin())),
        ("as_of", Value::Object(as_of.collect::<Object>())),
        ("at", moment(at_us)),
        ("clock", Value::from("recorded, UTC")),
        ("settings", settings.unwrap_or(Value::Null)),
        ("from", number(from)),
        ("complete", Value::Bool(next.is_none() && listing.unlisted == 0)),
        ("next", next.map_or(Value::Null, number)),
        ("parts_unlisted", number(listing.unlisted)),
        ("generator", Value::from(concat!("counterfoil ", env!("CARGO_PKG_VERSION")))),
    ];
    let title = "Retention due list";
    Ok(Report { name: "retention-due", title, head, columns: DUE_COLUMNS, rows })
}

fn moment(at_us: u64) -> Value {
    i64::try_from(at_us).ok().and_then(time::rfc3339).map_or(Value::Null, Value::from)
}

/// The day of a number of days since 1970.
fn day(days: u64) -> Value {
    match moment(days.saturating_mul(US_PER_DAY)) {
        Value::String(text) => Value::from(text.get(..10).unwrap_or("")),
        other => other,
    }
}

struct Listing {
    groups: BTreeMap<Group, Counted>,
    unlisted: u64,
}

impl Listing {
    fn count(&mut self, found: &Found<'_>) {
        let (standing, hold) = match found.standing {
            Standing::Due => (0, None),
            Standing::Held(hold) => (1, Some(hold)),
            Standing::Waiting => (2, None),
        };
        let keys = found.event.keys.iter().filter(|(facet, _)| *facet == Facet::CATEGORY);
        let name = found.role.name();
        let group = Group {
            rule: found.rule,
            standing,
            due_day: found.moments.due_us.map(|us| us / US_PER_DAY),
            statute_day: found.moments.statute_us.map(|us| us / US_PER_DAY),
            class: found.event.class,
            part: name.split('.').next().unwrap_or("").to_owned(),
            hold,
            categories: keys.map(|(_, key)| *key).collect(),
        };
        let anchor_us = found.moments.anchor_us;
        if let Some(counted) = self.groups.get_mut(&group) {
            counted.parts += 1;
            counted.anchor_us = [counted.anchor_us, anchor_us].into_iter().flatten().min();
        } else if self.groups.len() < GROUPS_MAX {
            self.groups.insert(group, Counted { parts: 1, anchor_us, example: found.index });
        } else {
            self.unlisted += 1;
        }
    }

    fn rows(
        &self,
        snapshot: &Snapshot,
        table: &RetentionTable,
        at_us: u64,
    ) -> Result<Vec<Vec<Value>>, HistoryError> {
        let catalogue = snapshot.catalogue();
        let mut rows = Vec::with_capacity(self.groups.len());
        for (group, counted) in &self.groups {
            let Some(rule) = table.rules().get(group.rule) else { continue };
            let kind = catalogue.by_class(group.class).map_or("", |kind| kind.name.as_str());
            let parts = if counted.parts == 1 { "part" } else { "parts" };
            let first = [group.due_day, group.statute_day].into_iter().flatten().min();
            let over = first.map(|first| (at_us / US_PER_DAY).saturating_sub(first));
            let next_action = match group.standing {
                0 => "prune",
                1 => "wait for the release of the hold",
                _ => "wait for the anchor event",
            };
            rows.push(vec![
                Value::from(rule.id.as_str()),
                Value::from(format!("{} {} {parts} of {kind}", counted.parts, group.part)),
                Value::Array(categories(snapshot, group, counted.example)?),
                Value::from(rule.clock.from.described()),
                counted.anchor_us.map_or(Value::Null, |us| day(us / US_PER_DAY)),
                group.due_day.map_or(Value::Null, day),
                group.statute_day.map_or(Value::Null, day),
                over.and_then(|days| i64::try_from(days).ok()).map_or(Value::Null, Value::Int),
                group.hold.map_or(Value::Null, |hold| Value::from(hold.to_string())),
                extension(rule, group),
                Value::from(snapshot.origin()),
                Value::from(next_action),
            ]);
        }
        Ok(rows)
    }
}

/// Why something is kept beyond what its period says; null where it is not.
fn extension(rule: &Rule, group: &Group) -> Value {
    if group.hold.is_some() {
        return Value::from("legal hold");
    }
    let not_before = rule.clock.not_before_us.map(|us| us / US_PER_DAY);
    match (not_before, day(not_before.unwrap_or(0))) {
        (Some(not_before), Value::String(text)) if group.due_day == Some(not_before) => {
            Value::from(format!("not before {text}"))
        }
        _ => Value::Null,
    }
}

/// The categories behind a group's keys, learned from one of its events and believed only where they give
/// those very keys.
fn categories(snapshot: &Snapshot, group: &Group, example: u64) -> Result<Vec<Value>, HistoryError> {
    if group.categories.is_empty() {
        return Ok(Vec::new());
    }
    let event = snapshot.event(example, Access::Masked)?.map(|stored| stored.merged());
    let data = event.as_ref().and_then(|event| event.get("data")).and_then(Value::as_object);
    let listed = data.and_then(|data| data.get("categories")).and_then(Value::as_array);
    let texts = listed.into_iter().flatten().filter_map(Value::as_str);
    let known =
        texts.filter(|text| group.categories.contains(&snapshot.open_key(Facet::CATEGORY, text)));
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    let mut values: Vec<Value> = known.iter().map(|text| Value::from(*text)).collect();
    if values.len() < group.categories.len() {
        values.push(Value::from("(not readable any more)"));
    }
    Ok(values)
}
