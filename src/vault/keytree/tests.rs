//! The key tree against a model, against crashes, and against whoever keeps copies.

mod crash;
mod machine;
mod shred;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::vault::slot::BUNDLE_SLOTS_FROM;
use machine::{Machine, PREFIX, slot};

fn persons(tree: &KeyTree, from: u64) -> Vec<(SlotNumber, Slot)> {
    tree.persons_from(SlotNumber(from)).collect::<Result<_, _>>().unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<(u64, u8)>),
    Destroy(Vec<u64>),
    Replace(Vec<u64>, Vec<(u64, u8)>),
    SyncRound,
    Reopen,
}

/// Slots that share leaves, that share only upper nodes, and of every range.
fn any_slot() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0_u64..200,
        1 => (0_u64..8).prop_map(|n| n * 64 * 64 * 64 + 63),
        1 => BUNDLE_SLOTS_FROM - 3..BUNDLE_SLOTS_FROM + 70,
        1 => Just(SlotNumber::INBOX.0),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let batch = || prop::collection::vec((any_slot(), 1_u8..4), 0..12);
    let slots = || prop::collection::vec(any_slot(), 0..12);
    prop_oneof![
        6 => batch().prop_map(Step::Put),
        3 => slots().prop_map(Step::Destroy),
        1 => (slots(), batch()).prop_map(|(old, new)| Step::Replace(old, new)),
        2 => Just(Step::SyncRound),
        1 => Just(Step::Reopen),
    ]
}

/// What the tree must hold.
#[derive(Clone, Default)]
struct Model {
    held: BTreeMap<u64, u8>,
    spent: BTreeSet<u64>,
}

impl Model {
    /// Whether the batch is allowed, and what is held after it.
    fn put(&self, batch: &[(u64, u8)]) -> Option<Self> {
        let mut next = self.clone();
        for (number, byte) in batch {
            match next.held.get(number) {
                Some(held) if held == byte => {}
                Some(_) => return None,
                None if next.spent.contains(number) && SlotNumber(*number).is_person() => return None,
                None => {
                    next.held.insert(*number, *byte);
                    next.spent.remove(number);
                }
            }
        }
        Some(next)
    }

    fn destroy(&self, slots: &[u64]) -> Self {
        let mut next = self.clone();
        for number in slots {
            if next.held.remove(number).is_some() {
                next.spent.insert(*number);
            }
        }
        next
    }

    fn next_person(&self) -> u64 {
        let used = self.held.keys().chain(&self.spent).filter(|n| **n < BUNDLE_SLOTS_FROM).max();
        used.map_or(1, |last| last + 1)
    }
}

fn batch_of(batch: &[(u64, u8)]) -> Vec<(SlotNumber, Slot)> {
    batch.iter().map(|(number, byte)| (SlotNumber(*number), slot(*number, *byte))).collect()
}

fn numbers(slots: &[u64]) -> Vec<SlotNumber> {
    slots.iter().copied().map(SlotNumber).collect()
}

