//! The single writer: assigns positions, chains, and makes a group durable with one flush.
//!
//! In scope: taking every waiting submission at once, giving each event its index, time and
//! `prev`, writing the group as one journal frame, one `fdatasync`, then answering. A flush
//! starts when the one before has ended; there is no timer. Out of scope: tiles and index runs
//! ([`super::fold`]). Invariants: nothing is visible or acknowledged before the frame is durable;
//! after a failed write or flush the thread ends and the ledger takes nothing more.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use crate::event::entry::{Entry, EntryBody, EventBody};
use crate::event::keys::{self, Period};
use crate::index::{FACET_DIRECTORY, FACET_EVENT_KEY, Term};
use crate::log::checkpoint::Checkpoint;
use crate::log::hash::{Hash, LogIndex, TreeSize, leaf_hash};
use crate::log::merkle;
use crate::log::tile::TILE_WIDTH;
use crate::store::frame::{FRAME_BYTES_MAX, Frame, Record as JournalRecord, SealedPart};
use crate::store::journal::Journal;
use crate::vault::{SlotNumber, WrappedPerson};

use super::Shared;
use super::admit::Prepared;
use super::error::{AppendError, LedgerError};
use super::fold::TAIL_BYTES_MAX;
use super::nodes::EdgeNodes;
use super::persons::Person;
use super::tail::{Record, SealedBlob};

/// Bytes of a group's frame at most: what a frame may hold, less room for its header and checksums.
pub(crate) const GROUP_BYTES_MAX: usize = FRAME_BYTES_MAX - (1 << 20);

/// Submissions that may wait. With 64 KiB events of one each that is 64 MiB.
pub(crate) const WAITING_SUBMISSIONS_MAX: usize = 1_024;

/// Event keys remembered per generation, so that look-ups made before them are still good:
/// two generations of 65,536 keys at about 60 bytes are 8 MB.
const RECENT_KEYS_MAX: usize = 65_536;

/// One thing to append.
#[derive(Debug)]
pub(crate) enum Item {
    /// An admitted event.
    Event(Box<Prepared>),
    /// An entry of the ledger's own.
    System(EntryBody),
}

/// Items that are appended together, and where to answer.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) items: Vec<Item>,
    /// Whether the answer needs inclusion proofs and a signed checkpoint.
    pub(crate) with_proof: bool,
    pub(crate) reply: oneshot::Sender<Result<Outcome, AppendError>>,
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
            Self::System(_) => 65_535 + 16,
        }
    }
}

impl Submission {
    fn frame_bytes(&self) -> usize {
        self.items.iter().map(Item::frame_bytes).sum()
    }
}

/// A message to the sequencer.
#[derive(Debug)]
pub(crate) enum Message {
    /// Append these.
    Append(Submission),
    /// Every entry below this index is durable outside the journal.
    Trim(u64),
    /// Finish what is queued before this and end.
    Stop,
}

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

/// Inclusion under a checkpoint that was signed with the group.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) checkpoint: Arc<str>,
    pub(crate) hashes: Vec<Hash>,
}

/// Event keys of the newest entries, in two generations.
#[derive(Debug, Default)]
struct RecentKeys {
    young: HashMap<Hash, u64>,
    old: HashMap<Hash, u64>,
    young_from: u64,
    old_from: u64,
}

impl RecentKeys {
    fn starting_at(size: u64) -> Self {
        Self { young_from: size, old_from: size, ..Self::default() }
    }

    fn contains(&self, key: &Hash) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }

    fn insert(&mut self, key: Hash, index: u64) {
        if self.young.len() >= RECENT_KEYS_MAX {
            self.old = std::mem::take(&mut self.young);
            self.old_from = self.young_from;
            self.young_from = index;
        }
        self.young.insert(key, index);
    }
}

/// What was waiting when a group began.
#[derive(Debug, Default)]
struct Taken {
    waiting: Vec<Submission>,
    trim: Option<u64>,
    stopping: bool,
}

