//! The signed checkpoints in whatever somebody kept of a log: a receipt, a batch answer, a file of
//! receipts, a `.tlog-proof`, another proof, or a checkpoint itself.
//!
//! In scope: finding the notes and the log each claims to be of. Out of scope: whether they are signed
//! (the caller opens each with the key of the log it names) and what else the documents say. Invariants:
//! a document without a note is an error, so that nothing is ever held against nothing; each note is
//! given once.

use std::collections::BTreeSet;

use super::members::ShapeError;
use super::text;
use crate::event::json::{self, JsonLimits, Object, Value};
use crate::log::checkpoint::Checkpoint;
use crate::log::note::Note;
use crate::log::proof::TlogProof;
use crate::prove::verify_document::DOCUMENT_BYTES_MAX;

/// Deepest nesting of a document, as the verifier of documents takes it.
const DEPTH_MAX: usize = 16;

const TLOG_PROOF_FIRST_LINE: &[u8] = b"c2sp.org/tlog-proof@v1\n";

/// A note that claims to be a log's checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeptNote {
    /// The log that it names.
    pub origin: String,
    /// The note, whose signature nobody has looked at yet.
    pub note: String,
}

/// Why a document gave no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    /// No kind of document that is known.
    #[error("not a checkpoint, a receipt, a batch answer, a file of receipts or a proof")]
    UnknownKind,
    /// JSON that is not well formed.
    #[error("{0}")]
    Shape(#[from] ShapeError),
    /// Receipts that carry no checkpoint.
    #[error(
        "its receipts are brief and carry no signed checkpoint; fetch a full one from \
         /v1/ledgers/{{ledger}}/events/{{index}}/receipt, or append with `Prefer: receipt=full`"
    )]
    Brief,
    /// Text that is none of the log's notes.
    #[error("{0}")]
    Note(String),
}

/// Every checkpoint in a document, each once.
///
/// # Errors
/// [`KeptError`] where there is none, or the document is of no known kind.
///
/// ```
/// use counterfoil::prove::kept::{KeptError, notes_in};
/// assert_eq!(notes_in(b"{\"receipts\":[]}"), Err(KeptError::Brief));
/// ```
pub fn notes_in(bytes: &[u8]) -> Result<Vec<KeptNote>, KeptError> {
    let mut found = BTreeSet::new();
    if bytes.starts_with(TLOG_PROOF_FIRST_LINE) {
        let proof = TlogProof::parse(bytes).map_err(|error| KeptError::Note(text::explain(&error)))?;
        found.insert(named(proof.checkpoint)?);
    } else if bytes.trim_ascii_start().starts_with(b"{") {
        json_notes(bytes, &mut found)?;
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| KeptError::UnknownKind)?;
        found.insert(named(text.to_owned()).map_err(|_| KeptError::UnknownKind)?);
    }
    if found.is_empty() { Err(KeptError::Brief) } else { Ok(found.into_iter().collect()) }
}

fn named(note: String) -> Result<KeptNote, KeptError> {
    let explained = |error: &dyn std::error::Error| KeptError::Note(text::explain(error));
    let parsed = Note::parse(&note).map_err(|error| explained(&error))?;
    let checkpoint = Checkpoint::from_text(parsed.text()).map_err(|error| explained(&error))?;
    Ok(KeptNote { origin: checkpoint.origin, note })
}

fn json_notes(bytes: &[u8], found: &mut BTreeSet<KeptNote>) -> Result<(), KeptError> {
    let limits = JsonLimits { depth_max: DEPTH_MAX, bytes_max: DOCUMENT_BYTES_MAX };
    let whole = match json::parse(bytes, &limits) {
        Ok(value) => return of_value(value, found),
        Err(error) => error,
    };
    // Receipts, one a line; a producer that was stopped may have left the last one unfinished.
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
    let mut read = 0_u64;
    while let Some(line) = lines.next() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match json::parse(line.trim_ascii(), &limits) {
            Ok(value) => of_value(value, found)?,
            Err(_) if read > 0 && lines.peek().is_none() && !line.ends_with(b"\n") => {}
            Err(_) => return Err(ShapeError::Json(whole).into()),
        }
        read += 1;
    }
    Ok(())
}

fn of_value(value: Value, found: &mut BTreeSet<KeptNote>) -> Result<(), KeptError> {
    let Value::Object(object) = value else { return Err(KeptError::UnknownKind) };
    match object.get("receipts") {
        Some(Value::Array(items)) => {
            for item in items.iter().filter_map(Value::as_object) {
                of_object(item, found)?;
            }
            Ok(())
        }
        _ if ["checkpoint", "leaf_hash", "tlog_proof"].iter().any(|name| object.contains_key(name)) => {
            of_object(&object, found)
        }
        _ => Err(KeptError::UnknownKind),
    }
}

fn of_object(object: &Object, found: &mut BTreeSet<KeptNote>) -> Result<(), KeptError> {
    if let Some(note) = object.get("checkpoint").and_then(Value::as_str) {
        found.insert(named(note.to_owned())?);
    }
    if let Some(proof) = object.get("tlog_proof").and_then(Value::as_str) {
        let proof = TlogProof::parse(proof).map_err(|error| KeptError::Note(text::explain(&error)))?;
        found.insert(named(proof.checkpoint)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::hash::{Hash, TreeSize};
    use crate::log::note::SigningKey;

    fn note(origin: &str, size: u64) -> String {
        let key = SigningKey::generate_from_seed(origin, &[3; 32]).unwrap();
        let checkpoint =
            Checkpoint { origin: origin.to_owned(), size: TreeSize(size), root: Hash([7; 32]) };
        checkpoint.sign(&key).unwrap()
    }

    fn receipt(note: &str) -> String {
        format!("{{\"leaf_hash\":\"\",\"checkpoint\":{}}}", serde_json::json!(note))
    }

    #[test]
    fn every_kind_of_document_gives_its_checkpoints() {
        let (one, two) = (note("l.example/a", 3), note("l.example/a", 5));
        let kept = |note: &String| KeptNote { origin: "l.example/a".to_owned(), note: note.clone() };
        assert_eq!(notes_in(one.as_bytes()), Ok(vec![kept(&one)]));
        assert_eq!(notes_in(receipt(&one).as_bytes()), Ok(vec![kept(&one)]));
        let batch = format!(
            "{{\"receipts\":[{},{{\"error\":{{}}}},{},{}]}}",
            receipt(&one),
            receipt(&two),
            receipt(&one)
        );
        assert_eq!(notes_in(batch.as_bytes()), Ok(vec![kept(&one), kept(&two)]));
        let lines = format!("{}\n\n{}\n{{\"leaf", receipt(&one), receipt(&two));
        assert_eq!(notes_in(lines.as_bytes()), Ok(vec![kept(&one), kept(&two)]));
    }

    #[test]
    fn what_holds_no_checkpoint_is_an_error() {
        for brief in ["{\"leaf_hash\":\"\"}", "{\"receipts\":[{\"leaf_hash\":\"\"}]}"] {
            assert_eq!(notes_in(brief.as_bytes()), Err(KeptError::Brief), "{brief}");
        }
        for unknown in ["", "text", "{\"a\":1}", "\u{2014} x\n"] {
            assert_eq!(notes_in(unknown.as_bytes()), Err(KeptError::UnknownKind), "{unknown}");
        }
        assert!(matches!(notes_in(b"{\"a\":"), Err(KeptError::Shape(_))));
        assert!(matches!(notes_in(receipt("text").as_bytes()), Err(KeptError::Note(_))));
    }
}
