//! The journal after crashes, torn tails and damage.

use super::*;
use crate::store::{FaultyStorage, InjectedFault, MemoryStorage, Operation, Record, SealedPart};

mod crash;
mod damage;

const LEDGER: [u8; 16] = [9; 16];
const DIR: &str = "journal";

/// A small generator, so that every frame follows from a seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66)
    }

    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn bytes(&mut self, max: usize) -> Vec<u8> {
        let len = self.roll(max + 1);
        (0..len).map(|_| u8::try_from(1 + self.roll(255)).unwrap()).collect()
    }

    /// A frame of up to a few kilobytes from `first_index` on.
    pub(super) fn frame(&mut self, first_index: u64) -> Frame {
        let size = [20, 200, 1_000][self.roll(3)];
        let records = (0..=self.roll(3))
            .map(|_| Record {
                entry: self.bytes(size),
                sealed: (0..self.roll(3))
                    .map(|role| SealedPart {
                        role: u8::try_from(role).unwrap(),
                        owners: vec![[3; 8]; self.roll(2)],
                        blob: self.bytes(size),
                    })
                    .collect(),
            })
            .collect();
        let persons = (0..self.roll(2)).map(|_| self.bytes(80)).collect();
        Frame { first_index, records, persons, inbox: 0 }
    }
}

pub(super) fn open(storage: &Arc<impl Storage + 'static>) -> Result<(Journal, Recovered), JournalError> {
    let storage = Arc::clone(storage) as Arc<dyn Storage>;
    Journal::open(storage, DIR, LEDGER, 0)
}

/// Writes `count` frames in segments of about `segment_bytes_max` and gives them.
pub(super) fn fill(
    storage: &Arc<impl Storage + 'static>,
    count: usize,
    segment_bytes_max: u64,
) -> Vec<Frame> {
    let (mut journal, recovered) = open(storage).unwrap();
    assert_eq!(recovered, Recovered::default());
    journal.segment_bytes_max = segment_bytes_max;
    let mut dice = Dice::new(1);
    let mut frames: Vec<Frame> = Vec::new();
    for _ in 0..count {
        let frame = dice.frame(frames.last().map_or(0, Frame::next_index));
        journal.append(&frame).unwrap();
        journal.sync().unwrap();
        frames.push(frame);
    }
    frames
}

pub(super) fn one(first_index: u64) -> Frame {
    let record = Record { entry: b"entry".to_vec(), sealed: Vec::new() };
    Frame { first_index, records: vec![record], persons: Vec::new(), inbox: 0 }
}

#[test]
fn frames_come_back_in_order_over_many_segments() {
    let storage = Arc::new(MemoryStorage::new());
    let frames = fill(&storage, 40, 3_000);
    assert!(storage.list(DIR).unwrap().len() > 5);
    let (mut journal, recovered) = open(&storage).unwrap();
    assert_eq!(recovered, Recovered { frames: frames.clone(), cut: None });
    let next = journal.next_index().unwrap();
    assert_eq!(next, frames.last().unwrap().next_index());
    journal.append(&one(next)).unwrap();
    journal.sync().unwrap();
    let (_, recovered) = open(&storage).unwrap();
    assert_eq!(recovered.frames.len(), 41);
}

#[test]
fn segments_keep_to_their_size_and_a_large_frame_has_one_of_its_own() {
    let storage = Arc::new(MemoryStorage::new());
    let (mut journal, _) = open(&storage).unwrap();
    journal.segment_bytes_max = 1_000;
    let mut large = one(1);
    large.records[0].entry = vec![1; 5_000];
    for frame in [one(0), large, one(2), one(3)] {
        journal.append(&frame).unwrap();
    }
    let lens: Vec<_> = storage
        .list(DIR)
        .unwrap()
        .iter()
        .map(|name| storage.len(&format!("{DIR}/{name}")).unwrap().unwrap())
        .collect();
    assert_eq!(lens, [36 + 44, 36 + 36 + 3 + 5_000, 36 + 44 + 44]);
}

#[test]
fn an_append_is_one_write_and_a_sync_is_one_sync() {
    let storage = Arc::new(FaultyStorage::new(1));
    let (mut journal, _) = open(&storage).unwrap();
    journal.append(&one(0)).unwrap();
    journal.sync().unwrap();
    let before = storage.changes();
    journal.append(&one(1)).unwrap();
    assert_eq!(storage.changes() - before, 1);
    journal.sync().unwrap();
    journal.sync().unwrap();
    assert_eq!(storage.changes() - before, 2, "nothing new, nothing to sync");
    journal.append(&one(2)).unwrap();
    journal.append(&one(3)).unwrap();
    assert_eq!(storage.changes() - before, 5, "a second frame waits for the first to be durable");
}

#[test]
fn frames_that_do_not_follow_or_have_no_encoding_change_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let (mut journal, _) = open(&storage).unwrap();
    journal.append(&one(5)).unwrap();
    for found in [0, 5, 7] {
        let error = journal.append(&one(found)).unwrap_err();
        assert_eq!(error, JournalError::OutOfOrder { expected: 6, found });
    }
    let empty = Frame { first_index: 6, ..Frame::default() };
    assert_eq!(journal.append(&empty).unwrap_err(), JournalError::Frame(FrameError::Empty));
    journal.append(&one(6)).unwrap();
    journal.sync().unwrap();
    assert_eq!(open(&storage).unwrap().1.frames, [one(5), one(6)]);
}

