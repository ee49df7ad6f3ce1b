//! The shred: parts out of sealed bundles, secrets out of the key tree, and entries that say so.
//!
//! In scope: the order of its steps, and going on after a crash at any of them. Out of scope: what each step
//! does. Invariants, in this order:
//!
//! 1. New frames of the journal are under a new inbox key, and everything before is folded durably.
//! 2. The parts are found; the set that they are added to is durable, and the plan with the touched bundles.
//! 3. An entry commits to the set and is published, and no frame under the old inbox key is left.
//! 4. Every file of every touched bundle is written anew, durably: without the parts, under its other mask.
//! 5. One rotation of the key tree destroys the persons' secrets, the old masks and the old inbox key, and
//!    the old root key with them.
//! 6. An entry says that it is done; the certificates are complete; the plan goes last.
//!
//! A crash before 5 is gone on with from 1, which finds what is left; one after it from 6. Erasures that came
//! meanwhile wait for the next shred. A part is marked as erased only after the entry of step 3, so none ever
//! looks lost.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use zeroize::Zeroizing;

use crate::clock::random_fill;
use crate::event::entry::{Entry, EntryBody, ShredBody, ShredPhase};
use crate::log::tile::TILE_WIDTH;
use crate::prove::removed::RemovedSet;
use crate::vault::{Inboxes, Slot, SlotNumber};

use super::super::Shared;
use super::super::error::LedgerError;
use super::record::{Done, Plan, Record};
use super::rewrite::{Batch, Doomed};
use super::{Interrupted, Pace};

/// Persons of one shred at most: a rotation holds the nodes it touches in memory, up to 4.2 kB for each
/// person and touched bundle.
const SHRED_PERSONS_MAX: usize = 20_000;

/// Shreds everybody whose erasure is pending and in the log.
///
/// # Errors
/// [`Interrupted::Ending`] where the ledger closes meanwhile; what is left is done at the next start.
pub(super) fn run(shared: &Arc<Shared>, pace: &mut Pace<'_>) -> Result<(), Interrupted> {
    let _alone = shared.removing.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let mut records = shared.pending_records()?;
        records.retain(|record| record.entry.is_some());
        let plan = shared.read_plan()?;
        if records.is_empty() && plan.is_none() {
            return Ok(());
        }
        if let Some(plan) = plan {
            // What was begun is ended before anything else: bundles that it wrote are under the mask key that
            // stays, where nobody else's parts may be taken out of them.
            records.retain(|record| plan.shares.contains_key(&record.id().to_string()));
            go_on(shared, plan, records, pace)?;
        } else {
            let mut persons = 0;
            records.retain(|record| {
                persons += record.persons.len();
                persons <= SHRED_PERSONS_MAX
            });
            destroy(shared, Plan::default(), records, pace)?;
        }
    }
}

/// Goes on with a shred that was cut off.
fn go_on(
    shared: &Arc<Shared>,
    plan: Plan,
    records: Vec<Record>,
    pace: &mut Pace<'_>,
) -> Result<(), Interrupted> {
    if records.is_empty() {
        return Ok(shared.forget_plan()?);
    }
    match plan.begun {
        Some(begun) if records.iter().all(|record| is_destroyed(shared, record)) => {
            finish(shared, &plan, begun, records)
        }
        _ => destroy(shared, plan, records, pace),
    }
}

/// Whether nothing is left of an erasure's persons in the key tree.
fn is_destroyed(shared: &Shared, record: &Record) -> bool {
    let mut slots = record.persons.iter().filter_map(|person| person.slot);
    slots.all(|slot| shared.tree.is_destroyed(SlotNumber(slot)).unwrap_or(false))
}

fn destroy(
    shared: &Arc<Shared>,
    mut plan: Plan,
    records: Vec<Record>,
    pace: &mut Pace<'_>,
) -> Result<(), Interrupted> {
    let end = records.iter().filter_map(|record| record.entry).max().map_or(0, |entry| entry + 1);
    shared.begin_inbox()?;
    shared.durable_round()?;
    let items = shared.find_parts(&records, end, &mut plan, pace)?;
    let set = Arc::new(shared.removed.load().set.with(items));
    shared.write_removed(&set)?;
    plan.key_before = shared.tree.root_key_id()?;
    shared.keep_plan(&plan)?;
    shared.make_masks(plan.bundles())?;
    let begun = begin(shared, &set, plan.key_before)?;
    plan.begun = Some(begun);
    shared.keep_plan(&plan)?;
    let slots: Vec<u64> =
        records.iter().flat_map(|record| &record.persons).filter_map(|person| person.slot).collect();
    remove(shared, &plan, end, &slots.iter().copied().collect(), pace)?;
    rotate(shared, &plan, &slots)?;
    finish(shared, &plan, begun, records)
}

