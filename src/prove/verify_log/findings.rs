//! Collecting what is wrong, without bound on how much is.

use crate::prove::verdict::{Finding, Report, Verdict};
use std::fmt::Display;

/// Findings a report lists. Later ones are counted only.
pub const FINDINGS_KEPT: usize = 64;
/// Findings after which a walk stops: what follows would repeat them.
pub const FINDINGS_STOP: u64 = 1_000;

/// One question of the walk: how often it was answered badly, and how the first time.
#[derive(Debug)]
pub(super) struct Question {
    name: &'static str,
    failed: Answers,
    unread: Answers,
}

#[derive(Debug, Default)]
struct Answers {
    count: u64,
    first: Option<String>,
}

impl Answers {
    fn add(&mut self, place: &str, detail: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{place}: {detail}"));
    }

    fn describe(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(if self.count == 1 { first.clone() } else { format!("first of {}: {first}", self.count) })
    }
}

impl Question {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, failed: Answers::default(), unread: Answers::default() }
    }

    pub(super) fn is_good(&self) -> bool {
        self.failed.count == 0 && self.unread.count == 0
    }

    /// Counts further places of the same kind that are not told one by one.
    pub(super) fn and_more(&mut self, count: u64) {
        self.failed.count += count;
    }

    /// Adds the answer to a report; `good` describes it when nothing was wrong.
    pub(super) fn conclude(&self, good: impl Display, report: &mut Report) {
        if let Some(failed) = self.failed.describe() {
            report.push(self.name, Verdict::Failed, failed);
        } else if let Some(unread) = self.unread.describe() {
            report.push(self.name, Verdict::NotProvable, unread);
        } else {
            report.push(self.name, Verdict::Verified, good.to_string());
        }
    }
}

/// The list of findings in the order they were met.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) kept: Vec<Finding>,
    count: u64,
}

impl Findings {
    /// Something is wrong at `place`.
    pub(super) fn fail(&mut self, question: &mut Question, place: impl Display, detail: impl Display) {
        let (place, detail) = (place.to_string(), detail.to_string());
        question.failed.add(&place, &detail);
        self.keep(question.name, place, detail);
    }

    /// Something at `place` could not be read, so that nothing is known about it.
    pub(super) fn unread(&mut self, question: &mut Question, place: impl Display, why: impl Display) {
        let (place, detail) = (place.to_string(), format!("could not be read: {why}"));
        question.unread.add(&place, &detail);
        self.keep(question.name, place, detail);
    }

    fn keep(&mut self, check: &'static str, place: String, detail: String) {
        self.count += 1;
        if self.kept.len() < FINDINGS_KEPT {
            self.kept.push(Finding { check, place, detail });
        }
    }

    pub(super) fn too_many(&self) -> bool {
        self.count >= FINDINGS_STOP
    }
}
