//! Removing parts: erasures of persons, the shred that makes them final, and prunes.
//!
//! In scope: taking an erasure, the keeper that shreds when it is time, going on with both after a crash, and
//! the evidence that a removed part was removed. Out of scope: which parts outlived their retention
//! ([`super::retention`]), holds that forbid it, who may ask. Invariants: an erasure is acknowledged when its
//! entry is durable; from then on nothing of its persons is opened; what is pending survives every crash.

mod certificate;
mod find;
mod prune;
mod record;
mod rewrite;
mod set;
mod shred;

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::event::entry::{ERASED_PERSONS_MAX, Entry, EntryBody, PersonsErasedBody};
use crate::event::parts::PersonRef;
use crate::log::hash::Hash;
use crate::vault::SlotNumber;

use super::error::LedgerError;
use super::holds::{By, HoldId};
use super::intake::Item;
use super::persons::Person;
use super::{Ledger, Shared};

pub use record::{Asker, ErasureId};
pub(crate) use set::Removed;

use record::{ErasedPerson, Record};

/// Longest rest at a time, in microseconds.
const REST_US_MAX: u64 = 100_000;

/// Milliseconds after which a shred that met damaged files is tried again.
const AGAIN_MS: u64 = 60_000;

/// Bytes of an erasure's reason and of its request's id at most.
pub const REASON_BYTES_MAX: usize = 1_024;

/// A live person with its slot and its namespace's name.
type Known = (Arc<Person>, SlotNumber, String);

/// What is asked of an erasure.
#[derive(Debug, Clone)]
pub struct EraseRequest {
    /// Its id; the same in every ledger it is to reach.
    pub id: ErasureId,
    /// Whose data is to be destroyed.
    pub persons: Vec<PersonRef>,
    /// Why: the ground, in words that name nobody.
    pub reason: String,
    /// The request it answers.
    pub request: Option<String>,
    /// Who asks.
    pub by: Asker,
    /// Other ledgers it reaches.
    pub also: Vec<String>,
}

/// An erasure that stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Index of its entry.
    pub entry: u64,
    /// Persons whose data will be destroyed.
    pub persons: usize,
    /// Identifiers that the ledger does not know, or not any more.
    pub unknown: usize,
}

/// Why an erasure was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// None of the identifiers is known.
    #[error("none of the persons is known to this ledger")]
    NobodyKnown,
    /// Too many at once.
    #[error("{found} persons, where one erasure takes at most {max}")]
    TooMany {
        /// How many were given.
        found: usize,
        /// How many may be.
        max: usize,
    },
    /// A hold stops it; that it was refused stands in the log.
    #[error("{} holds stop it; the refusal is entry {refusal} of the log", holds.len())]
    Held {
        /// The holds.
        holds: Vec<HoldId>,
        /// Index of the entry that says that it was refused.
        refusal: u64,
    },
    /// A part of the ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why the keeper's work ended early.
#[derive(Debug)]
enum Interrupted {
    /// The ledger closes.
    Ending,
    /// Something failed.
    Failed(LedgerError),
}

impl<E: Into<LedgerError>> From<E> for Interrupted {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What wakes the keeper.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    state: Mutex<KeeperState>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct KeeperState {
    /// Moment on the monotonic clock at which the next shred is due; none where nothing is pending.
    due_us: Option<u64>,
    is_ending: bool,
}

impl Keeper {
    /// Says that something is to be shredded by `due_us`.
    fn shred_by(&self, due_us: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.due_us = Some(state.due_us.map_or(due_us, |due| due.min(due_us)));
        self.woken.notify_all();
    }

    /// Ends the keeper, after the step it is at.
    pub(crate) fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_ending = true;
        self.woken.notify_all();
    }

    fn is_ending(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_ending
    }

    /// Waits at most `time`, less where the keeper ends.
    fn rest(&self, time: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_ending {
            drop(self.woken.wait_timeout(state, time));
        }
    }

    /// Waits until a shred is due; false where the keeper ends.
    fn wait(&self, shared: &Shared) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.is_ending || shared.is_stopped() {
                return false;
            }
            let now_us = shared.clock.monotonic_us();
            let left_us = match state.due_us {
                Some(due_us) if due_us <= now_us => {
                    state.due_us = None;
                    return true;
                }
                Some(due_us) => due_us - now_us,
                None => 60_000_000,
            };
            let time = Duration::from_micros(left_us.min(1_000_000));
            state = self.woken.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Lets others work: rests as long as it has worked.
struct Pace<'a> {
    shared: &'a Shared,
    since_us: u64,
}

