//! Mappings: from other products' audit records to events.
//!
//! In scope: reading one original record leniently, choosing a rule, filling an event's fields, keeping
//! the record verbatim as the event's raw attachment; mapping files in TOML. Out of scope: reading
//! files, registering custom types, validating the result (`event::parts` does, as for any event).
//!
//! Invariants:
//! * an imported event's attachment is the record's own bytes, so that integers beyond 2^53, odd
//!   spellings and repeated keys survive bit for bit;
//! * its id is derived from those bytes and nothing else, so that importing twice changes nothing; the
//!   vendor's own id stays in the attachment, since real ones repeat with other content and are personal;
//! * a field holds a scalar of the record or a constant of the mapping; a record that lacks a required
//!   field becomes a custom event, never an event with an invented value;
//! * no refusal or note holds a value from a record.

mod file;
mod lax;
mod path;
mod pieces;
mod rules;

use self::file::Compiled;
use self::lax::{LaxError, Node};
use self::rules::fill;
use super::custom::CustomType;
use super::envelope::{self, Event, Raw};
use super::error::EventErrorKind;
use super::json::{Object, Value};
use super::limits::{RAW_BYTES_MAX, SUBJECT_CHARS_MAX};
use crate::log::hash::sha256;

pub use self::file::MappingError;
pub use self::pieces::{Piece, pieces};

/// A record: what an attachment may hold, 1 MiB.
pub const RECORD_BYTES_MAX: usize = RAW_BYTES_MAX;

/// A document of many records. AWS writes `CloudTrail` files of at most 50 MB before compression.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Media type of an imported record.
pub const RAW_CONTENT_TYPE: &str = "application/json";

/// Hex digits of the record's SHA-256 in an imported event's id: 128 bits.
const ID_HEX_DIGITS: usize = 32;

const BUILTIN: [(&str, &str); 2] = [
    ("generic", include_str!("../../catalogue/mappings/generic.toml")),
    ("cloudtrail", include_str!("../../catalogue/mappings/cloudtrail.toml")),
];

/// How a record became an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It was one already and is unchanged.
    Passed,
    /// A rule made an event of the catalogue's types of it.
    Mapped,
    /// It is kept under the mapping's custom type.
    Custom,
}

impl Class {
    /// `passed`, `mapped` or `custom`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Mapped => "mapped",
            Self::Custom => "custom",
        }
    }
}

/// An event made of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// The event.
    pub event: Event,
    /// How it came about.
    pub class: Class,
    /// What the mapping has to say about it, such as why it is a custom event.
    pub note: Option<String>,
}

/// A record was refused. Holds no part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not JSON.
    #[error("not JSON from byte {offset} on")]
    NotJson {
        /// Where, in bytes from the record's start.
        offset: usize,
    },
    /// Nested too deep.
    #[error("nested deeper than {limit}")]
    TooDeep {
        /// The limit that was passed.
        limit: usize,
    },
    /// Too long.
    #[error("larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit that was passed, in bytes.
        limit_bytes: usize,
    },
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// It claims to be an event of ours and is not a valid one.
    #[error("{0}")]
    Event(EventErrorKind),
}

impl From<LaxError> for Refusal {
    fn from(error: LaxError) -> Self {
        match error {
            LaxError::Syntax { offset } => Self::NotJson { offset },
            LaxError::TooDeep => Self::TooDeep { limit: lax::DEPTH_MAX },
        }
    }
}

/// A mapping.
#[derive(Debug)]
pub struct Mapping {
    own: Compiled,
    fallback: Option<Box<Mapping>>,
}

