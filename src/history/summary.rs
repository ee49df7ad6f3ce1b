//! Counting events by the values of open facets and by time.
//!
//! In scope: groups, buckets, bounded work. Out of scope: persons, who are not counted one by one.
//!
//! Groups are told apart by the entries' blinded keys, so that counting opens nothing. One event of each
//! group is opened at the end to learn the value behind its key, and the value is believed only where it
//! gives that very key. Parts are opened for every event only where the question needs it: bounds or
//! buckets on the occurred clock, and text.
//!
//! Invariants: an event counts once in `total`, once in each group whose values it carries, and in the
//! group without a value where it carries none; what is not in a listed group is in `other`; work and
//! memory are bounded, and an answer that stopped early says where it goes on.

use std::collections::BTreeMap;

use crate::event::catalogue::{Catalogue, texts};
use crate::event::entry::EventBody;
use crate::event::facet::Facet;
use crate::event::json::{Object, Value};
use crate::ledger::{Access, Snapshot};
use crate::log::hash::Hash;

use super::calendar::Bucket;
use super::cursor::Cursor;
use super::query::{Clock, HistoryError, Order, Query, Scan, text_matches, view};

/// Facets that events are grouped by at once.
pub const FACETS_GROUPED_MAX: usize = 2;

/// Groups in an answer at most, about 100 bytes each.
pub const GROUPS_MAX: usize = 1_000;

/// Groups in an answer that does not say how many it wants.
pub const GROUPS_DEFAULT: usize = 100;

/// Groups told apart while counting, about 300 bytes each: 6 MB. Events of further ones are in `other`.
const GROUPS_COUNTED_MAX: usize = 20_000;

/// Entries read for one answer at most: at 2 µs each 0.4 s.
const ENTRIES_READ_MAX: u64 = 200_000;

/// Events opened for one answer at most, where the question needs it: at 20 µs each 0.4 s.
const EVENTS_OPENED_MAX: u64 = 20_000;

/// How events are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// Open facets, at most [`FACETS_GROUPED_MAX`].
    pub facets: Vec<Facet>,
    /// Kind of time bucket.
    pub bucket: Option<Bucket>,
    /// Groups wanted; the largest are listed.
    pub groups_max: usize,
}

/// Events that have the same values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// First moment of the time bucket, where there are buckets.
    pub start: Option<String>,
    /// One value per facet; none where the events have no value of it.
    pub values: Vec<Option<String>>,
    /// How many.
    pub count: u64,
}

/// The counts.
#[derive(Debug)]
pub struct Summary {
    /// Groups by time, then by count with the largest first.
    pub groups: Vec<Group>,
    /// Counts of groups that are not listed.
    pub other: u64,
    /// Events counted. Less than the sum of the groups where events have several values.
    pub total: u64,
    /// Where the rest is to be counted; none where this is everything.
    pub next: Option<Cursor>,
    /// Size of the view.
    pub size: u64,
    /// Root of the view.
    pub root: Hash,
}

/// What tells groups apart: bucket, then a key per facet.
type GroupKey = (Option<String>, Vec<Option<Hash>>);

#[derive(Debug, Clone, Copy)]
struct Counted {
    count: u64,
    /// An event of the group.
    example: u64,
}

/// Counts the events that meet `query`, whose order and limit do not matter.
///
/// # Errors
/// As [`super::run`].
pub fn summarise(
    ledger: &Snapshot,
    query: &Query,
    grouping: &Grouping,
) -> Result<Summary, HistoryError> {
    let query = Query { order: Order::Ascending, ..query.clone() };
    let (snapshot, fingerprint) = view(ledger, &query)?;
    let mut counting = Counting {
        grouping,
        opens: opens(&query, grouping),
        groups: BTreeMap::new(),
        other: 0,
        total: 0,
    };
    let mut next = None;
    if let Some(mut scan) = Scan::open(&snapshot, &query)? {
        let mut at = query.cursor.map_or(scan.low, |cursor| cursor.next);
        let (mut read, mut opened) = (0, 0);
        while let Some(index) = scan.candidate(at)? {
            if read >= ENTRIES_READ_MAX || opened >= EVENTS_OPENED_MAX || scan.is_spent() {
                next = Some(Cursor { size: snapshot.size().0, next: index, fingerprint });
                break;
            }
            read += 1;
            opened += u64::from(counting.consider(&scan, index)?);
            at = index.saturating_add(1);
        }
    }
    let (groups, other) = counting.listed(&snapshot)?;
    let total = counting.total;
    Ok(Summary { groups, other, total, next, size: snapshot.size().0, root: snapshot.root() })
}

/// Whether every event has to be opened.
fn opens(query: &Query, grouping: &Grouping) -> bool {
    let by_time = query.from_us.is_some() || query.to_us.is_some() || grouping.bucket.is_some();
    query.text.is_some() || query.clock == Clock::Occurred && by_time
}

struct Counting<'a> {
    grouping: &'a Grouping,
    opens: bool,
    groups: BTreeMap<GroupKey, Counted>,
    other: u64,
    total: u64,
}