impl<'a> Pace<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, since_us: shared.clock.monotonic_us() }
    }

    /// Rests, and says where the ledger closes.
    fn rest(&mut self) -> Result<(), Interrupted> {
        let keeper = &self.shared.keeper;
        let worked_us = self.shared.clock.monotonic_us().saturating_sub(self.since_us);
        // A rest shorter than this is mostly the cost of waking up.
        if worked_us >= 2_000 {
            keeper.rest(Duration::from_micros(worked_us.min(REST_US_MAX)));
            self.since_us = self.shared.clock.monotonic_us();
        }
        if self.shared.is_stopped() {
            return Err(Interrupted::Failed(LedgerError::Stopped));
        }
        if keeper.is_ending() { Err(Interrupted::Ending) } else { Ok(()) }
    }
}

/// The keeper's thread: shreds when it is time.
pub(crate) fn keep(shared: &Arc<Shared>) {
    while shared.keeper.wait(shared) {
        let mut pace = Pace::new(shared);
        match shred::run(shared, &mut pace) {
            Ok(()) => {}
            Err(Interrupted::Ending) => return,
            Err(Interrupted::Failed(error @ LedgerError::Damage { .. })) => {
                // The ledger goes on; what is pending stays so, and says so in its certificate.
                shared.warn(&format!("an erasure cannot be carried out: {error}"));
                let again_us = AGAIN_MS * 1_000;
                shared.keeper.shred_by(shared.clock.monotonic_us().saturating_add(again_us));
            }
            Err(Interrupted::Failed(error)) => return shared.stop(&error),
        }
    }
}

impl Shared {
    /// Finds the erasures that a crash left pending, and takes their persons out of the directory. Those
    /// that never got their entry were never acknowledged, and are forgotten.
    pub(crate) fn recover_erasures(&self) -> Result<(), LedgerError> {
        for mut record in self.pending_records()? {
            if record.entry.is_none() {
                record.entry = self.entry_of_erasure(&record)?;
                if record.entry.is_none() {
                    self.forget_pending(record.id())?;
                    continue;
                }
                self.keep_pending(&record)?;
            }
            let slots = record.persons.iter().filter_map(|person| person.slot).map(SlotNumber);
            self.directory.erase(&slots.collect::<Vec<_>>());
            self.keeper.shred_by(self.clock.monotonic_us());
        }
        if self.read_plan()?.is_some() {
            self.keeper.shred_by(self.clock.monotonic_us());
        }
        Ok(())
    }

