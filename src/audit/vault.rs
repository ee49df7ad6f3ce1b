//! The vault of a data directory, read to open sealed parts.
//!
//! In scope: owners' keys, from the key tree and from the journal where the tree does not have them
//! yet. Out of scope: what is opened. Invariants: nothing is written; a slot that is not found is
//! looked for again in the tree as it is then, since a server may be changing it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::event::facet::Role;
use crate::event::keys::LedgerId;
use crate::log::hash::LogIndex;
use crate::prove::entry_view::EventView;
use crate::prove::verdict::{Report, Verdict};
use crate::prove::verify_log::Opened;
use crate::store::Storage;
use crate::store::sealed::BundleMask;
use crate::vault::{
    DataKey, FileCustody, Inboxes, KeyReader, LentRoot, OwnerMask, PersonSecret, RootCustody, RootKey,
    Slot, SlotNumber, VaultError,
};

/// Owners' keys kept ready: about 500 bytes each, 16 MB.
const KEYS_KEPT: usize = 32_768;

/// What an owner's slot holds.
enum Owner {
    Key(Rc<DataKey>),
    Destroyed,
    Unknown,
}

/// Where the vault's root key is.
pub(super) enum RootAt {
    /// In a directory of key files.
    Dir(PathBuf),
    /// In memory.
    Held(RootKey),
}

impl RootAt {
    fn custody(&self) -> Box<dyn RootCustody> {
        match self {
            Self::Dir(dir) => Box::new(FileCustody::new(dir.clone())),
            Self::Held(key) => Box::new(LentRoot::new(key.clone())),
        }
    }
}

/// An open vault.
pub(super) struct Vault {
    storage: Arc<dyn Storage>,
    prefix: String,
    root: RootAt,
    ledger: LedgerId,
    tree: RefCell<KeyReader>,
    own: Rc<DataKey>,
    inboxes: Inboxes,
    /// Persons whose secrets are in journal frames.
    journalled: HashMap<SlotNumber, PersonSecret>,
    journal_is_whole: bool,
    keys: RefCell<HashMap<SlotNumber, Rc<DataKey>>>,
    /// The first thing that could not be read.
    error: RefCell<Option<VaultError>>,
}

/// A vault, or why there is none.
pub(super) struct VaultState {
    pub(super) vault: Option<Vault>,
    error: Option<VaultError>,
}

impl VaultState {
    /// No vault beside the log.
    pub(super) fn none() -> Self {
        Self { vault: None, error: None }
    }

    pub(super) fn of(opened: Result<Vault, VaultError>) -> Self {
        match opened {
            Ok(vault) => Self { vault: Some(vault), error: None },
            Err(error) => Self { vault: None, error: Some(error) },
        }
    }

    /// Says what could not be read of the vault: damage fails, a key that is kept elsewhere does not.
    pub(super) fn conclude(self, report: &mut Report) {
        let met = self.vault.and_then(|vault| vault.error.into_inner());
        match self.error.or(met) {
            None => {}
            Some(error) if is_damage(&error) => {
                report.push("vault", Verdict::Failed, error.to_string());
            }
            Some(error) => report.note("vault", Verdict::NotProvable, error.to_string()),
        }
    }
}

fn is_damage(error: &VaultError) -> bool {
    matches!(
        error,
        VaultError::NodeMissing { .. }
            | VaultError::NodeDamaged { .. }
            | VaultError::ChangeDamaged { .. }
    )
}

impl Vault {
    /// Opens the vault below `prefix` whose root key is at `root`.
    pub(super) fn open(
        storage: Arc<dyn Storage>,
        prefix: &str,
        root: RootAt,
        ledger: LedgerId,
    ) -> Result<Self, VaultError> {
        let tree = KeyReader::open(Arc::clone(&storage), prefix, root.custody())?;
        let own = |slot: SlotNumber| {
            let missing = VaultError::NodeMissing { level: 0, index: slot.0 >> 6 };
            tree.get(slot)?.ok_or(missing)
        };
        let open_key = own(SlotNumber::LEDGER)?.person_secret().data_key();
        let missing = VaultError::NodeMissing { level: 0, index: SlotNumber::INBOX.0 >> 6 };
        let inboxes = Inboxes::read(|slot| tree.get(slot))?.ok_or(missing)?;
        Ok(Self {
            storage,
            prefix: prefix.to_owned(),
            root,
            ledger,
            tree: RefCell::new(tree),
            own: Rc::new(open_key),
            inboxes,
            journalled: HashMap::new(),
            journal_is_whole: false,
            keys: RefCell::new(HashMap::new()),
            error: RefCell::new(None),
        })
    }

    /// The keys of what rides in the journal.
    pub(super) fn inboxes(&self) -> &Inboxes {
        &self.inboxes
    }

