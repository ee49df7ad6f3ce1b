//! When events happened, kept aside for 256 of them at a time, so that a search over a span of time opens
//! only what lies in it.
//!
//! The time an event states is content: it lies in the sealed open part and nowhere in the log. The fold
//! keeps the times of each full bundle in the index, sealed under the ledger's own key.
//!
//! In scope: the rows, what is kept of them in memory, passing over what cannot be meant. Out of scope: the
//! events themselves, which a search still opens and compares. Invariants: a row only ever lets a search
//! pass over entries; where it is missing, everything is opened as if there were none; pruning an open
//! part must remove its bundle's row.
//!
//! ```text
//! row    sealed( least u64 ‖ greatest u64 ‖ 256 × (time − least) in the fewest whole bytes that hold
//!        greatest − least )      times in Unix microseconds; an event without one has its recorded time
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::entry::{Entry, EntryBody};
use crate::event::facet::Role;
use crate::event::json::{self, Object};
use crate::event::time;
use crate::log::tile::TILE_WIDTH;

use super::Shared;
use super::cache::Generations;
use super::error::LedgerError;
use super::snapshot::{Access, Snapshot};
use super::tail::Record;

/// Kind of what is sealed aside.
const KIND_TIMES: u8 = 1;

/// Entries of a bundle.
const WIDTH: usize = 256;

/// Rows kept in memory in each of two generations: 0.3 to 2 KiB each, up to 16 MB, two million events.
const CACHED_ROWS_MAX: usize = 4_096;

/// A span of time on the occurred clock, from its first moment to before its last, in Unix microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First moment.
    pub from_us: u64,
    /// First moment after it.
    pub to_us: u64,
}

impl Span {
    fn holds(self, at_us: u64) -> bool {
        self.from_us <= at_us && at_us < self.to_us
    }

    fn meets(self, (least_us, greatest_us): (u64, u64)) -> bool {
        least_us < self.to_us && self.from_us <= greatest_us
    }
}

/// When an event says it happened, in Unix microseconds; none where it does not say.
pub(super) fn stated_us(event: &Object) -> Option<u64> {
    let stated = time::unix_us(event.get("time")?.as_str()?)?;
    u64::try_from(stated).ok()
}

/// The times of one bundle.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Times {
    least_us: u64,
    greatest_us: u64,
    width: usize,
    offsets: Vec<u8>,
}

impl Times {
    fn new(times_us: &[u64]) -> Option<Self> {
        let (least_us, greatest_us) = (*times_us.iter().min()?, *times_us.iter().max()?);
        let zero_bytes = usize::try_from((greatest_us - least_us).leading_zeros() / 8).ok()?;
        let width = 8_usize.checked_sub(zero_bytes)?;
        let mut offsets = Vec::with_capacity(width * times_us.len());
        for at_us in times_us {
            let bytes = (at_us - least_us).to_be_bytes();
            offsets.extend_from_slice(bytes.get(zero_bytes..)?);
        }
        (times_us.len() == WIDTH).then_some(Self { least_us, greatest_us, width, offsets })
    }

    fn encode(&self) -> Vec<u8> {
        [&self.least_us.to_be_bytes()[..], &self.greatest_us.to_be_bytes(), &self.offsets].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (least, rest) = bytes.split_first_chunk::<8>()?;
        let (greatest, offsets) = rest.split_first_chunk::<8>()?;
        let (least_us, greatest_us) = (u64::from_be_bytes(*least), u64::from_be_bytes(*greatest));
        let width = offsets.len() / WIDTH;
        let fits = least_us <= greatest_us && width <= 8 && offsets.len() == width * WIDTH;
        fits.then(|| Self { least_us, greatest_us, width, offsets: offsets.to_vec() })
    }

    fn at(&self, entry: usize) -> Option<u64> {
        let from = entry.checked_mul(self.width)?;
        let bytes = self.offsets.get(from..from.checked_add(self.width)?)?;
        let offset = bytes.iter().fold(0_u64, |before, byte| (before << 8) | u64::from(*byte));
        self.least_us.checked_add(offset)
    }
}

