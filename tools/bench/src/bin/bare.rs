//! A bare axum server: what HTTP and parsing the same JSON cost, with nothing behind it.
//!
//! In scope: `POST /value` reads into a tree of values, `POST /typed` into a struct of all the event's
//! fields that borrows from the body, `POST /typed-batch` and `POST /value-batch` arrays of them. It answers
//! a short 201, 28 bytes where a receipt has 3,400: it is a ceiling, not a ledger. Out of
//! scope: storage of any kind. Invariant: a body that does not parse is answered 400, so that no run
//! measures refusals.

use std::borrow::Cow;
use std::io::Write as _;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use serde::Deserialize;
use serde_json::Value;

type Answer = (StatusCode, [(HeaderName, &'static str); 1], String);

/// Every field that the bench's events have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(borrow)]
    actor_role: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    purpose: Cow<'a, str>,
    #[serde(borrow)]
    categories: Vec<&'a str>,
    #[serde(borrow)]
    store: Cow<'a, str>,
    #[serde(borrow)]
    legal_basis: Cow<'a, str>,
    authorised: bool,
    #[serde(borrow)]
    labels: Labels<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels<'a> {
    #[serde(borrow)]
    service: Cow<'a, str>,
    #[serde(borrow)]
    release: Cow<'a, str>,
    #[serde(borrow)]
    request: Cow<'a, str>,
    #[serde(borrow)]
    path: Cow<'a, str>,
}

impl Event<'_> {
    /// Uses every field, so that none is parsed for nothing and left out by the compiler.
    fn bytes(&self) -> usize {
        let data = &self.data;
        let labels = &data.labels;
        let texts = [
            &self.specversion,
            &self.id,
            &self.source,
            &self.kind,
            &self.time,
            &data.subject,
            &data.actor,
            &data.actor_role,
            &data.operation,
            &data.purpose,
            &data.store,
            &data.legal_basis,
            &labels.service,
            &labels.release,
            &labels.request,
            &labels.path,
        ];
        texts.iter().map(|text| text.len()).sum::<usize>()
            + data.categories.iter().map(|text| text.len()).sum::<usize>()
            + usize::from(data.authorised)
    }
}

fn answer(bytes: Option<usize>) -> Answer {
    let status = if bytes.is_some() { StatusCode::CREATED } else { StatusCode::BAD_REQUEST };
    let body = format!("{{\"stored\":false,\"bytes\":{}}}", bytes.unwrap_or(0));
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}

async fn typed(body: Bytes) -> Answer {
    answer(serde_json::from_slice::<Event>(&body).ok().map(|event| event.bytes()))
}

async fn typed_batch(body: Bytes) -> Answer {
    let events = serde_json::from_slice::<Vec<Event>>(&body).ok();
    answer(events.map(|events| events.iter().map(Event::bytes).sum()))
}

/// One event or an array of them.
async fn value(body: Bytes) -> Answer {
    let size = |value: Value| match value {
        Value::Array(events) => events.len(),
        Value::Object(members) => members.len(),
        _ => 0,
    };
    answer(serde_json::from_slice(&body).ok().map(size))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let router = Router::new()
        .route("/typed", post(typed))
        .route("/typed-batch", post(typed_batch))
        .route("/value", post(value))
        .route("/value-batch", post(value))
        .layer(axum::extract::DefaultBodyLimit::max(16 * 1024 * 1024));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    std::io::stdout().flush()?;
    // As Counterfoil does: an answer is not held back to be joined with the next.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router).await
}
