//! One field of an event type: what it may hold and whose it is.
//!
//! In scope: the field's declaration and the check of one value against it. Out of scope: reading
//! declarations from TOML (`load`), the event as a whole (`super`).
//! Invariant: a check depends on nothing but the declaration and the value, and its error holds
//! the field's declared name and never the value.

use std::borrow::Cow;

use crate::event::error::{EventError, EventErrorKind};
use crate::event::facet::{Facet, Namespace};
use crate::event::json::{Object, Value};
use crate::event::time;

/// Most labels of an event, and most characters of a label's name and text.
pub const LABELS_MAX: usize = 32;
/// Longest name of a label in characters.
pub const LABEL_NAME_CHARS_MAX: usize = 64;
/// Longest text of a label in characters.
pub const LABEL_TEXT_CHARS_MAX: usize = 256;

/// What a field's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldKind {
    /// A text.
    String,
    /// True or false.
    Bool,
    /// An integer from 0 to 2^53.
    Integer,
    /// Any number.
    Number,
    /// RFC 3339 date and time with offset.
    Timestamp,
    /// A day, `YYYY-MM-DD`.
    Date,
    /// A list of texts.
    Strings,
    /// A list of anything.
    Array,
    /// An object; with declared members if the field has any.
    Object,
    /// An object of at most [`LABELS_MAX`] texts.
    Labels,
    /// An object of integers from 0.
    Counts,
    /// Anything: what a registered schema says.
    Any,
}

pub(super) const FIELD_KINDS: [(FieldKind, &str, &str); 12] = [
    (FieldKind::String, "string", "a string"),
    (FieldKind::Bool, "bool", "true or false"),
    (FieldKind::Integer, "integer", "an integer from 0"),
    (FieldKind::Number, "number", "a number"),
    (FieldKind::Timestamp, "timestamp", "an RFC 3339 timestamp"),
    (FieldKind::Date, "date", "a date, YYYY-MM-DD"),
    (FieldKind::Strings, "strings", "a list of strings"),
    (FieldKind::Array, "array", "a list"),
    (FieldKind::Object, "object", "an object"),
    (FieldKind::Labels, "labels", "an object of at most 32 short strings"),
    (FieldKind::Counts, "counts", "an object of integers from 0"),
    (FieldKind::Any, "any", "anything"),
];

impl FieldKind {
    /// The name used in the catalogue.
    #[must_use]
    pub fn name(self) -> &'static str {
        FIELD_KINDS.iter().find(|(kind, ..)| *kind == self).map_or("any", |(_, name, _)| name)
    }

    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::String => value.as_str().is_some(),
            Self::Bool => value.as_bool().is_some(),
            Self::Integer => value.as_i64().is_some_and(|number| number >= 0),
            Self::Number => value.as_f64().is_some(),
            Self::Timestamp => value.as_str().is_some_and(|text| time::unix_us(text).is_some()),
            Self::Date => value.as_str().is_some_and(is_date),
            Self::Strings => {
                value.as_array().is_some_and(|items| items.iter().all(|item| item.as_str().is_some()))
            }
            Self::Array => value.as_array().is_some(),
            Self::Object => value.as_object().is_some(),
            Self::Labels => value.as_object().is_some_and(are_labels),
            Self::Counts => value
                .as_object()
                .is_some_and(|object| object.iter().all(|(_, count)| Self::Integer.accepts(count))),
            Self::Any => true,
        }
    }
}

/// `YYYY-MM-DD` of a day that exists.
fn is_date(text: &str) -> bool {
    text.len() == 10 && text.is_ascii() && time::unix_us(&format!("{text}T00:00:00Z")).is_some()
}

fn are_labels(labels: &Object) -> bool {
    labels.len() <= LABELS_MAX
        && labels.iter().all(|(name, text)| {
            (1..=LABEL_NAME_CHARS_MAX).contains(&name.chars().count())
                && text.as_str().is_some_and(|text| text.chars().count() <= LABEL_TEXT_CHARS_MAX)
        })
}

