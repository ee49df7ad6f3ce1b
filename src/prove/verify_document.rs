//! Verifying whatever one is handed: the document says what it is.
//!
//! In scope: telling receipts, batch answers, `.tlog-proof` files, single proofs and checkpoints
//! apart, and sending each to its verifier. `POST …/verify` and the command line share it. Out of
//! scope: logs, which are not one document (`verify_log`). Invariants: a document of no known kind,
//! or of a known kind and the wrong shape, is an error, never a verdict; recognition looks at member
//! names and first lines only.
//!
//! | document | told by |
//! |---|---|
//! | receipt | JSON with `leaf_hash` and `recorded_at` |
//! | kept receipts | one receipt per line, given line by line to [`ReceiptLines`] |
//! | batch answer | JSON with `receipts`; items without a receipt (refused events) are counted apart |
//! | `.tlog-proof` with its entry | JSON `{"tlog_proof":text,"entry":hex}` |
//! | `.tlog-proof` | text that starts with `c2sp.org/tlog-proof@v1`; its entry comes with the context |
//! | erasure certificate | JSON whose `format` is [`CERTIFICATE_FORMAT`] |
//! | consistency proof | JSON with `root_from` and `root_to` |
//! | inclusion proof | JSON with `leaf_hash`, `root` and `proof` |
//! | checkpoint | other text, read as a signed note |

use super::certificate::{CERTIFICATE_FORMAT, Certificate};
use super::members::{Members, ShapeError};
use super::proofs::{ConsistencyDocument, InclusionDocument};
use super::receipt::{RECEIPT_BYTES_MAX, Receipt};
use super::text;
use super::verdict::{IndexRange, Report, Target, Verdict};
use super::verify_certificate::verify_certificate;
use super::verify_receipt::{
    Context, LastCheckpoint, check_checkpoint, verify_receipt, verify_receipt_cached, verify_tlog_proof,
};
use crate::event::json::{self, JsonLimits, Object, Value};
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::merkle::{verify_consistency, verify_inclusion};
use crate::log::proof::TlogProof;

/// Longest document that is read: what 10,000 full receipts of 6 KiB take (60 MB), rounded up.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 20;
/// Deepest nesting of a document: a batch around a receipt around openings around a list of items.
const DOCUMENT_DEPTH_MAX: usize = 16;
const TLOG_PROOF_FIRST_LINE: &[u8] = b"c2sp.org/tlog-proof@v1\n";

/// Why a document was not verified at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// No kind of document that is known.
    #[error("not a receipt, a batch answer, a certificate, a tlog-proof, a proof or a checkpoint")]
    UnknownKind,
    /// A known kind in the wrong shape.
    #[error("{0}")]
    Shape(#[from] ShapeError),
    /// Text that starts as a `.tlog-proof` and is none.
    #[error("{0}")]
    TlogProof(String),
}

/// Recognises and verifies a document.
///
/// # Errors
/// If the document is of no known kind or not well formed. What it claims is judged in the report.
pub fn verify_document(bytes: &[u8], context: &Context<'_>) -> Result<Report, DocumentError> {
    if bytes.starts_with(TLOG_PROOF_FIRST_LINE) {
        return tlog_proof(bytes, context);
    }
    if bytes.trim_ascii_start().starts_with(b"{") {
        let limits = JsonLimits { depth_max: DOCUMENT_DEPTH_MAX, bytes_max: DOCUMENT_BYTES_MAX };
        return match json::parse(bytes, &limits).map_err(ShapeError::Json)? {
            Value::Object(object) => json_document(object, context),
            _ => Err(DocumentError::UnknownKind),
        };
    }
    if !looks_like_note(bytes) {
        return Err(DocumentError::UnknownKind);
    }
    let mut report = Report::new(Target::Checkpoint);
    report.count = 1;
    let opened = checkpoint::open(bytes, context.key).map_err(|error| text::explain(&error));
    check_checkpoint(opened, None, context, &mut report);
    Ok(report)
}

/// A signed note is text with a blank line before lines that start with an em dash.
fn looks_like_note(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.contains("\n\n\u{2014} "))
}

