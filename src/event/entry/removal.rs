//! Bodies of the entries that say what was erased or pruned.
//!
//! In scope: kinds 5, 6 and 7 (docs/format.md sections 3.5 to 3.7). Out of scope: the removed set they
//! commit to (`prove::removed`), doing what they say. Invariants: as those of all entries.

use super::{EntryError, Input, check_count, check_order};
use crate::log::hash::Hash;

/// Most persons of one erasure entry.
pub const ERASED_PERSONS_MAX: usize = 1_000;

/// Persons whose secrets are to be destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonsErasedBody {
    /// Random id of the erasure.
    pub erasure: [u8; 16],
    /// Directory keys of the persons, strictly ascending; 1 to [`ERASED_PERSONS_MAX`].
    pub persons: Vec<Hash>,
}

/// How far a shred is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShredPhase {
    /// 1: from here on parts of the set may be gone.
    Begun,
    /// 2: they are, their owners' secrets are destroyed, and the old root key with them.
    Done,
}

/// Parts that are destroyed with persons they belonged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShredBody {
    /// How far it is.
    pub phase: ShredPhase,
    /// Items of the removed set.
    pub items: u64,
    /// Its root.
    pub root: Hash,
    /// Id of the vault's root key before.
    pub root_key_before: [u8; 16],
    /// Id of the one after; zeros in [`ShredPhase::Begun`].
    pub root_key_after: [u8; 16],
}

/// Parts whose retention was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneBody {
    /// Items of the removed set.
    pub items: u64,
    /// Its root.
    pub root: Hash,
    /// Index of the settings entry that holds the rules.
    pub settings: u64,
    /// Moment at which the retention was over: Unix microseconds.
    pub cutoff_us: u64,
}

impl PersonsErasedBody {
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EntryError> {
        out.extend_from_slice(&self.erasure);
        let found = self.check()?;
        out.extend_from_slice(&found.to_be_bytes());
        for person in &self.persons {
            out.extend_from_slice(&person.0);
        }
        Ok(())
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Result<Self, EntryError> {
        let erasure = input.array()?;
        let found = usize::from(input.u16()?);
        check_count("erased persons", found, ERASED_PERSONS_MAX)?;
        let persons = (0..found).map(|_| input.hash()).collect::<Result<Vec<_>, _>>()?;
        let body = Self { erasure, persons };
        body.check()?;
        Ok(body)
    }

    fn check(&self) -> Result<u16, EntryError> {
        if self.persons.is_empty() {
            return Err(EntryError::Empty { kind: super::Kind::PersonsErased.code() });
        }
        check_order("erased person", &self.persons, |person| person)?;
        check_count("erased persons", self.persons.len(), ERASED_PERSONS_MAX)
    }
}

impl ShredBody {
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EntryError> {
        self.check()?;
        out.push(match self.phase {
            ShredPhase::Begun => 1,
            ShredPhase::Done => 2,
        });
        out.extend_from_slice(&self.items.to_be_bytes());
        out.extend_from_slice(&self.root.0);
        out.extend_from_slice(&self.root_key_before);
        out.extend_from_slice(&self.root_key_after);
        Ok(())
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Result<Self, EntryError> {
        let phase = match input.u8()? {
            1 => ShredPhase::Begun,
            2 => ShredPhase::Done,
            code => return Err(EntryError::Code { what: "shred phase", code }),
        };
        let (items, root) = (input.u64()?, input.hash()?);
        let (root_key_before, root_key_after) = (input.array()?, input.array()?);
        let body = Self { phase, items, root, root_key_before, root_key_after };
        body.check()?;
        Ok(body)
    }

    /// One that has only begun has no key after it.
    fn check(&self) -> Result<(), EntryError> {
        let is_named = self.root_key_after != [0; 16];
        if is_named == (self.phase == ShredPhase::Done) {
            return Ok(());
        }
        Err(EntryError::Code { what: "shred phase without, or with, a key after it: phase", code: 1 })
    }
}

impl PruneBody {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.items.to_be_bytes());
        out.extend_from_slice(&self.root.0);
        out.extend_from_slice(&self.settings.to_be_bytes());
        out.extend_from_slice(&self.cutoff_us.to_be_bytes());
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Result<Self, EntryError> {
        Ok(Self {
            items: input.u64()?,
            root: input.hash()?,
            settings: input.u64()?,
            cutoff_us: input.u64()?,
        })
    }
}
