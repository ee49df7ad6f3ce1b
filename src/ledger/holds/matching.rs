//! What a hold stops.
//!
//! In scope: which active holds an event meets, and which stop the erasure of a person. Out of scope: what
//! is done about it. An event meets a hold when it names one of the hold's persons, belongs to its request
//! and was recorded in its time, as far as the hold says so; then all its parts are held, whoever they
//! belong to. Invariants: nothing is opened, the entry alone tells; a person whom the ledger met only after
//! the hold was placed is held as well.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::event::entry::{EntryBody, EventBody};
use crate::event::facet::Facet;
use crate::event::keys::{self, Period};
use crate::log::hash::Hash;

use super::{Hold, HoldId, Holds};
use crate::ledger::error::LedgerError;
use crate::ledger::persons::Person;
use crate::ledger::{Shared, Snapshot};

impl Hold {
    /// Whether an event meets its request and its time.
    fn meets(&self, recorded_us: u64, event: &EventBody) -> bool {
        let in_time = self.from_us.is_none_or(|from| from <= recorded_us)
            && self.to_us.is_none_or(|to| recorded_us < to);
        let of_request = self.request.is_none_or(|key| event.keys.contains(&(Facet::REQUEST, key)));
        in_time && of_request
    }

    /// Whether it says more than whom it is about.
    fn looks_at_events(&self) -> bool {
        self.request.is_some() || self.from_us.is_some() || self.to_us.is_some()
    }
}

/// Finds the active holds that events meet.
#[derive(Debug)]
pub(crate) struct HoldMatcher<'a> {
    shared: &'a Shared,
    active: Vec<Arc<Hold>>,
    /// The persons of holds that the ledger has met, with the places of their holds.
    persons: Vec<(Arc<Person>, Vec<usize>)>,
    /// Index keys that those persons have in a month.
    months: HashMap<Period, HashMap<Hash, Vec<usize>>>,
}

impl<'a> HoldMatcher<'a> {
    /// A matcher for `holds` as they are.
    pub(crate) fn new(shared: &'a Shared, holds: &Holds) -> Result<Self, LedgerError> {
        let active: Vec<Arc<Hold>> = holds.active().cloned().collect();
        let mut of_person: HashMap<Hash, Vec<usize>> = HashMap::new();
        for (at, hold) in active.iter().enumerate() {
            for person in &hold.persons {
                of_person.entry(*person).or_default().push(at);
            }
        }
        let mut persons = Vec::new();
        for (key, at) in of_person {
            if let Some(person) = shared.directory.find_key(key)? {
                persons.push((person, at));
            }
        }
        Ok(Self { shared, active, persons, months: HashMap::new() })
    }

    /// The first active hold that an event meets.
    pub(crate) fn holding(&mut self, recorded_us: u64, event: &EventBody) -> Option<HoldId> {
        if self.active.is_empty() {
            return None;
        }
        let named = self.named(keys::period_of(recorded_us), event);
        let mut each = self.active.iter().enumerate();
        let found = each.find(|(at, hold)| {
            (hold.persons.is_empty() || named.contains(at)) && hold.meets(recorded_us, event)
        });
        found.map(|(_, hold)| hold.id)
    }

    /// The holds of which an event names a person.
    fn named(&mut self, period: Period, event: &EventBody) -> HashSet<usize> {
        let (persons, ledger) = (&self.persons, self.shared.id);
        let month = self.months.entry(period).or_insert_with(|| {
            let mut month: HashMap<Hash, Vec<usize>> = HashMap::new();
            for (person, holds) in persons {
                // A directory key does not say of which namespace it is, so all are tried.
                for facet in Facet::all().filter(|facet| facet.is_person()) {
                    let key = keys::person_facet_key(&person.facet_secret(facet), ledger, period);
                    month.entry(key).or_default().extend(holds);
                }
            }
            month
        });
        event.keys.iter().filter_map(|(_, key)| month.get(key)).flatten().copied().collect()
    }
}

impl Shared {
    /// The active holds that stop the erasure of a person: those that name the person, and those that name
    /// nobody; where one has a request or a time, one of the person's `entries` must meet them. Whoever
    /// acts on the answer keeps [`super::super::duties::Duties::grow`] from before it asks until the erasure
    /// stands in the log.
    pub(crate) fn holds_on_person(
        &self,
        snapshot: &Snapshot,
        directory_key: &Hash,
        entries: &[u64],
    ) -> Result<Vec<HoldId>, LedgerError> {
        let holds = self.duties.holds.load();
        let about = |hold: &&Arc<Hold>| hold.persons.is_empty() || hold.persons.contains(directory_key);
        let (by_event, by_name): (Vec<_>, Vec<_>) =
            holds.active().filter(about).partition(|hold| hold.looks_at_events());
        let mut found: Vec<HoldId> = by_name.into_iter().map(|hold| hold.id).collect();
        let mut open = by_event;
        for index in entries {
            if open.is_empty() {
                break;
            }
            let Some((_, entry)) = snapshot.decoded(*index)? else { continue };
            let EntryBody::Event(event) = &entry.body else { continue };
            open.retain(|hold| {
                let meets = hold.meets(entry.time_us, event);
                if meets {
                    found.push(hold.id);
                }
                !meets
            });
        }
        found.sort_unstable();
        Ok(found)
    }
}
