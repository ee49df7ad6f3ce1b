//! The public layout of C2SP tlog-tiles: checkpoint, hash tiles, entry bundles.
//!
//! In scope: `GET …/checkpoint` and `GET …/tile/…`. Out of scope: proofs. Invariants: anything that
//! is missing is 404, which is what Go's clients fall back on; hash tiles and checkpoints are
//! public, bundles need a key that may verify.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::log::tile::{BundleId, TileId};

use super::append::of_ledger;
use super::auth::{self, Action};
use super::openapi::{InLedger, Keyed, Missing, RawBytes};
use super::params::Path;
use super::problem::{self, Problem};
use super::{Server, off_thread};

/// Get the newest published checkpoint
///
/// A signed note, C2SP tlog-checkpoint. Needs no key; may be read from any web page.
#[utoipa::path(get, path = "/checkpoint", operation_id = "get_checkpoint", tag = "log",
    responses((status = 200, description = "The checkpoint", body = String, content_type = "text/plain"),
        Missing))]
pub(crate) async fn checkpoint(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let ledger = server.ledger(&name)?;
    let note = ledger.published();
    if note.is_empty() {
        return Err(Problem::new(problem::NOT_FOUND, "no checkpoint has been published yet"));
    }
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok(public((headers, note.as_str().to_owned()).into_response()))
}

/// Get a tile
///
/// C2SP tlog-tiles: hash tiles (`0/000`, `1/x001/234.p/5`) need no key; entry bundles (`entries/000`) need
/// the role producer, responder, auditor or dpo. What is missing is 404.
#[utoipa::path(get, path = "/tile/{*path}", operation_id = "get_tile", tag = "log",
    responses((status = 200, description = "The tile", body = RawBytes,
        content_type = "application/octet-stream"), Keyed, InLedger),
    security((), ("key" = [])))]
pub(crate) async fn tile(
    State(server): State<Arc<Server>>,
    Path((name, rest)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ledger = server.ledger(&name)?;
    let missing = || Problem::new(problem::NOT_FOUND, "there is no such tile");
    let path = format!("tile/{rest}");
    let is_bundle = BundleId::parse(&path).is_ok();
    if is_bundle {
        auth::authorize(&server, &headers, Some(&name), Action::Verify)?;
    } else if TileId::parse(&path).is_err() {
        return Err(missing());
    }
    let bytes = off_thread(move || ledger.file(&path).map_err(|error| of_ledger(&error))).await?;
    let bytes = bytes.ok_or_else(missing)?;
    let cache = if is_bundle {
        "private, max-age=31536000, immutable"
    } else {
        "public, max-age=31536000, immutable"
    };
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, cache)];
    Ok(public((headers, bytes).into_response()))
}

/// Public reads may be made from any web page.
fn public(mut response: Response) -> Response {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
