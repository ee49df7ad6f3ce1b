//! Why the key tree could not do what it was asked.
//!
//! In scope: the error type of [`keytree`](super::keytree). Out of scope: the errors of single
//! secrets and files, which lie beside them. Invariant: numbers and places, never content.

use super::custody::CustodyError;
use super::slot::{SLOTS, SlotNumber};
use crate::clock::RandomError;
use crate::store::StoreError;

/// The key tree could not be made, opened, read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The storage under the tree.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The custodian of the root key.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// No keys can be made without randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The custodian has no root key.
    #[error(
        "the vault's root key is not in custody; put it back, since without it no person's data can \
         be opened (a root key is never made anew beside an existing vault)"
    )]
    NoRootKey,
    /// A vault was to be created where there is one.
    #[error("a vault is already there: its root key or its nodes exist, so none is created")]
    Exists,
    /// A node that its parent names is not there.
    #[error("node {index} of level {level} of the key tree is missing; restore the vault's files")]
    NodeMissing {
        /// Level of the node, leaves being 0.
        level: u8,
        /// Number of the node in its level.
        index: u64,
    },
    /// A node does not open under the key its parent gives, or is not what its name says.
    #[error(
        "node {index} of level {level} of the key tree is damaged or belongs under another root key; \
         restore the vault's files and its root key of the same time"
    )]
    NodeDamaged {
        /// Level of the node, leaves being 0.
        level: u8,
        /// Number of the node in its level.
        index: u64,
    },
    /// The file that makes a change whole after a crash is damaged.
    #[error(
        "the key tree's file of the last change is damaged at byte {offset}; restore the vault's files"
    )]
    ChangeDamaged {
        /// Where reading it failed.
        offset: usize,
    },
    /// A slot number beyond the tree.
    #[error("slot {slot} is beyond the key tree's {SLOTS}")]
    SlotOutOfRange {
        /// The slot.
        slot: SlotNumber,
    },
    /// The slot holds another secret, and only destroying it may replace it.
    #[error("slot {slot} holds another secret")]
    SlotTaken {
        /// The slot.
        slot: SlotNumber,
    },
    /// The person whose slot this was is erased; the slot is not given to another.
    #[error("slot {slot} was destroyed and is not used again")]
    SlotSpent {
        /// The slot.
        slot: SlotNumber,
    },
    /// All slots of persons are used up.
    #[error("the key tree has no slot left for another person")]
    Full,
    /// The custodian did not give back the root key it had just stored.
    #[error("the custodian did not give back the new root key; nothing was destroyed")]
    NotReadBack,
    /// More nodes in one change than its file can count.
    #[error("a change of {nodes} nodes is too large for one step")]
    ChangeTooLarge {
        /// Number of nodes.
        nodes: usize,
    },
    /// An earlier change failed half-way, so what is on the disk must be read anew.
    #[error("an earlier change of the key tree failed; open the vault again to finish or undo it")]
    Reopen,
}
