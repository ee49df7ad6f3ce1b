//! Holding a ledger that is about to start against checkpoints that others kept of it.
//!
//! In scope: signature, size and root of each. Out of scope: where they come from (the command line) and
//! the ledger's own published checkpoint ([`super::start`]). Invariant: nothing is signed before every
//! witnessed checkpoint of the ledger's origin was found to be extended.

use std::path::Path;

use crate::log::checkpoint;
use crate::log::merkle;
use crate::prove::kept::{KeptError, notes_in};

use super::error::LedgerError;
use super::nodes::LedgerNodes;
use super::shared::Shared;

/// A checkpoint that somebody kept, as it came out of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// The file, for people.
    pub file: String,
    /// The log that the checkpoint names.
    pub origin: String,
    /// The signed note.
    pub note: String,
}

impl Witnessed {
    /// The checkpoints in a file's bytes.
    ///
    /// # Errors
    /// Where there is none; see [`notes_in`].
    pub fn in_file(path: &Path, bytes: &[u8]) -> Result<Vec<Self>, KeptError> {
        let file = path.display().to_string();
        let of = |kept: crate::prove::kept::KeptNote| Self {
            file: file.clone(),
            origin: kept.origin,
            note: kept.note,
        };
        Ok(notes_in(bytes)?.into_iter().map(of).collect())
    }
}

/// Refuses a log that does not extend each of `witnessed` that names its origin.
pub(super) fn check(shared: &Shared, witnessed: &[Witnessed]) -> Result<(), LedgerError> {
    let size = shared.size();
    for each in witnessed.iter().filter(|each| each.origin == shared.origin) {
        let opened = checkpoint::open(&each.note, &shared.verifier).map_err(|error| {
            let (file, ledger) = (&each.file, &shared.name);
            LedgerError::Setup(format!("{file}: no checkpoint signed by ledger {ledger}'s key: {error}"))
        })?;
        let told = |what| LedgerError::NotExtended {
            ledger: shared.name.clone(),
            file: each.file.clone(),
            witnessed: opened.size.0,
            size,
            what,
        };
        if opened.size.0 > size {
            return Err(told(NotExtended::RolledBack));
        }
        if merkle::root(opened.size, &LedgerNodes(shared))? != opened.root {
            return Err(told(NotExtended::Forked));
        }
    }
    Ok(())
}

/// How a log fails to extend a checkpoint that was signed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotExtended {
    /// It is shorter: an older copy, or its newest entries are lost.
    RolledBack,
    /// It has other entries: two histories were signed.
    Forked,
}

impl std::fmt::Display for NotExtended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RolledBack => "it is a rolled-back copy, or has lost its newest entries",
            Self::Forked => "its first entries are others, so two histories were signed: a fork",
        })
    }
}
