//! Who an identifier is: the directory of persons.
//!
//! In scope: finding the person behind `(namespace, id)`, making a new one with fresh secrets,
//! giving out vault slots in the order of the journal, and the list of persons that wait for
//! their registration entry. Out of scope: how secrets are kept ([`crate::vault`]) and when they
//! are moved out of the journal ([`super::fold`]). Invariant: at most one live `Person` exists
//! for a directory key, so two requests that name a new person at once share one secret.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::event::facet::Facet;
use crate::event::keys::{self, LedgerId, MacKey, Period};
use crate::event::parts::PersonRef;
use crate::index::{FACET_DIRECTORY, Index, Term};
use crate::log::hash::Hash;
use crate::vault::{DataKey, KeyTree, PersonSecret, SlotNumber, WrappedPerson};

use zeroize::Zeroizing;

use super::error::LedgerError;

/// Persons kept decrypted in each of the two cache generations: about 1 kB each with its
/// expanded keys, so the two hold 32 MB at most.
const CACHED_PERSONS_MAX: usize = 16_384;

/// A person with the secrets that seal and index what is about them.
#[derive(Debug)]
pub(crate) struct Person {
    /// Directory key `D_X`.
    pub(crate) directory_key: Hash,
    secret: PersonSecret,
    data_key: DataKey,
    slot: OnceLock<SlotNumber>,
    /// The newest index key of each facet the person was named in.
    facet_keys: Mutex<Vec<(Facet, Period, Hash)>>,
}

impl Person {
    fn new(directory_key: Hash, secret: PersonSecret, slot: Option<SlotNumber>) -> Self {
        let data_key = secret.data_key();
        let cell = OnceLock::new();
        if let Some(slot) = slot {
            let _ = cell.set(slot);
        }
        Self { directory_key, secret, data_key, slot: cell, facet_keys: Mutex::default() }
    }

    /// The key that seals this person's parts.
    pub(crate) fn data_key(&self) -> &DataKey {
        &self.data_key
    }

    /// The secret itself, for the journal's wrapped record.
    pub(crate) fn secret(&self) -> &PersonSecret {
        &self.secret
    }

    /// The secret of one facet, from which the keys of all periods follow.
    pub(crate) fn facet_secret(&self, facet: Facet) -> Zeroizing<[u8; 32]> {
        self.secret.facet_secret(facet)
    }

    /// The index key of one facet in `period`. Made once a month: it takes 14 compressions.
    pub(crate) fn facet_key(&self, facet: Facet, ledger: LedgerId, period: Period) -> Hash {
        let mut made = self.facet_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, key)) = made.iter().find(|(of, at, _)| *of == facet && *at == period) {
            return *key;
        }
        let key = keys::person_facet_key(&self.facet_secret(facet), ledger, period);
        made.retain(|(of, _, _)| *of != facet);
        made.push((facet, period, key));
        key
    }

    /// Vault slot, once the sequencer has given one.
    pub(crate) fn slot(&self) -> Option<SlotNumber> {
        self.slot.get().copied()
    }
}

/// A person that waits for its registration entry: 72 bytes, where a [`Person`] with its keys made ready
/// has over a thousand. Many wait while new persons come faster than the fold can register them.
#[derive(Debug, Clone)]
pub(crate) struct Unregistered {
    pub(crate) slot: SlotNumber,
    pub(crate) directory_key: Hash,
    secret: PersonSecret,
}

impl Unregistered {
    /// The commitment `C_X` that the log registers for this person.
    pub(crate) fn commitment(&self) -> Hash {
        let facets: Vec<_> = Facet::all()
            .filter(|facet| facet.is_person())
            .map(|facet| self.secret.opened_facet(facet))
            .collect();
        keys::person_commitment(&facets).unwrap_or(Hash::ZERO)
    }
}

#[derive(Debug, Default)]
struct State {
    /// Made but not yet in the journal.
    fresh: HashMap<Hash, Weak<Person>>,
    /// In the journal but not yet in the key tree, by directory key and by slot.
    undrained: HashMap<Hash, Arc<Person>>,
    undrained_slots: HashMap<u64, Arc<Person>>,
    young: HashMap<Hash, Arc<Person>>,
    old: HashMap<Hash, Arc<Person>>,
    next_slot: u64,
    /// In the journal but not yet in a registration entry, in slot order.
    unregistered: VecDeque<Unregistered>,
}

impl State {
    fn known(&self, key: &Hash) -> Option<Arc<Person>> {
        if let Some(person) = self.undrained.get(key).or_else(|| self.young.get(key)) {
            return Some(Arc::clone(person));
        }
        if let Some(person) = self.fresh.get(key).and_then(Weak::upgrade) {
            return Some(person);
        }
        self.old.get(key).cloned()
    }

    fn remember(&mut self, person: &Arc<Person>) {
        if self.young.len() >= CACHED_PERSONS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(person.directory_key, Arc::clone(person));
    }
}

/// The directory of one ledger.
#[derive(Debug)]
pub(crate) struct Directory {
    names_mac: MacKey,
    index: Arc<Index>,
    tree: Arc<KeyTree>,
    state: Mutex<State>,
}

