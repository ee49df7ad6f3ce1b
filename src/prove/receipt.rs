//! Receipts: what a producer keeps.
//!
//! A brief receipt names an entry; a full one also carries the entry's bytes, an inclusion proof,
//! the signed checkpoint it leads to, and openings: the salts and texts behind the commitments, so
//! that whoever holds it can show what the ledger recorded (design sections 3.3 and 4).
//!
//! In scope: the types and the JSON text, written and read. Out of scope: checking
//! (`prove::verify_receipt`). Invariants: [`Receipt::parse`] reads what [`Receipt::write_json`]
//! writes and gives back an equal value; unknown and repeated members are refused.
//!
//! The JSON text, members in this order when we write:
//! ```text
//! {"ledger","origin","index","id","leaf_hash":hex,"recorded_at":RFC 3339 µs,"replayed":bool,
//!  "compared":{"equal":[role],"not_compared":[role]},                   only on some repeats
//!  "checkpoint":note,"inclusion":[hex],"entry":hex,                     full receipts only
//!  "openings":{"parts":[{"role","state":"open","salt":hex 64 bytes,"body":text}
//!                      |{"role","state":"withheld|erased|pruned|lost"}],
//!              "keys":[{"facet","value"}|{"facet","period":"YYYY-MM"}]},
//!  "removed":{"index","entry":hex,"inclusion":[hex],                    with an erased or pruned part
//!             "members":[{"role","position","path":[hex]}]}}
//! ```
//! `entry` is lower-case hex, as every hash is, so that a reader needs one decoder only. `body` is
//! the committed JSON text itself as a string: it is hashed as it stands, never written anew.
//! `ledger`, `replayed` and `compared` are the server's words about the request; no signature covers them.

mod read;
mod removal;

use super::text;
use crate::event::facet::{Facet, Role};
use crate::event::keys::Period;
use crate::log::hash::{Hash, LogIndex};

pub use read::ReceiptError;
pub use removal::{RemovedMember, RemovedProof};

/// Longest receipt that is read: a part of 1 MiB of raw bytes in base64 (1.4 MiB), 64 KiB of event
/// escaped up to six-fold (0.4 MiB), a 64 KiB entry in hex, and as much room again.
pub const RECEIPT_BYTES_MAX: usize = 4 << 20;

/// What the ledger answers for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The ledger's name on that server.
    pub ledger: String,
    /// The log's origin, which is also its verifier key's name.
    pub origin: String,
    /// The entry's position.
    pub index: LogIndex,
    /// The event's id as its producer gave it.
    pub id: String,
    /// The entry's RFC 6962 leaf hash.
    pub leaf_hash: Hash,
    /// The entry's time, RFC 3339 in UTC with six fractional digits; see [`recorded_at`].
    pub recorded_at: String,
    /// Whether the event was here before and this is its first receipt again.
    pub replayed: bool,
    /// On a repeat that could not be compared in whole: which parts were, and which were not.
    pub compared: Option<Compared>,
    /// Proof and openings.
    pub full: Option<FullReceipt>,
}

/// How far a repeated event was compared with the stored one (design section 3.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Parts that were opened and are equal.
    pub equal: Vec<Role>,
    /// Parts that are erased or pruned and so were not compared.
    pub not_compared: Vec<Role>,
}

/// What makes a receipt checkable by somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullReceipt {
    /// The signed note, whole.
    pub checkpoint: String,
    /// RFC 6962 inclusion proof, leaf's sibling first.
    pub inclusion: Vec<Hash>,
    /// The log entry's bytes.
    pub entry: Vec<u8>,
    /// What is behind the entry's commitments and keys; may be empty.
    pub openings: Openings,
    /// That the parts said to be erased or pruned are; with none such it is left out.
    pub removed: Option<RemovedProof>,
}

/// Openings of the parts and keys of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Openings {
    /// One per part of the entry, ascending by role.
    pub parts: Vec<PartOpening>,
    /// One per index key of the entry.
    pub keys: Vec<KeyOpening>,
}

/// A part of an event as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartOpening {
    /// Which part.
    pub role: Role,
    /// Its state, with the opening if it is open.
    pub content: PartContent,
}

/// The five states of a part (design section 3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartContent {
    /// Shown: salt and exact text, from which the commitment is recomputed.
    Open {
        /// The 64 bytes that hide the body behind its commitment.
        salt: [u8; 64],
        /// The part's JSON text, hashed as it stands.
        body: String,
    },
    /// There, but not shown to this reader.
    Withheld,
    /// Destroyed with a person's keys.
    Erased,
    /// Removed by a retention rule.
    Pruned,
    /// Gone without reason.
    Lost,
}

impl PartContent {
    /// The word used in JSON.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Withheld => "withheld",
            Self::Erased => "erased",
            Self::Pruned => "pruned",
            Self::Lost => "lost",
        }
    }
}

/// What an index key of the entry was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOpening {
    /// The facet.
    pub facet: Facet,
    /// An open facet's value. Absent for a person's facet: that value is the person.
    pub value: Option<String>,
    /// A person facet's period, the UTC month of the entry. Absent for an open facet.
    pub period: Option<Period>,
}

/// The fields every receipt has, borrowed: what the commit path writes from.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptHead<'a> {
    /// See [`Receipt::ledger`].
    pub ledger: &'a str,
    /// See [`Receipt::origin`].
    pub origin: &'a str,
    /// See [`Receipt::index`].
    pub index: LogIndex,
    /// See [`Receipt::id`].
    pub id: &'a str,
    /// See [`Receipt::leaf_hash`].
    pub leaf_hash: &'a Hash,
    /// The entry's time in Unix microseconds, written as [`Receipt::recorded_at`].
    pub time_us: u64,
    /// See [`Receipt::replayed`].
    pub replayed: bool,
}

