//! Verifying a directory: a data directory, one ledger's, or a mirror of its tiles. The command `verify`
//! does it from outside, a server to itself ([`own`]).
//!
//! In scope: telling these apart, and everything in them that speaks for or against the log: tiles,
//! bundles, sealed parts, the journal, files left from smaller sizes. Out of scope: the verdicts on
//! the log itself ([`crate::prove::verify_log`]) and, from outside, the index, which is derived.
//!
//! | directory | told by | what is expected in it |
//! |---|---|---|
//! | data directory | `counterfoil.toml` | all of a ledger; the key's name picks which |
//! | ledger | any of [`LEDGER_FILES`] | checkpoint, tiles, bundles, sealed parts, journal |
//! | mirror | nothing of a ledger's own | checkpoint and tiles, and bundles where `tile/entries` is there |
//!
//! Invariants: nothing is written; the checkpoint is read first, so that a server may go on
//! appending meanwhile; every file below `tile`, `sealed` and `journal` is read.

pub(crate) mod ahead;
pub(crate) mod files;
mod journal;
mod mapping;
pub mod own;
mod parts;
mod reader;
mod sweep;
mod vault;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{CONFIG_FILE, Config};
use crate::event::keys::{LedgerId, ledger_id};
use crate::ledger::KeyFiles;
use crate::ledger::LedgerError;
use crate::log::checkpoint;
use crate::log::note::VerifierKey;
use crate::prove::verdict::{Finding, Report, Target, Verdict};
use crate::prove::verify_log::{LogOptions, Progress, verify_log};
use crate::store::{DiskStorage, Storage, StoreError};
use crate::vault::{KeyRingError, RootKey};

use files::{DirectoryLog, read_bounded};
use parts::SealedParts;
pub use reader::Reader;
use vault::{RootAt, Vault, VaultState};

/// Longest checkpoint that is read, in bytes: a body of three lines and a hundred signatures.
pub const CHECKPOINT_BYTES_MAX: u64 = 64 << 10;

/// Longest `counterfoil.toml` that is read, in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// What a ledger's directory has and a mirror's has not.
const LEDGER_FILES: [&str; 5] = ["journal", "sealed", "verifier.key", "reader.key", "fold.state"];

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// There is no log in the directory.
    #[error("{path}: neither a data directory ({CONFIG_FILE}) nor a log (checkpoint, tile)")]
    NoLog {
        /// The directory.
        path: String,
    },
    /// The settings cannot be read.
    #[error("{CONFIG_FILE}: {0}")]
    Config(String),
    /// The reader's keys cannot be read.
    #[error(transparent)]
    Reader(#[from] KeyRingError),
    /// A file cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The running ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A directory that was recognised.
#[derive(Debug)]
pub struct Place {
    /// Where `checkpoint` and `tile` are.
    dir: PathBuf,
    /// The data directory around it and the ledger's name in that.
    within: Option<(PathBuf, String)>,
    is_ledger: bool,
    /// The vault's root key, where it is not in the data directory.
    root: Option<RootKey>,
}

impl Place {
    /// The directory of ledger `name` in the data directory `data`.
    fn of_ledger(data: &Path, name: &str) -> Self {
        let dir = data.join("ledgers").join(name);
        Self { dir, within: Some((data.to_owned(), name.to_owned())), is_ledger: true, root: None }
    }

    /// The directory of ledger `name` in a copy of a data directory, which has no root key of its own.
    pub(crate) fn of_copy(data: &Path, name: &str, root: Option<RootKey>) -> Self {
        Self { root, ..Self::of_ledger(data, name) }
    }
}

/// What a directory turned out to be.
#[derive(Debug)]
pub enum Recognised {
    /// Something with a log in it.
    Place(Place),
    /// A data directory without a ledger of the key's name; these are the names it has.
    OtherKeys(Vec<String>),
}

/// Finds the log that is meant by a directory.
///
/// # Errors
/// [`AuditError`] where there is none, or the settings cannot be read.
pub fn recognise(path: &Path, key: &VerifierKey) -> Result<Recognised, AuditError> {
    if path.join(CONFIG_FILE).exists() {
        let config = read_config(path)?;
        let found = config.ledgers.iter().find(|(_, ledger)| ledger.origin == key.name());
        let Some((name, _)) = found else {
            let origins = config.ledgers.into_values().map(|ledger| ledger.origin);
            return Ok(Recognised::OtherKeys(origins.collect()));
        };
        let dir = path.join("ledgers").join(name);
        let within = Some((path.to_owned(), name.clone()));
        return Ok(Recognised::Place(Place { dir, within, is_ledger: true, root: None }));
    }
    let is_ledger = LEDGER_FILES.iter().any(|name| path.join(name).exists());
    if !is_ledger && !path.join("checkpoint").exists() {
        return Err(AuditError::NoLog { path: path.display().to_string() });
    }
    let within = if is_ledger { data_directory_of(path) } else { None };
    Ok(Recognised::Place(Place { dir: path.to_owned(), within, is_ledger, root: None }))
}

/// The report on a data directory whose ledgers all have keys of other names.
#[must_use]
pub fn other_keys(key: &VerifierKey, origins: &[String]) -> Report {
    let mut report = Report::new(Target::Log);
    let (wanted, there) = (key.name(), origins.join(", "));
    let detail = format!("no ledger here has the key `{wanted}`; those here have: {there}");
    report.push("checkpoint", Verdict::Failed, detail);
    report
}

/// The data directory that `path`, one of its ledgers' directories, is in.
fn data_directory_of(path: &Path) -> Option<(PathBuf, String)> {
    let path = fs::canonicalize(path).ok()?;
    let name = path.file_name()?.to_str()?.to_owned();
    let ledgers = path.parent().filter(|parent| parent.file_name().is_some_and(|n| n == "ledgers"))?;
    let data = ledgers.parent().filter(|data| data.join(CONFIG_FILE).is_file())?;
    Some((data.to_owned(), name))
}

fn read_config(data: &Path) -> Result<Config, AuditError> {
    let storage = DiskStorage::open_read_only(data)?;
    let bytes = read_bounded(&storage, CONFIG_FILE, CONFIG_BYTES_MAX)?.unwrap_or_default();
    let text = String::from_utf8(bytes).map_err(|_| AuditError::Config("not UTF-8".to_owned()))?;
    Config::parse(&text).map_err(|error| AuditError::Config(error.to_string()))
}

/// What a verification of a directory is given.
#[derive(Debug)]
pub struct Given<'a> {
    /// The verifier key.
    pub key: &'a VerifierKey,
    /// An older checkpoint.
    pub since: Option<&'a [u8]>,
    /// The reader's keys.
    pub reader: Option<&'a Reader>,
    /// Whether only the log itself is looked at, its tiles, entries and chain, and not what lies
    /// beside it: parts, journal, vault, files of other sizes.
    pub log_only: bool,
}

