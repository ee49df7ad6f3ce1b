//! Logs with erased and pruned parts, and every lie about them.

use super::tests::{assert_failed, assert_verified};
use super::*;
use crate::event::entry::{EntryBody, PersonsErasedBody, PruneBody, ShredBody, ShredPhase};
use crate::log::hash::Hash;
use crate::prove::removed::{Removal, RemovedSet};
use crate::prove::testing::{ROOT_KEY_BEFORE, TestLog, time_us};

const SUBJECT: Role = Role(16);
const PERSON: Hash = Hash([0xd1; 32]);

#[track_caller]
fn assert_open(report: &Report, check: &str, detail: &str) {
    assert_eq!(report.verdict(), Verdict::NotProvable, "{report:#?}");
    assert_eq!(report.check(check), Some(Verdict::NotProvable), "{report:#?}");
    let told = report.checks.iter().any(|told| told.name == check && told.detail.contains(detail));
    assert!(told, "{report:#?}");
}

fn registered() -> EntryBody {
    EntryBody::PersonsRegistered { through_slot: 2, persons: vec![(PERSON, Hash([7; 32]))] }
}

fn erased(erasure: u8) -> EntryBody {
    EntryBody::PersonsErased(PersonsErasedBody { erasure: [erasure; 16], persons: vec![PERSON] })
}

fn retention(log: &mut TestLog) -> u64 {
    let body = br#"{"previous":0,"v":1,"what":"retention"}"#;
    log.append_body(EntryBody::Settings(body.to_vec()))
}

fn prune(log: &mut TestLog, set: &RemovedSet, settings: u64) -> u64 {
    let (items, root, cutoff_us) = (set.items(), set.root(), time_us(log.size()));
    log.append_body(EntryBody::Prune(PruneBody { items, root, settings, cutoff_us }))
}

/// A log in which the subject's parts of two events are to be erased: the set, not yet committed to.
fn before_shred() -> (TestLog, RemovedSet) {
    let mut log = TestLog::new(300);
    log.append_body(registered());
    log.append_body(erased(1));
    let items = [3, 260].map(|index| log.item(index, SUBJECT, Removal::Erased));
    (log, RemovedSet::default().with(items))
}

/// The same after the shred, and with it the set.
fn shredded() -> (TestLog, RemovedSet) {
    let (mut log, set) = before_shred();
    log.keep(&set);
    log.shred(ShredPhase::Begun, &set);
    for index in [3, 260] {
        log.take_away(index, SUBJECT, Removal::Erased);
    }
    log.shred(ShredPhase::Done, &set);
    log.publish();
    (log, set)
}

#[test]
fn erased_and_pruned_parts_are_proven_by_the_set_that_the_log_commits_to() {
    let (mut log, set) = shredded();
    let report = log.verify();
    assert_verified(&report);
    assert_eq!((report.parts.erased, report.parts.lost, report.parts.open), (2, 0, 299 * 2 - 2));
    for name in ["erasures", "removed", "removals", "content", "parts"] {
        assert_eq!(report.check(name), Some(Verdict::Verified), "{name}");
    }
    assert_eq!(report.check("prunings"), None);

    let rules = retention(&mut log);
    let more = set.with([log.item(5, Role::OPEN, Removal::Pruned)]);
    log.keep(&more);
    prune(&mut log, &more, rules);
    log.take_away(5, Role::OPEN, Removal::Pruned);
    log.publish();
    let report = log.verify();
    assert_verified(&report);
    assert_eq!((report.parts.erased, report.parts.pruned), (2, 1));
    assert_eq!(report.check("prunings"), Some(Verdict::Verified));
    log.sets.remove(&2);
    assert_verified(&log.verify());
}

#[test]
fn a_shred_is_verified_at_every_moment() {
    let (mut log, set) = before_shred();
    log.publish();
    assert_verified(&log.verify());
    log.keep(&set);
    assert_verified(&log.verify());
    log.shred(ShredPhase::Begun, &set);
    log.publish();
    assert_verified(&log.verify());
    log.take_away(3, SUBJECT, Removal::Erased);
    let report = log.verify();
    assert_verified(&report);
    assert_eq!((report.parts.erased, report.parts.open), (1, 597));
    // The secret is destroyed before the other part is taken away.
    log.stored[260][1].shut = true;
    let report = log.verify();
    assert_verified(&report);
    assert_eq!((report.parts.withheld, report.parts.lost), (1, 0));
    log.take_away(260, SUBJECT, Removal::Erased);
    assert_verified(&log.verify());
    log.shred(ShredPhase::Done, &set);
    log.publish();
    assert_verified(&log.verify());
}

