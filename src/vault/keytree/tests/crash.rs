//! Power cut at every single step: whatever was acknowledged is there, whatever was not is there
//! whole or not at all, and the tree opens and goes on.

use super::machine::{Machine, slot};
use super::*;

/// Changes to the tree in the order they are made. Slots meet in leaves, in upper nodes, nowhere.
fn script() -> Vec<Step> {
    let far = BUNDLE_SLOTS_FROM + 5;
    vec![
        Step::Put(vec![(0, 1), (1, 1), (2, 1), (64, 1), (5_000, 1)]),
        Step::Put(vec![(3, 1), (65, 1), (far, 1)]),
        Step::SyncRound,
        Step::Put(vec![(4, 1), (300_000, 1), (66, 1), (SlotNumber::INBOX.0, 1)]),
        Step::Destroy(vec![1, 64, 300_000, SlotNumber::INBOX.0]),
        Step::Put(vec![(5, 1), (301_000, 1), (SlotNumber::INBOX.0, 2)]),
        Step::Put(vec![(6, 1), (7, 1), (900_000, 1)]),
        Step::Replace(vec![2, far], vec![(far, 2), (8, 1)]),
        Step::Destroy(vec![6, 5_000]),
        Step::Put(vec![(9, 1), (5_001, 1)]),
    ]
}

fn after(model: &Model, step: &Step) -> Model {
    match step {
        Step::Put(batch) => model.put(batch).unwrap(),
        Step::Destroy(slots) => model.destroy(slots),
        Step::Replace(old, new) => model.destroy(old).put(new).unwrap(),
        Step::SyncRound | Step::Reopen => model.clone(),
    }
}

fn run(machine: &Machine, tree: &KeyTree, step: &Step) -> Result<(), VaultError> {
    match step {
        Step::Put(batch) => tree.put(&batch_of(batch)),
        Step::Destroy(slots) => tree.destroy(&numbers(slots)),
        Step::Replace(old, new) => tree.replace(&numbers(old), &batch_of(new)),
        Step::SyncRound => {
            machine.storage().sync_round()?;
            tree.synced()
        }
        Step::Reopen => Ok(()),
    }
}

/// Every slot of the script.
fn touched() -> BTreeSet<u64> {
    script()
        .into_iter()
        .flat_map(|step| match step {
            Step::Put(batch) => batch.into_iter().map(|(number, _)| number).collect(),
            Step::Replace(_, new) => new.into_iter().map(|(number, _)| number).collect(),
            _ => Vec::new(),
        })
        .collect()
}

fn held(tree: &KeyTree) -> BTreeMap<u64, Slot> {
    let slot = |number: u64| Some((number, tree.get(SlotNumber(number)).unwrap()?));
    touched().into_iter().filter_map(slot).collect()
}

fn wanted(model: &Model) -> BTreeMap<u64, Slot> {
    model.held.iter().map(|(number, byte)| (*number, slot(*number, *byte))).collect()
}

/// Runs the script until the power fails: what was acknowledged, and the step under way.
fn run_until_cut(machine: &Machine) -> (Model, Option<usize>) {
    let mut model = Model::default();
    let Ok(tree) = machine.open_or_create() else { return (model, Some(0)) };
    for (number, step) in script().iter().enumerate() {
        if run(machine, &tree, step).is_err() {
            return (model, Some(number));
        }
        model = after(&model, step);
    }
    (model, None)
}

/// Opens the machine's tree, checks it, and runs the rest of the script on it.
fn check_and_finish(machine: &Machine, model: &Model, under_way: usize) {
    let tree = machine.open_or_create().unwrap();
    let found = held(&tree);
    let step = &script()[under_way];
    let done = wanted(&after(model, step));
    assert!(found == wanted(model) || found == done, "step {under_way}: neither before nor after");
    assert_eq!(machine.root_keys().len(), 1);
    let mut model = model.clone();
    for step in &script()[under_way..] {
        // A step that had counted is done again; only a replacement is not made to be repeated.
        if !(found == done && matches!(step, Step::Replace(..)) && step_is(under_way, step)) {
            run(machine, &tree, step).unwrap();
        }
        model = after(&model, step);
    }
    assert_eq!(held(&tree), wanted(&model));
    drop(tree);
    check(&machine.open().unwrap(), &model, &touched());
}

fn step_is(number: usize, step: &Step) -> bool {
    format!("{:?}", script()[number]) == format!("{step:?}")
}

