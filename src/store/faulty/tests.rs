//! Faulty storage keeps what was synced and loses the rest as a disk would.

use super::*;

#[test]
fn without_faults_it_keeps_the_storage_contract() {
    crate::store::conformance::check(&FaultyStorage::new(1));
}

/// Everything a crash may do to one unsynced change of each kind, over many seeds.
#[test]
fn a_crash_keeps_what_was_synced_and_may_lose_the_rest() {
    let (mut kept_new, mut kept_old, mut torn) = (0, 0, 0);
    for seed in 0..300 {
        let storage = FaultyStorage::new(seed);
        storage.write_durable("durable", b"stays").unwrap();
        storage.write("round", b"stays too").unwrap();
        storage.write_durable("replaced", b"old").unwrap();
        storage.write_durable("removed", b"x").unwrap();
        storage.sync_round().unwrap();
        let mut append = storage.open_append("append", 0).unwrap();
        append.append(&[1; 700]).unwrap();
        append.sync().unwrap();
        append.append(&[2; 2_000]).unwrap();
        storage.write("replaced", b"new").unwrap();
        storage.remove("removed").unwrap();
        storage.crash();

        assert_eq!(storage.read("durable").unwrap().unwrap(), b"stays");
        assert_eq!(storage.read("round").unwrap().unwrap(), b"stays too");
        match storage.read("replaced").unwrap().unwrap().as_slice() {
            b"old" => kept_old += 1,
            b"new" => kept_new += 1,
            _ => torn += 1,
        }
        let bytes = storage.read("append").unwrap().expect("its name was durable when it was opened");
        assert!(bytes.len() >= 700 && bytes[..700].iter().all(|b| *b == 1), "synced bytes were lost");
        let sectors = [700..1024, 1024..1536, 1536..2048, 2048..2560, 2560..2700];
        for sector in sectors {
            let part = &bytes[sector.start.min(bytes.len())..sector.end.min(bytes.len())];
            assert!(part.windows(2).all(|pair| pair[0] == pair[1]), "a sector was torn");
        }
        assert!(
            append.append(b"x").is_err() && append.sync().is_err(),
            "the handle died with the crash"
        );
        let before = storage.read("append").unwrap();
        storage.crash();
        assert_eq!(storage.read("append").unwrap(), before, "what a crash left is durable");
    }
    assert!(kept_new > 30 && kept_old > 30 && torn > 10, "{kept_new} {kept_old} {torn}");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let storage = FaultyStorage::new(seed);
        let mut append = storage.open_append("a", 0).unwrap();
        append.append(&[7; 5_000]).unwrap();
        storage.write("w", &[8; 3_000]).unwrap();
        storage.crash();
        (storage.read("a").unwrap(), storage.read("w").unwrap())
    };
    assert_eq!(run(5), run(5));
    assert!((0..20).any(|seed| run(seed) != run(seed + 1)));
}

#[test]
fn scheduled_faults_come_once_at_their_call() {
    let storage = FaultyStorage::new(3);
    storage.fail_nth(Operation::Write, 2, InjectedFault::Full);
    storage.fail_nth(Operation::Read, 1, InjectedFault::InputOutput);
    storage.write("a", b"1").unwrap();
    assert!(storage.write("a", b"2").unwrap_err().is_full());
    assert!(!storage.read("a").unwrap_err().is_full());
    assert_eq!(storage.read("a").unwrap().unwrap(), b"1");
    storage.write("a", b"3").unwrap();
    assert_eq!(storage.read("a").unwrap().unwrap(), b"3");
}

#[test]
fn after_a_failed_sync_the_file_and_the_rounds_never_sync_again() {
    let storage = FaultyStorage::new(4);
    let mut one = storage.open_append("one", 0).unwrap();
    let mut other = storage.open_append("other", 0).unwrap();
    one.append(b"1").unwrap();
    storage.fail_nth(Operation::Sync, 1, InjectedFault::InputOutput);
    assert!(one.sync().is_err());
    assert!(one.sync().is_err());
    assert!(one.append(b"2").is_err());
    let mut again = storage.open_append("one", 1).unwrap();
    assert!(again.sync().is_err(), "a new handle on the same file knows");
    assert!(storage.sync_round().is_err());
    other.append(b"1").unwrap();
    other.sync().unwrap();
    storage.crash();
    storage.sync_round().unwrap();
    assert_eq!(storage.read("other").unwrap().unwrap(), b"1");
}

#[test]
fn without_power_every_call_fails_until_the_restart() {
    let storage = FaultyStorage::new(9);
    storage.write_durable("a", b"1").unwrap();
    let before = storage.changes();
    storage.cut_power_after(1);
    storage.write("b", b"1").unwrap();
    assert!(storage.write("c", b"1").is_err());
    assert!(storage.read("a").is_err());
    assert!(storage.list("").is_err());
    assert!(storage.sync_round().is_err());
    assert_eq!(storage.changes(), before + 2);
    storage.crash();
    assert_eq!(storage.read("a").unwrap().unwrap(), b"1");
    assert_eq!(storage.read("c").unwrap(), None);
}

#[test]
fn a_failed_append_may_leave_a_part() {
    let lens: Vec<_> = (0..40)
        .map(|seed| {
            let storage = FaultyStorage::new(seed);
            let mut append = storage.open_append("a", 0).unwrap();
            storage.fail_nth(Operation::Append, 1, InjectedFault::Full);
            assert!(append.append(&[1; 100]).unwrap_err().is_full());
            append.len()
        })
        .collect();
    assert!(lens.iter().any(|len| (1..100).contains(len)), "{lens:?}");
}
