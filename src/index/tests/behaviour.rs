//! What callers rely on, one test each.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

fn settle(index: &Index) {
    while index.maintain(u64::MAX).unwrap().more {}
}

/// Values `0..count` of one term, each added as its own log entry, flushed every `every`.
fn fill(index: &Index, wanted: Term, count: u64, every: u64) {
    for at in index.next_index()..count {
        index.add(at, &[(at, wanted)]).unwrap();
        index.advance(at + 1);
        if (at + 1) % every == 0 {
            index.flush().unwrap();
        }
    }
}

#[test]
fn a_gap_in_what_is_added_is_refused_and_a_repeat_is_harmless() {
    let home = tempfile::tempdir().unwrap();
    let (index, _) = open(&home.path().join("index"));
    let wanted = term(1, 5);
    assert!(matches!(index.add(1, &[]), Err(IndexError::Gap { expected: 0, from_index: 1 })));
    fill(&index, wanted, 10, 10);
    index.add(4, &[(4, wanted), (9, wanted)]).unwrap();
    index.flush().unwrap();
    assert_eq!(index.find(&wanted).unwrap(), (0..10).collect::<Vec<_>>());
    index.advance(3);
    assert_eq!((index.next_index(), index.watermark()), (10, 10));
}

#[test]
fn a_list_longer_than_a_block_reads_the_same_both_ways() {
    let home = tempfile::tempdir().unwrap();
    let (index, _) = open(&home.path().join("index"));
    let wanted = term(1, 5);
    let values: Vec<u64> = (0..30_000).map(|i| i * 300).collect();
    let before: Vec<(u64, Term)> = (0..500).map(|i| (i, term(1, i % 5))).collect();
    let batch: Vec<(u64, Term)> = values.iter().map(|value| (*value, wanted)).collect();
    index.add(0, &before).unwrap();
    index.add(0, &batch).unwrap();
    index.add(0, &[(u64::MAX, wanted), (3, term(1, 6)), (u64::MAX, term(255, u64::MAX))]).unwrap();
    index.advance(9_000_000);
    index.flush().unwrap();
    assert!(index.stats().unwrap().blocks > 10);
    let mut cursor = index.lookup(&wanted).unwrap();
    assert_eq!(cursor.floor(u64::MAX).unwrap(), Some(u64::MAX));
    for (i, value) in values.iter().enumerate().step_by(17) {
        assert_eq!(cursor.ceil(*value).unwrap(), Some(*value));
        assert_eq!(cursor.ceil(value + 1).unwrap(), values.get(i + 1).copied().or(Some(u64::MAX)));
        assert_eq!(cursor.floor(value + 299).unwrap(), Some(*value));
    }
    assert_eq!(index.find(&term(1, 6)).unwrap(), [3]);
    assert_eq!(index.find(&term(255, u64::MAX)).unwrap(), [u64::MAX]);
    assert_eq!(cursor.collect(3).unwrap(), [0, 300, 600]);
}

#[test]
fn unions_and_intersections_agree_with_sets() {
    let home = tempfile::tempdir().unwrap();
    let (index, _) = open(&home.path().join("index"));
    let divisors = [2_u64, 3, 7];
    for at in 0..5_000 {
        let hits: Vec<_> =
            divisors.iter().filter(|d| at % **d == 0).map(|d| (at, term(2, scramble(*d)))).collect();
        index.add(at, &hits).unwrap();
        index.advance(at + 1);
        if at % 700 == 699 {
            index.flush().unwrap();
        }
    }
    let cursors = || divisors.map(|d| index.lookup(&term(2, scramble(d))).unwrap()).into();
    let every = |at: &u64| divisors.iter().all(|d| at.is_multiple_of(*d));
    let any = |at: &u64| divisors.iter().any(|d| at.is_multiple_of(*d));
    let mut all = Intersection::<Cursor>::new(cursors());
    let up: Vec<u64> = std::iter::from_fn(|| all.next_asc().unwrap()).collect();
    assert_eq!(up, (0..5_000).filter(every).collect::<Vec<_>>());
    let mut down: Vec<u64> = std::iter::from_fn(|| all.next_desc().unwrap()).collect();
    down.reverse();
    assert_eq!(down, up);
    all.seek(1_000);
    assert_eq!((all.next_asc().unwrap(), all.next_desc().unwrap()), (Some(1_008), Some(966)));
    let mut some = Union::new(cursors());
    let up: Vec<u64> = std::iter::from_fn(|| some.next_asc().unwrap()).collect();
    assert_eq!(up, (0..5_000).filter(any).collect::<Vec<_>>());
    assert_eq!(some.floor(4_999).unwrap(), (0..5_000).rev().find(any));
    let mut nested: Intersection<Box<dyn Values>> =
        Intersection::new(vec![Box::new(some), Box::new(index.lookup(&term(2, scramble(7))).unwrap())]);
    assert_eq!(nested.ceil(8).unwrap(), Some(14));
    let absent = index.lookup(&term(2, 1)).unwrap();
    let with_absent = index.lookup(&term(2, scramble(2))).unwrap();
    assert_eq!(Intersection::new(vec![with_absent, absent]).next_asc().unwrap(), None);
    assert_eq!(Intersection::<Cursor>::new(Vec::new()).next_asc().unwrap(), None);
}

