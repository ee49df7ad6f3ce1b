//! Mappings: from other products' audit records to events.
//!
//! In scope: reading one original record leniently, choosing the mapping and the rule that fit it,
//! filling an event's fields, keeping the record verbatim as the event's raw attachment; mapping files
//! in TOML. Out of scope: reading files, registering custom types, validating the result
//! (`event::parts` does, as for any event).
//!
//! Invariants:
//! * an imported event's attachment is the record's own bytes, so that integers beyond 2^53, odd
//!   spellings and repeated keys survive bit for bit; where a record means nothing without its envelope,
//!   the attachment is the envelope with the other records left out;
//! * its id is derived from those bytes and nothing else, so that importing twice changes nothing; the
//!   vendor's own id stays in the attachment, since real ones repeat with other content and are personal;
//! * a field holds a scalar of the record or a constant of the mapping; a record that lacks a required
//!   field becomes a custom event, never an event with an invented value;
//! * what no mapping can read is kept too, under the custom type of `generic`;
//! * no refusal or note holds a value from a record.

mod builtin;
mod error;
mod explain;
mod file;
mod grammar;
mod lax;
mod path;
mod pieces;
mod reader;
mod record;
mod rules;
mod times;
mod unwrap;

use std::sync::Arc;

use self::builtin::BUILTIN;
use self::file::Compiled;
use self::reader::LineReader;
use self::rules::Pass;
use self::unwrap::Unwrap;
use super::custom::CustomType;
use super::envelope::Event;
use super::limits::RAW_BYTES_MAX;
use crate::log::hash::sha256;

pub use self::error::{MappingError, Refusal};
pub use self::explain::{Explained, FieldRead, How};
pub use self::grammar::{Key, keys};
pub use self::pieces::{Piece, pieces};

/// A record: what an attachment may hold, 1 MiB.
pub const RECORD_BYTES_MAX: usize = RAW_BYTES_MAX;

/// A document of many records. AWS writes `CloudTrail` files of at most 50 MB before compression.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Media type of an imported record.
pub const RAW_CONTENT_TYPE: &str = "application/json";

/// Media type of a line that is text and not JSON.
const TEXT_CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// Media type of a line in an unknown encoding.
const OCTETS_CONTENT_TYPE: &str = "application/octet-stream";

/// The mapping that takes what no other does.
const GENERIC: &str = "generic";

/// All mappings that come with the program, under one name.
const ALL: &str = "all";

/// What stands for a mapping's name where a record was an event already.
const PASSED: &str = "none";

/// Hex digits of the record's SHA-256 in an imported event's id: 128 bits.
const ID_HEX_DIGITS: usize = 32;

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
    /// The mapping that read it; `none` for an event that passed.
    pub mapping: Arc<str>,
    /// Whether it is kept because no mapping knows it, or its rule's required fields are not there.
    /// The note says which.
    pub unmapped: bool,
}

/// A mapping that comes with the program, as a list of them tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Its name.
    pub name: String,
    /// What it reads.
    pub title: String,
    /// Its place among the others: the highest that accepts a record reads it.
    pub rank: u32,
    /// The envelope source of its events.
    pub source: String,
    /// Types of the catalogue that its rules make events of.
    pub types: Vec<String>,
    /// Its custom type.
    pub custom: String,
}

/// A mapping with where its records lie, below the common wrappers too.
#[derive(Debug)]
struct Entry {
    compiled: Compiled,
    unwraps: Vec<Unwrap>,
}

/// Mappings by rank, `generic` behind them.
#[derive(Debug)]
pub struct Mapping {
    name: Arc<str>,
    chain: Vec<Entry>,
    generic: Compiled,
}

