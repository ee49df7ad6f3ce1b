//! Error answers: RFC 9457 problem details from one closed table.
//!
//! In scope: every problem type with its status and title, and the JSON of one problem. Out of
//! scope: deciding which applies. Invariants: a `type` that is not in [`TYPES`] cannot be sent; no
//! problem carries a value from a request.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// Prefix of every problem type's URI; `docs/problems.md` has a heading for each.
pub const TYPE_PREFIX: &str = "urn:counterfoil:problem:";

/// Member that says what `Retry-After` says, for clients that see the body alone.
const RETRY_AFTER_MEMBER: &str = "retry_after_s";

/// Seconds after which to try again where nothing more is known.
const RETRY_AFTER_S_DEFAULT: u64 = 1;

/// One kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemType {
    /// Last part of the `type` URI, and the heading in `docs/problems.md`.
    pub slug: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Short title, the same for every occurrence.
    pub title: &'static str,
    /// What to do about it, for the documentation.
    pub remedy: &'static str,
}

macro_rules! problem_types {
    ($($name:ident, $slug:literal, $status:literal, $title:literal, $remedy:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: ProblemType =
                ProblemType { slug: $slug, status: $status, title: $title, remedy: $remedy };
        )*
        /// Every problem type, in the order of the documentation.
        pub const TYPES: &[ProblemType] = &[$($name),*];
    };
}

