//! The verifier of receipts and of `.tlog-proof` files.
//!
//! In scope: the checkpoint's signature and origin, the inclusion of the entry, the entry's fields,
//! the opened parts and index keys, and whether the checkpoint is one that was published (design
//! sections 3.3, 3.4 and 3.5a). Out of scope: recognising documents (`verify_document`).
//!
//! Invariants: nothing is believed because the receipt says it: each statement is recomputed from
//! the signed checkpoint, or reported as not provable. A receipt's `ledger`, `replayed` and
//! `compared` are the server's words about a request; no signature covers them and no check does.
//!
//! Checks, in order: `checkpoint`, `leaf`, `inclusion`, `entry`, `removed`, `content`, `identity`,
//! `event-key`, `keys`, `person-keys`, `mapping`, `published`. A part that is withheld is counted, not
//! held against the receipt. So is one that is erased or pruned and proven to be (`removed`, which is
//! asked only where a part is said to be gone); one that is not proven to be is lost. A receipt that
//! opens nothing has `content: not-provable`, unless every part is proven to be gone. Index keys
//! and publication are told but do not decide, unless the caller gave what they need.

mod content;
mod keys;
mod mapping;
mod removed;

use std::fmt;

use crate::event::catalogue::Catalogue;
use crate::event::entry::Kind;
use crate::event::keys::{PersonFacet, ledger_id};
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::hash::{Hash, LogIndex, TreeSize, leaf_hash};
use crate::log::merkle::{verify_consistency, verify_inclusion};
use crate::log::note::VerifierKey;
use crate::log::proof::TlogProof;
use crate::prove::entry_view::EntryView;
use crate::prove::receipt::{FullReceipt, Receipt, recorded_at};
use crate::prove::text;
use crate::prove::verdict::{IndexRange, Report, Target, Verdict};
use crate::prove::verify_log::key_name;
use zeroize::Zeroizing;

/// A secret key of 32 bytes that is wiped when dropped.
pub type SecretKey = Zeroizing<[u8; 32]>;

/// The ledger's keys that a reader was given, of every epoch still alive. A key counts as good for
/// an entry when any of its epochs is.
#[derive(Clone, Default)]
pub struct ReaderKeys {
    /// `K_read`, for the index keys of open facets.
    pub read: Vec<SecretKey>,
    /// `K_event`, for event keys.
    pub event: Vec<SecretKey>,
    /// `K_dir`, for the directory of persons; receipts do not need it.
    pub directory: Vec<SecretKey>,
}

impl fmt::Debug for ReaderKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReaderKeys")
    }
}

/// A published (witnessed) checkpoint, and where proofs that lead to it come from.
#[derive(Clone, Copy)]
pub struct Published<'a> {
    /// The checkpoint, already opened with the log's key.
    pub checkpoint: &'a Checkpoint,
    /// Gives a consistency proof between two sizes, if it can. It needs no trust.
    pub proof: &'a dyn Fn(TreeSize, TreeSize) -> Option<Vec<Hash>>,
}

impl fmt::Debug for Published<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").field("size", &self.checkpoint.size).finish_non_exhaustive()
    }
}

/// What a verifier is given besides the thing to verify. Only `key` is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The log's verifier key.
    pub key: &'a VerifierKey,
    /// The reader's keys, if the caller has them.
    pub reader: Option<&'a ReaderKeys>,
    /// Facet secrets of persons, from registrations the caller verified.
    pub persons: &'a [PersonFacet],
    /// The catalogue whose hash the ledger's settings commit to, for the mapping check.
    pub catalogue: Option<&'a Catalogue>,
    /// A published checkpoint to compare with.
    pub published: Option<Published<'a>>,
    /// The entry a bare `.tlog-proof` is about.
    pub entry: Option<&'a [u8]>,
}

impl<'a> Context<'a> {
    /// Nothing but the key.
    #[must_use]
    pub fn new(key: &'a VerifierKey) -> Self {
        Self { key, reader: None, persons: &[], catalogue: None, published: None, entry: None }
    }
}

