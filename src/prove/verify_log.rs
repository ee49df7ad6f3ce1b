//! The verifier of a whole log: every byte of every tile, bundle and stored part, in one pass.
//!
//! In scope: the signed checkpoint; each entry bundle, hashed and compared with the hash tiles;
//! the upper tiles, built again and compared; the root; consistency with an older checkpoint; the
//! chain inside the entries; the stored parts against the commitments; parts that are gone against the
//! removed set that the newest shred or prune entry commits to. Out of scope: where bytes come from (the
//! caller's [`LogSource`] and [`PartSource`]) and how stored parts are encoded.
//!
//! Invariants: it always ends, since it reads no more than the signed size tells and stops after
//! [`FINDINGS_STOP`] findings; memory is one bundle, its stored parts, one tile per level, and 33 bytes
//! per removed part and per erased person; the first finding of a check is the first in log order.
//! Trust is in the verifier key alone: whatever a source returns can make a check fail or stay open,
//! never pass.
//!
//! Who is wrong when a leaf and its tile differ is decided at the end: both readings are carried on
//! as a tree of their own, and the one whose root was signed is the truth.

mod chain;
mod claims;
mod due;
mod findings;
mod parts;
mod removals;
mod tree;
mod walk;

use std::fmt::{self, Display};

use crate::event::facet::Role;
use crate::event::keys::PART_SALT_BYTES;
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::hash::LogIndex;
use crate::log::note::VerifierKey;
use crate::log::tile::{BundleId, TileId};
use crate::prove::entry_view::EventView;
use crate::prove::text;
use crate::prove::verdict::{Report, Target, Verdict};
use zeroize::Zeroizing;

pub use findings::{FINDINGS_KEPT, FINDINGS_STOP};

/// Where a log's public files are read from: a directory, a server, memory.
pub trait LogSource {
    /// Why a read failed; its text must hold no personal value.
    type Error: Display;
    /// The bytes of a hash tile; `None` if there is no such file.
    ///
    /// # Errors
    /// If it could not be found out.
    fn tile(&self, id: TileId) -> Result<Option<Vec<u8>>, Self::Error>;
    /// The bytes of an entry bundle; `None` if there is no such file.
    ///
    /// # Errors
    /// If it could not be found out.
    fn bundle(&self, id: BundleId) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// The stored parts of a bundle, one list per entry.
pub type StoredParts<P> = Vec<Vec<P>>;

/// Where a log's stored parts are read from, already decoded, and opened with whatever keys the
/// caller holds.
pub trait PartSource {
    /// A stored part in the store's own type.
    type Part;
    /// Why a read failed; its text must hold no personal value.
    type Error: Display;
    /// The stored parts of a bundle of 256 entries: one list per entry, in the order of the log;
    /// lists beyond the checkpoint's size are ignored. `None` if there is no such file.
    ///
    /// # Errors
    /// If it could not be read or decoded; the file then counts as damaged.
    fn parts(&self, bundle: u64) -> Result<Option<StoredParts<Self::Part>>, Self::Error>;
    /// Numbers of items of the removed sets there are files of, in any order.
    ///
    /// # Errors
    /// If it could not be found out.
    fn removed_sizes(&self) -> Result<Vec<u64>, Self::Error>;
    /// The bytes of the removed set of so many items; `None` if there is no such file.
    ///
    /// # Errors
    /// If it could not be read.
    fn removed(&self, items: u64) -> Result<Option<Vec<u8>>, Self::Error>;
    /// What the verifier needs to know of a stored part.
    fn describe(&self, part: &Self::Part) -> PartView;
    /// Opens a stored part of the entry at `index`.
    ///
    /// # Errors
    /// If it could not be tried; the part then counts as withheld and its content as not provable.
    fn open(
        &self,
        index: LogIndex,
        entry: &EventView<'_>,
        part: &Self::Part,
    ) -> Result<Opened, Self::Error>;
}

/// A stored part as the verifier sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartView {
    /// Which part of the event.
    pub role: Role,
    /// Its state.
    pub state: StoredState,
    /// Whether its bytes match the checksum stored beside them.
    pub intact: bool,
}

