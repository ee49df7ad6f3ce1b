//! Reading: an immutable view of the ledger at one size.
//!
//! In scope: entries, opened events, proofs and checkpoints as of a size. Out of scope: searching
//! ([`crate::history`]). Invariant: whatever is appended after, a snapshot answers the same.

use std::sync::Arc;
use std::sync::PoisonError;

use crate::event::catalogue::Catalogue;
use crate::event::entry::{Entry, EntryBody, EventBody};
use crate::event::facet::{Facet, Role};
use crate::event::json::Object;
use crate::event::keys::{self, LedgerId, Period};
use crate::event::parts::{self, PersonRef};
use crate::index::{self, Term};
use crate::log::hash::{Hash, LogIndex, TreeSize, leaf_hash};
use crate::log::merkle::{self, BuildError};
use crate::prove::receipt::{PartContent, PartOpening};
use crate::store::sealed::PartState;
use crate::vault::{DataKey, SlotNumber, VaultError};

use super::Shared;
use super::cache::{MaskedParts, checked_parts};
use super::error::LedgerError;
use super::nodes::LedgerNodes;
use super::persons::Person;
use super::tail::SealedBlob;
use super::times::stated_us;

/// A view of the first `size` entries.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) shared: Arc<Shared>,
    size: u64,
    root: Hash,
}

/// What a reader may see of the personal parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything the ledger can open.
    Personal,
    /// The open part alone; personal parts read `withheld`.
    Masked,
}

/// An event read back: its entry and its parts.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Position in the log.
    pub index: u64,
    /// The leaf bytes.
    pub entry_bytes: Arc<[u8]>,
    /// Ledger time in Unix microseconds.
    pub time_us: u64,
    /// The decoded event body; none for an entry of the ledger's own.
    pub body: Option<EventBody>,
    /// Parts in ascending role.
    pub parts: Vec<PartOpening>,
}

impl StoredEvent {
    /// RFC 6962 leaf hash.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        leaf_hash(&self.entry_bytes)
    }

    /// The `CloudEvents` object of whatever parts are open.
    #[must_use]
    pub fn merged(&self) -> Object {
        let open = self.parts.iter().filter_map(|part| match &part.content {
            PartContent::Open { body, .. } => Some((part.role, body.as_bytes())),
            _ => None,
        });
        parts::merge(open).unwrap_or_default()
    }
}

impl StoredEvent {
    /// When it happened, in Unix microseconds: as `event`, its open parts, states, or when it was recorded.
    #[must_use]
    pub fn occurred_us(&self, event: &Object) -> u64 {
        stated_us(event).unwrap_or(self.time_us)
    }
}

/// A stored part without its content.
pub(crate) type StoredOwners = (Role, PartState, Vec<SlotNumber>);

/// The leaf bytes of an entry and what they say.
pub type DecodedEntry = (Arc<[u8]>, Entry);

/// A part as stored: what seals it and under whose keys.
#[derive(Debug)]
struct SealedView {
    state: PartState,
    blob: SealedBlob,
}

