//! Disk storage: what is refused, what is durable, what a failed sync does.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn both_kinds() -> Vec<(tempfile::TempDir, DiskStorage)> {
    [true, false]
        .map(|use_syncfs| {
            let dir = tempfile::tempdir().unwrap();
            let storage = DiskStorage::open_with(dir.path(), use_syncfs).unwrap();
            (dir, storage)
        })
        .into()
}

#[test]
fn the_disk_behaves_as_memory_does() {
    for (_dir, disk) in both_kinds() {
        crate::store::conformance::check(&disk);
    }
}

#[test]
fn what_was_on_its_way_is_unseen_and_gone_after_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(dir.path()).unwrap();
    storage.write("a", b"1").unwrap();
    let left = dir.path().join(TEMPORARY_DIR).join("1-1");
    drop(OpenOptions::new().write(true).create_new(true).open(&left).unwrap());
    assert_eq!(storage.list("").unwrap(), ["a"]);
    assert!(storage.read(".tmp/1-1").is_err());
    DiskStorage::open_read_only(dir.path()).unwrap();
    assert!(left.exists(), "a reader must not touch what a writer has on its way");
    DiskStorage::open(dir.path()).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_reader_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    DiskStorage::open(dir.path()).unwrap().write("a", b"1").unwrap();
    let reader = DiskStorage::open_read_only(dir.path()).unwrap();
    assert_eq!(reader.read("a").unwrap().unwrap(), b"1");
    let errors = [
        reader.write("a", b"2").unwrap_err(),
        reader.write_durable("a", b"2").unwrap_err(),
        reader.remove("a").unwrap_err(),
        reader.remove_tree("a").unwrap_err(),
        reader.truncate("a", 0).unwrap_err(),
        reader.sync_round().unwrap_err(),
        reader.open_append("a", 1).map(|_| ()).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind, io::ErrorKind::PermissionDenied, "{error}");
    }
    assert_eq!(reader.read("a").unwrap().unwrap(), b"1");
    assert!(DiskStorage::open_read_only(&dir.path().join("a")).is_err());
    assert!(DiskStorage::open_read_only(&dir.path().join("missing")).is_err());
}

#[test]
fn a_write_is_whole_under_readers() {
    let (_dir, storage) = both_kinds().remove(0);
    let content = |byte: u8| vec![byte; 20_000 + usize::from(byte) * 100];
    storage.write("dir/f", &content(0)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0_u32;
                    while !done.load(Ordering::SeqCst) || seen == 0 {
                        let bytes = storage.read("dir/f").unwrap().expect("never missing");
                        assert_eq!(bytes, content(bytes[0]), "a reader saw a mixture");
                        seen += 1;
                    }
                })
            })
            .collect();
        for round in 0..200_u8 {
            storage.write("dir/f", &content(round)).unwrap();
        }
        done.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(storage.list("dir").unwrap(), ["f"]);
    assert_eq!(fs::read_dir(storage.root().join(TEMPORARY_DIR)).unwrap().count(), 0);
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_on_its_way() {
    let (_dir, storage) = both_kinds().remove(0);
    storage.write("d/f", b"1").unwrap();
    let error = storage.write("d", b"2").unwrap_err();
    assert_eq!((error.operation, &*error.path), (Operation::Write, "d"));
    let error = storage.write_durable("d/f/g", b"2").unwrap_err();
    assert_eq!(error.path, "d/f/g");
    assert_eq!(storage.read("d/f").unwrap().unwrap(), b"1");
    assert_eq!(fs::read_dir(storage.root().join(TEMPORARY_DIR)).unwrap().count(), 0);
}

#[test]
fn without_syncfs_the_list_of_unsynced_directories_stays_short() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open_with(dir.path(), false).unwrap();
    for n in 0..600 {
        storage.write(&format!("t/{n}/f"), b"x").unwrap();
    }
    storage.remove_tree("t/1").unwrap();
    storage.sync_round().unwrap();
    assert_eq!(storage.list("t").unwrap().len(), 599);
}

#[test]
fn after_a_failed_sync_nothing_is_promised_any_more() {
    let (_dir, storage) = both_kinds().remove(0);
    let mut file = storage.open_append("j", 0).unwrap();
    file.append(b"1").unwrap();
    let durable = storage.durable.as_ref().unwrap();
    let injected = || Err(io::Error::from_raw_os_error(5));
    assert!(durable.sync("x", injected).is_err());
    for error in [
        file.sync().unwrap_err(),
        file.append(b"2").unwrap_err(),
        storage.sync_round().unwrap_err(),
        storage.write_durable("w", b"").unwrap_err(),
        storage.truncate("j", 0).unwrap_err(),
    ] {
        assert!(error.reason.contains("restart"), "{error}");
    }
    assert_eq!(storage.read("w").unwrap(), None);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_recognised() {
    let (_dir, storage) = both_kinds().remove(0);
    std::os::unix::fs::symlink("/dev/full", storage.root().join("full")).unwrap();
    let file = OpenOptions::new().append(true).open(storage.root().join("full")).unwrap();
    let durable = Arc::clone(storage.durable.as_ref().unwrap());
    let mut append = DiskAppend { path: "full".to_owned(), file, len: 0, failed: false, durable };
    let error = append.append(b"x").unwrap_err();
    assert!(error.is_full(), "{error}");
    assert!(!append.append(b"x").unwrap_err().is_full(), "a later call says that an earlier one failed");
    assert_eq!(append.len(), 0);
}
