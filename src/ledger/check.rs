//! The index and the vault's persons, held against the log.
//!
//! In scope: that every key of every entry is in the index and that the index has no key which its entry
//! has not; the same for persons and their vault slots. Out of scope: the log itself, which
//! [`crate::prove::verify_log`] verifies.
//!
//! Both sides are added up in blocks of 256 positions, each row as a keyed hash, and only blocks whose sums
//! differ are compared row by row. The key is fresh for each check, so that no damage can be made to add up
//! to nothing; a difference is missed with probability 2^-128 a block.
//!
//! Invariants: one pass over the log and one over the index, two where they differ; memory is 16 bytes a
//! block, and the rows of at most [`BLOCKS_COMPARED_MAX`] blocks.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::random_fill;
use crate::event::entry::{Entry, EntryBody};
use crate::event::facet::Facet;
use crate::index::{FACET_DIRECTORY, FACET_EVENT_KEY, Row, Term};
use crate::log::hash::sha256;
use crate::log::tile::TILE_WIDTH;
use crate::vault::SlotNumber;

use super::error::LedgerError;
use super::sequencer::index_terms;
use super::snapshot::Snapshot;

/// Blocks that are compared row by row: 256 entries with 33 rows of 24 bytes each, 13 MB.
const BLOCKS_COMPARED_MAX: usize = 64;

/// Differences that are listed; further ones are counted.
const DIFFERENCES_LISTED: usize = 64;

/// Rows of the index between two calls of `rest`.
const ROWS_BETWEEN_RESTS: u64 = 4_096;

/// What the comparison found.
#[derive(Debug, Default)]
pub struct IndexCheck {
    /// Entries whose keys were looked for.
    pub entries: u64,
    /// Rows of the index that speak of them, persons' rows included.
    pub rows: u64,
    /// Persons whose vault slots were read.
    pub persons: u64,
    /// Places and what is wrong there, the first ones.
    pub differences: Vec<(String, String)>,
    /// How many differences there are.
    pub different: u64,
}

impl IndexCheck {
    fn add(&mut self, place: String, what: impl Into<String>) {
        self.different += 1;
        if self.differences.len() < DIFFERENCES_LISTED {
            self.differences.push((place, what.into()));
        }
    }
}

/// Sums of keyed hashes by block.
struct Sums {
    key: [u8; 16],
    log: Vec<u128>,
    slots: Vec<u128>,
}

impl Sums {
    fn add(&mut self, row: Row, sign: i8) {
        let sums = if row.facet == FACET_DIRECTORY { &mut self.slots } else { &mut self.log };
        let block = usize::try_from(row.value / TILE_WIDTH).ok();
        let Some(sum) = block.and_then(|block| sums.get_mut(block)) else { return };
        let mut bytes = [0_u8; 33];
        let pieces = [&self.key[..], &[row.facet], &row.print.to_be_bytes(), &row.value.to_be_bytes()];
        for (to, from) in bytes.iter_mut().zip(pieces.concat()) {
            *to = from;
        }
        let digest = sha256(&bytes);
        let digest = digest.as_bytes().first_chunk().map_or(0, |head| u128::from_be_bytes(*head));
        *sum = if sign > 0 { sum.wrapping_add(digest) } else { sum.wrapping_sub(digest) };
    }

    /// Blocks of the log, or of slots, whose two sides differ.
    fn different(sums: &[u128]) -> BTreeSet<u64> {
        (0_u64..).zip(sums).filter(|(_, sum)| **sum != 0).map(|(block, _)| block).collect()
    }
}

impl Snapshot {
    /// Compares the index with this view in both directions, and persons' rows with the vault's slots.
    /// `rest` is called now and then with the entries done so far, for the caller to rest in.
    ///
    /// # Errors
    /// What reading the log or the vault reports. An index that cannot be read is a difference, not an
    /// error; it is then rebuilt by the next start.
    pub fn check_index(&self, rest: &mut dyn FnMut(u64)) -> Result<IndexCheck, LedgerError> {
        let size = self.size().0;
        let mut check = IndexCheck { entries: size, ..IndexCheck::default() };
        let mut key = [0_u8; 16];
        random_fill(&mut key)?;
        let blocks = usize::try_from(size.div_ceil(TILE_WIDTH)).unwrap_or(usize::MAX);
        let mut sums = Sums { key, log: vec![0; blocks], slots: Vec::new() };
        let mut through_slot = SlotNumber::FIRST_PERSON.0;
        for index in 0..size {
            let body = self.rows_of(index, |row| sums.add(row, 1))?;
            if let Some(EntryBody::PersonsRegistered { through_slot: through, .. }) = body {
                through_slot = through_slot.max(through);
            }
            if index.is_multiple_of(TILE_WIDTH) {
                rest(index);
            }
        }
        let slots = usize::try_from(through_slot.div_ceil(TILE_WIDTH)).unwrap_or(usize::MAX);
        sums.slots = vec![0; slots];
        let mut gone = BTreeSet::new();
        for slot in SlotNumber::FIRST_PERSON.0..through_slot {
            match self.row_of_slot(slot)? {
                Some(row) => {
                    check.persons += 1;
                    sums.add(row, 1);
                }
                None => drop(gone.insert(slot)),
            }
            if slot.is_multiple_of(TILE_WIDTH) {
                rest(size);
            }
        }
        let in_view = |row: &Row| match row.facet {
            FACET_DIRECTORY => {
                (SlotNumber::FIRST_PERSON.0..through_slot).contains(&row.value)
                    && !gone.contains(&row.value)
            }
            _ => row.value < size,
        };
        let walked = self.shared.index.each_row(|row| {
            if in_view(&row) {
                check.rows += 1;
                sums.add(row, -1);
                if check.rows.is_multiple_of(ROWS_BETWEEN_RESTS) {
                    rest(size);
                }
            }
        });
        if let Err(error) = walked {
            self.unreadable(&error.into(), &mut check);
            return Ok(check);
        }
        let (log, slots) = (Sums::different(&sums.log), Sums::different(&sums.slots));
        if !(log.is_empty() && slots.is_empty()) {
            self.compare(&log, &slots, &in_view, &mut check)?;
        }
        Ok(check)
    }

