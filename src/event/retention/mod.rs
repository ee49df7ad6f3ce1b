//! How long parts are kept: the table of a ledger's settings, as rules and a calendar.
//!
//! In scope: the table's strict JSON, which rule decides about a part, and when the part is due as far as
//! given moments say. Out of scope: finding those moments (`ledger::retention`), holds, and taking anything
//! away. A verifier uses the same code: [`was_due`].
//!
//! Which rule decides: one that names the event's type goes before one for all types; among those left, one
//! that names the part goes before one for all parts. Where several are left the longest counts: the part is
//! due when every one of them says so. Where none fits, the part is kept. A rule with a statute is due when
//! its own clock or the statute's is, whichever comes first.
//!
//! Invariants: pure; a table that was read can be written and read again and means the same; no error
//! repeats what was given.

mod keep;
mod read;
#[cfg(test)]
mod tests;

pub use keep::Keep;
pub use read::{RULES_MAX, RetentionError};

use super::catalogue::Catalogue;
use super::facet::{ClassCode, Namespace, Role};
use super::json::Value;

const US_PER_DAY: u64 = 86_400_000_000;

/// Which parts of an event a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// What is nobody's.
    Open,
    /// The original bytes.
    Raw,
    /// The parts of all persons of a namespace.
    Person(Namespace),
}

impl PartKind {
    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "open" => Some(Self::Open),
            "raw" => Some(Self::Raw),
            _ => Namespace::from_name(name).map(Self::Person),
        }
    }

    /// The kind that a role is of; none for a role without a meaning.
    #[must_use]
    pub fn of(role: Role) -> Option<Self> {
        match role {
            Role::OPEN => Some(Self::Open),
            Role::RAW => Some(Self::Raw),
            _ => role.as_person().map(|(namespace, _)| Self::Person(namespace)),
        }
    }
}

/// The moment from which a period counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Anchor {
    /// When the ledger recorded the event. The log alone tells.
    Recorded,
    /// When the event says it happened.
    Occurred,
    /// When the newest event that names the same person was recorded.
    LastEvent,
    /// When an event of a type happened that names the same person.
    Event(EventAnchor),
}

/// The event from which a period counts: the newest one of `class` that names the same person and has all
/// the fields that the conditions name. It counts where every condition holds; where one does not, the
/// account was reactivated, say, and nothing counts yet.
#[derive(Clone, Debug, PartialEq)]
pub struct EventAnchor {
    /// Its type.
    pub type_name: String,
    /// The type's code.
    pub class: ClassCode,
    /// Fields of its open part with the values they must have.
    pub conditions: Vec<(String, Value)>,
}

impl Anchor {
    /// What it is, for people: `recorded`, `account.changed state=terminated`.
    #[must_use]
    pub fn described(&self) -> String {
        match self {
            Self::Recorded => "recorded".to_owned(),
            Self::Occurred => "occurred".to_owned(),
            Self::LastEvent => "last-event".to_owned(),
            Self::Event(event) => {
                let conditions = event.conditions.iter().map(|(name, value)| match value {
                    Value::String(text) => format!(" {name}={text}"),
                    other => format!(" {name}={}", String::from_utf8_lossy(&other.to_canonical())),
                });
                event.type_name.clone() + &conditions.collect::<String>()
            }
        }
    }
}

/// A period and what it counts from.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    /// How long.
    pub keep: Keep,
    /// From when on.
    pub from: Anchor,
    /// A moment before which nothing is due, Unix microseconds.
    pub not_before_us: Option<u64>,
}

impl Clock {
    /// When what was kept from `anchor_us` on is due, Unix microseconds; none for never.
    #[must_use]
    pub fn due_us(&self, anchor_us: u64) -> Option<u64> {
        Some(self.keep.end_us(anchor_us)?.max(self.not_before_us.unwrap_or(0)))
    }

    /// The earliest moment at which a part of an event that was recorded at `recorded_us` can be due; none
    /// for never.
    fn earliest_us(&self, recorded_us: u64) -> Option<u64> {
        match self.from {
            // No event that names the person is older than the one at hand.
            Anchor::Recorded | Anchor::LastEvent => self.due_us(recorded_us),
            Anchor::Occurred | Anchor::Event(_) => Some(self.not_before_us.unwrap_or(0)),
        }
    }

    fn was_due(&self, recorded_us: u64, cutoff_us: u64) -> Option<bool> {
        let can_be = self.earliest_us(recorded_us).is_some_and(|due_us| due_us <= cutoff_us);
        match self.from {
            _ if !can_be => Some(false),
            Anchor::Recorded => Some(true),
            _ => None,
        }
    }
}

