//! Whole logs, whole and damaged in every way the walk must notice.

use super::*;
use crate::event::entry::Entry;
use crate::log::hash::{Hash, TreeSize, leaf_hash};
use crate::log::note::SigningKey;
use crate::log::tile::encode_bundle;
use crate::prove::testing::{ORIGIN, TestLog, encode, event_entry, signing_key};

const SIZES: [u64; 9] = [0, 1, 2, 5, 255, 256, 257, 513, 1000];

#[track_caller]
pub(super) fn assert_failed(report: &Report, check: &str, place: &str) {
    assert_eq!(report.verdict(), Verdict::Failed, "{report:#?}");
    assert_eq!(report.check(check), Some(Verdict::Failed), "{report:#?}");
    let text = String::from_utf8(report.to_json()).unwrap();
    assert!(text.contains(place), "{place}: {text}");
}

#[track_caller]
pub(super) fn assert_verified(report: &Report) {
    assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
    assert!(report.findings.is_empty());
}

#[test]
fn good_logs_of_all_sizes_verify() {
    for size in SIZES {
        let log = TestLog::new(size);
        let report = log.verify();
        assert_verified(&report);
        assert_eq!(report.count, size);
        assert_eq!(report.parts.open, size.saturating_sub(1) * 2);
        assert_eq!(report.range.map(|range| range.last), size.checked_sub(1));
        for name in ["checkpoint", "tiles", "entries", "leaves", "root", "chain", "parts"] {
            assert_eq!(report.check(name), Some(Verdict::Verified), "{name}");
        }
    }
}

#[test]
fn a_tree_of_three_tile_levels_verifies_and_its_upper_tiles_are_compared() {
    let mut log = TestLog::empty();
    for index in 0..65_536_u64 + 300 {
        log.append(index.to_be_bytes().to_vec(), Vec::new());
    }
    log.publish();
    let options = LogOptions { foreign: true, ..LogOptions::default() };
    assert_verified(&log.verify_with(&options));
    for (path, at) in [("tile/1/000", 8191), ("tile/1/001.p/1", 0), ("tile/2/000.p/1", 31)] {
        let mut bad = log.clone();
        bad.files.get_mut(path).unwrap()[at] ^= 1;
        let report = bad.verify_with(&options);
        assert_failed(&report, "tiles", &format!("{path} byte {at}"));
        assert_eq!(report.check("root"), Some(Verdict::Verified));
    }
}

#[test]
fn progress_counts_to_the_end() {
    let log = TestLog::new(513);
    let mut seen = Vec::new();
    let key = signing_key().verifier();
    let options = LogOptions::default();
    verify_log(log.note.as_bytes(), &key, &log, None::<&NoParts>, &options, &mut |p| seen.push(p));
    let done: Vec<u64> = seen.iter().map(|p| p.entries_done).collect();
    assert_eq!(done, [256, 512, 513]);
    assert!(seen.iter().all(|p| p.entries_total == 513));
}

#[test]
fn every_flipped_byte_of_a_small_log_is_found_and_placed() {
    let log = TestLog::new(5);
    assert_verified(&log.verify());
    for (path, bytes) in &log.files {
        if !path.ends_with(".p/5") {
            continue;
        }
        for at in 0..bytes.len() {
            for flip in [1_u8, 0x80, 0xff] {
                let mut bad = log.clone();
                bad.files.get_mut(path).unwrap()[at] ^= flip;
                let report = bad.verify();
                assert_eq!(report.verdict(), Verdict::Failed, "{path} {at}");
                let first = report.findings.first().unwrap();
                assert!(first.place.contains("tile/") || first.place.contains("entry"), "{first:?}");
            }
        }
    }
    for at in 0..log.note.len() {
        for flip in [1_u8, 0x20, 0x80, 0xff] {
            let mut note = log.note.clone().into_bytes();
            note[at] ^= flip;
            let key = signing_key().verifier();
            let options = LogOptions::default();
            let report = verify_log(&note, &key, &log, Some(&log), &options, &mut |_| {});
            assert_eq!(report.verdict(), Verdict::Failed, "checkpoint {at}");
        }
    }
}