impl Counting<'_> {
    /// Counts the event at `index` where it meets the query; true where it was opened.
    fn consider(&mut self, scan: &Scan<'_>, index: u64) -> Result<bool, HistoryError> {
        let Some((recorded_us, body)) = scan.entry(index)? else { return Ok(false) };
        let mut at_us = recorded_us;
        if self.opens {
            // Only the text is looked for in personal parts, where the reader may see them.
            let searched = scan.query.text.is_some();
            let access = if searched { scan.query.access } else { Access::Masked };
            let Some(stored) = scan.snapshot.event(index, access)? else { return Ok(true) };
            let occurred_us = stored.occurred_us(&stored.merged());
            if !scan.query.holds_occurred(occurred_us) || !text_matches(scan.query, &stored) {
                return Ok(true);
            }
            if scan.query.clock == Clock::Occurred {
                at_us = occurred_us;
            }
        }
        self.count(index, at_us, &body);
        Ok(self.opens)
    }

    fn count(&mut self, index: u64, at_us: u64, body: &EventBody) {
        self.total += 1;
        let start = self.grouping.bucket.and_then(|bucket| bucket.start(at_us));
        let mut combined: Vec<Vec<Option<Hash>>> = vec![Vec::new()];
        for facet in &self.grouping.facets {
            let keys = body.keys.iter().filter(|(found, _)| found == facet);
            let mut keys: Vec<Option<Hash>> = keys.map(|(_, key)| Some(*key)).collect();
            if keys.is_empty() {
                keys.push(None);
            }
            let longer = combined.iter().flat_map(|before| {
                keys.iter().map(move |key| before.iter().copied().chain([*key]).collect())
            });
            combined = longer.collect();
        }
        for keys in combined {
            let key = (start.clone(), keys);
            if let Some(counted) = self.groups.get_mut(&key) {
                counted.count += 1;
            } else if self.groups.len() < GROUPS_COUNTED_MAX {
                self.groups.insert(key, Counted { count: 1, example: index });
            } else {
                self.other += 1;
            }
        }
    }

    /// The largest groups with their values, and the counts of the rest.
    fn listed(&mut self, snapshot: &Snapshot) -> Result<(Vec<Group>, u64), HistoryError> {
        let mut groups: Vec<(GroupKey, Counted)> =
            std::mem::take(&mut self.groups).into_iter().collect();
        groups.sort_by(|(a, x), (b, y)| y.count.cmp(&x.count).then_with(|| a.cmp(b)));
        let listed = self.grouping.groups_max.clamp(1, GROUPS_MAX).min(groups.len());
        let mut rest: u64 = groups.iter().skip(listed).map(|(_, counted)| counted.count).sum();
        groups.truncate(listed);
        let catalogue = snapshot.catalogue();
        let mut known: BTreeMap<(Facet, Hash), String> = BTreeMap::new();
        let mut named = Vec::with_capacity(groups.len());
        for ((start, keys), counted) in groups {
            let wanted: Vec<(Facet, Hash)> = self
                .grouping
                .facets
                .iter()
                .copied()
                .zip(keys.iter())
                .filter_map(|(facet, key)| Some((facet, (*key)?)))
                .collect();
            if wanted.iter().any(|key| !known.contains_key(key)) {
                learn(snapshot, &catalogue, counted.example, &wanted, &mut known)?;
            }
            // A value that cannot be read any more is not passed off as none.
            if wanted.iter().any(|key| !known.contains_key(key)) {
                rest = rest.saturating_add(counted.count);
                continue;
            }
            let values = self.grouping.facets.iter().zip(keys);
            let values = values.map(|(facet, key)| known.get(&(*facet, key?)).cloned());
            named.push(Group { start, values: values.collect(), count: counted.count });
        }
        named.sort_by(|a, b| {
            a.start
                .cmp(&b.start)
                .then_with(|| b.count.cmp(&a.count))
                .then_with(|| a.values.cmp(&b.values))
        });
        Ok((named, self.other.saturating_add(rest)))
    }
}

/// Learns the values behind `wanted` from the open part of the event at `index`.
fn learn(
    snapshot: &Snapshot,
    catalogue: &Catalogue,
    index: u64,
    wanted: &[(Facet, Hash)],
    known: &mut BTreeMap<(Facet, Hash), String>,
) -> Result<(), HistoryError> {
    let Some(stored) = snapshot.event(index, Access::Masked)? else { return Ok(()) };
    let event = stored.merged();
    for (facet, key) in wanted {
        let values = open_values(&event, *facet, catalogue);
        let value = values.into_iter().find(|value| snapshot.open_key(*facet, value) == *key);
        if let Some(value) = value {
            known.insert((*facet, *key), value);
        }
    }
    Ok(())
}

/// The values of an open facet that an event may have been indexed under.
fn open_values(event: &Object, facet: Facet, catalogue: &Catalogue) -> Vec<String> {
    let attribute = |name| event.get(name).and_then(Value::as_str);
    let own = match facet {
        Facet::TYPE => attribute("type"),
        Facet::SOURCE => attribute("source"),
        Facet::CORRELATION => attribute("correlationid"),
        Facet::TRACE => attribute("traceparent").and_then(|text| text.split('-').nth(1)),
        _ => None,
    };
    if let Some(own) = own {
        return vec![own.to_owned()];
    }
    let event_type = attribute("type").and_then(|name| catalogue.event_type(name));
    let fields = event_type.map_or(&[][..], |found| found.fields.as_slice());
    let data = event.get("data").and_then(Value::as_object);
    let members = fields.iter().filter(|field| field.facet == Some(facet));
    members
        .filter_map(|field| data?.get(&field.name))
        .flat_map(|value| texts(value).map(|text| facet.normalised(text).into_owned()))
        .collect()
}
