//! Making positioned entries durable, one group a flush, and answering.
//!
//! In scope: the group that forms while the one before it is flushed, its one journal frame and one
//! `fdatasync`, showing it to readers, and the answers. A flush starts when the one before has ended; there
//! is no timer. Out of scope: positions ([`super::sequencer`]), tiles and index runs ([`super::fold`]).
//! Invariants: groups are committed in the order of their positions; nothing is visible or acknowledged
//! before its frame is durable; after a failed write or flush the thread ends and nothing more is taken.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::event::entry::Kind;
use crate::index::Term;
use crate::log::checkpoint::Checkpoint;
use crate::log::hash::{Hash, LogIndex, TreeSize};
use crate::log::merkle;
use crate::log::tile::TILE_WIDTH;
use crate::store::frame::FrameWriter;
use crate::store::journal::Journal;
use crate::vault::Inboxes;

use super::Shared;
use super::error::{AppendError, LedgerError};
use super::nodes::EdgeNodes;
use super::sequencer::GROUP_BYTES_MAX;
use super::tail::Record;

/// Where the answer to a submission goes.
pub(crate) type Reply = oneshot::Sender<Result<Outcome, AppendError>>;

/// What became of a submission.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Durable; one per item, in order.
    Committed(Vec<Committed>),
    /// Nothing was appended: an id was taken by a submission that came first. Look up again.
    LookUpAgain,
}

/// A durable entry and, where asked for, its proof.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) index: u64,
    pub(crate) record: Arc<Record>,
    pub(crate) proof: Option<Proof>,
}

/// Inclusion under a checkpoint of the size that the group made.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) checkpoint: Arc<GroupCheckpoint>,
    pub(crate) hashes: Vec<Hash>,
}

/// The checkpoint of a group's receipts: signed once, by whoever answers first, so that the next flush does
/// not wait for it.
#[derive(Debug)]
pub(crate) struct GroupCheckpoint {
    size: TreeSize,
    root: Hash,
    note: Mutex<Option<Arc<str>>>,
}

impl GroupCheckpoint {
    /// The signed note.
    pub(crate) fn note(&self, shared: &Shared) -> Result<Arc<str>, LedgerError> {
        let mut note = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signed) = &*note {
            return Ok(Arc::clone(signed));
        }
        let checkpoint = Checkpoint { origin: shared.origin.clone(), size: self.size, root: self.root };
        let signed: Arc<str> = Arc::from(checkpoint.sign(&shared.signer)?);
        *note = Some(Arc::clone(&signed));
        Ok(signed)
    }
}

/// Entries that are committed together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) frame: FrameWriter,
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) terms: Vec<(u64, Term)>,
    /// What its persons are wrapped and its owners masked under.
    inboxes: Option<Arc<Inboxes>>,
    submissions: Vec<Submitted>,
    again: Vec<Reply>,
}

/// Who waits for which entries of a group.
#[derive(Debug)]
struct Submitted {
    entries: Range<u64>,
    with_proof: bool,
    reply: Reply,
}

impl Group {
    /// The inbox keys of the group, which begins at log index `first` where nothing is in it yet.
    pub(crate) fn begin(&mut self, shared: &Shared, first: u64) -> Arc<Inboxes> {
        if let (Some(inboxes), false) = (&self.inboxes, self.records.is_empty()) {
            return Arc::clone(inboxes);
        }
        let inboxes = shared.inboxes.load_full();
        self.frame = FrameWriter::new(first, inboxes.newest().0);
        self.inboxes = Some(Arc::clone(&inboxes));
        inboxes
    }

    /// Notes who waits for `entries`.
    pub(crate) fn submitted(&mut self, entries: Range<u64>, with_proof: bool, reply: Reply) {
        self.submissions.push(Submitted { entries, with_proof, reply });
    }

    /// Lets a request look its events up again once this group is visible.
    pub(crate) fn look_up_again(&mut self, reply: Reply) {
        self.again.push(reply);
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.again.is_empty()
    }
}

/// The group that the next flush takes, between the sequencer, which adds to it, and the committer.
#[derive(Debug, Default)]
pub(crate) struct OpenGroup {
    open: Mutex<Open>,
    /// Signalled for a committer that waits for a group.
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    group: Group,
    /// Bytes of the group's frame, at most.
    bytes: usize,
    /// Nothing more is added, but for what has come already.
    is_closed: bool,
    /// Nothing more is taken.
    has_ended: bool,
    committer_waits: bool,
}