/// Writes the entry that says what is about to go, and waits until it is published and the journal holds
/// nothing under the old inbox key.
fn begin(shared: &Shared, set: &Arc<RemovedSet>, key_before: [u8; 16]) -> Result<u64, LedgerError> {
    let body = ShredBody {
        phase: ShredPhase::Begun,
        items: set.items(),
        root: set.root(),
        root_key_before: key_before,
        root_key_after: [0; 16],
    };
    shared.announce(set, &EntryBody::Shred(body), || shared.old_inbox_end.load(Ordering::SeqCst))
}

/// Writes every touched bundle anew.
fn remove(
    shared: &Shared,
    plan: &Plan,
    end: u64,
    slots: &HashSet<u64>,
    pace: &mut Pace<'_>,
) -> Result<(), Interrupted> {
    // Every bundle before this one was full at the durable round.
    let filling = end / TILE_WIDTH;
    let mut batch = Batch::default();
    for (bundle, mask) in plan.bundles() {
        let doomed = Doomed::OwnedBy(slots, mask);
        if bundle < filling {
            shared.rewrite_bundle(bundle, doomed, &mut batch)?;
            pace.rest()?;
        } else {
            let _turn = shared.orders.turn();
            shared.write_under(bundle, mask);
            shared.rewrite_bundle(bundle, doomed, &mut batch)?;
            shared.write_batch(&mut batch)?;
            shared.remove_from_tail(bundle, doomed);
        }
    }
    shared.write_batch(&mut batch)?;
    Ok(shared.storage.sync_round()?)
}

/// Destroys the secrets: the moment from which nothing of the persons opens anywhere.
fn rotate(shared: &Shared, plan: &Plan, persons: &[u64]) -> Result<(), LedgerError> {
    let masks = plan.bundles().filter_map(|(bundle, mask)| SlotNumber::of_bundle(bundle, mask.other()));
    let inbox = shared.inboxes.load().before().map(SlotNumber::of_inbox);
    let slots: Vec<SlotNumber> =
        persons.iter().copied().map(SlotNumber).chain(masks).chain(inbox).collect();
    shared.tree.destroy(&slots)?;
    shared.reread_inboxes()
}

/// Says in the log that it is done, and completes the erasures.
fn finish(shared: &Shared, plan: &Plan, begun: u64, records: Vec<Record>) -> Result<(), Interrupted> {
    let set = Arc::clone(&shared.removed.load().set);
    let key_after = shared.tree.root_key_id()?;
    let body = ShredBody {
        phase: ShredPhase::Done,
        items: set.items(),
        root: set.root(),
        root_key_before: plan.key_before,
        root_key_after: key_after,
    };
    // A crash may have come after the entry was written.
    let written = shared.entry_after(begun, &EntryBody::Shred(body))?;
    let ended = match written {
        Some(ended) => ended,
        None => shared.append_system(EntryBody::Shred(body))?,
    };
    shared.commit_removed(set, ended)?;
    shared.durable_round()?;
    for mut record in records {
        for person in &mut record.persons {
            person.slot = None;
        }
        let mut share = plan.shares.get(&record.id().to_string()).cloned().unwrap_or_default();
        // Which events they were would be the very link that was destroyed.
        share.holders.values_mut().for_each(|holder| holder.events.clear());
        let key_before = plan.key_before;
        record.done = Some(Done { share, begun, ended, key_before, key_after });
        shared.keep_complete(&record)?;
    }
    shared.forget_older_sets()?;
    shared.forget_plan()?;
    Ok(shared.storage.sync_round()?)
}

impl Shared {
    /// The first entry after `index` that says exactly `body`.
    fn entry_after(&self, index: u64, body: &EntryBody) -> Result<Option<u64>, LedgerError> {
        for index in index + 1..self.size() {
            let bytes = self.entry(index)?;
            let entry = Entry::decode(&bytes).map_err(|source| LedgerError::Entry { index, source })?;
            if entry.body == *body {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Makes the next inbox key, unless a shred before did and was cut off.
    fn begin_inbox(&self) -> Result<(), LedgerError> {
        let inboxes = self.inboxes.load();
        if inboxes.before().is_some() {
            return Ok(());
        }
        let no_number = || LedgerError::Setup("there is no next number for an inbox key".to_owned());
        let next = inboxes.newest().0.checked_add(1).ok_or_else(no_number)?;
        let mut secret = Zeroizing::new([0_u8; 32]);
        random_fill(&mut *secret)?;
        self.tree.put(&[(SlotNumber::of_inbox(next), Slot::inbox(secret, next))])?;
        self.reread_inboxes()
    }

    fn reread_inboxes(&self) -> Result<(), LedgerError> {
        let missing = || LedgerError::Setup("the vault lacks the inbox key".to_owned());
        let read = Inboxes::read(|slot| self.tree.get(slot))?.ok_or_else(missing)?;
        self.inboxes.store(Arc::new(read));
        Ok(())
    }
}
