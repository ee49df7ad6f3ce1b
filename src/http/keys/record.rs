//! What is kept of a key, and what a new one may be.
//!
//! In scope: roles, records, requests for keys and their bounds. Out of scope: where records are kept
//! ([`super`]). Invariant: a record holds a hash of the secret, never the secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::is_ledger_name;
use crate::log::hash::Hash;

use super::KeyError;

/// Bytes of a key's label at most.
pub const LABEL_BYTES_MAX: usize = 200;

/// Sources that one key is bound to at most, and ledgers.
pub const BOUND_MAX: usize = 100;

/// Bytes of a source at most: what an event's `source` may have.
const SOURCE_BYTES_MAX: usize = 2_048;

/// What a key's holder may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Append only.
    Producer,
    /// Search; personal parts are masked unless a reason is given.
    Responder,
    /// Verify, read entries and bundles; personal parts stay masked.
    Auditor,
    /// Read personal parts with a reason.
    Dpo,
    /// Keys and settings; the first such key may do everything.
    Admin,
}

impl Role {
    /// Its name in interfaces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Responder => "responder",
            Self::Auditor => "auditor",
            Self::Dpo => "dpo",
            Self::Admin => "admin",
        }
    }
}

/// A stored key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Public part of the key: 16 hex digits.
    pub id: String,
    /// Number of the key in log entries (`producer`).
    pub number: u32,
    /// What it is for, in the operator's words.
    pub label: String,
    /// Role.
    pub role: Role,
    /// Ledgers it is good for; empty for all.
    pub ledgers: Vec<String>,
    /// Envelope sources it may append for; empty for all.
    pub sources: Vec<String>,
    /// First moment at which it is no longer good, Unix seconds.
    pub expires_at_s: Option<u64>,
    /// Whether it has been revoked.
    pub revoked: bool,
    /// The key made at first start, which may do everything.
    pub first: bool,
    /// When it was made, Unix seconds; none for keys from before this was kept.
    #[serde(default)]
    pub created_at_s: Option<u64>,
    /// The key that a rotation put in its place.
    #[serde(default)]
    pub replaced_by: Option<String>,
    pub(super) secret_sha256: Hash,
    /// Unix seconds of its last use, 0 for never; shared by all copies of the record.
    #[serde(skip)]
    pub(super) last_used_s: Arc<AtomicU64>,
}

impl KeyRecord {
    /// Whether the key is good at `now_s` (Unix seconds).
    #[must_use]
    pub fn is_live(&self, now_s: u64) -> bool {
        !self.revoked && self.expires_at_s.is_none_or(|expires| now_s < expires)
    }

    /// Unix seconds of the key's last use, to the second; none where it was never used.
    #[must_use]
    pub fn last_used_s(&self) -> Option<u64> {
        Some(self.last_used_s.load(Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }

    /// Whether this key, an admin's, has a say over keys that are bound to `ledgers`: over all where it is
    /// itself unbound, otherwise over those bound to no other ledgers than its own.
    #[must_use]
    pub fn governs(&self, ledgers: &[String]) -> bool {
        self.first
            || self.ledgers.is_empty()
            || !ledgers.is_empty() && ledgers.iter().all(|name| self.ledgers.contains(name))
    }

    pub(super) fn keeps_the_door(&self, now_s: u64) -> bool {
        self.role == Role::Admin && self.ledgers.is_empty() && self.is_live(now_s)
    }
}

/// Latest end of a key's life: 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const EXPIRES_AT_S_MAX: u64 = 253_402_300_799;

/// What a new key shall be.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it is for.
    #[serde(default)]
    pub label: String,
    /// Role.
    pub role: Role,
    /// Ledgers it is good for; empty for all.
    #[serde(default)]
    pub ledgers: Vec<String>,
    /// Sources it may append for; empty for all.
    #[serde(default)]
    pub sources: Vec<String>,
    /// First moment at which it is no longer good, Unix seconds.
    #[serde(default)]
    #[schema(maximum = 253_402_300_799_i64)]
    pub expires_at_s: Option<u64>,
}

/// What about a key shall change. What is absent stays.
#[derive(Debug, Default, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyChange {
    /// What it is for.
    #[serde(default)]
    pub label: Option<String>,
    /// First moment at which it is no longer good, Unix seconds.
    #[serde(default)]
    #[schema(maximum = 253_402_300_799_i64)]
    pub expires_at_s: Option<u64>,
}

pub(super) fn invalid(field: &'static str, what: impl Into<String>) -> KeyError {
    KeyError::Invalid { field, what: what.into() }
}

pub(super) fn check_new(new: &NewKey) -> Result<(), KeyError> {
    check_label(&new.label)?;
    if new.ledgers.len() > BOUND_MAX || new.ledgers.iter().any(|name| !is_ledger_name(name)) {
        return Err(invalid("ledgers", format!("must be at most {BOUND_MAX} ledger names")));
    }
    let source_is_one = |source: &String| !source.is_empty() && source.len() <= SOURCE_BYTES_MAX;
    if new.sources.len() > BOUND_MAX || !new.sources.iter().all(source_is_one) {
        let what = format!("must be at most {BOUND_MAX} of 1 to {SOURCE_BYTES_MAX} bytes each");
        return Err(invalid("sources", what));
    }
    Ok(())
}

pub(super) fn check_label(label: &str) -> Result<(), KeyError> {
    if label.len() > LABEL_BYTES_MAX || label.chars().any(char::is_control) {
        let what = format!("must be at most {LABEL_BYTES_MAX} bytes without control characters");
        return Err(invalid("label", what));
    }
    Ok(())
}

/// A key that ends in the past or beyond what RFC 3339 can write is a mistake in units more often than
/// a wish.
pub(super) fn check_expiry(expires_at_s: Option<u64>, now_s: u64) -> Result<(), KeyError> {
    if expires_at_s.is_some_and(|expires| expires <= now_s) {
        return Err(invalid("expires_at_s", "must lie in the future, in Unix seconds"));
    }
    if expires_at_s.is_some_and(|expires| expires > EXPIRES_AT_S_MAX) {
        return Err(invalid(
            "expires_at_s",
            format!("must be at most {EXPIRES_AT_S_MAX}, in the year 9999"),
        ));
    }
    Ok(())
}
