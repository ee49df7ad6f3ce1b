//! What waits to be positioned, and who positions it.
//!
//! In scope: the queue before the sequencer. There is no thread behind it: whoever submits also positions
//! what waits, unless another is at it, who will then find it. So a submission costs no change of threads,
//! and is positioned while the group before it is flushed. Out of scope: positions
//! ([`super::sequencer`]) and flushes ([`super::commit`]). Invariants: one caller at a time has the
//! sequencer; submissions are positioned in the order in which they came; nobody blocks here, so where
//! there is no room for what is next, whoever makes room comes back for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event::entry::EntryBody;
use crate::vault::SlotNumber;

use super::Shared;
use super::admit::Prepared;
use super::commit::Reply;
use super::error::LedgerError;
use super::sequencer::Sequencer;

/// Submissions that may wait. With 64 KiB events of one each that is 64 MiB.
pub(crate) const WAITING_SUBMISSIONS_MAX: usize = 1_024;

/// One thing to append.
#[derive(Debug)]
pub(crate) enum Item {
    /// An admitted event.
    Event(Box<Prepared>),
    /// An entry of the ledger's own.
    System(EntryBody),
    /// An entry that says whose secrets are to be destroyed, and the slots that hold them.
    Erase(EntryBody, Vec<SlotNumber>),
}

impl Item {
    /// Bytes that the item takes in a journal frame, never less than it does: an entry has a header of
    /// 80 bytes, an event's body 64 bytes and 33 for each key and part; a sealed part has 8 bytes of
    /// framing and 8 for each owner; a person new to the ledger takes 105.
    pub(crate) fn frame_bytes(&self) -> usize {
        match self {
            Self::Event(event) => {
                let keys = event.open_keys.len() + event.person_keys.len() + event.parts.len();
                let sealed: usize = event
                    .parts
                    .iter()
                    .map(|part| part.blob.len() + 16 + 8 * (1 + part.owners.len()))
                    .sum();
                160 + 33 * keys + sealed + 105 * event.persons.len()
            }
            Self::System(_) | Self::Erase(..) => 65_535 + 16,
        }
    }
}

/// Items that are appended together, and where to answer.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) items: Vec<Item>,
    /// Whether the answer needs inclusion proofs and a signed checkpoint.
    pub(crate) with_proof: bool,
    pub(crate) reply: Reply,
}

impl Submission {
    fn frame_bytes(&self) -> usize {
        self.items.iter().map(Item::frame_bytes).sum()
    }
}

/// The queue before the sequencer, and the sequencer while nobody has it.
#[derive(Debug)]
pub(crate) struct Intake {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Submission>,
    sequencer: Option<Box<Sequencer>>,
    is_closed: bool,
}

impl Intake {
    /// An empty queue before `sequencer`.
    pub(crate) fn new(sequencer: Sequencer) -> Self {
        let (waiting, sequencer) = (VecDeque::new(), Some(Box::new(sequencer)));
        Self { state: Mutex::new(State { waiting, sequencer, is_closed: false }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything that came was positioned.
    fn is_empty(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.sequencer.is_some()
    }
}

impl Shared {
    /// Queues a submission and positions what waits. False where `count_max` wait already or the ledger
    /// takes nothing more.
    pub(crate) fn submit(&self, submission: Submission, count_max: usize) -> bool {
        {
            let mut state = self.intake.lock();
            if state.is_closed || self.is_stopped() || state.waiting.len() >= count_max {
                return false;
            }
            state.waiting.push_back(submission);
        }
        self.position_waiting();
        true
    }

    /// Positions what waits and has room, unless another caller is at it.
    pub(crate) fn position_waiting(&self) {
        while let Some((sequencer, submission)) = self.next_to_position() {
            let mut borrowed = Borrowed { shared: self, sequencer: Some(sequencer) };
            let bytes = submission.frame_bytes();
            let Some(sequencer) = borrowed.sequencer.as_deref_mut() else { return };
            if let Err(error) = sequencer.add(self, bytes, submission) {
                borrowed.sequencer = None;
                self.stop(&error);
            }
        }
    }

    fn next_to_position(&self) -> Option<(Box<Sequencer>, Submission)> {
        let mut state = self.intake.lock();
        if self.is_stopped() {
            // Their answers end with them.
            state.waiting.clear();
            return None;
        }
        let bytes = state.waiting.front()?.frame_bytes();
        if !self.tail_has_room() || !self.open.has_room(bytes) {
            return None;
        }
        let sequencer = state.sequencer.take()?;
        state.waiting.pop_front().map(|submission| (sequencer, submission))
    }

    /// Takes nothing more; what was submitted before is still committed.
    pub(crate) fn close_intake(&self) {
        self.intake.lock().is_closed = true;
        self.position_waiting();
        self.open.close();
    }

    /// Whether nothing more will come and everything that came was positioned.
    pub(crate) fn intake_is_done(&self) -> bool {
        self.is_stopped() || self.intake.is_empty()
    }
}

/// The sequencer in the hands of one caller; it goes back at the end.
struct Borrowed<'a> {
    shared: &'a Shared,
    sequencer: Option<Box<Sequencer>>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Half a submission may be in the group: nothing of it may become durable.
            self.shared.open.abandon();
            self.shared.stop(&LedgerError::Stopped);
            return;
        }
        if let Some(sequencer) = self.sequencer.take() {
            self.shared.intake.lock().sequencer = Some(sequencer);
        }
    }
}