fn check(tree: &KeyTree, model: &Model, touched: &BTreeSet<u64>) {
    for number in touched {
        let expected = model.held.get(number).map(|byte| slot(*number, *byte));
        assert_eq!(tree.get(SlotNumber(*number)).unwrap(), expected, "slot {number}");
        let is_spent = model.spent.contains(number);
        assert_eq!(tree.is_destroyed(SlotNumber(*number)).unwrap(), is_spent, "slot {number}");
    }
    for from in [0, 1, 64, 100, BUNDLE_SLOTS_FROM - 1, BUNDLE_SLOTS_FROM] {
        let is_listed = |number: u64| number >= from && SlotNumber(number).is_person();
        let expected: Vec<_> = model.held.iter().filter(|(number, _)| is_listed(**number)).collect();
        let found = persons(tree, from);
        assert_eq!(found.len(), expected.len(), "persons from {from}");
        for ((number, held), (wanted, byte)) in found.into_iter().zip(expected) {
            assert_eq!((number.0, held), (*wanted, slot(*wanted, *byte)));
        }
    }
    match tree.next_person_slot() {
        Ok(next) => assert_eq!(next.0, model.next_person()),
        Err(error) => {
            assert!(matches!(error, VaultError::Full));
            assert_eq!(model.next_person(), BUNDLE_SLOTS_FROM);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn the_tree_does_what_a_map_does(steps in prop::collection::vec(any_step(), 1..25)) {
        let machine = Machine::new();
        let mut tree = machine.create().unwrap();
        let mut model = Model::default();
        let mut touched = BTreeSet::from([5]);
        for step in steps {
            match step {
                Step::Put(batch) => {
                    touched.extend(batch.iter().map(|(number, _)| *number));
                    match model.put(&batch) {
                        Some(next) => {
                            tree.put(&batch_of(&batch)).unwrap();
                            model = next;
                        }
                        None => prop_assert!(tree.put(&batch_of(&batch)).is_err()),
                    }
                }
                Step::Destroy(slots) => {
                    tree.destroy(&numbers(&slots)).unwrap();
                    model = model.destroy(&slots);
                }
                Step::Replace(old, new) => {
                    touched.extend(new.iter().map(|(number, _)| *number));
                    // The same slot filled twice, or an erased person's, is another test's subject.
                    let new: BTreeMap<u64, u8> = new.into_iter().collect();
                    let new: Vec<(u64, u8)> =
                        new.into_iter().filter(|(n, _)| !model.spent.contains(n)).collect();
                    let mut emptied = model.destroy(&old);
                    for (number, _) in &new {
                        emptied.spent.remove(number);
                    }
                    match emptied.put(&new) {
                        Some(next) => {
                            tree.replace(&numbers(&old), &batch_of(&new)).unwrap();
                            model = next;
                        }
                        None => prop_assert!(tree.replace(&numbers(&old), &batch_of(&new)).is_err()),
                    }
                }
                Step::SyncRound => {
                    machine.storage().sync_round().unwrap();
                    tree.synced().unwrap();
                }
                Step::Reopen => {
                    drop(tree);
                    tree = machine.open().unwrap();
                }
            }
            check(&tree, &model, &touched);
        }
    }
}

#[test]
fn a_leaf_is_written_once_a_batch_and_its_parents_only_when_it_is_new() {
    let machine = Machine::new();
    let tree = machine.create().unwrap();
    let leaf = |bytes: std::ops::Range<u64>| -> Vec<_> {
        bytes.map(|number| (SlotNumber(number), slot(number, 1))).collect()
    };
    let before = machine.written().len();
    tree.put(&leaf(64..70)).unwrap();
    let first: Vec<_> = machine.written()[before..].iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(first, ["change", "nodes/0/1", "nodes/1/0", "nodes/2/0", "nodes/3/0", "nodes/4/0"]);
    let before = machine.written().len();
    tree.put(&leaf(66..128)).unwrap();
    let second: Vec<_> = machine.written()[before..].iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(second, ["change", "nodes/0/1"]);
    let before = machine.written().len();
    tree.put(&leaf(64..128)).unwrap();
    assert_eq!(machine.written().len(), before);
}

#[test]
fn a_tree_larger_than_the_cache_is_read_and_walked() {
    let machine = Machine::new();
    let tree = machine.create().unwrap();
    let count = 64 * 1_500;
    let all: Vec<_> = (1..count).map(|number| (SlotNumber(number), slot(number, 1))).collect();
    tree.put(&all).unwrap();
    for number in (1..count).rev().step_by(331) {
        assert_eq!(tree.get(SlotNumber(number)).unwrap(), Some(slot(number, 1)));
    }
    assert_eq!(persons(&tree, 0), all);
    assert_eq!(tree.next_person_slot().unwrap(), SlotNumber(count));
}

#[test]
fn slots_beyond_the_tree_are_refused() {
    let tree = Machine::new().create().unwrap();
    let beyond = SlotNumber(SLOTS);
    assert!(matches!(tree.get(beyond), Err(VaultError::SlotOutOfRange { .. })));
    assert!(matches!(tree.put(&[(beyond, slot(1, 1))]), Err(VaultError::SlotOutOfRange { .. })));
    assert!(matches!(tree.destroy(&[beyond]), Err(VaultError::SlotOutOfRange { .. })));
    assert!(tree.get(SlotNumber(SLOTS - 1)).unwrap().is_none());
}

#[test]
fn an_erased_persons_slot_is_not_used_again_but_a_keys_is() {
    let tree = Machine::new().create().unwrap();
    let (person, inbox) = (SlotNumber(7), SlotNumber::INBOX);
    tree.put(&[(person, slot(7, 1)), (inbox, slot(8, 1))]).unwrap();
    assert!(matches!(tree.put(&[(person, slot(7, 2))]), Err(VaultError::SlotTaken { .. })));
    assert!(matches!(tree.put(&[(inbox, slot(8, 2))]), Err(VaultError::SlotTaken { .. })));
    tree.destroy(&[person, inbox]).unwrap();
    assert!(matches!(tree.put(&[(person, slot(7, 2))]), Err(VaultError::SlotSpent { .. })));
    tree.put(&[(inbox, slot(8, 2))]).unwrap();
    assert_eq!(tree.get(inbox).unwrap(), Some(slot(8, 2)));
    assert_eq!(tree.next_person_slot().unwrap(), SlotNumber(8));
    // In one step with its destruction even a person's slot may get other content.
    tree.put(&[(SlotNumber(9), slot(9, 1))]).unwrap();
    tree.replace(&[SlotNumber(9)], &[(SlotNumber(9), slot(9, 2))]).unwrap();
    assert_eq!(tree.get(SlotNumber(9)).unwrap(), Some(slot(9, 2)));
}

#[test]
fn no_tree_is_made_where_one_may_be() {
    let machine = Machine::new();
    assert!(matches!(machine.open(), Err(VaultError::NoRootKey)));
    let tree = machine.create().unwrap();
    tree.put(&[(SlotNumber(1), slot(1, 1))]).unwrap();
    assert!(matches!(machine.create(), Err(VaultError::Exists)));
    machine.lose_root_key();
    assert!(matches!(machine.create(), Err(VaultError::Exists)));
    assert!(matches!(machine.open(), Err(VaultError::NoRootKey)));
    assert!(matches!(machine.open_or_create(), Err(VaultError::NoRootKey)));
}

#[test]
fn another_root_key_a_missing_node_and_a_flipped_bit_are_told_apart() {
    let machine = Machine::new();
    let tree = machine.create().unwrap();
    tree.put(&[(SlotNumber(1), slot(1, 1)), (SlotNumber(999), slot(999, 1))]).unwrap();
    drop(tree);
    let file = |path: &str| format!("{PREFIX}/{path}");
    let storage = machine.storage();
    let change = storage.read(&file("change")).unwrap().unwrap();
    storage.remove(&file("change")).unwrap();

    let leaf = storage.read(&file("nodes/0/15")).unwrap().unwrap();
    storage.remove(&file("nodes/0/15")).unwrap();
    let tree = machine.open().unwrap();
    assert_eq!(tree.get(SlotNumber(1)).unwrap(), Some(slot(1, 1)));
    let missing = tree.get(SlotNumber(999)).unwrap_err();
    assert!(matches!(missing, VaultError::NodeMissing { level: 0, index: 15 }));
    let mut flipped = leaf.clone();
    flipped[2_000] ^= 1;
    storage.write(&file("nodes/0/15"), &flipped).unwrap();
    let damaged = tree.get(SlotNumber(999)).unwrap_err();
    assert!(matches!(damaged, VaultError::NodeDamaged { level: 0, index: 15 }));
    assert!(tree.persons_from(SlotNumber(2)).next().unwrap().is_err());
    storage.write(&file("nodes/0/15"), &leaf).unwrap();
    assert!(tree.get(SlotNumber(999)).unwrap().is_some());
    drop(tree);

    let mut flipped = change.clone();
    flipped[100] ^= 1;
    storage.write(&file("change"), &flipped).unwrap();
    assert!(matches!(machine.open(), Err(VaultError::ChangeDamaged { .. })));
    storage.remove(&file("change")).unwrap();
    machine.custody().store_new(&RootKey::generate().unwrap()).unwrap();
    let other = machine.open().unwrap_err();
    assert!(matches!(other, VaultError::NodeDamaged { level: 4, index: 0 }));
    assert_eq!(
        machine.root_keys().len(),
        2,
        "an old root key goes only once the new one opens the tree"
    );
}

#[test]
fn many_threads_read_while_one_writes() {
    let tree = Arc::new(Machine::new().create().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while tree.get(SlotNumber(300)).unwrap().is_none() {
                    for (number, held) in persons(&tree, 1) {
                        assert_eq!(held, slot(number.0, 1));
                    }
                }
            });
        }
        for number in 1..=300 {
            tree.put(&[(SlotNumber(number), slot(number, 1))]).unwrap();
            if number % 50 == 0 {
                tree.destroy(&[SlotNumber(number - 1)]).unwrap();
            }
        }
    });
}
