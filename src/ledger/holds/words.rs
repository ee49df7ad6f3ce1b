//! The words of a hold: why, where the case is, and who said so.
//!
//! In scope: sealing them into a file of their own and reading them back. Out of scope: everything that a
//! hold needs to hold. Invariants: the file is durable before the entry that commits to it; what does not
//! open, or is not what the entry commits to, counts as lost; no words are in the log.
//!
//! ```text
//! file        ledgers/<name>/holds/<id, 32 hex>.<placed | released | refused>
//!             "CFN1" ‖ sealed( salt 32 ‖ body )      under the ledger's key for what lies aside, kind 2, 3
//!                                                    or 4, place = the first 8 bytes of the id
//! body        {"label":text,"reason":text,"reference":text | null}, RFC 8785
//! details     H( "counterfoil/v1/hold-details\0" ‖ ledger id 16 ‖ id 16 ‖ kind u8 ‖ salt 32 ‖ body )
//! ```

use crate::clock::random_fill;
use crate::event::json::{self, JsonLimits, Value};
use crate::log::hash::{Hash, sha256};

use super::HoldId;
use crate::ledger::Shared;
use crate::ledger::error::LedgerError;
use crate::ledger::settings::object;

const MAGIC: &[u8; 4] = b"CFN1";
const LABEL: &[u8] = b"counterfoil/v1/hold-details\0";
const SALT_BYTES: usize = 32;

/// What is said with a hold, a release or a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// What the API key was called.
    pub label: String,
    /// Why.
    pub reason: String,
    /// Where the case is kept.
    pub reference: Option<String>,
}

/// What the words were said with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordsKind {
    Placed,
    Released,
    Refused,
}

impl WordsKind {
    /// Kind of what is sealed aside; 1 are times.
    fn code(self) -> u8 {
        match self {
            Self::Placed => 2,
            Self::Released => 3,
            Self::Refused => 4,
        }
    }

    fn file(self, shared: &Shared, id: HoldId) -> String {
        let end = match self {
            Self::Placed => "placed",
            Self::Released => "released",
            Self::Refused => "refused",
        };
        shared.path(&format!("holds/{id}.{end}"))
    }
}

impl Words {
    fn to_json(&self) -> Vec<u8> {
        let reference = self.reference.as_deref().map_or(Value::Null, Value::from);
        let members = [
            ("label", Value::from(self.label.as_str())),
            ("reason", Value::from(self.reason.as_str())),
            ("reference", reference),
        ];
        object(members).to_canonical()
    }

    fn of_json(bytes: &[u8]) -> Option<Self> {
        let value = json::parse(bytes, &JsonLimits::default()).ok()?;
        let members = value.as_object()?;
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self { label: text("label")?, reason: text("reason")?, reference: text("reference") })
    }
}

fn place(id: HoldId) -> u64 {
    id.0.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first))
}

impl Shared {
    fn details(&self, id: HoldId, kind: WordsKind, salted: &[u8]) -> Hash {
        sha256(&[LABEL, &self.id.0, &id.0, &[kind.code()], salted].concat())
    }

    /// Keeps words in their file, durably, and returns what the log says of them.
    pub(super) fn keep_words(
        &self,
        id: HoldId,
        kind: WordsKind,
        words: &Words,
    ) -> Result<Hash, LedgerError> {
        let mut salted = vec![0; SALT_BYTES];
        random_fill(&mut salted)?;
        salted.extend_from_slice(&words.to_json());
        let sealed = self.aside_key.seal(kind.code(), place(id), &salted);
        let sealed = sealed.ok_or_else(|| LedgerError::Setup("words could not be sealed".to_owned()))?;
        let file = [&MAGIC[..], &sealed].concat();
        self.storage.write_durable(&kind.file(self, id), &file)?;
        Ok(self.details(id, kind, &salted))
    }

    /// The words that the log commits to with `details`; none where their file is lost or another.
    pub(super) fn words(
        &self,
        id: HoldId,
        kind: WordsKind,
        details: Hash,
    ) -> Result<Option<Words>, LedgerError> {
        let file = self.storage.read(&kind.file(self, id))?;
        let salted = file.as_deref().and_then(|file| file.strip_prefix(&MAGIC[..]));
        let salted = salted.and_then(|sealed| self.aside_key.open(kind.code(), place(id), sealed));
        let salted = salted.filter(|salted| self.details(id, kind, salted) == details);
        Ok(salted.and_then(|salted| Words::of_json(salted.get(SALT_BYTES..)?)))
    }
}
