//! Inclusion and consistency proofs as JSON documents.
//!
//! In scope: the text, written and read. Out of scope: making proofs (`log::merkle`) and checking
//! them (`verify_document`). Invariants: [`InclusionDocument::parse`] and
//! [`ConsistencyDocument::parse`] read what is written here; other members are refused.
//!
//! ```text
//! {"index","size","leaf_hash":hex,"root":hex,"proof":[hex],"checkpoint":note}
//! {"from","to","root_from":hex,"root_to":hex,"proof":[hex],"checkpoint":note}
//! ```
//! `checkpoint` is optional: the signed note whose size is `size` or `to` and whose root is `root`
//! or `root_to`. Without it a proof speaks of roots that nobody signed.

use super::members::{Members, ShapeError};
use super::text;
use crate::event::json::Value;
use crate::log::hash::{Hash, LogIndex, TreeSize};

/// That a leaf is in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionDocument {
    /// The leaf's position.
    pub index: LogIndex,
    /// The tree's size.
    pub size: TreeSize,
    /// The leaf's hash.
    pub leaf_hash: Hash,
    /// The tree's root.
    pub root: Hash,
    /// RFC 6962 inclusion proof, leaf's sibling first.
    pub proof: Vec<Hash>,
    /// The signed note of that tree.
    pub checkpoint: Option<String>,
}

/// That a tree extends an older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyDocument {
    /// The older size.
    pub from: TreeSize,
    /// The newer size.
    pub to: TreeSize,
    /// The older root.
    pub root_from: Hash,
    /// The newer root.
    pub root_to: Hash,
    /// RFC 6962 consistency proof.
    pub proof: Vec<Hash>,
    /// The signed note of the newer tree.
    pub checkpoint: Option<String>,
}

impl InclusionDocument {
    /// Appends the document as JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"index\":");
        text::number(out, self.index.0);
        out.extend_from_slice(b",\"size\":");
        text::number(out, self.size.0);
        out.extend_from_slice(b",\"leaf_hash\":");
        text::hex(out, self.leaf_hash.as_bytes());
        out.extend_from_slice(b",\"root\":");
        text::hex(out, self.root.as_bytes());
        write_rest(&self.proof, self.checkpoint.as_deref(), out);
    }

    /// Reads the document from parsed JSON.
    ///
    /// # Errors
    /// If a member is missing, unknown or of the wrong type.
    pub fn parse(value: Value) -> Result<Self, ShapeError> {
        let mut members = Members::of("inclusion proof", value)?;
        let document = Self {
            index: LogIndex(members.u64("index")?),
            size: TreeSize(members.u64("size")?),
            leaf_hash: members.hash("leaf_hash")?,
            root: members.hash("root")?,
            proof: members.hashes("proof")?,
            checkpoint: members.optional_string("checkpoint")?,
        };
        members.end()?;
        Ok(document)
    }
}

impl ConsistencyDocument {
    /// Appends the document as JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"from\":");
        text::number(out, self.from.0);
        out.extend_from_slice(b",\"to\":");
        text::number(out, self.to.0);
        out.extend_from_slice(b",\"root_from\":");
        text::hex(out, self.root_from.as_bytes());
        out.extend_from_slice(b",\"root_to\":");
        text::hex(out, self.root_to.as_bytes());
        write_rest(&self.proof, self.checkpoint.as_deref(), out);
    }

    /// Reads the document from parsed JSON.
    ///
    /// # Errors
    /// If a member is missing, unknown or of the wrong type.
    pub fn parse(value: Value) -> Result<Self, ShapeError> {
        let mut members = Members::of("consistency proof", value)?;
        let document = Self {
            from: TreeSize(members.u64("from")?),
            to: TreeSize(members.u64("to")?),
            root_from: members.hash("root_from")?,
            root_to: members.hash("root_to")?,
            proof: members.hashes("proof")?,
            checkpoint: members.optional_string("checkpoint")?,
        };
        members.end()?;
        Ok(document)
    }
}

fn write_rest(proof: &[Hash], checkpoint: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"proof\":[");
    for hash in proof {
        text::comma(out);
        text::hex(out, hash.as_bytes());
    }
    out.push(b']');
    if let Some(note) = checkpoint {
        out.extend_from_slice(b",\"checkpoint\":");
        text::string(out, note);
    }
    out.push(b'}');
}
