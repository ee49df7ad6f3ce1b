//! The HTTP face: append, read, prove, verify.
//!
//! In scope: routes, roles, input forms, answers and problems. Out of scope: everything the ledger
//! and the verifier decide. Invariants: handlers hold no state of their own; anything that may
//! block runs off the async threads; every refusal is a problem from [`problem::TYPES`].

mod admin;
mod append;
mod auth;
mod body;
pub mod keys;
mod params;
pub mod problem;
mod proofs;
mod read;
mod serve;
mod tiles;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{get, post};

use crate::clock::Clock;
use crate::ledger::{Ledger, Ledgers};

use auth::Action;
use keys::{KeyRecord, KeyStore};
use params::Params;
use problem::Problem;

pub use serve::{ServeOptions, serve};

/// What the handlers share.
#[derive(Debug)]
pub struct Server {
    /// The ledgers.
    pub ledgers: Ledgers,
    /// API keys.
    pub keys: KeyStore,
    /// Time, for the expiry of keys.
    pub clock: Arc<dyn Clock>,
}

impl Server {
    fn ledger(&self, name: &str) -> Result<Arc<Ledger>, Problem> {
        self.ledgers
            .get(name)
            .ok_or_else(|| Problem::new(problem::NOT_FOUND, "there is no ledger of this name"))
    }
}

/// The caller and the ledger of a request, where the key allows `action` and the parameters are known.
fn enter(
    server: &Server,
    headers: &HeaderMap,
    ledger: &str,
    action: Action,
    params: &Params,
    known: &[&str],
) -> Result<(Arc<KeyRecord>, Arc<Ledger>), Problem> {
    let key = auth::authorize(server, headers, Some(ledger), action)?;
    let ledger = server.ledger(ledger)?;
    params.allow_only(known)?;
    Ok((key, ledger))
}

/// Runs work that may block away from the async threads.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(problem::INTERNAL, "the request was not finished")),
    }
}

/// The routes of a server.
pub fn router(server: Arc<Server>) -> Router {
    let ledger = Router::new()
        .route("/events", post(append::post_events).get(read::history))
        .route("/events/{index}", get(read::event))
        .route("/events/{index}/receipt", get(read::receipt))
        .route("/events/{index}/entry", get(read::entry))
        .route("/checkpoint", get(tiles::checkpoint))
        .route("/tile/{*path}", get(tiles::tile))
        .route("/proofs/inclusion", get(proofs::inclusion))
        .route("/proofs/consistency", get(proofs::consistency))
        .route("/verify", post(proofs::verify))
        .route("/types", get(admin::list_types).post(admin::register_type));
    Router::new()
        .nest("/v1/ledgers/{ledger}", ledger)
        .route("/v1/keys", get(admin::list_keys).post(admin::create_key))
        .route("/v1/keys/{id}", axum::routing::delete(admin::revoke_key))
        .route("/livez", get(admin::livez))
        .route("/readyz", get(admin::readyz))
        .fallback(|| async {
            Problem::new(problem::NOT_FOUND, "there is no such path; the API begins at /v1")
                .into_response()
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(problem::METHOD_NOT_ALLOWED, "this path is not for that method").into_response()
        })
        .with_state(server)
}