impl ReceiptHead<'_> {
    /// Appends the receipt as JSON, without building it first.
    pub fn write_json(
        &self,
        compared: Option<&Compared>,
        full: Option<&FullReceipt>,
        out: &mut Vec<u8>,
    ) {
        write_head(self, |out| recorded_at_into(self.time_us, out), out);
        write_rest(compared, full, out);
    }
}

/// An entry's time (Unix microseconds) as receipts write it.
///
/// ```
/// use counterfoil::prove::receipt::recorded_at;
/// assert_eq!(recorded_at(1_795_312_090_000_123), "2026-11-22T01:48:10.000123Z");
/// ```
#[must_use]
pub fn recorded_at(time_us: u64) -> String {
    let mut out = Vec::with_capacity(27);
    text::timestamp(&mut out, time_us);
    String::from_utf8(out).unwrap_or_default()
}

fn recorded_at_into(time_us: u64, out: &mut Vec<u8>) {
    out.push(b'"');
    text::timestamp(out, time_us);
    out.push(b'"');
}

impl Receipt {
    /// Appends the receipt as JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let head = ReceiptHead {
            ledger: &self.ledger,
            origin: &self.origin,
            index: self.index,
            id: &self.id,
            leaf_hash: &self.leaf_hash,
            time_us: 0,
            replayed: self.replayed,
        };
        write_head(&head, |out| text::string(out, &self.recorded_at), out);
        write_rest(self.compared.as_ref(), self.full.as_ref(), out);
    }

    /// The receipt as JSON bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_json(&mut out);
        out
    }
}

/// Appends `{"receipts":[…]}`, the answer to a batch, from receipts already written as JSON.
pub fn write_batch<'a>(receipts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"receipts\":[");
    for receipt in receipts {
        text::comma(out);
        out.extend_from_slice(receipt);
    }
    out.extend_from_slice(b"]}");
}

fn write_head(head: &ReceiptHead<'_>, recorded_at: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"ledger\":");
    text::string(out, head.ledger);
    out.extend_from_slice(b",\"origin\":");
    text::string(out, head.origin);
    out.extend_from_slice(b",\"index\":");
    text::number(out, head.index.0);
    out.extend_from_slice(b",\"id\":");
    text::string(out, head.id);
    out.extend_from_slice(b",\"leaf_hash\":");
    text::hex(out, head.leaf_hash.as_bytes());
    out.extend_from_slice(b",\"recorded_at\":");
    recorded_at(out);
    out.extend_from_slice(if head.replayed { b",\"replayed\":true" } else { b",\"replayed\":false" });
}

fn write_rest(compared: Option<&Compared>, full: Option<&FullReceipt>, out: &mut Vec<u8>) {
    if let Some(compared) = compared {
        out.extend_from_slice(b",\"compared\":{\"equal\":[");
        write_roles(&compared.equal, out);
        out.extend_from_slice(b"],\"not_compared\":[");
        write_roles(&compared.not_compared, out);
        out.extend_from_slice(b"]}");
    }
    if let Some(full) = full {
        out.extend_from_slice(b",\"checkpoint\":");
        text::string(out, &full.checkpoint);
        out.extend_from_slice(b",\"inclusion\":[");
        for hash in &full.inclusion {
            text::comma(out);
            text::hex(out, hash.as_bytes());
        }
        out.extend_from_slice(b"],\"entry\":");
        text::hex(out, &full.entry);
        out.extend_from_slice(b",\"openings\":");
        write_openings(&full.openings, out);
        if let Some(removed) = &full.removed {
            out.extend_from_slice(b",\"removed\":");
            removed.write_json(out);
        }
    }
    out.push(b'}');
}

fn write_roles(roles: &[Role], out: &mut Vec<u8>) {
    for role in roles {
        text::comma(out);
        write_role(*role, out);
    }
}

/// Appends openings as JSON; the `openings` member of a full receipt.
pub fn write_openings(openings: &Openings, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"parts\":[");
    for part in &openings.parts {
        text::comma(out);
        out.extend_from_slice(b"{\"role\":");
        write_role(part.role, out);
        out.extend_from_slice(b",\"state\":");
        text::string(out, part.content.state());
        if let PartContent::Open { salt, body } = &part.content {
            out.extend_from_slice(b",\"salt\":");
            text::hex(out, salt);
            out.extend_from_slice(b",\"body\":");
            text::string(out, body);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"keys\":[");
    for key in &openings.keys {
        text::comma(out);
        out.extend_from_slice(b"{\"facet\":");
        write_facet(key.facet, out);
        if let Some(value) = &key.value {
            out.extend_from_slice(b",\"value\":");
            text::string(out, value);
        }
        if let Some(period) = key.period {
            out.extend_from_slice(b",\"period\":");
            write_period(period, out);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

fn write_role(role: Role, out: &mut Vec<u8>) {
    text::string(out, &role.name());
}

fn write_facet(facet: Facet, out: &mut Vec<u8>) {
    match facet.name() {
        Some(name) => text::string(out, name),
        None => text::string(out, &format!("{UNNAMED_FACET}{}", facet.0)),
    }
}

fn write_period(period: Period, out: &mut Vec<u8>) {
    text::string(out, &format!("{:04}-{:02}", period.0 / 12, period.0 % 12 + 1));
}

/// What a facet code without a name is written as, followed by the code.
const UNNAMED_FACET: &str = "facet";

#[cfg(test)]
mod tests;