/// In whose part a field lies that identifies nobody itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Nobody's: the open part.
    Open,
    /// The subject's.
    Subject,
    /// The actor's.
    Actor,
    /// The account's.
    Account,
    /// The telephone number's.
    Number,
    /// That of the first of subject, actor, account and number that the event names.
    Person,
    /// That of whom the event is about rather than of whoever acts: the first of subject, account, number
    /// and resource that it names, else the last of its actors.
    Concerned,
}

pub(super) const OWNERS: [(Owner, &str); 7] = [
    (Owner::Open, "open"),
    (Owner::Subject, "subject"),
    (Owner::Actor, "actor"),
    (Owner::Account, "account"),
    (Owner::Number, "number"),
    (Owner::Person, "person"),
    (Owner::Concerned, "concerned"),
];

impl Owner {
    /// The name used in the catalogue.
    #[must_use]
    pub fn name(self) -> &'static str {
        OWNERS.iter().find(|(owner, _)| *owner == self).map_or("open", |(_, name)| name)
    }

    /// The owner of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        OWNERS.iter().find(|(_, known)| *known == name).map(|(owner, _)| *owner)
    }

    /// Namespaces to look for an owner in, first choice first; empty for the open part. An owner
    /// that the event does not name falls back to the subject.
    #[must_use]
    pub fn namespaces(self) -> &'static [Namespace] {
        const SUBJECT: Namespace = Namespace::SUBJECT;
        match self {
            Self::Open => &[],
            Self::Subject => &[SUBJECT],
            Self::Actor => &[Namespace::ACTOR, SUBJECT],
            Self::Account => &[Namespace::ACCOUNT, SUBJECT],
            Self::Number => &[Namespace::NUMBER, SUBJECT],
            Self::Person => &[SUBJECT, Namespace::ACTOR, Namespace::ACCOUNT, Namespace::NUMBER],
            Self::Concerned => {
                &[SUBJECT, Namespace::ACCOUNT, Namespace::NUMBER, Namespace::RESOURCE, Namespace::ACTOR]
            }
        }
    }
}

/// Whether a field's value is the identifier of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// It is not.
    Never,
    /// It is, in this namespace.
    Always(Namespace),
    /// It is if another field of the same object has one of these values.
    When {
        /// The other field.
        field: String,
        /// Its values and the namespace each stands for.
        namespaces: Vec<(String, Namespace)>,
    },
}

/// Where a field of an event lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the part of the person whom its value names.
    Identifier(Namespace),
    /// In its owner's part.
    Owned(Owner),
}

/// One field of an event type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in `data`.
    pub name: String,
    /// What its value may be: any of these.
    pub kinds: Vec<FieldKind>,
    /// Whether the type demands it.
    pub required: bool,
    /// The closed set its texts come from. A value that ends in `*` stands for all that start so.
    pub values: Option<Vec<String>>,
    /// Whether its texts are countries.
    pub country: bool,
    /// In whose part it lies if it identifies nobody.
    pub owner: Owner,
    /// Whether it identifies a person.
    pub identity: Identity,
    /// The open facet its texts are found by.
    pub facet: Option<Facet>,
    /// Whether its members are fields of another event.
    pub amends: bool,
    /// Declared members of an object; empty = any.
    pub members: Vec<Self>,
    /// What it means, for people.
    pub about: String,
}

