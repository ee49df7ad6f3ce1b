//! Checks of each ledger: checkpoint, newest entry, journal, index, anchor.
//!
//! In scope: what can be seen at once. Out of scope: verifying every byte, which `counterfoil verify`
//! does. Invariant: everything is read bounded and nothing is changed.

use std::path::Path;

use crate::audit::CHECKPOINT_BYTES_MAX;
use crate::audit::files::{DirectoryLog, read_bounded};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, LedgerConfig};
use crate::event::keys::ledger_id;
use crate::ledger::anchor_file;
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::note::VerifierKey;
use crate::prove::entry_view::EntryView;
use crate::store::journal::{Scanned, scan};
use crate::store::{DiskStorage, Storage, StoreError};

use super::Findings;

/// Longest verifier key file, in bytes.
const VERIFIER_BYTES_MAX: u64 = 4 << 10;

/// How far the newest entry may lie ahead of the clock: what reading two clocks may differ by.
const AHEAD_US_MAX: u64 = 1_000_000;

/// Checks every ledger that the settings list. `is_running`: a server has the directory.
pub(super) fn check(data: &Path, config: &Config, is_running: bool, findings: &mut Findings) {
    for (name, ledger) in &config.ledgers {
        findings.ledger = Some(name.clone());
        let checked = of_ledger(data, name, (config, ledger), is_running, findings);
        if let Err(error) = checked {
            findings.fail("files", error.to_string(), "look at the disk and at who may read the files");
        }
    }
    findings.ledger = None;
}

fn of_ledger(
    data: &Path,
    name: &str,
    (config, ledger): (&Config, &LedgerConfig),
    is_running: bool,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let dir = data.join("ledgers").join(name);
    let storage = DiskStorage::open_read_only(&dir)?;
    let Some((key, published)) = published(&storage, ledger, findings)? else { return Ok(()) };
    newest(&storage, published.size.0, findings);
    if is_running {
        let segments = storage.list("journal")?.len();
        findings.ok("journal", format!("{segments} segments, in use"));
    } else {
        journal(&storage, &key, findings);
    }
    if dir.join("index/db").exists() {
        findings.ok("index", "is there; a start checks it");
    } else if published.size.0 == 0 {
        findings.ok("index", "is made at the first start");
    } else {
        let remedy = "none: the next start rebuilds it from the log, which takes a while";
        findings.warn("index", "is not there", remedy);
    }
    if let Some(anchor) = &config.anchor_dir {
        held_against(anchor, name, &key, &published, findings)?;
    }
    Ok(())
}

/// The verifier key and the published checkpoint, where that is signed by it.
fn published(
    storage: &DiskStorage,
    ledger: &LedgerConfig,
    findings: &mut Findings,
) -> Result<Option<(VerifierKey, Checkpoint)>, StoreError> {
    let text = read_bounded(storage, "verifier.key", VERIFIER_BYTES_MAX)?.unwrap_or_default();
    let Ok(key) = String::from_utf8_lossy(&text).trim().parse::<VerifierKey>() else {
        let remedy = "restore it; it is public, and your auditors have it";
        findings.fail("checkpoint", "verifier.key is missing or no verifier key", remedy);
        return Ok(None);
    };
    if key.name() != ledger.origin {
        let remedy = "put back the origin that it had; an origin never changes";
        findings.fail("checkpoint", "the settings' origin is not the verifier key's name", remedy);
        return Ok(None);
    }
    let note = read_bounded(storage, "checkpoint", CHECKPOINT_BYTES_MAX)?.unwrap_or_default();
    match checkpoint::open(&note, &key) {
        Ok(opened) => {
            findings.ok("checkpoint", format!("{} entries, signed by {}", opened.size, key.name()));
            Ok(Some((key, opened)))
        }
        Err(error) => {
            let remedy = "do not start the server; see \"Restoring\" in docs/operating.md";
            findings.fail("checkpoint", error.to_string(), remedy);
            Ok(None)
        }
    }
}

/// Holds the clock against the newest published entry.
fn newest(storage: &DiskStorage, size: u64, findings: &mut Findings) {
    let Some(index) = size.checked_sub(1) else { return };
    let entry = DirectoryLog::new(storage).entry(index, size);
    let time_us =
        entry.as_deref().and_then(|entry| EntryView::read(entry).ok()).map(|view| view.time_us);
    let Some(time_us) = time_us else {
        let remedy = "run `counterfoil verify` on the directory, which says what is missing";
        return findings.fail("entries", format!("entry {index} cannot be read"), remedy);
    };
    let now_us = SystemClock::default().now_us();
    let ahead_us = time_us.saturating_sub(now_us);
    if ahead_us > AHEAD_US_MAX {
        let said = format!("the newest entry is {} s ahead of the clock", ahead_us / 1_000_000);
        findings.fail("clock", said, "set the clock, and have it kept (chrony, ntpd)");
    } else {
        let age_s = now_us.saturating_sub(time_us) / 1_000_000;
        findings.ok("clock", format!("the newest published entry is {age_s} s old"));
    }
}

fn journal(storage: &DiskStorage, key: &VerifierKey, findings: &mut Findings) {
    let remedy = "restore the file that it names; see \"When it stops\" in docs/operating.md";
    let scanned = match scan(storage, "journal", ledger_id(key.name()).0) {
        Ok(scanned) => scanned,
        Err(error) => return findings.fail("journal", error.to_string(), remedy),
    };
    let mut frames: u64 = 0;
    for found in scanned {
        match found {
            Ok(Scanned::Frame { .. }) => frames += 1,
            Ok(_) => {
                let said = "ends in a frame that a crash left incomplete, which was never acknowledged";
                return findings.warn("journal", said, "none: the next start cuts it");
            }
            Err(error) => return findings.fail("journal", error.to_string(), remedy),
        }
    }
    findings.ok("journal", format!("{frames} frames, all whole"));
}

/// Holds the published checkpoint against the anchor's, which is never newer than it.
fn held_against(
    anchor: &Path,
    name: &str,
    key: &VerifierKey,
    published: &Checkpoint,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let file = anchor_file(name);
    let storage = DiskStorage::open_read_only(anchor)?;
    let Some(note) = read_bounded(&storage, &file, CHECKPOINT_BYTES_MAX)? else {
        let remedy = "none where the ledger is new; else put back the anchor's newest copy";
        findings.warn("anchor", format!("{} has no {file}", anchor.display()), remedy);
        return Ok(());
    };
    let older = "this directory is an older copy: see \"Restoring\" in docs/operating.md";
    match checkpoint::open(&note, key) {
        Err(error) => {
            let said = format!("{}: {error}", anchor.join(&file).display());
            findings.fail("anchor", said, "find out who changed it");
        }
        Ok(held) if held.size.0 > published.size.0 => {
            let said = format!("is at {} entries, the ledger at {}", held.size, published.size);
            findings.fail("anchor", said, older);
        }
        Ok(held) if held.size.0 == published.size.0 && held.root != published.root => {
            findings.fail("anchor", "has another root at the same size: two histories", older);
        }
        Ok(held) => findings.ok("anchor", format!("is at {} entries", held.size)),
    }
    Ok(())
}
