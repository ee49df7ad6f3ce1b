//! The journal of a ledger's directory, held against the log.
//!
//! In scope: every frame's checksum, journalled entries against their bundles, the chain of those
//! that no checkpoint speaks of yet, sealed parts in frames. Out of scope: cutting a torn end.
//! Invariants: nothing is written; what a running server appends or trims meanwhile is no finding.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;

use crate::event::facet::Role;
use crate::event::keys::{LedgerId, ledger_id, part_commitment};
use crate::log::checkpoint;
use crate::log::hash::{Hash, LogIndex, leaf_hash};
use crate::log::note::VerifierKey;
use crate::prove::entry_view::{EntryView, EventView};
use crate::prove::verdict::{Finding, Report, Verdict};
use crate::prove::verify_log::{FINDINGS_KEPT, Opened};
use crate::store::journal::{Cut, JournalError, Scanned, scan};
use crate::store::{DiskStorage, Frame, Record, SealedPart, Storage};
use crate::vault::{Inboxes, PersonSecret, SlotNumber, WrapError, WrappedPerson};

use super::CHECKPOINT_BYTES_MAX;
use super::files::{DirectoryLog, read_bounded};
use super::vault::Vault;

const DIR: &str = "journal";

/// Times the journal is read before an error is believed: a segment may be trimmed, and a frame
/// appended, while it is read.
const ATTEMPTS: usize = 3;

/// The persons whose secrets are in frames, and whether every frame could be read.
pub(super) fn persons(
    storage: &DiskStorage,
    ledger: LedgerId,
    inboxes: &Inboxes,
) -> (HashMap<SlotNumber, PersonSecret>, bool) {
    let mut persons = HashMap::new();
    if not_a_file(storage).is_some() {
        return (persons, false);
    }
    for _ in 0..ATTEMPTS {
        let mut is_whole = true;
        let Ok(frames) = scan(storage, DIR, ledger.0) else { return (persons, false) };
        for item in frames {
            let Ok(item) = item else {
                is_whole = false;
                break;
            };
            let Scanned::Frame { frame, .. } = item else { continue };
            for wrapped in &frame.persons {
                match unwrap(wrapped, frame.inbox, inboxes, ledger) {
                    Ok(person) => drop(persons.insert(person.slot, person.secret)),
                    Err(_) => is_whole = false,
                }
            }
        }
        if is_whole {
            return (persons, true);
        }
    }
    (persons, false)
}

/// A person of a frame under the inbox key of this number.
fn unwrap(
    wrapped: &[u8],
    number: u32,
    inboxes: &Inboxes,
    ledger: LedgerId,
) -> Result<WrappedPerson, WrapError> {
    let key = inboxes.get(number).ok_or(WrapError::NotOpened)?;
    WrappedPerson::unwrap(wrapped, key, ledger)
}

/// Something in the journal's directory that is no regular file.
fn not_a_file(storage: &DiskStorage) -> Option<String> {
    let is_odd = |name: &String| !storage.exists(&format!("{DIR}/{name}")).unwrap_or(true);
    let name = storage.list(DIR).ok()?.into_iter().find(is_odd)?;
    // A segment may have been trimmed since the names were read; what is odd is still there.
    storage.list(DIR).ok()?.contains(&name).then(|| format!("{DIR}/{name}"))
}

/// Holds the journal against a log of `size` entries.
pub(super) fn check(
    log: &DirectoryLog<'_>,
    key: &VerifierKey,
    size: u64,
    vault: Option<&Vault>,
    report: &mut Report,
) {
    if let Some(path) = not_a_file(log.storage) {
        return super::fail(report, "journal", &path, "is not a regular file");
    }
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut walk = Walk::new(log, ledger_id(key.name()), size, vault);
        match walk.run() {
            Ok(()) => return walk.conclude(key, report),
            Err(JournalError::Damage { file, offset, what }) if attempt >= ATTEMPTS => {
                return super::fail(
                    report,
                    "journal",
                    &format!("{file} byte {offset}"),
                    &what.to_string(),
                );
            }
            Err(JournalError::Damage { .. }) => {}
            Err(JournalError::Store(error))
                if error.kind == io::ErrorKind::NotFound && attempt < ATTEMPTS => {}
            Err(error) => return report.push("journal", Verdict::NotProvable, error.to_string()),
        }
    }
}