/// The states a stored part can be in. A part that is not there at all is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredState {
    /// The sealed bytes are there.
    Sealed,
    /// Erased with its owner's keys.
    Erased,
    /// Removed by a retention rule.
    Pruned,
}

/// What opening a stored part gave.
pub enum Opened {
    /// Salt and body, whose commitment the verifier recomputes.
    Open {
        /// The part's salt.
        salt: [u8; PART_SALT_BYTES],
        /// The part's JSON text.
        body: Zeroizing<Vec<u8>>,
    },
    /// The caller has no key for it, or does not want it opened.
    Withheld,
    /// The caller has the key, and the sealed bytes do not open with it.
    Damaged,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open { .. } => "Open",
            Self::Withheld => "Withheld",
            Self::Damaged => "Damaged",
        })
    }
}

/// No stored parts: what a mirror of the public files has.
#[derive(Clone, Copy, Debug)]
pub struct NoParts;

impl PartSource for NoParts {
    type Part = PartView;
    type Error = fmt::Error;

    fn parts(&self, _: u64) -> Result<Option<StoredParts<PartView>>, fmt::Error> {
        Ok(None)
    }

    fn removed_sizes(&self) -> Result<Vec<u64>, fmt::Error> {
        Ok(Vec::new())
    }

    fn removed(&self, _: u64) -> Result<Option<Vec<u8>>, fmt::Error> {
        Ok(None)
    }

    fn describe(&self, part: &PartView) -> PartView {
        *part
    }

    fn open(&self, _: LogIndex, _: &EventView<'_>, _: &PartView) -> Result<Opened, fmt::Error> {
        Ok(Opened::Withheld)
    }
}

/// How far the walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Entries checked.
    pub entries_done: u64,
    /// Entries the checkpoint speaks of.
    pub entries_total: u64,
}

/// What to verify.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions<'a> {
    /// An older signed checkpoint of the same log, which this one must extend.
    pub since: Option<&'a [u8]>,
    /// Whether entry bundles are read. Without them only the hash tiles can be checked: the
    /// entries and their chain are then not provable.
    pub entries: bool,
    /// Whether a log with entries of another format may count as verified when its tree is.
    pub foreign: bool,
}

impl Default for LogOptions<'_> {
    fn default() -> Self {
        Self { since: None, entries: true, foreign: false }
    }
}

/// Verifies the log that `note`, a signed checkpoint, speaks of.
///
/// `parts` are checked when given. `progress` is called after each bundle.
pub fn verify_log<S: LogSource, P: PartSource>(
    note: &[u8],
    key: &VerifierKey,
    source: &S,
    parts: Option<&P>,
    options: &LogOptions<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Report {
    let mut report = Report::new(Target::Log);
    let Some(checkpoint) = open_checkpoint("checkpoint", note, key, &mut report) else {
        return report;
    };
    report.keys.push(key_name(key));
    let since = match options.since {
        None => None,
        Some(old) => match open_checkpoint("since", old, key, &mut report) {
            Some(old) => Some(old),
            None => return report,
        },
    };
    let mut walk = walk::Walk::new(source, parts, options, &checkpoint, since.as_ref());
    walk.run(progress);
    walk.conclude(&mut report);
    report
}

fn open_checkpoint(
    name: &'static str,
    note: &[u8],
    key: &VerifierKey,
    report: &mut Report,
) -> Option<Checkpoint> {
    match checkpoint::open(note, key) {
        Err(error) => {
            report.push(name, Verdict::Failed, text::explain(&error));
            None
        }
        Ok(opened) => {
            report.push(name, Verdict::Verified, format!("size {}, signature good", opened.size));
            Some(opened)
        }
    }
}

/// How a verifier key is named in reports: `name+key id`.
pub(crate) fn key_name(key: &VerifierKey) -> String {
    format!("{}+{:08x}", key.name(), key.key_id())
}

#[cfg(test)]
mod removal_tests;
#[cfg(test)]
mod tests;
