//! sled behind a fence: every call is caught, timed where it can hang, and speaks bytes.
//!
//! In scope: opening on a thread of its own, get, ordered look-ups, insert, remove, flush, shutting
//! down. Out of scope: what the rows mean. Invariants: no panic of sled's passes this module; no
//! transactions, merge operators, compression or subscriptions are used, and no batch (a batch takes
//! sled's process-wide write lock and pins its memory; one row is atomic without it).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use sled::IVec;

use super::error::{IndexError, from_sled};

/// How long sled may take to stop. It needs one flush, well under a second on a slow disk; where its
/// flusher thread has died it never stops, and waiting for it would hang the ledger's own shutdown.
const SHUTDOWN_MS_MAX: u64 = 10_000;
/// How often, and how many times, a directory still locked is tried again: sled releases its lock from
/// a background thread a moment after the last handle is dropped. 100 × 20 ms = 2 s.
const LOCK_RETRY_MS: u64 = 20;
const LOCK_RETRIES_MAX: u32 = 100;

/// An open sled database.
#[derive(Debug)]
pub(super) struct Database {
    db: Option<sled::Db>,
}

/// One row.
pub(super) type Row = (IVec, IVec);

fn guarded<T>(
    what: &'static str,
    call: impl FnOnce() -> Result<T, sled::Error>,
) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(from_sled(what, &error)),
        Err(_) => Err(IndexError::Panicked { what }),
    }
}

fn is_lock_refusal(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(e) if e.to_string().contains("could not acquire lock"))
}

impl Database {
    /// Opens `dir` on a thread of its own, so that a panic in sled ends that thread only.
    pub(super) fn open(
        dir: &Path,
        cache_capacity_bytes: u64,
        flush_every_ms: u64,
    ) -> Result<Self, IndexError> {
        let config = || {
            sled::Config::new()
                .path(dir)
                .cache_capacity(cache_capacity_bytes)
                .flush_every_ms(Some(flush_every_ms))
                .print_profile_on_drop(false)
        };
        for _ in 0..LOCK_RETRIES_MAX {
            let attempt = config();
            let opened = thread::Builder::new()
                .name("index-open".to_owned())
                .spawn(move || catch_unwind(AssertUnwindSafe(|| attempt.open())))
                .map_err(|source| IndexError::Io { what: "start a thread", source })?
                .join();
            match opened {
                Ok(Ok(Ok(db))) => return Ok(Self { db: Some(db) }),
                Ok(Ok(Err(error))) if is_lock_refusal(&error) => {
                    thread::park_timeout(Duration::from_millis(LOCK_RETRY_MS));
                }
                Ok(Ok(Err(error))) => return Err(from_sled("open its files", &error)),
                Ok(Err(_)) | Err(_) => return Err(IndexError::Panicked { what: "open" }),
            }
        }
        Err(IndexError::Locked)
    }

    fn db(&self) -> Result<&sled::Db, IndexError> {
        self.db.as_ref().ok_or(IndexError::Closed)
    }

    /// The value under `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, IndexError> {
        let db = self.db()?;
        guarded("read", || db.get(key))
    }

    /// The last row with `from <= key <= to`.
    pub(super) fn last_between(&self, from: &[u8], to: &[u8]) -> Result<Option<Row>, IndexError> {
        let db = self.db()?;
        guarded("read", || db.range(from..=to).next_back().transpose())
    }

    /// The first row with `from <= key < before`.
    pub(super) fn first_between(&self, from: &[u8], before: &[u8]) -> Result<Option<Row>, IndexError> {
        let db = self.db()?;
        guarded("read", || db.range(from..before).next().transpose())
    }

    /// Up to `limit` keys with `from <= key < before`.
    pub(super) fn keys_between(
        &self,
        from: &[u8],
        before: &[u8],
        limit: usize,
    ) -> Result<Vec<IVec>, IndexError> {
        let db = self.db()?;
        guarded("read", || db.range(from..before).keys().take(limit).collect())
    }

    /// Stores one row.
    pub(super) fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), IndexError> {
        let db = self.db()?;
        guarded("write", || db.insert(key, value).map(|_| ()))
    }

    /// Removes one row.
    pub(super) fn remove(&self, key: &[u8]) -> Result<(), IndexError> {
        let db = self.db()?;
        guarded("remove", || db.remove(key).map(|_| ()))
    }

    /// Hands buffered writes to the operating system. Not an fsync: sled's flusher does that.
    pub(super) fn flush(&self) -> Result<(), IndexError> {
        let db = self.db()?;
        guarded("flush", || db.flush().map(|_| ()))
    }

    /// Bytes of sled's files.
    pub(super) fn size_on_disk_bytes(&self) -> Result<u64, IndexError> {
        let db = self.db()?;
        guarded("measure its files", || db.size_on_disk())
    }

    /// Flushes, then drops sled's handle on a thread of its own and waits for its flusher.
    pub(super) fn shut_down(mut self) -> Result<(), IndexError> {
        let flushed = self.flush();
        self.release()?;
        flushed
    }

    fn release(&mut self) -> Result<(), IndexError> {
        let Some(db) = self.db.take() else { return Ok(()) };
        let (done, wait) = channel();
        thread::Builder::new()
            .name("index-close".to_owned())
            .spawn(move || {
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(db))).is_ok();
                // The receiver is gone only after it stopped waiting.
                let _ = done.send(dropped);
            })
            .map_err(|source| IndexError::Io { what: "start a thread", source })?;
        match wait.recv_timeout(Duration::from_millis(SHUTDOWN_MS_MAX)) {
            Ok(true) => Ok(()),
            Ok(false) | Err(RecvTimeoutError::Disconnected) => {
                Err(IndexError::Panicked { what: "shut down" })
            }
            Err(RecvTimeoutError::Timeout) => {
                Err(IndexError::CloseTimeout { waited_ms: SHUTDOWN_MS_MAX })
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Nobody is left to tell: whoever wants to know calls `shut_down`.
        let _ = self.release();
    }
}
