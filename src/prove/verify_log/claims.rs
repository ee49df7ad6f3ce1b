//! Parts that are said to be gone, and sealed ones that do not open, against the removed sets.
//!
//! In scope: reading the sets there are files of, counting what each of them explains, and answering once
//! the newest shred or prune entry tells which of them the log speaks of. Out of scope: those entries
//! (`removals`). Invariants: a set counts only where a signed entry commits to its items and root; one that
//! no entry in view commits to can leave a claim open, never make it good; memory is at most
//! [`SETS_MAX`] sets, 33 bytes an item.
//!
//! The entry that tells is met last. So the sets are read first, every part is looked up in each, and
//! there is a tally per set; the tallies of the others are dropped at the end.

use super::findings::{FINDINGS_KEPT, Findings, Question};
use super::removals::{Committed, Removals};
use super::{PartSource, StoredState};
use crate::event::facet::Role;
use crate::log::hash::Hash;
use crate::prove::removed::{Removal, RemovedSet, removed_key};
use crate::prove::verdict::{PartCounts, Report, Verdict};

/// Sets read at once. A server has one, or two around a shred; more are left from crashes.
const SETS_MAX: usize = 4;

const AGAIN: &str = "verify again with the current checkpoint";

/// Where something is, and what is wrong there.
type Place = (String, String);

/// How often something was seen, and the first places.
#[derive(Debug, Default)]
struct Told {
    count: u64,
    first: Vec<Place>,
}

impl Told {
    fn add(&mut self, place: &Place) {
        self.count += 1;
        if self.first.len() < FINDINGS_KEPT {
            self.first.push(place.clone());
        }
    }

    fn fail(&self, question: &mut Question, findings: &mut Findings) {
        for (place, what) in &self.first {
            findings.fail(question, place, what);
        }
        question.and_more(self.count - u64::try_from(self.first.len()).unwrap_or(self.count));
    }
}

/// What one set says to the claims of one kind.
#[derive(Debug, Default)]
struct Answers {
    /// Explained by the set.
    proven: u64,
    /// Explained only by a set with more items.
    newer: Told,
    /// Explained by none.
    lost: Told,
}

/// What one set says to everything met so far.
#[derive(Debug, Default)]
struct Tally {
    erased: Answers,
    pruned: Answers,
    /// Sealed parts that do not open.
    shut: Answers,
    /// Sealed parts that the set has as erased.
    left: Told,
}

#[derive(Debug)]
struct Known {
    set: RemovedSet,
    tally: Tally,
}

/// A part that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is not there any more.
    Gone(Removal),
    /// It is there, sealed.
    Sealed,
    /// It is there, sealed, and does not open.
    Shut,
}

/// The sets, and what they say.
pub(super) struct Claims<'s, P: PartSource> {
    source: &'s P,
    /// Ascending by number of items; the first is the empty set.
    known: Vec<Known>,
    /// Sets that were found during the walk, newer than all of `known`.
    later: Vec<RemovedSet>,
    /// What is wrong with files that hold no set, by number of items, and whether they could be read.
    bad: Vec<(u64, bool, String)>,
    /// All claims, as if no set explained any.
    all: Tally,
}

impl<'s, P: PartSource> Claims<'s, P> {
    pub(super) fn new(source: &'s P) -> Self {
        let empty = Known { set: RemovedSet::default(), tally: Tally::default() };
        let mut claims = Self {
            source,
            known: vec![empty],
            later: Vec::new(),
            bad: Vec::new(),
            all: Tally::default(),
        };
        let sets = claims.read(0);
        claims.known.extend(sets.into_iter().map(|set| Known { set, tally: Tally::default() }));
        claims
    }

    /// The newest sets with more than `above` items, ascending.
    fn read(&mut self, above: u64) -> Vec<RemovedSet> {
        let mut sizes = match self.source.removed_sizes() {
            Ok(sizes) => sizes,
            Err(error) => {
                self.bad.push((0, false, error.to_string()));
                return Vec::new();
            }
        };
        sizes.retain(|items| *items > above);
        sizes.sort_unstable();
        sizes.dedup();
        let skipped = sizes.len().saturating_sub(SETS_MAX);
        let mut sets = Vec::new();
        for items in sizes.into_iter().skip(skipped) {
            match self.source.removed(items) {
                Ok(None) => {} // another one has taken its place
                Err(error) => self.bad.push((items, false, error.to_string())),
                Ok(Some(bytes)) => match RemovedSet::decode(&bytes) {
                    Ok(set) if set.items() == items => sets.push(set),
                    Ok(set) => {
                        self.bad.push((items, true, format!("holds {} items", set.items())));
                    }
                    Err(error) => self.bad.push((items, true, error.to_string())),
                },
            }
        }
        sets
    }

