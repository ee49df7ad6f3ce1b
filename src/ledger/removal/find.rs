//! Finding what an erasure destroys: the bundles with a person's parts, and what there is to say of them.
//!
//! In scope: candidates from the index, the parts in them, the numbers of a certificate. Out of scope:
//! removing anything. Invariants: candidates are whole bundles, and every part of a candidate is looked at,
//! so that the index decides only where to look; a ledger of few bundles is looked through whole.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::event::entry::{EntryBody, EventBody};
use crate::event::facet::{Facet, Namespace};
use crate::event::json::{Object, Value};
use crate::event::keys::{self, Period};
use crate::index::{Term, Values};
use crate::log::hash::Hash;
use crate::log::tile::TILE_WIDTH;
use crate::prove::removed::{Removal, RemovedItem};
use crate::vault::SlotNumber;

use super::super::Shared;
use super::super::error::LedgerError;
use super::super::snapshot::{Access, Snapshot};
use super::super::times::stated_us;
use super::record::{Plan, Record, Share};
use super::rewrite::OwnedPart;
use super::{Interrupted, Pace};

/// Bundles that are looked through whole instead of asking the index: 65,536 entries, about 40 MB.
const LOOKED_THROUGH_MAX: u64 = 256;

/// Open facets whose values link events, and so stay alive when a person is erased.
const LINKING: [Facet; 3] = [Facet::REQUEST, Facet::CORRELATION, Facet::TRACE];

/// Kinds of recipients that hold data on somebody's behalf, or as their own.
const NOT_HOLDERS: [&str; 3] = ["subject", "self", "user"];