    fn entry_of_erasure(&self, record: &Record) -> Result<Option<u64>, LedgerError> {
        for index in record.size_before..self.size() {
            let bytes = self.entry(index)?;
            let entry = Entry::decode(&bytes).map_err(|source| LedgerError::Entry { index, source })?;
            if let EntryBody::PersonsErased(body) = entry.body
                && body.erasure == record.id
            {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

impl Ledger {
    /// Takes an erasure: its entry is durable when this returns, and nothing of its persons is opened any
    /// more. Their data is destroyed at the next shred. Blocks, so it is called from threads that may.
    ///
    /// # Errors
    /// [`EraseError`]; nothing is erased then.
    pub fn erase(&self, request: &EraseRequest) -> Result<Erased, EraseError> {
        let shared = &self.shared;
        let (found, max) = (request.persons.len(), ERASED_PERSONS_MAX);
        if found > max {
            return Err(EraseError::TooMany { found, max });
        }
        let _one = shared.erasing.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, unknown) = self.known(&request.persons)?;
        let Some(last_slot) = known.iter().map(|(_, slot, _)| slot.0).max() else {
            return Err(EraseError::NobodyKnown);
        };
        shared.register_below(last_slot + 1)?;
        self.certifier_entry()?;
        // Until the entry stands no hold is placed that would have stopped it.
        let chain = shared.duties.grow();
        let holds = self.holds_on(&known)?;
        if !holds.is_empty() {
            drop(chain);
            let by = By { number: request.by.key, label: &request.by.label };
            let refused = shared.record_refusal(request.id.0, &holds, by, &request.reason);
            let refusal = refused.map_err(|error| LedgerError::Setup(error.to_string()))?;
            return Err(EraseError::Held { holds, refusal });
        }

        let persons = known.iter().map(|(person, slot, namespace)| ErasedPerson {
            namespace: namespace.clone(),
            directory_key: person.directory_key.0,
            slot: Some(slot.0),
        });
        let mut record = Record {
            id: request.id.0,
            asked_us: shared.clock.now_us(),
            by: request.by.clone(),
            reason: request.reason.clone(),
            request: request.request.clone(),
            persons: persons.collect(),
            size_before: shared.size(),
            entry: None,
            also: request.also.clone(),
            done: None,
        };
        record.persons.sort_by_key(|person| person.directory_key);
        shared.keep_pending(&record)?;
        let keys: BTreeSet<Hash> = known.iter().map(|(person, _, _)| person.directory_key).collect();
        let body = PersonsErasedBody { erasure: request.id.0, persons: keys.into_iter().collect() };
        let slots = known.iter().map(|(_, slot, _)| *slot).collect();
        let entry = shared.append_own(Item::Erase(EntryBody::PersonsErased(body), slots))?;
        record.entry = Some(entry);
        shared.keep_pending(&record)?;
        let interval_us = shared.options.shred_interval_ms.saturating_mul(1_000);
        shared.keeper.shred_by(shared.clock.monotonic_us().saturating_add(interval_us));
        Ok(Erased { entry, persons: known.len(), unknown })
    }

    /// The holds that stop the erasure of persons.
    fn holds_on(&self, known: &[Known]) -> Result<Vec<HoldId>, LedgerError> {
        let shared = &self.shared;
        if self.holds_active() == 0 {
            return Ok(Vec::new());
        }
        let snapshot = self.snapshot();
        let mut holds = BTreeSet::new();
        for (person, slot, namespace) in known {
            let entries = shared.entries_of(&snapshot, *slot, namespace)?;
            holds.extend(shared.holds_on_person(&snapshot, &person.directory_key, &entries)?);
        }
        Ok(holds.into_iter().collect())
    }

    /// Refuses an erasure that a hold stops, and records that it did; nothing is erased.
    ///
    /// # Errors
    /// [`EraseError::Held`] where a hold stops it, and what the ledger reports.
    pub fn refuse_if_held(&self, request: &EraseRequest) -> Result<(), EraseError> {
        let (known, _) = self.known(&request.persons)?;
        let holds = self.holds_on(&known)?;
        if holds.is_empty() { Ok(()) } else { self.erase(request).map(drop) }
    }

    /// Whether one of the persons is known, and not erased.
    ///
    /// # Errors
    /// What the index and the vault report.
    pub fn knows_any(&self, persons: &[PersonRef]) -> Result<bool, LedgerError> {
        Ok(!self.known(persons)?.0.is_empty())
    }

    /// Number of erasures whose data is not destroyed yet.
    ///
    /// # Errors
    /// What the storage reports.
    pub fn erasures_pending(&self) -> Result<u64, LedgerError> {
        let pending = self.shared.pending_count()?;
        Ok(u64::try_from(pending).unwrap_or(u64::MAX))
    }

    /// Number of parts that were erased or pruned, those under way included.
    #[must_use]
    pub fn removed_parts(&self) -> u64 {
        self.shared.removed.load().set.items()
    }

    /// Persons made anew since the start whose identifier had been erased before.
    #[must_use]
    pub fn persons_returned(&self) -> u64 {
        self.shared.directory.returned()
    }

    /// Shreds now what is pending, without waiting for it to be due.
    pub fn shred_now(&self) {
        self.shared.keeper.shred_by(self.shared.clock.monotonic_us());
    }

    /// The live persons behind identifiers, each once, and how many identifiers have none.
    fn known(&self, persons: &[PersonRef]) -> Result<(Vec<Known>, usize), LedgerError> {
        let mut known: Vec<Known> = Vec::with_capacity(persons.len());
        let mut unknown = 0;
        for person in persons {
            let found = self.shared.directory.find(person)?;
            let slot = found.as_ref().and_then(|found| found.slot());
            let (Some(found), Some(slot)) = (found, slot) else {
                unknown += 1;
                continue;
            };
            if known.iter().all(|(_, other, _)| *other != slot) {
                let namespace = person.namespace.name().unwrap_or_default().to_owned();
                known.push((found, slot, namespace));
            }
        }
        Ok((known, unknown))
    }
}
