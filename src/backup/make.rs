//! Making a backup.
//!
//! In scope: which ledgers, passes until each is whole, verifying the copy, writing the manifest. Out of
//! scope: the order inside a ledger ([`super::ledger`]). Invariant: the manifest is the last file, written
//! when everything before it is durable and was verified.

use std::path::{Path, PathBuf};

use crate::audit::{self, Given, Place};
use crate::clock::Clock;
use crate::config::{CONFIG_FILE, Config};
use crate::event::time::rfc3339;
use crate::log::hash::sha256;
use crate::log::note::VerifierKey;
use crate::prove::verdict::{Report, Verdict};
use crate::store::{Copier, DiskStorage, Storage};

use super::files::Files;
use super::ledger::{Pass, Source, Taken};
use super::manifest::{LIST_FILE, LedgerBackup, MANIFEST_FILE, Manifest, RootKeyName};
use super::{BackupError, keys, vault};

/// Passes over a ledger before it counts as never at rest. The first may take long; those after it copy
/// only what moved, so that a shred a minute, the default, leaves room.
const PASSES_MAX: u32 = 8;

/// Longest verifier key file, in bytes.
const VERIFIER_BYTES_MAX: u64 = 4 << 10;

/// What is to be backed up, and where to.
#[derive(Debug)]
pub struct Request<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// A directory that is empty or missing.
    pub to: &'a Path,
    /// Names of ledgers; all where empty.
    pub ledgers: &'a [String],
    /// A second such directory, for key files.
    pub keys_to: Option<&'a Path>,
}

/// How far a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Files are copied.
    Copying {
        /// Files so far.
        files: u64,
        /// Bytes so far.
        bytes: u64,
    },
    /// The copy of a ledger is verified.
    Verifying {
        /// Entries verified.
        done: u64,
        /// Entries in all.
        total: u64,
    },
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its manifest.
    pub manifest: Manifest,
    /// Paths of the key files that were written to the other directory.
    pub keys: Vec<String>,
}

/// Makes a backup. Safe while a server runs on the directory, whose lock is not taken.
///
/// # Errors
/// [`BackupError`]; what was copied until then has no manifest and is no backup.
pub fn make(
    request: &Request<'_>,
    clock: &dyn Clock,
    progress: &mut dyn FnMut(&Step),
) -> Result<Made, BackupError> {
    keep_apart(request)?;
    let (text, config) = read_config(request.data)?;
    let (chosen, others) = choose(&config, request.ledgers)?;
    let progress = std::cell::RefCell::new(progress);
    let mut copied = |files, bytes| (progress.borrow_mut())(&Step::Copying { files, bytes });
    let mut files = Files::new(Copier::open(request.data, request.to)?, &mut copied);
    let mut ledgers = Vec::new();
    for name in &chosen {
        let key = verifier_key(request.data, name)?;
        let source = Source { data: request.data, to: request.to, name, key };
        let mut verified = |done, total| (progress.borrow_mut())(&Step::Verifying { done, total });
        let taken = until_whole(&source, &mut files, &mut verified)?;
        ledgers.push(described(&source, &taken));
    }
    let text = if others.is_empty() { text } else { without(&text, &others)? };
    files.put(CONFIG_FILE, text.as_bytes())?;
    let keys = match request.keys_to {
        Some(to) => keys::keep(request.data, to, &chosen, &others)?,
        None => Vec::new(),
    };
    let list = files.list();
    let (count, bytes) = files.totals();
    files.copier.write(LIST_FILE, list.as_bytes())?;
    files.copier.sync()?;
    let made_at = i64::try_from(clock.now_us()).ok().and_then(rfc3339).unwrap_or_default();
    let list_sha256 = sha256(list.as_bytes());
    let manifest = Manifest { made_at, files: count, bytes, list_sha256, ledgers };
    files.copier.write(MANIFEST_FILE, format!("{}\n", manifest.to_json()).as_bytes())?;
    files.copier.sync()?;
    Ok(Made { manifest, keys })
}

