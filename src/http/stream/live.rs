//! How many streams there are, how they wake, and how they end.
//!
//! In scope: slots, one task per ledger that wakes its streams, the end of all. Out of scope: what is
//! sent. Invariants: a commit wakes one task, however many streams there are; a stream's slot is free
//! again when its follower ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::ledger::Ledger;

use super::super::problem::{self, Problem};

/// Streams at most: half of the connections. A quiet one takes about 10 kB, one that is not read two
/// chunks of 64 kB besides: 256 MB for all.
pub(crate) const STREAMS_MAX: usize = 2_048;

/// Streams of one key at most, so that one consumer leaves room for others.
pub(crate) const STREAMS_PER_KEY_MAX: usize = 1_024;

/// Streams that read at a time.
const READERS_MAX: usize = 4;

/// Milliseconds between two wakes of a ledger's streams.
const WAKE_INTERVAL_MS: u64 = 20;

/// The streams of a server.
#[derive(Debug)]
pub struct Live {
    /// Permits to read for a stream.
    pub(super) readers: Semaphore,
    closing: watch::Sender<bool>,
    /// Open streams by key.
    open: Mutex<BTreeMap<String, usize>>,
    /// What wakes each ledger's streams.
    wakes: Mutex<BTreeMap<String, watch::Sender<u64>>>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            readers: Semaphore::new(READERS_MAX),
            closing: watch::Sender::new(false),
            open: Mutex::default(),
            wakes: Mutex::default(),
        }
    }
}

/// One stream's place among those that are open.
#[derive(Debug)]
pub(crate) struct Slot {
    live: Arc<Live>,
    key: String,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.live.open();
        if let Some(count) = open.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

impl Live {
    fn open(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of open streams.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.open().values().sum()
    }

    /// Ends every stream, and lets none begin.
    pub fn end(&self) {
        self.closing.send_replace(true);
    }

    /// Tells when the streams have to end.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// A place for another stream of a key.
    pub(crate) fn enter(self: &Arc<Self>, key: &str) -> Result<Slot, Problem> {
        let overloaded = |detail: String| Err(Problem::new(problem::OVERLOADED, detail));
        if *self.closing.borrow() {
            return overloaded("the server is ending; connect again to the next one".to_owned());
        }
        let mut open = self.open();
        let all: usize = open.values().sum();
        if all >= STREAMS_MAX {
            return overloaded(format!("{all} streams are open, and no more are accepted"));
        }
        let count = open.entry(key.to_owned()).or_default();
        if *count >= STREAMS_PER_KEY_MAX {
            return overloaded(format!(
                "{count} streams of this key are open, and no more are accepted"
            ));
        }
        *count += 1;
        Ok(Slot { live: Arc::clone(self), key: key.to_owned() })
    }

    /// Wakes when the ledger has something new. The ledger itself wakes one task per server, which passes
    /// it on to the streams at most every 20 ms, so that commits do not wait for a thousand wakes.
    pub(crate) fn changes(&self, ledger: &Ledger) -> watch::Receiver<u64> {
        let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wake) = wakes.get(ledger.name()) {
            return wake.subscribe();
        }
        let (wake, receiver) = watch::channel(0_u64);
        let mut source = ledger.changes();
        let passed_on = wake.clone();
        tokio::spawn(async move {
            while source.changed().await.is_ok() {
                passed_on.send_modify(|count| *count = count.wrapping_add(1));
                tokio::time::sleep(Duration::from_millis(WAKE_INTERVAL_MS)).await;
            }
        });
        wakes.insert(ledger.name().to_owned(), wake);
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_by_key_and_given_back() {
        let live = Arc::new(Live::default());
        let slots: Vec<Slot> = (0..STREAMS_PER_KEY_MAX).map(|_| live.enter("a").unwrap()).collect();
        assert!(live.enter("a").is_err(), "one key has its share");
        let others: Vec<Slot> = (0..STREAMS_PER_KEY_MAX).map(|_| live.enter("b").unwrap()).collect();
        assert_eq!(live.streams(), STREAMS_MAX);
        assert!(live.enter("c").is_err(), "the server is full");
        drop(slots);
        drop(live.enter("c").unwrap());
        drop(others);
        assert_eq!(live.streams(), 0);
        live.end();
        assert!(live.enter("c").is_err(), "none begins while the server ends");
    }
}