/// The last checkpoint that was opened: a batch's receipts share one, and checking a signature is
/// the dearest step.
#[derive(Debug, Default)]
pub(super) struct LastCheckpoint(Option<(String, Result<Checkpoint, String>)>);

impl LastCheckpoint {
    fn open(&mut self, note: &str, key: &VerifierKey) -> Result<Checkpoint, String> {
        if let Some((last, opened)) = &self.0
            && last == note
        {
            return opened.clone();
        }
        let opened = checkpoint::open(note, key).map_err(|error| text::explain(&error));
        self.0 = Some((note.to_owned(), opened.clone()));
        opened
    }
}

/// Verifies a receipt.
#[must_use]
pub fn verify_receipt(receipt: &Receipt, context: &Context<'_>) -> Report {
    verify_receipt_cached(receipt, context, &mut LastCheckpoint::default())
}

pub(super) fn verify_receipt_cached(
    receipt: &Receipt,
    context: &Context<'_>,
    last: &mut LastCheckpoint,
) -> Report {
    let mut report = Report::new(Target::Receipt);
    report.count = 1;
    report.range = Some(IndexRange::including(None, receipt.index.0));
    let Some(full) = &receipt.full else {
        report.push("inclusion", Verdict::NotProvable, "a brief receipt carries no proof");
        report.push("content", Verdict::NotProvable, "a brief receipt carries no openings");
        return report;
    };
    let opened = last.open(&full.checkpoint, context.key);
    let Some(checkpoint) = check_checkpoint(opened, Some(&receipt.origin), context, &mut report) else {
        return report;
    };
    let leaf = leaf_hash(&full.entry);
    if leaf == receipt.leaf_hash {
        report.push("leaf", Verdict::Verified, "the entry has the receipt's leaf hash");
    } else {
        report.push("leaf", Verdict::Failed, "the entry has another leaf hash than the receipt says");
    }
    check_inclusion(receipt.index, &leaf, &full.inclusion, &checkpoint, &mut report);
    check_entry(receipt, full, &checkpoint, &mut report, context);
    check_published(&checkpoint, context, &mut report);
    report
}

/// Reports on a signed checkpoint, and gives it back when it is good.
pub(super) fn check_checkpoint(
    opened: Result<Checkpoint, String>,
    origin: Option<&str>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Checkpoint> {
    let checkpoint = match opened {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            report.push("checkpoint", Verdict::Failed, error);
            return None;
        }
    };
    if origin.is_some_and(|origin| origin != checkpoint.origin) {
        report.push("checkpoint", Verdict::Failed, "the checkpoint is of another origin than it says");
        return None;
    }
    let name = key_name(context.key);
    if !report.keys.contains(&name) {
        report.keys.push(name);
    }
    let detail = format!("size {}, signature good", checkpoint.size);
    report.push("checkpoint", Verdict::Verified, detail);
    Some(checkpoint)
}

pub(super) fn check_inclusion(
    index: LogIndex,
    leaf: &Hash,
    proof: &[Hash],
    checkpoint: &Checkpoint,
    report: &mut Report,
) {
    match verify_inclusion(index, checkpoint.size, leaf, proof, &checkpoint.root) {
        Ok(()) => {
            let detail = format!("leaf {index} of {}", checkpoint.size);
            report.push("inclusion", Verdict::Verified, detail);
        }
        Err(error) => report.push("inclusion", Verdict::Failed, error.to_string()),
    }
}

fn check_entry(
    receipt: &Receipt,
    full: &FullReceipt,
    checkpoint: &Checkpoint,
    report: &mut Report,
    context: &Context<'_>,
) {
    let Some(view) = read_entry(&full.entry, receipt.index, &receipt.origin, report) else { return };
    if recorded_at(view.time_us) != receipt.recorded_at {
        report.push("entry", Verdict::Failed, "the entry has another time than recorded_at");
    }
    let Some(event) = &view.event else {
        report.push("entry", Verdict::Failed, "the entry is not an event");
        return;
    };
    let gone = removed::check(full, event, checkpoint, report);
    let opened = content::check(receipt, full, &view, event, &gone, context, report);
    keys::check(&full.openings, &view, event, context, report);
    mapping::check(&view, event, &opened, context, report);
}