fn json_document(object: Object, context: &Context<'_>) -> Result<Report, DocumentError> {
    let has = |names: &[&str]| names.iter().all(|name| object.contains_key(name));
    if has(&["receipts"]) {
        return batch(Members::new("batch answer", object), context);
    }
    if object.get("format").and_then(Value::as_str) == Some(CERTIFICATE_FORMAT) {
        return Ok(verify_certificate(&Certificate::from_value(object.into())?, context));
    }
    if has(&["leaf_hash", "recorded_at"]) {
        return Ok(verify_receipt(&Receipt::from_value(object.into())?, context));
    }
    if has(&["tlog_proof"]) {
        let mut members = Members::new("tlog-proof", object);
        let (proof, entry) = (members.string("tlog_proof")?, members.bytes("entry")?);
        members.end()?;
        return tlog_proof(proof.as_bytes(), &Context { entry: Some(&entry), ..*context });
    }
    if has(&["root_from", "root_to"]) {
        return Ok(consistency(&ConsistencyDocument::parse(object.into())?, context));
    }
    if has(&["leaf_hash", "root", "proof"]) {
        return Ok(inclusion(&InclusionDocument::parse(object.into())?, context));
    }
    Err(DocumentError::UnknownKind)
}

fn tlog_proof(bytes: &[u8], context: &Context<'_>) -> Result<Report, DocumentError> {
    let proof =
        TlogProof::parse(bytes).map_err(|error| DocumentError::TlogProof(text::explain(&error)))?;
    Ok(verify_tlog_proof(&proof, context))
}

fn inclusion(document: &InclusionDocument, context: &Context<'_>) -> Report {
    let mut report = Report::new(Target::Inclusion);
    report.count = 1;
    report.range = Some(IndexRange::including(None, document.index.0));
    let InclusionDocument { index, size, leaf_hash, root, proof, checkpoint } = document;
    match verify_inclusion(*index, *size, leaf_hash, proof, root) {
        Ok(()) => report.push("inclusion", Verdict::Verified, format!("leaf {index} of {size}")),
        Err(error) => report.push("inclusion", Verdict::Failed, error.to_string()),
    }
    let is_signed = |signed: &Checkpoint| signed.size == *size && signed.root == *root;
    check_signed(checkpoint.as_deref(), is_signed, context, &mut report);
    report
}

fn consistency(document: &ConsistencyDocument, context: &Context<'_>) -> Report {
    let mut report = Report::new(Target::Consistency);
    report.count = 1;
    let ConsistencyDocument { from, to, root_from, root_to, proof, checkpoint } = document;
    match verify_consistency(*from, *to, proof, root_from, root_to) {
        Ok(()) => {
            let detail = format!("size {to} extends size {from}");
            report.push("consistency", Verdict::Verified, detail);
        }
        Err(error) => report.push("consistency", Verdict::Failed, error.to_string()),
    }
    let is_signed = |signed: &Checkpoint| signed.size == *to && signed.root == *root_to;
    check_signed(checkpoint.as_deref(), is_signed, context, &mut report);
    report
}

/// Reports whether a proof's root is a signed one.
fn check_signed(
    note: Option<&str>,
    is_signed: impl Fn(&Checkpoint) -> bool,
    context: &Context<'_>,
    report: &mut Report,
) {
    let Some(note) = note else {
        // Decides the report: a proof between roots that nobody signed shows nothing of a log.
        report.push("signed", Verdict::NotProvable, "the document carries no checkpoint for its roots");
        return;
    };
    let opened = checkpoint::open(note, context.key).map_err(|error| text::explain(&error));
    let Some(signed) = check_checkpoint(opened, None, context, report) else { return };
    if is_signed(&signed) {
        report.push("signed", Verdict::Verified, "size and root are the checkpoint's");
    } else {
        report.push("signed", Verdict::Failed, "the checkpoint has another size or root");
    }
}

/// Adds up the reports of a batch: one check per name, told by the worst.
#[derive(Default)]
struct Tally {
    lines: Vec<Line>,
}

struct Line {
    name: &'static str,
    worst: Verdict,
    /// How many receipts had the worst verdict, and what the first of them said.
    count: u64,
    first: String,
    /// Whether one of them was not provable where that decides.
    matters: bool,
}

impl Tally {
    fn add(&mut self, position: usize, report: &Report) {
        for check in &report.checks {
            let first = || format!("receipt {position}: {}", check.detail);
            let matters = check.matters && check.verdict == Verdict::NotProvable;
            let Some(line) = self.lines.iter_mut().find(|line| line.name == check.name) else {
                let (name, worst) = (check.name, check.verdict);
                self.lines.push(Line { name, worst, count: 1, first: first(), matters });
                continue;
            };
            line.matters |= matters;
            if check.verdict > line.worst {
                (line.worst, line.count, line.first) = (check.verdict, 1, first());
            } else if check.verdict == line.worst {
                line.count += 1;
            }
        }
    }

