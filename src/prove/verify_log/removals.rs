//! The entries that say what was erased and pruned (kinds 5, 6 and 7), against each other.
//!
//! In scope: that the removed set they commit to only grows; that a shred which is done was begun, with
//! the same set and the same root key; that a prune names retention rules that stood before it; that
//! nobody is erased twice without having been registered again. Out of scope: the parts (`claims`), whether
//! they were due (`due`).
//! Invariant: memory grows with the persons erased, 33 bytes each, and with the retention rules.

use std::collections::BTreeMap;

use super::due::Due;
use super::findings::{Findings, Question};
use crate::event::entry::{Entry, EntryBody, Kind, PruneBody, ShredBody, ShredPhase};
use crate::log::hash::{Hash, empty_root};
use crate::prove::entry_view::EntryView;
use crate::prove::verdict::Report;

/// The removed set that an entry commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    /// The entry; none before the first.
    pub(super) index: Option<u64>,
    pub(super) items: u64,
    pub(super) root: Hash,
}

/// The state of the walk over these entries.
#[derive(Debug)]
pub(super) struct Removals {
    newest: Committed,
    /// The set of the newest shred that is done.
    done: Option<Committed>,
    /// A shred that has begun and is not done.
    begun: Option<ShredBody>,
    due: Due,
    /// Persons erased at least once, and whether they were registered again since.
    erased: BTreeMap<Hash, bool>,
    erasures: u64,
    shreds: u64,
    prunes: u64,
    question: Question,
}

impl Removals {
    pub(super) fn new() -> Self {
        Self {
            newest: Committed { index: None, items: 0, root: empty_root() },
            done: None,
            begun: None,
            due: Due::new(),
            erased: BTreeMap::new(),
            erasures: 0,
            shreds: 0,
            prunes: 0,
            question: Question::new("removals"),
        }
    }

    /// The set of the newest shred or prune entry.
    pub(super) fn newest(&self) -> Committed {
        self.newest
    }

    /// What prunes were allowed.
    pub(super) fn due(&self) -> &Due {
        &self.due
    }

    /// The set of the newest shred that is done.
    pub(super) fn done(&self) -> Option<Committed> {
        self.done
    }

    /// Looks at the entry at `index`, which could be read.
    pub(super) fn entry(
        &mut self,
        index: u64,
        view: &EntryView<'_>,
        bytes: &[u8],
        findings: &mut Findings,
    ) {
        if !matches!(
            view.kind,
            Kind::Settings | Kind::PersonsRegistered | Kind::PersonsErased | Kind::Shred | Kind::Prune
        ) {
            return;
        }
        // What cannot be decoded was told by the chain.
        let Ok(entry) = Entry::decode(bytes) else { return };
        let wrong = match &entry.body {
            EntryBody::Settings(body) => {
                self.due.settings(index, body);
                None
            }
            EntryBody::PersonsRegistered { persons, .. } => {
                self.registered(persons.iter().map(|(person, _)| person))
            }
            EntryBody::PersonsErased(erased) => {
                self.erasures += 1;
                self.persons_erased(&erased.persons)
            }
            EntryBody::Shred(shred) => self.shred(index, shred),
            EntryBody::Prune(prune) => self.prune(index, entry.time_us, prune),
            _ => None,
        };
        if let Some(what) = wrong {
            findings.fail(&mut self.question, format_args!("entry {index}"), what);
        }
    }

    fn registered<'a>(&mut self, persons: impl Iterator<Item = &'a Hash>) -> Option<String> {
        if self.erased.is_empty() {
            return None;
        }
        let mut twice = 0_u64;
        for person in persons {
            if let Some(is_registered) = self.erased.get_mut(person) {
                twice += u64::from(std::mem::replace(is_registered, true));
            }
        }
        (twice > 0).then(|| format!("registers {twice} persons again that were not erased since"))
    }

    fn persons_erased(&mut self, persons: &[Hash]) -> Option<String> {
        let mut again = 0_u64;
        for person in persons {
            again += u64::from(self.erased.insert(*person, false) == Some(false));
        }
        (again > 0).then(|| format!("erases {again} persons again that were not registered since"))
    }

    fn shred(&mut self, index: u64, shred: &ShredBody) -> Option<String> {
        self.shreds += 1;
        let committed = Committed { index: Some(index), items: shred.items, root: shred.root };
        let wrong = self.grow(committed);
        if shred.phase == ShredPhase::Begun {
            self.begun = Some(*shred);
            return wrong;
        }
        self.done = Some(committed);
        let Some(begun) = self.begun.take() else {
            return wrong.or_else(|| Some("ends a shred that has not begun".to_owned()));
        };
        let wrong = wrong.or_else(|| {
            let same = (begun.items, begun.root) == (shred.items, shred.root);
            (!same).then(|| "ends a shred with another removed set than it began with".to_owned())
        });
        wrong.or_else(|| {
            let same = begun.root_key_before == shred.root_key_before;
            (!same).then(|| "ends a shred under another root key than it began under".to_owned())
        })
    }

    fn prune(&mut self, index: u64, time_us: u64, prune: &PruneBody) -> Option<String> {
        self.prunes += 1;
        let committed = Committed { index: Some(index), items: prune.items, root: prune.root };
        let wrong = self.grow(committed);
        if wrong.is_some() {
            return wrong;
        }
        if prune.cutoff_us > time_us {
            return Some(format!("prunes what is due {} µs later", prune.cutoff_us - time_us));
        }
        let known = self.due.prune(prune.settings, prune.cutoff_us);
        (!known).then(|| format!("names entry {}, which has no retention rules", prune.settings))
    }

    /// Takes the next set in, which must have every item of the one before.
    fn grow(&mut self, next: Committed) -> Option<String> {
        let before = std::mem::replace(&mut self.newest, next);
        if next.items < before.items {
            return Some(format!(
                "has {} removed parts, fewer than {} before",
                next.items, before.items
            ));
        }
        let changed = next.items == before.items && next.root != before.root;
        changed.then(|| format!("has other removed parts than before, {} as there were", next.items))
    }

    /// Adds the answer to a report, if there were any such entries.
    pub(super) fn conclude(&self, report: &mut Report) {
        let Self { erasures, shreds, prunes, .. } = self;
        report.is_shredding = self.begun.is_some();
        if erasures + shreds + prunes > 0 || !self.question.is_good() {
            let detail = format!("{erasures} erasures, {shreds} shreds, {prunes} prunes, in order");
            self.question.conclude(detail, report);
        }
    }
}
