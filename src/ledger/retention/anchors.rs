//! What a period counts from, where the entry at hand does not say.
//!
//! In scope: when an event happened, the newest event that names a person, the newest of a type. Out of
//! scope: periods. The persons of a part are its owners; those of the open part and of the raw bytes are
//! the event's subjects, or all whom it names where it has none. With several, the latest moment counts, and
//! all of them must have one.
//!
//! Invariants: a person is found by the owner of a part that is still there; where none is, the event itself
//! is the last that is known of the person, and no other can be found.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::event::entry::{EntryBody, EventBody};
use crate::event::facet::{Facet, Namespace, Role};
use crate::event::json::{Object, Value};
use crate::event::keys::{self, Period};
use crate::event::retention::{Anchor, EventAnchor};
use crate::index::Values;
use crate::store::sealed::PartState;
use crate::vault::SlotNumber;

use crate::ledger::error::LedgerError;
use crate::ledger::persons::Person;
use crate::ledger::snapshot::StoredOwners;
use crate::ledger::{Access, DecodedEntry, Snapshot};

/// Moments remembered, about 50 bytes each; then all are forgotten.
const REMEMBERED_MAX: usize = 65_536;

/// Events of one person looked at for one that a period counts from. Where it is not among the newest so
/// many, it counts as not found.
const EVENTS_LOOKED_AT_MAX: usize = 10_000;

/// The part whose anchor is sought.
#[derive(Debug)]
pub(super) struct Sought<'a> {
    pub(super) index: u64,
    pub(super) recorded_us: u64,
    pub(super) role: Role,
    pub(super) event: &'a EventBody,
    pub(super) stored: &'a [StoredOwners],
}

impl Sought<'_> {
    /// Who the part is about, by vault slot, with the facet that finds them.
    fn persons(&self) -> Vec<(SlotNumber, Facet)> {
        if self.role.as_person().is_some() {
            return self.owners(|role| role == self.role);
        }
        let is_subject = |role: Role| role.as_person().is_some_and(|(of, _)| of == Namespace::SUBJECT);
        if self.event.parts.iter().any(|(role, _)| is_subject(*role)) {
            return self.owners(is_subject);
        }
        self.owners(|role| role.as_person().is_some())
    }

    fn owners(&self, wanted: impl Fn(Role) -> bool) -> Vec<(SlotNumber, Facet)> {
        let parts =
            self.stored.iter().filter(|(role, state, _)| wanted(*role) && *state == PartState::Sealed);
        let owners = parts.filter_map(|(role, _, owners)| {
            let (namespace, _) = role.as_person()?;
            Some(owners.iter().map(move |slot| (*slot, namespace.facet())))
        });
        owners.flatten().collect()
    }
}

/// Finds anchors in one view.
#[derive(Debug)]
pub(super) struct Anchors<'a> {
    snapshot: &'a Snapshot,
    newest: HashMap<(u64, Facet), Option<u64>>,
    /// By vault slot and the number of the clock that asks.
    events: HashMap<(u64, usize), Option<u64>>,
}

