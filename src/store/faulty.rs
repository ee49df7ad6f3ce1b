//! A storage that fails and crashes on request, **for tests**.
//!
//! It is public so that tests of every layer, and a simulation, can run over it; nothing that serves
//! users opens one. In scope: scheduled errors, loss of power at any call, and what a disk may hold
//! afterwards. Out of scope: damage to bytes that were durable, other than by
//! [`FaultyStorage::damage`].
//!
//! What a crash keeps: everything synced; of bytes not synced, a pseudo-random length and a
//! pseudo-random subset of 512-byte sectors, the others reading as zeros; of names not synced, a
//! pseudo-random subset of the creations, replacements and removals, each on its own. That is harsher
//! than any file system in use, which at least keeps the order of names.
//!
//! Invariant: the same seed and the same calls give the same storage, byte for byte.

use std::fmt;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard};

use super::memory::{is_in, len_u64, locked, names_in, range_of};
use super::{AppendFile, Operation, Storage, StoreError, check_dir, check_path};

mod model;

use model::{Inode, Names, State};

/// An error to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedFault {
    /// The disk reports an input/output error (EIO).
    InputOutput,
    /// The disk is full (ENOSPC).
    Full,
}

impl InjectedFault {
    fn error(self, operation: Operation, path: &str) -> StoreError {
        match self {
            Self::InputOutput => {
                StoreError::new(operation, path, ErrorKind::Other, "injected input/output error")
            }
            Self::Full => StoreError::new(operation, path, ErrorKind::StorageFull, "injected full disk"),
        }
    }
}

/// A [`Storage`] in memory with a disk's failures. For tests.
///
/// ```
/// use counterfoil::store::{FaultyStorage, Storage};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let storage = FaultyStorage::new(7);
/// storage.write_durable("checkpoint", b"1")?;
/// storage.write("tile/0/000", b"2")?;
/// storage.crash();
/// assert_eq!(storage.read("checkpoint")?.as_deref(), Some(&b"1"[..]));
/// # Ok(())
/// # }
/// ```
pub struct FaultyStorage {
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for FaultyStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = locked(&self.state);
        f.debug_struct("FaultyStorage")
            .field("files", &state.names.len())
            .field("changes", &state.changes)
            .finish()
    }
}

impl FaultyStorage {
    /// An empty storage whose chances all follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// Makes the `nth` coming call of `operation` fail, the next one being the first. An append or a
    /// write that fails may have written a part; a sync that fails, fails for ever on that file.
    pub fn fail_nth(&self, operation: Operation, nth: u64, fault: InjectedFault) {
        locked(&self.state).scheduled.push((operation, nth.max(1), fault));
    }

    /// Cuts the power in the midst of the changing call after the next `changes` ones. That call and
    /// all others then fail until [`FaultyStorage::crash`] is called.
    pub fn cut_power_after(&self, changes: u64) {
        locked(&self.state).power_left = Some(changes);
    }

    /// How many changing calls were made so far: a bound for [`FaultyStorage::cut_power_after`].
    #[must_use]
    pub fn changes(&self) -> u64 {
        locked(&self.state).changes
    }

    /// Loses power and comes back: see the module's text for what is left. Scheduled faults are
    /// forgotten, and append handles from before are dead.
    pub fn crash(&self) {
        locked(&self.state).crash();
    }

    /// Changes bytes of a file as a failing disk or a hostile hand does: at once and durably.
    /// Gives whether there is such a file.
    pub fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let state = locked(&self.state);
        let Some(inode) = state.names.get(path) else { return false };
        let mut inode = locked(inode);
        let was_synced = inode.is_synced();
        change(&mut inode.data);
        let len = inode.data.len();
        inode.synced_len = if was_synced { len } else { inode.synced_len.min(len) };
        true
    }

    /// Starts a reading call.
    fn reading(&self, operation: Operation, path: &str) -> Result<MutexGuard<'_, State>, StoreError> {
        let mut state = locked(&self.state);
        state.check_power(operation, path)?;
        match state.due(operation) {
            Some(fault) => Err(fault.error(operation, path)),
            None => Ok(state),
        }
    }

    fn inode(names: &Names, operation: Operation, path: &str) -> Result<Arc<Mutex<Inode>>, StoreError> {
        names.get(path).cloned().ok_or_else(|| StoreError::missing(operation, path))
    }
}

