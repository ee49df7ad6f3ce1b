//! What the annotations of handlers have in common: schemas, parameters, problems.
//!
//! In scope: the words of the contract. Out of scope: putting the document together
//! ([`super::document`]). Invariants: the router is built from the same `routes!` as the document, so
//! neither knows a path that the other lacks; every problem an operation documents is a row of
//! [`problem::TYPES`]; `tests/openapi.rs` holds the server to the document, operation by operation.
//!
//! # Adding a handler
//! 1. Write above it, instead of a doc comment that repeats the path: one line, which becomes the summary,
//!    an empty line, and a paragraph that says what it does, who may, and what is special. Then
//!    ```text
//!    #[utoipa::path(get, path = "/thing/{index}", operation_id = "get_thing", tag = "events",
//!        params(Reason, ("size" = Option<u64>, Query, description = "…")),
//!        request_body(content((NewThing = "application/json"))),
//!        responses((status = 200, description = "The thing", body = Thing), Keyed, InLedger, Reading),
//!        security(("key" = [])))]
//!    ```
//!    `path` is below its nest. `{name}` in a path is documented by [`PATH_PARAMETERS`]: add a row for a
//!    new name. `tag` is one of [`TAGS`]. `security` is absent where no key is needed.
//! 2. Name the sets of problems it can answer ([`problem_sets`]); add a set where none fits. A problem that
//!    any request can get (the accept loop's, a limit's) goes into [`OF_EVERY_OPERATION`].
//! 3. The body's schema: `#[derive(utoipa::ToSchema)]` where serde writes it; where we write it by hand, a
//!    name in [`written_schemas`] and its JSON Schema in `schemas.json`.
//! 4. Add `routes!(module::handler)` in `super::api`; handlers of one path go into one `routes!`.
//! 5. A handler with a key takes [`super::asked::Asked`]; the names given to its `enter`, or to
//!    `params.allow_only`, are those documented. Run `counterfoil openapi >
//!    docs/openapi.json`, then `cargo test --test openapi`. A `GET` with a JSON answer gets a row in that
//!    test's table of answers that are held against their schemas.

use std::collections::BTreeMap;

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Required, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, PartialSchema, ToSchema};

use crate::event::facet::Facet;
use crate::history::{PAGE_EVENTS_DEFAULT, PAGE_EVENTS_MAX};

use super::problem::{self, ProblemType};

/// Problems that any operation can answer, whatever it does.
pub(crate) const OF_EVERY_OPERATION: &[ProblemType] =
    &[problem::INTERNAL, problem::RATE_LIMITED, problem::URI_TOO_LONG];

/// The groups of operations, with what they are for.
pub(crate) const TAGS: &[(&str, &str)] = &[
    ("events", "Append events, search them, read them with their receipts."),
    ("proofs", "RFC 6962 proofs, and the verifier as a service."),
    ("log", "The public layout of C2SP tlog-tiles: any static file server could serve it."),
    ("erasures", "Forgetting persons, and proving it."),
    ("types", "The event types of a ledger."),
    ("retention", "How long parts are kept, legal holds, and what is due."),
    ("ledgers", "The ledgers of the server, and who appends to them."),
    ("keys", "API keys."),
    ("server", "Health, and this description."),
];

/// The variable elements of paths: name, JSON Schema, description.
pub(crate) const PATH_PARAMETERS: &[(&str, &str, &str)] = &[
    ("ledger", r#"{"type":"string"}"#, "Name of the ledger; `main` and `reads` exist from the start."),
    ("index", r#"{"type":"integer","minimum":0}"#, "Position of the entry in the log, from 0."),
    ("id", r#"{"type":"string"}"#, "Identifier, as the list shows it."),
    (
        "path",
        r#"{"type":"string"}"#,
        "Level and number of a tile as C2SP tlog-tiles writes them, such as `0/x001/234` or \
         `entries/000.p/17`. It holds slashes, sent as they are.",
    ),
];

macro_rules! written_schemas {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    ObjectBuilder::new().into()
                }
            }

            impl ToSchema for $name {}
        )*
        /// Names of the schemas that are taken from `schemas.json`.
        #[cfg(test)]
        pub(crate) const WRITTEN: &[&str] = &[$(stringify!($name)),*];
    };
}

written_schemas! {
    /// What a producer may send: `CloudEvents` or the flat form.
    Event;
    /// Several of them.
    Events;
    /// A receipt, brief or full.
    Receipt;
    /// The receipt of one event, or of a batch the receipts or, per item, the problem.
    ReceiptOrReceipts;
    /// An event as a reader gets it.
    OpenedEvent;
    /// A page of history.
    HistoryPage;
    /// Counts of events.
    EventSummary;
    /// The audit under way and the last one.
    AuditState;
    /// An audit under way.
    AuditUnderWay;
    /// An inclusion proof between its roots.
    InclusionProof;
    /// A consistency proof between its roots.
    ConsistencyProof;
    /// What `verify` takes.
    VerifiableDocument;
    /// What a verifier says.
    VerdictReport;
    /// A type to be registered.
    TypeDefinition;
    /// What became of it.
    TypeRegistered;
    /// The types of a ledger.
    TypeList;
    /// An erasure to be carried out.
    NewErasure;
    /// Where an erasure stands in the log.
    ErasureTaken;
    /// The erasures of a ledger.
    ErasureList;
    /// What was destroyed, when, under which entries.
    ErasureCertificate;
    /// Rules of retention.
    RetentionRules;
    /// The rules in force.
    RetentionState;
    /// The list of what is due.
    RetentionDue;
    /// Bytes as they are.
    RawBytes;
}