/// One reading of the journal.
struct Walk<'a> {
    log: &'a DirectoryLog<'a>,
    ledger: LedgerId,
    size: u64,
    vault: Option<&'a Vault>,
    /// Where the frame being read begins.
    place: String,
    first: Option<u64>,
    next: Option<u64>,
    tail: Option<Cut>,
    frames: u64,
    entries: u64,
    beyond: u64,
    opened: u64,
    uncompared: u64,
    /// The index that follows the last entry read, and that entry's hash and time.
    last: Option<(u64, Hash, u64)>,
    bad: u64,
    findings: Vec<Finding>,
}

impl<'a> Walk<'a> {
    fn new(log: &'a DirectoryLog<'a>, ledger: LedgerId, size: u64, vault: Option<&'a Vault>) -> Self {
        Self {
            log,
            ledger,
            size,
            vault,
            place: DIR.to_owned(),
            first: None,
            next: None,
            tail: None,
            frames: 0,
            entries: 0,
            beyond: 0,
            opened: 0,
            uncompared: 0,
            last: None,
            bad: 0,
            findings: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), JournalError> {
        let storage = self.log.storage;
        let mut frames = scan(storage, DIR, self.ledger.0)?;
        for item in frames.by_ref() {
            match item? {
                Scanned::Frame { file, offset, frame } => {
                    self.place = format!("{file} byte {offset}");
                    self.frame(&frame);
                }
                Scanned::TornTail(cut) => {
                    self.place = format!("{} byte {}", cut.file, cut.offset);
                    self.tail = Some(cut);
                }
            }
        }
        self.next = frames.next_index();
        self.first = self.first.or(self.next);
        Ok(())
    }

    fn fail(&mut self, what: String) {
        self.bad += 1;
        if self.findings.len() < FINDINGS_KEPT {
            self.findings.push(Finding { check: "journal", place: self.place.clone(), detail: what });
        }
    }

    fn frame(&mut self, frame: &Frame) {
        self.frames += 1;
        self.first.get_or_insert(frame.first_index);
        if let Some(vault) = self.vault {
            for wrapped in &frame.persons {
                if let Err(error) = unwrap(wrapped, frame.inbox, vault.inboxes(), self.ledger) {
                    self.fail(error.to_string());
                }
            }
        }
        for (index, record) in (frame.first_index..).zip(&frame.records) {
            self.record(index, record, frame.inbox);
        }
    }

    fn record(&mut self, index: u64, record: &Record, inbox: u32) {
        self.entries += 1;
        if index < self.size {
            match self.log.entry(index, self.size) {
                Some(entry) if entry == record.entry => {}
                Some(_) => self.fail(format!("entry {index} is not the one in its bundle")),
                None => self.uncompared += 1,
            }
        } else {
            self.beyond += 1;
        }
        let leaf = leaf_hash(&record.entry);
        match EntryView::read(&record.entry) {
            Err(error) => self.fail(format!("entry {index}: {error}")),
            Ok(view) => {
                if let Some(what) = self.wrong(index, &view) {
                    self.fail(format!("entry {index} {what}"));
                }
                self.parts(index, view.event.as_ref(), &record.sealed, inbox);
                self.last = Some((index.saturating_add(1), leaf, view.time_us));
            }
        }
    }

    fn wrong(&self, index: u64, view: &EntryView<'_>) -> Option<&'static str> {
        let (prev, time_us) = match self.last {
            Some((next, leaf, time_us)) if next == index => (Some(leaf), time_us),
            _ => {
                let before = index.checked_sub(1).filter(|before| *before < self.size);
                let before = before.and_then(|before| self.log.entry(before, self.size));
                (before.map(|entry| leaf_hash(&entry)), 0)
            }
        };
        if view.index.0 != index {
            return Some("says it is another");
        }
        if view.ledger != self.ledger {
            return Some("belongs to another ledger");
        }
        if prev.is_some_and(|prev| prev != view.prev) {
            return Some("does not name its predecessor's hash");
        }
        (view.time_us < time_us).then_some("is earlier than its predecessor")
    }

    fn parts(&mut self, index: u64, event: Option<&EventView<'_>>, sealed: &[SealedPart], inbox: u32) {
        let Some(event) = event else {
            if !sealed.is_empty() {
                self.fail(format!("entry {index} has parts beside it and is not an event"));
            }
            return;
        };
        let roles = event.parts().map(|(role, _)| role.0);
        if !roles.eq(sealed.iter().map(|part| part.role)) {
            return self.fail(format!("the parts beside entry {index} are not those it names"));
        }
        let Some(vault) = self.vault else { return };
        for ((role, commitment), part) in event.parts().zip(sealed) {
            match Self::open(vault, LogIndex(index), event, part, inbox) {
                Opened::Withheld => {}
                Opened::Open { salt, body }
                    if part_commitment(self.ledger, &event.event_key, role, &salt, &body)
                        == commitment =>
                {
                    self.opened += 1;
                }
                _ => self.fail(format!("part {} of entry {index} does not open", role.name())),
            }
        }
    }

    fn open(
        vault: &Vault,
        index: LogIndex,
        event: &EventView<'_>,
        part: &SealedPart,
        inbox: u32,
    ) -> Opened {
        let Some(key) = vault.inboxes().get(inbox) else { return Opened::Damaged };
        let owners = (key.owners(), part.owners.as_slice());
        let opened = vault.open_if_alive(event, index, Role(part.role), owners, &part.blob);
        // The vault keeps its own error, which is told apart from the journal's. A secret that is
        // destroyed was alive when the frame was read: a shred trims the frames before.
        opened.ok().flatten().unwrap_or(Opened::Withheld)
    }

    fn conclude(mut self, key: &VerifierKey, report: &mut Report) {
        let next = self.next.unwrap_or(0);
        if next < self.size {
            let size = self.size;
            self.fail(format!("ends at index {next}, though {size} entries are signed"));
        } else if let Some(first) = self.first.filter(|first| *first > self.size)
            && first > self.newest_size(key)
        {
            let size = self.size;
            self.fail(format!("begins at index {first}, though only {size} entries are signed"));
        }
        if let Some(first) = self.findings.first() {
            let count = if self.bad > 1 { format!("first of {}: ", self.bad) } else { String::new() };
            let detail = format!("{count}{}: {}", first.place, first.detail);
            report.push("journal", Verdict::Failed, detail);
            report.findings.append(&mut self.findings);
            return;
        }
        let Self { frames, entries, beyond, opened, .. } = self;
        let mut detail = format!("{entries} entries in {frames} frames, {opened} parts opened");
        if beyond > 0 {
            let _ = write!(detail, "; {beyond} entries are newer than the checkpoint");
        }
        if self.uncompared > 0 {
            let _ = write!(detail, "; {} have no bundle to compare with", self.uncompared);
        }
        if let Some(Cut { file, offset, bytes }) = &self.tail {
            let _ = write!(
                detail,
                "; the last {bytes} bytes of {file}, from byte {offset}, are an unfinished write, which \
                 nothing acknowledged is in"
            );
        }
        report.push("journal", Verdict::Verified, detail);
    }

    /// The size of the checkpoint as it is by now.
    fn newest_size(&self, key: &VerifierKey) -> u64 {
        let note = read_bounded(self.log.storage, "checkpoint", CHECKPOINT_BYTES_MAX).ok().flatten();
        let opened = note.and_then(|note| checkpoint::open(note, key).ok());
        opened.map_or(0, |checkpoint| checkpoint.size.0)
    }
}