problem_types! {
    MALFORMED_JSON, "malformed-json", 400, "The body is not JSON",
        "Send UTF-8 JSON as of RFC 8259. `offset` is the first byte that cannot be read.";
    DUPLICATE_KEY, "duplicate-key", 400, "An object has the same key twice",
        "Send each key once. A vendor event that repeats keys travels as a raw attachment (`data_base64`).";
    NUMBER_OUT_OF_RANGE, "number-out-of-range", 400, "A number cannot be kept exactly",
        "Integers must lie within plus or minus 2^53 and all numbers must be finite. Send larger ones \
         as strings, or the original event as a raw attachment.";
    TOO_DEEP, "too-deep", 400, "The JSON is nested too deeply",
        "At most 32 levels are read.";
    BAD_PARAMETER, "bad-parameter", 400, "A parameter, path element or field of the request cannot be read",
        "`parameter` names it; the accepted form is in `detail`.";
    BAD_CURSOR, "bad-cursor", 400, "The cursor cannot be used",
        "Repeat the conditions it was given out for, or start again without it.";
    BAD_COMPRESSION, "bad-compression", 400, "The body cannot be decompressed",
        "Send a whole gzip or zstd stream with its `Content-Encoding`, a zstd window of at most 8 MiB, or \
         no encoding.";
    BAD_DOCUMENT, "bad-document", 400, "The document is of no kind that can be verified",
        "Send a receipt, an answer with `receipts`, a `.tlog-proof` with its entry, or a consistency proof.";
    UNAUTHENTICATED, "unauthenticated", 401, "No valid API key",
        "Send `Authorization: Bearer cf_…` with a key that has not expired or been revoked.";
    FORBIDDEN, "forbidden", 403, "The key may not do this",
        "Use a key whose role allows it; `detail` names the roles that do.";
    WRONG_SOURCE, "wrong-source", 403, "The key is bound to other sources",
        "Send events whose `source` the key was made for, or ask for a key for this source.";
    WRONG_LEDGER, "wrong-ledger", 403, "The key is bound to other ledgers",
        "Use a key that was made for this ledger.";
    NOT_FOUND, "not-found", 404, "There is nothing here",
        "Check the path, the ledger's name and the index.";
    PERSON_UNKNOWN, "person-unknown", 404, "None of the persons is known",
        "Check namespace and id; a person that was erased before is not known any more.";
    METHOD_NOT_ALLOWED, "method-not-allowed", 405, "The path exists, but not for this method",
        "The `Allow` header lists the methods.";
    REQUEST_TIMEOUT, "request-timeout", 408, "The body came too slowly",
        "Send the request again without pausing. The time limits are settings of the server.";
    CONFLICT, "conflict", 409, "This source and id are recorded with other content",
        "`first_index` is the event that was recorded first. A correction is an event of its own with \
         a new id.";
    HELD, "held", 409, "A legal hold stops the erasure",
        "`holds` names the holds. That it was refused is recorded. Ask again when they are released.";
    ALREADY_REGISTERED, "already-registered", 409, "The name is taken with another definition",
        "Types never change once registered; register a new name.";
    LEDGER_TAKEN, "ledger-taken", 409, "The ledger's name or origin is taken",
        "Choose another. Names and origins are for ever, also those of an attempt that was cut off.";
    LAST_ADMIN_KEY, "last-admin-key", 409, "The last key that can make keys is not revoked",
        "Make another admin key that is not bound to ledgers, then revoke this one.";
    KEY_NOT_LIVE, "key-not-live", 409, "The key has expired or been revoked",
        "Make a new key; only a key that is good can be rotated.";
    TOO_MANY_KEYS, "too-many-keys", 409, "There is no room for another key",
        "A server keeps at most 10,000 key records, revoked ones included, because log entries name them.";
    TOO_MANY_LEDGERS, "too-many-ledgers", 409, "There is no room for another ledger",
        "A server runs at most 64 ledgers; start another server.";
    HOLD_RELEASED, "hold-released", 409, "The hold was released before",
        "There is nothing left to do. Place another hold where the data must be kept again.";
    TOO_MANY_HOLDS, "too-many-holds", 409, "There is no room for another hold",
        "A ledger has at most 10,000 active holds. Release those that are over, or hold several persons with \
         one.";
    EVENT_TOO_LARGE, "event-too-large", 413, "An event is larger than 64 KiB",
        "Send bulky content as a raw attachment of up to 1 MiB, or as a hash of it.";
    RAW_TOO_LARGE, "raw-too-large", 413, "A raw attachment is larger than 1 MiB",
        "Keep the original elsewhere and send its hash.";
    TOO_MANY_EVENTS, "too-many-events", 413, "A request holds more than 10,000 events",
        "Send several requests.";
    BODY_TOO_LARGE, "body-too-large", 413, "The body is larger than 8 MiB",
        "Send several requests. The limit holds for the decompressed body.";
    URI_TOO_LONG, "uri-too-long", 414, "The path and query are too long",
        "`limit_bytes` is what is read. Ask for less at once.";
    UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", 415,
        "The content type or encoding is not accepted here",
        "`detail` lists what is.";
    MISSING_ATTRIBUTE, "missing-attribute", 422, "A required attribute is missing",
        "`errors[].pointer` names it.";
    INVALID_ATTRIBUTE, "invalid-attribute", 422, "An attribute is not what it must be",
        "`errors[].pointer` names it, `detail` says what it must be.";
    UNKNOWN_TYPE, "unknown-type", 422, "The event type is not in the catalogue",
        "Use one of the 29 types, or register a custom type whose name starts with `x-`.";
    MISSING_FIELD, "missing-field", 422, "A required field of `data` is missing",
        "`errors[].pointer` names it.";
    WRONG_TYPE, "wrong-type", 422, "A field has the wrong JSON type",
        "`errors[].pointer` names it, `detail` the expected type.";
    UNKNOWN_FIELD, "unknown-field", 422, "`data` has a field that its type does not know",
        "Remove it, or put it under `labels` where it is not personal. The name is not repeated here.";
    NOT_IN_VOCABULARY, "not-in-vocabulary", 422, "A field's value is not one of its vocabulary",
        "`errors[].pointer` names the field; the catalogue lists its values.";
    SCHEMA_VIOLATION, "schema-violation", 422, "The event does not meet its registered schema",
        "`errors[].pointer` names the place.";
    BAD_RETENTION, "bad-retention", 422, "The retention table cannot be understood",
        "`errors[].pointer` names the place, `errors[].message` what must stand there; see operating.md.";
    TOO_MANY_PERSONS, "too-many-persons", 422,
        "The event names more persons or values than an entry can hold",
        "At most 32 indexed values and 16 parts fit one event; split it.";
    TIME_IN_FUTURE, "time-in-future", 422, "The event says it has not happened yet",
        "Set the producer's clock, or check the offset of `time`.";
    TIME_TOO_OLD, "time-too-old", 422, "The event's time is before 1970",
        "Check `time`; earlier moments cannot be recorded.";
    BATCH_REFUSED, "batch-refused", 422, "Another event of the request was refused",
        "Nothing of the request was stored. Mend the refused items, or send `?atomic=false`.";
    CLOCK_AHEAD, "clock-ahead", 503, "The server's clock is wrong",
        "The operator must set the clock; nothing is recorded until then.";
    OVERLOADED, "overloaded", 503, "More requests are waiting than the server accepts",
        "Send the same request again after `Retry-After` seconds; ids make repeats safe.";
    STOPPED, "stopped", 503, "The ledger has stopped after a failed write",
        "The operator must read the server's log and restart it. Nothing acknowledged is lost.";
    DISK_FULL, "disk-full", 507, "The disk is nearly full",
        "The operator must make room; nothing is recorded until then, and what is personal is not opened, \
         since reading it is recorded.";
    RATE_LIMITED, "rate-limited", 429, "Too many requests or events, or too many wrong keys",
        "Send the same request again after `Retry-After` seconds; ids make repeats safe. `RateLimit` says \
         how much is left of which limit.";
    INTERNAL, "internal", 500, "The server failed",
        "The server's log has the cause. Nothing was stored unless a receipt was given.";
}