#[test]
fn readers_see_every_value_once_while_runs_are_written_and_merged() {
    let home = tempfile::tempdir().unwrap();
    let (index, _) = open(&home.path().join("index"));
    let wanted = term(130, scramble(1));
    let (published, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let total = 12_000;
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (index, published, stop) = (&index, &published, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let before = published.load(Ordering::SeqCst);
                    let mut cursor = index.lookup(&wanted).unwrap();
                    let mut seen: Vec<u64> = if reader == 0 {
                        std::iter::from_fn(|| cursor.next_asc().unwrap()).collect()
                    } else {
                        std::iter::from_fn(|| cursor.next_desc().unwrap()).collect()
                    };
                    let length = u64::try_from(seen.len()).unwrap();
                    if reader == 1 {
                        seen.reverse();
                    }
                    assert!(length >= before, "{length} of {before} values");
                    assert_eq!(seen, (0..length).collect::<Vec<_>>());
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                index.flush().unwrap();
                index.maintain(500).unwrap();
            }
        });
        for at in 0..total {
            index.add(at, &[(at, wanted), (at, term(0, scramble(at)))]).unwrap();
            index.advance(at + 1);
            published.store(at + 1, Ordering::SeqCst);
            if at % 64 == 0 {
                std::thread::yield_now();
                assert_eq!(index.find(&term(0, scramble(at))).unwrap(), [at]);
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    settle(&index);
    assert_eq!(index.find(&wanted).unwrap(), (0..total).collect::<Vec<_>>());
    assert_eq!(index.stats().unwrap().dead_runs, 0);
}

#[test]
fn a_cursor_keeps_the_rows_it_reads_from_being_removed() {
    let home = tempfile::tempdir().unwrap();
    let (index, _) = open(&home.path().join("index"));
    let wanted = term(1, scramble(3));
    fill(&index, wanted, 8_000, 1_000);
    let mut held = index.lookup(&wanted).unwrap();
    assert_eq!(held.next_asc().unwrap(), Some(0));
    while index.maintain(u64::MAX).unwrap().merged {}
    assert_eq!((index.stats().unwrap().runs, index.stats().unwrap().dead_runs), (1, 8));
    assert_eq!(held.collect(usize::MAX).unwrap(), (0..8_000).collect::<Vec<_>>());
    drop(held);
    settle(&index);
    assert_eq!(index.stats().unwrap().dead_runs, 0);
    assert_eq!(index.find(&wanted).unwrap().len(), 8_000);
}

#[test]
fn an_unclean_stop_gives_up_the_newest_runs_and_a_clean_one_none() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("index");
    let options = IndexOptions { rollback_span: 2_500, ..IndexOptions::new(rename) };
    let wanted = term(1, scramble(3));
    let (index, _) = Index::open(&dir, options).unwrap();
    fill(&index, wanted, 10_000, 1_000);
    settle(&index);
    assert_eq!(index.stats().unwrap().runs, 3);
    drop(index);
    // 0..8000 merged is too wide to drop; the two flushes after it are not.
    let (index, report) = Index::open(&dir, options).unwrap();
    assert!(report.unclean && report.rebuilt.is_none());
    assert_eq!((report.watermark, report.dropped_runs), (8_000, 2));
    assert_eq!(index.find(&wanted).unwrap(), (0..8_000).collect::<Vec<_>>());
    fill(&index, wanted, 10_000, 500);
    drop(index);
    let (index, report) = Index::open(&dir, options).unwrap();
    assert_eq!((report.watermark, report.dropped_runs), (8_000, 4));
    fill(&index, wanted, 13_000, 1_000);
    index.close().unwrap();
    let (index, report) = Index::open(&dir, options).unwrap();
    assert_eq!((report.watermark, report.dropped_runs, report.unclean), (13_000, 0, false));
    assert_eq!(index.find(&wanted).unwrap(), (0..13_000).collect::<Vec<_>>());
}