impl OpenGroup {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `bytes` more fit the group's frame. An empty group has room for anything.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let open = self.lock();
        open.group.is_empty() || open.bytes + bytes <= GROUP_BYTES_MAX
    }

    /// Adds what takes up to `bytes` of a frame. Where `add` fails the whole group is dropped, lest a part
    /// of a submission be committed. Where nothing more is taken `add` is dropped, and the reply in it, by
    /// which the request learns that the ledger has stopped.
    pub(crate) fn add(
        &self,
        bytes: usize,
        add: impl FnOnce(&mut Group) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let mut open = self.lock();
        if open.has_ended {
            return Ok(());
        }
        open.bytes += bytes;
        let added = add(&mut open.group);
        if added.is_err() {
            open.group = Group::default();
        }
        if open.committer_waits {
            self.filled.notify_one();
        }
        added
    }

    /// Drops what was positioned and not yet taken.
    pub(crate) fn abandon(&self) {
        self.lock().group = Group::default();
    }

    /// Says that nothing more is taken, and drops what waits with its replies.
    fn end(&self) {
        let mut open = self.lock();
        open.has_ended = true;
        open.group = Group::default();
    }

    /// Says that nothing more will come.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// Waits for a group; none where nothing more will come.
    fn take(&self) -> Option<Group> {
        let mut open = self.lock();
        while open.group.is_empty() {
            if open.is_closed {
                return None;
            }
            open.committer_waits = true;
            open = self.filled.wait(open).unwrap_or_else(PoisonError::into_inner);
            open.committer_waits = false;
        }
        open.bytes = 0;
        Some(std::mem::take(&mut open.group))
    }
}

/// State that belongs to the committer's thread alone.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    journal: Journal,
}

impl Committer {
    /// A committer that writes the ledger's groups to `journal`.
    pub(crate) fn new(shared: Arc<Shared>, journal: Journal) -> Self {
        Self { shared, journal }
    }

    /// Runs until the intake is closed and everything that came is committed, or until a write fails.
    pub(crate) fn run(mut self) {
        loop {
            let Some(group) = self.shared.open.take() else {
                if self.shared.intake_is_done() {
                    break;
                }
                // What came before the end and had no room while the fold was behind.
                self.shared.wait_for_room();
                self.shared.position_waiting();
                continue;
            };
            if let Err(error) = self.commit(group) {
                self.shared.stop(&error);
                break;
            }
            self.shared.position_waiting();
        }
        self.shared.open.end();
        self.shared.position_waiting();
        self.shared.grown.notify_all();
    }

    fn commit(&mut self, group: Group) -> Result<(), LedgerError> {
        if !group.records.is_empty() {
            self.flush(&group)?;
            let checkpoint = self.show(&group)?;
            answer(group.records, group.submissions, checkpoint);
        }
        for reply in group.again {
            let _ = reply.send(Ok(Outcome::LookUpAgain));
        }
        Ok(())
    }

