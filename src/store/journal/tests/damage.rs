//! Bytes that were durable are changed; the journal must say where, and never read on.

use super::*;
use crate::store::frame::FRAME_HEADER_BYTES;

/// Where each frame of a file begins and ends.
fn places(storage: &dyn Storage) -> Vec<(String, usize, usize)> {
    let mut places = Vec::new();
    for item in scan(storage, DIR, LEDGER).unwrap() {
        if let Scanned::Frame { file, offset, .. } = item.unwrap() {
            let begin = usize::try_from(offset).unwrap();
            let bytes = storage.read(&file).unwrap().unwrap();
            let (_, len) = Frame::decode(&bytes[begin..], offset).unwrap();
            places.push((file, begin, begin + usize::try_from(len).unwrap()));
        }
    }
    places
}

/// Two segments of a few frames, the last frame longer than three sectors.
fn small_journal() -> (Arc<FaultyStorage>, Vec<Frame>) {
    let storage = Arc::new(FaultyStorage::new(1));
    let mut frames = fill(&storage, 6, 3_000);
    let (mut journal, _) = open(&storage).unwrap();
    let mut last = one(journal.next_index().unwrap());
    last.records[0].entry = (0..2_000_usize).map(|n| u8::try_from(1 + n % 250).unwrap()).collect();
    journal.append(&last).unwrap();
    journal.sync().unwrap();
    frames.push(last);
    assert!(journal.segment_count() > 1);
    (storage, frames)
}

