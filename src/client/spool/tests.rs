//! Spools that are reopened, torn, changed and filled.

#![allow(clippy::disallowed_methods, reason = "tests tear files apart")]

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

const ALL: usize = usize::MAX;

fn open(dir: &Path) -> Result<Spool, ClientError> {
    Spool::open(Directory::open(dir)?, 1 << 30, true)
}

fn events(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|n| format!("{{\"id\":\"e-{n}\"}}").into_bytes()).collect()
}

fn append(spool: &Spool, events: &[Vec<u8>]) -> Vec<Place> {
    let mut places = Vec::new();
    spool.append(events, &mut |accepted| places.extend_from_slice(accepted)).unwrap();
    assert_eq!(places.len(), events.len());
    places
}

fn read(spool: &Spool) -> Vec<Vec<u8>> {
    spool.read(ALL, ALL).unwrap().into_iter().map(|read| read.event).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir.join(SEGMENTS)) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_was_appended_is_read_again_in_order_until_it_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).unwrap();
    append(&spool, &events(0..3));
    assert_eq!(read(&spool), events(0..3));
    append(&spool, &events(3..5));
    assert_eq!((read(&spool), spool.has_unread()), (events(3..5), false));
    drop(spool);

    let spool = open(dir.path()).unwrap();
    assert_eq!(spool.open_events(), 5);
    append(&spool, &events(5..6));
    let first = spool.read(2, ALL).unwrap();
    assert_eq!(first.len(), 2);
    let second = spool.read(ALL, 1).unwrap();
    assert_eq!(second.len(), 1, "one event in any case");
    assert_eq!(read(&spool), events(3..6));
    spool.settle(&first.iter().chain(&second).map(|read| read.place).collect::<Vec<_>>()).unwrap();
    drop(spool);
    let spool = open(dir.path()).unwrap();
    assert_eq!(read(&spool), events(0..6), "a segment stays whole while anything in it is open");
}

#[test]
fn settled_segments_are_deleted_and_room_is_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let event = vec![b'x'; 1 << 20];
    let spool = Spool::open(Directory::open(dir.path()).unwrap(), 6 << 20, true).unwrap();
    let mut places = append(&spool, &vec![event.clone(); 5]);
    assert_eq!(segments(dir.path()).len(), 2);
    let full =
        spool.append(std::slice::from_ref(&event), &mut |_| panic!("nothing is accepted")).unwrap_err();
    let record = (1 << 20) + 12;
    let held_bytes = 5 * record + 2 * 8;
    let limit_bytes = 6 << 20;
    assert_eq!(full, ClientError::SpoolFull { held_bytes, more_bytes: record, limit_bytes });
    assert_eq!(spool.read(ALL, ALL).unwrap().len(), 5);
    spool.settle(&places.drain(..4).collect::<Vec<_>>()).unwrap();
    assert_eq!(segments(dir.path()).len(), 1, "the first segment is settled and sealed");
    append(&spool, std::slice::from_ref(&event));
    assert_eq!(spool.read(ALL, ALL).unwrap().len(), 1);
    drop(spool);
    let spool = open(dir.path()).unwrap();
    let left = spool.read(ALL, ALL).unwrap();
    spool.settle(&left.iter().map(|read| read.place).collect::<Vec<_>>()).unwrap();
    assert_eq!((segments(dir.path()).len(), spool.open_events()), (0, 0));
    append(&spool, &events(0..1));
    assert_eq!(read(&spool), events(0..1));
}

#[test]
fn a_small_segment_goes_when_the_spool_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).unwrap();
    let places = append(&spool, &events(0..2));
    read(&spool);
    spool.settle(&places[..1]).unwrap();
    spool.retire().unwrap();
    assert_eq!(segments(dir.path()).len(), 1, "something in it is open");
    spool.settle(&places[1..]).unwrap();
    assert_eq!(segments(dir.path()).len(), 1, "not worth deleting yet");
    spool.retire().unwrap();
    assert_eq!(segments(dir.path()).len(), 0);
    append(&spool, &events(2..3));
    assert_eq!(read(&spool), events(2..3));
}

#[test]
fn a_tail_torn_at_any_byte_loses_only_what_was_not_finished() {
    let dir = tempfile::tempdir().unwrap();
    drop({
        let spool = open(dir.path()).unwrap();
        append(&spool, &events(0..3));
        spool
    });
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let last = whole.len() - HEADER_BYTES - events(2..3)[0].len();
    for cut in last..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let spool = open(dir.path()).unwrap();
        assert_eq!(read(&spool), events(0..2), "cut at {cut}");
        append(&spool, &events(7..8));
        assert_eq!(read(&spool), events(7..8), "cut at {cut}");
        drop(spool);
        for written in segments(dir.path()).split_off(1) {
            fs::remove_file(written).unwrap();
        }
    }
    for cut in 0..MAGIC.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(read(&open(dir.path()).unwrap()).len(), 0, "cut at {cut}");
    }
}

#[test]
fn a_changed_byte_is_told_with_its_place_and_nothing_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(dir.path()).unwrap(), &events(0..3));
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let second = MAGIC.len() + HEADER_BYTES + events(0..1)[0].len();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        fs::write(&path, &changed).unwrap();
        match open(dir.path()).unwrap_err() {
            ClientError::SpoolDamaged { path, offset } => {
                assert!(path.ends_with("00000000000000000000.cfs"), "{path}");
                let offset = usize::try_from(offset).unwrap();
                assert!(offset <= at, "byte {at}: {offset}");
                assert_eq!(offset >= second, at >= second, "byte {at}: {offset}");
            }
            other => panic!("byte {at}: {other}"),
        }
        assert_eq!(fs::read(&path).unwrap(), changed);
    }
}

#[test]
fn one_process_at_a_time_and_files_are_the_owner_s() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir.path().join("spool")).unwrap();
    let places = append(&spool, &events(0..1));
    let refusal = Refusal {
        status: 422,
        code: "unknown-type".into(),
        detail: "it is so".into(),
        problem: "{\"status\":422}".into(),
    };
    spool.keep_refused(places[0], &events(0..1)[0], &refusal).unwrap();
    let error = open(&dir.path().join("spool")).unwrap_err();
    assert!(matches!(&error, ClientError::Locked(why) if why.contains("in use by process")), "{error}");
    let root = dir.path().join("spool");
    let refused = fs::read_dir(root.join("refused")).unwrap().next().unwrap().unwrap().path();
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&refused).unwrap()).unwrap();
    assert_eq!(kept, serde_json::json!({"reason": {"status": 422}, "event": {"id": "e-0"}}));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&refused), 0o600);
    assert_eq!(mode(&segments(&root)[0]), 0o600);
    assert_eq!((mode(&root), mode(&root.join(SEGMENTS))), (0o700, 0o700));
}
