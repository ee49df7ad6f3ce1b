//! The parts of a receipt that are said to be erased or pruned against the removed set.

use super::read_view;
use crate::event::entry::{Entry, EntryBody};
use crate::event::facet::Role;
use crate::log::checkpoint::Checkpoint;
use crate::log::hash::{Hash, leaf_hash};
use crate::log::merkle::verify_inclusion;
use crate::prove::entry_view::EventView;
use crate::prove::receipt::{FullReceipt, PartContent, RemovedMember, RemovedProof};
use crate::prove::removed::{Removal, RemovedItem, verify_member};
use crate::prove::verdict::{Report, Verdict};

const CHECK: &str = "removed";

/// The set that a shred or prune entry commits to.
struct Committed {
    items: u64,
    root: Hash,
}

/// Checks the parts that are said to be gone, and gives the roles of those that provably are.
pub(super) fn check(
    full: &FullReceipt,
    event: &EventView<'_>,
    checkpoint: &Checkpoint,
    report: &mut Report,
) -> Vec<Role> {
    let claims: Vec<(Role, Removal)> = full
        .openings
        .parts
        .iter()
        .filter_map(|part| removal_of(&part.content).map(|how| (part.role, how)))
        .collect();
    let Some(proof) = &full.removed else {
        if let Some((role, how)) = claims.first() {
            let word = word_of(*how);
            let detail = format!("part {} is said to be {word}, and nothing proves it", role.name());
            report.push(CHECK, Verdict::Failed, detail);
        }
        return Vec::new();
    };
    if claims.is_empty() {
        report.push(CHECK, Verdict::Failed, "parts are proven to be gone that are not said to be");
        return Vec::new();
    }
    match proven(proof, &claims, event, checkpoint) {
        Ok((proven, committed)) => {
            let (index, items) = (proof.index, committed.items);
            let parts = proven.len();
            let detail = format!("{parts} parts are of the {items} that entry {index} commits to");
            report.push(CHECK, Verdict::Verified, detail);
            proven
        }
        Err(what) => {
            report.push(CHECK, Verdict::Failed, what);
            Vec::new()
        }
    }
}

fn proven(
    proof: &RemovedProof,
    claims: &[(Role, Removal)],
    event: &EventView<'_>,
    checkpoint: &Checkpoint,
) -> Result<(Vec<Role>, Committed), String> {
    let committed = committed(proof, checkpoint)?;
    let members = &proof.members;
    if !members.is_sorted_by(|a, b| a.role < b.role) {
        return Err("the members are not in ascending order of role, once each".to_owned());
    }
    let is_claimed = |member: &&RemovedMember| claims.iter().any(|(role, _)| *role == member.role);
    if let Some(member) = members.iter().find(|member| !is_claimed(member)) {
        return Err(format!("part {} is not said to be gone", member.role.name()));
    }
    let mut roles = Vec::new();
    for (role, how) in claims {
        let Some(member) = members.iter().find(|member| member.role == *role) else {
            let word = word_of(*how);
            return Err(format!("part {} is said to be {word}, and no member proves it", role.name()));
        };
        let item = RemovedItem::of(&event.event_key, *role, *how);
        verify_member(&item, member.position, committed.items, &member.path, &committed.root)
            .map_err(|error| format!("part {} as {}: {error}", role.name(), word_of(*how)))?;
        roles.push(*role);
    }
    Ok((roles, committed))
}

/// What the entry commits to, once it is known to be one of this log.
fn committed(proof: &RemovedProof, checkpoint: &Checkpoint) -> Result<Committed, String> {
    let leaf = leaf_hash(&proof.entry);
    verify_inclusion(proof.index, checkpoint.size, &leaf, &proof.inclusion, &checkpoint.root)
        .map_err(|error| format!("entry {}: {error}", proof.index))?;
    read_view(&proof.entry, proof.index, &checkpoint.origin)?;
    match Entry::decode(&proof.entry).map(|entry| entry.body) {
        Ok(EntryBody::Shred(shred)) => Ok(Committed { items: shred.items, root: shred.root }),
        Ok(EntryBody::Prune(prune)) => Ok(Committed { items: prune.items, root: prune.root }),
        _ => Err(format!("entry {} is neither a shred nor a prune", proof.index)),
    }
}

/// Why a part in this state is gone; none where it is not said to be.
fn removal_of(content: &PartContent) -> Option<Removal> {
    match content {
        PartContent::Erased => Some(Removal::Erased),
        PartContent::Pruned => Some(Removal::Pruned),
        PartContent::Open { .. } | PartContent::Withheld | PartContent::Lost => None,
    }
}

fn word_of(how: Removal) -> &'static str {
    match how {
        Removal::Erased => "erased",
        Removal::Pruned => "pruned",
    }
}

#[cfg(test)]
mod tests;