#[test]
fn flipped_bytes_in_full_and_partial_tiles_are_placed_exactly() {
    let log = TestLog::new(257);
    for (path, bytes) in &log.files {
        for at in (0..bytes.len()).step_by(if path.contains("entries") { 997 } else { 61 }) {
            let mut bad = log.clone();
            bad.files.get_mut(path).unwrap()[at] ^= 0x10;
            let report = bad.verify();
            assert_eq!(report.verdict(), Verdict::Failed, "{path} {at}");
            let first = &report.findings[0];
            if path.contains("entries") {
                assert!(first.place.starts_with("tile/") || first.place.starts_with("entry"));
                assert_ne!(report.check(first.check), Some(Verdict::Verified));
            } else {
                assert_eq!(first.place, format!("{path} byte {at}"));
                assert_eq!(report.check("root"), Some(Verdict::Verified), "entries are sound");
            }
        }
    }
}

#[test]
fn shortened_lengthened_and_missing_files_are_found() {
    let log = TestLog::new(257);
    let paths: Vec<String> = log.files.keys().cloned().collect();
    for path in &paths {
        for change in 0..3 {
            let mut bad = log.clone();
            match change {
                0 => drop(bad.files.remove(path)),
                1 => drop(bad.files.get_mut(path).unwrap().pop()),
                _ => bad.files.get_mut(path).unwrap().push(0),
            }
            let report = bad.verify();
            assert_eq!(report.verdict(), Verdict::Failed, "{path} {change}");
            assert!(report.findings[0].place.starts_with(path.as_str()), "{:?}", report.findings);
        }
    }
    let mut bad = log.clone();
    bad.files.remove("tile/0/000");
    bad.files.remove("tile/entries/000");
    let report = bad.verify();
    assert_failed(&report, "tiles", "tile/0/000");
    assert_eq!(report.check("root"), Some(Verdict::NotProvable));
}

#[test]
fn partial_files_may_have_been_replaced_by_full_ones() {
    let mut log = TestLog::new(250);
    let old_note = log.note.clone();
    log.grow(256);
    log.publish();
    for path in ["tile/0/000.p/250", "tile/entries/000.p/250"] {
        log.files.remove(path).unwrap();
    }
    log.note = old_note;
    let report = log.verify();
    assert_verified(&report);
    assert_eq!(report.count, 250);
    log.files.get_mut("tile/0/000").unwrap()[249 * 32] ^= 1;
    assert_failed(&log.verify(), "leaves", "tile/0/000 byte 7968");
}

#[test]
fn a_changed_entry_with_changed_tiles_does_not_have_the_signed_root() {
    let log = TestLog::new(300);
    let mut forged = log.clone();
    let mut entries = log.entries.clone();
    *entries[7].last_mut().unwrap() ^= 1;
    let bundle = encode_bundle(entries[..256].iter().map(Vec::as_slice)).unwrap();
    forged.files.insert("tile/entries/000".into(), bundle);
    let report = forged.verify();
    assert_failed(&report, "leaves", "tile/0/000 byte 224");
    assert_failed(&report, "root", "entries were changed");
    assert_failed(&report, "chain", "entry 8");

    let tile = forged.files.get_mut("tile/0/000").unwrap();
    tile[7 * 32..8 * 32].copy_from_slice(leaf_hash(&entries[7]).as_bytes());
    let report = forged.verify();
    assert_eq!(report.check("leaves"), Some(Verdict::Verified));
    assert_failed(&report, "tiles", "tile/1/000.p/1 byte 0");
    assert_failed(&report, "root", "does not have the signed root");
}

/// A log whose operator signed one entry that breaks a rule of the chain.
fn misbehaving(change: impl Fn(&mut Entry)) -> Report {
    let mut log = TestLog::new(3);
    let (mut entry, stored) = event_entry(3, log.prev());
    change(&mut entry);
    log.append(encode(&entry), stored);
    log.publish();
    let report = log.verify();
    assert_eq!(report.check("root"), Some(Verdict::Verified));
    report
}

