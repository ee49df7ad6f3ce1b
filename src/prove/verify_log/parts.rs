//! Stored parts against what the entries commit to.

use super::claims::{Claim, Claims, claim_of};
use super::due::Pruned;
use super::findings::{Findings, Question};
use super::removals::Removals;
use super::{Opened, PartSource, PartView, StoredState};
use crate::event::facet::Role;
use crate::event::keys::{LedgerId, part_commitment};
use crate::log::hash::{Hash, LogIndex};
use crate::log::tile::sealed_path;
use crate::prove::entry_view::{EntryView, EventView};
use crate::prove::verdict::{PartCounts, Report, Verdict};

/// The walk over stored parts, one bundle at a time.
pub(super) struct Parts<'s, P: PartSource> {
    source: &'s P,
    bundle: u64,
    /// The current bundle's lists; `None` when it is missing or unreadable, which `failed` tells.
    lists: Option<std::vec::IntoIter<Vec<P::Part>>>,
    unreadable: bool,
    pub(super) counts: PartCounts,
    stored: Question,
    content: Question,
    claims: Claims<'s, P>,
    pruned: Pruned,
}

impl<'s, P: PartSource> Parts<'s, P> {
    pub(super) fn new(source: &'s P) -> Self {
        Self {
            source,
            bundle: 0,
            lists: None,
            unreadable: false,
            counts: PartCounts::default(),
            stored: Question::new("parts"),
            content: Question::new("content"),
            claims: Claims::new(source),
            pruned: Pruned::new(),
        }
    }

    /// Loads the stored parts of the next bundle.
    pub(super) fn enter(&mut self, bundle: u64, findings: &mut Findings) {
        (self.bundle, self.unreadable) = (bundle, false);
        self.lists = match self.source.parts(bundle) {
            Ok(lists) => lists.map(Vec::into_iter),
            Err(error) => {
                self.unreadable = true;
                findings.fail(
                    &mut self.stored,
                    sealed_path(bundle),
                    format_args!("unreadable: {error}"),
                );
                None
            }
        };
    }

    /// Looks at the parts of the next entry, which could not be read itself if `view` is `None`.
    pub(super) fn entry(&mut self, index: u64, view: Option<&EntryView<'_>>, findings: &mut Findings) {
        let list = self.lists.as_mut().and_then(Iterator::next);
        let Some(view) = view else { return };
        let Some(event) = &view.event else {
            if list.is_some_and(|parts| !parts.is_empty()) {
                let place = self.place(index);
                findings.fail(&mut self.stored, place, "parts beside an entry that has none");
            }
            return;
        };
        let stored = list.unwrap_or_default();
        let mut stored = stored.iter().map(|part| (self.source.describe(part), part)).peekable();
        for (role, commitment) in event.parts() {
            while let Some((extra, _)) = stored.next_if(|(seen, _)| seen.role < role) {
                self.surplus(index, extra.role, findings);
            }
            match stored.next_if(|(seen, _)| seen.role == role) {
                None => self.lost(index, role, findings),
                Some((seen, part)) => {
                    if seen.state == StoredState::Pruned {
                        let latest = self.pruned.entry((event.class, role)).or_default();
                        *latest = (*latest).max((view.time_us, index));
                    }
                    self.part(index, (view.ledger, event), seen, part, commitment, findings);
                }
            }
        }
        for (extra, _) in stored {
            self.surplus(index, extra.role, findings);
        }
    }

    fn part(
        &mut self,
        index: u64,
        (ledger, event): (LedgerId, &EventView<'_>),
        seen: PartView,
        part: &P::Part,
        commitment: Hash,
        findings: &mut Findings,
    ) {
        let (bundle, role) = (self.bundle, seen.role);
        let told = |what: &str| (place_of(bundle, index), format!("part {} {what}", role.name()));
        if let Some(claim) = claim_of(seen.state) {
            let place = || told("is gone, and the removed set does not say so");
            self.claims.ask(&event.event_key, role, claim, &place);
            return;
        }
        let place = || told("is erased, and is still there");
        self.claims.ask(&event.event_key, role, Claim::Sealed, &place);
        if !seen.intact {
            self.counts.lost += 1;
            let what = format_args!("part {}: bytes do not match their checksum", role.name());
            findings.fail(&mut self.stored, place_of(bundle, index), what);
            return;
        }
        match self.source.open(LogIndex(index), event, part) {
            Ok(Opened::Open { salt, body }) => {
                let found = part_commitment(ledger, &event.event_key, role, &salt, &body);
                if found == commitment {
                    self.counts.open += 1;
                    return;
                }
                self.counts.lost += 1;
                let (place, what) = told("is not what was committed");
                findings.fail(&mut self.content, place, what);
            }
            Ok(Opened::Withheld) => self.counts.withheld += 1,
            Ok(Opened::Damaged) => {
                let shut = || told("does not open");
                if !self.claims.ask(&event.event_key, role, Claim::Shut, &shut) {
                    self.counts.lost += 1;
                    let (place, what) = shut();
                    findings.fail(&mut self.content, place, what);
                }
            }
            Err(error) => {
                self.counts.withheld += 1;
                findings.unread(&mut self.content, place_of(bundle, index), error);
            }
        }
    }

    fn lost(&mut self, index: u64, role: Role, findings: &mut Findings) {
        self.counts.lost += 1;
        if !self.unreadable {
            let place = self.place(index);
            findings.fail(&mut self.stored, place, format_args!("part {} is lost", role.name()));
        }
    }

    fn surplus(&mut self, index: u64, role: Role, findings: &mut Findings) {
        let place = self.place(index);
        let what = format_args!("part {} is not in the entry", role.name());
        findings.fail(&mut self.stored, place, what);
    }

    fn place(&self, index: u64) -> String {
        place_of(self.bundle, index)
    }

    /// Adds the answers to a report. `whole` says that every entry was read.
    pub(super) fn conclude(
        &mut self,
        removals: &Removals,
        whole: bool,
        findings: &mut Findings,
        report: &mut Report,
    ) {
        let mut told = Report::new(report.target);
        let Self { claims, counts, content, .. } = self;
        claims.conclude(removals, whole, counts, content, findings, &mut told);
        removals.due().conclude(&self.pruned, findings, &mut told);
        report.parts.add(&self.counts);
        self.stored.conclude(self.counts, report);
        let opened = format!("{} parts opened, each as committed", self.counts.open);
        if self.counts.open == 0 && self.content.is_good() {
            report.note("content", Verdict::NotProvable, "no part was opened");
        } else {
            self.content.conclude(opened, report);
        }
        report.checks.append(&mut told.checks);
    }
}

fn place_of(bundle: u64, index: u64) -> String {
    format!("{} entry {index}", sealed_path(bundle))
}
