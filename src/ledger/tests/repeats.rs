//! The same event from many requests at once, on a real disk, whose flush takes longer than a look-up.

use super::*;
use crate::store::DiskStorage;

#[test]
fn requests_that_bring_one_event_at_once_are_all_answered_with_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(Arc::new(DiskStorage::open(dir.path()).unwrap()));
    let ledger = bench.open().unwrap();
    for id in 0..40 {
        let start = std::sync::Barrier::new(6);
        let indexes: Vec<u64> = std::thread::scope(|scope| {
            let ask = || {
                start.wait();
                let answer = append(&ledger, vec![event(&format!("e{id}"), "s1", id)]).remove(0);
                answer.unwrap().index
            };
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(indexes.iter().all(|index| *index == indexes[0]), "event {id}: {indexes:?}");
    }
    ledger.close().unwrap();
}