#[test]
fn a_signed_entry_that_breaks_the_chain_is_found() {
    assert_failed(&misbehaving(|entry| entry.prev = Hash([1; 32])), "chain", "entry 3");
    assert_failed(&misbehaving(|entry| entry.index.0 = 4), "chain", "says it is entry 4");
    assert_failed(&misbehaving(|entry| entry.time_us -= 2), "chain", "1 µs earlier");
    assert_failed(&misbehaving(|entry| entry.ledger.0[0] ^= 1), "chain", "belongs to ledger");
    assert_verified(&misbehaving(|entry| entry.time_us -= 1));

    let mut log = TestLog::new(3);
    log.append(b"CFL1 and then nothing that can be read".to_vec(), Vec::new());
    log.publish();
    assert_failed(&log.verify(), "chain", "entry 3");
}

#[test]
fn older_checkpoints_of_every_size_are_extended() {
    let mut notes = Vec::new();
    let mut log = TestLog::empty();
    for size in SIZES {
        log.grow(size);
        log.publish();
        notes.push((size, log.note.clone()));
    }
    for (size, note) in &notes {
        let options = LogOptions { since: Some(note.as_bytes()), ..LogOptions::default() };
        let report = log.verify_with(&options);
        assert_eq!(report.check("consistency"), Some(Verdict::Verified), "{size}");
        assert_verified(&report);
    }
    let small = TestLog::new(5);
    let options = LogOptions { since: Some(log.note.as_bytes()), ..LogOptions::default() };
    assert_failed(&small.verify_with(&options), "consistency", "size 1000");
}

#[test]
fn a_fork_is_found() {
    let before = TestLog::new(300);
    for (split, fails) in [(299, true), (300, false), (301, false)] {
        let mut fork = TestLog::new(split);
        let (mut entry, stored) = event_entry(split, fork.prev());
        entry.time_us += 5;
        fork.append(encode(&entry), stored);
        for index in split + 1..310 {
            let (mut entry, stored) = event_entry(index, fork.prev());
            entry.time_us += 5;
            fork.append(encode(&entry), stored);
        }
        fork.publish();
        let options = LogOptions { since: Some(before.note.as_bytes()), ..LogOptions::default() };
        let report = fork.verify_with(&options);
        if fails {
            assert_failed(&report, "consistency", "a fork");
        } else {
            assert_verified(&report);
        }
    }
}

#[test]
fn another_key_and_another_origin_fail() {
    let log = TestLog::new(2);
    let options = LogOptions::default();
    for key in [
        SigningKey::generate_from_seed(ORIGIN, &[8; 32]).unwrap(),
        SigningKey::generate_from_seed("ledger.example/other", &[9; 32]).unwrap(),
    ] {
        let report =
            verify_log(log.note.as_bytes(), &key.verifier(), &log, Some(&log), &options, &mut |_| {});
        assert_failed(&report, "checkpoint", "checkpoint");
        assert_eq!(report.checks.len(), 1);
    }
}

#[test]
fn without_entries_only_the_tree_is_shown() {
    let log = TestLog::new(600);
    let options = LogOptions { entries: false, ..LogOptions::default() };
    let report = log.verify_with(&options);
    assert_eq!(report.verdict(), Verdict::NotProvable);
    assert_eq!(report.check("root"), Some(Verdict::Verified));
    assert_eq!(report.check("chain"), Some(Verdict::NotProvable));
    assert!(log.asked.borrow().iter().all(|path| !path.contains("entries")));
    let mut bad = log.clone();
    bad.files.get_mut("tile/0/001").unwrap()[0] ^= 1;
    assert_failed(&bad.verify_with(&options), "root", "signed root");
}

#[test]
fn foreign_logs_have_a_tree_and_no_chain() {
    let mut log = TestLog::empty();
    for index in 0..300_u64 {
        log.append(format!("line {index}").into_bytes(), Vec::new());
    }
    log.publish();
    let report = log.verify();
    assert_eq!(report.check("root"), Some(Verdict::Verified));
    assert_eq!(report.check("chain"), Some(Verdict::NotProvable));
    assert_eq!(report.exit_code(), 4);
    assert_verified(&log.verify_with(&LogOptions { foreign: true, ..LogOptions::default() }));
}

