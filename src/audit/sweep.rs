//! Files of a log that its checkpoint does not need: partial ones left from smaller sizes, and
//! those a server has written ahead of its next checkpoint.
//!
//! In scope: reading each and comparing it with the verified file of its number. Out of scope: the
//! files that the walk over the log has read. Invariant: a file of the layout that says something
//! else than the verified one is a finding, whether or not anybody needs it.

use crate::log::tile::{BundleId, TileId, bundle_entries};
use crate::prove::verdict::{Finding, Report, Verdict};
use crate::prove::verify_log::{FINDINGS_KEPT, LogSource};
use crate::store::{Operation, PartState, Storage, StoreError, StoredPart, check_path};

use super::files::{DirectoryLog, FULL, width_at};
use super::parts::{read_sealed, sealed_file};

const CHECK: &str = "leftovers";

/// Deepest path of a tile: six times three digits of a number, `.p`, and the width.
const DEPTH_MAX: usize = 10;

/// Reads what the walk over the log has not.
pub(super) fn check(
    log: &DirectoryLog<'_>,
    size: u64,
    is_ledger: bool,
    report: &mut Report,
) -> Result<(), StoreError> {
    if report.verdict() == Verdict::Failed {
        let why = "files of other sizes were not compared, since the log's own are not good";
        report.note(CHECK, Verdict::NotProvable, why);
        return Ok(());
    }
    let mut sweep =
        Sweep { log, size, compared: 0, newer: 0, unknown: 0, unlike: 0, findings: Vec::new() };
    sweep.directory("tile", 0)?;
    if is_ledger {
        sweep.directory("sealed", 0)?;
    }
    let Sweep { compared, newer, unknown, unlike, mut findings, .. } = sweep;
    if let Some(first) = findings.first() {
        let detail = format!("first of {}: {}: {}", findings.len(), first.place, first.detail);
        report.push(CHECK, Verdict::Failed, detail);
        findings.truncate(FINDINGS_KEPT);
        report.findings.append(&mut findings);
    } else if unlike > 0 {
        let detail = format!(
            "{unlike} sealed files hold parts that are gone from the verified ones, or the other way round: \
             a shred or a prune is under way, or was cut short and goes on when the server starts"
        );
        // A shred that the log says has begun takes parts out of one file after the other.
        if report.is_shredding {
            report.note(CHECK, Verdict::NotProvable, detail);
        } else {
            report.push(CHECK, Verdict::NotProvable, detail);
        }
    } else if compared + newer + unknown > 0 {
        let detail = format!(
            "{compared} files of smaller sizes agree, {newer} are newer than the checkpoint, {unknown} \
             are none of the log's"
        );
        report.note(CHECK, Verdict::Verified, detail);
    }
    Ok(())
}

struct Sweep<'a> {
    log: &'a DirectoryLog<'a>,
    size: u64,
    compared: u64,
    newer: u64,
    unknown: u64,
    /// Sealed files in which other parts are gone than in the verified ones.
    unlike: u64,
    findings: Vec<Finding>,
}

