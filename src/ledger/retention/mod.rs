//! Which parts are due by the retention table, which are held, and which wait for what they count from.
//!
//! In scope: looking at one entry after another of a view, at one moment. Out of scope: the rules
//! ([`crate::event::retention`]), taking parts away ([`job`]), lists for people (`history`).
//!
//! An entry whose rules cannot say that anything is due by the time it was recorded is passed over unread;
//! where they could, the states of its stored parts are read, and only what a rule counts from beyond the
//! log is looked for: the stated time among those kept aside, a person's other events through the index.
//!
//! Invariants: a part that was taken away is never found again; what cannot be found counts as not due; the
//! same view, moment, table and holds find the same parts.

mod anchors;
pub mod job;

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::entry::{EntryBody, EventBody};
use crate::event::facet::{ClassCode, Role};
use crate::event::retention::{Clock, RetentionTable, Rule};
use crate::store::sealed::PartState;

use super::Snapshot;
use super::error::LedgerError;
use super::holds::{HoldId, HoldMatcher, Holds};
use anchors::{Anchors, Sought};

/// How a part stands that is due, or that nothing can be said of yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its retention is over.
    Due,
    /// Its retention is over, but this hold keeps it.
    Held(HoldId),
    /// What its rule counts from has not happened, or is not known any more.
    Waiting,
}

/// The moments of a part's deciding rule, Unix microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moments {
    /// What it counts from.
    pub anchor_us: Option<u64>,
    /// When it is due by what was promised.
    pub due_us: Option<u64>,
    /// When it is due by the rule's statute.
    pub statute_us: Option<u64>,
}

impl Moments {
    /// The earlier of promise and statute.
    #[must_use]
    pub fn first_us(&self) -> Option<u64> {
        [self.due_us, self.statute_us].into_iter().flatten().min()
    }
}

/// A part that was found.
#[derive(Debug)]
pub struct Found<'a> {
    /// Index of its event.
    pub index: u64,
    /// Which part.
    pub role: Role,
    /// The event's body.
    pub event: &'a EventBody,
    /// The rule that decides, by its place in the table.
    pub rule: usize,
    /// When.
    pub moments: Moments,
    /// How it stands.
    pub standing: Standing,
}

/// What remains of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remains {
    /// Nothing that any rule speaks of: it need not be looked at again under the same table.
    Nothing,
    /// Something.
    Something,
}

/// A look at a view at one moment, under one table and the holds as they are.
#[derive(Debug)]
pub struct Evaluation<'a> {
    snapshot: &'a Snapshot,
    table: &'a RetentionTable,
    now_us: u64,
    matcher: HoldMatcher<'a>,
    anchors: Anchors<'a>,
    deciding: HashMap<(ClassCode, Role), Arc<[usize]>>,
}

impl<'a> Evaluation<'a> {
    /// A look at `snapshot` at `now_us` (Unix microseconds).
    ///
    /// # Errors
    /// What the index and the vault report.
    pub fn new(
        snapshot: &'a Snapshot,
        table: &'a RetentionTable,
        holds: &Holds,
        now_us: u64,
    ) -> Result<Self, LedgerError> {
        Ok(Self {
            snapshot,
            table,
            now_us,
            matcher: HoldMatcher::new(&snapshot.shared, holds)?,
            anchors: Anchors::new(snapshot),
            deciding: HashMap::new(),
        })
    }

    /// The index from which on nothing can be due.
    ///
    /// # Errors
    /// As [`Snapshot::first_at_or_after`].
    pub fn end(&self) -> Result<u64, LedgerError> {
        match self.table.horizon_us(self.now_us) {
            Some(last_us) => self.snapshot.first_at_or_after(last_us.saturating_add(1)),
            None => Ok(self.snapshot.size().0),
        }
    }