/// Verifies the log in a directory.
///
/// # Errors
/// [`AuditError`] where files cannot be read at all; what is wrong with them is in the report.
pub fn verify(
    place: &Place,
    given: &Given<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, AuditError> {
    let storage = DiskStorage::open_read_only(&place.dir)?;
    let Some(note) = read_bounded(&storage, "checkpoint", CHECKPOINT_BYTES_MAX)? else {
        return Ok(without_checkpoint());
    };
    let opened = checkpoint::open(&note, given.key).ok();
    let size = opened.as_ref().map_or(0, |checkpoint| checkpoint.size.0);
    let ledger = ledger_id(given.key.name());
    let opens = opened.is_some() && !given.log_only;
    let vault = if opens { open_vault(place, &storage, ledger)? } else { VaultState::none() };
    let log = DirectoryLog::new(&storage);
    let reads_parts = place.is_ledger && !given.log_only;
    let parts = reads_parts.then(|| SealedParts::new(&storage, size, vault.vault.as_ref()));
    let entries = place.is_ledger || size == 0 || !storage.list("tile/entries")?.is_empty();
    let since = given.since.and_then(|note| checkpoint::open(note, given.key).ok());
    let journalled = match (&opened, &since) {
        (Some(published), Some(since)) if place.is_ledger => {
            ahead::is_journalled(&log, ledger, published, since)
        }
        _ => None,
    };
    let since = given.since.filter(|_| journalled.is_none());
    let options = LogOptions { since, entries, foreign: !place.is_ledger };
    let mut report = verify_log(&note, given.key, &log, parts.as_ref(), &options, progress);
    if opened.is_none() {
        return Ok(report);
    }
    ahead::conclude(journalled, &mut report);
    if given.log_only {
        for left_out in ["journal", "leftovers"] {
            report.note(left_out, Verdict::NotProvable, "left out, since only the log was asked for");
        }
        return Ok(report);
    }
    sweep::check(&log, size, place.is_ledger, &mut report)?;
    if place.is_ledger {
        journal::check(&log, given.key, size, vault.vault.as_ref(), &mut report);
    }
    if let (Some(reader), Some(parts)) = (given.reader, &parts)
        && report.verdict() != Verdict::Failed
    {
        let note = String::from_utf8_lossy(&note);
        mapping::check(&log, parts, &note, given.key, size, reader, &mut report);
    }
    vault.conclude(&mut report);
    Ok(report)
}

fn open_vault(place: &Place, log: &DiskStorage, ledger: LedgerId) -> Result<VaultState, AuditError> {
    let Some((data, name)) = &place.within else { return Ok(VaultState::none()) };
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open_read_only(data)?);
    let root = match &place.root {
        Some(root) => RootAt::Held(root.clone()),
        None => RootAt::Dir(KeyFiles::of(data, name).root),
    };
    let opened = Vault::open(storage, &format!("vault/{name}"), root, ledger);
    let mut state = VaultState::of(opened);
    if let Some(vault) = &mut state.vault {
        let (persons, is_whole) = journal::persons(log, ledger, vault.inboxes());
        vault.add_journalled(persons, is_whole);
    }
    Ok(state)
}

fn without_checkpoint() -> Report {
    let mut report = Report::new(Target::Log);
    fail(&mut report, "checkpoint", "checkpoint", "is missing");
    report
}

/// Adds a failed check with its place.
fn fail(report: &mut Report, check: &'static str, place: &str, detail: &str) {
    report.push(check, Verdict::Failed, format!("{place}: {detail}"));
    report.findings.push(Finding { check, place: place.to_owned(), detail: detail.to_owned() });
}