/// Takes `first` and whatever else waits, as far as it fits one frame; what does not is `held` for
/// the next group.
fn take(first: Message, inbox: &Receiver<Message>, held: &mut Option<Message>) -> Taken {
    let mut taken = Taken::default();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Append(submission) => {
                bytes += submission.frame_bytes();
                if bytes > GROUP_BYTES_MAX && !taken.waiting.is_empty() {
                    *held = Some(Message::Append(submission));
                    return taken;
                }
                taken.waiting.push(submission);
            }
            Message::Trim(index) => taken.trim = Some(index),
            Message::Stop => {
                taken.stopping = true;
                return taken;
            }
        }
        next = inbox.try_recv().ok();
    }
    taken
}

/// State that belongs to the sequencer's thread alone.
#[derive(Debug)]
pub(crate) struct Sequencer {
    shared: Arc<Shared>,
    journal: Journal,
    size: u64,
    prev: Hash,
    time_us: u64,
    recent: RecentKeys,
    clock_base_us: (u64, u64),
}

/// A group while it is being built.
#[derive(Debug, Default)]
struct Group {
    records: Vec<Arc<Record>>,
    frame: Frame,
    terms: Vec<(u64, Term)>,
    /// What is answered, with the indexes of its entries.
    submissions: Vec<(Submission, Range<u64>)>,
}

impl Sequencer {
    /// A sequencer that continues after the shared tail.
    pub(crate) fn new(shared: Arc<Shared>, journal: Journal) -> Self {
        let (size, prev, time_us) = {
            let tail = shared.tail.read().unwrap_or_else(PoisonError::into_inner);
            (tail.size(), tail.last_leaf, tail.time_us)
        };
        let clock_base_us = (shared.clock.now_us(), shared.clock.monotonic_us());
        let recent = RecentKeys::starting_at(size);
        Self { shared, journal, size, prev, time_us, recent, clock_base_us }
    }

    /// Runs until told to stop or until a write fails.
    pub(crate) fn run(mut self, inbox: &Receiver<Message>) {
        let mut held = None;
        loop {
            let Some(first) = held.take().or_else(|| inbox.recv().ok()) else { break };
            let taken = take(first, inbox, &mut held);
            let result = self.commit(taken.waiting).and_then(|()| match taken.trim {
                Some(index) => Ok(self.journal.trim_below(index).map(|_| ())?),
                None => Ok(()),
            });
            if let Err(error) = result {
                self.shared.stop(&error);
                break;
            }
            if taken.stopping {
                break;
            }
        }
        self.shared.sequencer_ended(self.journal);
    }