/// The problem type with a slug.
#[must_use]
pub fn by_slug(slug: &str) -> ProblemType {
    TYPES.iter().find(|kind| kind.slug == slug).copied().unwrap_or(INTERNAL)
}

/// One problem, ready to be sent.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: ProblemType,
    detail: String,
    members: Map<String, Value>,
}

impl Problem {
    /// A problem of `kind` with a sentence that says what happened here.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), members: Map::new() }
    }

    /// Adds a member of its own.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says after how many seconds to try again, in a member and as `Retry-After`.
    #[must_use]
    pub fn retry_after_s(self, seconds: u64) -> Self {
        self.with(RETRY_AFTER_MEMBER, seconds.max(1))
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ProblemType {
        self.kind
    }

    /// The sentence that says what happened.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The problem's JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("type".to_owned(), json!(format!("{TYPE_PREFIX}{}", self.kind.slug)));
        object.insert("title".to_owned(), json!(self.kind.title));
        object.insert("status".to_owned(), json!(self.kind.status));
        object.insert("code".to_owned(), json!(self.kind.slug));
        object.insert("detail".to_owned(), json!(self.detail));
        object.extend(self.members.clone());
        Value::Object(object)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::from(self.to_json().to_string()));
        *response.status_mut() = status;
        // So that what counts answers need not read them.
        response.extensions_mut().insert(self.kind);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            let known = self.members.get(RETRY_AFTER_MEMBER).and_then(Value::as_u64);
            let seconds = known.unwrap_or(RETRY_AFTER_S_DEFAULT);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_page_of_problems_is_this_table() {
        let page = include_str!("../../docs/problems.md");
        let listed = page.find("## `").map_or("", |at| page.split_at(at).1);
        let mut written = String::new();
        for kind in TYPES {
            let ProblemType { slug, status, title, remedy } = kind;
            let _ = write!(written, "## `{slug}`\n\nStatus {status}. {title}.\n\n{remedy}\n\n");
        }
        assert_eq!(listed.trim_end(), written.trim_end(), "docs/problems.md should read:\n{written}");
    }

    #[test]
    fn slugs_are_unique_and_every_kind_of_event_error_has_one() {
        let mut slugs: Vec<_> = TYPES.iter().map(|kind| kind.slug).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), TYPES.len());
    }
}