impl Shared {
    /// Bundles below `end` entries that may hold parts of these persons.
    fn candidate_bundles(
        self: &Arc<Self>,
        records: &[Record],
        end: u64,
    ) -> Result<BTreeSet<u64>, LedgerError> {
        let bundles = end.div_ceil(TILE_WIDTH);
        if bundles <= LOOKED_THROUGH_MAX {
            return Ok((0..bundles).collect());
        }
        let snapshot = Snapshot::new(Arc::clone(self));
        let period = |index: u64| -> Result<Period, LedgerError> {
            Ok(keys::period_of(snapshot.time_us(index)?.unwrap_or(0)))
        };
        let (first, last) = (period(0)?, period(end - 1)?);
        let mut found = BTreeSet::new();
        for person in records.iter().flat_map(|record| &record.persons) {
            let Some(slot) = person.slot else { continue };
            let Some(held) = self.tree.get(SlotNumber(slot))? else { continue };
            let Some(namespace) = Namespace::from_name(&person.namespace) else { continue };
            let facet = namespace.facet();
            let secret = held.person_secret().facet_secret(facet);
            for period in first.0..=last.0 {
                let key = keys::person_facet_key(&secret, self.id, Period(period));
                self.bundles_with(facet, &key, end, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Every entry that names a person, ascending by period, then index.
    pub(super) fn entries_of(
        &self,
        snapshot: &Snapshot,
        slot: SlotNumber,
        namespace: &str,
    ) -> Result<Vec<u64>, LedgerError> {
        let (size, namespace) = (snapshot.size().0, Namespace::from_name(namespace));
        let (Some(namespace), Some(person)) = (namespace, self.directory.by_slot(slot)?) else {
            return Ok(Vec::new());
        };
        let Some(last) = size.checked_sub(1) else { return Ok(Vec::new()) };
        let period = |index: u64| -> Result<Period, LedgerError> {
            Ok(keys::period_of(snapshot.time_us(index)?.unwrap_or(0)))
        };
        let (first, last) = (period(0)?, period(last)?);
        let facet = namespace.facet();
        let secret = person.facet_secret(facet);
        let mut entries = Vec::new();
        for period in first.0..=last.0 {
            let key = keys::person_facet_key(&secret, self.id, Period(period));
            let mut cursor = snapshot.postings(facet, &key)?;
            let mut at = 0;
            while let Some(index) = self.indexed(cursor.ceil(at))?.filter(|index| *index < size) {
                entries.push(index);
                at = index + 1;
            }
        }
        Ok(entries)
    }

    fn bundles_with(
        &self,
        facet: Facet,
        key: &Hash,
        end: u64,
        found: &mut BTreeSet<u64>,
    ) -> Result<(), LedgerError> {
        let term = Term { facet: facet.0, key: *key.as_bytes() };
        let mut cursor = self.indexed(self.index.lookup(&term))?;
        let mut at = 0;
        while let Some(index) = self.indexed(cursor.ceil(at))?.filter(|index| *index < end) {
            found.insert(index / TILE_WIDTH);
            at = (index / TILE_WIDTH + 1) * TILE_WIDTH;
        }
        Ok(())
    }

    /// Looks through the candidates: adds the touched bundles and what is found to `plan`, and gives the
    /// removed set's items of the parts.
    pub(super) fn find_parts(
        self: &Arc<Self>,
        records: &[Record],
        end: u64,
        plan: &mut Plan,
        pace: &mut Pace<'_>,
    ) -> Result<Vec<RemovedItem>, Interrupted> {
        let owners = owners_of(records);
        let slots: HashSet<u64> = owners.keys().copied().collect();
        let snapshot = Snapshot::new(Arc::clone(self));
        let mut items = Vec::new();
        let mut shares: BTreeMap<String, Counting> = BTreeMap::new();
        for bundle in self.candidate_bundles(records, end)? {
            let (parts, mask) = self.owned_parts(bundle, &slots)?;
            if !parts.is_empty() {
                plan.add(bundle, mask);
            }
            for part in parts {
                let body = event_at(&snapshot, part.0)?;
                items.push(RemovedItem::of(&body.event_key, part.1, Removal::Erased));
                count(&snapshot, &part, &body, &owners, &mut shares)?;
            }
            pace.rest()?;
        }
        for record in records {
            let id = record.id().to_string();
            let share = shares.remove(&id).map_or_else(Share::default, Counting::share);
            // A plan that is resumed has the numbers from before anything was removed.
            plan.shares.entry(id).or_insert(share);
        }
        Ok(items)
    }
}

/// Which erasure a slot belongs to.
fn owners_of(records: &[Record]) -> HashMap<u64, String> {
    let mut owners = HashMap::new();
    for record in records {
        let slots = record.persons.iter().filter_map(|person| person.slot);
        owners.extend(slots.map(|slot| (slot, record.id().to_string())));
    }
    owners
}

fn event_at(snapshot: &Snapshot, index: u64) -> Result<EventBody, LedgerError> {
    let not_there = || LedgerError::Damage {
        file: format!("entry {index}"),
        what: "has parts beside it and is not an event".to_owned(),
    };
    match snapshot.decoded(index)?.map(|(_, entry)| entry.body) {
        Some(EntryBody::Event(body)) => Ok(body),
        _ => Err(not_there()),
    }
}

/// A share while it is counted.
#[derive(Default)]
struct Counting {
    share: Share,
    last_event: Option<u64>,
    alive: BTreeSet<(Facet, Hash)>,
}

impl Counting {
    fn share(self) -> Share {
        let mut share = self.share;
        for (facet, _) in self.alive {
            *share.alive.entry(facet.name().unwrap_or_default().to_owned()).or_default() += 1;
        }
        share
    }
}

fn count(
    snapshot: &Snapshot,
    (index, role, slots): &OwnedPart,
    body: &EventBody,
    owners: &HashMap<u64, String>,
    shares: &mut BTreeMap<String, Counting>,
) -> Result<(), LedgerError> {
    let erasures: BTreeSet<&String> = slots.iter().filter_map(|slot| owners.get(&slot.0)).collect();
    for id in erasures {
        let counting = shares.entry(id.clone()).or_default();
        counting.share.parts += 1;
        *counting.share.by_role.entry(role.name().into_owned()).or_default() += 1;
        if counting.last_event == Some(*index) {
            continue;
        }
        counting.last_event = Some(*index);
        counting.share.events += 1;
        let linking = body.keys.iter().filter(|(facet, _)| LINKING.contains(facet));
        counting.alive.extend(linking.copied());
        let Some(stored) = snapshot.event(*index, Access::Masked)? else { continue };
        let event = stored.merged();
        let name = event.get("type").and_then(Value::as_str).unwrap_or("unknown");
        *counting.share.by_type.entry(name.to_owned()).or_default() += 1;
        let at_us = stated_us(&event).unwrap_or(stored.time_us);
        note_holder(&event, *index, at_us, &mut counting.share);
    }
    Ok(())
}

/// Notes who else holds the data: whom it went to, and whose deletion was reported.
fn note_holder(event: &Object, index: u64, at_us: u64, share: &mut Share) {
    let text = |name: &str| event.get("data")?.as_object()?.get(name)?.as_str();
    match event.get("type").and_then(Value::as_str) {
        Some("data.transferred") if text("direction") == Some("out") => {
            let Some(to) = text("to") else { return };
            if text("to_kind").is_none_or(|kind| NOT_HOLDERS.contains(&kind)) {
                return;
            }
            share.holders.entry(to.to_owned()).or_default().events.push(index);
        }
        Some("data.deleted") => {
            let Some(holder) = text("holder").filter(|holder| *holder != "self") else { return };
            let data = event.get("data").and_then(Value::as_object);
            let is_complete =
                data.and_then(|data| data.get("complete")).and_then(Value::as_bool) == Some(true);
            let holder = share.holders.entry(holder.to_owned()).or_default();
            holder.events.push(index);
            holder.told_us = Some(holder.told_us.map_or(at_us, |told| told.min(at_us)));
            if is_complete {
                let first = holder.confirmed_us.map_or(at_us, |confirmed| confirmed.min(at_us));
                holder.confirmed_us = Some(first);
            }
        }
        _ => {}
    }
}