    fn commit(&mut self, waiting: Vec<Submission>) -> Result<(), LedgerError> {
        if waiting.is_empty() {
            return Ok(());
        }
        self.shared.wait_for_room(TAIL_BYTES_MAX);
        let now_us = match self.now() {
            Ok(now_us) => now_us,
            Err(ahead_ms) => {
                for submission in waiting {
                    let _ = submission.reply.send(Err(AppendError::ClockAhead { ahead_ms }));
                }
                return Ok(());
            }
        };
        let mut group = Group::default();
        group.frame.first_index = self.size;
        for submission in waiting {
            if self.must_look_up_again(&submission.items) {
                let _ = submission.reply.send(Ok(Outcome::LookUpAgain));
                continue;
            }
            let first = self.size;
            let mut submission = submission;
            for item in std::mem::take(&mut submission.items) {
                self.append(item, now_us, &mut group)?;
            }
            group.submissions.push((submission, first..self.size));
        }
        if group.records.is_empty() {
            return Ok(());
        }
        let began_us = self.shared.clock.monotonic_us();
        if let Err(error) = self.journal.append(&group.frame).and_then(|()| self.journal.sync()) {
            // Before the waiting requests learn of it, so that none of them finds the ledger running.
            let error = LedgerError::from(error);
            self.shared.stop(&error);
            return Err(error);
        }
        let flush_us = self.shared.clock.monotonic_us().saturating_sub(began_us);
        self.shared.stats.committed(group.records.len(), flush_us);
        let bytes: usize = group.records.iter().map(|record| record.weight_bytes()).sum();
        self.shared
            .journaled_bytes
            .fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::SeqCst);
        let shown = self.show(&group)?;
        self.answer(group, shown)
    }

    /// The ledger's time for a group: never less than the entry before it. The error is how far,
    /// in milliseconds, the wall clock has run ahead of the monotonic one.
    fn now(&self) -> Result<u64, u64> {
        let now_us = self.shared.clock.now_us();
        let (wall_us, monotonic_us) = self.clock_base_us;
        let passed_us = self.shared.clock.monotonic_us().saturating_sub(monotonic_us);
        let ahead_ms = now_us.saturating_sub(wall_us.saturating_add(passed_us)) / 1000;
        if ahead_ms > self.shared.options.skew_max_ms {
            return Err(ahead_ms);
        }
        Ok(now_us.max(self.time_us))
    }

    fn must_look_up_again(&self, items: &[Item]) -> bool {
        items.iter().any(|item| match item {
            Item::Event(event) => {
                event.looked_up_to < self.recent.old_from || self.recent.contains(&event.event_key)
            }
            Item::System(_) => false,
        })
    }

    fn append(&mut self, item: Item, now_us: u64, group: &mut Group) -> Result<(), LedgerError> {
        let index = LogIndex(self.size);
        let mut occurred_us = Some(now_us);
        let (body, parts, owners, event_key) = match item {
            Item::System(body) => (body, Vec::new(), Vec::new(), None),
            Item::Event(event) => {
                let key = event.event_key;
                occurred_us = event.occurred_us.or(occurred_us);
                let (body, parts, owners) = self.position(*event, now_us, group)?;
                (body, parts, owners, Some(key))
            }
        };
        index_terms(self.size, &body, event_key, &mut group.terms);
        let entry = Entry { ledger: self.shared.id, index, time_us: now_us, prev: self.prev, body };
        let mut bytes = Vec::with_capacity(512);
        entry.encode(&mut bytes).map_err(|source| LedgerError::Entry { index: index.0, source })?;
        let leaf = leaf_hash(&bytes);
        let sealed = parts.iter().zip(owners).map(|(part, owners)| SealedPart {
            role: part.role.0,
            owners,
            blob: part.blob.clone(),
        });
        group.frame.records.push(JournalRecord { entry: bytes.clone(), sealed: sealed.collect() });
        group.records.push(Arc::new(Record { entry: bytes, leaf, time_us: now_us, occurred_us, parts }));
        if let Some(key) = event_key {
            self.recent.insert(key, self.size);
        }
        self.prev = leaf;
        self.time_us = now_us;
        self.size += 1;
        Ok(())
    }

    /// Everything of an event that depends on its position: slots, masks, keys of the period.
    #[allow(clippy::type_complexity, reason = "three parallel results of one pass, used at one place")]
    fn position(
        &mut self,
        event: Prepared,
        now_us: u64,
        group: &mut Group,
    ) -> Result<(EntryBody, Vec<SealedBlob>, Vec<Vec<[u8; 8]>>), LedgerError> {
        let slots = event
            .persons
            .iter()
            .map(|person| self.slot_of(person, group))
            .collect::<Result<Vec<_>, _>>()?;
        let period: Period = keys::period_of(now_us);
        let mut keys = event.open_keys;
        keys.extend(event.person_keys.iter().map(|key| (key.facet, key.at(&self.shared, period))));
        keys.sort_unstable();
        keys.dedup();
        let commitments = event.parts.iter().map(|part| (part.role, part.commitment)).collect();
        let index = LogIndex(self.size);
        let mut masked = Vec::with_capacity(event.parts.len());
        let mut parts = Vec::with_capacity(event.parts.len());
        for part in event.parts {
            let owners: Vec<SlotNumber> = if part.owners.is_empty() {
                vec![SlotNumber::LEDGER]
            } else {
                part.owners.iter().filter_map(|at| slots.get(usize::from(*at)).copied()).collect()
            };
            let mask = |(ordinal, slot): (u8, &SlotNumber)| {
                self.shared.inbox.owners().mask(index, part.role, ordinal, *slot)
            };
            masked.push((0_u8..).zip(&owners).map(mask).collect());
            parts.push(SealedBlob { role: part.role, owners, blob: part.blob });
        }
        let body = EntryBody::Event(EventBody {
            event_key: event.event_key,
            class: event.class,
            keys,
            parts: commitments,
            producer: event.producer,
            sequence: event.sequence,
            signature: None,
        });
        Ok((body, parts, masked))
    }

    fn slot_of(&self, person: &Arc<Person>, group: &mut Group) -> Result<SlotNumber, LedgerError> {
        if self.shared.directory.assign_slot(person)
            && let Some(slot) = person.slot()
        {
            let wrapped = WrappedPerson {
                slot,
                directory_key: person.directory_key,
                secret: person.secret().clone(),
            };
            group.frame.persons.push(wrapped.wrap(&self.shared.inbox, self.shared.id)?);
            let key = *person.directory_key.as_bytes();
            group.terms.push((slot.0, Term { facet: FACET_DIRECTORY, key }));
        }
        person.slot().ok_or_else(|| LedgerError::Setup("a person was given no vault slot".to_owned()))
    }

    /// Shows the durable group to readers: index first, so that a size once seen can be looked up.
    /// Proofs are built under the same lock, while the nodes they need are surely in memory.
    fn show(&self, group: &Group) -> Result<Shown, LedgerError> {
        self.shared.index.add(group.frame.first_index, &group.terms)?;
        self.shared.index.advance(self.size);
        let mut tail = self.shared.tail.write().unwrap_or_else(PoisonError::into_inner);
        tail.extend(group.records.iter().cloned());
        let size = TreeSize(tail.size());
        let nodes = EdgeNodes(&tail.edge);
        let mut proofs = Vec::new();
        for (submission, range) in &group.submissions {
            let wanted = if submission.with_proof { range.clone() } else { 0..0 };
            for index in wanted {
                proofs.push(merkle::inclusion_proof(LogIndex(index), size, &nodes)?);
            }
        }
        let root = tail.root;
        drop(tail);
        if group.frame.first_index / TILE_WIDTH != self.size / TILE_WIDTH {
            self.shared.grown.notify_all();
        }
        self.shared.announce_change();
        Ok(Shown { size, root, proofs })
    }

    fn answer(&self, group: Group, shown: Shown) -> Result<(), LedgerError> {
        let Shown { size, root, proofs } = shown;
        let checkpoint: Option<Arc<str>> = if proofs.is_empty() {
            None
        } else {
            let checkpoint = Checkpoint { origin: self.shared.origin.clone(), size, root };
            Some(Arc::from(checkpoint.sign(&self.shared.signer)?))
        };
        let mut proofs = proofs.into_iter();
        let mut records = group.records.into_iter();
        for (submission, range) in group.submissions {
            let with_proof = submission.with_proof;
            let committed = range.zip(records.by_ref()).map(|(index, record)| {
                let hashes = if with_proof { proofs.next() } else { None };
                let proof = checkpoint.as_ref().zip(hashes);
                let proof = proof.map(|(note, hashes)| Proof { checkpoint: Arc::clone(note), hashes });
                Committed { index, record, proof }
            });
            let _ = submission.reply.send(Ok(Outcome::Committed(committed.collect())));
        }
        Ok(())
    }
}

/// A group once readers see it.
#[derive(Debug)]
struct Shown {
    size: TreeSize,
    root: Hash,
    /// Inclusion proofs of the entries whose submission wants them, in order.
    proofs: Vec<Vec<Hash>>,
}

/// The index rows of an entry.
pub(crate) fn index_terms(
    index: u64,
    body: &EntryBody,
    event_key: Option<Hash>,
    terms: &mut Vec<(u64, Term)>,
) {
    if let Some(key) = event_key {
        terms.push((index, Term { facet: FACET_EVENT_KEY, key: *key.as_bytes() }));
    }
    if let EntryBody::Event(event) = body {
        for (facet, key) in &event.keys {
            terms.push((index, Term { facet: facet.0, key: *key.as_bytes() }));
        }
    }
}
