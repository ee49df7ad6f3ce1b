//! Legal holds: what must not be erased or pruned, who says so, and until when.
//!
//! The log holds the truth: a settings entry places a hold, another releases it, and an erasure that one
//! stopped leaves a third. None of them holds anything personal: persons stand as directory keys, a request
//! as its blinded key, words as a commitment. The words themselves are sealed under the ledger's own key in
//! a file beside the log; a hold stands whether or not that file can be read.
//!
//! ```text
//! {"what":"hold","state":"placed","id":hex 16,"persons":[D hex …],"request":key hex | null,
//!  "from_us":n | null,"to_us":n | null,"by":number of the API key,"details":hex}
//! {"what":"hold","state":"released","id":…,"by":…,"details":…}
//! {"what":"refusal","id":hex 16,"erasure":hex 16,"holds":[id …],"by":…,"details":…}
//! ```
//!
//! In scope: placing, releasing, listing, recording a refusal. Out of scope: what a hold stops
//! ([`matching`]) and the sealed words ([`words`]). Invariants: the criteria of a hold hold together, and
//! there is at least one; whoever is held need not be known to the ledger yet.

mod matching;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::clock::random_fill;
use crate::event::facet::Facet;
use crate::event::json::{Object, Value};
use crate::event::parts::PersonRef;
use crate::log::hash::Hash;

use super::duties::DutyError;
use super::error::LedgerError;
use super::{Ledger, Shared};

pub(crate) use matching::HoldMatcher;
pub use words::Words;
use words::WordsKind;

/// Holds that may be active at once: each is looked at for every part that is due.
pub const HOLDS_ACTIVE_MAX: usize = 10_000;

/// Persons of one hold at most: 67 bytes each in a settings entry of 60,000.
pub const HOLD_PERSONS_MAX: usize = 500;

/// Characters of a reason and of a reference at most.
pub const HOLD_TEXT_CHARS_MAX: usize = 2_000;

/// The latest moment that a hold may name: what JSON keeps exact, in the year 2255.
const TIME_US_MAX: u64 = 1 << 53;

/// Random id of a hold, an erasure or a refusal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(pub [u8; 16]);

impl HoldId {
    fn random() -> Result<Self, LedgerError> {
        let mut id = [0; 16];
        random_fill(&mut id)?;
        Ok(Self(id))
    }

    /// Reads 32 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 16];
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        (is_lower && hex::decode_to_slice(text, &mut id).is_ok()).then_some(Self(id))
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who does something: an API key.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// Its number, by which the log names it.
    pub number: u32,
    /// What it is called, which is kept with the words.
    pub label: &'a str,
}

/// A hold to be placed. What is given must hold together; at least one criterion must be.
#[derive(Debug, Clone, Default)]
pub struct NewHold {
    /// Persons, any of whom an event may name.
    pub persons: Vec<PersonRef>,
    /// The request that an event belongs to.
    pub request: Option<String>,
    /// First moment on the recorded clock, Unix microseconds.
    pub from_us: Option<u64>,
    /// First moment after it.
    pub to_us: Option<u64>,
    /// Why.
    pub reason: String,
    /// Where the case is kept.
    pub reference: Option<String>,
}

/// The end of a hold.
#[derive(Debug, Clone, Copy)]
pub struct Released {
    /// Index of its entry.
    pub index: u64,
    /// When it was recorded, Unix microseconds.
    pub at_us: u64,
    /// Number of the API key.
    pub by: u32,
    details: Hash,
}

/// A hold as the log tells it.
#[derive(Debug, Clone)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// Index of its entry.
    pub index: u64,
    /// When it was recorded, Unix microseconds.
    pub at_us: u64,
    /// Number of the API key.
    pub by: u32,
    /// Directory keys of its persons.
    pub persons: Vec<Hash>,
    /// Blinded key of its request.
    pub request: Option<Hash>,
    /// First moment on the recorded clock, Unix microseconds.
    pub from_us: Option<u64>,
    /// First moment after it.
    pub to_us: Option<u64>,
    /// Its end, where it has one.
    pub released: Option<Released>,
    details: Hash,
}

impl Hold {
    fn of(index: u64, at_us: u64, body: &Object) -> Option<Self> {
        let persons = body.get("persons")?.as_array()?.iter().map(|each| each.as_str()?.parse().ok());
        let optional = |name: &str| body.get(name).filter(|value| !value.is_null());
        let time = |name: &str| match optional(name) {
            Some(value) => value.as_i64().and_then(|at| u64::try_from(at).ok()).map(Some),
            None => Some(None),
        };
        let request = match optional("request") {
            Some(value) => Some(value.as_str()?.parse().ok()?),
            None => None,
        };
        Some(Self {
            id: id_of(body, "id")?,
            index,
            at_us,
            by: by_of(body)?,
            persons: persons.collect::<Option<_>>()?,
            request,
            from_us: time("from_us")?,
            to_us: time("to_us")?,
            released: None,
            details: details_of(body)?,
        })
    }
}

