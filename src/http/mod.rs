//! The HTTP face: append, read, prove, verify.
//!
//! In scope: routes, roles, input forms, answers and problems. Out of scope: everything the ledger
//! and the verifier decide. Invariants: handlers hold no state of their own; anything that may
//! block runs off the async threads; every refusal is a problem from [`problem::TYPES`].

mod add;
mod admin;
mod append;
mod asked;
mod audit;
mod auth;
mod body;
mod docs_page;
mod document;
mod duties;
mod erasures;
mod front;
mod health;
pub mod keys;
mod limits;
mod manage_keys;
mod manage_ledgers;
pub mod metrics;
mod openapi;
mod params;
pub mod problem;
mod process;
mod proofs;
mod read;
mod reads;
mod reports;
mod serve;
mod stats;
mod stream;
mod summary;
mod tiles;
mod unpack;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::audit::own::Auditor;
use crate::clock::Clock;
use crate::event::json::{self, JsonLimits};
use crate::ledger::{Ledger, Ledgers};

use keys::KeyStore;
use problem::Problem;

pub use document::document;
pub use front::Front;
pub use serve::{Around, ServeOptions, Tls, TlsError, serve};
pub use stats::{Open, ServerStats};
pub use stream::live::Live;

/// What the handlers share.
#[derive(Debug)]
pub struct Server {
    /// The ledgers.
    pub ledgers: Ledgers,
    /// API keys.
    pub keys: KeyStore,
    /// Time, for the expiry of keys.
    pub clock: Arc<dyn Clock>,
    /// What holds for every request alike.
    pub front: Front,
    /// Open streams.
    pub live: Arc<Live>,
    /// What it counts.
    pub stats: Arc<ServerStats>,
    /// Whether `/metrics` is answered without a key.
    pub metrics_public: bool,
    /// Audits of its own ledgers.
    pub auditor: Arc<Auditor>,
}

/// Bytes of a request about keys, ledgers or types at most.
const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;

/// Reads the JSON object that `what` names from a body. A derived reader alone would also take the fields as
/// an array, in an order that the contract does not speak of.
fn read_object<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Problem> {
    let begins = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if begins.is_some_and(|byte| *byte == b'[') {
        return Err(Problem::new(
            problem::BAD_PARAMETER,
            format!("not {what}: an array, not an object"),
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let detail = format!("not {what}, at line {} column {}", error.line(), error.column());
        let kind = if error.is_data() { problem::BAD_PARAMETER } else { problem::MALFORMED_JSON };
        Problem::new(kind, detail)
    })
}

/// A body of the administration's as strict JSON: no member twice, no number that changes its value.
fn read_value(bytes: &[u8]) -> Result<json::Value, Problem> {
    let limits = JsonLimits { bytes_max: ADMIN_BODY_BYTES_MAX, ..JsonLimits::default() };
    json::parse(bytes, &limits).map_err(|error| {
        Problem::new(problem::MALFORMED_JSON, error.to_string()).with("offset", error.offset)
    })
}

impl Server {
    /// Unix seconds.
    fn now_s(&self) -> u64 {
        self.clock.now_us() / 1_000_000
    }

    fn ledger(&self, name: &str) -> Result<Arc<Ledger>, Problem> {
        self.ledgers
            .get(name)
            .ok_or_else(|| Problem::new(problem::NOT_FOUND, "there is no ledger of this name"))
    }
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

/// Every route with its description; [`openapi`] says how to add one.
fn api() -> OpenApiRouter<Arc<Server>> {
    let ledger = OpenApiRouter::default()
        .routes(routes!(append::post_events, read::history))
        .routes(routes!(add::add))
        .routes(routes!(stream::stream))
        .routes(routes!(summary::summary))
        .routes(routes!(audit::get_audit, audit::start_audit))
        .routes(routes!(read::event))
        .routes(routes!(read::receipt))
        .routes(routes!(read::entry))
        .routes(routes!(tiles::checkpoint))
        .routes(routes!(tiles::tile))
        .routes(routes!(proofs::inclusion))
        .routes(routes!(proofs::consistency))
        .routes(routes!(proofs::verify))
        .routes(routes!(erasures::erase, erasures::list_erasures))
        .routes(routes!(erasures::certificate))
        .routes(routes!(admin::list_types, admin::register_type))
        .routes(routes!(duties::get_retention, duties::set_retention))
        .routes(routes!(duties::list_holds, duties::place_hold))
        .routes(routes!(duties::release_hold))
        .routes(routes!(reports::retention_due));
    OpenApiRouter::default()
        .nest("/v1/ledgers/{ledger}", ledger)
        .routes(routes!(manage_ledgers::list_ledgers, manage_ledgers::add_ledger))
        .routes(routes!(manage_ledgers::get_ledger))
        .routes(routes!(manage_ledgers::list_producers))
        .routes(routes!(manage_keys::list_keys, manage_keys::create_key))
        .routes(routes!(manage_keys::get_key, manage_keys::change_key, manage_keys::revoke_key))
        .routes(routes!(manage_keys::rotate_key))
        .routes(routes!(health::livez))
        .routes(routes!(health::startupz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(document::openapi_json))
        .routes(routes!(docs_page::docs))
}

/// The routes of a server.
pub fn router(server: Arc<Server>) -> Router {
    Router::from(api())
        .fallback(|| async {
            Problem::new(problem::NOT_FOUND, "there is no such path; the API begins at /v1")
                .into_response()
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(problem::METHOD_NOT_ALLOWED, "this path is not for that method").into_response()
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&server), front::front))
        .with_state(server)
}
