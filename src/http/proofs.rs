//! RFC 6962 proofs and the verification API.
//!
//! In scope: `GET …/proofs/…` and `POST …/verify`. Out of scope: the verifier, which is
//! [`crate::prove`]'s and the same that the command line runs. Invariant: a proof is answered with
//! the roots it is between, so that it can be checked as it stands.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::ledger::{LedgerError, Snapshot};
use crate::log::hash::{LogIndex, TreeSize, leaf_hash};
use crate::log::merkle::BuildError;
use crate::prove::proofs::{ConsistencyDocument, InclusionDocument};
use crate::prove::receipt::RECEIPT_BYTES_MAX;
use crate::prove::verify_document::verify_document;
use crate::prove::verify_receipt::{Context, ReaderKeys};

use super::append::of_ledger;
use super::asked::Asked;
use super::auth::Action;
use super::openapi::{
    Body as OfBody, ConsistencyProof, InLedger, InclusionProof, Keyed, VerdictReport,
    VerifiableDocument, Verifying,
};
use super::params::Path;
use super::problem::{self, Problem};
use super::read::nothing_at;
use super::{body, off_thread};

fn json(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "private, no-cache")], bytes)
        .into_response()
}

fn of_build(error: &BuildError<LedgerError>) -> Problem {
    match error {
        BuildError::Reader(error) => of_ledger(error),
        _ => Problem::new(problem::BAD_PARAMETER, format!("no such proof: {error}")),
    }
}

/// A checkpoint of a durable size, so that the proof's root is a signed one.
fn signed_at(snapshot: &Snapshot, size: u64) -> Result<String, Problem> {
    let at = snapshot.at(size).and_then(|at| at.map(|at| at.checkpoint()).transpose());
    match at.map_err(|error| of_ledger(&error))? {
        Some(note) => Ok(note.to_string()),
        None => Err(Problem::new(problem::BAD_PARAMETER, "the ledger has not reached that size")),
    }
}

/// Prove that an entry is in the log
///
/// RFC 6962 inclusion proof with the signed checkpoint it leads to. Needs the role producer, responder,
/// auditor or dpo.
#[utoipa::path(get, path = "/proofs/inclusion", operation_id = "get_inclusion_proof", tag = "proofs",
    params(("index" = u64, Query, description = "Position of the entry."),
        ("size" = Option<u64>, Query, description = "Size of the tree; the newest where absent.")),
    responses((status = 200, description = "The proof", body = InclusionProof), Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn inclusion(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Verify, &["index", "size"])?;
    let index = asked.params.required_number("index")?;
    let size = asked.params.number("size")?;
    let bytes = off_thread(move || {
        let snapshot = ledger.snapshot();
        let size = size.unwrap_or(snapshot.size().0);
        let entry = snapshot.entry(index).map_err(|error| of_ledger(&error))?;
        let entry = entry.ok_or_else(|| nothing_at(index, snapshot.size().0))?;
        let document = InclusionDocument {
            index: LogIndex(index),
            size: TreeSize(size),
            leaf_hash: leaf_hash(&entry),
            root: snapshot.root_at(size).map_err(|error| of_build(&error))?,
            proof: snapshot.inclusion(index, size).map_err(|error| of_build(&error))?,
            checkpoint: Some(signed_at(&snapshot, size)?),
        };
        let mut bytes = Vec::new();
        document.write_json(&mut bytes);
        Ok(bytes)
    })
    .await?;
    Ok(json(bytes))
}

/// Prove that the log extends an older state of itself
///
/// RFC 6962 consistency proof with the signed checkpoint it leads to. Needs the role producer, responder,
/// auditor or dpo.
#[utoipa::path(get, path = "/proofs/consistency", operation_id = "get_consistency_proof", tag = "proofs",
    params(("from" = u64, Query, description = "The older size."),
        ("to" = Option<u64>, Query, description = "The newer size; the newest where absent.")),
    responses((status = 200, description = "The proof", body = ConsistencyProof), Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn consistency(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Verify, &["from", "to"])?;
    let from = asked.params.required_number("from")?;
    let to = asked.params.number("to")?;
    let bytes = off_thread(move || {
        let snapshot = ledger.snapshot();
        let to = to.unwrap_or(snapshot.size().0);
        let document = ConsistencyDocument {
            from: TreeSize(from),
            to: TreeSize(to),
            proof: snapshot.consistency(from, to).map_err(|error| of_build(&error))?,
            root_from: snapshot.root_at(from).map_err(|error| of_build(&error))?,
            root_to: snapshot.root_at(to).map_err(|error| of_build(&error))?,
            checkpoint: Some(signed_at(&snapshot, to)?),
        };
        let mut bytes = Vec::new();
        document.write_json(&mut bytes);
        Ok(bytes)
    })
    .await?;
    Ok(json(bytes))
}

/// Verify a document
///
/// The verifier of the command line as a service, for whoever trusts this server: `verified`, `failed` or
/// `not-provable`, per check and in all. The document says what it is; its content type is not looked at.
/// Needs the role producer, responder, auditor or dpo; with the role producer no content is recomputed.
#[utoipa::path(post, path = "/verify", operation_id = "verify", tag = "proofs",
    request_body(content((VerifiableDocument = "application/json"), (String = "text/plain"))),
    responses((status = 200, description = "The verdict", body = VerdictReport), Keyed, InLedger, OfBody,
        Verifying),
    security(("key" = [])))]
pub(crate) async fn verify(
    asked: Asked,
    Path(name): Path<String>,
    request: Body,
) -> Result<Response, Problem> {
    let (key, ledger) = asked.enter(&name, Action::Verify, &[])?;
    let bytes = body::read(&asked.headers, request, RECEIPT_BYTES_MAX).await?;
    let reads = key.role != super::keys::Role::Producer || key.first;
    let report = off_thread(move || {
        let secrets = ledger.secrets();
        let reader = ReaderKeys {
            read: vec![secrets.read.clone()],
            event: vec![secrets.event.clone()],
            directory: vec![secrets.directory.clone()],
        };
        let catalogue = ledger.catalogue();
        let mut context = Context::new(ledger.verifier());
        if reads {
            context.reader = Some(&reader);
            context.catalogue = Some(&catalogue);
        }
        verify_document(&bytes, &context)
            .map_err(|error| Problem::new(problem::BAD_DOCUMENT, error.to_string()))
    })
    .await?;
    Ok(json(report.to_json()))
}