#[test]
fn a_part_without_an_item_is_lost() {
    let change = |change: fn(&mut TestLog)| {
        let (mut log, _) = shredded();
        change(&mut log);
        log.verify()
    };
    let report = change(|log| log.take_away(7, SUBJECT, Removal::Erased));
    assert_failed(&report, "erasures", "sealed/000 entry 7: part subject is gone");
    assert_eq!((report.parts.erased, report.parts.lost), (2, 1));
    let report = change(|log| log.take_away(3, SUBJECT, Removal::Pruned));
    assert_failed(&report, "prunings", "sealed/000 entry 3: part subject is gone");
    assert_eq!((report.parts.erased, report.parts.pruned, report.parts.lost), (1, 0, 1));
    let report = change(|log| log.take_away(3, Role::OPEN, Removal::Erased));
    assert_failed(&report, "erasures", "part open");
    let report = change(|log| drop(log.stored[3].pop()));
    assert_failed(&report, "parts", "part subject is lost");
    let report = change(|log| log.stored[9][1].shut = true);
    assert_failed(&report, "content", "sealed/000 entry 9: part subject does not open");

    let mut log = TestLog::new(9);
    log.take_away(4, SUBJECT, Removal::Erased);
    let report = log.verify();
    assert_failed(&report, "erasures", "sealed/000 entry 4");
    assert_eq!(report.parts.lost, 1);
    // Nor does a set help that no entry commits to: then it is at best open.
    log.keep(&RemovedSet::default().with([log.item(4, SUBJECT, Removal::Erased)]));
    assert_open(&log.verify(), "erasures", "verify again");
}

#[test]
fn many_lost_parts_are_counted_and_the_first_told() {
    let mut log = TestLog::new(300);
    for index in 1..300 {
        log.take_away(index, SUBJECT, Removal::Erased);
    }
    let report = log.verify();
    assert_failed(&report, "erasures", "first of 299: sealed/000 entry 1");
    assert_eq!((report.parts.lost, report.findings.len()), (299, FINDINGS_KEPT));
}

#[test]
fn the_set_must_be_the_one_that_the_log_commits_to() {
    let (log, set) = shredded();
    let bytes = set.encode();
    for at in 0..bytes.len() {
        let mut bad = log.clone();
        bad.sets.get_mut(&2).unwrap()[at] ^= 1;
        let report = bad.verify();
        assert_failed(&report, "removed", "removed/2: ");
        assert_failed(&report, "erasures", "sealed/000 entry 3");
        assert_eq!(report.parts.lost, 2, "byte {at}");
    }
    let mut bad = log.clone();
    let other = RemovedSet::default().with([3, 261].map(|i| log.item(i, SUBJECT, Removal::Erased)));
    bad.keep(&other);
    assert_failed(&bad.verify(), "removed", "other items than the entry commits to");
    let mut bad = log.clone();
    bad.sets.insert(2, set.with([log.item(9, SUBJECT, Removal::Erased)]).encode());
    assert_failed(&bad.verify(), "removed", "holds 3 items");
    let mut bad = log.clone();
    bad.sets.clear();
    assert_failed(&bad.verify(), "removed", "removed/2: is missing");
    let mut unread = log;
    unread.broken.push("removed/2".into());
    assert_open(&unread.verify(), "removed", "input/output error");
    assert_open(&unread.verify(), "erasures", "input/output error");
}

