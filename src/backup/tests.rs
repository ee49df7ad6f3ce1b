//! Tests of what moves while a backup is made: the key tree, sealed partials, the root key.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use zeroize::Zeroizing;

use super::files::Files;
use super::{BackupError, Request, RestoreRequest, Step, make, restore, vault};
use crate::clock::SystemClock;
use crate::config::{CONFIG_FILE, Config};
use crate::ledger::{HostOptions, KeyFiles, Ledger, LedgerKeys, LedgerOptions, Ledgers};
use crate::store::{Copier, DiskStorage, SealedBundle, Storage, StoredPart};
use crate::vault::{FileCustody, KeyReader, KeyTree, LentRoot, Slot, SlotNumber, StoredRoot};

fn slot(number: u64) -> Slot {
    let mut secret = Zeroizing::new([7; 32]);
    secret[..8].copy_from_slice(&number.to_be_bytes());
    Slot { secret, meta: [1; 32] }
}

/// A data directory whose ledger was started once and ended in good order.
fn data_directory() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(data.path()).unwrap());
    let keys = LedgerKeys::create(data.path(), &*storage, "main", "example.org/main").unwrap();
    Ledger::create(&storage, "main", keys).unwrap();
    let config = Config::with_ledger("main", "example.org/main");
    storage.write_durable(CONFIG_FILE, config.to_toml().as_bytes()).unwrap();
    storage.write_durable("keys/api-keys.json", b"{}").unwrap();
    let host = HostOptions {
        data: data.path().to_owned(),
        storage,
        anchor: None,
        witnessed: Vec::new(),
        clock: Arc::new(SystemClock::default()),
        ledger: LedgerOptions::default(),
        on_fatal: |error| panic!("{error}"),
        on_warning: |_| (),
    };
    Ledgers::open(host, &config).unwrap().close().unwrap();
    data
}

fn tree(data: &Path) -> KeyTree {
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(data).unwrap());
    let custody = Box::new(FileCustody::new(KeyFiles::of(data, "main").root));
    KeyTree::open(storage, "vault/main", custody).unwrap()
}

fn request<'a>(data: &'a Path, to: &'a Path) -> Request<'a> {
    Request { data, to, ledgers: &[], keys_to: None }
}

/// Copies the vault of `data` to `to` and opens the copy.
fn copied_vault(data: &Path, to: &Path) -> KeyReader {
    let mut told = |_, _| ();
    let mut files = Files::new(Copier::open(data, to).unwrap(), &mut told);
    files.begin_pass();
    let source: Arc<dyn Storage> = Arc::new(DiskStorage::open_read_only(data).unwrap());
    let copy = DiskStorage::open_read_only(to).unwrap();
    let root = StoredRoot::newest_in(&KeyFiles::of(data, "main").root).unwrap().unwrap();
    vault::copy(&mut files, &source, &copy, "main", &root).unwrap();
    assert!(!copy.exists("vault/main/change").unwrap());
    let lent = Box::new(LentRoot::new(root.key));
    KeyReader::open(Arc::new(copy), "vault/main", lent).unwrap()
}

#[test]
fn a_vault_that_fills_meanwhile_is_copied_with_all_that_was_there_before() {
    let data = data_directory();
    let tree = tree(data.path());
    let (ends, put) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let filling = scope.spawn(|| {
            // New leaves, and new nodes above them, all over the tree.
            for number in 1_u64..20_000 {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let slots = [number, (1 << 20) + number * 5_000, (1 << 28) + number * 70];
                tree.put(&slots.map(|each| (SlotNumber(each), slot(each)))).unwrap();
                put.store(number, Ordering::SeqCst);
            }
        });
        let _ends = EndsOnDrop(&ends);
        for round in 0..12 {
            while put.load(Ordering::SeqCst) < round + 1 && !filling.is_finished() {
                std::thread::yield_now();
            }
            let before = put.load(Ordering::SeqCst);
            let to = tempfile::tempdir().unwrap();
            let copy = copied_vault(data.path(), to.path());
            for number in 1..=before {
                for each in [number, (1 << 20) + number * 5_000, (1 << 28) + number * 70] {
                    let found = copy.get(SlotNumber(each)).unwrap();
                    assert_eq!(found, Some(slot(each)), "round {round}, {each} of {before}");
                }
            }
            // What was put later is whole or not there.
            for number in before + 1..before + 200 {
                copy.get(SlotNumber(number)).unwrap();
                copy.get(SlotNumber((1 << 28) + number * 70)).unwrap();
            }
        }
    });
}

/// Ends the thread beside a test also where the test fails.
struct EndsOnDrop<'a>(&'a AtomicBool);

