//! Events that wait to be sent.
//!
//! In scope: one queue, in memory or on disk, and the handles of the events in it. Out of scope:
//! sending. Invariants: the queue is bounded; events leave it in the order they came.

use std::collections::{BTreeMap, VecDeque};

use super::error::{ClientError, Refusal};
use super::pending::{Completer, Outcome};
use super::spool::{Place, Spool};

/// Handles of spooled events, before those that nobody holds any more are looked for.
const HANDLES_KEPT: usize = 1_024;

/// An event on its way.
#[derive(Debug)]
pub(super) struct Item {
    /// The event's canonical JSON.
    pub(super) event: Vec<u8>,
    place: Option<Place>,
    completer: Option<Completer>,
}

impl Item {
    pub(super) fn complete(&self, outcome: Outcome) {
        if let Some(completer) = &self.completer {
            completer.complete(outcome);
        }
    }
}

/// How much may wait in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// Events that wait in memory, or the handles of those that wait on disk.
#[derive(Debug)]
pub(super) struct Queue {
    room: Room,
    waiting: VecDeque<Item>,
    bytes: usize,
    /// By place; only events of this process have any.
    handles: BTreeMap<Place, Completer>,
    swept_at: usize,
}

impl Queue {
    pub(super) fn new(room: Room) -> Self {
        let (waiting, handles) = (VecDeque::new(), BTreeMap::new());
        Self { room, waiting, bytes: 0, handles, swept_at: HANDLES_KEPT }
    }

    /// Whether events of `bytes` fit. What is larger than the queue fits when it is empty.
    pub(super) fn check(&self, events: usize, bytes: usize) -> Result<(), ClientError> {
        let fits = self.waiting.len() + events <= self.room.events
            && self.bytes.saturating_add(bytes) <= self.room.bytes;
        if fits || self.waiting.is_empty() {
            return Ok(());
        }
        Err(ClientError::QueueFull {
            held_events: self.waiting.len(),
            held_bytes: self.bytes,
            limit_events: self.room.events,
            limit_bytes: self.room.bytes,
        })
    }

    /// Queues an event in memory.
    pub(super) fn push(&mut self, event: Vec<u8>, completer: Completer) {
        self.bytes += event.len();
        self.waiting.push_back(Item { event, place: None, completer: Some(completer) });
    }

    /// Remembers who waits for a spooled event.
    pub(super) fn expect(&mut self, place: Place, completer: Completer) {
        if self.handles.len() >= self.swept_at {
            self.handles.retain(|_, completer| completer.is_awaited());
            self.swept_at = (self.handles.len() * 2).max(HANDLES_KEPT);
        }
        self.handles.insert(place, completer);
    }

    /// Events and bytes that wait in memory.
    pub(super) fn held(&self) -> Room {
        Room { events: self.waiting.len(), bytes: self.bytes }
    }

    /// Takes the next events for one request: at most `room`, but one in any case.
    pub(super) fn take(&mut self, room: Room) -> VecDeque<Item> {
        let mut taken = VecDeque::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            let full = taken.len() >= room.events || bytes + next.event.len() + 1 > room.bytes;
            if full && !taken.is_empty() {
                break;
            }
            bytes += next.event.len() + 1;
            self.bytes = self.bytes.saturating_sub(next.event.len());
            taken.extend(self.waiting.pop_front());
        }
        taken
    }

    /// The handle that belongs to an event read from the spool.
    pub(super) fn claim(&mut self, place: Place, event: Vec<u8>) -> Item {
        Item { event, place: Some(place), completer: self.handles.remove(&place) }
    }

    /// Gives every waiting handle the same outcome.
    pub(super) fn fail(&mut self, why: &ClientError) {
        for item in self.waiting.drain(..) {
            item.complete(Err(why.clone()));
        }
        self.bytes = 0;
        for completer in std::mem::take(&mut self.handles).into_values() {
            completer.complete(Err(why.clone()));
        }
    }
}

/// Keeps a refused event aside, where there is a spool to keep it in.
pub(super) fn keep_refused(
    spool: Option<&Spool>,
    item: &Item,
    refusal: &Refusal,
) -> Result<(), ClientError> {
    if let (Some(spool), Some(place)) = (spool, item.place) {
        spool.keep_refused(place, &item.event, refusal)?;
    }
    Ok(())
}

/// Lets the spool forget events that are settled.
pub(super) fn settle<'i>(
    spool: Option<&Spool>,
    items: impl Iterator<Item = &'i Item>,
) -> Result<(), ClientError> {
    if let Some(spool) = spool {
        let places: Vec<Place> = items.filter_map(|item| item.place).collect();
        spool.settle(&places)?;
    }
    Ok(())
}