impl Directory {
    /// A directory over `tree`; `next_slot` is the first slot never given out.
    pub(crate) fn new(
        directory_secret: &[u8; 32],
        index: Arc<Index>,
        tree: Arc<KeyTree>,
        next_slot: u64,
    ) -> Self {
        let state = Mutex::new(State { next_slot, ..State::default() });
        Self { names_mac: MacKey::new(directory_secret), index, tree, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory key of an identifier, whether or not the ledger has met it.
    pub(crate) fn key_of(&self, person: &PersonRef) -> Hash {
        self.names_mac.directory_key(person.namespace, &person.id)
    }

    /// The person behind an identifier, where the ledger has met it.
    pub(crate) fn find(&self, person: &PersonRef) -> Result<Option<Arc<Person>>, LedgerError> {
        self.find_key(self.key_of(person))
    }

    /// The person of a directory key, where the ledger has met it.
    pub(crate) fn find_key(&self, key: Hash) -> Result<Option<Arc<Person>>, LedgerError> {
        if let Some(person) = self.lock().known(&key) {
            return Ok(Some(person));
        }
        let term = Term { facet: FACET_DIRECTORY, key: *key.as_bytes() };
        for slot in self.index.find(&term)? {
            if let Some(found) = self.tree.get(SlotNumber(slot))?
                && found.directory_key() == key
            {
                let person = Arc::new(Person::new(key, found.person_secret(), Some(SlotNumber(slot))));
                let mut state = self.lock();
                if let Some(known) = state.known(&key) {
                    return Ok(Some(known));
                }
                state.remember(&person);
                return Ok(Some(person));
            }
        }
        Ok(None)
    }

    /// The person behind an identifier, made anew where the ledger has never met it.
    pub(crate) fn find_or_make(&self, person: &PersonRef) -> Result<Arc<Person>, LedgerError> {
        let key = self.key_of(person);
        if let Some(person) = self.find_key(key)? {
            return Ok(person);
        }
        let made = Arc::new(Person::new(key, PersonSecret::generate()?, None));
        let mut state = self.lock();
        if let Some(known) = state.known(&key) {
            return Ok(known);
        }
        if state.fresh.len() >= CACHED_PERSONS_MAX {
            state.fresh.retain(|_, person| person.strong_count() > 0);
        }
        state.fresh.insert(key, Arc::downgrade(&made));
        Ok(made)
    }

    /// The person in a vault slot.
    pub(crate) fn by_slot(&self, slot: SlotNumber) -> Result<Option<Arc<Person>>, LedgerError> {
        if let Some(person) = self.lock().undrained_slots.get(&slot.0) {
            return Ok(Some(Arc::clone(person)));
        }
        let found = self.tree.get(slot)?;
        Ok(found.map(|found| {
            Arc::new(Person::new(found.directory_key(), found.person_secret(), Some(slot)))
        }))
    }

    /// Gives a person the next slot where it has none yet; true where it was given now, so that
    /// the frame being built must carry the person. Called by the sequencer alone.
    pub(crate) fn assign_slot(&self, person: &Arc<Person>) -> bool {
        if person.slot().is_some() {
            return false;
        }
        let mut state = self.lock();
        let slot = SlotNumber(state.next_slot);
        if person.slot.set(slot).is_err() {
            return false;
        }
        state.next_slot += 1;
        state.fresh.remove(&person.directory_key);
        state.undrained.insert(person.directory_key, Arc::clone(person));
        state.undrained_slots.insert(slot.0, Arc::clone(person));
        state.unregistered.push_back(Unregistered {
            slot,
            directory_key: person.directory_key,
            secret: person.secret.clone(),
        });
        true
    }

    /// Puts back a person read from a journal frame at start.
    pub(crate) fn restore(&self, wrapped: WrappedPerson) {
        let WrappedPerson { slot, directory_key, secret } = wrapped;
        let person = Arc::new(Person::new(directory_key, secret, Some(slot)));
        let mut state = self.lock();
        state.next_slot = state.next_slot.max(slot.0 + 1);
        state.undrained.insert(directory_key, Arc::clone(&person));
        state.undrained_slots.insert(slot.0, person);
    }

    /// Puts back a person that still waits for its registration entry.
    pub(crate) fn restore_unregistered(&self, slot: SlotNumber) -> Result<(), LedgerError> {
        if let Some(person) = self.by_slot(slot)? {
            let (directory_key, secret) = (person.directory_key, person.secret.clone());
            self.lock().unregistered.push_back(Unregistered { slot, directory_key, secret });
        }
        Ok(())
    }

    /// First slot never given out.
    pub(crate) fn next_slot(&self) -> u64 {
        self.lock().next_slot
    }

    /// Persons that are in the journal and not yet in the key tree.
    pub(crate) fn undrained(&self) -> Vec<Arc<Person>> {
        self.lock().undrained.values().cloned().collect()
    }

    /// Forgets persons that the key tree now holds durably; they stay in the cache.
    pub(crate) fn drained(&self, persons: &[Arc<Person>]) {
        let mut state = self.lock();
        for person in persons {
            state.undrained.remove(&person.directory_key);
            if let Some(slot) = person.slot() {
                state.undrained_slots.remove(&slot.0);
            }
            state.remember(person);
        }
    }

    /// Up to `count_max` persons that wait for registration, oldest first.
    pub(crate) fn unregistered(&self, count_max: usize) -> Vec<Unregistered> {
        self.lock().unregistered.iter().take(count_max).cloned().collect()
    }

    /// Number of persons that wait for registration.
    pub(crate) fn unregistered_count(&self) -> usize {
        self.lock().unregistered.len()
    }

    /// Drops persons below `through_slot` from the waiting list: their entry is committed.
    pub(crate) fn registered(&self, through_slot: u64) {
        let mut state = self.lock();
        while state.unregistered.pop_front_if(|person| person.slot.0 < through_slot).is_some() {}
    }
}