    fn write(self, report: &mut Report) {
        for line in self.lines {
            let detail = match (line.worst, line.count) {
                (Verdict::Verified, count) => format!("{count} verified"),
                (_, 1) => line.first,
                (_, count) => format!("first of {count}: {}", line.first),
            };
            if line.matters {
                report.push(line.name, line.worst, detail);
            } else {
                report.note(line.name, line.worst, detail);
            }
        }
    }
}

/// The receipts of many events, verified one after the other and reported together.
struct Many<'a> {
    context: &'a Context<'a>,
    report: Report,
    tally: Tally,
    last: LastCheckpoint,
    position: usize,
    refused: u64,
}

impl<'a> Many<'a> {
    fn new(context: &'a Context<'a>) -> Self {
        let report = Report::new(Target::Receipts);
        let (tally, last) = (Tally::default(), LastCheckpoint::default());
        Self { context, report, tally, last, position: 0, refused: 0 }
    }

    fn add(&mut self, item: Value) -> Result<(), ShapeError> {
        let position = self.position;
        self.position += 1;
        if is_refusal(&item) {
            self.refused += 1;
            return Ok(());
        }
        let one = verify_receipt_cached(&Receipt::from_value(item)?, self.context, &mut self.last);
        let report = &mut self.report;
        report.count += 1;
        report.parts.add(&one.parts);
        if let Some(range) = one.range {
            report.range = Some(IndexRange::including(report.range, range.first));
        }
        if report.keys.is_empty() {
            report.keys.clone_from(&one.keys);
        }
        self.tally.add(position, &one);
        Ok(())
    }

    fn finish(mut self) -> Report {
        self.tally.write(&mut self.report);
        if self.refused > 0 {
            let detail = format!("{} items are refusals, which nothing is proven about", self.refused);
            self.report.note("refusals", Verdict::NotProvable, detail);
        }
        self.report
    }
}

fn batch(mut members: Members, context: &Context<'_>) -> Result<Report, DocumentError> {
    let items = members.array("receipts")?;
    members.end()?;
    let mut many = Many::new(context);
    for item in items {
        many.add(item)?;
    }
    Ok(many.finish())
}

/// The verifier of a file with one receipt per line, as a producer's client keeps them. Lines are given
/// one by one, so that the file may have any length.
pub struct ReceiptLines<'a> {
    many: Many<'a>,
    /// The first line that is no receipt: its number from 0, and why not.
    wrong: Option<(usize, ShapeError)>,
}

impl<'a> ReceiptLines<'a> {
    /// A verifier of receipts in the given context.
    #[must_use]
    pub fn new(context: &'a Context<'a>) -> Self {
        Self { many: Many::new(context), wrong: None }
    }

    /// Whether a line is a receipt, by its shape.
    #[must_use]
    pub fn is_receipt(line: &[u8]) -> bool {
        Receipt::parse(line.trim_ascii()).is_ok()
    }

    /// Verifies the receipt on a line.
    pub fn add(&mut self, line: &[u8]) {
        let limits = JsonLimits { depth_max: DOCUMENT_DEPTH_MAX, bytes_max: RECEIPT_BYTES_MAX };
        let position = self.many.position;
        let value = json::parse(line.trim_ascii(), &limits).map_err(ShapeError::Json);
        if let Err(error) = value.and_then(|value| self.many.add(value)) {
            self.many.position = position + 1;
            self.wrong.get_or_insert((position, error));
        }
    }

    /// The report on all lines. `unfinished` says that the last line had no end and was not given: a
    /// producer that was stopped while it wrote.
    #[must_use]
    pub fn finish(self, unfinished: bool) -> Report {
        let mut report = self.many.finish();
        if let Some((position, error)) = self.wrong {
            report.push("document", Verdict::Failed, format!("receipt {position}: {error}"));
        }
        if unfinished {
            report.note("unfinished", Verdict::NotProvable, "the last line is cut off and was left out");
        }
        report
    }
}

impl std::fmt::Debug for ReceiptLines<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiptLines").field("count", &self.many.report.count).finish_non_exhaustive()
    }
}

/// Whether an item of a batch answer says why an event was refused (RFC 9457, as it is or in a
/// member `error`) instead of being a receipt.
fn is_refusal(item: &Value) -> bool {
    let is_problem = |object: &Object| object.contains_key("type") && object.contains_key("status");
    let is_refusal = |object: &Object| {
        let wrapped = object.get("error").and_then(Value::as_object).is_some_and(is_problem);
        wrapped || is_problem(object)
    };
    item.as_object().is_some_and(|object| is_refusal(object) && !object.contains_key("leaf_hash"))
}

#[cfg(test)]
mod tests;
