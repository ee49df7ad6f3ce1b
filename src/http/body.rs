//! Request bodies: bounded, decompressed, and told apart by content type.
//!
//! In scope: reading at most a limit's worth of bytes, and parsing events in every input form. Out of
//! scope: unpacking ([`super::unpack`]) and what is done with events. Invariant: neither a long body nor
//! a compressed bomb is ever held beyond the limit.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, header};

use crate::event::envelope::{self, Event};
use crate::event::error::EventError;
use crate::event::limits::{REQUEST_EVENTS_MAX, STRUCTURED_BYTES_MAX};

use super::off_thread;
use super::problem::{self, Problem};
use super::serve::slow::BodyError;
use super::unpack::{self, UnpackError};

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

/// Encodings of a body that are understood.
const ENCODINGS: &str = "gzip, zstd or identity";

/// Reads a body of at most `bytes_max` bytes, decompressed.
pub(crate) async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let unpack = encoding(headers)?;
    let bytes = to_bytes(body, bytes_max).await.map_err(|error| unread(&error, bytes_max))?;
    let Some(unpack) = unpack else { return Ok(bytes) };
    let unpacked = off_thread(move || Ok(unpack(&bytes, bytes_max))).await?;
    unpacked.map(Bytes::from).map_err(|error| match error {
        UnpackError::TooLarge => too_large(bytes_max),
        UnpackError::Broken(_) | UnpackError::Window(_) => {
            Problem::new(problem::BAD_COMPRESSION, error.to_string())
        }
    })
}

type Unpack = fn(&[u8], usize) -> Result<Vec<u8>, UnpackError>;

/// How a body is unpacked; none where it is sent as it is. Encodings on top of each other are refused:
/// nobody needs them, and each would multiply what a bomb can do.
fn encoding(headers: &HeaderMap) -> Result<Option<Unpack>, Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let first = encodings.next().map(|value| value.as_bytes().to_ascii_lowercase());
    match (first.as_deref(), encodings.next()) {
        (None | Some(b"identity"), None) => Ok(None),
        (Some(b"gzip" | b"x-gzip"), None) => Ok(Some(unpack::gzip)),
        (Some(b"zstd"), None) => Ok(Some(unpack::zstd)),
        _ => Err(Problem::new(
            problem::UNSUPPORTED_MEDIA_TYPE,
            format!("`Content-Encoding` must be one of {ENCODINGS}, given once"),
        )),
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(problem::BODY_TOO_LARGE, format!("the body is larger than {bytes_max} bytes"))
        .with("limit_bytes", bytes_max)
}

/// The problem of a body that could not be read to its end.
fn unread(error: &axum::Error, bytes_max: usize) -> Problem {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return too_large(bytes_max);
        }
        match error.downcast_ref::<BodyError>() {
            Some(slow @ (BodyError::Paused(_) | BodyError::TooLong(_))) => {
                return Problem::new(problem::REQUEST_TIMEOUT, slow.to_string());
            }
            Some(BodyError::NoMemory) => {
                return Problem::new(problem::OVERLOADED, BodyError::NoMemory.to_string());
            }
            Some(BodyError::CutOff) | None => {}
        }
        cause = error.source();
    }
    Problem::new(problem::MALFORMED_JSON, BodyError::CutOff.to_string())
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