    /// Gives the rows of the entry at `index` to `each`, and returns what the entry says.
    fn rows_of(&self, index: u64, mut each: impl FnMut(Row)) -> Result<Option<EntryBody>, LedgerError> {
        let Some((_, Entry { body, .. })) = self.decoded(index)? else { return Ok(None) };
        let event_key = match &body {
            EntryBody::Event(event) => Some(event.event_key),
            _ => None,
        };
        let mut terms = Vec::new();
        index_terms(index, &body, event_key, &mut terms);
        for (value, term) in &terms {
            each(term.row(*value));
        }
        Ok(Some(body))
    }

    /// The row of the person in a vault slot; none where the slot was emptied.
    fn row_of_slot(&self, slot: u64) -> Result<Option<Row>, LedgerError> {
        let person = self.shared.directory.by_slot(SlotNumber(slot))?;
        Ok(person.map(|person| {
            Term { facet: FACET_DIRECTORY, key: *person.directory_key.as_bytes() }.row(slot)
        }))
    }

    /// The index cannot be walked to its end: it is not used by the next start.
    fn unreadable(&self, error: &LedgerError, check: &mut IndexCheck) {
        let _ = self.shared.index.condemn();
        check.add("index".to_owned(), error.to_string());
    }

    /// Compares blocks row by row.
    fn compare(
        &self,
        log: &BTreeSet<u64>,
        slots: &BTreeSet<u64>,
        in_view: &dyn Fn(&Row) -> bool,
        check: &mut IndexCheck,
    ) -> Result<(), LedgerError> {
        let log: BTreeSet<u64> = log.iter().copied().take(BLOCKS_COMPARED_MAX).collect();
        let slots: BTreeSet<u64> = slots.iter().copied().take(BLOCKS_COMPARED_MAX).collect();
        // Value and row on the left in the log only, on the right in the index only.
        let mut sides: BTreeMap<(bool, u64, Row), i8> = BTreeMap::new();
        let size = self.size().0;
        for index in log.iter().flat_map(|block| block * TILE_WIDTH..(block + 1) * TILE_WIDTH) {
            if index < size {
                self.rows_of(index, |row| {
                    sides.insert((false, index, row), 1);
                })?;
            }
        }
        for slot in slots.iter().flat_map(|block| block * TILE_WIDTH..(block + 1) * TILE_WIDTH) {
            if slot >= SlotNumber::FIRST_PERSON.0
                && let Some(row) = self.row_of_slot(slot)?.filter(in_view)
            {
                sides.insert((true, slot, row), 1);
            }
        }
        let walked = self.shared.index.each_row(|row| {
            let is_slot = row.facet == FACET_DIRECTORY;
            let blocks = if is_slot { &slots } else { &log };
            if in_view(&row) && blocks.contains(&(row.value / TILE_WIDTH)) {
                let found = (is_slot, row.value, row);
                if sides.remove(&found).is_none() {
                    sides.insert(found, -1);
                }
            }
        });
        if let Err(error) = walked {
            self.unreadable(&error.into(), check);
            return Ok(());
        }
        for ((is_slot, value, row), side) in sides {
            let place = if is_slot { format!("vault slot {value}") } else { format!("entry {value}") };
            let key = name_of(row.facet);
            check.add(
                place,
                if side > 0 {
                    format!("its {key} is not in the index")
                } else {
                    format!("the index lists it under a {key} that it does not have")
                },
            );
        }
        // The next start builds it again from the log.
        let _ = self.shared.index.condemn();
        Ok(())
    }
}

/// What a row's key is, in words.
fn name_of(facet: u8) -> String {
    match facet {
        FACET_EVENT_KEY => "event key".to_owned(),
        FACET_DIRECTORY => "person's key".to_owned(),
        other => format!("key of facet {}", Facet(other).name().unwrap_or("unnamed")),
    }
}