/// Least and greatest time of each bundle, as far as its row was read; 16 bytes a bundle.
type Bounds = Vec<Option<(u64, u64)>>;

/// What is kept of the rows.
#[derive(Debug)]
pub(crate) struct TimesCache {
    rows: Mutex<Generations<u64, Times>>,
    bounds: Mutex<Bounds>,
}

impl Default for TimesCache {
    fn default() -> Self {
        Self { rows: Mutex::new(Generations::new(CACHED_ROWS_MAX)), bounds: Mutex::default() }
    }
}

/// A thread that panicked while it held one of these left a cache whole: each change is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TimesCache {
    fn keep(&self, bundle: u64, times: Arc<Times>) {
        let Ok(at) = usize::try_from(bundle) else { return };
        let mut bounds = lock(&self.bounds);
        if bounds.len() <= at {
            bounds.resize(at.saturating_add(1), None);
        }
        if let Some(known) = bounds.get_mut(at) {
            *known = Some((times.least_us, times.greatest_us));
        }
        drop(bounds);
        lock(&self.rows).insert(bundle, times);
    }

    fn forget(&self, bundle: u64) {
        let at = usize::try_from(bundle).unwrap_or(usize::MAX);
        if let Some(known) = lock(&self.bounds).get_mut(at) {
            *known = None;
        }
        lock(&self.rows).forget(bundle);
    }

    /// Whether nothing of a bundle is in `span`, as far as its bounds are known.
    fn misses(bounds: &Bounds, bundle: u64, span: Span) -> bool {
        let known = usize::try_from(bundle).ok().and_then(|at| bounds.get(at)).copied().flatten();
        known.is_some_and(|known| !span.meets(known))
    }
}

/// What is known of an entry before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    /// It may be in the span.
    Stay,
    /// It is not, nor is anything between it and this index.
    Next(u64),
    /// It is not, nor is anything before it.
    Start,
}

impl Shared {
    /// Keeps the times of a full bundle aside. `records` are its entries.
    pub(crate) fn keep_times(&self, bundle: u64, records: &[Arc<Record>]) -> Result<(), LedgerError> {
        let times_us: Vec<u64> = records.iter().map(|record| self.occurred_us(record)).collect();
        let Some(times) = Times::new(&times_us) else { return Ok(()) };
        self.seal_times(bundle, times)
    }

    fn seal_times(&self, bundle: u64, times: Times) -> Result<(), LedgerError> {
        let Some(sealed) = self.aside_key.seal(KIND_TIMES, bundle, &times.encode()) else {
            return Ok(());
        };
        self.indexed(self.index.keep_aside(bundle, &sealed))?;
        self.times.keep(bundle, Arc::new(times));
        Ok(())
    }

    /// Forgets the times of a bundle, since an open part in it is being pruned: what the part stated must
    /// not live on beside it. The next start keeps the others aside again.
    pub(crate) fn forget_times(&self, bundle: u64) -> Result<(), LedgerError> {
        self.indexed(self.index.forget_aside(bundle))?;
        self.times.forget(bundle);
        Ok(())
    }

    fn times_of(&self, bundle: u64) -> Result<Option<Arc<Times>>, LedgerError> {
        if let Some(times) = lock(&self.times.rows).get(bundle) {
            return Ok(Some(times));
        }
        let row = self.indexed(self.index.aside(bundle))?;
        let opened = row.and_then(|row| self.aside_key.open(KIND_TIMES, bundle, &row));
        let Some(times) = opened.and_then(|bytes| Times::decode(&bytes)).map(Arc::new) else {
            return Ok(None);
        };
        self.times.keep(bundle, Arc::clone(&times));
        Ok(Some(times))
    }

    /// When the event of a record in memory happened: as it was admitted, or as its open part says where
    /// the record was read back from the journal.
    fn occurred_us(&self, record: &Record) -> u64 {
        record.occurred_us.or_else(|| self.stated_us(record)).unwrap_or(record.time_us)
    }