fn id_of(body: &Object, name: &str) -> Option<HoldId> {
    HoldId::parse(body.get(name)?.as_str()?)
}

fn by_of(body: &Object) -> Option<u32> {
    u32::try_from(body.get("by")?.as_i64()?).ok()
}

fn details_of(body: &Object) -> Option<Hash> {
    body.get("details")?.as_str()?.parse().ok()
}

/// Every hold there ever was.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    by_id: BTreeMap<HoldId, Arc<Hold>>,
}

impl Holds {
    /// Takes in an entry of the chain; none where it does not fit.
    pub(super) fn apply(&mut self, index: u64, at_us: u64, body: &Object) -> Option<()> {
        match body.get("state")?.as_str()? {
            "placed" => {
                let hold = Hold::of(index, at_us, body)?;
                self.by_id.insert(hold.id, Arc::new(hold)).is_none().then_some(())
            }
            "released" => {
                let by_and_details = (by_of(body)?, details_of(body)?);
                self.release(id_of(body, "id")?, index, at_us, by_and_details)
            }
            _ => None,
        }
    }

    fn release(&mut self, id: HoldId, index: u64, at_us: u64, (by, details): (u32, Hash)) -> Option<()> {
        let hold = self.by_id.get_mut(&id).filter(|hold| hold.released.is_none())?;
        let released = Some(Released { index, at_us, by, details });
        *hold = Arc::new(Hold { released, ..Hold::clone(hold) });
        Some(())
    }

    /// Those that still hold, in the order of their ids.
    pub fn active(&self) -> impl Iterator<Item = &Arc<Hold>> {
        self.by_id.values().filter(|hold| hold.released.is_none())
    }

    /// All of them, in the order in which they were placed.
    #[must_use]
    pub fn in_order(&self) -> Vec<Arc<Hold>> {
        let mut all: Vec<Arc<Hold>> = self.by_id.values().cloned().collect();
        all.sort_by_key(|hold| hold.index);
        all
    }
}

fn check_text(field: &'static str, text: &str) -> Result<(), DutyError> {
    let count = text.trim().chars().count();
    if (1..=HOLD_TEXT_CHARS_MAX).contains(&count) {
        return Ok(());
    }
    Err(DutyError::Hold { field, what: "must be a text of 1 to 2000 characters" })
}

fn check(new: &NewHold) -> Result<(), DutyError> {
    check_text("reason", &new.reason)?;
    if let Some(reference) = &new.reference {
        check_text("reference", reference)?;
    }
    let refused = |field, what| Err(DutyError::Hold { field, what });
    let is_bounded = new.from_us.is_some() || new.to_us.is_some();
    if new.persons.is_empty() && new.request.is_none() && !is_bounded {
        return refused("persons", "or `request`, `from` or `to` must say what is held");
    }
    if new.persons.len() > HOLD_PERSONS_MAX {
        return refused("persons", "must be at most 500; place several holds");
    }
    if new.request.as_ref().is_some_and(String::is_empty) {
        return refused("request", "must not be empty");
    }
    if [new.from_us, new.to_us].into_iter().flatten().any(|at| at > TIME_US_MAX) {
        return refused("to", "must be before the year 2255");
    }
    if let (Some(from), Some(to)) = (new.from_us, new.to_us)
        && from >= to
    {
        return refused("to", "must be after `from`");
    }
    Ok(())
}

impl Ledger {
    /// Places a hold. Blocks until it is durable; from then on nothing that it holds is pruned.
    ///
    /// # Errors
    /// [`DutyError::Hold`] where it holds nothing or is not as it must be, [`DutyError::TooMany`], and what
    /// the ledger reports.
    pub fn place_hold(&self, new: &NewHold, by: By<'_>) -> Result<Arc<Hold>, DutyError> {
        check(new)?;
        let shared = &self.shared;
        let mut persons: Vec<Hash> = new.persons.iter().map(|p| shared.directory.key_of(p)).collect();
        persons.sort_unstable();
        persons.dedup();
        let request = new.request.as_deref();
        let request = request.map(|request| self.snapshot().open_key(Facet::REQUEST, request));
        let _chain = shared.duties.grow();
        let mut holds = Holds::clone(&shared.duties.holds.load());
        if holds.active().count() >= HOLDS_ACTIVE_MAX {
            return Err(DutyError::TooMany { max: HOLDS_ACTIVE_MAX });
        }
        let id = HoldId::random()?;
        let words = Words {
            label: by.label.to_owned(),
            reason: new.reason.clone(),
            reference: new.reference.clone(),
        };
        let details = shared.keep_words(id, WordsKind::Placed, &words)?;
        let hex = |hash: Hash| Value::from(hash.to_string());
        let index = shared.append_settings(
            "hold",
            [
                ("state", Value::from("placed")),
                ("id", Value::from(id.to_string())),
                ("persons", Value::Array(persons.iter().copied().map(hex).collect())),
                ("request", request.map_or(Value::Null, hex)),
                ("from_us", moment(new.from_us)),
                ("to_us", moment(new.to_us)),
                ("by", Value::Int(i64::from(by.number))),
                ("details", hex(details)),
            ],
        )?;
        let hold = Arc::new(Hold {
            id,
            index,
            at_us: self.snapshot().time_us(index)?.ok_or(LedgerError::Stopped)?,
            by: by.number,
            persons,
            request,
            from_us: new.from_us,
            to_us: new.to_us,
            released: None,
            details,
        });
        holds.by_id.insert(id, Arc::clone(&hold));
        shared.duties.holds.store(Arc::new(holds));
        Ok(hold)
    }

