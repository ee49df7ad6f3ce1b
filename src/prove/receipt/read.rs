//! Reading receipts from strict JSON.

use super::{
    Compared, FullReceipt, KeyOpening, Openings, PartContent, PartOpening, RECEIPT_BYTES_MAX, Receipt,
    RemovedProof, UNNAMED_FACET,
};
use crate::event::facet::{Facet, Role};
use crate::event::json::{self, JsonLimits, Value};
use crate::event::keys::{PART_SALT_BYTES, Period};
use crate::log::hash::LogIndex;
use crate::prove::members::{Members, ShapeError, as_string};

/// Deepest nesting of a receipt: receipt, openings, list, item.
const RECEIPT_DEPTH_MAX: usize = 8;

/// Why a receipt was not read.
pub type ReceiptError = ShapeError;

impl Receipt {
    /// Reads a receipt.
    ///
    /// # Errors
    /// If the text is not strict JSON or not exactly a receipt: a member missing, unknown, of the
    /// wrong type, or a full receipt's member without the others.
    ///
    /// ```
    /// use counterfoil::prove::receipt::Receipt;
    /// let text = format!(
    ///     r#"{{"ledger":"main","origin":"l.example/main","index":3,"id":"e-1","leaf_hash":"{}",
    ///        "recorded_at":"2026-11-22T01:48:10.000123Z","replayed":false}}"#,
    ///     "00".repeat(32)
    /// );
    /// let receipt = Receipt::parse(text.as_bytes())?;
    /// assert_eq!(receipt.index.0, 3);
    /// assert_eq!(Receipt::parse(&receipt.to_json())?, receipt);
    /// # Ok::<(), counterfoil::prove::receipt::ReceiptError>(())
    /// ```
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let limits = JsonLimits { depth_max: RECEIPT_DEPTH_MAX, bytes_max: RECEIPT_BYTES_MAX };
        Self::from_value(json::parse(bytes, &limits)?)
    }

    /// Reads a receipt from JSON that is already parsed.
    ///
    /// # Errors
    /// As [`Receipt::parse`].
    pub fn from_value(value: Value) -> Result<Self, ReceiptError> {
        let mut members = Members::of("receipt", value)?;
        let receipt = Self {
            ledger: members.string("ledger")?,
            origin: members.string("origin")?,
            index: LogIndex(members.u64("index")?),
            id: members.string("id")?,
            leaf_hash: members.hash("leaf_hash")?,
            recorded_at: members.string("recorded_at")?,
            replayed: members.bool("replayed")?,
            compared: members.optional("compared").map(compared).transpose()?,
            full: full(&mut members)?,
        };
        members.end()?;
        Ok(receipt)
    }
}

fn full(members: &mut Members) -> Result<Option<FullReceipt>, ShapeError> {
    const TOGETHER: [&str; 3] = ["checkpoint", "inclusion", "entry"];
    let any = TOGETHER.iter().chain(&["openings", "removed"]).find(|name| members.has(name));
    let Some(present) = any else { return Ok(None) };
    if let Some(absent) = TOGETHER.iter().find(|name| !members.has(name)) {
        return Err(ShapeError::Incomplete { present, absent });
    }
    Ok(Some(FullReceipt {
        checkpoint: members.string("checkpoint")?,
        inclusion: members.hashes("inclusion")?,
        entry: members.bytes("entry")?,
        openings: members.optional("openings").map(openings).transpose()?.unwrap_or_default(),
        removed: members.optional("removed").map(RemovedProof::read).transpose()?,
    }))
}

fn compared(value: Value) -> Result<Compared, ShapeError> {
    let mut members = Members::of("compared", value)?;
    let compared = Compared {
        equal: roles("equal", members.array("equal")?)?,
        not_compared: roles("not_compared", members.array("not_compared")?)?,
    };
    members.end()?;
    Ok(compared)
}

fn roles(name: &'static str, items: Vec<Value>) -> Result<Vec<Role>, ShapeError> {
    items.into_iter().map(|item| role(name, &as_string(name, item)?)).collect()
}

pub(super) fn role(name: &'static str, text: &str) -> Result<Role, ShapeError> {
    Role::from_name(text).ok_or(ShapeError::Wrong { name, expected: "the name of a part" })
}

fn openings(value: Value) -> Result<Openings, ShapeError> {
    let mut members = Members::of("openings", value)?;
    let parts = members.array("parts")?.into_iter().map(part).collect::<Result<_, _>>()?;
    let keys = members.array("keys")?.into_iter().map(key).collect::<Result<_, _>>()?;
    members.end()?;
    Ok(Openings { parts, keys })
}

fn part(value: Value) -> Result<PartOpening, ShapeError> {
    let mut members = Members::of("parts", value)?;
    let role = role("role", &members.string("role")?)?;
    let content = match members.string("state")?.as_str() {
        "open" => PartContent::Open { salt: salt(&mut members)?, body: members.string("body")? },
        "withheld" => PartContent::Withheld,
        "erased" => PartContent::Erased,
        "pruned" => PartContent::Pruned,
        "lost" => PartContent::Lost,
        _ => return Err(ShapeError::Wrong { name: "state", expected: "one of the five states" }),
    };
    members.end()?;
    Ok(PartOpening { role, content })
}

fn salt(members: &mut Members) -> Result<[u8; PART_SALT_BYTES], ShapeError> {
    let wrong = ShapeError::Wrong { name: "salt", expected: "128 lower-case hexadecimal digits" };
    members.bytes("salt")?.try_into().map_err(|_| wrong)
}

fn key(value: Value) -> Result<KeyOpening, ShapeError> {
    let mut members = Members::of("keys", value)?;
    let opening = KeyOpening {
        facet: facet(&members.string("facet")?)?,
        value: members.optional_string("value")?,
        period: members.optional_string("period")?.map(|text| period(&text)).transpose()?,
    };
    members.end()?;
    Ok(opening)
}

fn facet(text: &str) -> Result<Facet, ShapeError> {
    let unnamed = || {
        let code: u8 = text.strip_prefix(UNNAMED_FACET)?.parse().ok()?;
        let canonical = text == format!("{UNNAMED_FACET}{code}");
        Some(Facet(code)).filter(|facet| canonical && facet.is_valid() && facet.name().is_none())
    };
    let wrong = ShapeError::Wrong { name: "facet", expected: "the name of a facet" };
    Facet::from_name(text).or_else(unnamed).ok_or(wrong)
}

fn period(text: &str) -> Result<Period, ShapeError> {
    let wrong = ShapeError::Wrong { name: "period", expected: "a month written YYYY-MM" };
    let digits = |from: usize, to: usize| {
        let part = text.get(from..to)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u16>().ok())?
    };
    let parsed = || {
        let (year, month) = (digits(0, 4)?, digits(5, 7)?);
        let shaped = text.len() == 7 && text.get(4..5) == Some("-") && (1..=12).contains(&month);
        shaped.then(|| year.checked_mul(12)?.checked_add(month - 1)).flatten().map(Period)
    };
    parsed().ok_or(wrong)
}