macro_rules! problem_sets {
    ($($(#[$doc:meta])* $name:ident: $($kind:ident)*;)*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
                    [$(problem::$kind),*].into_iter().map(problem_response).collect()
                }
            }
        )*
    };
}

problem_sets! {
    /// Of every call that needs a key.
    Keyed: UNAUTHENTICATED FORBIDDEN BAD_PARAMETER;
    /// Of every call with a key that names a ledger.
    InLedger: WRONG_LEDGER NOT_FOUND;
    /// Of a path element that leads nowhere.
    Missing: BAD_PARAMETER NOT_FOUND;
    /// Of a body that is read with a limit.
    Body: MALFORMED_JSON BAD_COMPRESSION BODY_TOO_LARGE UNSUPPORTED_MEDIA_TYPE REQUEST_TIMEOUT OVERLOADED;
    /// Of a ledger that writes.
    Writing: STOPPED DISK_FULL OVERLOADED CLOCK_AHEAD;
    /// Of events.
    Appending: DUPLICATE_KEY NUMBER_OUT_OF_RANGE TOO_DEEP WRONG_SOURCE CONFLICT EVENT_TOO_LARGE
        RAW_TOO_LARGE TOO_MANY_EVENTS MISSING_ATTRIBUTE INVALID_ATTRIBUTE UNKNOWN_TYPE MISSING_FIELD
        WRONG_TYPE UNKNOWN_FIELD NOT_IN_VOCABULARY SCHEMA_VIOLATION TOO_MANY_PERSONS TIME_IN_FUTURE
        TIME_TOO_OLD BATCH_REFUSED;
    /// Of bytes without an event around them.
    AddingBytes: BAD_COMPRESSION MALFORMED_JSON UNSUPPORTED_MEDIA_TYPE RAW_TOO_LARGE WRONG_SOURCE CONFLICT
        UNKNOWN_FIELD SCHEMA_VIOLATION;
    /// Of a search.
    Searching: BAD_CURSOR;
    /// Of one more stream than there may be.
    Streaming: OVERLOADED;
    /// Of a document that shall be verified.
    Verifying: BAD_DOCUMENT;
    /// Of a type's definition.
    Defining: ALREADY_REGISTERED SCHEMA_VIOLATION;
    /// Of a retention table.
    Ruling: BAD_RETENTION DISK_FULL;
    /// Of a hold.
    Holding: HOLD_RELEASED TOO_MANY_HOLDS DISK_FULL;
    /// Of a ledger that has stopped.
    Halted: STOPPED;
    /// Of a change to the keys.
    Keyring: WRONG_LEDGER LAST_ADMIN_KEY KEY_NOT_LIVE TOO_MANY_KEYS;
    /// Of an erasure.
    Erasing: PERSON_UNKNOWN HELD;
    /// Of adding a ledger.
    Adding: WRONG_LEDGER LEDGER_TAKEN TOO_MANY_LEDGERS DISK_FULL;
}

/// The response of one problem under a key of its own, `400 malformed-json`; [`super::document`] puts
/// those of one status together.
fn problem_response(kind: ProblemType) -> (String, RefOr<utoipa::openapi::Response>) {
    let response = ResponseBuilder::new().description(kind.title).build();
    (format!("{} {}", kind.status, kind.slug), response.into())
}

fn query(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).min_length(Some(1))
}

fn one_of(values: &'static [&'static str]) -> ObjectBuilder {
    text().enum_values(Some(values.iter().copied()))
}

/// `reason`: why personal parts are read.
pub(crate) struct Reason;

impl IntoParams for Reason {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "Why personal parts are read; it is recorded. Without it responders and data \
            protection officers get them withheld, and auditors in the ledger `reads`; elsewhere auditors \
            always do.";
        vec![query("reason", description, text())]
    }
}

/// The conditions of a search: one parameter per facet, times, and a text.
pub(crate) struct Conditions;

impl IntoParams for Conditions {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let facets = Facet::all().filter_map(|facet| Some((facet.name()?, facet.is_person())));
        let mut all: Vec<Parameter> = facets
            .map(|(name, person)| {
                let of = if person { "identifier of a person or thing" } else { "value" };
                query(name, &format!("Only events whose `{name}` is this {of}, exactly."), text())
            })
            .collect();
        let moment = || text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        all.push(query("from", "Only events from this time on, RFC 3339.", moment()));
        all.push(query("to", "Only events before this time, RFC 3339.", moment()));
        let clock =
            "Which time `from`, `to` and the order mean: when it happened (default) or was recorded.";
        all.push(query("clock", clock, one_of(&["occurred", "recorded"])));
        all.push(query("q", "Only events that contain this text, after all other conditions.", text()));
        all
    }
}

/// How a list is cut into pages.
pub(crate) struct Paging;

impl IntoParams for Paging {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = format!("Events a page at most; {PAGE_EVENTS_DEFAULT} where absent.");
        let integer = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let cursor = "`next_cursor` of the page before, with the same conditions.";
        vec![
            query("order", "Newest first (default) or oldest first.", one_of(&["asc", "desc"])),
            query("limit", &limit, integer.maximum(Some(PAGE_EVENTS_MAX))),
            query("cursor", cursor, text()),
        ]
    }
}