#[test]
fn what_a_running_server_takes_away_meanwhile_leaves_the_verdict_open() {
    let (mut log, set) = shredded();
    let newer = set.with([log.item(9, SUBJECT, Removal::Erased)]);
    log.keep(&newer);
    assert_verified(&log.verify());
    log.take_away(9, SUBJECT, Removal::Erased);
    let report = log.verify();
    assert_open(&report, "erasures", "1 parts are gone since the checkpoint: verify again");
    assert_eq!((report.parts.erased, report.parts.lost), (3, 0));
    log.stored[9][1].view.state = StoredState::Sealed;
    log.stored[9][1].shut = true;
    assert_open(&log.verify(), "content", "being removed: verify again");
    // The set that the checkpoint's newest entry commits to may be gone by then.
    log.sets.remove(&2);
    assert_open(&log.verify(), "removed", "there is a newer one: verify again");
    assert_open(&log.verify(), "erasures", "there is a newer one");
}

/// A source whose newer set appears only once the walk is under way.
struct Late<'a>(&'a TestLog, std::cell::Cell<u32>);

impl PartSource for Late<'_> {
    type Part = <TestLog as PartSource>::Part;
    type Error = String;

    fn parts(&self, bundle: u64) -> Result<Option<StoredParts<Self::Part>>, String> {
        self.0.parts(bundle)
    }

    fn removed_sizes(&self) -> Result<Vec<u64>, String> {
        let asked = self.1.replace(self.1.get() + 1);
        Ok(if asked == 0 { vec![2] } else { vec![2, 3] })
    }

    fn removed(&self, items: u64) -> Result<Option<Vec<u8>>, String> {
        self.0.removed(items)
    }

    fn describe(&self, part: &Self::Part) -> PartView {
        part.view
    }

    fn open(&self, index: LogIndex, event: &EventView<'_>, part: &Self::Part) -> Result<Opened, String> {
        self.0.open(index, event, part)
    }
}

#[test]
fn a_set_that_appears_during_the_walk_is_found() {
    let (mut log, set) = shredded();
    log.keep(&set.with([log.item(9, SUBJECT, Removal::Erased)]));
    log.take_away(9, SUBJECT, Removal::Erased);
    let key = crate::prove::testing::signing_key().verifier();
    let (late, options) = (Late(&log, std::cell::Cell::new(0)), LogOptions::default());
    let report = verify_log(log.note.as_bytes(), &key, &log, Some(&late), &options, &mut |_| {});
    assert_open(&report, "erasures", "1 parts are gone since the checkpoint");
    assert_eq!((report.parts.erased, late.1.get()), (3, 2));
}

#[test]
fn what_is_still_there_after_a_shred_is_told_where_it_can_be() {
    let (mut log, set) = before_shred();
    log.keep(&set);
    log.shred(ShredPhase::Begun, &set);
    log.take_away(3, SUBJECT, Removal::Erased);
    log.shred(ShredPhase::Done, &set);
    log.publish();
    let report = log.verify();
    assert_failed(
        &report,
        "erasures",
        "sealed/001 entry 260: part subject is erased, and is still there",
    );
    // The next shred has begun: its own parts may be there, those of the one before may not.
    let more = set.with([log.item(9, SUBJECT, Removal::Erased)]);
    log.keep(&more);
    log.shred(ShredPhase::Begun, &more);
    log.publish();
    assert_failed(&log.verify(), "erasures", "entry 260: part subject is erased, and is still there");
    log.take_away(260, SUBJECT, Removal::Erased);
    assert_verified(&log.verify());
    log.sets.remove(&2);
    assert_verified(&log.verify());
}

#[test]
fn entries_that_could_not_be_read_leave_claims_open() {
    let (mut log, _) = shredded();
    log.broken.push(format!("tile/entries/001.p/{}", log.size() - 256));
    let report = log.verify();
    assert_open(&report, "erasures", "not every entry could be read");
    assert_eq!(report.parts.lost, 0);
}

/// What comes of entries appended to a shredded log.
fn then(more: impl Fn(&mut TestLog, &RemovedSet)) -> Report {
    let (mut log, set) = shredded();
    more(&mut log, &set);
    log.publish();
    log.verify()
}

fn grown(log: &mut TestLog, set: &RemovedSet) -> RemovedSet {
    let more = set.with([log.item(9, SUBJECT, Removal::Erased)]);
    log.keep(&more);
    more
}