impl Field {
    /// An optional field that may hold anything, in the open part.
    #[must_use]
    pub fn open(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kinds: vec![FieldKind::Any],
            required: false,
            values: None,
            country: false,
            owner: Owner::Open,
            identity: Identity::Never,
            facet: None,
            amends: false,
            members: Vec::new(),
            about: String::new(),
        }
    }

    /// Where `value` lies as this field of `object`. An identity that hangs on a field which
    /// `object` lacks gives `None`.
    pub(crate) fn place(&self, object: &Object) -> Option<Place> {
        match &self.identity {
            Identity::Never => Some(Place::Owned(self.owner)),
            Identity::Always(namespace) => Some(Place::Identifier(*namespace)),
            Identity::When { field, namespaces } => {
                let decides = object.get(field)?.as_str();
                let found = namespaces.iter().find(|(value, _)| Some(value.as_str()) == decides);
                let owned = Place::Owned(self.owner);
                Some(found.map_or(owned, |(_, namespace)| Place::Identifier(*namespace)))
            }
        }
    }

    /// Whether its value names a person in some events and none in others.
    pub(crate) fn may_identify(&self) -> bool {
        matches!(self.identity, Identity::When { .. })
    }

    /// Whether the values are moments in time and nothing else.
    pub(crate) fn is_moment(&self) -> bool {
        let moment = |kind: &FieldKind| matches!(kind, FieldKind::Date | FieldKind::Timestamp);
        !self.kinds.is_empty() && self.kinds.iter().all(moment)
    }

    /// Checks a value. The pointer of an error starts below this field.
    ///
    /// # Errors
    /// `WrongFieldType`, `NotInVocabulary` or `UnknownField`.
    pub(crate) fn check(&self, value: &Value) -> Result<(), EventError> {
        let named = || Cow::Owned(self.name.clone());
        let mistyped =
            |expected| Err(EventError::new(EventErrorKind::WrongFieldType { field: named(), expected }));
        if !self.kinds.iter().any(|kind| kind.accepts(value)) {
            return mistyped(expected(&self.kinds));
        }
        let never_empty = self.facet.is_some() || self.identity != Identity::Never;
        for text in texts(value) {
            if never_empty && text.is_empty() {
                return mistyped("a string that is not empty");
            }
            if !self.allows(text) {
                return Err(EventError::new(EventErrorKind::NotInVocabulary { field: named() }));
            }
        }
        match value.as_object() {
            Some(object) if !self.members.is_empty() => self.check_members(object),
            _ => Ok(()),
        }
    }

    fn allows(&self, text: &str) -> bool {
        let in_set = self.values.as_ref().is_none_or(|values| {
            values.iter().any(|value| match value.strip_suffix('*') {
                Some(prefix) => text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()),
                None => value == text,
            })
        });
        in_set && (!self.country || is_country(text))
    }

    fn check_members(&self, object: &Object) -> Result<(), EventError> {
        for (name, value) in object.iter() {
            let Some(member) = self.members.iter().find(|member| member.name == name) else {
                return Err(EventError::new(EventErrorKind::UnknownField));
            };
            member.check(value).map_err(|error| below(&member.name, error))?;
        }
        Ok(())
    }
}

/// The same error, one name further out.
pub(super) fn below(name: &str, mut error: EventError) -> EventError {
    error.pointer.insert_str(0, name);
    error.pointer.insert(0, '/');
    error
}

/// The text, or the texts of a list.
pub(crate) fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let items = value.as_array().unwrap_or_default();
    value.as_str().into_iter().chain(items.iter().filter_map(Value::as_str))
}

/// ISO 3166-1 alpha-2, or `US-` and two letters, in either case.
fn is_country(text: &str) -> bool {
    let two_letters = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
    match text.split_once('-') {
        Some((country, state)) => country.eq_ignore_ascii_case("US") && two_letters(state),
        None => two_letters(text),
    }
}

fn expected(kinds: &[FieldKind]) -> &'static str {
    let has = |kind| kinds.contains(&kind);
    match kinds {
        [kind] => FIELD_KINDS.iter().find(|(k, ..)| k == kind).map_or("", |(.., expected)| expected),
        [_, _] if has(FieldKind::Date) && has(FieldKind::Timestamp) => "a date or an RFC 3339 timestamp",
        [_, _] if has(FieldKind::String) && has(FieldKind::Strings) => "a string or a list of strings",
        [_, _] if has(FieldKind::String) && has(FieldKind::Number) => "a string or a number",
        _ => "of one of the types that its schema lists",
    }
}
