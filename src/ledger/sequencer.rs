//! The single writer: assigns positions and chains.
//!
//! In scope: giving each event its index, time and `prev` as it arrives, and adding it to the group that
//! the next flush takes. Out of scope: who calls ([`super::intake`]) and the disk ([`super::commit`]).
//! Invariants: positions are given in the order of arrival, without a gap; nothing here is visible to a
//! reader. What was positioned and did not become durable dies with the process: the ledger stops at the
//! first failed write.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::event::entry::{Entry, EntryBody, EventBody};
use crate::event::keys::{self, Period};
use crate::index::{FACET_DIRECTORY, FACET_EVENT_KEY, Term};
use crate::log::hash::{Hash, LogIndex, leaf_hash};
use crate::store::frame::FRAME_BYTES_MAX;
use crate::store::journal::JournalError;
use crate::vault::{InboxKey, SlotNumber, WrappedPerson};

use super::Shared;
use super::admit::Prepared;
use super::commit::Group;
use super::error::{AppendError, LedgerError};
use super::intake::{Item, Submission};
use super::persons::Person;
use super::tail::{Record, SealedBlob, Tail};

/// Bytes of a group's frame at most: what a frame may hold, less room for its header and checksums.
pub(crate) const GROUP_BYTES_MAX: usize = FRAME_BYTES_MAX - (1 << 20);

/// Event keys remembered per generation, so that look-ups made before them are still good:
/// two generations of 65,536 keys at about 60 bytes are 8 MB.
const RECENT_KEYS_MAX: usize = 65_536;

/// Event keys of the newest entries, in two generations.
#[derive(Debug, Default)]
struct RecentKeys {
    young: HashMap<Hash, u64>,
    old: HashMap<Hash, u64>,
    young_from: u64,
    old_from: u64,
}

impl RecentKeys {
    fn starting_at(size: u64) -> Self {
        Self { young_from: size, old_from: size, ..Self::default() }
    }

    fn contains(&self, key: &Hash) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }

    fn insert(&mut self, key: Hash, index: u64) {
        if self.young.len() >= RECENT_KEYS_MAX {
            self.old = std::mem::take(&mut self.young);
            self.old_from = self.young_from;
            self.young_from = index;
        }
        self.young.insert(key, index);
    }
}

/// Where the log goes on.
#[derive(Debug)]
pub(crate) struct Sequencer {
    size: u64,
    prev: Hash,
    time_us: u64,
    recent: RecentKeys,
    clock_base_us: (u64, u64),
}

impl Sequencer {
    /// A sequencer that continues after `tail`.
    pub(crate) fn new(tail: &Tail, clock: &dyn Clock) -> Self {
        let size = tail.size();
        Self {
            size,
            prev: tail.last_leaf,
            time_us: tail.time_us,
            recent: RecentKeys::starting_at(size),
            clock_base_us: (clock.now_us(), clock.monotonic_us()),
        }
    }

    /// Positions what was submitted, which takes up to `bytes` of a frame, and adds it to the open group.
    pub(crate) fn add(
        &mut self,
        shared: &Shared,
        bytes: usize,
        submission: Submission,
    ) -> Result<(), LedgerError> {
        let Submission { items, with_proof, reply } = submission;
        let now_us = match self.now(shared) {
            Ok(now_us) => now_us,
            Err(ahead_ms) => {
                let _ = reply.send(Err(AppendError::ClockAhead { ahead_ms }));
                return Ok(());
            }
        };
        shared.open.add(bytes, |group| {
            if self.must_look_up_again(shared, &items) {
                group.look_up_again(reply);
                return Ok(());
            }
            let first = self.size;
            for item in items {
                self.append(shared, item, now_us, group)?;
            }
            group.submitted(first..self.size, with_proof, reply);
            Ok(())
        })
    }

    /// The ledger's time for a group: never less than the entry before it. The error is how far,
    /// in milliseconds, the wall clock has run ahead of the monotonic one.
    fn now(&self, shared: &Shared) -> Result<u64, u64> {
        let now_us = shared.clock.now_us();
        let (wall_us, monotonic_us) = self.clock_base_us;
        let passed_us = shared.clock.monotonic_us().saturating_sub(monotonic_us);
        let ahead_ms = now_us.saturating_sub(wall_us.saturating_add(passed_us)) / 1000;
        if ahead_ms > shared.options.skew_max_ms {
            return Err(ahead_ms);
        }
        Ok(now_us.max(self.time_us))
    }

    fn must_look_up_again(&self, shared: &Shared, items: &[Item]) -> bool {
        items.iter().any(|item| match item {
            Item::Event(event) => {
                event.looked_up_to < self.recent.old_from
                    || self.recent.contains(&event.event_key)
                    || shared.directory.has_erased(&event.persons)
            }
            Item::System(_) | Item::Erase(..) => false,
        })
    }