    /// Releases a hold. Blocks until that is durable.
    ///
    /// # Errors
    /// [`DutyError::NoSuchHold`], [`DutyError::Released`], [`DutyError::Hold`] for the reason, and what the
    /// ledger reports.
    pub fn release_hold(&self, id: HoldId, reason: &str, by: By<'_>) -> Result<Arc<Hold>, DutyError> {
        check_text("reason", reason)?;
        let shared = &self.shared;
        let _chain = shared.duties.grow();
        let mut holds = Holds::clone(&shared.duties.holds.load());
        match holds.by_id.get(&id).map(|hold| hold.released) {
            None => return Err(DutyError::NoSuchHold),
            Some(Some(released)) => return Err(DutyError::Released { index: released.index }),
            Some(None) => {}
        }
        let words = Words { label: by.label.to_owned(), reason: reason.to_owned(), reference: None };
        let details = shared.keep_words(id, WordsKind::Released, &words)?;
        let index = shared.append_settings(
            "hold",
            [
                ("state", Value::from("released")),
                ("id", Value::from(id.to_string())),
                ("by", Value::Int(i64::from(by.number))),
                ("details", Value::from(details.to_string())),
            ],
        )?;
        let at_us = self.snapshot().time_us(index)?.ok_or(LedgerError::Stopped)?;
        holds.release(id, index, at_us, (by.number, details)).ok_or(DutyError::NoSuchHold)?;
        let hold = holds.by_id.get(&id).cloned().ok_or(DutyError::NoSuchHold)?;
        shared.duties.holds.store(Arc::new(holds));
        Ok(hold)
    }

    /// Every hold in the order in which they were placed, the released ones included.
    #[must_use]
    pub fn holds(&self) -> Vec<Arc<Hold>> {
        self.shared.duties.holds.load().in_order()
    }

    /// How many holds are active.
    #[must_use]
    pub fn holds_active(&self) -> usize {
        self.shared.duties.holds.load().active().count()
    }

    /// The words of a hold and of its release; none where their file is lost or is not what the log
    /// commits to.
    ///
    /// # Errors
    /// What the storage reports.
    pub fn words_of(&self, hold: &Hold) -> Result<(Option<Words>, Option<Words>), LedgerError> {
        let placed = self.shared.words(hold.id, WordsKind::Placed, hold.details)?;
        let released = match hold.released {
            Some(released) => self.shared.words(hold.id, WordsKind::Released, released.details)?,
            None => None,
        };
        Ok((placed, released))
    }
}

impl Shared {
    /// Leaves an entry that `holds` have stopped an erasure, with the reason that was given for it. Takes
    /// the chain's lock, so the caller must not have it.
    pub(crate) fn record_refusal(
        &self,
        erasure: [u8; 16],
        holds: &[HoldId],
        by: By<'_>,
        reason: &str,
    ) -> Result<u64, DutyError> {
        let _chain = self.duties.grow();
        let id = HoldId::random()?;
        let words = Words { label: by.label.to_owned(), reason: reason.to_owned(), reference: None };
        let details = self.keep_words(id, WordsKind::Refused, &words)?;
        let holds = holds.iter().map(|hold| Value::from(hold.to_string()));
        self.append_settings(
            "refusal",
            [
                ("id", Value::from(id.to_string())),
                ("erasure", Value::from(hex::encode(erasure))),
                ("holds", Value::Array(holds.collect())),
                ("by", Value::Int(i64::from(by.number))),
                ("details", Value::from(details.to_string())),
            ],
        )
    }
}

fn moment(at_us: Option<u64>) -> Value {
    at_us.and_then(|at| i64::try_from(at).ok()).map_or(Value::Null, Value::Int)
}