fn ends(items: u64, root: Hash, root_key_before: [u8; 16]) -> EntryBody {
    let (phase, root_key_after) = (ShredPhase::Done, [9; 16]);
    EntryBody::Shred(ShredBody { phase, items, root, root_key_before, root_key_after })
}

#[test]
fn entries_that_contradict_each_other_are_found() {
    let fewer = then(|log, _| {
        let less = RemovedSet::default().with([log.item(3, SUBJECT, Removal::Erased)]);
        log.keep(&less);
        log.shred(ShredPhase::Begun, &less);
    });
    assert_failed(&fewer, "removals", "entry 304: has 1 removed parts, fewer than 2 before");
    let other = then(|log, _| {
        let other = RemovedSet::default().with([3, 261].map(|i| log.item(i, SUBJECT, Removal::Erased)));
        log.keep(&other);
        log.shred(ShredPhase::Begun, &other);
    });
    assert_failed(&other, "removals", "entry 304: has other removed parts than before");
    assert_failed(
        &then(|log, set| {
            log.shred(ShredPhase::Done, set);
        }),
        "removals",
        "has not begun",
    );
    let twice = then(|log, set| {
        log.shred(ShredPhase::Begun, set);
        log.shred(ShredPhase::Done, set);
        log.shred(ShredPhase::Done, set);
    });
    assert_failed(&twice, "removals", "entry 306: ends a shred that has not begun");
    let another = then(|log, set| {
        log.shred(ShredPhase::Begun, set);
        let more = grown(log, set);
        log.append_body(ends(more.items(), more.root(), ROOT_KEY_BEFORE));
    });
    assert_failed(&another, "removals", "entry 305: ends a shred with another removed set");
    let key = then(|log, set| {
        log.shred(ShredPhase::Begun, set);
        log.append_body(ends(set.items(), set.root(), [8; 16]));
    });
    assert_failed(&key, "removals", "entry 305: ends a shred under another root key");
    assert_verified(&then(|log, set| {
        // A shred that was resumed begins once more.
        log.shred(ShredPhase::Begun, set);
        log.shred(ShredPhase::Begun, set);
        log.append_body(ends(set.items(), set.root(), ROOT_KEY_BEFORE));
    }));
}

#[test]
fn a_prune_names_rules_that_stood_before_it_and_is_never_early() {
    assert_verified(&then(|log, set| {
        let rules = retention(log);
        prune(log, set, rules);
    }));
    for settings in [0, 5, 304, 305, 1 << 60] {
        let report = then(|log, set| {
            prune(log, set, settings);
        });
        assert_failed(&report, "removals", &format!("names entry {settings}, which has no retention"));
    }
    let report = then(|log, set| {
        let settings = retention(log);
        let (items, root, cutoff_us) = (set.items(), set.root(), time_us(log.size()) + 3);
        log.append_body(EntryBody::Prune(PruneBody { items, root, settings, cutoff_us }));
    });
    assert_failed(&report, "removals", "entry 305: prunes what is due 3 µs later");
}

#[test]
fn registrations_and_erasures_of_a_person_alternate() {
    assert_failed(
        &then(|log, _| {
            log.append_body(erased(2));
        }),
        "removals",
        "erases 1 persons again",
    );
    assert_verified(&then(|log, _| {
        log.append_body(registered());
        log.append_body(erased(2));
        log.append_body(registered());
    }));
    let report = then(|log, _| {
        log.append_body(registered());
        log.append_body(registered());
    });
    assert_failed(&report, "removals", "entry 305: registers 1 persons again");
}

#[test]
fn a_part_that_was_pruned_before_any_rules_let_it_go_is_found() {
    let mut log = TestLog::new(300);
    let rules = br#"{"what":"retention","rules":[{"id":"r","types":["*"],"parts":["subject"],
        "keep":"P1D","from":"recorded"}]}"#;
    let settings = log.append_body(EntryBody::Settings(rules.to_vec()));
    let set = RemovedSet::default().with(vec![log.item(7, SUBJECT, Removal::Pruned)]);
    log.keep(&set);
    prune(&mut log, &set, settings);
    log.take_away(7, SUBJECT, Removal::Pruned);
    log.publish();
    assert_failed(&log.verify(), "due", "entry 7");
}
