//! The chain inside the entries: each names its position, its ledger and its predecessor's hash.

use super::findings::{Findings, Question};
use crate::event::keys::LedgerId;
use crate::log::hash::Hash;
use crate::prove::entry_view::EntryView;
use crate::prove::verdict::{Report, Verdict};

/// The state of the walk along the chain.
#[derive(Debug)]
pub(super) struct Chain {
    ledger: LedgerId,
    prev: Hash,
    time_us: u64,
    foreign: bool,
    entries: u64,
    question: Question,
}

impl Chain {
    pub(super) fn new(ledger: LedgerId) -> Self {
        Self {
            ledger,
            prev: Hash::ZERO,
            time_us: 0,
            foreign: false,
            entries: 0,
            question: Question::new("chain"),
        }
    }

    /// The next entry cannot be read; `leaf` is what its tile says it hashes to.
    pub(super) fn skip(&mut self, leaf: Hash) {
        self.prev = leaf;
    }

    /// Looks at the entry at `index`, whose leaf hash is `leaf`.
    pub(super) fn step<'a>(
        &mut self,
        index: u64,
        bytes: &'a [u8],
        leaf: Hash,
        findings: &mut Findings,
    ) -> Option<EntryView<'a>> {
        if index == 0 && !EntryView::is_ours(bytes) {
            self.foreign = true;
        }
        if self.foreign {
            return None;
        }
        let prev = std::mem::replace(&mut self.prev, leaf);
        let view = match EntryView::read(bytes) {
            Ok(view) => view,
            Err(error) => {
                findings.fail(&mut self.question, format_args!("entry {index}"), error);
                return None;
            }
        };
        self.entries += 1;
        if let Some(what) = self.wrong(&view, index, prev) {
            findings.fail(&mut self.question, format_args!("entry {index}"), what);
        }
        self.time_us = self.time_us.max(view.time_us);
        Some(view)
    }

    fn wrong(&self, view: &EntryView<'_>, index: u64, prev: Hash) -> Option<String> {
        if view.index.0 != index {
            return Some(format!("says it is entry {}", view.index));
        }
        if view.ledger != self.ledger {
            return Some(format!("belongs to ledger {}, not {}", view.ledger, self.ledger));
        }
        if view.prev != prev {
            return Some("its predecessor's hash is another than the predecessor has".to_owned());
        }
        if view.time_us < self.time_us {
            return Some(format!("is {} µs earlier than its predecessors", self.time_us - view.time_us));
        }
        None
    }

    /// Whether every entry that was given could be read.
    pub(super) fn is_good(&self) -> bool {
        self.question.is_good()
    }

    pub(super) fn foreign(&self) -> bool {
        self.foreign
    }

    /// Adds the answer to a report. `read` says whether entries were read at all.
    pub(super) fn conclude(&self, read: bool, foreign_allowed: bool, report: &mut Report) {
        if !read {
            report.push("chain", Verdict::NotProvable, "entries were not read");
        } else if self.foreign {
            let detail = "entries are of another format, which has no chain that is known here";
            if foreign_allowed {
                report.note("chain", Verdict::NotProvable, detail);
            } else {
                report.push("chain", Verdict::NotProvable, detail);
            }
        } else {
            let detail = format!("{} entries, each names its predecessor", self.entries);
            self.question.conclude(detail, report);
        }
    }
}