impl Drop for EndsOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn what_a_crash_kept_from_a_nodes_own_file_is_taken_from_the_change() {
    let data = data_directory();
    let tree = tree(data.path());
    tree.put(&[(SlotNumber(1), slot(1))]).unwrap();
    let storage = DiskStorage::open_read_only(data.path()).unwrap();
    let before = storage.read("vault/main/nodes/0/0").unwrap().unwrap();
    tree.put(&[(SlotNumber(2), slot(2))]).unwrap();
    drop(tree);
    DiskStorage::open(data.path()).unwrap().write_durable("vault/main/nodes/0/0", &before).unwrap();
    let to = tempfile::tempdir().unwrap();
    let copy = copied_vault(data.path(), to.path());
    assert_eq!(copy.get(SlotNumber(1)).unwrap(), Some(slot(1)));
    assert_eq!(copy.get(SlotNumber(2)).unwrap(), Some(slot(2)));
}

#[test]
fn a_root_key_that_is_replaced_meanwhile_means_another_pass() {
    let data = data_directory();
    let tree = tree(data.path());
    tree.put(&[(SlotNumber(10), slot(10)), (SlotNumber(11), slot(11))]).unwrap();
    let to = tempfile::tempdir().unwrap();
    let (backup, again) = (to.path().join("one"), to.path().join("two"));
    let mut rotations = 0;
    let made = make(&request(data.path(), &backup), &SystemClock::default(), &mut |step| {
        if matches!(step, Step::Verifying { .. }) && rotations == 0 {
            tree.destroy(&[SlotNumber(10)]).unwrap();
            rotations += 1;
        }
    });
    let manifest = made.unwrap().manifest;
    assert_eq!(rotations, 1);
    assert_eq!(manifest.ledgers[0].root_key.file, "main.vault-root/root-2.key");
    // The copy is of after, and opens with the key of after.
    let restored = to.path().join("restored");
    let root_keys = [KeyFiles::of(data.path(), "main").root];
    let request_of = |from| RestoreRequest {
        from,
        data: &restored,
        keys: None,
        root_keys: &root_keys,
        witnessed: &[],
    };
    let done = restore(&request_of(&backup), &mut |_, _| ()).unwrap();
    assert_eq!(done.root_keys, ["keys/main.vault-root/root-2.key"]);
    let opened = self::tree(&restored);
    assert_eq!(opened.get(SlotNumber(11)).unwrap(), Some(slot(11)));
    assert!(opened.is_destroyed(SlotNumber(10)).unwrap());
    std::fs::remove_dir_all(&restored).unwrap();

    // A shred after the backup: its root key is gone, and restoring says so and leaves nothing.
    tree.destroy(&[SlotNumber(11)]).unwrap();
    let refused = restore(&request_of(&backup), &mut |_, _| ()).unwrap_err();
    let words = refused.to_string();
    assert!(matches!(refused, BackupError::NoRootKey { .. }), "{words}");
    assert!(words.contains("a shred after this backup destroyed"), "{words}");
    assert!(!restored.exists());

    // Shreds without end: no backup, and no manifest.
    let mut next = 100;
    let moved = make(&request(data.path(), &again), &SystemClock::default(), &mut |step| {
        if matches!(step, Step::Verifying { .. }) {
            next += 1;
            tree.put(&[(SlotNumber(next), slot(next))]).unwrap();
            tree.destroy(&[SlotNumber(next)]).unwrap();
        }
    });
    let moved = moved.unwrap_err();
    assert!(matches!(moved, BackupError::Moved { .. }), "{moved}");
    assert!(moved.to_string().contains("root key"), "{moved}");
    assert!(!again.join("backup.json").exists());
}

#[test]
fn sealed_parts_beyond_the_checkpoint_are_cut_off_and_never_copied() {
    let data = data_directory();
    let storage = DiskStorage::open(data.path()).unwrap();
    let exact = "ledgers/main/sealed/000.p/1";
    let bytes = storage.read(exact).unwrap().unwrap();
    let mut bundle = SealedBundle::decode(&bytes, 0).unwrap();
    bundle.entries.push(vec![StoredPart::sealed(1, vec![], b"beyond".to_vec())]);
    storage.write_durable("ledgers/main/sealed/000.p/2", &bundle.encode().unwrap()).unwrap();
    storage.remove(exact).unwrap();
    let to = tempfile::tempdir().unwrap();
    let backup = to.path().join("copy");
    make(&request(data.path(), &backup), &SystemClock::default(), &mut |_| ()).unwrap();
    let copy = DiskStorage::open_read_only(&backup).unwrap();
    assert_eq!(copy.list("ledgers/main/sealed/000.p").unwrap(), ["1"]);
    assert_eq!(copy.read(exact).unwrap().unwrap(), bytes);
}

#[test]
fn a_damaged_ledger_gives_no_backup() {
    let data = data_directory();
    let storage = DiskStorage::open(data.path()).unwrap();
    let path = "ledgers/main/tile/entries/000.p/1";
    let mut bytes = storage.read(path).unwrap().unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    storage.write_durable(path, &bytes).unwrap();
    let to = tempfile::tempdir().unwrap();
    let backup = to.path().join("copy");
    let refused = make(&request(data.path(), &backup), &SystemClock::default(), &mut |_| ());
    let refused = refused.unwrap_err();
    assert!(matches!(refused, BackupError::NotVerified { .. }), "{refused}");
    assert!(!backup.join("backup.json").exists());
}
