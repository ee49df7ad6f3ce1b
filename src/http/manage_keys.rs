//! API keys over HTTP: make, list, change, rotate, revoke.
//!
//! In scope: the requests of administrators about keys, and the JSON of keys. Out of scope: how keys are
//! kept ([`super::keys`]). Invariants: a key's text is in the answer that makes it and nowhere else; an
//! administrator bound to some ledgers sees and makes only keys bound to those.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::asked::Asked;
use super::auth::Action;
use super::keys::{KeyChange, KeyError, KeyRecord, NewKey, OVERLAP_S_DEFAULT, Role};
use super::openapi::{Body as OfBody, Keyed, Keyring, Missing};
use super::params::{Path, bad};
use super::problem::{self, Problem};
use super::{ADMIN_BODY_BYTES_MAX, Server, body, off_thread, read_object};

/// What a body about keys is called where it is refused.
const KEY_REQUEST: &str = "a request about keys";

/// A key as administrators see it. Its secret is not kept and cannot be shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// Public part of the key.
    id: String,
    /// Number by which log entries name the key that appended them.
    number: u32,
    /// What it is for.
    label: String,
    role: Role,
    /// Ledgers it is good for; empty for all.
    ledgers: Vec<String>,
    /// Envelope sources it may append for; empty for all.
    sources: Vec<String>,
    state: KeyState,
    /// When it was made, Unix seconds; null for keys from before this was kept.
    created_at_s: Option<u64>,
    /// First moment at which it is no longer good, Unix seconds; null for never.
    expires_at_s: Option<u64>,
    /// Its last use, Unix seconds; null for never.
    last_used_at_s: Option<u64>,
    /// The key that a rotation put in its place.
    replaced_by: Option<String>,
    /// Whether it is the key made at first start, or its successor, which may do everything.
    first: bool,
}

/// Whether a key is good.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyState {
    /// It is good.
    Live,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

/// All keys that the caller may see.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyList {
    keys: Vec<KeyView>,
}

/// A new key with its text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyMade {
    /// `cf_<id>_<secret>`, shown this once.
    key: String,
    #[serde(flatten)]
    view: KeyView,
}

/// How a key is rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// Seconds for which the old key stays good: a day where absent, 90 days at most.
    #[serde(default)]
    overlap_s: Option<u64>,
}

impl KeyState {
    /// The state of a key at `now_s` (Unix seconds).
    pub(crate) fn of(key: &KeyRecord, now_s: u64) -> Self {
        match () {
            () if key.revoked => Self::Revoked,
            () if key.is_live(now_s) => Self::Live,
            () => Self::Expired,
        }
    }
}

fn view(key: &KeyRecord, now_s: u64) -> KeyView {
    KeyView {
        id: key.id.clone(),
        number: key.number,
        label: key.label.clone(),
        role: key.role,
        ledgers: key.ledgers.clone(),
        sources: key.sources.clone(),
        state: KeyState::of(key, now_s),
        created_at_s: key.created_at_s,
        expires_at_s: key.expires_at_s,
        last_used_at_s: key.last_used_s(),
        replaced_by: key.replaced_by.clone(),
        first: key.first,
    }
}

fn of_key(error: &KeyError) -> Problem {
    let detail = error.to_string();
    match error {
        KeyError::Invalid { field, what } => bad(field, what),
        KeyError::NoSuchKey => Problem::new(problem::NOT_FOUND, detail),
        KeyError::LastAdmin => Problem::new(problem::LAST_ADMIN_KEY, detail),
        KeyError::TooMany => Problem::new(problem::TOO_MANY_KEYS, detail),
        KeyError::Revoked | KeyError::Expired => Problem::new(problem::KEY_NOT_LIVE, detail),
        _ => {
            eprintln!("counterfoil: {error}");
            Problem::new(problem::INTERNAL, "the key records could not be read or written")
        }
    }
}

/// The body of a request about keys; an empty one is all defaults.
async fn request_of<T: Default + serde::de::DeserializeOwned>(
    headers: &HeaderMap,
    request: Body,
) -> Result<T, Problem> {
    let bytes = body::read(headers, request, ADMIN_BODY_BYTES_MAX).await?;
    if bytes.is_empty() { Ok(T::default()) } else { read_object(&bytes, KEY_REQUEST) }
}

/// The key of an id, where the caller has a say over it; otherwise as if there were none.
fn governed(server: &Server, caller: &KeyRecord, id: &str) -> Result<Arc<KeyRecord>, Problem> {
    let found = server.keys.get(id).filter(|key| caller.governs(&key.ledgers));
    found.ok_or_else(|| of_key(&KeyError::NoSuchKey))
}

fn no_store(status: StatusCode, answer: impl Serialize) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

/// List the API keys
///
/// Every key, revoked and expired ones included, without secrets. Needs the role admin; an admin key bound
/// to ledgers sees the keys bound to those.
#[utoipa::path(get, path = "/v1/keys", operation_id = "list_keys", tag = "keys",
    responses((status = 200, description = "The keys", body = KeyList), Keyed),
    security(("key" = [])))]
pub(crate) async fn list_keys(asked: Asked) -> Result<Response, Problem> {
    let caller = asked.enter_server(Action::Administer)?;
    let now_s = asked.server.now_s();
    let keys = asked.server.keys.list();
    let keys = keys.iter().filter(|key| caller.governs(&key.ledgers)).map(|key| view(key, now_s));
    Ok(no_store(StatusCode::OK, KeyList { keys: keys.collect() }))
}