    fn stated_us(&self, record: &Record) -> Option<u64> {
        let EntryBody::Event(body) = Entry::decode(&record.entry).ok()?.body else { return None };
        let part = record.parts.iter().find(|part| part.role == Role::OPEN)?;
        let (_, commitment) = body.parts.iter().find(|(role, _)| *role == Role::OPEN)?;
        let opened = self.open_key.open(self.id, &body.event_key, Role::OPEN, commitment, &part.blob);
        let event = json::parse(&opened.ok()?, &json::JsonLimits::default()).ok()?;
        stated_us(event.as_object()?)
    }
}

impl Snapshot {
    /// Keeps the times of a full bundle aside again, where its row was lost: with the index, or in a crash.
    /// True where it was; what is damaged is left as it is, for whoever reads it to meet.
    pub(crate) fn restore_times(&self, bundle: u64) -> Result<bool, LedgerError> {
        if self.shared.times_of(bundle)?.is_some() {
            return Ok(false);
        }
        let first = bundle.saturating_mul(TILE_WIDTH);
        let mut times_us = Vec::with_capacity(WIDTH);
        for index in first..first.saturating_add(TILE_WIDTH) {
            let Ok(Some(event)) = self.event(index, Access::Masked) else { return Ok(false) };
            times_us.push(event.occurred_us(&event.merged()));
        }
        if let Some(times) = Times::new(&times_us) {
            self.shared.seal_times(bundle, times)?;
        }
        Ok(true)
    }

    /// When the event at `index` happened: as it states, or when it was recorded where it states nothing
    /// that can still be read. Nothing is opened where its bundle's times are kept.
    pub(crate) fn occurred_at(&self, index: u64) -> Result<Option<u64>, LedgerError> {
        if let Some(times) = self.shared.times_of(index / TILE_WIDTH)? {
            return Ok(times.at(usize::try_from(index % TILE_WIDTH).unwrap_or(WIDTH)));
        }
        let event = self.event(index, Access::Masked)?;
        Ok(event.map(|event| event.occurred_us(&event.merged())))
    }

    /// Whether a search in `span` may pass over the entry at `index`, and how far, upwards or downwards.
    pub(crate) fn passing(&self, index: u64, span: Span, upwards: bool) -> Result<Passing, LedgerError> {
        let bundle = index / TILE_WIDTH;
        let Some(times) = self.shared.times_of(bundle)? else { return Ok(Passing::Stay) };
        let within = usize::try_from(index % TILE_WIDTH).unwrap_or(WIDTH);
        if times.at(within).is_none_or(|at_us| span.holds(at_us)) {
            return Ok(Passing::Stay);
        }
        let bounds = lock(&self.shared.times.bounds);
        let mut far = bundle;
        if upwards {
            while TimesCache::misses(&bounds, far, span) {
                far = far.saturating_add(1);
            }
            let next =
                if far == bundle { index.saturating_add(1) } else { far.saturating_mul(TILE_WIDTH) };
            return Ok(Passing::Next(next));
        }
        while TimesCache::misses(&bounds, far, span) {
            let Some(before) = far.checked_sub(1) else { return Ok(Passing::Start) };
            far = before;
        }
        let next = if far == bundle {
            index.checked_sub(1)
        } else {
            Some(far.saturating_mul(TILE_WIDTH).saturating_add(TILE_WIDTH - 1))
        };
        Ok(next.map_or(Passing::Start, Passing::Next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_in_the_fewest_bytes() {
        for (step, width) in [(0, 0), (1, 1), (256, 2), (1 << 20, 4), (u64::MAX / 256, 8)] {
            let times_us: Vec<u64> = (0..256).rev().map(|n| n * step + (step & 1)).collect();
            let times = Times::new(&times_us).unwrap();
            assert_eq!((times.width, times.offsets.len()), (width, 256 * width));
            let decoded = Times::decode(&times.encode()).unwrap();
            assert_eq!(decoded, times);
            for (at, at_us) in times_us.iter().enumerate() {
                assert_eq!(decoded.at(at), Some(*at_us), "step {step}");
            }
            assert_eq!(Times::decode(&times.encode()[..15]), None);
            assert_eq!(decoded.at(256).filter(|_| width > 0), None);
        }
        assert_eq!(Times::new(&[1; 255]), None);
    }
}