/// Opens a copy of `storage` in which `change` was made to `file`.
fn opened_after(
    storage: &FaultyStorage,
    file: &str,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<(Journal, Recovered), JournalError> {
    let copy = Arc::new(MemoryStorage::new());
    for name in storage.list(DIR).unwrap() {
        let path = format!("{DIR}/{name}");
        let mut bytes = storage.read(&path).unwrap().unwrap();
        if path == file {
            return finish(&copy, storage, &path, &mut bytes, change);
        }
        copy.write(&path, &bytes).unwrap();
    }
    panic!("no file {file}");
}

fn finish(
    copy: &Arc<MemoryStorage>,
    storage: &FaultyStorage,
    changed: &str,
    bytes: &mut Vec<u8>,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<(Journal, Recovered), JournalError> {
    change(bytes);
    copy.write(changed, bytes).unwrap();
    for name in storage.list(DIR).unwrap() {
        let path = format!("{DIR}/{name}");
        if *path > *changed {
            copy.write(&path, &storage.read(&path).unwrap().unwrap()).unwrap();
        }
    }
    open(copy)
}

#[test]
fn every_flipped_byte_is_damage_at_its_place() {
    let (storage, _) = small_journal();
    let places = places(&*storage);
    for name in storage.list(DIR).unwrap() {
        let path = format!("{DIR}/{name}");
        let len = storage.read(&path).unwrap().unwrap().len();
        for at in 0..len {
            for mask in [0x01, 0x80, 0xff] {
                let error =
                    opened_after(&storage, &path, |bytes| bytes[at] ^= mask).expect_err("accepted");
                let JournalError::Damage { file, offset, .. } = error else { panic!("{error}") };
                let begin = places
                    .iter()
                    .find(|(file, begin, end)| *file == path && (*begin..*end).contains(&at))
                    .map_or(0, |(_, begin, _)| *begin);
                assert_eq!((file, offset), (path.clone(), u64::try_from(begin).unwrap()), "byte {at}");
            }
        }
    }
}

#[test]
fn every_length_of_the_last_frame_is_cut_and_the_rest_stays() {
    let (storage, frames) = small_journal();
    let (path, begin, end) = places(&*storage).pop().unwrap();
    for len in begin..end {
        let (journal, recovered) = opened_after(&storage, &path, |bytes| bytes.truncate(len)).unwrap();
        assert_eq!(recovered.frames, frames[..frames.len() - 1], "{len}");
        let (offset, bytes) = (u64::try_from(begin).unwrap(), u64::try_from(len - begin).unwrap());
        let cut = (bytes > 0).then(|| Cut { file: path.clone(), offset, bytes });
        assert_eq!(recovered.cut, cut, "{len}");
        assert_eq!(journal.next_index(), Some(frames.last().unwrap().first_index));
    }
}

#[test]
fn every_length_of_a_new_segments_header_is_cut_with_the_file() {
    let storage = Arc::new(FaultyStorage::new(1));
    let (mut journal, _) = open(&storage).unwrap();
    journal.append(&one(0)).unwrap();
    journal.roll().unwrap();
    journal.append(&one(1)).unwrap();
    let path = segment_path(DIR, 1);
    for len in 0..SEGMENT_HEADER_BYTES {
        for zeroed in [false, true] {
            let (mut journal, recovered) = opened_after(&storage, &path, |bytes| {
                bytes.truncate(len);
                if zeroed {
                    bytes.fill(0);
                }
            })
            .unwrap();
            assert_eq!(recovered.frames, [one(0)]);
            assert_eq!(recovered.cut.unwrap().offset, 0);
            assert_eq!(journal.segment_count(), 1);
            journal.append(&one(1)).unwrap();
        }
    }
    let garbage = opened_after(&storage, &path, |bytes| *bytes = b"garbage".to_vec()).unwrap_err();
    assert!(matches!(garbage, JournalError::Damage { offset: 0, .. }));
    // In any other place than the last, a short segment is damage.
    let (storage, _) = small_journal();
    let first = segment_path(DIR, 0);
    for len in [0, 10, 40] {
        assert!(opened_after(&storage, &first, |bytes| bytes.truncate(len)).is_err());
    }
}

/// The pieces of `begin..end` that lie in different sectors.
fn sectors_of(begin: usize, end: usize) -> Vec<(usize, usize)> {
    (begin / 512..=(end - 1) / 512).map(|n| (begin.max(n * 512), end.min((n + 1) * 512))).collect()
}

#[test]
fn unwritten_sectors_of_the_last_frame_are_cut() {
    let (storage, frames) = small_journal();
    let (path, begin, end) = places(&*storage).pop().unwrap();
    let sectors = sectors_of(begin, end);
    assert!(sectors.len() >= 4);
    for lost in 1_u32..1 << sectors.len() {
        let (_, recovered) = opened_after(&storage, &path, |bytes| {
            for (n, (from, to)) in sectors.iter().enumerate() {
                if lost >> n & 1 == 1 {
                    bytes[*from..*to].fill(0);
                }
            }
        })
        .unwrap_or_else(|error| panic!("sectors {lost:b}: {error}"));
        assert_eq!(recovered.frames, frames[..frames.len() - 1]);
        assert_eq!(recovered.cut.unwrap().offset, u64::try_from(begin).unwrap());
    }
    // Almost a whole sector is not one.
    let (from, to) = sectors[1];
    assert!(opened_after(&storage, &path, |bytes| bytes[from + 1..to].fill(0)).is_err());
    assert!(opened_after(&storage, &path, |bytes| bytes[from..to - 1].fill(0)).is_err());
}

#[test]
fn unwritten_sectors_of_an_earlier_frame_are_damage() {
    let (storage, _) = small_journal();
    let mut places = places(&*storage);
    places.pop();
    for (path, begin, end) in places {
        for (from, to) in sectors_of(begin, end) {
            let error =
                opened_after(&storage, &path, |bytes| bytes[from..to].fill(0)).expect_err("accepted");
            let JournalError::Damage { file, offset, .. } = error else { panic!("{error}") };
            assert_eq!((file, offset), (path.clone(), u64::try_from(begin).unwrap()));
        }
    }
}

#[test]
fn a_last_sector_of_a_few_bytes_that_is_zero_by_chance_hides_no_damage() {
    // A frame that ends one byte into a sector, with a checksum whose last byte is zero anyway.
    let (storage, path, begin) = (0..100_000_u32)
        .find_map(|n| {
            let mut frame = one(0);
            frame.records[0].entry = vec![1; 513 - 36 - FRAME_HEADER_BYTES - 4 - 3];
            frame.records[0].entry[..4].copy_from_slice(&n.to_be_bytes());
            let mut bytes = Vec::new();
            frame.encode_into(&mut bytes).unwrap();
            if !bytes.ends_with(&[0]) {
                return None;
            }
            let storage = Arc::new(FaultyStorage::new(1));
            let (mut journal, _) = open(&storage).unwrap();
            journal.append(&frame).unwrap();
            let path = segment_path(DIR, 0);
            assert_eq!(storage.len(&path).unwrap(), Some(513));
            Some((storage, path, SEGMENT_HEADER_BYTES))
        })
        .unwrap();
    assert_eq!(opened_after(&storage, &path, |_| ()).unwrap().1.frames.len(), 1);
    for at in begin..512 {
        assert!(opened_after(&storage, &path, |bytes| bytes[at] ^= 1).is_err(), "byte {at}");
    }
}

#[test]
fn missing_foreign_and_swapped_segments_are_damage() {
    let (storage, _) = small_journal();
    let names = storage.list(DIR).unwrap();
    assert!(names.len() > 2);
    let damage_of = |change: &dyn Fn(&MemoryStorage)| {
        let copy = Arc::new(MemoryStorage::new());
        for name in &names {
            let path = format!("{DIR}/{name}");
            copy.write(&path, &storage.read(&path).unwrap().unwrap()).unwrap();
        }
        change(&copy);
        match open(&copy) {
            Err(JournalError::Damage { file, what, .. }) => (file, what),
            other => panic!("{other:?}"),
        }
    };
    let path = |n: usize| format!("{DIR}/{}", names[n]);
    let (file, what) = damage_of(&|copy| copy.remove(&path(1)).unwrap());
    assert_eq!(file, path(2));
    assert!(matches!(what, Fault::IndexGap { .. }), "{what}");
    let (file, what) = damage_of(&|copy| {
        let bytes = copy.read(&path(1)).unwrap().unwrap();
        copy.write(&path(0), &bytes).unwrap();
    });
    assert_eq!(file, path(0));
    assert!(matches!(what, Fault::IndexGap { .. }), "{what}");
    let (_, what) = damage_of(&|copy| {
        let mut bytes = copy.read(&path(1)).unwrap().unwrap();
        let first_index = names[1][..20].parse().unwrap();
        let mut header = Vec::new();
        SegmentHeader { ledger: [1; 16], first_index }.encode_into(&mut header);
        bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&header);
        copy.write(&path(1), &bytes).unwrap();
    });
    assert_eq!(what, Fault::OtherLedger);
    // A frame repeated after itself: whole, but out of place.
    let (_, what) = damage_of(&|copy| {
        let mut bytes = copy.read(&path(0)).unwrap().unwrap();
        let again = bytes[SEGMENT_HEADER_BYTES..].to_vec();
        bytes.extend_from_slice(&again);
        copy.write(&path(0), &bytes).unwrap();
    });
    assert!(matches!(what, Fault::IndexGap { .. }), "{what}");
}

#[test]
fn a_file_that_grew_by_zeros_is_cut_and_by_anything_else_is_damage() {
    let (storage, frames) = small_journal();
    let (path, _, end) = places(&*storage).pop().unwrap();
    for extra in [1, 31, 32, 511, 512, 5_000] {
        let (_, recovered) =
            opened_after(&storage, &path, |bytes| bytes.resize(bytes.len() + extra, 0)).unwrap();
        assert_eq!(recovered.frames, frames);
        assert_eq!(recovered.cut.unwrap().offset, u64::try_from(end).unwrap());
        assert!(opened_after(&storage, &path, |bytes| bytes.resize(bytes.len() + extra, 7)).is_err());
    }
}

#[test]
fn a_short_frame_that_does_not_follow_is_damage() {
    let (storage, _) = small_journal();
    let (path, begin, end) = places(&*storage).pop().unwrap();
    let error = opened_after(&storage, &path, |bytes| {
        let mut frame = Vec::new();
        one(1_000).encode_into(&mut frame).unwrap();
        bytes.splice(begin..end, frame);
        bytes.pop();
    })
    .unwrap_err();
    assert!(matches!(error, JournalError::Damage { .. }), "{error}");
}

#[test]
fn an_unwritten_header_before_a_whole_frame_is_damage() {
    let storage = Arc::new(FaultyStorage::new(1));
    let (mut journal, _) = open(&storage).unwrap();
    for index in 0..4 {
        let mut frame = one(index);
        frame.records[0].entry = vec![1; 700];
        journal.append(&frame).unwrap();
        journal.sync().unwrap();
    }
    assert_eq!(journal.segment_count(), 1);
    let mut places = places(&*storage);
    let (path, begin, end) = places.pop().unwrap();
    for (n, (_, begin, _)) in places.iter().enumerate() {
        // From the frame's first byte, or the segment's, to the end of that sector.
        let from = if n == 0 { 0 } else { *begin };
        let to = (begin / 512 + 1) * 512;
        let error =
            opened_after(&storage, &path, |bytes| bytes[from..to].fill(0)).expect_err("accepted");
        let JournalError::Damage { offset, .. } = error else { panic!("{error}") };
        assert_eq!(offset, u64::try_from(from).unwrap());
    }
    let (_, recovered) = opened_after(&storage, &path, |bytes| bytes[begin..end].fill(0)).unwrap();
    assert_eq!(recovered.frames.len(), 3);
    let (journal, recovered) = opened_after(&storage, &path, |bytes| bytes.fill(0)).unwrap();
    assert_eq!((recovered.frames.len(), journal.segment_count()), (0, 0));
}

#[test]
fn an_end_below_what_was_known_to_be_durable_is_damage_and_is_not_cut() {
    let (storage, frames) = small_journal();
    let (path, begin, end) = places(&*storage).pop().unwrap();
    let (first, next) = (frames.last().unwrap().first_index, frames.last().unwrap().next_index());
    let open_knowing = |storage: &Arc<FaultyStorage>, known_size| {
        Journal::open(Arc::clone(storage) as Arc<dyn Storage>, DIR, LEDGER, known_size)
    };
    open_knowing(&storage, next).unwrap();
    let early = |file: &str, offset, known, found| JournalError::Damage {
        file: file.to_owned(),
        offset: u64::try_from(offset).unwrap(),
        what: Fault::EndsEarly { known, found },
    };
    assert_eq!(open_knowing(&storage, next + 1).unwrap_err(), early(&path, end, next + 1, next));
    storage.damage(&path, |bytes| bytes.truncate(end - 1));
    let before = storage.read(&path).unwrap();
    assert_eq!(open_knowing(&storage, next).unwrap_err(), early(&path, begin, next, first));
    assert_eq!(storage.read(&path).unwrap(), before);
    open_knowing(&storage, first).unwrap();
    let empty = Arc::new(FaultyStorage::new(1));
    assert_eq!(open_knowing(&empty, 1).unwrap_err(), early(DIR, 0, 1, 0));
}
