//! The faulty storage's disk: what is there, what of it is durable, and what a crash leaves.
//!
//! Invariant: chances are drawn only here and by calls, in the order of the calls.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use super::super::memory::locked;
use super::super::{Operation, StoreError};
use super::InjectedFault;

/// The unit a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

pub(super) type Names = BTreeMap<String, Arc<Mutex<Inode>>>;

/// A file's bytes, apart from its name.
pub(super) struct Inode {
    pub(super) data: Vec<u8>,
    /// How many of the bytes, from the start, are durable.
    pub(super) synced_len: usize,
    pub(super) is_sync_broken: bool,
}

impl Inode {
    pub(super) fn new(bytes: &[u8], synced_len: usize) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { data: bytes.to_vec(), synced_len, is_sync_broken: false }))
    }

    pub(super) fn sync(&mut self) {
        self.synced_len = self.data.len();
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced_len == self.data.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.data.truncate(len);
        self.synced_len = self.synced_len.min(len);
    }

    /// Loses what a crash may lose.
    fn crash(&mut self, random: &mut Random) {
        let unsynced = self.data.len().saturating_sub(self.synced_len);
        let kept = match random.below(3) {
            0 => unsynced,
            1 => 0,
            _ => random.below(unsynced.saturating_add(1)),
        };
        self.data.truncate(self.synced_len.saturating_add(kept));
        let loses_sectors = random.coin();
        let mut begin = self.synced_len;
        while loses_sectors && begin < self.data.len() {
            let end = (begin / SECTOR_BYTES + 1).saturating_mul(SECTOR_BYTES).min(self.data.len());
            if random.coin() {
                self.data.get_mut(begin..end).unwrap_or_default().fill(0);
            }
            begin = end;
        }
        self.sync();
        self.is_sync_broken = false;
    }
}

/// Numbers that look random and follow from a seed (xorshift64*, Vigna 2016).
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number less than `end`, or 0 where `end` is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.next() >> 11) % end).unwrap_or(0)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }
}

pub(super) struct State {
    pub(super) random: Random,
    /// What a reader sees.
    pub(super) names: Names,
    /// What a crash cannot take.
    durable_names: Names,
    /// Changes of names since, in order; `None` is a removal.
    pending: Vec<(String, Option<Arc<Mutex<Inode>>>)>,
    /// Files that may hold unsynced bytes.
    pub(super) dirty: Vec<Arc<Mutex<Inode>>>,
    /// Faults to come, with how many calls of their kind away they are.
    pub(super) scheduled: Vec<(Operation, u64, InjectedFault)>,
    /// Changing calls made.
    pub(super) changes: u64,
    /// Changing calls until the power goes; `None` where it stays.
    pub(super) power_left: Option<u64>,
    is_off: bool,
    /// Whether a sync failed, so that no round can succeed any more.
    pub(super) is_sync_broken: bool,
    /// Counts crashes.
    pub(super) life: u64,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        // Spread so that neighbouring seeds differ from the first draw, and never 0, where xorshift
        // stands still.
        let spread = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self {
            random: Random(spread),
            names: Names::new(),
            durable_names: Names::new(),
            pending: Vec::new(),
            dirty: Vec::new(),
            scheduled: Vec::new(),
            changes: 0,
            power_left: None,
            is_off: false,
            is_sync_broken: false,
            life: 0,
        }
    }

    pub(super) fn check_power(&self, operation: Operation, path: &str) -> Result<(), StoreError> {
        if self.is_off {
            return Err(StoreError::new(operation, path, ErrorKind::Other, "the power is off"));
        }
        Ok(())
    }

    /// The fault that is due at this call, if one is.
    pub(super) fn due(&mut self, operation: Operation) -> Option<InjectedFault> {
        let mut due = None;
        self.scheduled.retain_mut(|(kind, left, fault)| {
            if *kind == operation {
                *left -= 1;
                if *left == 0 {
                    due = Some(*fault);
                }
            }
            *left > 0
        });
        due
    }

    /// Starts a changing call; where it is to fail, does what `half` of it does.
    pub(super) fn change(
        &mut self,
        operation: Operation,
        path: &str,
        half: impl FnOnce(&mut Self),
    ) -> Result<(), StoreError> {
        self.check_power(operation, path)?;
        self.changes += 1;
        match &mut self.power_left {
            Some(0) => self.is_off = true,
            Some(left) => *left -= 1,
            None => {}
        }
        let due = self.due(operation);
        if self.is_off {
            half(self);
            return self.check_power(operation, path);
        }
        match due {
            Some(fault) => {
                half(self);
                Err(fault.error(operation, path))
            }
            None => Ok(()),
        }
    }

    /// Puts `inode` under `path`, or nothing, as readers see it; not durably.
    pub(super) fn rename(&mut self, path: &str, inode: Option<Arc<Mutex<Inode>>>) {
        match &inode {
            Some(inode) => self.names.insert(path.to_owned(), Arc::clone(inode)),
            None => self.names.remove(path),
        };
        self.pending.push((path.to_owned(), inode));
    }

    /// Makes what `path` names durable.
    pub(super) fn sync_name(&mut self, path: &str) {
        self.pending.retain(|(pending, _)| pending != path);
        match self.names.get(path) {
            Some(inode) => self.durable_names.insert(path.to_owned(), Arc::clone(inode)),
            None => self.durable_names.remove(path),
        };
    }

    /// Makes everything durable.
    pub(super) fn sync_all(&mut self) {
        for (path, inode) in std::mem::take(&mut self.pending) {
            apply(&mut self.durable_names, path, inode);
        }
        for inode in std::mem::take(&mut self.dirty) {
            locked(&inode).sync();
        }
    }

    pub(super) fn crash(&mut self) {
        for (path, inode) in std::mem::take(&mut self.pending) {
            if self.random.coin() {
                apply(&mut self.durable_names, path, inode);
            }
        }
        for inode in self.durable_names.values() {
            locked(inode).crash(&mut self.random);
        }
        self.names = self.durable_names.clone();
        self.dirty.clear();
        self.scheduled.clear();
        self.power_left = None;
        self.is_off = false;
        self.is_sync_broken = false;
        self.life += 1;
    }
}

fn apply(names: &mut Names, path: String, inode: Option<Arc<Mutex<Inode>>>) {
    match inode {
        Some(inode) => names.insert(path, inode),
        None => names.remove(&path),
    };
}