    fn most_items(&self) -> u64 {
        let known = self.known.last().map_or(0, |known| known.set.items());
        self.later.last().map_or(known, RemovedSet::items)
    }

    /// Asks about a part, and says whether some set explains it. A part that none explains is looked for in
    /// sets that are new since.
    pub(super) fn ask(
        &mut self,
        event_key: &Hash,
        role: Role,
        claim: Claim,
        place: &dyn Fn() -> Place,
    ) -> bool {
        if claim == Claim::Sealed && self.known.len() == 1 {
            return false;
        }
        let key = removed_key(event_key, role);
        let explains = |set: &RemovedSet| match (claim, set.find(&key)) {
            (Claim::Gone(how), Some(found)) => how == found,
            (Claim::Sealed, found) => found == Some(Removal::Erased),
            (Claim::Shut, found) => found.is_some(),
            (Claim::Gone(_), None) => false,
        };
        let by_known: Vec<bool> = self.known.iter().map(|known| explains(&known.set)).collect();
        if claim == Claim::Sealed {
            for (known, has) in self.known.iter_mut().zip(&by_known) {
                if *has {
                    known.tally.left.add(&place());
                }
            }
            return true;
        }
        let mut by_later = self.later.iter().any(explains);
        if !by_later && !by_known.contains(&true) {
            let found = self.read(self.most_items());
            by_later = found.iter().any(explains);
            self.later.extend(found);
            self.later.drain(..self.later.len().saturating_sub(SETS_MAX));
        }
        let is_explained = by_later || by_known.contains(&true);
        if claim == Claim::Shut && !is_explained {
            return false;
        }
        let place = place();
        let mut newer = by_later;
        for (known, has) in self.known.iter_mut().zip(by_known).rev() {
            known.tally.add(claim, has, newer, &place);
            newer |= has;
        }
        self.all.add(claim, false, false, &place);
        is_explained
    }

    /// Adds the answers to a report and to the count of parts. `whole` says that every entry was read, so
    /// that the newest shred or prune entry is known.
    pub(super) fn conclude(
        &mut self,
        removals: &Removals,
        whole: bool,
        counts: &mut PartCounts,
        content: &mut Question,
        findings: &mut Findings,
        report: &mut Report,
    ) {
        let newest = removals.newest();
        let set = if whole { self.set_of(newest) } else { Err(Missing::unread()) };
        if newest.index.is_some() || set.is_err() {
            conclude_set(&newest, set.as_ref(), findings, report);
        }
        self.conclude_left(removals, whole, findings, report);
        let tally = match &set {
            Ok(at) => self.known.get_mut(*at).map(|known| std::mem::take(&mut known.tally)),
            Err(_) => Some(std::mem::take(&mut self.all)),
        };
        let Some(tally) = tally else { return };
        let missing = set.err();
        for (name, answers, count) in [
            ("erasures", &tally.erased, &mut counts.erased),
            ("prunings", &tally.pruned, &mut counts.pruned),
        ] {
            let lost = conclude_gone(name, answers, missing.as_ref(), count, findings, report);
            counts.lost += lost;
        }
        conclude_shut(&tally.shut, missing.as_ref(), counts, content, findings, report);
    }

    /// Which of the known sets an entry commits to.
    fn set_of(&self, committed: Committed) -> Result<usize, Missing> {
        let is_it =
            |known: &Known| known.set.items() == committed.items && known.set.root() == committed.root;
        if let Some(at) = self.known.iter().position(is_it) {
            return Ok(at);
        }
        let items = committed.items;
        if self.known.iter().any(|known| known.set.items() == items) {
            let what = "holds other items than the entry commits to".to_owned();
            return Err(Missing { verdict: Verdict::Failed, what });
        }
        if let Some((_, was_read, what)) = self.bad.iter().find(|(bad, _, _)| *bad == items) {
            let verdict = if *was_read { Verdict::Failed } else { Verdict::NotProvable };
            return Err(Missing { verdict, what: what.clone() });
        }
        if let Some((_, _, what)) = self.bad.iter().find(|(bad, _, _)| *bad == 0) {
            return Err(Missing { verdict: Verdict::NotProvable, what: what.clone() });
        }
        if self.most_items() > items {
            let what = format!("is gone, and there is a newer one: {AGAIN}");
            return Err(Missing { verdict: Verdict::NotProvable, what });
        }
        Err(Missing { verdict: Verdict::Failed, what: "is missing".to_owned() })
    }

