//! Receipts on disk.
//!
//! In scope: one NDJSON file a day (UTC), appended to and synced. Out of scope: judging receipts.
//! Invariants: a receipt is durable before its event counts as acknowledged; a line that was not
//! finished is cut before the next one is written; what is kept is what `counterfoil verify` reads.

use crate::prove::receipt::{RECEIPT_BYTES_MAX, Receipt, recorded_at};
use crate::store::{AppendFile, Storage, StoreError};

use super::directory::Directory;

/// Longest piece of a file's end that is searched for its last newline: one receipt.
const TAIL_BYTES_MAX: u64 = RECEIPT_BYTES_MAX as u64;

/// The receipts of one ledger.
#[derive(Debug)]
pub(super) struct Receipts {
    directory: Directory,
    file: Option<(String, Box<dyn AppendFile>)>,
}

impl Receipts {
    pub(super) fn new(directory: Directory) -> Self {
        Self { directory, file: None }
    }

    /// Keeps receipts, durably, in the file of the day that `now_us` lies in.
    pub(super) fn keep<'r>(
        &mut self,
        receipts: impl Iterator<Item = &'r Receipt>,
        now_us: u64,
    ) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        for receipt in receipts {
            receipt.write_json(&mut bytes);
            bytes.push(b'\n');
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let now = recorded_at(now_us);
        let path = format!("receipts-{}.ndjson", now.split('T').next().unwrap_or("undated"));
        let file = match &mut self.file {
            Some((open, file)) if *open == path => file,
            other => {
                let length = whole_lines(&*self.directory.storage, &path)?;
                let file = self.directory.storage.open_append(&path, length)?;
                &mut other.insert((path, file)).1
            }
        };
        let kept = file.append(&bytes).and_then(|()| file.sync());
        if kept.is_err() {
            // The next attempt cuts what was not finished.
            self.file = None;
        }
        kept
    }
}

/// Cuts an unfinished last line and gives the file's length.
fn whole_lines(storage: &impl Storage, path: &str) -> Result<u64, StoreError> {
    let Some(length) = storage.len(path)? else { return Ok(0) };
    let from = length.saturating_sub(TAIL_BYTES_MAX);
    let tail = storage.read_range(path, from, usize::try_from(length - from).unwrap_or(usize::MAX))?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = from + u64::try_from(whole).unwrap_or(u64::MAX);
    if end < length {
        storage.truncate(path, end)?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::hash::{Hash, LogIndex};

    const DAY_US: u64 = 86_400_000_000;

    fn receipt(index: u64) -> Receipt {
        Receipt {
            ledger: "main".into(),
            origin: "ledger.example/main".into(),
            index: LogIndex(index),
            id: format!("e-{index}"),
            leaf_hash: Hash([7; 32]),
            recorded_at: recorded_at(5),
            replayed: false,
            compared: None,
            full: None,
        }
    }

    #[test]
    fn a_line_torn_anywhere_is_cut_and_days_have_files_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let line = receipt(2).to_json();
        for cut in 0..=line.len() {
            let path = dir.path().join(format!("{cut}"));
            let directory = Directory::open(&path).unwrap();
            let mut kept = Receipts::new(directory.clone());
            kept.keep([receipt(1)].iter(), 5).unwrap();
            let file = path.join("receipts-1970-01-01.ndjson");
            let whole = std::fs::read(&file).unwrap();
            let mut torn = whole.clone();
            torn.extend_from_slice(&line[..cut]);
            #[allow(clippy::disallowed_methods, reason = "a test tears a file")]
            std::fs::write(&file, &torn).unwrap();
            let mut kept = Receipts::new(directory);
            kept.keep([receipt(3)].iter(), 6).unwrap();
            kept.keep([receipt(4)].iter(), DAY_US).unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            let indexes = text.lines().map(|line| Receipt::parse(line.as_bytes()).unwrap().index.0);
            assert_eq!(indexes.collect::<Vec<_>>(), [1, 3], "cut at {cut}");
            assert!(path.join("receipts-1970-01-02.ndjson").exists());
        }
    }

    #[test]
    fn only_the_owner_may_read_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kept");
        let mut kept = Receipts::new(Directory::open(&path).unwrap());
        kept.keep([receipt(1)].iter(), 5).unwrap();
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("receipts-1970-01-01.ndjson")), 0o600);
    }
}