impl Mapping {
    /// Reads a mapping file. Records that it does not accept go to the built-in mapping `generic`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn parse(toml: &str) -> Result<Self, MappingError> {
        Ok(Self { own: file::compile(toml)?, fallback: Some(Box::new(Self::builtin("generic")?)) })
    }

    /// A mapping that comes with the program: `generic` or `cloudtrail`.
    ///
    /// # Errors
    /// [`MappingError::UnknownBuiltin`] for any other name.
    ///
    /// ```
    /// use counterfoil::event::mapping::{Class, Mapping};
    /// let line = br#"{"timestamp":"2026-11-21T09:00:00Z","user":"alice","n":18446744073709551616}"#;
    /// let mapped = Mapping::builtin("generic")?.map(line).unwrap();
    /// assert_eq!((mapped.class, mapped.event.type_name.as_str()), (Class::Custom, "x-import"));
    /// assert_eq!(mapped.event.raw.unwrap().bytes, line);
    /// # Ok::<(), counterfoil::event::mapping::MappingError>(())
    /// ```
    pub fn builtin(name: &str) -> Result<Self, MappingError> {
        let Some((_, toml)) = BUILTIN.iter().find(|(known, _)| *known == name) else {
            return Err(MappingError::UnknownBuiltin(name.to_owned()));
        };
        if name == "generic" {
            return Ok(Self { own: file::compile(toml)?, fallback: None });
        }
        Self::parse(toml)
    }

    /// Names of the mappings that come with the program.
    pub fn builtins() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// The name it gives itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.own.name
    }

    /// The custom types that must be registered before its events are appended, those for records that
    /// go to `generic` included. Registering checks them as it does any other.
    pub fn custom_types(&self) -> impl Iterator<Item = &CustomType> {
        std::iter::once(&self.own.custom)
            .chain(self.fallback.as_ref().map(|fallback| &fallback.own.custom))
    }

    /// The types its rules make events of.
    pub fn mapped_types(&self) -> impl Iterator<Item = &str> {
        self.own.rules.iter().filter_map(|rule| rule.type_name.as_deref())
    }

    /// Maps one line (or document): a record, or an envelope around records that this mapping accepts,
    /// such as a `CloudTrail` file. Each record is an event of its own, with its slice of the line as
    /// attachment.
    #[must_use]
    pub fn map_line(&self, line: &[u8]) -> Vec<Result<Mapped, Refusal>> {
        if line.len() > DOCUMENT_BYTES_MAX {
            return vec![Err(Refusal::TooLarge { limit_bytes: DOCUMENT_BYTES_MAX })];
        }
        let whole = self.try_own(line);
        match whole {
            Ok(Some(mapped)) => return vec![Ok(mapped)],
            Ok(None) | Err(Refusal::TooLarge { .. }) => {}
            Err(refusal) => return vec![Err(refusal)],
        }
        for path in &self.own.unwrap {
            let records = match path.slices(line) {
                Ok(records) => records,
                Err(error) => return vec![Err(error.into())],
            };
            let own: Vec<_> = records.iter().map(|record| self.try_own(record)).collect();
            if own.iter().any(|result| matches!(result, Ok(Some(_)))) {
                let mapped = own.into_iter().zip(records);
                return mapped.map(|(result, record)| self.or_fallback(result, record)).collect();
            }
        }
        match &self.fallback {
            Some(fallback) => fallback.map_line(line),
            None => vec![self.or_fallback(whole, line)],
        }
    }

    /// Maps one record as it is, without looking for others inside of it.
    ///
    /// # Errors
    /// [`Refusal`] for what is not a JSON object, is too large or claims to be an event and is not valid.
    pub fn map(&self, record: &[u8]) -> Result<Mapped, Refusal> {
        self.or_fallback(self.try_own(record), record)
    }

    fn or_fallback(
        &self,
        own: Result<Option<Mapped>, Refusal>,
        record: &[u8],
    ) -> Result<Mapped, Refusal> {
        match (own?, &self.fallback) {
            (Some(mapped), _) => Ok(mapped),
            (None, Some(fallback)) => fallback.map(record),
            (None, None) => Err(Refusal::NotAnObject),
        }
    }

    /// Maps a record that this mapping accepts.
    fn try_own(&self, bytes: &[u8]) -> Result<Option<Mapped>, Refusal> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(Refusal::TooLarge { limit_bytes: RECORD_BYTES_MAX });
        }
        let record = lax::parse(bytes)?;
        if !matches!(record, Node::Object(_)) {
            return Ok(None);
        }
        if self.own.pass.as_ref().is_some_and(|pass| pass.claims(&record)) {
            let event = envelope::parse_structured(bytes).map_err(|error| Refusal::Event(error.kind))?;
            return Ok(Some(Mapped { event, class: Class::Passed, note: None }));
        }
        let accepted = self.own.accept.iter().all(|condition| condition.holds(&record));
        Ok(accepted.then(|| self.apply(&record, bytes)))
    }

    fn apply(&self, record: &Node<'_>, bytes: &[u8]) -> Mapped {
        let rule = self.own.rules.iter().find(|rule| rule.matches(record));
        let mut note = rule.and_then(|rule| rule.note.clone());
        if let Some((type_name, rule)) = rule.and_then(|rule| Some((rule.type_name.as_ref()?, rule))) {
            match rule.data(record) {
                Ok(data) => {
                    let event = self.event(type_name, data, record, bytes);
                    return Mapped { event, class: Class::Mapped, note };
                }
                Err(field) => {
                    note = Some(format!("not {type_name}: the record has no value for `{field}`"));
                }
            }
        }
        let mut data = Object::new();
        fill(&mut data, &self.own.custom_fields, record);
        let event = self.event(&self.own.custom.name, data, record, bytes);
        Mapped { event, class: Class::Custom, note }
    }

    fn event(&self, type_name: &str, data: Object, record: &Node<'_>, bytes: &[u8]) -> Event {
        let time = self.own.time.iter().find_map(|time| time.time(record));
        let (time, time_us) = time.map_or((None, None), |(text, us)| (Some(text), Some(us)));
        let resource = self.own.resource.as_ref().and_then(|source| source.value(record));
        let said = |text: &str| data.iter().any(|(_, value)| value.as_str() == Some(text));
        let fits = |text: &&str| text.chars().count() <= SUBJECT_CHARS_MAX && !said(text);
        let subject = resource.as_ref().and_then(Value::as_str).filter(fits).map(str::to_owned);
        Event {
            id: id(bytes),
            source: self.own.source.clone(),
            type_name: type_name.to_owned(),
            time,
            time_us,
            sequence: None,
            subject,
            attributes: Object::new(),
            data,
            raw: Some(Raw { content_type: RAW_CONTENT_TYPE.to_owned(), bytes: bytes.to_vec() }),
        }
    }
}

/// An imported event's id: `import:` and the first 32 hex digits of its record's SHA-256.
///
/// ```
/// let id = counterfoil::event::mapping::id(b"{}");
/// assert_eq!(id, "import:44136fa355b3678a1146ad16f7e8649e");
/// ```
#[must_use]
pub fn id(record: &[u8]) -> String {
    let hex = sha256(record).to_string();
    format!("import:{}", hex.get(..ID_HEX_DIGITS).unwrap_or(&hex))
}
