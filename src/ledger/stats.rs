//! What a ledger counts while it runs, for whoever watches it.
//!
//! In scope: counters and histograms since the start of the process. Out of scope: their names in an
//! exposition (`http::metrics`). Invariants: counting costs the commit path a few relaxed atomic
//! operations and no lock; nothing is counted by a value from an event.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use crate::prove::verdict::Verdict;

use super::append::Appended;
use super::error::AppendError;

/// Upper bounds of durations in microseconds: 0.1 ms, where a fast disk flushes, to 10 s.
pub const DURATION_BOUNDS_US: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

/// Upper bounds of the entries of a group: one, to what a request may hold.
const GROUP_BOUNDS: &[u64] = &[1, 2, 5, 10, 25, 50, 100, 250, 1_000, 2_500, 10_000];

/// How often a value fell between which bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// An empty histogram with these upper bounds, ascending and inclusive.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts `value`.
    pub fn record(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The sum of all values, and each upper bound (`None` for the last, which has none) with how many
    /// values lie below it and above the bound before.
    pub fn read(&self) -> (u64, Vec<(Option<u64>, u64)>) {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        (self.sum.load(Ordering::Relaxed), bounds.zip(counts).collect())
    }
}

/// The outcome of a self-audit.
#[derive(Debug, Clone, Copy)]
pub struct Audited {
    /// What it found.
    pub verdict: Verdict,
    /// When it ended, Unix microseconds.
    pub at_us: u64,
}

/// The counts of one ledger.
#[derive(Debug)]
pub struct Stats {
    created: AtomicU64,
    replayed: AtomicU64,
    /// Refused events by problem code; the codes are a closed list, and refusals are rare.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// Microseconds from a group's write to the end of its flush.
    pub flush_us: Histogram,
    /// Entries of a group.
    pub group_entries: Histogram,
    published_size: AtomicU64,
    published_at_us: AtomicU64,
    audited: ArcSwapOption<Audited>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            created: AtomicU64::default(),
            replayed: AtomicU64::default(),
            refused: Mutex::default(),
            flush_us: Histogram::new(DURATION_BOUNDS_US),
            group_entries: Histogram::new(GROUP_BOUNDS),
            published_size: AtomicU64::default(),
            published_at_us: AtomicU64::default(),
            audited: ArcSwapOption::empty(),
        }
    }
}

impl Stats {
    /// Counts what became of the events of a request.
    pub(crate) fn answered(&self, answers: &[Result<Appended, AppendError>]) {
        let (mut created, mut replayed) = (0, 0);
        for answer in answers {
            match answer {
                Ok(appended) if appended.replayed.is_some() => replayed += 1,
                Ok(_) => created += 1,
                Err(error) => {
                    let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                    *refused.entry(error.code()).or_default() += 1;
                }
            }
        }
        self.created.fetch_add(created, Ordering::Relaxed);
        self.replayed.fetch_add(replayed, Ordering::Relaxed);
    }

    /// Counts a durable group.
    pub(crate) fn committed(&self, entries: usize, flush_us: u64) {
        self.flush_us.record(flush_us);
        self.group_entries.record(u64::try_from(entries).unwrap_or(u64::MAX));
    }

    /// Notes a published checkpoint.
    pub(crate) fn published(&self, size: u64, at_us: u64) {
        self.published_size.store(size, Ordering::Relaxed);
        self.published_at_us.store(at_us, Ordering::Relaxed);
    }

    /// Notes the outcome of a self-audit.
    pub fn set_audited(&self, audited: Audited) {
        self.audited.store(Some(Arc::new(audited)));
    }

    /// The newest self-audit since the start.
    #[must_use]
    pub fn audited(&self) -> Option<Audited> {
        self.audited.load().as_deref().copied()
    }

    /// How many events came to which end: `created`, `replayed`, or a problem's code.
    #[must_use]
    pub fn events(&self) -> Vec<(&'static str, u64)> {
        let mut events = vec![
            ("created", self.created.load(Ordering::Relaxed)),
            ("replayed", self.replayed.load(Ordering::Relaxed)),
        ];
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        events.extend(refused.iter().map(|(code, count)| (*code, *count)));
        events
    }

    /// Size of the newest published checkpoint.
    #[must_use]
    pub fn published_size(&self) -> u64 {
        self.published_size.load(Ordering::Relaxed)
    }

    /// When it was published, Unix microseconds.
    #[must_use]
    pub fn published_at_us(&self) -> u64 {
        self.published_at_us.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_below_the_first_bound_that_is_not_less() {
        let histogram = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, 1_000] {
            histogram.record(value);
        }
        assert_eq!(histogram.read(), (1_062, vec![(Some(10), 2), (Some(20), 2), (None, 2)]));
    }
}