impl Storage for FaultyStorage {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_path(Operation::Read, path)?;
        let state = self.reading(Operation::Read, path)?;
        Ok(state.names.get(path).map(|inode| locked(inode).data.clone()))
    }

    fn len(&self, path: &str) -> Result<Option<u64>, StoreError> {
        check_path(Operation::Read, path)?;
        let state = self.reading(Operation::Read, path)?;
        Ok(state.names.get(path).map(|inode| len_u64(&locked(inode).data)))
    }

    fn read_range(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        check_path(Operation::Read, path)?;
        let state = self.reading(Operation::Read, path)?;
        let inode = Self::inode(&state.names, Operation::Read, path)?;
        range_of(path, &locked(&inode).data, offset, len)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_path(Operation::Write, path)?;
        let mut state = locked(&self.state);
        // Half done is undone: what was on its way has no name that a reader could find.
        state.change(Operation::Write, path, |_| ())?;
        let inode = Inode::new(bytes, 0);
        state.dirty.push(Arc::clone(&inode));
        state.rename(path, Some(inode));
        Ok(())
    }

    fn write_durable(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_path(Operation::Write, path)?;
        let mut state = locked(&self.state);
        let inode = Inode::new(bytes, bytes.len());
        let half = |state: &mut State| {
            // The file is synced before it is renamed, so the name can only be missing, never torn.
            if state.random.coin() {
                state.rename(path, Some(Arc::clone(&inode)));
            }
        };
        state.change(Operation::Write, path, |_| ())?;
        state.change(Operation::Sync, path, half)?;
        state.rename(path, Some(Arc::clone(&inode)));
        state.sync_name(path);
        Ok(())
    }

    fn sync_round(&self) -> Result<(), StoreError> {
        let mut state = locked(&self.state);
        if state.is_sync_broken {
            return Err(StoreError::after_failure(Operation::Sync, ""));
        }
        let synced = state.change(Operation::Sync, "", |state| {
            if state.random.coin() {
                state.sync_all();
            }
        });
        if synced.is_ok() {
            state.sync_all();
        } else {
            state.is_sync_broken = true;
        }
        synced
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        check_dir(Operation::List, dir)?;
        let state = self.reading(Operation::List, dir)?;
        Ok(names_in(dir, state.names.keys().map(String::as_str)))
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        check_path(Operation::Remove, path)?;
        let mut state = locked(&self.state);
        state.change(Operation::Remove, path, |_| ())?;
        if state.names.contains_key(path) {
            state.rename(path, None);
        }
        Ok(())
    }

    fn remove_tree(&self, dir: &str) -> Result<(), StoreError> {
        check_path(Operation::Remove, dir)?;
        let mut state = locked(&self.state);
        let below: Vec<String> = state.names.keys().filter(|path| is_in(dir, path)).cloned().collect();
        state.change(Operation::Remove, dir, |state| {
            for path in &below {
                if state.random.coin() {
                    state.rename(path, None);
                }
            }
        })?;
        for path in &below {
            state.rename(path, None);
        }
        Ok(())
    }

    fn open_append(&self, path: &str, expected_len: u64) -> Result<Box<dyn AppendFile>, StoreError> {
        check_path(Operation::Open, path)?;
        let mut state = locked(&self.state);
        state.check_power(Operation::Open, path)?;
        let found = state.names.get(path).map_or(0, |inode| len_u64(&locked(inode).data));
        if found != expected_len {
            return Err(StoreError::unexpected_len(path, expected_len, found));
        }
        let create = |state: &mut State| state.rename(path, Some(Inode::new(b"", 0)));
        let is_new = !state.names.contains_key(path);
        state.change(Operation::Open, path, |state| {
            if is_new {
                create(state);
            }
        })?;
        if is_new {
            create(&mut state);
        }
        state.sync_name(path);
        let inode = Self::inode(&state.names, Operation::Open, path)?;
        let (path, state, life) = (path.to_owned(), Arc::clone(&self.state), state.life);
        Ok(Box::new(FaultyAppend { path, state, life, inode, has_failed: false }))
    }

    fn truncate(&self, path: &str, len: u64) -> Result<(), StoreError> {
        check_path(Operation::Truncate, path)?;
        let mut state = locked(&self.state);
        state.check_power(Operation::Truncate, path)?;
        let inode = Self::inode(&state.names, Operation::Truncate, path)?;
        let found = len_u64(&locked(&inode).data);
        let cut = usize::try_from(len).ok().filter(|_| len <= found);
        let cut = cut.ok_or_else(|| StoreError::too_short(Operation::Truncate, path, len, found))?;
        let truncate = || locked(&inode).truncate(cut);
        state.change(Operation::Truncate, path, |state| {
            if state.random.coin() {
                truncate();
            }
        })?;
        truncate();
        Ok(())
    }
}

struct FaultyAppend {
    path: String,
    state: Arc<Mutex<State>>,
    /// Which life of the storage the handle belongs to; a crash ends one.
    life: u64,
    inode: Arc<Mutex<Inode>>,
    has_failed: bool,
}

impl fmt::Debug for FaultyAppend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyAppend")
            .field("path", &self.path)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl FaultyAppend {
    fn check(&self, operation: Operation) -> Result<(), StoreError> {
        let is_dead = locked(&self.state).life != self.life;
        if is_dead
            || self.has_failed
            || (operation == Operation::Sync && locked(&self.inode).is_sync_broken)
        {
            return Err(StoreError::after_failure(operation, &self.path));
        }
        Ok(())
    }
}

impl AppendFile for FaultyAppend {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.check(Operation::Append)?;
        let mut state = locked(&self.state);
        let was_clean = locked(&self.inode).is_synced();
        let appended = state.change(Operation::Append, &self.path, |state| {
            let part = state.random.below(bytes.len().saturating_add(1));
            locked(&self.inode).data.extend_from_slice(bytes.get(..part).unwrap_or_default());
        });
        let mut inode = locked(&self.inode);
        match appended {
            Ok(()) => inode.data.extend_from_slice(bytes),
            Err(_) => self.has_failed = true,
        }
        if was_clean {
            state.dirty.push(Arc::clone(&self.inode));
        }
        appended
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.check(Operation::Sync)?;
        let mut state = locked(&self.state);
        let synced = state.change(Operation::Sync, &self.path, |state| {
            if state.random.coin() {
                locked(&self.inode).sync();
            }
        });
        let mut inode = locked(&self.inode);
        if synced.is_ok() {
            inode.sync();
            state.dirty.retain(|dirty| !Arc::ptr_eq(dirty, &self.inode));
        } else {
            self.has_failed = true;
            inode.is_sync_broken = true;
            state.is_sync_broken = true;
        }
        synced
    }

    fn len(&self) -> u64 {
        len_u64(&locked(&self.inode).data)
    }
}

#[cfg(test)]
mod tests;