impl Snapshot {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (size, root) = shared.size_and_root();
        Self { shared, size, root }
    }

    /// Number of entries in view.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// Root over them.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The ledger's name within its server.
    #[must_use]
    pub fn ledger_name(&self) -> &str {
        &self.shared.name
    }

    /// The origin line of its checkpoints.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// The ledger's id, which every entry carries.
    #[must_use]
    pub fn ledger_id(&self) -> LedgerId {
        self.shared.id
    }

    /// The catalogue in force.
    #[must_use]
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.shared.catalogue.load_full()
    }

    /// A checkpoint over this view, signed.
    ///
    /// # Errors
    /// [`LedgerError::Sign`], which a ledger that has started does not meet.
    pub fn checkpoint(&self) -> Result<Arc<str>, LedgerError> {
        self.shared.sign(self.size, self.root)
    }

    /// The leaf bytes at `index`; none beyond the view.
    ///
    /// # Errors
    /// [`LedgerError::Damage`] where a bundle file is missing or broken.
    pub fn entry(&self, index: u64) -> Result<Option<Arc<[u8]>>, LedgerError> {
        if index >= self.size { Ok(None) } else { self.shared.entry(index).map(Some) }
    }

    /// The decoded entry at `index`; none beyond the view.
    ///
    /// # Errors
    /// As [`Snapshot::entry`], and [`LedgerError::Entry`] where the bytes do not decode.
    pub fn decoded(&self, index: u64) -> Result<Option<DecodedEntry>, LedgerError> {
        let Some(bytes) = self.entry(index)? else { return Ok(None) };
        let entry = Entry::decode(&bytes).map_err(|source| LedgerError::Entry { index, source })?;
        Ok(Some((bytes, entry)))
    }

    /// The event at `index` with its parts; none beyond the view.
    ///
    /// # Errors
    /// As [`Snapshot::decoded`], and what the vault reports.
    pub fn event(&self, index: u64, access: Access) -> Result<Option<StoredEvent>, LedgerError> {
        let Some(decoded) = self.decoded(index)? else { return Ok(None) };
        self.opened(index, decoded, access).map(Some)
    }

    /// The event whose entry at `index` was read already, with its parts.
    ///
    /// # Errors
    /// [`LedgerError::Damage`] where sealed parts are missing or broken, and what the vault reports.
    pub(crate) fn opened(
        &self,
        index: u64,
        (entry_bytes, entry): DecodedEntry,
        access: Access,
    ) -> Result<StoredEvent, LedgerError> {
        let time_us = entry.time_us;
        let EntryBody::Event(body) = entry.body else {
            return Ok(StoredEvent { index, entry_bytes, time_us, body: None, parts: Vec::new() });
        };
        let record = self.shared.tail.read().unwrap_or_else(PoisonError::into_inner).get(index);
        let parts = if let Some(record) = record {
            let views = record.parts.iter().cloned();
            let views = views.map(|blob| SealedView {
                state: blob.gone.map_or(PartState::Sealed, PartState::from),
                blob,
            });
            self.open_parts(&body, views.collect(), access)?
        } else {
            let views = self.views(index, self.shared.files.parts(&self.shared, index)?)?;
            let parts = self.open_parts(&body, views, access)?;
            let is_readable = |part: &PartOpening| !matches!(part.content, PartContent::Lost);
            if parts.iter().all(is_readable) {
                parts
            } else {
                let stored = checked_parts(&self.shared, index)?;
                self.open_parts(&body, self.views(index, stored)?, access)?
            }
        };
        Ok(StoredEvent { index, entry_bytes, time_us, body: Some(body), parts })
    }

    fn open_parts(
        &self,
        body: &EventBody,
        mut sealed: Vec<SealedView>,
        access: Access,
    ) -> Result<Vec<PartOpening>, LedgerError> {
        let mut parts = Vec::with_capacity(body.parts.len());
        for (role, commitment) in &body.parts {
            let found = sealed.iter().position(|view| view.blob.role == *role);
            let view = match found.map(|at| sealed.swap_remove(at)) {
                None => PartContent::Lost,
                Some(_) if access == Access::Masked && *role != Role::OPEN => PartContent::Withheld,
                Some(view) => self.open(&body.event_key, commitment, &view)?,
            };
            parts.push(PartOpening { role: *role, content: view });
        }
        Ok(parts)
    }

    fn open(
        &self,
        event_key: &Hash,
        commitment: &Hash,
        view: &SealedView,
    ) -> Result<PartContent, LedgerError> {
        match view.state {
            PartState::Erased => return Ok(PartContent::Erased),
            PartState::Pruned => return Ok(PartContent::Pruned),
            PartState::Sealed => {}
        }
        let role = view.blob.role;
        let mut owners: Vec<Arc<Person>> = Vec::with_capacity(view.blob.owners.len());
        for slot in view.blob.owners.iter().filter(|slot| **slot != SlotNumber::LEDGER) {
            if self.shared.directory.is_erased(*slot) {
                return Ok(PartContent::Withheld);
            }
            match self.shared.directory.by_slot(*slot) {
                Ok(Some(person)) => owners.push(person),
                // A masked slot that was changed on disk comes out as any number.
                Ok(None) | Err(LedgerError::Vault(VaultError::SlotOutOfRange { .. })) => {
                    return Ok(PartContent::Lost);
                }
                Err(error) => return Err(error),
            }
        }
        let combined;
        let key = match owners.as_slice() {
            [] => &self.shared.open_key,
            [one] => one.data_key(),
            many => {
                let keys: Vec<&DataKey> = many.iter().map(|person| person.data_key()).collect();
                combined = DataKey::combine(&keys)?;
                &combined
            }
        };
        let Ok(body) = key.open(self.shared.id, event_key, role, commitment, &view.blob.blob) else {
            return Ok(PartContent::Lost);
        };
        let Ok(body) = String::from_utf8(body.to_vec()) else { return Ok(PartContent::Lost) };
        let salt = key.salt(event_key, role);
        let found = keys::part_commitment(self.shared.id, event_key, role, &salt, body.as_bytes());
        if found != *commitment {
            return Ok(PartContent::Lost);
        }
        Ok(PartContent::Open { salt: *salt, body })
    }

    /// Stored parts with their owners' slots.
    fn views(&self, index: u64, (mask, stored): MaskedParts) -> Result<Vec<SealedView>, LedgerError> {
        if stored.is_empty() {
            return Ok(Vec::new());
        }
        let bundle = index / crate::log::tile::TILE_WIDTH;
        let Some(mask) = self.shared.mask_of(bundle, mask)? else { return Ok(Vec::new()) };
        let views = stored.into_iter().map(|part| {
            let role = Role(part.role());
            let owners = (0_u8..)
                .zip(part.owners())
                .map(|(ordinal, masked)| mask.unmask(LogIndex(index), role, ordinal, *masked));
            let owners = owners.collect();
            let state = part.state();
            let blob = SealedBlob { role, owners, blob: part.into_blob(), gone: None };
            SealedView { state, blob }
        });
        Ok(views.collect())
    }

    /// The stored parts of the event at `index`, unopened: role, state, vault slots of the owners.
    pub(crate) fn stored_parts(&self, index: u64) -> Result<Vec<StoredOwners>, LedgerError> {
        let record = self.shared.tail.read().unwrap_or_else(PoisonError::into_inner).get(index);
        if let Some(record) = record {
            let parts = record.parts.iter();
            let state = |part: &SealedBlob| part.gone.map_or(PartState::Sealed, PartState::from);
            return Ok(parts.map(|part| (part.role, state(part), part.owners.clone())).collect());
        }
        let views = self.views(index, self.shared.files.parts(&self.shared, index)?)?;
        Ok(views.into_iter().map(|view| (view.blob.role, view.state, view.blob.owners)).collect())
    }

    /// An inclusion proof of `index` in a tree of `size` leaves of this view.
    ///
    /// # Errors
    /// [`BuildError::OutOfRange`] beyond the view or its size.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, BuildError<LedgerError>> {
        self.check_size(size)?;
        merkle::inclusion_proof(LogIndex(index), TreeSize(size), &LedgerNodes(&self.shared))
    }

    /// A consistency proof between two sizes of this view.
    ///
    /// # Errors
    /// [`BuildError::OutOfRange`] beyond the view.
    pub fn consistency(&self, from: u64, to: u64) -> Result<Vec<Hash>, BuildError<LedgerError>> {
        self.check_size(to)?;
        merkle::consistency_proof(TreeSize(from), TreeSize(to), &LedgerNodes(&self.shared))
    }

    /// The root of an earlier size of this view.
    ///
    /// # Errors
    /// [`BuildError::OutOfRange`] beyond the view.
    pub fn root_at(&self, size: u64) -> Result<Hash, BuildError<LedgerError>> {
        self.check_size(size)?;
        merkle::root(TreeSize(size), &LedgerNodes(&self.shared)).map_err(BuildError::Reader)
    }

    fn check_size(&self, size: u64) -> Result<(), BuildError<LedgerError>> {
        if size > self.size {
            return Err(BuildError::OutOfRange { begin: 0, end: size, size: self.size });
        }
        Ok(())
    }

    /// The blinded key of an open facet's value.
    #[must_use]
    pub fn open_key(&self, facet: Facet, value: &str) -> Hash {
        self.shared.macs.read.open_facet_key(self.shared.id, facet, value)
    }

    /// The blinded keys of a person in each period of `[from, to]`; none where the ledger has
    /// never met the person.
    ///
    /// # Errors
    /// What the index and the vault report.
    pub fn person_keys(
        &self,
        person: &PersonRef,
        facet: Facet,
        from: Period,
        to: Period,
    ) -> Result<Vec<Hash>, LedgerError> {
        let Some(found) = self.shared.directory.find(person)? else { return Ok(Vec::new()) };
        let secret = found.facet_secret(facet);
        let periods = (from.0..=to.0)
            .map(|period| keys::person_facet_key(&secret, self.shared.id, Period(period)));
        Ok(periods.collect())
    }

    /// The positions that may carry a key, which the caller compares in full with each entry.
    ///
    /// # Errors
    /// What the index reports.
    pub fn postings(&self, facet: Facet, key: &Hash) -> Result<index::Cursor, LedgerError> {
        let term = Term { facet: facet.0, key: *key.as_bytes() };
        self.shared.indexed(self.shared.index.lookup(&term))
    }

    /// Ledger time of the entry at `index`, in Unix microseconds.
    ///
    /// # Errors
    /// As [`Snapshot::decoded`].
    pub fn time_us(&self, index: u64) -> Result<Option<u64>, LedgerError> {
        Ok(self.decoded(index)?.map(|(_, entry)| entry.time_us))
    }

    /// This view as it was at an earlier size; none where the ledger has not reached it.
    ///
    /// # Errors
    /// What reading tree nodes reports.
    pub fn at(&self, size: u64) -> Result<Option<Self>, LedgerError> {
        if size > self.size {
            return Ok(None);
        }
        let root = merkle::root(TreeSize(size), &LedgerNodes(&self.shared))?;
        Ok(Some(Self { shared: Arc::clone(&self.shared), size, root }))
    }

    /// The first index whose ledger time is at or after `time_us` (the size where there is none).
    ///
    /// # Errors
    /// As [`Snapshot::decoded`].
    pub fn first_at_or_after(&self, time_us: u64) -> Result<u64, LedgerError> {
        let (mut low, mut high) = (0, self.size);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time_us(middle)?.is_some_and(|at| at < time_us) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}