#[test]
fn a_condemned_index_starts_empty_and_is_kept_aside() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("index");
    for round in 0..2 {
        let (index, _) = open(&dir);
        fill(&index, term(1, 1), 10, 5);
        index.condemn().unwrap();
        index.close().unwrap();
        index.close().unwrap();
        assert!(matches!(index.lookup(&term(1, 1)), Err(IndexError::Closed)));
        let (index, report) = open(&dir);
        let rebuilt = report.rebuilt.unwrap();
        assert!(rebuilt.reason.needs_rebuild(), "{}", rebuilt.reason);
        assert_eq!(rebuilt.moved_to, home.path().join(format!("index.broken-{round}")));
        assert!(report.watermark == 0 && rebuilt.moved_to.join("db").exists());
        assert!(index.find(&term(1, 1)).unwrap().is_empty());
        index.close().unwrap();
    }
}

#[test]
fn an_index_of_another_format_or_of_somebody_else_is_moved_aside() {
    let home = tempfile::tempdir().unwrap();
    let rows: [&[(&[u8], &[u8])]; 4] = [
        &[(b"\0format", b"counterfoil index 0"), (b"\0manifest", b"")],
        &[(b"\0format", b"counterfoil index 1"), (b"\0manifest", b"1234567")],
        &[(b"\0format", b"counterfoil index 1"), (b"some", b"row")],
        &[(b"some", b"row")],
    ];
    for (n, rows) in rows.iter().enumerate() {
        let dir = home.path().join(format!("index-{n}"));
        let other = sled::Config::new().path(&dir).open().unwrap();
        for (key, value) in *rows {
            other.insert(key, *value).unwrap();
        }
        drop(other);
        let (_, report) = open(&dir);
        assert!(report.rebuilt.is_some() && report.watermark == 0, "case {n}");
    }
}

#[test]
fn an_index_in_use_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("index");
    let (index, _) = open(&dir);
    assert!(matches!(Index::open(&dir, IndexOptions::new(rename)), Err(IndexError::Locked)));
    fill(&index, term(1, 1), 10, 5);
    assert_eq!(index.find(&term(1, 1)).unwrap().len(), 10);
    assert!(!home.path().join("index.broken-0").exists());
}

#[test]
fn rows_grow_with_bytes_and_not_with_events() {
    let home = tempfile::tempdir().unwrap();
    let (index, _) = open(&home.path().join("index"));
    let events = 40_000_u64;
    for at in 0..events {
        let postings = [
            (at, term(0, scramble(at))),
            (at, term(1, scramble(at % 29))),
            (at, term(130, scramble(at % 1_000))),
            (at, term(131, scramble(at % 100))),
            (at, term(2, scramble(at % 5))),
        ];
        index.add(at, &postings).unwrap();
        index.advance(at + 1);
        if index.memory_postings() >= 20_000 {
            index.flush().unwrap();
            index.maintain(40_000).unwrap();
        }
    }
    index.flush().unwrap();
    settle(&index);
    let stats = index.stats().unwrap();
    assert_eq!(stats.postings, events * 5);
    assert!(stats.blocks <= stats.postings / 50, "{stats:?}");
    assert!(stats.bytes <= stats.postings * 6, "{stats:?}");
    assert!(stats.runs <= 14 && stats.memory_postings == 0, "{stats:?}");
    assert!(stats.filter_bytes <= events * 2, "{stats:?}");
    for subject in (0..1_000).step_by(97) {
        let mut cursor = index.lookup(&term(130, scramble(subject))).unwrap();
        let newest: Vec<u64> = std::iter::from_fn(|| cursor.next_desc().unwrap()).take(50).collect();
        let expected: Vec<u64> = (0..events).rev().filter(|i| i % 1_000 == subject).take(50).collect();
        assert_eq!(newest, expected);
    }
}
