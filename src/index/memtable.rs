//! Postings not yet written as a run.
//!
//! In scope: a map from term to its values, cheap to add to in the commit path. Out of scope: locking,
//! which the index does. Invariant: the values of a term strictly ascend.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::block::{Posting, TermPrint};

/// A hasher for keys that are themselves HMAC outputs: one multiplication, since nobody without the
/// HMAC key can choose them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PrintHasher(u64);

impl Hasher for PrintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, facet: u8) {
        self.write_u64(u64::from(facet));
    }

    fn write_u64(&mut self, fp: u64) {
        self.0 = (self.0.rotate_left(29) ^ fp).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

/// Values of one term. Most terms of a batch have one, which needs no allocation.
#[derive(Clone, Debug)]
enum Values {
    One(u64),
    Many(Vec<u64>),
}

impl Values {
    fn as_slice(&self) -> &[u64] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    /// Adds `value`; false where it was there already.
    fn insert(&mut self, value: u64) -> bool {
        match self {
            Self::One(only) if *only == value => false,
            Self::One(only) => {
                *self = Self::Many(vec![(*only).min(value), (*only).max(value)]);
                true
            }
            Self::Many(values) => {
                if values.last().is_none_or(|last| *last < value) {
                    values.push(value);
                    return true;
                }
                match values.binary_search(&value) {
                    Ok(_) => false,
                    Err(at) => {
                        values.insert(at, value);
                        true
                    }
                }
            }
        }
    }
}

/// Terms and their values in memory.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    terms: HashMap<TermPrint, Values, BuildHasherDefault<PrintHasher>>,
    postings: u64,
}

impl Memtable {
    pub(super) fn add(&mut self, term: TermPrint, value: u64) {
        let added = match self.terms.entry(term) {
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(Values::One(value));
                true
            }
            std::collections::hash_map::Entry::Occupied(mut slot) => slot.get_mut().insert(value),
        };
        self.postings = self.postings.saturating_add(u64::from(added));
    }

    pub(super) fn values_of(&self, term: TermPrint) -> &[u64] {
        self.terms.get(&term).map_or(&[], Values::as_slice)
    }

    pub(super) fn terms(&self) -> usize {
        self.terms.len()
    }

    /// Terms whose facet `wanted` picks.
    pub(super) fn terms_where(&self, wanted: impl Fn(u8) -> bool) -> u64 {
        let count = self.terms.keys().filter(|term| wanted(term.facet)).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    pub(super) fn postings(&self) -> u64 {
        self.postings
    }

    /// Every posting in stored order. Sorts the terms, not the postings.
    pub(super) fn sorted(&self) -> impl Iterator<Item = Posting> {
        let mut terms: Vec<_> = self.terms.iter().collect();
        terms.sort_unstable_by_key(|(term, _)| **term);
        terms.into_iter().flat_map(|(term, values)| {
            values.as_slice().iter().map(|value| Posting { term: *term, value: *value })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_ascend_once_each_whatever_the_order_they_come_in() {
        let mut table = Memtable::default();
        let term = TermPrint { facet: 1, fp: 9 };
        for value in [5, 3, 9, 3, 7, 9, 5] {
            table.add(term, value);
        }
        assert_eq!(table.values_of(term), [3, 5, 7, 9]);
        assert_eq!((table.terms(), table.postings()), (1, 4));
        assert!(table.values_of(TermPrint { facet: 2, fp: 9 }).is_empty());
    }
}
