//! The public layout of C2SP tlog-tiles: checkpoint, hash tiles, entry bundles.
//!
//! In scope: `GET …/checkpoint` and `GET …/tile/…`. Out of scope: proofs. Invariants: anything that
//! is missing is 404, which is what Go's clients fall back on; hash tiles and checkpoints are
//! public, bundles need a key that may verify, unless a setting opens them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::ledger::READS_LEDGER;
use crate::log::tile::{BundleId, TileId};

use super::append::of_ledger;
use super::asked::Asked;
use super::auth::Action;
use super::front;
use super::openapi::{InLedger, Keyed, Missing, RawBytes};
use super::params::Path;
use super::problem::{self, Problem};
use super::{Server, off_thread};

/// Get the newest published checkpoint
///
/// A signed note, C2SP tlog-checkpoint. Needs no key; may be read from any web page.
#[utoipa::path(get, path = "/checkpoint", operation_id = "get_checkpoint", tag = "log",
    responses((status = 200, description = "The checkpoint", body = String, content_type = "text/plain",
        headers(("ETag" = String, description = "A hash of this body."))),
        (status = 304, description = "It is still what `If-None-Match` names"),
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
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::ETAG, front::etag(note.as_bytes()));
    Ok((headers, note.as_str().to_owned()).into_response())
}

/// Get a tile
///
/// C2SP tlog-tiles: hash tiles (`0/000`, `1/x001/234.p/5`) need no key; entry bundles (`entries/000`) need
/// the role producer, responder, auditor or dpo, unless the setting `public_bundles` opens them; those of the
/// ledger `reads` need the role auditor in any case. What is missing is 404.
#[utoipa::path(get, path = "/tile/{*path}", operation_id = "get_tile", tag = "log",
    responses((status = 200, description = "The tile", body = RawBytes,
        content_type = "application/octet-stream",
        headers(("ETag" = String, description = "A hash of this body."))),
        (status = 304, description = "It is still what `If-None-Match` names"),
        Keyed, InLedger),
    security((), ("key" = [])))]
pub(crate) async fn tile(
    asked: Asked,
    Path((name, rest)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let ledger = asked.server.ledger(&name)?;
    let missing = || Problem::new(problem::NOT_FOUND, "there is no such tile");
    let path = format!("tile/{rest}");
    let is_bundle = BundleId::parse(&path).is_ok();
    // Who read what is not for everybody, whatever the setting opens.
    let opens_bundles = asked.server.front.public_bundles && name != READS_LEDGER;
    if is_bundle {
        if !opens_bundles {
            asked.caller(Some(&name), Action::Verify)?;
        }
    } else if TileId::parse(&path).is_err() {
        return Err(missing());
    }
    let bytes = off_thread(move || ledger.file(&path).map_err(|error| of_ledger(&error))).await?;
    let bytes = bytes.ok_or_else(missing)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let cache = cache_control(!is_bundle || opens_bundles, rest.contains(".p/"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::ETAG, front::etag(&bytes));
    Ok((headers, bytes).into_response())
}

/// How long a tile may be kept: for ever, since none ever changes. A partial one is soon replaced by a
/// fuller one of another name, so that it is not worth a place in a cache for more than a day.
const fn cache_control(public: bool, partial: bool) -> &'static str {
    match (public, partial) {
        (true, false) => "public, max-age=31536000, immutable",
        (true, true) => "public, max-age=86400, immutable",
        (false, false) => "private, max-age=31536000, immutable",
        (false, true) => "private, max-age=86400, immutable",
    }
}