#[test]
fn what_cannot_be_read_is_not_provable() {
    for path in ["tile/0/000.p/5", "tile/entries/000.p/5"] {
        let mut log = TestLog::new(5);
        log.broken.push(path.into());
        let report = log.verify();
        assert_eq!(report.verdict(), Verdict::NotProvable, "{report:#?}");
        assert_eq!(report.findings[0].place, path);
        assert!(report.findings[0].detail.contains("input/output error"));
    }
    let mut log = TestLog::new(5);
    log.broken = vec!["tile/0/000.p/5".into(), "tile/entries/000.p/5".into()];
    assert_eq!(log.verify().check("root"), Some(Verdict::NotProvable));
}

#[test]
fn a_signed_size_without_files_ends_at_once() {
    let log = TestLog::new(0);
    let (size, root) = (TreeSize(u64::MAX), Hash([1; 32]));
    let note = Checkpoint { origin: ORIGIN.into(), size, root }.sign(&signing_key()).unwrap();
    let key = signing_key().verifier();
    let options = LogOptions::default();
    let report = verify_log(note.as_bytes(), &key, &log, Some(&log), &options, &mut |_| {});
    assert_failed(&report, "tiles", "tile/0/000");
    assert!(log.asked.borrow().len() < 10);
}

#[test]
fn many_findings_are_capped_and_end_the_walk() {
    let mut log = TestLog::empty();
    for index in 0..256 * 1_100_u64 {
        log.append(index.to_be_bytes().to_vec(), Vec::new());
    }
    log.publish();
    log.files.retain(|path, _| !path.starts_with("tile/entries/"));
    let report = log.verify();
    assert_eq!(report.verdict(), Verdict::Failed);
    assert_eq!(report.findings.len(), FINDINGS_KEPT);
    assert_eq!(report.count, FINDINGS_STOP * 256);
    assert_eq!(report.check("root"), Some(Verdict::NotProvable));
}

#[test]
fn stored_parts_are_held_against_the_entries() {
    let log = TestLog::new(300);
    let change = |change: fn(&mut TestLog)| {
        let mut log = log.clone();
        change(&mut log);
        log.verify()
    };
    let lost = change(|log| drop(log.stored[257].pop()));
    assert_failed(&lost, "parts", "sealed/001 entry 257: part subject is lost");
    assert_eq!(lost.parts.lost, 1);
    assert_failed(&change(|log| drop(log.stored[257].remove(0))), "parts", "part open is lost");
    assert_failed(&change(|log| log.stored[3][1].view.intact = false), "parts", "entry 3: part subject");
    assert_failed(&change(|log| log.stored[3][0].body[0] ^= 1), "content", "entry 3: part open");
    assert_failed(&change(|log| log.stored[3][0].salt[63] ^= 1), "content", "entry 3: part open");
    assert_failed(&change(|log| log.stored[3][1].view.role.0 += 1), "parts", "part subject.1 is not in");
    assert_failed(&change(|log| log.stored[3].swap(0, 1)), "parts", "entry 3");
    let extra = change(|log| {
        let part = log.stored[3][0].clone();
        log.stored[3].insert(0, part);
    });
    assert_failed(&extra, "parts", "entry 3");
    let beside = change(|log| {
        let part = log.stored[3][0].clone();
        log.stored[0].push(part);
    });
    assert_failed(&beside, "parts", "entry 0");
    assert_failed(
        &change(|log| log.stored.truncate(256)),
        "parts",
        "sealed/001 entry 256: part open is lost",
    );
    let unreadable = change(|log| log.broken.push("sealed/001".into()));
    assert_failed(&unreadable, "parts", "sealed/001: unreadable");
    assert_eq!((unreadable.parts.lost, unreadable.findings.len()), (88, 1));
}

#[test]
fn withheld_parts_are_counted() {
    let mut log = TestLog::new(4);
    log.stored[1][1].withheld = true;
    let report = log.verify();
    assert_verified(&report);
    assert_eq!((report.parts.open, report.parts.withheld), (5, 1));

    let key = signing_key().verifier();
    let options = LogOptions::default();
    let report = verify_log(log.note.as_bytes(), &key, &log, None::<&NoParts>, &options, &mut |_| {});
    assert_verified(&report);
    assert_eq!(report.check("parts"), Some(Verdict::NotProvable));
}
