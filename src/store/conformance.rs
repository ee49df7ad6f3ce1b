//! What every storage must do, checked against each of them.

use std::io::ErrorKind;

use super::Storage;

/// Runs all checks on an empty `storage`.
pub(super) fn check(storage: &dyn Storage) {
    missing_files_are_no_error(storage);
    writes_replace_and_ranges_are_exact(storage);
    listings_are_of_one_level_and_sorted(storage);
    appends_continue_where_the_caller_says(storage);
    removals_reach_what_they_name(storage);
    assert_eq!(storage.write("../x", b"").unwrap_err().kind, ErrorKind::InvalidInput);
    let misnamed = [("a".to_owned(), Vec::new()), ("../x".to_owned(), Vec::new())];
    assert_eq!(storage.replace_all(&misnamed).unwrap_err().kind, ErrorKind::InvalidInput);
    assert_eq!(storage.read(".tmp/x").unwrap_err().kind, ErrorKind::InvalidInput);
    assert_eq!(storage.list("a//b").unwrap_err().kind, ErrorKind::InvalidInput);
    assert_eq!(storage.remove_tree("").unwrap_err().kind, ErrorKind::InvalidInput);
}

fn missing_files_are_no_error(storage: &dyn Storage) {
    assert_eq!(storage.read("no/such").unwrap(), None);
    assert_eq!(storage.len("no/such").unwrap(), None);
    assert!(!storage.exists("no/such").unwrap());
    assert_eq!(storage.list("no").unwrap(), Vec::<String>::new());
    assert_eq!(storage.list("").unwrap(), Vec::<String>::new());
    storage.remove("no/such").unwrap();
    storage.remove_tree("no").unwrap();
    assert_eq!(storage.read_range("no/such", 0, 0).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(storage.truncate("no/such", 0).unwrap_err().kind, ErrorKind::NotFound);
    storage.sync_round().unwrap();
}

fn writes_replace_and_ranges_are_exact(storage: &dyn Storage) {
    storage.write("w/deep/f", b"0123456789").unwrap();
    storage.write_durable("w/deep/g", b"").unwrap();
    assert_eq!(storage.len("w/deep/f").unwrap(), Some(10));
    assert_eq!(storage.len("w/deep/g").unwrap(), Some(0));
    assert_eq!(storage.read_range("w/deep/f", 3, 4).unwrap(), b"3456");
    assert_eq!(storage.read_range("w/deep/f", 10, 0).unwrap(), b"");
    for (offset, len) in [(3, 8), (11, 0), (u64::MAX, 1), (0, usize::MAX)] {
        let error = storage.read_range("w/deep/f", offset, len).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnexpectedEof, "{offset} {len}");
    }
    let both = [("w/deep/f", b"other"), ("w/new/h", b"first")].map(|(p, b)| (p.to_owned(), b.to_vec()));
    storage.replace_all(&both).unwrap();
    for (path, bytes) in &both {
        assert_eq!(storage.read(path).unwrap().as_ref(), Some(bytes));
    }
    storage.write_durable("w/deep/f", b"new").unwrap();
    storage.write("w/deep/g", b"new too").unwrap();
    assert_eq!(storage.read("w/deep/f").unwrap().unwrap(), b"new");
    assert_eq!(storage.read("w/deep/g").unwrap().unwrap(), b"new too");
    assert_eq!(storage.read("w/deep").unwrap(), None);
    assert_eq!(storage.len("w/deep").unwrap(), None);
    assert_eq!(storage.read("w/deep/f/below").unwrap(), None);
    storage.sync_round().unwrap();
}

fn listings_are_of_one_level_and_sorted(storage: &dyn Storage) {
    for path in ["l/b", "l/a/2", "l/a/1", "l/a-", "la/x"] {
        storage.write(path, b"x").unwrap();
    }
    assert_eq!(storage.list("l").unwrap(), ["a", "a-", "b"]);
    assert_eq!(storage.list("l/a").unwrap(), ["1", "2"]);
    assert_eq!(storage.list("l/b").unwrap(), Vec::<String>::new());
    assert_eq!(storage.list("").unwrap(), ["l", "la", "w"]);
}

fn appends_continue_where_the_caller_says(storage: &dyn Storage) {
    assert!(storage.open_append("j/1", 5).is_err());
    assert!(!storage.exists("j/1").unwrap(), "a refused open must not create the file");
    let mut file = storage.open_append("j/1", 0).unwrap();
    file.append(b"abc").unwrap();
    assert_eq!(file.len(), 3);
    assert_eq!(
        storage.read("j/1").unwrap().unwrap(),
        b"abc",
        "appended bytes are visible before they are synced"
    );
    file.sync().unwrap();
    drop(file);
    for wrong in [0, 2, 4] {
        let error = storage.open_append("j/1", wrong).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidData);
        assert!(error.reason.contains("holds 3 bytes"), "{error}");
    }
    let mut file = storage.open_append("j/1", 3).unwrap();
    file.sync().unwrap();
    file.append(b"def").unwrap();
    file.append(b"").unwrap();
    assert_eq!(file.len(), 6);
    drop(file);
    assert_eq!(storage.truncate("j/1", 7).unwrap_err().kind, ErrorKind::UnexpectedEof);
    storage.truncate("j/1", 6).unwrap();
    storage.truncate("j/1", 4).unwrap();
    assert_eq!(storage.read("j/1").unwrap().unwrap(), b"abcd");
}

fn removals_reach_what_they_name(storage: &dyn Storage) {
    for path in ["r/a", "r/b/1", "r/b/2/3", "r/bc"] {
        storage.write(path, b"x").unwrap();
    }
    storage.remove("r/a").unwrap();
    storage.remove_tree("r/b").unwrap();
    storage.remove_tree("r/none").unwrap();
    assert_eq!(storage.list("r").unwrap(), ["bc"]);
    assert_eq!(storage.read("r/b/1").unwrap(), None);
    storage.write_durable("r/b/1", b"again").unwrap();
    assert_eq!(storage.read("r/b/1").unwrap().unwrap(), b"again");
    storage.remove("r/bc").unwrap();
    storage.write("r/bc", b"back").unwrap();
    assert_eq!(storage.list("r").unwrap(), ["b", "bc"]);
    storage.sync_round().unwrap();
}
