//! Request bodies: bounded, decompressed, and told apart by content type.
//!
//! In scope: reading at most a limit's worth of bytes, gzip, and parsing events in every input
//! form. Out of scope: what is done with them. Invariant: neither a long body nor a compressed
//! bomb is ever held beyond the limit.

use std::io::Read;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, header};

use crate::event::envelope::{self, Event};
use crate::event::error::EventError;
use crate::event::limits::{REQUEST_EVENTS_MAX, STRUCTURED_BYTES_MAX};

use super::problem::{self, Problem};

/// Content types of `POST …/events`.
pub(crate) const EVENT_TYPES: &str = "application/json, application/cloudevents+json, \
     application/cloudevents-batch+json, application/x-ndjson, or any type with `ce-` headers";

/// The events of a request.
#[derive(Debug)]
pub(crate) enum Events {
    /// One event; its receipt is the answer.
    One(Box<Result<Event, EventError>>),
    /// A batch; the answer lists receipts.
    Many(Vec<Result<Event, EventError>>),
}

/// Reads a body of at most `bytes_max` bytes, decompressed.
pub(crate) async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(problem::BODY_TOO_LARGE, format!("the body is larger than {bytes_max} bytes"))
            .with("limit_bytes", bytes_max)
    };
    let bytes = to_bytes(body, bytes_max).await.map_err(|error| {
        if std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
        {
            too_large()
        } else {
            Problem::new(problem::MALFORMED_JSON, "the body ended before its announced length")
        }
    })?;
    match headers.get(header::CONTENT_ENCODING).map(axum::http::HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(bytes),
        Some(b"gzip") => {
            let mut whole = Vec::new();
            let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
            flate2::read::MultiGzDecoder::new(bytes.as_ref())
                .take(limit)
                .read_to_end(&mut whole)
                .map_err(|_| {
                    Problem::new(problem::BAD_COMPRESSION, "the gzip stream is broken or cut off")
                })?;
            if whole.len() > bytes_max { Err(too_large()) } else { Ok(Bytes::from(whole)) }
        }
        Some(_) => Err(Problem::new(
            problem::UNSUPPORTED_MEDIA_TYPE,
            "`Content-Encoding` must be gzip or identity",
        )),
    }
}

/// Parses the events of a request.
pub(crate) fn events(headers: &HeaderMap, bytes: &[u8]) -> Result<Events, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(Ok(""), |value| value.to_str());
    let content_type =
        content_type.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let batch = |parsed: Result<Vec<Result<Event, EventError>>, EventError>| {
        parsed.map(Events::Many).map_err(|error| of_event(&error))
    };
    if headers.contains_key("ce-specversion") {
        let pairs: Vec<(&str, &str)> = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        return Ok(Events::One(Box::new(envelope::parse_binary(&pairs, bytes))));
    }
    match content_type.as_str() {
        "application/json" | "application/cloudevents+json" => {
            if bytes.len() > STRUCTURED_BYTES_MAX {
                let detail =
                    format!("one event, attachment included, is at most {STRUCTURED_BYTES_MAX} bytes");
                return Err(Problem::new(problem::EVENT_TOO_LARGE, detail)
                    .with("limit_bytes", STRUCTURED_BYTES_MAX));
            }
            Ok(Events::One(Box::new(envelope::parse_structured(bytes))))
        }
        "application/cloudevents-batch+json" => batch(envelope::parse_batch(bytes)),
        "application/x-ndjson" | "application/ndjson" => batch(envelope::parse_ndjson(bytes)),
        _ => Err(Problem::new(
            problem::UNSUPPORTED_MEDIA_TYPE,
            format!("`Content-Type` must be {EVENT_TYPES}"),
        )
        .with("events_max", REQUEST_EVENTS_MAX)),
    }
}

/// The problem of an event that was refused.
pub(crate) fn of_event(error: &EventError) -> Problem {
    let kind = problem::by_slug(error.problem());
    let mut place = serde_json::Map::new();
    place.insert("pointer".to_owned(), error.pointer.as_str().into());
    place.insert("code".to_owned(), kind.slug.into());
    if let Some(offset) = error.offset {
        place.insert("offset".to_owned(), offset.into());
    }
    Problem::new(kind, error.to_string()).with("errors", vec![serde_json::Value::Object(place)])
}