#[test]
fn after_an_error_the_journal_takes_nothing_more() {
    for operation in [Operation::Append, Operation::Sync] {
        let storage = Arc::new(FaultyStorage::new(2));
        let (mut journal, _) = open(&storage).unwrap();
        journal.append(&one(0)).unwrap();
        journal.sync().unwrap();
        storage.fail_nth(operation, 1, InjectedFault::Full);
        let error = journal.append(&one(1)).and_then(|()| journal.sync()).unwrap_err();
        assert!(error.is_full(), "{error}");
        assert_eq!(journal.append(&one(1)).unwrap_err(), JournalError::Poisoned);
        assert_eq!(journal.sync().unwrap_err(), JournalError::Poisoned);
        assert_eq!(journal.roll().unwrap_err(), JournalError::Poisoned);
        storage.crash();
        let (_, recovered) = open(&storage).unwrap();
        assert_eq!(recovered.frames[0], one(0));
    }
}

#[test]
fn trimming_removes_whole_segments_below_the_index_but_never_the_last() {
    let storage = Arc::new(MemoryStorage::new());
    let frames = fill(&storage, 40, 3_000);
    let (journal, _) = open(&storage).unwrap();
    let segments = journal.trim.segments().clone();
    assert_eq!(journal.trim().trim_below(segments[0]).unwrap(), 0);
    assert_eq!(journal.trim().trim_below(segments[3] - 1).unwrap(), 2);
    assert_eq!(journal.trim().trim_below(segments[3]).unwrap(), 1);
    assert_eq!(journal.first_index(), Some(segments[3]));
    let kept: Vec<_> = frames.iter().filter(|f| f.first_index >= segments[3]).cloned().collect();
    assert_eq!(open(&storage).unwrap().1.frames, kept);
    journal.trim().trim_below(u64::MAX).unwrap();
    assert_eq!(journal.segment_count(), 1);
    assert_eq!(storage.list(DIR).unwrap().len(), 1);
    let (journal, _) = open(&storage).unwrap();
    assert_eq!(journal.next_index(), Some(frames.last().unwrap().next_index()));
}

#[test]
fn after_a_roll_every_frame_can_be_trimmed() {
    let storage = Arc::new(MemoryStorage::new());
    let (mut journal, _) = open(&storage).unwrap();
    journal.roll().unwrap();
    assert_eq!(storage.list(DIR).unwrap().len(), 0, "an empty journal has nothing to roll");
    journal.append(&one(0)).unwrap();
    journal.roll().unwrap();
    journal.roll().unwrap();
    assert_eq!(journal.trim().trim_below(1).unwrap(), 1);
    let (mut journal, recovered) = open(&storage).unwrap();
    assert_eq!(recovered, Recovered::default());
    assert_eq!(journal.next_index(), Some(1));
    journal.append(&one(1)).unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.segment_count(), 1);
    assert_eq!(open(&storage).unwrap().1.frames, [one(1)]);
}

#[test]
fn a_scan_names_places_and_changes_nothing() {
    let storage = Arc::new(FaultyStorage::new(3));
    let frames = fill(&storage, 10, 3_000);
    let last = format!("{DIR}/{}", storage.list(DIR).unwrap().last().unwrap());
    storage.damage(&last, |bytes| bytes.truncate(bytes.len() - 1));
    let changes = storage.changes();
    let items: Vec<_> = scan(&*storage, DIR, LEDGER).unwrap().map(Result::unwrap).collect();
    assert_eq!(storage.changes(), changes);
    let Some(Scanned::TornTail(cut)) = items.last() else { panic!("the torn end was not seen") };
    assert_eq!(cut.file, last);
    let scanned: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Scanned::Frame { file, offset, frame } => {
                let bytes = storage.read(file).unwrap().unwrap();
                let at = usize::try_from(*offset).unwrap();
                assert_eq!(&Frame::decode(&bytes[at..], *offset).unwrap().0, frame);
                Some(frame.clone())
            }
            Scanned::TornTail(_) => None,
        })
        .collect();
    assert_eq!(scanned, frames[..9]);
    let mut none = scan(&*storage, "missing", LEDGER).unwrap();
    assert_eq!(none.next(), None);
}

#[test]
fn a_real_disk_holds_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let disk = || Arc::new(crate::store::DiskStorage::open(dir.path()).unwrap());
    let frames = fill(&disk(), 12, 3_000);
    let storage = disk();
    let (mut journal, recovered) = open(&storage).unwrap();
    assert_eq!(recovered.frames, frames);
    let next = journal.next_index().unwrap();
    journal.append(&one(next)).unwrap();
    drop(journal);
    let last = storage.list(DIR).unwrap().pop().unwrap();
    let path = format!("{DIR}/{last}");
    let len = storage.len(&path).unwrap().unwrap();
    storage.truncate(&path, len - 3).unwrap();
    let (journal, recovered) = open(&storage).unwrap();
    assert_eq!(recovered.frames, frames);
    assert_eq!(recovered.cut, Some(Cut { file: path, offset: len - 44, bytes: 41 }));
    assert!(journal.trim().trim_below(next).unwrap() > 0);
    assert_eq!(open(&disk()).unwrap().0.next_index(), Some(next));
}