    fn append(
        &mut self,
        shared: &Shared,
        item: Item,
        now_us: u64,
        group: &mut Group,
    ) -> Result<(), LedgerError> {
        let inboxes = group.begin(shared, self.size);
        let (_, inbox) = inboxes.newest();
        let index = LogIndex(self.size);
        let mut occurred_us = Some(now_us);
        let (body, parts, event_key) = match item {
            Item::System(body) => (body, Vec::new(), None),
            Item::Event(event) => {
                let key = event.event_key;
                occurred_us = event.occurred_us.or(occurred_us);
                let (body, parts) = position(shared, *event, now_us, inbox, group)?;
                (body, parts, Some(key))
            }
            Item::Erase(body, slots) => {
                // From this position on nobody's event is sealed under a secret that is to be destroyed.
                shared.directory.erase(&slots);
                (body, Vec::new(), None)
            }
        };
        index_terms(self.size, &body, event_key, &mut group.terms);
        let entry = Entry { ledger: shared.id, index, time_us: now_us, prev: self.prev, body };
        let mut bytes = Vec::with_capacity(512);
        entry.encode(&mut bytes).map_err(|source| LedgerError::Entry { index: index.0, source })?;
        let leaf = leaf_hash(&bytes);
        let owners = inbox.owners();
        let sealed = parts.iter().map(|part| {
            let mask = |(ordinal, slot): (usize, &SlotNumber)| {
                owners.mask(index, part.role, u8::try_from(ordinal).unwrap_or(u8::MAX), *slot)
            };
            (part.role.0, part.owners.iter().enumerate().map(mask), part.blob.as_slice())
        });
        group.frame.push(&bytes, sealed).map_err(JournalError::from)?;
        group.records.push(Arc::new(Record { entry: bytes, leaf, time_us: now_us, occurred_us, parts }));
        if let Some(key) = event_key {
            self.recent.insert(key, self.size);
        }
        self.prev = leaf;
        self.time_us = now_us;
        self.size += 1;
        Ok(())
    }
}

/// Everything of an event that depends on its position: slots and keys of the period.
fn position(
    shared: &Shared,
    event: Prepared,
    now_us: u64,
    inbox: &InboxKey,
    group: &mut Group,
) -> Result<(EntryBody, Vec<SealedBlob>), LedgerError> {
    let slots = event
        .persons
        .iter()
        .map(|person| slot_of(shared, person, inbox, group))
        .collect::<Result<Vec<_>, _>>()?;
    let period: Period = keys::period_of(now_us);
    let mut keys = event.open_keys;
    keys.extend(event.person_keys.iter().map(|key| (key.facet, key.at(shared, period))));
    keys.sort_unstable();
    keys.dedup();
    let commitments = event.parts.iter().map(|part| (part.role, part.commitment)).collect();
    let mut parts = Vec::with_capacity(event.parts.len());
    for part in event.parts {
        let owners: Vec<SlotNumber> = if part.owners.is_empty() {
            vec![SlotNumber::LEDGER]
        } else {
            part.owners.iter().filter_map(|at| slots.get(usize::from(*at)).copied()).collect()
        };
        parts.push(SealedBlob { role: part.role, owners, blob: part.blob, gone: None });
    }
    let body = EntryBody::Event(EventBody {
        event_key: event.event_key,
        class: event.class,
        keys,
        parts: commitments,
        producer: event.producer,
        sequence: event.sequence,
        signature: None,
    });
    Ok((body, parts))
}

fn slot_of(
    shared: &Shared,
    person: &Arc<Person>,
    inbox: &InboxKey,
    group: &mut Group,
) -> Result<SlotNumber, LedgerError> {
    if shared.directory.assign_slot(person)
        && let Some(slot) = person.slot()
    {
        let wrapped =
            WrappedPerson { slot, directory_key: person.directory_key, secret: person.secret().clone() };
        let wrapped = wrapped.wrap(inbox, shared.id)?;
        group.frame.push_person(&wrapped).map_err(JournalError::from)?;
        let key = *person.directory_key.as_bytes();
        group.terms.push((slot.0, Term { facet: FACET_DIRECTORY, key }));
    }
    person.slot().ok_or_else(|| LedgerError::Setup("a person was given no vault slot".to_owned()))
}

/// The index rows of an entry.
pub(crate) fn index_terms(
    index: u64,
    body: &EntryBody,
    event_key: Option<Hash>,
    terms: &mut Vec<(u64, Term)>,
) {
    if let Some(key) = event_key {
        terms.push((index, Term { facet: FACET_EVENT_KEY, key: *key.as_bytes() }));
    }
    if let EntryBody::Event(event) = body {
        for (facet, key) in &event.keys {
            terms.push((index, Term { facet: facet.0, key: *key.as_bytes() }));
        }
    }
}
