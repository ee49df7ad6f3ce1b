//! Whether a receipt is one for the event that was sent.
//!
//! In scope: id, content, index order, origin, and with the verifier key everything
//! [`crate::prove::verify_receipt`] checks. Out of scope: consistency between checkpoints
//! ([`super::watch`]). Invariants: what could not be checked is in the report as not provable; what
//! fails is an error, never a report.

use crate::event::envelope::{self, Event};
use crate::event::json::Value;
use crate::event::parts::merge;
use crate::log::hash::leaf_hash;
use crate::log::note::VerifierKey;
use crate::prove::receipt::{FullReceipt, PartContent, Receipt};
use crate::prove::verdict::{IndexRange, Report, Target, Verdict};
use crate::prove::verify_receipt::{Context, verify_receipt};

use super::error::Tampered;

/// What receipts of one ledger have said so far.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// The lowest index a new event may get.
    floor: u64,
    origin: Option<String>,
}

impl Checker {
    /// A checker of receipts of the log that `origin` names, where that is known.
    pub(super) fn new(origin: Option<String>) -> Self {
        Self { floor: 0, origin }
    }

    /// Notes that the log has this many entries, so that no new event gets an index below.
    pub(super) fn grown_to(&mut self, size: u64) {
        self.floor = self.floor.max(size);
    }

    /// Checks a receipt against the event it answers.
    pub(super) fn check(
        &mut self,
        sent: &Event,
        receipt: &Receipt,
        key: Option<&VerifierKey>,
    ) -> Result<Report, Tampered> {
        let index = receipt.index.0;
        if receipt.id != sent.id {
            return Err(Tampered::OtherEvent { index });
        }
        let origin = self.origin.get_or_insert_with(|| receipt.origin.clone());
        if *origin != receipt.origin {
            return Err(Tampered::OtherLedger { index });
        }
        if !receipt.replayed {
            if index < self.floor {
                return Err(Tampered::IndexTaken { index, known: self.floor });
            }
            self.floor = index.saturating_add(1);
        }
        let mut report = match (key, &receipt.full) {
            (Some(key), Some(_)) => verify_receipt(receipt, &Context::new(key)),
            (None, Some(full)) => unsigned(receipt, full)?,
            (_, None) => brief(receipt),
        };
        if let Some(failed) = report.checks.iter().find(|check| check.verdict == Verdict::Failed) {
            let (check, detail) = (failed.name, failed.detail.clone());
            return Err(Tampered::Receipt { index, check, detail });
        }
        report.push("answers", Verdict::Verified, "the receipt names the event that was sent");
        if let Some(full) = &receipt.full {
            check_content(sent, full, index, &mut report)?;
        }
        Ok(report)
    }
}

fn new_report(receipt: &Receipt) -> Report {
    let mut report = Report::new(Target::Receipt);
    report.count = 1;
    report.range = Some(IndexRange::including(None, receipt.index.0));
    report
}

fn brief(receipt: &Receipt) -> Report {
    let mut report = new_report(receipt);
    report.push("inclusion", Verdict::NotProvable, "a brief receipt carries no proof");
    report.push("content", Verdict::NotProvable, "a brief receipt carries no openings");
    report
}

/// A full receipt without the key that would show who signed its checkpoint.
fn unsigned(receipt: &Receipt, full: &FullReceipt) -> Result<Report, Tampered> {
    let index = receipt.index.0;
    if leaf_hash(&full.entry) != receipt.leaf_hash {
        let detail = "the entry has another leaf hash than the receipt says".to_owned();
        return Err(Tampered::Receipt { index, check: "leaf", detail });
    }
    let mut report = new_report(receipt);
    report.push("leaf", Verdict::Verified, "the entry has the receipt's leaf hash");
    report.push("checkpoint", Verdict::NotProvable, "no verifier key was given");
    Ok(report)
}

/// Whether the opened parts are the event that was sent.
fn check_content(
    sent: &Event,
    full: &FullReceipt,
    index: u64,
    report: &mut Report,
) -> Result<(), Tampered> {
    let mut bodies = Vec::new();
    for part in &full.openings.parts {
        if let PartContent::Open { body, .. } = &part.content {
            bodies.push((part.role, body.as_bytes()));
        }
    }
    if bodies.len() < full.openings.parts.len() || bodies.is_empty() {
        let closed = full.openings.parts.len() - bodies.len();
        report.push("sent", Verdict::NotProvable, format!("{closed} parts are not opened"));
        return Ok(());
    }
    let merged = merge(bodies.into_iter()).ok();
    let opened = merged.and_then(|merged| envelope::from_value(Value::Object(merged)).ok());
    if opened.is_some_and(|opened| opened.canonical_content() == sent.canonical_content()) {
        report.push("sent", Verdict::Verified, "the opened parts are the event that was sent");
        Ok(())
    } else {
        Err(Tampered::OtherContent { index })
    }
}