impl Mapping {
    /// Reads a mapping file. Records that it does not accept go to the built-in mapping `generic`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn parse(toml: &str) -> Result<Self, MappingError> {
        let own = file::compile(toml)?;
        Self::new(own.name.clone(), vec![own])
    }

    /// All mappings that come with the program: each record is read by the one that fits it best.
    ///
    /// # Errors
    /// None that tests leave possible.
    pub fn all() -> Result<Self, MappingError> {
        let others = BUILTIN.iter().filter(|(name, _)| *name != GENERIC);
        let others = others.map(|(_, toml)| file::compile(toml)).collect::<Result<Vec<_>, _>>()?;
        Self::new(ALL.into(), others)
    }

    /// A mapping that comes with the program by its name; `all` for [`Mapping::all`].
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
        match name {
            ALL => Self::all(),
            GENERIC => Self::new(GENERIC.into(), Vec::new()),
            _ => Self::parse(Self::text(name)?),
        }
    }

    fn new(name: Arc<str>, mut mappings: Vec<Compiled>) -> Result<Self, MappingError> {
        let generic = file::compile(Self::text(GENERIC)?)?;
        mappings.sort_by(|one, other| other.rank.cmp(&one.rank).then(one.name.cmp(&other.name)));
        let below = |unwrap: &Unwrap| {
            let wrapped =
                generic.within.iter().map(|outer| unwrap.path.below(outer)).collect::<Vec<_>>();
            let wrapped = wrapped.into_iter().map(|path| Unwrap { path, ..unwrap.clone() });
            std::iter::once(unwrap.clone()).chain(wrapped).collect::<Vec<_>>()
        };
        let entry = |compiled: Compiled| {
            let unwraps = compiled.unwrap.iter().flat_map(below).collect();
            Entry { compiled, unwraps }
        };
        let chain = mappings.into_iter().map(entry).collect();
        Ok(Self { name, chain, generic })
    }

    fn text(name: &str) -> Result<&'static str, MappingError> {
        let found = BUILTIN.iter().find(|(known, _)| *known == name);
        found.map(|(_, toml)| *toml).ok_or_else(|| MappingError::UnknownBuiltin(name.to_owned()))
    }

    /// Names of the mappings that come with the program.
    pub fn builtins() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// The name it gives itself; `all` for several.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The mappings it consists of, in the order in which they are tried.
    pub fn members(&self) -> impl Iterator<Item = Builtin> {
        self.compiled().map(|mapping| {
            let mut types: Vec<String> =
                mapping.rules.iter().filter_map(|rule| rule.type_name.clone()).collect();
            types.sort_unstable();
            types.dedup();
            Builtin {
                name: mapping.name.to_string(),
                title: mapping.title.clone(),
                rank: mapping.rank,
                source: mapping.source.clone(),
                types,
                custom: mapping.custom.name.clone(),
            }
        })
    }

    /// The custom types that must be registered before its events are appended, those for records that
    /// go to `generic` included. Registering checks them as it does any other.
    pub fn custom_types(&self) -> impl Iterator<Item = &CustomType> {
        self.compiled().map(|mapping| &mapping.custom)
    }

    /// The types its rules make events of.
    pub fn mapped_types(&self) -> impl Iterator<Item = &str> {
        let rules = self.compiled().flat_map(|mapping| &mapping.rules);
        rules.filter_map(|rule| rule.type_name.as_deref())
    }

    /// Names of the mappings whose conditions a record fulfils, the one that reads it first. For tests of
    /// mappings against each other.
    #[must_use]
    pub fn claimants(&self, record: &[u8]) -> Vec<&str> {
        let Ok(node) = lax::parse(record) else { return Vec::new() };
        let accepting = self.chain.iter().filter(|entry| record::accepts(&entry.compiled, &node));
        accepting.map(|entry| &*entry.compiled.name).collect()
    }

    /// Maps one line (or document): a record, or an envelope around records that a mapping accepts, such
    /// as a `CloudTrail` file. Each record is an event of its own, with its slice of the line as
    /// attachment.
    #[must_use]
    pub fn map_line(&self, line: &[u8]) -> Vec<Result<Mapped, Refusal>> {
        let explained = LineReader { mapping: self, explain: false }.line(line);
        explained.into_iter().map(|each| each.result).collect()
    }

    /// The same, with how each event came about.
    #[must_use]
    pub fn explain_line(&self, line: &[u8]) -> Vec<Explained> {
        LineReader { mapping: self, explain: true }.line(line)
    }

    /// Maps one record as it is, without looking for others inside of it.
    ///
    /// # Errors
    /// [`Refusal`] for what is too large, no text, or claims to be an event and is not a valid one.
    pub fn map(&self, record: &[u8]) -> Result<Mapped, Refusal> {
        LineReader { mapping: self, explain: false }.record(record).result
    }

    fn compiled(&self) -> impl Iterator<Item = &Compiled> {
        self.chain.iter().map(|entry| &entry.compiled).chain([&self.generic])
    }

    fn passes(&self) -> impl Iterator<Item = &Pass> {
        self.compiled().filter_map(|mapping| mapping.pass.as_ref())
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