impl Sweep<'_> {
    fn directory(&mut self, dir: &str, depth: usize) -> Result<(), StoreError> {
        for name in self.log.storage.list(dir)? {
            let path = format!("{dir}/{name}");
            if check_path(Operation::Read, &path).is_err() {
                self.unknown += 1;
            } else if self.log.storage.exists(&path)? {
                self.file(&path)?;
            } else if depth < DEPTH_MAX {
                self.directory(&path, depth + 1)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str) -> Result<(), StoreError> {
        if let Ok(id) = BundleId::parse(path) {
            return self.bundle(id);
        }
        if let Ok(id) = TileId::parse(path) {
            return self.tile(id);
        }
        match BundleId::parse(&path.replacen("sealed/", "tile/entries/", 1)) {
            Ok(id) if path.starts_with("sealed/") => self.sealed(path, id),
            _ => {
                self.unknown += 1;
                Ok(())
            }
        }
    }

    fn fail(&mut self, place: String, detail: String) {
        self.findings.push(Finding { check: CHECK, place, detail });
    }

    /// Whether the walk has read the file of `width` where the log needs `known`.
    fn was_read(&self, width: u16, known: u16, exact: &str) -> Result<bool, StoreError> {
        let stands_in = width == FULL && !self.log.storage.exists(exact)?;
        Ok(width == known || (known > 0 && stands_in))
    }

    fn count(&mut self, width: u16, known: u16) {
        if width > known {
            self.newer += 1;
        } else {
            self.compared += 1;
        }
    }

    fn tile(&mut self, id: TileId) -> Result<(), StoreError> {
        let nodes = self.size.checked_shr(8 * u32::from(id.level)).unwrap_or(0);
        let known = TileId { width: width_at(id.index, nodes), ..id };
        if known.width > 0 && self.was_read(id.width, known.width, &known.path())? {
            return Ok(());
        }
        let Some(bytes) = self.log.tile(id)? else { return Ok(()) };
        if bytes.len() != id.len_bytes() {
            let at = bytes.len().min(id.len_bytes());
            let detail = format!("has {} bytes instead of {}", bytes.len(), id.len_bytes());
            self.fail(format!("{} byte {at}", id.path()), detail);
            return Ok(());
        }
        self.count(id.width, known.width);
        if known.width == 0 {
            return Ok(());
        }
        let verified = match self.log.tile(known)? {
            Some(bytes) => Some(bytes),
            None => self.log.tile(known.full())?,
        };
        let mut verified = verified.unwrap_or_default();
        verified.truncate(known.len_bytes());
        self.compare(&id.path(), &bytes, &verified);
        Ok(())
    }

    fn bundle(&mut self, id: BundleId) -> Result<(), StoreError> {
        let known = BundleId { width: width_at(id.index, self.size), ..id };
        if known.width > 0 && self.was_read(id.width, known.width, &known.path())? {
            return Ok(());
        }
        let Some(bytes) = self.log.bundle(id)? else { return Ok(()) };
        let path = id.path();
        match end_of(&bytes, id.width) {
            Some(end) if end == bytes.len() => {}
            _ => {
                let detail = format!("does not hold {} entries", id.width);
                self.fail(format!("{path} byte {}", bytes.len()), detail);
                return Ok(());
            }
        }
        self.count(id.width, known.width);
        if known.width == 0 {
            return Ok(());
        }
        let verified = self.log.bundle_of(id.index, self.size)?;
        let mut verified = verified.map(|(_, bytes)| bytes).unwrap_or_default();
        verified.truncate(end_of(&verified, known.width).unwrap_or(usize::MAX));
        self.compare(&path, &bytes, &verified);
        Ok(())
    }

    /// Compares as far as both go.
    fn compare(&mut self, path: &str, bytes: &[u8], verified: &[u8]) {
        if let Some(at) = bytes.iter().zip(verified).position(|(a, b)| a != b) {
            self.fail(format!("{path} byte {at}"), "differs from the verified file".to_owned());
        }
    }

    fn sealed(&mut self, path: &str, id: BundleId) -> Result<(), StoreError> {
        let storage = self.log.storage;
        let known = width_at(id.index, self.size);
        let chosen = sealed_file(storage, id.index, known)?;
        if known > 0 && chosen.as_ref().is_some_and(|(chosen, _)| chosen == path) {
            return Ok(());
        }
        let parts = match read_sealed(storage, path, id.index, id.width) {
            Ok(Some(read)) => read.entries,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.fail(path.to_owned(), error);
                return Ok(());
            }
        };
        self.count(id.width, known);
        let Some((chosen, width)) = chosen else { return Ok(()) };
        let Ok(Some(verified)) = read_sealed(storage, &chosen, id.index, width) else {
            return Ok(());
        };
        if let Some(at) = parts.iter().zip(&verified.entries).position(|(a, b)| !agree(a, b)) {
            self.fail(path.to_owned(), format!("the parts of its entry {at} differ from {chosen}"));
        } else if parts.iter().zip(&verified.entries).any(|(a, b)| !same_states(a, b)) {
            self.unlike += 1;
        }
        Ok(())
    }
}

/// Where the first `width` entries of a bundle end; none where there are fewer.
fn end_of(bytes: &[u8], width: u16) -> Option<usize> {
    let mut entries = bundle_entries(bytes);
    let mut end = 0;
    for _ in 0..width {
        end += 2 + entries.next()?.ok()?.len();
    }
    Some(end)
}

/// Whether the same parts are gone from two lists. All files of a bundle are written anew, one after the
/// other.
fn same_states(one: &[StoredPart], other: &[StoredPart]) -> bool {
    one.iter().map(StoredPart::state).eq(other.iter().map(StoredPart::state))
}

/// Whether two lists hold the same parts, as far as neither was erased or pruned.
fn agree(one: &[StoredPart], other: &[StoredPart]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(a, b)| {
            let both_there = a.state() == PartState::Sealed && b.state() == PartState::Sealed;
            a.role() == b.role() && (!both_there || a.blob() == b.blob())
        })
}
