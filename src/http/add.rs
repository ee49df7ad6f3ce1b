//! `POST …/add`: bytes in, position out.
//!
//! In scope: the write call that tools for tiled logs make, answered with the decimal index. Out of
//! scope: events with fields ([`super::append`]). Invariants: the same bytes from the same source are one
//! event for ever and get the same index; the bytes lie in a sealed attachment, never in the log.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::runtime::Handle;

use crate::event::custom::CustomType;
use crate::event::envelope::{Event, Raw};
use crate::event::json::{self, JsonLimits, Object};
use crate::event::limits::RAW_BYTES_MAX;
use crate::ledger::Ledger;

use super::append::{INLINE_BYTES_MAX, of_append, of_ledger};
use super::asked::Asked;
use super::auth::Action;
use super::keys::KeyRecord;
use super::openapi::{AddingBytes, InLedger, Keyed, Writing};
use super::params::Path;
use super::problem::{self, Problem};
use super::{body, off_thread};

/// The type of such events. The ledger registers it when the first one comes.
const RAW_TYPE: &str = "x-raw";

/// Its registration: no fields, only the attachment.
const RAW_TYPE_DEFINITION: &str = r#"{"name":"x-raw","schema":{
    "$schema":"https://json-schema.org/draft/2020-12/schema",
    "title":"Bytes that came without an event around them, kept as they were",
    "type":"object","additionalProperties":false},"fields":{}}"#;

/// The source of such events from keys that are not bound to one.
const RAW_SOURCE: &str = "add";

/// Media type of the attachment. What the request says is not kept, so that the same bytes are the same
/// event however they are sent.
const RAW_MEDIA_TYPE: &str = "application/octet-stream";

/// Append raw bytes
///
/// The body, at most 1 MiB of anything, becomes an event of the type `x-raw`, which the ledger registers
/// when the first one comes; it lies sealed in the event's attachment. The same bytes from the same source
/// are the same event and get the same index. The source is the one that the key is bound to, or `add`.
/// This is the write call of tools for tiled logs. Needs the role producer.
#[utoipa::path(post, path = "/add", operation_id = "add_bytes", tag = "events",
    request_body(content((Vec<u8> = "application/octet-stream"))),
    responses((status = 200, description = "The decimal index of the event, durable", body = String,
        content_type = "text/plain"), Keyed, InLedger, AddingBytes, Writing),
    security(("key" = [])))]
pub(crate) async fn add(
    asked: Asked,
    Path(name): Path<String>,
    request: Body,
) -> Result<Response, Problem> {
    let (key, ledger) = asked.enter(&name, Action::Append, &[])?;
    let source = source_of(&key)?.to_owned();
    let bytes = body::read(&asked.headers, request, RAW_BYTES_MAX).await.map_err(|problem| {
        if problem.kind() == problem::BODY_TOO_LARGE {
            return Problem::new(problem::RAW_TOO_LARGE, problem.detail())
                .with("limit_bytes", RAW_BYTES_MAX);
        }
        problem
    })?;
    asked.server.front.limits.events(key.number, 1)?;
    if ledger.catalogue().event_type(RAW_TYPE).is_none() {
        let ledger = Arc::clone(&ledger);
        off_thread(move || register(&ledger)).await?;
    }
    let index = if bytes.len() <= INLINE_BYTES_MAX {
        append(&ledger, key.number, source, bytes.to_vec()).await?
    } else {
        let runtime = Handle::current();
        off_thread(move || runtime.block_on(append(&ledger, key.number, source, bytes.to_vec()))).await?
    };
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], index.to_string()).into_response())
}

/// The source that a key appends for: its own where it is bound to one.
fn source_of(key: &KeyRecord) -> Result<&str, Problem> {
    match key.sources.as_slice() {
        [] => Ok(RAW_SOURCE),
        [only] => Ok(only),
        several if several.iter().any(|source| source == RAW_SOURCE) => Ok(RAW_SOURCE),
        _ => {
            let detail = "this key is bound to several sources, and bytes do not say which of them sent \
                          them; use a key that is bound to one";
            Err(Problem::new(problem::WRONG_SOURCE, detail))
        }
    }
}

fn register(ledger: &Ledger) -> Result<(), Problem> {
    let unreadable = || Problem::new(problem::INTERNAL, "the type x-raw could not be registered");
    let definition = json::parse(RAW_TYPE_DEFINITION.as_bytes(), &JsonLimits::default());
    let custom = CustomType::from_value(&definition.map_err(|_| unreadable())?);
    let custom = custom.map_err(|_| unreadable())?;
    ledger.register_type(custom).map(|_| ()).map_err(|error| of_ledger(&error))
}

async fn append(ledger: &Ledger, producer: u32, source: String, bytes: Vec<u8>) -> Result<u64, Problem> {
    let event = Event {
        id: ledger.raw_id(&bytes),
        source,
        type_name: RAW_TYPE.to_owned(),
        time: None,
        time_us: None,
        sequence: None,
        subject: None,
        attributes: Object::new(),
        data: Object::new(),
        raw: Some(Raw { content_type: RAW_MEDIA_TYPE.to_owned(), bytes }),
    };
    match ledger.append(vec![Ok(event)], producer, true, false).await.pop() {
        Some(Ok(appended)) => Ok(appended.index),
        Some(Err(error)) => Err(of_append(&error)),
        None => Err(Problem::new(problem::INTERNAL, "the ledger gave no answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_can_be_registered() {
        let definition = json::parse(RAW_TYPE_DEFINITION.as_bytes(), &JsonLimits::default()).unwrap();
        let custom = CustomType::from_value(&definition).unwrap();
        assert_eq!(custom.name, RAW_TYPE);
    }
}