#[test]
fn power_cut_at_every_step() {
    let machine = Machine::new();
    assert!(run_until_cut(&machine).1.is_none());
    let changes = machine.changes();
    assert!(changes > 60, "{changes} steps at which the power can fail");
    for cut in 0..changes {
        for seed in 0..6 {
            let machine = Machine::new();
            machine.cut_power_after(cut, seed % 2 == 0);
            let (model, under_way) = run_until_cut(&machine);
            let under_way = under_way.expect("the power failed");
            check_and_finish(&machine.restart(seed), &model, under_way);
        }
    }
}

#[test]
fn power_cut_again_at_every_step_of_recovery() {
    let machine = Machine::new();
    run_until_cut(&machine);
    for cut in (0..machine.changes()).step_by(2) {
        let machine = Machine::new();
        machine.cut_power_after(cut, cut % 4 == 0);
        let (model, under_way) = run_until_cut(&machine);
        let mut machine = machine.restart(cut);
        for second in 0..=100 {
            assert!(second < 100, "recovery never ends");
            machine.cut_power_after(second, second % 2 == 0);
            let is_open = machine.open_or_create().is_ok();
            machine = machine.restart(second);
            if is_open {
                break;
            }
        }
        check_and_finish(&machine, &model, under_way.expect("the power failed"));
    }
}

#[test]
fn a_process_killed_without_power_loss_finds_its_writes() {
    let machine = Machine::new();
    run_until_cut(&machine);
    for cut in 0..machine.changes() {
        let machine = Machine::new();
        machine.cut_power_after(cut, true);
        let (model, under_way) = run_until_cut(&machine);
        // First the process dies, then, after the next one has opened the tree and put one batch
        // more, the power fails: nothing the first left in memory alone may be counted on.
        let machine = machine.revive();
        let tree = machine.open_or_create().unwrap();
        tree.put(&batch_of(&[(77, 1)])).unwrap();
        drop(tree);
        let tree = machine.restart(cut).open().unwrap();
        let mut found = held(&tree);
        found.remove(&77);
        let step = &script()[under_way.expect("the process was killed")];
        assert!(found == wanted(&model) || found == wanted(&after(&model, step)), "cut {cut}");
        assert_eq!(tree.get(SlotNumber(77)).unwrap(), Some(slot(77, 1)));
    }
}

#[test]
fn a_put_that_fails_without_a_crash_can_be_made_again() {
    let batch = batch_of(&[(5, 1), (70, 1), (300_000, 1), (300_064, 1)]);
    for failing in 0.. {
        assert!(failing < 100, "a put never succeeds");
        let machine = Machine::new();
        let tree = machine.create().unwrap();
        tree.put(&batch_of(&[(1, 1), (64, 1)])).unwrap();
        machine.fail_once_after(failing);
        let result = tree.put(&batch);
        for number in [1, 64] {
            assert_eq!(tree.get(SlotNumber(number)).unwrap(), Some(slot(number, 1)));
        }
        for (number, held) in &batch {
            assert!(tree.get(*number).unwrap().is_none_or(|found| found == *held), "write {failing}");
        }
        tree.put(&batch).unwrap();
        drop(tree);
        let tree = machine.restart(failing).open().unwrap();
        for (number, held) in &batch {
            assert_eq!(tree.get(*number).unwrap().as_ref(), Some(held), "write {failing}");
        }
        if result.is_ok() {
            break;
        }
    }
}

#[test]
fn after_a_failed_rotation_the_tree_wants_to_be_opened_anew() {
    let machine = Machine::new();
    let tree = machine.create().unwrap();
    tree.put(&batch_of(&[(1, 1), (2, 1)])).unwrap();
    machine.storage().sync_round().unwrap();
    tree.synced().unwrap();
    machine.cut_power_after(1, false); // the change is recorded, the custodian refuses
    assert!(tree.destroy(&numbers(&[1])).is_err());
    assert!(matches!(tree.get(SlotNumber(2)), Err(VaultError::Reopen)));
    assert!(matches!(tree.put(&batch_of(&[(3, 1)])), Err(VaultError::Reopen)));
    let machine = machine.restart(1);
    let tree = machine.open().unwrap();
    assert_eq!(tree.get(SlotNumber(1)).unwrap(), Some(slot(1, 1)), "nothing was destroyed");
    tree.destroy(&numbers(&[1])).unwrap();
    assert_eq!(tree.get(SlotNumber(1)).unwrap(), None);
}