/// A second clock that the law runs, with where it says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Statute {
    /// The law, as text.
    pub basis: String,
    /// Its clock.
    pub clock: Clock,
}

/// One rule of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name, unique in the table.
    pub id: String,
    /// Types it is for, with their names; empty for all.
    pub types: Vec<(ClassCode, String)>,
    /// Parts it is for; empty for all.
    pub parts: Vec<PartKind>,
    /// What was promised.
    pub clock: Clock,
    /// What the law demands besides.
    pub statute: Option<Statute>,
}

impl Rule {
    /// How closely it names a part: types before parts; none where it does not fit.
    fn closeness(&self, class: ClassCode, kind: PartKind) -> Option<(bool, bool)> {
        let of_type = self.types.iter().any(|(code, _)| *code == class);
        let of_part = self.parts.contains(&kind);
        let fits = (of_type || self.types.is_empty()) && (of_part || self.parts.is_empty());
        fits.then_some((of_type, of_part))
    }

    /// Its clocks: its own, and the statute's.
    fn clocks(&self) -> impl Iterator<Item = &Clock> {
        std::iter::once(&self.clock).chain(self.statute.as_ref().map(|statute| &statute.clock))
    }

    /// The earliest moment at which a part of an event that was recorded at `recorded_us` can be due by
    /// this rule, Unix microseconds; none for never.
    #[must_use]
    pub fn earliest_us(&self, recorded_us: u64) -> Option<u64> {
        self.clocks().filter_map(|clock| clock.earliest_us(recorded_us)).min()
    }

    fn was_due(&self, recorded_us: u64, cutoff_us: u64) -> Option<bool> {
        let mut due = Some(false);
        for clock in self.clocks() {
            match clock.was_due(recorded_us, cutoff_us) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => due = None,
            }
        }
        due
    }
}

/// The rules of a ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct RetentionTable {
    rules: Vec<Rule>,
    /// The rules as they were given.
    value: Value,
}

impl RetentionTable {
    /// Reads the array of rules. `catalogue` must hold the types that they name.
    ///
    /// # Errors
    /// [`RetentionError`] with the place and what must stand there.
    pub fn from_value(rules: &Value, catalogue: &Catalogue) -> Result<Self, RetentionError> {
        Ok(Self { rules: read::rules(rules, catalogue)?, value: rules.clone() })
    }

    /// The rules as JSON, as they were given.
    #[must_use]
    pub fn to_value(&self) -> &Value {
        &self.value
    }

    /// The rules, in their order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that decide about a part, by their place in [`RetentionTable::rules`]. All of them must say
    /// that it is due; none: it is kept.
    #[must_use]
    pub fn deciding(&self, class: ClassCode, role: Role) -> Vec<usize> {
        let Some(kind) = PartKind::of(role) else { return Vec::new() };
        let fitting = || {
            let each = self.rules.iter().enumerate();
            each.filter_map(|(at, rule)| Some((rule.closeness(class, kind)?, at)))
        };
        let closest = fitting().map(|(closeness, _)| closeness).max();
        fitting().filter(|(closeness, _)| Some(*closeness) == closest).map(|(_, at)| at).collect()
    }

    /// The moment (Unix microseconds) after which nothing that was recorded can be due at `now_us`; none
    /// where a rule counts from something that may be older than the record of it.
    #[must_use]
    pub fn horizon_us(&self, now_us: u64) -> Option<u64> {
        let mut days = None;
        for clock in self.rules.iter().flat_map(Rule::clocks) {
            match clock.from {
                Anchor::Recorded | Anchor::LastEvent => {
                    days =
                        Some(days.map_or(clock.keep.days_min(), |d: u64| d.min(clock.keep.days_min())));
                }
                Anchor::Occurred | Anchor::Event(_) => return None,
            }
        }
        Some(days.map_or(0, |days| now_us.saturating_sub(days.saturating_mul(US_PER_DAY))))
    }
}

/// Whether a part was due at `cutoff_us` (Unix microseconds) by a table, as far as the log alone tells: the
/// class of its event, its role, and when the event was recorded. None where that hangs on something that is
/// not in the log.
#[must_use]
pub fn was_due(
    table: &RetentionTable,
    class: ClassCode,
    role: Role,
    recorded_us: u64,
    cutoff_us: u64,
) -> Option<bool> {
    let deciding = table.deciding(class, role);
    let mut due = Some(!deciding.is_empty());
    for rule in deciding.into_iter().filter_map(|at| table.rules.get(at)) {
        match rule.was_due(recorded_us, cutoff_us) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => due = None,
        }
    }
    due
}