/// Passes over a ledger until one is whole and its copy verifies.
fn until_whole(
    source: &Source<'_>,
    files: &mut Files<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Taken, BackupError> {
    let mut moved = String::new();
    for _ in 0..PASSES_MAX {
        let taken = match source.pass(files)? {
            Pass::Whole(taken) => taken,
            Pass::Moved(what) => {
                moved = what;
                continue;
            }
        };
        let is_current = || Ok::<_, BackupError>(source.root()?.number == taken.root.number);
        match verify(source, &taken, progress) {
            Ok(()) if is_current()? => return Ok(*taken),
            // The root key that this copy needs is destroyed.
            Ok(()) => "a shred replaced the vault's root key".clone_into(&mut moved),
            Err(error) if is_current()? => return Err(error),
            Err(error) => moved = error.to_string(),
        }
    }
    let ledger = source.name.to_owned();
    Err(BackupError::Moved { ledger, passes: PASSES_MAX, what: moved })
}

/// Verifies the copy of a ledger: its log, parts, journal, and that its vault opens.
fn verify(
    source: &Source<'_>,
    taken: &Taken,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), BackupError> {
    vault::open(source.to, source.name, &taken.root)?;
    let place = Place::of_copy(source.to, source.name, Some(taken.root.key.clone()));
    let given = Given { key: &source.key, since: None, reader: None, log_only: false };
    let report = audit::verify(&place, &given, &mut |at| progress(at.entries_done, at.entries_total))?;
    if report.verdict() == Verdict::Failed {
        return Err(BackupError::NotVerified { ledger: source.name.to_owned(), what: failure(&report) });
    }
    Ok(())
}

fn failure(report: &Report) -> String {
    let failed = report.checks.iter().find(|check| check.verdict == Verdict::Failed);
    failed.map_or_else(String::new, |check| format!("{}: {}", check.name, check.detail))
}

fn described(source: &Source<'_>, taken: &Taken) -> LedgerBackup {
    let published = &taken.published;
    LedgerBackup {
        name: source.name.to_owned(),
        origin: published.origin.clone(),
        verifier_key: source.key.clone(),
        published_size: published.size.0,
        published_root: published.root,
        entries: taken.reach.to,
        root: taken.reach.root.unwrap_or(published.root),
        root_key: RootKeyName {
            file: format!("{}.vault-root/{}", source.name, taken.root.file_name()),
            id: taken.root.id(),
        },
    }
}

/// Refuses directories inside one another: a backup in the data directory would be part of the next one,
/// and keys in a backup would open it.
fn keep_apart(request: &Request<'_>) -> Result<(), BackupError> {
    refuse_within(request.to, request.data)?;
    if let Some(keys_to) = request.keys_to {
        refuse_within(keys_to, request.to)?;
        refuse_within(keys_to, request.data)?;
        refuse_within(request.to, keys_to)?;
    }
    Ok(())
}

/// Refuses a directory that is in another one.
pub(super) fn refuse_within(inner: &Path, outer: &Path) -> Result<(), BackupError> {
    if absolute(inner).starts_with(absolute(outer)) {
        return Err(BackupError::Within { inner: inner.to_owned(), outer: outer.to_owned() });
    }
    Ok(())
}

/// The path without links, as far as it exists.
fn absolute(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known = whole.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match known {
        Some((above, real)) => whole.strip_prefix(above).map_or(real.clone(), |rest| real.join(rest)),
        None => whole,
    }
}

fn read_config(data: &Path) -> Result<(String, Config), BackupError> {
    let bytes = DiskStorage::open_read_only(data)?.read(CONFIG_FILE)?;
    let none = || BackupError::Config(format!("{} holds no {CONFIG_FILE}", data.display()));
    let text = String::from_utf8(bytes.ok_or_else(none)?)
        .map_err(|_| BackupError::Config(format!("{CONFIG_FILE} is not UTF-8")))?;
    let parsed = Config::parse(&text);
    let config = parsed.map_err(|error| BackupError::Config(format!("{CONFIG_FILE}: {error}")))?;
    Ok((text, config))
}

/// The ledgers that are backed up, and the rest.
fn choose(config: &Config, wanted: &[String]) -> Result<(Vec<String>, Vec<String>), BackupError> {
    if let Some(unknown) = wanted.iter().find(|name| !config.ledgers.contains_key(*name)) {
        return Err(BackupError::NoSuchLedger(unknown.clone()));
    }
    let is_chosen = |name: &String| wanted.is_empty() || wanted.contains(name);
    Ok(config.ledgers.keys().cloned().partition(is_chosen))
}

/// The settings without the ledgers `others`, so that what is restored lists what is there.
fn without(text: &str, others: &[String]) -> Result<String, BackupError> {
    let unread = |error: &dyn std::fmt::Display| BackupError::Config(format!("{CONFIG_FILE}: {error}"));
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| unread(&error))?;
    if let Some(toml::Value::Table(ledgers)) = table.get_mut("ledgers") {
        ledgers.retain(|name, _| !others.iter().any(|other| other == name));
    }
    toml::to_string(&table).map_err(|error| unread(&error))
}

fn verifier_key(data: &Path, name: &str) -> Result<VerifierKey, BackupError> {
    let path = format!("ledgers/{name}/verifier.key");
    let storage = DiskStorage::open_read_only(data)?;
    let bytes = match storage.len(&path)? {
        Some(len) if len <= VERIFIER_BYTES_MAX => storage.read(&path)?,
        _ => None,
    };
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let key = text.and_then(|text| text.trim().parse().ok());
    key.ok_or_else(|| BackupError::Config(format!("{path} holds no verifier key; put it back")))
}
