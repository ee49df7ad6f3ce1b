//! Damaged files: the index opens with right answers, says what it cannot read, or starts empty.

use std::fs;
use std::path::PathBuf;

use super::*;

/// Writes test damage: files here belong to nobody, and durability is not the point.
#[allow(clippy::disallowed_methods, reason = "test damage bypasses the store on purpose")]
fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

const EVENTS: u64 = 36_000;
const SUBJECTS: u64 = 40;

fn terms_of(index: u64) -> [(u64, Term); 3] {
    [
        (index, term(0, scramble(index))),
        (index, term(130, scramble(index % SUBJECTS))),
        (index, term(1, scramble(index % 3))),
    ]
}

fn fill(index: &Index, range: std::ops::Range<u64>) {
    for at in range {
        index.add(at, &terms_of(at)).unwrap();
        index.advance(at + 1);
    }
}

/// Two tiers of runs, with replaced rows removed, closed or not.
fn build(dir: &Path, orderly: bool) {
    let (index, _) = open(dir);
    for part in 0..12 {
        fill(&index, part * EVENTS / 12..(part + 1) * EVENTS / 12);
        index.flush().unwrap();
        index.maintain(u64::MAX).unwrap();
    }
    if orderly {
        index.close().unwrap();
        // Once more, so that sled leaves a snapshot file too.
        drop(index);
        let (index, _) = open(dir);
        index.close().unwrap();
    }
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("blobs")).unwrap();
    for file in files_under(from) {
        fs::copy(&file, to.join(file.strip_prefix(from).unwrap())).unwrap();
    }
}

/// Right answers below the watermark, or an error; true where every answer came.
fn answers_hold(index: &Index) -> bool {
    let below = index.watermark();
    let mut whole = true;
    let mut expect = |wanted: Term, expected: Vec<u64>| match index.find(&wanted) {
        Ok(found) => assert_eq!(found, expected, "wrong answer below watermark {below}"),
        Err(error) => {
            assert!(error.needs_rebuild() || matches!(error, IndexError::Io { .. }), "{error}");
            whole = false;
        }
    };
    for subject in 0..SUBJECTS {
        let all = (0..below).filter(|i| i % SUBJECTS == subject).collect();
        expect(term(130, scramble(subject)), all);
    }
    for kind in 0..3 {
        expect(term(1, scramble(kind)), (0..below).filter(|i| i % 3 == kind).collect());
    }
    for at in (0..EVENTS).step_by(61) {
        expect(term(0, scramble(at)), if at < below { vec![at] } else { Vec::new() });
    }
    whole
}

/// Changes one file; says what it did.
fn damage(dir: &Path, draw: &mut Draw) -> String {
    let files = files_under(dir);
    let file = match draw.below(3) {
        0 => files[usize::try_from(draw.below(u64::try_from(files.len()).unwrap())).unwrap()].clone(),
        _ => dir.join("db"),
    };
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let mut bytes = fs::read(&file).unwrap();
    let length = u64::try_from(bytes.len()).unwrap();
    let at = usize::try_from(draw.below(length.max(1))).unwrap();
    match draw.below(7) {
        0 => fs::remove_file(&file).unwrap(),
        1 => {
            bytes.truncate(at);
            put(&file, &bytes);
            return format!("cut {name} to {at} of {length}");
        }
        2 => {
            let end = bytes.len().min(at + 4096);
            bytes[at..end].fill(0);
            put(&file, &bytes);
            return format!("zeroed {at}..{end} of {length} in {name}");
        }
        3 => {
            bytes.extend((0..at % 5000).map(|i| scramble(u64::try_from(i).unwrap()).to_be_bytes()[0]));
            put(&file, &bytes);
            return format!("lengthened {name}");
        }
        _ => {
            let mut flipped = Vec::new();
            for _ in 0..=draw.below(4) {
                let at = usize::try_from(draw.below(length.max(1))).unwrap();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << draw.below(8);
                    flipped.push(at);
                }
            }
            put(&file, &bytes);
            return format!("flipped bits at {flipped:?} of {length} in {name}");
        }
    }
    format!("removed {name}")
}

#[test]
fn damaged_files_never_give_wrong_answers() {
    let setting = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let loud = setting("INDEX_DAMAGE_CASES").is_some();
    let cases = setting("INDEX_DAMAGE_CASES").unwrap_or(60);
    let from = setting("INDEX_DAMAGE_FROM").unwrap_or(0);
    let home = tempfile::tempdir().unwrap();
    let (closed, killed) = (home.path().join("closed"), home.path().join("killed"));
    build(&closed, true);
    build(&killed, false);
    let (mut rebuilt, mut whole, mut told) = (0, 0, 0);
    for case in from..from + cases {
        let dir = home.path().join(format!("case-{case}"));
        copy_tree(if case % 4 == 3 { &killed } else { &closed }, &dir);
        let what = damage(&dir, &mut Draw(case << 20));
        let (index, report) = match Index::open(
            &dir,
            IndexOptions { rollback_span: 5_000, ..IndexOptions::new(rename) },
        ) {
            Ok(opened) => opened,
            Err(error) => panic!("case {case}, {what}: {error}"),
        };
        if let Some(why) = &report.rebuilt {
            assert!(report.watermark == 0 && why.moved_to.exists(), "case {case}, {what}");
            rebuilt += 1;
        }
        if answers_hold(&index) {
            whole += 1;
        } else {
            told += 1;
        }
        // What is damaged may also fail while it goes on being written.
        let at = index.next_index();
        fill(&index, at..at + 200);
        let flushed = index.flush().and_then(|()| index.maintain(u64::MAX));
        if flushed.is_ok() && !answers_hold(&index) {
            told += 1;
        }
        let closed = index.close();
        if loud {
            let reason = report.rebuilt.map(|rebuilt| rebuilt.reason);
            eprintln!("case {case}: {what}: {} {reason:?} {flushed:?} {closed:?}", report.watermark);
        }
        drop(index);
        fs::remove_dir_all(&dir).ok();
    }
    println!("rebuilt {rebuilt}, whole {whole}, told {told}");
    assert!(rebuilt * 10 >= cases, "{rebuilt} of {cases} were noticed at open");
}

#[test]
fn a_missing_or_misplaced_row_is_never_a_shorter_answer() {
    let home = tempfile::tempdir().unwrap();
    let whole_dir = home.path().join("whole");
    build(&whole_dir, true);
    let rows = |dir: &Path| {
        let db = sled::open(dir).unwrap();
        db.iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let all = rows(&whole_dir);
    let (mut at_open, mut at_read) = (0, 0);
    for (n, (key, _)) in all.iter().enumerate().step_by((all.len() / 40) | 1) {
        let dir = home.path().join(format!("row-{n}"));
        copy_tree(&whole_dir, &dir);
        let db = sled::open(&dir).unwrap();
        if n % 2 == 0 {
            db.remove(key).unwrap();
        } else {
            // Another row's bytes, whole in themselves.
            db.insert(key, &all[(n + 1) % all.len()].1).unwrap();
        }
        drop(db);
        let (index, report) = open(&dir);
        at_open += u32::from(report.rebuilt.is_some());
        at_read += u32::from(!answers_hold(&index));
        drop(index);
        fs::remove_dir_all(&dir).unwrap();
    }
    assert!(at_open > 0 && at_read > 0, "{at_open} at open, {at_read} at a read");
}