impl<'a> Anchors<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, newest: HashMap::new(), events: HashMap::new() }
    }

    /// The moment that `anchor` stands for, Unix microseconds; none where there is none yet. `number` tells
    /// the clocks of a table apart.
    pub(super) fn find(
        &mut self,
        anchor: &Anchor,
        number: usize,
        sought: &Sought<'_>,
    ) -> Result<Option<u64>, LedgerError> {
        match anchor {
            Anchor::Recorded => Ok(Some(sought.recorded_us)),
            Anchor::Occurred => self.snapshot.occurred_at(sought.index),
            Anchor::LastEvent => {
                let mut last_us = sought.recorded_us;
                for (slot, facet) in sought.persons() {
                    last_us = last_us.max(self.newest(slot, facet, sought.recorded_us)?.unwrap_or(0));
                }
                Ok(Some(last_us))
            }
            Anchor::Event(event) => {
                let mut last_us = None;
                for (slot, facet) in sought.persons() {
                    let Some(at_us) = self.event(slot, facet, event, number)? else { return Ok(None) };
                    last_us = last_us.max(Some(at_us));
                }
                Ok(last_us)
            }
        }
    }

    /// When the newest event that names a person was recorded. `since_us` is when one was.
    fn newest(
        &mut self,
        slot: SlotNumber,
        facet: Facet,
        since_us: u64,
    ) -> Result<Option<u64>, LedgerError> {
        if let Some(known) = self.newest.get(&(slot.0, facet)) {
            return Ok(*known);
        }
        let mut found = None;
        if let Some(person) = self.snapshot.shared.directory.by_slot(slot)? {
            self.each_event(&person, facet, since_us, &mut |_, (_, entry)| {
                found = Some(entry.time_us);
                Ok(ControlFlow::Break(()))
            })?;
        }
        remember(&mut self.newest, (slot.0, facet), found);
        Ok(found)
    }

    fn event(
        &mut self,
        slot: SlotNumber,
        facet: Facet,
        anchor: &EventAnchor,
        number: usize,
    ) -> Result<Option<u64>, LedgerError> {
        if let Some(known) = self.events.get(&(slot.0, number)) {
            return Ok(*known);
        }
        let mut found = None;
        let mut looked_at = 0;
        if let Some(person) = self.snapshot.shared.directory.by_slot(slot)? {
            self.each_event(&person, facet, 0, &mut |index, decoded| {
                looked_at += 1;
                if looked_at > EVENTS_LOOKED_AT_MAX {
                    return Ok(ControlFlow::Break(()));
                }
                let is_of_type =
                    matches!(&decoded.1.body, EntryBody::Event(body) if body.class == anchor.class);
                if !is_of_type {
                    return Ok(ControlFlow::Continue(()));
                }
                let stored = self.snapshot.opened(index, decoded, Access::Masked)?;
                let merged = stored.merged();
                let Some(met) = meets(anchor, &merged) else { return Ok(ControlFlow::Continue(())) };
                found = met.then(|| stored.occurred_us(&merged));
                Ok(ControlFlow::Break(()))
            })?;
        }
        remember(&mut self.events, (slot.0, number), found);
        Ok(found)
    }

    /// Walks the events that name a person, newest first, back to the month of `since_us`.
    fn each_event(
        &self,
        person: &Arc<Person>,
        facet: Facet,
        since_us: u64,
        visit: &mut dyn FnMut(u64, DecodedEntry) -> Result<ControlFlow<()>, LedgerError>,
    ) -> Result<(), LedgerError> {
        let snapshot = self.snapshot;
        let Some(last) = snapshot.size().0.checked_sub(1) else { return Ok(()) };
        let month = |index| Ok::<_, LedgerError>(snapshot.time_us(index)?.map(keys::period_of));
        let (Some(first), Some(newest)) = (month(0)?, month(last)?) else { return Ok(()) };
        let oldest = first.max(keys::period_of(since_us));
        let secret = person.facet_secret(facet);
        for period in (oldest.0..=newest.0).rev().map(Period) {
            let key = keys::person_facet_key(&secret, snapshot.ledger_id(), period);
            let mut cursor = snapshot.postings(facet, &key)?;
            let mut at = Some(last);
            while let Some(from) = at {
                let Some(index) = snapshot.shared.indexed(cursor.floor(from))? else { break };
                at = index.checked_sub(1);
                let Some(decoded) = snapshot.decoded(index)? else { continue };
                let is_named = match &decoded.1.body {
                    EntryBody::Event(body) => body.keys.contains(&(facet, key)),
                    _ => false,
                };
                if is_named && visit(index, decoded)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Whether an opened event meets an anchor's conditions; none where it lacks one of their fields.
fn meets(anchor: &EventAnchor, event: &Object) -> Option<bool> {
    let data = event.get("data").and_then(Value::as_object);
    let mut met = true;
    for (name, wanted) in &anchor.conditions {
        met &= data?.get(name)? == wanted;
    }
    Some(met)
}

fn remember<K: std::hash::Hash + Eq, T>(known: &mut HashMap<K, T>, key: K, value: T) {
    if known.len() >= REMEMBERED_MAX {
        known.clear();
    }
    known.insert(key, value);
}