    fn flush(&mut self, group: &Group) -> Result<(), LedgerError> {
        let began_us = self.shared.clock.monotonic_us();
        let rolled = if self.shared.roll_wanted.swap(false, Ordering::SeqCst) {
            self.journal.roll()
        } else {
            Ok(())
        };
        let flushed = rolled
            .and_then(|()| self.journal.append_written(&group.frame))
            .and_then(|()| self.journal.sync());
        if let Err(error) = flushed {
            // Before the waiting requests learn of it, so that none of them finds the ledger running.
            let error = LedgerError::from(error);
            self.shared.stop(&error);
            return Err(error);
        }
        let newest = self.shared.inboxes.load().newest().0;
        if group.inboxes.as_ref().is_none_or(|inboxes| inboxes.newest().0 != newest) {
            self.shared.old_inbox_end.fetch_max(group.frame.next_index(), Ordering::SeqCst);
        }
        let flush_us = self.shared.clock.monotonic_us().saturating_sub(began_us);
        self.shared.stats.committed(group.records.len(), flush_us);
        let bytes: usize = group.records.iter().map(|record| record.weight_bytes()).sum();
        self.shared
            .journaled_bytes
            .fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::SeqCst);
        Ok(())
    }

    /// Shows the durable group to readers: index first, so that a size once seen can be looked up.
    /// Proofs are built under the same lock, while the nodes they need are surely in memory.
    fn show(&self, group: &Group) -> Result<Shown, LedgerError> {
        let (first, end) = (group.frame.first_index(), group.frame.next_index());
        self.shared.index.add(first, &group.terms)?;
        self.shared.index.advance(end);
        // Before the fold can see a size that holds it: its register must not miss a settings entry.
        let is_settings = |record: &Arc<Record>| record.entry.get(4) == Some(&Kind::Settings.code());
        let settings = (first..end).zip(&group.records).filter(|(_, each)| is_settings(each));
        if let Some((index, _)) = settings.last() {
            self.shared.settings.store(index, Ordering::SeqCst);
        }
        let mut tail = self.shared.tail.write().unwrap_or_else(PoisonError::into_inner);
        tail.extend(group.records.iter().cloned());
        let size = TreeSize(tail.size());
        let nodes = EdgeNodes(&tail.edge);
        let mut proofs = Vec::new();
        for submitted in group.submissions.iter().filter(|submitted| submitted.with_proof) {
            for index in submitted.entries.clone() {
                proofs.push(merkle::inclusion_proof(LogIndex(index), size, &nodes)?);
            }
        }
        let root = tail.root;
        drop(tail);
        if first / TILE_WIDTH != end / TILE_WIDTH {
            self.shared.grown.notify_all();
        }
        self.shared.announce_change();
        Ok(Shown {
            checkpoint: Arc::new(GroupCheckpoint { size, root, note: Mutex::new(None) }),
            proofs,
        })
    }
}

/// A group once readers see it.
#[derive(Debug)]
struct Shown {
    checkpoint: Arc<GroupCheckpoint>,
    /// Inclusion proofs of the entries whose submission wants them, in order.
    proofs: Vec<Vec<Hash>>,
}

fn answer(records: Vec<Arc<Record>>, submissions: Vec<Submitted>, shown: Shown) {
    let mut proofs = shown.proofs.into_iter();
    let mut records = records.into_iter();
    for Submitted { entries, with_proof, reply } in submissions {
        let committed = entries.zip(records.by_ref()).map(|(index, record)| {
            let hashes = if with_proof { proofs.next() } else { None };
            let checkpoint = &shown.checkpoint;
            let proof = hashes.map(|hashes| Proof { checkpoint: Arc::clone(checkpoint), hashes });
            Committed { index, record, proof }
        });
        let _ = reply.send(Ok(Outcome::Committed(committed.collect())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submit(open: &OpenGroup) -> oneshot::Receiver<Result<Outcome, AppendError>> {
        let (reply, answer) = oneshot::channel();
        open.add(1, |group| {
            group.look_up_again(reply);
            Ok(())
        })
        .unwrap();
        answer
    }

    #[test]
    fn nobody_waits_for_a_committer_that_has_ended() {
        let open = OpenGroup::default();
        let (before, taken) = (submit(&open), open.take().unwrap());
        let between = submit(&open);
        open.end();
        for answer in [between, submit(&open)] {
            assert!(answer.blocking_recv().is_err(), "its reply is gone");
        }
        assert_eq!(taken.again.len(), 1);
        drop(taken);
        assert!(before.blocking_recv().is_err());
    }

    #[test]
    fn a_failed_addition_drops_the_whole_group() {
        let open = OpenGroup::default();
        let first = submit(&open);
        assert!(open.add(1, |_| Err(LedgerError::Stopped)).is_err());
        assert!(first.blocking_recv().is_err());
        open.close();
        assert!(open.take().is_none());
    }

    #[test]
    fn a_full_group_has_no_room_and_an_empty_one_has_room_for_anything() {
        let open = OpenGroup::default();
        assert!(open.has_room(GROUP_BYTES_MAX + 1));
        let _first = submit(&open);
        assert!(open.has_room(GROUP_BYTES_MAX - 1));
        assert!(!open.has_room(GROUP_BYTES_MAX));
        let _taken = open.take();
        assert!(open.has_room(GROUP_BYTES_MAX + 1));
    }
}
