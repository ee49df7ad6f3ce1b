//! From a request to a caller that may do what it asks.
//!
//! In scope: reading the bearer key, and one table of which role may do what. Out of scope: how
//! keys are kept ([`super::keys`]). Invariant: an answer to an unknown, wrong, expired or revoked
//! key is the same but for its sentence, and takes one hash.

use std::sync::Arc;

use axum::http::{HeaderMap, header};

use crate::ledger::{Access, READS_LEDGER};

use super::Server;
use super::keys::{KeyRecord, Role};
use super::problem::{self, Problem};

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Append events.
    Append,
    /// Search and read events.
    Search,
    /// Read entries, bundles and proofs, and verify documents.
    Verify,
    /// See which ledgers there are.
    Look,
    /// See who appends, and how the ledger is.
    Oversee,
    /// Have persons erased.
    Erase,
    /// Read certificates of erasures.
    Attest,
    /// Make keys, register types, set rules of retention.
    Administer,
    /// Place and release holds.
    Protect,
    /// Read rules of retention.
    SeeRules,
    /// Read holds and reports.
    Report,
    /// Read metrics and the details of health.
    Monitor,
}

impl Action {
    /// Roles that may, besides the first admin key, which may do everything.
    const fn roles(self) -> &'static [Role] {
        match self {
            Self::Append => &[Role::Producer],
            Self::Search => &[Role::Responder, Role::Auditor, Role::Dpo],
            Self::Verify => &[Role::Responder, Role::Auditor, Role::Dpo, Role::Producer],
            Self::Look => &[Role::Producer, Role::Responder, Role::Auditor, Role::Dpo, Role::Admin],
            Self::Oversee => &[Role::Responder, Role::Auditor, Role::Dpo, Role::Admin],
            Self::Erase | Self::Protect => &[Role::Dpo],
            Self::Attest => &[Role::Dpo, Role::Auditor],
            Self::Administer => &[Role::Admin],
            Self::SeeRules => &[Role::Auditor, Role::Dpo, Role::Admin],
            Self::Report => &[Role::Auditor, Role::Dpo],
            Self::Monitor => &[Role::Admin, Role::Auditor],
        }
    }

    const fn described(self) -> &'static str {
        match self {
            Self::Append => "appending needs the role producer",
            Self::Search => "searching needs the role responder, auditor or dpo",
            Self::Verify => "this needs the role producer, responder, auditor or dpo",
            Self::Look => "this needs a key of any role",
            Self::Oversee => "this needs the role responder, auditor, dpo or admin",
            Self::Erase => "erasing needs the role dpo",
            Self::Attest => "this needs the role dpo or auditor",
            Self::Administer => "this needs the role admin",
            Self::Protect => "this needs the role dpo",
            Self::SeeRules => "this needs the role auditor, dpo or admin",
            Self::Report => "this needs the role auditor or dpo",
            Self::Monitor => "this needs the role admin or auditor",
        }
    }
}

/// The text of the key that a request carries.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let unauthenticated = |detail: &str| Problem::new(problem::UNAUTHENTICATED, detail);
    let value = headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| unauthenticated("the request has no `Authorization` header"))?;
    value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .ok_or_else(|| unauthenticated("the `Authorization` header is not `Bearer cf_…`"))
}

/// The key that a request carries, where it is good.
pub(crate) fn key(server: &Server, headers: &HeaderMap) -> Result<Arc<KeyRecord>, Problem> {
    let checked = server.keys.check(bearer(headers)?, server.now_s());
    checked.map_err(|error| Problem::new(problem::UNAUTHENTICATED, error.to_string()))
}

/// Number of the key that a request claims to carry; no secret is looked at.
pub(crate) fn claimed(server: &Server, headers: &HeaderMap) -> Option<u32> {
    server.keys.claimed(bearer(headers).ok()?)
}

/// The caller with a good key, where the key allows `action` on `ledger`.
pub(crate) fn authorize(
    key: Arc<KeyRecord>,
    ledger: Option<&str>,
    action: Action,
) -> Result<Arc<KeyRecord>, Problem> {
    if !key.first && !action.roles().contains(&key.role) {
        return Err(Problem::new(problem::FORBIDDEN, action.described()));
    }
    if let Some(ledger) = ledger
        && !is_good_for(&key, ledger)
    {
        return Err(Problem::new(problem::WRONG_LEDGER, "this key was made for other ledgers"));
    }
    match ledger {
        Some(READS_LEDGER) => may_in_reads(&key, action).map(|()| key),
        _ => Ok(key),
    }
}

/// What else holds in the ledger of reads: the server alone writes there, and what it says is for auditors.
fn may_in_reads(key: &KeyRecord, action: Action) -> Result<(), Problem> {
    let refused = match action {
        Action::Append | Action::Administer => "only the server itself writes into the ledger `reads`",
        Action::Search | Action::Verify if !key.first && key.role != Role::Auditor => {
            "reading the ledger `reads` needs the role auditor"
        }
        _ => return Ok(()),
    };
    Err(Problem::new(problem::FORBIDDEN, refused))
}

/// Whether a key is good for a ledger.
pub(crate) fn is_good_for(key: &KeyRecord, ledger: &str) -> bool {
    key.ledgers.is_empty() || key.ledgers.iter().any(|allowed| allowed == ledger)
}

/// What a caller may see of personal parts in `ledger`. Whoever may see them records the read
/// ([`super::reads`]).
pub(crate) fn access(key: &KeyRecord, ledger: &str, reason: Option<&str>) -> Access {
    let may_with_reason = match key.role {
        Role::Dpo | Role::Responder => ledger != READS_LEDGER,
        Role::Auditor => ledger == READS_LEDGER,
        Role::Producer | Role::Admin => false,
    };
    match stated(reason) {
        _ if key.first => Access::Personal,
        Some(_) if may_with_reason => Access::Personal,
        _ => Access::Masked,
    }
}

/// A reason that says something.
pub(crate) fn stated(reason: Option<&str>) -> Option<&str> {
    reason.map(str::trim).filter(|reason| !reason.is_empty())
}

/// Whether a key may append for a source.
pub(crate) fn may_append_for(key: &KeyRecord, source: &str) -> bool {
    key.sources.is_empty() || key.sources.iter().any(|allowed| allowed == source)
}
