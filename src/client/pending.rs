//! The handle of an event on its way.
//!
//! In scope: one outcome, handed from the sending thread to whoever waits. Out of scope: what it is.
//! Invariant: every handle gets an outcome; where the sender ends without one it is `Closed`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::prove::receipt::Receipt;
use crate::prove::verdict::{Report, Verdict};

use super::error::ClientError;

/// An event that is in the ledger: its receipt, and what was checked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Acknowledged {
    /// The receipt.
    pub receipt: Receipt,
    /// What was checked, and what was not provable with what the client has.
    pub report: Report,
}

impl Acknowledged {
    /// The event's position in the log.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.receipt.index.0
    }

    /// `Verified`, or `NotProvable` where something that matters could not be checked; a failed check
    /// is never acknowledged.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.report.verdict()
    }
}

/// What became of an event.
pub type Outcome = Result<Acknowledged, ClientError>;

#[derive(Debug, Default)]
struct Slot {
    outcome: Mutex<Option<Outcome>>,
    done: Condvar,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Outcome>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event that was accepted and not yet answered for. May be dropped: the event is sent all the same.
#[derive(Debug)]
pub struct Pending {
    id: String,
    slot: Arc<Slot>,
}

impl Pending {
    /// The event's id, which the client chose where the event had none.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits for the outcome, however long the server is away.
    ///
    /// # Errors
    /// Why the event is not in the ledger, or not known to be.
    pub fn wait(self) -> Outcome {
        let mut outcome = self.slot.lock();
        loop {
            if let Some(outcome) = outcome.take() {
                return outcome;
            }
            outcome = self.slot.done.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The outcome, where it comes within `patience`; otherwise the handle again.
    ///
    /// # Errors
    /// The handle, to wait on.
    pub fn wait_for(self, patience: Duration) -> Result<Outcome, Self> {
        let outcome = self.slot.lock();
        let (mut outcome, _) = self
            .slot
            .done
            .wait_timeout_while(outcome, patience, |outcome| outcome.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let taken = outcome.take();
        drop(outcome);
        taken.ok_or(self)
    }
}

/// The other end of a [`Pending`].
#[derive(Debug)]
pub(super) struct Completer(Arc<Slot>);

impl Completer {
    /// Both ends of a handle.
    pub(super) fn new(id: String) -> (Self, Pending) {
        let slot = Arc::<Slot>::default();
        (Self(Arc::clone(&slot)), Pending { id, slot })
    }

    pub(super) fn complete(&self, outcome: Outcome) {
        self.0.lock().get_or_insert(outcome);
        self.0.done.notify_all();
    }

    /// Whether anybody may still ask.
    pub(super) fn is_awaited(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        // Nothing happens where there is an outcome already or nobody waits.
        if self.is_awaited() {
            self.complete(Err(ClientError::Closed));
        }
    }
}