/// Make an API key
///
/// The answer carries the key's text, which is shown this once. Needs the role admin; an admin key bound to
/// ledgers makes keys bound to those.
#[utoipa::path(post, path = "/v1/keys", operation_id = "create_key", tag = "keys",
    request_body(content((NewKey = "application/json"))),
    responses((status = 201, description = "The key", body = KeyMade), Keyed, Keyring, OfBody),
    security(("key" = [])))]
pub(crate) async fn create_key(asked: Asked, request: Body) -> Result<Response, Problem> {
    let caller = asked.enter_server(Action::Administer)?;
    let bytes = body::read(&asked.headers, request, ADMIN_BODY_BYTES_MAX).await?;
    let new: NewKey = read_object(&bytes, KEY_REQUEST)?;
    if !caller.governs(&new.ledgers) {
        return Err(Problem::new(
            problem::WRONG_LEDGER,
            "this key may make keys for its own ledgers only",
        ));
    }
    if let Some(unknown) = new.ledgers.iter().position(|name| asked.server.ledgers.get(name).is_none()) {
        return Err(bad("ledgers", &format!("holds, at {unknown}, a name that no ledger has")));
    }
    made(&asked.server, move |server, now_s| server.keys.create(new, false, now_s)).await
}

/// Makes a key off the async threads and shows it.
async fn made(
    server: &Arc<Server>,
    make: impl FnOnce(&Server, u64) -> Result<(Arc<KeyRecord>, zeroize::Zeroizing<String>), KeyError>
    + Send
    + 'static,
) -> Result<Response, Problem> {
    let (making, now_s) = (Arc::clone(server), server.now_s());
    let (key, text) = off_thread(move || make(&making, now_s).map_err(|error| of_key(&error))).await?;
    Ok(no_store(StatusCode::CREATED, KeyMade { key: text.to_string(), view: view(&key, now_s) }))
}

/// Show an API key
///
/// One key's record, without its secret. Needs the role admin.
#[utoipa::path(get, path = "/v1/keys/{id}", operation_id = "get_key", tag = "keys",
    responses((status = 200, description = "The key", body = KeyView), Keyed, Missing),
    security(("key" = [])))]
pub(crate) async fn get_key(asked: Asked, Path(id): Path<String>) -> Result<Response, Problem> {
    let caller = asked.enter_server(Action::Administer)?;
    let key = governed(&asked.server, &caller, &id)?;
    Ok(no_store(StatusCode::OK, view(&key, asked.server.now_s())))
}

/// Change an API key
///
/// Its label or when it expires; what is absent stays. Role and bounds never change: make another key
/// instead. Needs the role admin.
#[utoipa::path(patch, path = "/v1/keys/{id}", operation_id = "change_key", tag = "keys",
    request_body(content((KeyChange = "application/json"))),
    responses((status = 200, description = "The key", body = KeyView), Keyed, Keyring, Missing, OfBody),
    security(("key" = [])))]
pub(crate) async fn change_key(
    asked: Asked,
    Path(id): Path<String>,
    request: Body,
) -> Result<Response, Problem> {
    let caller = asked.enter_server(Action::Administer)?;
    governed(&asked.server, &caller, &id)?;
    let change: KeyChange = request_of(&asked.headers, request).await?;
    let now_s = asked.server.now_s();
    let key =
        off_thread(move || asked.server.keys.change(&id, change, now_s).map_err(|error| of_key(&error)))
            .await?;
    Ok(no_store(StatusCode::OK, view(&key, now_s)))
}

/// Rotate an API key
///
/// Makes a key with the same number, role and bounds and a secret of its own, shown this once. The old key
/// stays good for a while, so that its holder can be changed without a gap. Needs the role admin.
#[utoipa::path(post, path = "/v1/keys/{id}/rotate", operation_id = "rotate_key", tag = "keys",
    request_body(content((Rotation = "application/json"))),
    responses((status = 201, description = "The new key", body = KeyMade), Keyed, Keyring, Missing, OfBody),
    security(("key" = [])))]
pub(crate) async fn rotate_key(
    asked: Asked,
    Path(id): Path<String>,
    request: Body,
) -> Result<Response, Problem> {
    let caller = asked.enter_server(Action::Administer)?;
    if governed(&asked.server, &caller, &id)?.first && !caller.first {
        return Err(Problem::new(problem::FORBIDDEN, "the first admin key is rotated with itself"));
    }
    let rotation: Rotation = request_of(&asked.headers, request).await?;
    let overlap_s = rotation.overlap_s.unwrap_or(OVERLAP_S_DEFAULT);
    made(&asked.server, move |server, now_s| server.keys.rotate(&id, overlap_s, now_s)).await
}

/// Revoke an API key
///
/// The key is refused from now on. Its record stays, because log entries name its number. The last key that
/// can make keys is not revoked. Needs the role admin.
#[utoipa::path(delete, path = "/v1/keys/{id}", operation_id = "revoke_key", tag = "keys",
    responses((status = 204, description = "It is revoked"), Keyed, Keyring, Missing),
    security(("key" = [])))]
pub(crate) async fn revoke_key(asked: Asked, Path(id): Path<String>) -> Result<Response, Problem> {
    let caller = asked.enter_server(Action::Administer)?;
    governed(&asked.server, &caller, &id)?;
    let now_s = asked.server.now_s();
    off_thread(move || asked.server.keys.revoke(&id, now_s).map_err(|error| of_key(&error))).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