    /// Parts that a shred which is done should have taken away.
    fn conclude_left(
        &self,
        removals: &Removals,
        whole: bool,
        findings: &mut Findings,
        report: &mut Report,
    ) {
        let Some(done) = removals.done().filter(|_| whole) else { return };
        // Without its set, once there is a newer one, it cannot be told which parts these are.
        let Ok(at) = self.set_of(done) else { return };
        let Some(left) = self.known.get(at).map(|known| &known.tally.left) else { return };
        if left.count > 0 {
            let mut question = Question::new("erasures");
            left.fail(&mut question, findings);
            question.conclude("", report);
        }
    }
}

/// Why the set that an entry commits to is not at hand.
#[derive(Debug)]
struct Missing {
    verdict: Verdict,
    what: String,
}

impl Missing {
    fn unread() -> Self {
        let what = "is not known, since not every entry could be read".to_owned();
        Self { verdict: Verdict::NotProvable, what }
    }
}

impl Tally {
    fn add(&mut self, claim: Claim, has: bool, newer: bool, place: &Place) {
        let answers = match claim {
            Claim::Gone(Removal::Erased) => &mut self.erased,
            Claim::Gone(Removal::Pruned) => &mut self.pruned,
            Claim::Sealed => return,
            Claim::Shut => &mut self.shut,
        };
        if has {
            answers.proven += 1;
        } else if newer {
            answers.newer.add(place);
        } else {
            answers.lost.add(place);
        }
    }
}

/// Reports on the set itself.
fn conclude_set(
    newest: &Committed,
    set: Result<&usize, &Missing>,
    findings: &mut Findings,
    report: &mut Report,
) {
    let items = newest.items;
    match set {
        Ok(_) => {
            let entry = newest.index.unwrap_or(0);
            let detail = format!("{items} removed parts, as entry {entry} commits to");
            report.push("removed", Verdict::Verified, detail);
        }
        Err(missing) => {
            let mut question = Question::new("removed");
            let place = format!("removed/{items}");
            if missing.verdict == Verdict::Failed {
                findings.fail(&mut question, place, &missing.what);
                question.conclude("", report);
            } else {
                report.push("removed", missing.verdict, format!("{place}: {}", missing.what));
            }
        }
    }
}

/// Reports on the parts that are said to be gone for one reason, and gives how many are lost.
fn conclude_gone(
    name: &'static str,
    answers: &Answers,
    missing: Option<&Missing>,
    count: &mut u64,
    findings: &mut Findings,
    report: &mut Report,
) -> u64 {
    let Answers { proven, newer, lost } = answers;
    *count += proven + newer.count;
    if let Some(missing) = missing.filter(|missing| missing.verdict != Verdict::Failed) {
        *count += lost.count;
        if lost.count > 0 {
            let detail = format!("{} parts: the removed set {}", lost.count, missing.what);
            report.push(name, missing.verdict, detail);
        }
    } else if lost.count > 0 {
        let mut question = Question::new(name);
        lost.fail(&mut question, findings);
        question.conclude("", report);
        return lost.count;
    } else if newer.count > 0 {
        let detail = format!("{} parts are gone since the checkpoint: {AGAIN}", newer.count);
        report.push(name, Verdict::NotProvable, detail);
    } else if *proven > 0 {
        report.push(name, Verdict::Verified, format!("{proven} parts, each in the removed set"));
    }
    0
}

/// Reports on sealed parts that do not open: those being removed count as withheld.
fn conclude_shut(
    answers: &Answers,
    missing: Option<&Missing>,
    counts: &mut PartCounts,
    content: &mut Question,
    findings: &mut Findings,
    report: &mut Report,
) {
    let Answers { proven, newer, lost } = answers;
    counts.withheld += proven + newer.count;
    let excused = missing.is_some_and(|missing| missing.verdict != Verdict::Failed);
    if lost.count > 0 && !excused {
        counts.lost += lost.count;
        lost.fail(content, findings);
        return;
    }
    counts.withheld += lost.count;
    let open = newer.count + lost.count;
    if open > 0 {
        let detail = format!("{open} parts do not open that are being removed: {AGAIN}");
        report.push("content", Verdict::NotProvable, detail);
    }
}

/// The claim that a stored state makes, where it makes one.
pub(super) fn claim_of(state: StoredState) -> Option<Claim> {
    match state {
        StoredState::Sealed => None,
        StoredState::Erased => Some(Claim::Gone(Removal::Erased)),
        StoredState::Pruned => Some(Claim::Gone(Removal::Pruned)),
    }
}
