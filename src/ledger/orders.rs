//! What others ask of the fold, and keeping it still for a moment.
//!
//! In scope: a durable round or a registration now instead of when it is due, and whose turn it is with the
//! files of the filling bundle. Out of scope: doing it ([`super::fold`]). Invariant: whoever asked waits for
//! work that was begun after the asking.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Shared;
use super::error::LedgerError;

/// How long to wait before looking whether the ledger has stopped.
const LOOK: Duration = Duration::from_millis(50);

/// What is asked of the fold.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    state: Mutex<State>,
    done: Condvar,
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    rounds_wanted: u64,
    rounds_done: u64,
    registered_through: u64,
    wants_registration: bool,
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the fold from working while it is held; the fold holds it while it works.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the newest round that is asked for, where it is not done yet.
    pub(crate) fn round(&self) -> Option<u64> {
        let state = self.lock();
        (state.rounds_wanted > state.rounds_done).then_some(state.rounds_wanted)
    }

    /// The round of this number, and all before it, are done.
    pub(crate) fn round_done(&self, number: u64) {
        let mut state = self.lock();
        state.rounds_done = state.rounds_done.max(number);
        self.done.notify_all();
    }

    /// Whether persons are to be registered now.
    pub(crate) fn wants_registration(&self) -> bool {
        self.lock().wants_registration
    }

    /// Every person below this slot is registered.
    pub(crate) fn registered(&self, through_slot: u64) {
        let mut state = self.lock();
        state.registered_through = state.registered_through.max(through_slot);
        self.done.notify_all();
    }
}

impl Shared {
    /// Waits for a durable round of the fold that begins after this call.
    pub(crate) fn durable_round(&self) -> Result<(), LedgerError> {
        let mut state = self.orders.lock();
        state.rounds_wanted += 1;
        let wanted = state.rounds_wanted;
        drop(state);
        self.wait_for_orders(|state| state.rounds_done >= wanted)
    }

    /// Waits until every person below `through_slot` is registered in the log.
    pub(crate) fn register_below(&self, through_slot: u64) -> Result<(), LedgerError> {
        self.orders.lock().wants_registration = true;
        let waited = self.wait_for_orders(|state| state.registered_through >= through_slot);
        self.orders.lock().wants_registration = false;
        waited
    }

    fn wait_for_orders(&self, is_done: impl Fn(&State) -> bool) -> Result<(), LedgerError> {
        self.grown.notify_all();
        let mut state = self.orders.lock();
        while !is_done(&state) {
            if self.is_stopped() {
                return Err(LedgerError::Stopped);
            }
            let waited = self.orders.done.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !is_done(&state) {
                drop(state);
                // The fold may have been at work when it was woken.
                self.grown.notify_all();
                state = self.orders.lock();
            }
        }
        Ok(())
    }
}
