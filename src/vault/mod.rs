//! The keys whose destruction erases a person, and the other secrets of a ledger.
//!
//! In scope: person secrets and data keys, sealing and opening parts, the tree of keys that makes
//! destruction final, custody of its root, the log's signing key, the ledger's HMAC keys. Out of
//! scope: what is erased and when (`ledger`), where sealed bytes lie (`store`), who may ask (`http`).
//!
//! Invariants: every secret is wiped from memory when dropped, shows as `…` under `Debug`, and
//! reaches a disk only encrypted under a key that hangs below the root in custody, or in a file
//! that its owner alone can read.

mod aead;
pub mod aside;
mod cache;
mod change;
pub mod custody;
mod error;
pub mod inbox;
pub mod keyring;
pub mod keytree;
mod lent;
mod mac;
pub mod mask;
mod node;
pub mod person;
pub mod seal;
pub mod secret_file;
pub mod signer;
pub mod slot;

pub use aside::AsideKey;
pub use custody::{CustodyError, FileCustody, RootCustody, RootKey, RootKeys};
pub use error::VaultError;
pub use inbox::{InboxKey, Inboxes, WrapError, WrappedPerson};
pub use keyring::{KeyRing, KeyRingError};
pub use keytree::{KeyReader, KeyTree, PendingNode};
pub use lent::{LentRoot, StoredRoot};
pub use mask::{OwnerMask, mask_owner, unmask_owner};
pub use node::version_of;
pub use person::PersonSecret;
pub use seal::{DataKey, SealError};
pub use secret_file::SecretFileError;
pub use signer::SignerError;
pub use slot::{BUNDLE_SLOTS_FROM, Slot, SlotNumber};
