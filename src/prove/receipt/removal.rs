//! That parts of a receipt's event are erased or pruned: its member `removed`.
//!
//! In scope: the type, and its JSON text written and read. Out of scope: checking
//! (`prove::verify_receipt`), the set itself (`prove::removed`). Invariant: as for receipts, what is
//! written is read back as an equal value.

use super::{read, write_role};
use crate::event::facet::Role;
use crate::event::json::Value;
use crate::log::hash::{Hash, LogIndex};
use crate::prove::members::{Members, ShapeError};
use crate::prove::removed::{RemovedSet, removed_key};
use crate::prove::text;

/// Proof that parts are in the removed set which the newest shred or prune entry commits to
/// (docs/format.md sections 11 and 14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedProof {
    /// Position of the shred or prune entry.
    pub index: LogIndex,
    /// That entry's bytes.
    pub entry: Vec<u8>,
    /// RFC 6962 inclusion proof of it under the receipt's checkpoint, leaf's sibling first.
    pub inclusion: Vec<Hash>,
    /// One per part that is erased or pruned, ascending by role.
    pub members: Vec<RemovedMember>,
}

/// Where a removed part stands in the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedMember {
    /// Which part of the event.
    pub role: Role,
    /// Position of its item.
    pub position: u64,
    /// RFC 6962 audit path of the item, the leaf's sibling first.
    pub path: Vec<Hash>,
}

impl RemovedMember {
    /// The members of `set` for the parts `roles` of the event with this key, in the order given.
    /// A part that the set does not have is left out, and will be called lost.
    #[must_use]
    pub fn of(set: &RemovedSet, event_key: &Hash, roles: impl IntoIterator<Item = Role>) -> Vec<Self> {
        let member = |role| {
            let (position, path) = set.prove(&removed_key(event_key, role))?;
            Some(Self { role, position, path })
        };
        roles.into_iter().filter_map(member).collect()
    }

    fn read(value: Value) -> Result<Self, ShapeError> {
        let mut members = Members::of("members", value)?;
        let member = Self {
            role: read::role("role", &members.string("role")?)?,
            position: members.u64("position")?,
            path: members.hashes("path")?,
        };
        members.end()?;
        Ok(member)
    }
}

impl RemovedProof {
    /// Appends the proof as JSON.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"index\":");
        text::number(out, self.index.0);
        out.extend_from_slice(b",\"entry\":");
        text::hex(out, &self.entry);
        out.extend_from_slice(b",\"inclusion\":");
        write_hashes(&self.inclusion, out);
        out.extend_from_slice(b",\"members\":[");
        for member in &self.members {
            text::comma(out);
            out.extend_from_slice(b"{\"role\":");
            write_role(member.role, out);
            out.extend_from_slice(b",\"position\":");
            text::number(out, member.position);
            out.extend_from_slice(b",\"path\":");
            write_hashes(&member.path, out);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }

    /// Reads the proof from parsed JSON.
    pub(super) fn read(value: Value) -> Result<Self, ShapeError> {
        let mut members = Members::of("removed", value)?;
        let items = |items: Vec<Value>| items.into_iter().map(RemovedMember::read).collect();
        let proof = Self {
            index: LogIndex(members.u64("index")?),
            entry: members.bytes("entry")?,
            inclusion: members.hashes("inclusion")?,
            members: members.array("members").and_then(items)?,
        };
        members.end()?;
        Ok(proof)
    }
}

fn write_hashes(hashes: &[Hash], out: &mut Vec<u8>) {
    out.push(b'[');
    for hash in hashes {
        text::comma(out);
        text::hex(out, hash.as_bytes());
    }
    out.push(b']');
}
