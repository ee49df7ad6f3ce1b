//! What destruction leaves to somebody who kept every byte the tree ever wrote.

use super::machine::{Machine, slot};
use super::*;
use crate::vault::change::Change;
use crate::vault::mac::Secret;

/// Every node that was ever written, from its own name or from a change.
fn every_version(machine: &Machine) -> Vec<(NodeId, Vec<u8>)> {
    let mut versions = Vec::new();
    for (path, bytes) in machine.written() {
        match path.strip_prefix("nodes/").and_then(|rest| rest.split_once('/')) {
            Some((level, index)) => {
                let id = NodeId { level: level.parse().unwrap(), index: index.parse().unwrap() };
                versions.push((id, bytes));
            }
            None => versions.extend(Change::decode(&bytes).unwrap().files),
        }
    }
    versions
}

/// All that can be opened with `root_key` and with every key that is found on the way: the contents
/// of leaves, from all versions of all nodes.
fn openable(versions: &[(NodeId, Vec<u8>)], root_key: &RootKey) -> BTreeSet<[u8; 32]> {
    let mut keys: Vec<Secret> = vec![secret_of(root_key)];
    let mut tried = 0;
    let mut secrets = BTreeSet::new();
    while let Some(key) = keys.get(tried).cloned() {
        tried += 1;
        for (id, file) in versions {
            let Ok(node) = Node::decode(*id, &key, file) else { continue };
            for digit in node.present() {
                if id.level == 0 {
                    secrets.insert(*node.slot(digit).unwrap().secret);
                } else {
                    let child = node.child_key(digit).unwrap();
                    if !keys.contains(&child) {
                        keys.push(child);
                    }
                }
            }
        }
    }
    secrets
}

fn secrets(slots: impl IntoIterator<Item = u64>) -> BTreeSet<[u8; 32]> {
    slots.into_iter().map(|number| *slot(number, 1).secret).collect()
}

#[test]
fn every_old_byte_beside_the_new_root_key_opens_nothing_destroyed() {
    let machine = Machine::new();
    let tree = machine.create().unwrap();
    let kept = [0, 3, 63, 65, 4_097, 300_001, BUNDLE_SLOTS_FROM, SlotNumber::INBOX.0];
    let doomed = [1, 2, 64, 4_096, 300_000, BUNDLE_SLOTS_FROM + 1];
    // In several puts, so that older versions of the same leaves exist under the same keys.
    for number in kept.into_iter().chain(doomed) {
        tree.put(&batch_of(&[(number, 1)])).unwrap();
    }
    let old_key = machine.root_keys().pop().unwrap();
    let everything = secrets(kept.into_iter().chain(doomed));
    assert_eq!(openable(&every_version(&machine), &old_key), everything, "the search finds all");

    tree.destroy(&numbers(&doomed)).unwrap();
    let keys = machine.root_keys();
    assert_eq!(keys.len(), 1, "the old root key is gone");
    assert_ne!(keys[0], old_key);
    assert_eq!(openable(&every_version(&machine), &keys[0]), secrets(kept));
    for number in kept {
        assert_eq!(tree.get(SlotNumber(number)).unwrap(), Some(slot(number, 1)));
    }
    for number in doomed {
        assert_eq!(tree.get(SlotNumber(number)).unwrap(), None);
        assert!(tree.is_destroyed(SlotNumber(number)).unwrap());
    }

    // A second destruction leaves the first as final as it was.
    tree.put(&batch_of(&[(66, 1)])).unwrap();
    tree.destroy(&numbers(&[3])).unwrap();
    let left = secrets(kept.into_iter().filter(|number| *number != 3).chain([66]));
    assert_eq!(openable(&every_version(&machine), &machine.root_keys()[0]), left);
}

#[test]
fn no_secret_is_ever_written_in_the_clear() {
    let machine = Machine::new();
    let tree = machine.create().unwrap();
    let all: Vec<(u64, u8)> = (0..200).chain([BUNDLE_SLOTS_FROM]).map(|number| (number, 1)).collect();
    tree.put(&batch_of(&all)).unwrap();
    let first_key = machine.root_keys().pop().unwrap();
    tree.destroy(&numbers(&[5, 70])).unwrap();
    tree.put(&batch_of(&[(500, 1)])).unwrap();
    drop(machine.open().unwrap());
    let mut hidden: BTreeSet<[u8; 8]> = BTreeSet::new();
    let mut hide =
        |bytes: &[u8; 32]| hidden.extend(bytes.windows(8).map(|run| <[u8; 8]>::try_from(run).unwrap()));
    for number in all.iter().map(|(number, _)| *number).chain([500]) {
        let slot = slot(number, 1);
        hide(&slot.secret);
        hide(&slot.meta);
    }
    hide(first_key.expose());
    hide(machine.root_keys()[0].expose());
    let mut runs = 0_u64;
    for (path, bytes) in machine.written() {
        for run in bytes.windows(8) {
            runs += 1;
            assert!(!hidden.contains(run), "in {path}");
        }
    }
    assert!(runs > 30_000);
}

#[test]
fn file_sizes_do_not_tell_how_many_slots_are_taken() {
    let machine = Machine::new();
    let tree = machine.create().unwrap();
    tree.put(&batch_of(&[(1, 1)])).unwrap();
    let sizes = || -> Vec<usize> {
        machine.files().iter().filter(|(path, _)| path.contains("nodes")).map(|(_, b)| b.len()).collect()
    };
    let before = sizes();
    tree.put(&batch_of(&(2..64).map(|number| (number, 1)).collect::<Vec<_>>())).unwrap();
    tree.destroy(&numbers(&[1])).unwrap();
    assert_eq!(before, sizes());
}
