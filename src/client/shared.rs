//! What the callers' threads and the sending thread share.
//!
//! In scope: accepting events, waiting for room, for work and for acknowledgements, ending. Out of
//! scope: requests. Invariants: the state is locked for moments, never while bytes become durable or
//! travel; whoever waits is woken when the client ends.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::OnFull;
use super::error::ClientError;
use super::pending::{Completer, Pending};
use super::queue::{Item, Queue, Room};
use super::spool::Spool;

/// How often a full spool is looked at again by a caller that waits for room.
const FULL_SPOOL_POLL: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Events accepted, of this process and of the spool's leftover.
    accepted: u64,
    /// Events acknowledged or refused.
    settled: u64,
    /// As many as this are to be settled without waiting for more.
    flush_to: u64,
    /// Callers that wait for room.
    blocked: usize,
    closing: bool,
    ended: Option<ClientError>,
}

impl State {
    fn unsettled(&self) -> u64 {
        self.accepted.saturating_sub(self.settled)
    }

    /// Whether what waits should be sent now.
    fn is_due(&self, room: Room) -> bool {
        let events = usize::try_from(self.unsettled()).unwrap_or(usize::MAX);
        let full = events >= room.events || self.queue.held().bytes >= room.bytes;
        full || self.flush_to > self.settled || self.blocked > 0 || self.closing
    }
}

/// The meeting point of both sides.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    spool: Option<Spool>,
}

impl Shared {
    pub(super) fn new(room: Room, spool: Option<Spool>) -> Self {
        let state = State {
            queue: Queue::new(room),
            accepted: spool.as_ref().map_or(0, Spool::open_events),
            settled: 0,
            flush_to: 0,
            blocked: 0,
            closing: false,
            ended: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), spool }
    }

    pub(super) fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'s>(
        &self,
        state: MutexGuard<'s, State>,
        patience: Duration,
        waiting: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'s, State> {
        let waited = self.changed.wait_timeout_while(state, patience, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Accepts events, each an id and its JSON, in this order.
    pub(super) fn accept(
        &self,
        events: Vec<(String, Vec<u8>)>,
        on_full: OnFull,
    ) -> Result<Vec<Pending>, ClientError> {
        let (ids, events): (Vec<String>, Vec<Vec<u8>>) = events.into_iter().unzip();
        let (completers, handles): (Vec<Completer>, Vec<Pending>) =
            ids.into_iter().map(Completer::new).unzip();
        match &self.spool {
            Some(spool) => self.accept_on_disk(spool, &events, completers, on_full)?,
            None => self.accept_in_memory(events, completers, on_full)?,
        }
        Ok(handles)
    }

    fn accept_in_memory(
        &self,
        events: Vec<Vec<u8>>,
        completers: Vec<Completer>,
        on_full: OnFull,
    ) -> Result<(), ClientError> {
        let mut state = self.lock();
        if on_full == OnFull::Refuse {
            check_alive(&state)?;
            state.queue.check(events.len(), events.iter().map(Vec::len).sum())?;
        }
        for (event, completer) in events.into_iter().zip(completers) {
            loop {
                check_alive(&state)?;
                if on_full == OnFull::Refuse || state.queue.check(1, event.len()).is_ok() {
                    break;
                }
                state.blocked += 1;
                self.changed.notify_all();
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.blocked -= 1;
            }
            state.queue.push(event, completer);
            state.accepted += 1;
        }
        self.changed.notify_all();
        Ok(())
    }

    fn accept_on_disk(
        &self,
        spool: &Spool,
        events: &[Vec<u8>],
        completers: Vec<Completer>,
        on_full: OnFull,
    ) -> Result<(), ClientError> {
        let mut completers = completers.into_iter();
        let mut done = 0;
        loop {
            check_alive(&self.lock())?;
            let rest = events.get(done..).unwrap_or_default();
            let mut accepted = |places: &[_]| {
                let mut state = self.lock();
                for (place, completer) in places.iter().zip(completers.by_ref()) {
                    state.queue.expect(*place, completer);
                    state.accepted += 1;
                    done += 1;
                }
            };
            match spool.append(rest, &mut accepted) {
                Ok(()) => {
                    // Only now can the other thread read them.
                    drop(self.lock());
                    self.changed.notify_all();
                    return Ok(());
                }
                Err(ClientError::SpoolFull { more_bytes, limit_bytes, .. })
                    if on_full == OnFull::Block && more_bytes <= limit_bytes =>
                {
                    let mut state = self.lock();
                    state.blocked += 1;
                    self.changed.notify_all();
                    state = self.wait_while(state, FULL_SPOOL_POLL, |state| state.ended.is_none());
                    state.blocked -= 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next events to send, once there are some; none where the client is being closed.
    pub(super) fn take(
        &self,
        room: Room,
        linger: Duration,
    ) -> Result<Option<VecDeque<Item>>, ClientError> {
        let mut state = self.lock();
        loop {
            if state.closing {
                return Ok(None);
            }
            let waiting = match &self.spool {
                Some(spool) => spool.has_unread(),
                None => state.queue.held().events > 0,
            };
            if waiting {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !linger.is_zero() {
            state = self.wait_while(state, linger, |state| !state.is_due(room));
        }
        let taken = match &self.spool {
            Some(spool) => {
                let read = spool.read(room.events, room.bytes)?;
                read.into_iter().map(|read| state.queue.claim(read.place, read.event)).collect()
            }
            None => state.queue.take(room),
        };
        drop(state);
        self.changed.notify_all();
        Ok(Some(taken))
    }

    /// Waits for `delay`; false where the client is being closed.
    pub(super) fn pause(&self, delay: Duration) -> bool {
        let state = self.lock();
        !self.wait_while(state, delay, |state| !state.closing).closing
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Notes that events were acknowledged or refused.
    pub(super) fn settled(&self, count: usize) {
        self.lock().settled += u64::try_from(count).unwrap_or(u64::MAX);
        self.changed.notify_all();
    }

    /// Events accepted and not settled.
    pub(super) fn unsettled(&self) -> u64 {
        self.lock().unsettled()
    }

    /// Waits until everything accepted before is settled.
    pub(super) fn flush(&self, patience: Duration) -> Result<(), ClientError> {
        let mut state = self.lock();
        let target = state.accepted;
        state.flush_to = state.flush_to.max(target);
        self.changed.notify_all();
        let waiting = |state: &mut State| state.settled < target && state.ended.is_none();
        let state = self.wait_while(state, patience, waiting);
        if state.settled >= target {
            return Ok(());
        }
        check_alive(&state)?;
        Err(ClientError::Unacknowledged { events: target - state.settled })
    }

    /// Asks the sending thread to end.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// Ends the client: everybody who waits is told why.
    pub(super) fn end(&self, why: ClientError) {
        let mut state = self.lock();
        state.queue.fail(&why);
        state.ended.get_or_insert(why);
        drop(state);
        self.changed.notify_all();
    }

    /// Why the client ended, where it did.
    pub(super) fn ended(&self) -> Option<ClientError> {
        self.lock().ended.clone()
    }
}

fn check_alive(state: &State) -> Result<(), ClientError> {
    match &state.ended {
        Some(why) => Err(why.clone()),
        None if state.closing => Err(ClientError::Closed),
        None => Ok(()),
    }
}