/// Decodes an entry and reports on what binds it to its place. Entries that are not of this format
/// are reported as not provable.
fn read_entry<'e>(
    entry: &'e [u8],
    index: LogIndex,
    origin: &str,
    report: &mut Report,
) -> Option<EntryView<'e>> {
    match read_view(entry, index, origin) {
        Ok(view) => {
            let kind = if view.kind == Kind::Event { "an event" } else { "a system entry" };
            report.push("entry", Verdict::Verified, format!("{kind}, {} bytes", entry.len()));
            Some(view)
        }
        Err(what) => {
            report.push("entry", Verdict::Failed, what);
            None
        }
    }
}

/// Decodes the entry at `index` of the log called `origin`, or says why it is none.
pub(super) fn read_view<'e>(
    entry: &'e [u8],
    index: LogIndex,
    origin: &str,
) -> Result<EntryView<'e>, String> {
    let view = EntryView::read(entry).map_err(|error| error.to_string())?;
    if view.index != index {
        return Err(format!("entry {} at index {index}", view.index));
    }
    if view.ledger != ledger_id(origin) {
        return Err("the entry belongs to another ledger than the origin's".to_owned());
    }
    Ok(view)
}

pub(super) fn check_published(checkpoint: &Checkpoint, context: &Context<'_>, report: &mut Report) {
    let Some(published) = &context.published else {
        report.note("published", Verdict::NotProvable, "no published checkpoint was given");
        return;
    };
    let known = published.checkpoint;
    let (older, newer) =
        if checkpoint.size <= known.size { (checkpoint, known) } else { (known, checkpoint) };
    if older.origin != newer.origin {
        report.push("published", Verdict::Failed, "the published checkpoint is of another log");
        return;
    }
    let proof = if older.size == newer.size {
        Some(Vec::new())
    } else {
        (published.proof)(older.size, newer.size)
    };
    let (from, to) = (older.size, newer.size);
    let Some(proof) = proof else {
        let detail = format!("no consistency proof from size {from} to {to} was given");
        report.push("published", Verdict::NotProvable, detail);
        return;
    };
    match verify_consistency(from, to, &proof, &older.root, &newer.root) {
        Ok(()) => {
            let detail = format!("consistent with the published checkpoint of size {}", known.size);
            report.push("published", Verdict::Verified, detail);
        }
        Err(error) => {
            let detail = format!("not consistent with published size {}: {error}", known.size);
            report.push("published", Verdict::Failed, detail);
        }
    }
}

/// Verifies a `.tlog-proof` (C2SP tlog-proof) about `context.entry`. Without the entry nothing ties
/// the proof to content, so its inclusion is not provable.
#[must_use]
pub fn verify_tlog_proof(proof: &TlogProof, context: &Context<'_>) -> Report {
    let mut report = Report::new(Target::TlogProof);
    report.count = 1;
    report.range = Some(IndexRange::including(None, proof.index.0));
    let opened = LastCheckpoint::default().open(&proof.checkpoint, context.key);
    let Some(checkpoint) = check_checkpoint(opened, None, context, &mut report) else { return report };
    let Some(entry) = context.entry else {
        report.push("inclusion", Verdict::NotProvable, "the entry was not given");
        check_published(&checkpoint, context, &mut report);
        return report;
    };
    check_inclusion(proof.index, &leaf_hash(entry), &proof.hashes, &checkpoint, &mut report);
    if EntryView::is_ours(entry) {
        read_entry(entry, proof.index, &checkpoint.origin, &mut report);
    }
    check_published(&checkpoint, context, &mut report);
    report
}

#[cfg(test)]
mod tests;
