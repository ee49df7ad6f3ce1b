//! The files of a backup while it is made: what was copied in which pass, and what went stale.
//!
//! In scope: copying a file once unless it was replaced since, dropping what a later pass did not want, the
//! list of hashes. Out of scope: which files are wanted. Invariant: after [`Files::sweep`] the copy holds
//! exactly what the last pass took. About 250 bytes of memory are kept for each file, and its line of the
//! list at the end: some 500 MB for the 1.2 million files of 100 million entries.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::log::hash::Hash;
use crate::store::{CopiedFile, Copier, OpenSource};

use super::BackupError;

struct Held {
    file: CopiedFile,
    pass: u32,
}

/// Files copied so far.
pub(super) struct Files<'a> {
    pub(super) copier: Copier,
    held: BTreeMap<String, Held>,
    pass: u32,
    progress: &'a mut dyn FnMut(u64, u64),
    copied_bytes: u64,
}

impl<'a> Files<'a> {
    /// No files; `progress` is told how many there are and how many bytes were copied.
    pub(super) fn new(copier: Copier, progress: &'a mut dyn FnMut(u64, u64)) -> Self {
        Self { copier, held: BTreeMap::new(), pass: 0, progress, copied_bytes: 0 }
    }

    /// Begins another pass over a ledger.
    pub(super) fn begin_pass(&mut self) {
        self.pass += 1;
    }

    fn hold(&mut self, path: &str, file: CopiedFile) {
        self.copied_bytes = self.copied_bytes.saturating_add(file.bytes);
        self.held.insert(path.to_owned(), Held { file, pass: self.pass });
        (self.progress)(u64::try_from(self.held.len()).unwrap_or(u64::MAX), self.copied_bytes);
    }

    /// Copies a file unless the copy has this version of it; false where there is none.
    pub(super) fn take(&mut self, path: &str) -> Result<bool, BackupError> {
        if let Some(held) = self.held.get_mut(path)
            && held.file.stamp.is_some()
            && self.copier.stamp(path)? == held.file.stamp
        {
            held.pass = self.pass;
            return Ok(true);
        }
        let copied = self.copier.copy(path)?;
        copied.inspect(|file| self.hold(path, *file));
        Ok(copied.is_some())
    }

    /// Like [`Files::take`] for a file that never changes once it is there.
    pub(super) fn take_final(&mut self, path: &str) -> Result<bool, BackupError> {
        if let Some(held) = self.held.get_mut(path) {
            held.pass = self.pass;
            return Ok(true);
        }
        self.take(path)
    }

    /// Copies a file that was opened before.
    pub(super) fn take_open(&mut self, path: &str, source: OpenSource) -> Result<(), BackupError> {
        let file = self.copier.copy_open(source)?;
        self.hold(path, file);
        Ok(())
    }

    /// Puts bytes that were made into the copy.
    pub(super) fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let file = self.copier.write(path, bytes)?;
        self.hold(path, file);
        Ok(())
    }

    /// Cuts a copied file to `bytes`, or removes it where nothing is left.
    pub(super) fn cut(&mut self, path: &str, bytes: u64) -> Result<(), BackupError> {
        if bytes == 0 {
            self.held.remove(path);
            return Ok(self.copier.remove(path)?);
        }
        let file = self.copier.cut(path, bytes)?;
        self.hold(path, file);
        Ok(())
    }

    /// Drops what lies in `dir` and was not taken in the newest pass.
    pub(super) fn sweep(&mut self, dir: &str) -> Result<(), BackupError> {
        let inside = format!("{dir}/");
        let below = self.held.range(inside.clone()..).take_while(|(path, _)| path.starts_with(&inside));
        let stale = below.filter(|(_, held)| held.pass != self.pass).map(|(path, _)| path.clone());
        for path in stale.collect::<Vec<_>>() {
            self.held.remove(&path);
            self.copier.remove(&path)?;
        }
        Ok(())
    }

    /// How many files there are, and their bytes.
    pub(super) fn totals(&self) -> (u64, u64) {
        let bytes = self.held.values().map(|held| held.file.bytes).sum();
        (u64::try_from(self.held.len()).unwrap_or(u64::MAX), bytes)
    }

    /// The list of hashes, as `sha256sum` reads it.
    pub(super) fn list(&self) -> String {
        let mut list = String::new();
        for (path, held) in &self.held {
            let _ = writeln!(list, "{}  {path}", held.file.sha256);
        }
        list
    }
}

/// A line of the list: the hash and the path.
pub(super) fn list_line(line: &str) -> Option<(Hash, &str)> {
    let (hash, path) = line.split_once("  ")?;
    Some((hash.parse().ok()?, path))
}