    /// Adds the persons that were found in the journal, and whether all of it could be read.
    pub(super) fn add_journalled(&mut self, persons: HashMap<SlotNumber, PersonSecret>, is_whole: bool) {
        self.journalled = persons;
        self.journal_is_whole = is_whole;
    }

    /// The masks of the owners in a bundle's file that says `mask`; none where the tree has no key for it.
    pub(super) fn bundle_mask(
        &self,
        bundle: u64,
        mask: BundleMask,
    ) -> Result<Option<OwnerMask>, String> {
        let Some(slot) = SlotNumber::of_bundle(bundle, mask) else { return Ok(None) };
        let found = self.slot(slot)?;
        Ok(found.map(|slot| OwnerMask::new(&slot.secret)))
    }

    /// Opens a part whose owners' slots are masked with `mask`. Where an owner's secret was destroyed the
    /// part should not be there any more.
    pub(super) fn open_part(
        &self,
        event: &EventView<'_>,
        index: LogIndex,
        role: Role,
        (mask, masked): (&OwnerMask, &[[u8; 8]]),
        blob: &[u8],
    ) -> Result<Opened, String> {
        let opened = self.open_if_alive(event, index, role, (mask, masked), blob)?;
        Ok(opened.unwrap_or(Opened::Damaged))
    }

    /// As [`Vault::open_part`], and tells apart a part of which an owner's secret was destroyed: that
    /// gives none.
    pub(super) fn open_if_alive(
        &self,
        event: &EventView<'_>,
        index: LogIndex,
        role: Role,
        (mask, masked): (&OwnerMask, &[[u8; 8]]),
        blob: &[u8],
    ) -> Result<Option<Opened>, String> {
        let owners =
            (0_u8..).zip(masked).map(|(ordinal, masked)| mask.unmask(index, role, ordinal, *masked));
        let key = match self.key_of(owners)? {
            Owner::Key(key) => key,
            Owner::Destroyed => return Ok(None),
            Owner::Unknown if self.journal_is_whole => return Ok(Some(Opened::Damaged)),
            Owner::Unknown => return Ok(Some(Opened::Withheld)),
        };
        let Some((_, commitment)) = event.parts().find(|(seen, _)| *seen == role) else {
            return Ok(Some(Opened::Damaged));
        };
        Ok(Some(match key.open(self.ledger, &event.event_key, role, &commitment, blob) {
            Ok(body) => Opened::Open { salt: *key.salt(&event.event_key, role), body },
            Err(_) => Opened::Damaged,
        }))
    }

    fn key_of(&self, owners: impl Iterator<Item = SlotNumber>) -> Result<Owner, String> {
        let mut keys = Vec::new();
        for slot in owners.filter(|slot| *slot != SlotNumber::LEDGER) {
            match self.owner(slot)? {
                Owner::Key(key) => keys.push(key),
                other => return Ok(other),
            }
        }
        match keys.as_slice() {
            [] => Ok(Owner::Key(Rc::clone(&self.own))),
            [one] => Ok(Owner::Key(Rc::clone(one))),
            many => {
                let many: Vec<&DataKey> = many.iter().map(|key| &**key).collect();
                Ok(DataKey::combine(&many).map_or(Owner::Unknown, |key| Owner::Key(Rc::new(key))))
            }
        }
    }

    fn owner(&self, number: SlotNumber) -> Result<Owner, String> {
        if let Some(key) = self.keys.borrow().get(&number) {
            return Ok(Owner::Key(Rc::clone(key)));
        }
        let secret = match self.journalled.get(&number) {
            Some(secret) => secret.clone(),
            None => match self.slot(number)? {
                Some(slot) => slot.person_secret(),
                None if self.tree.borrow().is_destroyed(number).unwrap_or(false) => {
                    return Ok(Owner::Destroyed);
                }
                None => return Ok(Owner::Unknown),
            },
        };
        let key = Rc::new(secret.data_key());
        let mut keys = self.keys.borrow_mut();
        if keys.len() >= KEYS_KEPT {
            keys.clear();
        }
        keys.insert(number, Rc::clone(&key));
        Ok(Owner::Key(key))
    }

    fn slot(&self, number: SlotNumber) -> Result<Option<Slot>, String> {
        let first = self.tree.borrow().get(number);
        if let Ok(Some(slot)) = first {
            return Ok(Some(slot));
        }
        let again = self.reopen().and_then(|()| self.tree.borrow().get(number));
        match again {
            // Masked numbers that were changed come out as any number.
            Err(VaultError::SlotOutOfRange { .. }) => Ok(None),
            Err(error) => {
                let sentence = error.to_string();
                self.error.borrow_mut().get_or_insert(error);
                Err(sentence)
            }
            Ok(found) => Ok(found),
        }
    }

    fn reopen(&self) -> Result<(), VaultError> {
        let tree = KeyReader::open(Arc::clone(&self.storage), &self.prefix, self.root.custody())?;
        self.tree.replace(tree);
        Ok(())
    }
}
