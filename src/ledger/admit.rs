//! Admission: from a parsed event to what the sequencer needs, on the caller's thread.
//!
//! In scope: the catalogue's rules, time bounds, the idempotency look-up, splitting into parts,
//! commitments and sealing. All of it runs in parallel, before the single writer. Out of scope:
//! anything that depends on the position in the log. Invariant: nothing here is visible to a
//! reader, so an event that is refused leaves no trace.

use std::sync::Arc;

use crate::event::catalogue::Catalogue;
use crate::event::envelope::Event;
use crate::event::facet::{ClassCode, Facet, Role};
use crate::event::keys::{self, Period};
use crate::event::parts::{self, FacetSource, SplitEvent};
use crate::log::hash::Hash;
use crate::vault::DataKey;

use super::Shared;
use super::error::{AppendError, LedgerError};
use super::persons::Person;

/// An index key that waits for its period: whose, and the key as of `period`.
#[derive(Debug)]
pub(crate) struct PersonKey {
    pub(crate) facet: Facet,
    person: Arc<Person>,
    period: Period,
    key: Hash,
}

impl PersonKey {
    /// The key in `period`; looked up again only where the month turned since admission.
    pub(crate) fn at(&self, shared: &Shared, period: Period) -> Hash {
        if period == self.period {
            return self.key;
        }
        self.person.facet_key(self.facet, shared.id, period)
    }
}

/// A part that is sealed and committed to.
#[derive(Debug)]
pub(crate) struct PreparedPart {
    pub(crate) role: Role,
    pub(crate) commitment: Hash,
    pub(crate) owners: Vec<u16>,
    pub(crate) blob: Vec<u8>,
}

/// What the sequencer needs to append one event.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) event_key: Hash,
    pub(crate) class: ClassCode,
    pub(crate) open_keys: Vec<(Facet, Hash)>,
    pub(crate) person_keys: Vec<PersonKey>,
    pub(crate) persons: Vec<Arc<Person>>,
    pub(crate) parts: Vec<PreparedPart>,
    pub(crate) producer: u32,
    pub(crate) sequence: Option<u64>,
    /// When the event says it happened, in Unix microseconds.
    pub(crate) occurred_us: Option<u64>,
    /// Log size up to which the idempotency look-up has been made.
    pub(crate) looked_up_to: u64,
}

/// What the caller keeps to answer with: the parts in the clear and the terms behind the keys.
#[derive(Debug)]
pub(crate) struct InTheClear {
    pub(crate) split: SplitEvent,
    pub(crate) salts: Vec<[u8; 64]>,
}

/// The outcome of admission.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// Never seen: to be sequenced.
    New(Box<Prepared>, Box<InTheClear>),
    /// Recorded before under this index; the content is still to be compared.
    Known { index: u64, split: Box<SplitEvent> },
}

/// Admits one event for `producer`.
pub(crate) fn admit(
    shared: &Shared,
    catalogue: &Catalogue,
    event: &Event,
    producer: u32,
) -> Result<Admitted, AppendError> {
    check_time(shared, event.time_us)?;
    let split = parts::split(event, catalogue)?;
    let event_key = shared.macs.event.event_key(shared.id, &split.source, &split.id);
    let looked_up_to = shared.size();
    if let Some(index) = shared.find_event(&event_key)? {
        return Ok(Admitted::Known { index, split: Box::new(split) });
    }
    let (mut prepared, salts) = prepare(shared, &split, event_key, producer, looked_up_to)?;
    prepared.occurred_us = event.time_us.and_then(|at| u64::try_from(at).ok());
    Ok(Admitted::New(Box::new(prepared), Box::new(InTheClear { split, salts })))
}

fn check_time(shared: &Shared, time_us: Option<i64>) -> Result<(), AppendError> {
    let Some(time_us) = time_us else { return Ok(()) };
    let time_us = u64::try_from(time_us).map_err(|_| AppendError::AncientTime)?;
    let ahead_ms = time_us.saturating_sub(shared.clock.now_us()) / 1000;
    let skew_max_ms = shared.options.skew_max_ms;
    if ahead_ms > skew_max_ms {
        return Err(AppendError::FutureTime { ahead_ms, skew_max_ms });
    }
    Ok(())
}

fn prepare(
    shared: &Shared,
    split: &SplitEvent,
    event_key: Hash,
    producer: u32,
    looked_up_to: u64,
) -> Result<(Prepared, Vec<[u8; 64]>), LedgerError> {
    let persons = split
        .persons
        .iter()
        .map(|person| shared.directory.find_or_make(person))
        .collect::<Result<Vec<_>, _>>()?;
    let mut parts = Vec::with_capacity(split.parts.len());
    let mut salts = Vec::with_capacity(split.parts.len());
    for part in &split.parts {
        let combined;
        let key = match part.owners.as_slice() {
            [] => &shared.open_key,
            [one] => owner(&persons, *one)?.data_key(),
            many => {
                let people =
                    many.iter().map(|at| owner(&persons, *at)).collect::<Result<Vec<_>, _>>()?;
                let data_keys: Vec<&DataKey> = people.iter().map(|person| person.data_key()).collect();
                combined = DataKey::combine(&data_keys)?;
                &combined
            }
        };
        let salt = key.salt(&event_key, part.role);
        let commitment = keys::part_commitment(shared.id, &event_key, part.role, &salt, &part.body);
        let blob = key.seal(shared.id, &event_key, part.role, &commitment, &part.body)?;
        parts.push(PreparedPart { role: part.role, commitment, owners: part.owners.clone(), blob });
        salts.push(*salt);
    }
    let period = keys::period_of(shared.clock.now_us());
    let mut open_keys = Vec::with_capacity(split.terms.len());
    let mut person_keys = Vec::new();
    for term in &split.terms {
        match &term.source {
            FacetSource::Open(value) => {
                let key = shared.macs.read.open_facet_key(shared.id, term.facet, value);
                open_keys.push((term.facet, key));
            }
            FacetSource::Person(at) => {
                let person = Arc::clone(owner(&persons, *at)?);
                let key = person.facet_key(term.facet, shared.id, period);
                person_keys.push(PersonKey { facet: term.facet, person, period, key });
            }
        }
    }
    let prepared = Prepared {
        event_key,
        class: split.class,
        open_keys,
        person_keys,
        persons,
        parts,
        producer,
        sequence: split.sequence,
        occurred_us: None,
        looked_up_to,
    };
    Ok((prepared, salts))
}

fn owner(persons: &[Arc<Person>], at: u16) -> Result<&Arc<Person>, LedgerError> {
    persons
        .get(usize::from(at))
        .ok_or_else(|| LedgerError::Setup(format!("part names owner {at} of {}", persons.len())))
}