    /// Gives `found` every part of the entry at `index` that is due, held or waiting.
    ///
    /// # Errors
    /// What reading the entry, its stored parts, the index and the vault reports.
    pub(crate) fn look(
        &mut self,
        index: u64,
        found: &mut dyn FnMut(&Found<'_>),
    ) -> Result<Remains, LedgerError> {
        let Some((_, entry)) = self.snapshot.decoded(index)? else { return Ok(Remains::Nothing) };
        let (recorded_us, EntryBody::Event(event)) = (entry.time_us, entry.body) else {
            return Ok(Remains::Nothing);
        };
        let mut governed = Vec::new();
        for (role, _) in &event.parts {
            let deciding = self.deciding(event.class, *role);
            if !deciding.is_empty() {
                governed.push((*role, deciding));
            }
        }
        let (table, now_us) = (self.table, self.now_us);
        let can_be_due = |deciding: &[usize]| {
            let mut rules = deciding.iter().filter_map(|at| table.rules().get(*at));
            rules.all(|rule| rule.earliest_us(recorded_us).is_some_and(|due| due <= now_us))
        };
        if !governed.iter().any(|(_, deciding)| can_be_due(deciding)) {
            let remains = if governed.is_empty() { Remains::Nothing } else { Remains::Something };
            return Ok(remains);
        }
        let stored = self.snapshot.stored_parts(index)?;
        let mut remains = Remains::Nothing;
        for (role, deciding) in governed {
            let is_there =
                |(at, state, _): &(Role, PartState, _)| *at == role && *state == PartState::Sealed;
            if !stored.iter().any(is_there) {
                continue;
            }
            remains = Remains::Something;
            if !can_be_due(&deciding) {
                continue;
            }
            let sought = Sought { index, recorded_us, role, event: &event, stored: &stored };
            let Some((rule, moments)) = self.judge(&deciding, &sought)? else { continue };
            let standing = match moments.first_us() {
                None => Standing::Waiting,
                Some(due_us) if due_us > self.now_us => continue,
                Some(_) => {
                    self.matcher.holding(recorded_us, &event).map_or(Standing::Due, Standing::Held)
                }
            };
            found(&Found { index, role, event: &event, rule, moments, standing });
        }
        Ok(remains)
    }

    fn deciding(&mut self, class: ClassCode, role: Role) -> Arc<[usize]> {
        let table = self.table;
        let entry = self.deciding.entry((class, role));
        Arc::clone(entry.or_insert_with(|| table.deciding(class, role).into()))
    }

    /// The rule that is due last, or that waits; they must all say so.
    fn judge(
        &mut self,
        deciding: &[usize],
        sought: &Sought<'_>,
    ) -> Result<Option<(usize, Moments)>, LedgerError> {
        let mut last: Option<(usize, Moments)> = None;
        for at in deciding {
            let Some(rule) = self.table.rules().get(*at) else { continue };
            let moments = self.moments(*at, rule, sought)?;
            let Some(first_us) = moments.first_us() else { return Ok(Some((*at, moments))) };
            let is_later =
                |(_, known): &(usize, Moments)| known.first_us().is_none_or(|us| us < first_us);
            if last.as_ref().is_none_or(is_later) {
                last = Some((*at, moments));
            }
        }
        Ok(last)
    }

    fn moments(&mut self, at: usize, rule: &Rule, sought: &Sought<'_>) -> Result<Moments, LedgerError> {
        let mut of = |clock: &Clock, number: usize| -> Result<(Option<u64>, Option<u64>), LedgerError> {
            let anchor_us = self.anchors.find(&clock.from, number, sought)?;
            Ok((anchor_us, anchor_us.and_then(|us| clock.due_us(us))))
        };
        let (anchor_us, due_us) = of(&rule.clock, at.saturating_mul(2))?;
        let statute_us = match &rule.statute {
            Some(statute) => of(&statute.clock, at.saturating_mul(2).saturating_add(1))?.1,
            None => None,
        };
        Ok(Moments { anchor_us, due_us, statute_us })
    }
}
