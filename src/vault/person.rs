//! A person's one secret and everything that is derived from it (design section 3.4).
//!
//! In scope: the secret, its data key, its index secret, the secrets of single facets and the salts
//! of a registration. Out of scope: the blinded keys and commitments built on them (`event::keys`),
//! where the secret is kept (the key tree).
//!
//! All derivations are HMAC-SHA-256 under the secret:
//! `index secret s_X = HMAC(secret, "counterfoil/v1/index\0")`,
//! `data key = HMAC(secret, "counterfoil/v1/data\0")`,
//! `registration salt = HMAC(secret, "counterfoil/v1/registration\0" ‖ facet u8)`.
//!
//! Invariants: a person is one identifier in one namespace and one incarnation of it: erased and
//! registered again, it gets a new secret, so that nothing links the two. Destroying the secret
//! destroys all of it; no derived value leads back to the secret or to another one.

use std::fmt;

use zeroize::Zeroizing;

use super::mac::{self, SECRET_BYTES, Secret};
use super::seal::DataKey;
use crate::clock::{RandomError, random_fill};
use crate::event::facet::Facet;
use crate::event::keys::{PersonFacet, person_facet_secret};

const INDEX_LABEL: &[u8] = b"counterfoil/v1/index\0";
const DATA_LABEL: &[u8] = b"counterfoil/v1/data\0";
const REGISTRATION_LABEL: &[u8] = b"counterfoil/v1/registration\0";

/// 32 random bytes from which all keys of a person come.
#[derive(Clone, PartialEq, Eq)]
pub struct PersonSecret(Secret);

impl PersonSecret {
    /// A new secret from the operating system's randomness.
    ///
    /// # Errors
    /// [`RandomError`] where there is none.
    pub fn generate() -> Result<Self, RandomError> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        random_fill(secret.as_mut_slice())?;
        Ok(Self(secret))
    }

    /// The secret with these bytes, as read from the key tree.
    #[must_use]
    pub fn from_bytes(secret: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The bytes themselves, for the key tree and the journal's wrapping only.
    #[must_use]
    pub fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// The key that seals this person's parts. Costs about a microsecond: keep it for a batch.
    #[must_use]
    pub fn data_key(&self) -> DataKey {
        DataKey::from_bytes(*mac::derive(&self.0, &[DATA_LABEL]))
    }

    /// `s_X`, from which the secrets of the person's index facets come. It never leaves the vault;
    /// a bundle opens single facets.
    #[must_use]
    pub fn index_secret(&self) -> Zeroizing<[u8; SECRET_BYTES]> {
        mac::derive(&self.0, &[INDEX_LABEL])
    }

    /// `s_X,f`: what a bundle may open of the person for `facet`, and no other.
    #[must_use]
    pub fn facet_secret(&self, facet: Facet) -> Zeroizing<[u8; SECRET_BYTES]> {
        person_facet_secret(&self.index_secret(), facet)
    }

    /// The salt of `facet` in the commitment that registers the person.
    #[must_use]
    pub fn registration_salt(&self, facet: Facet) -> Zeroizing<[u8; SECRET_BYTES]> {
        mac::derive(&self.0, &[REGISTRATION_LABEL, &[facet.0]])
    }

    /// What opens `facet` in the registered commitment `C_X`.
    #[must_use]
    pub fn opened_facet(&self, facet: Facet) -> PersonFacet {
        PersonFacet { facet, salt: *self.registration_salt(facet), secret: self.facet_secret(facet) }
    }
}

impl fmt::Debug for PersonSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::facet::Role;

    #[test]
    fn derived_secrets_are_deterministic_and_all_different() {
        let person = PersonSecret::from_bytes([5; 32]);
        let derived = |person: &PersonSecret| {
            let mut all = vec![
                *person.expose(),
                *person.index_secret(),
                *person.registration_salt(Facet(130)),
                *person.registration_salt(Facet(131)),
                *person.facet_secret(Facet(130)),
                *person.facet_secret(Facet(131)),
            ];
            all.extend(
                person.data_key().salt(&crate::log::hash::Hash::ZERO, Role(0)).chunks_exact(32).map(
                    |c| {
                        let half: [u8; 32] = c.try_into().unwrap();
                        half
                    },
                ),
            );
            all
        };
        let first = derived(&person);
        assert_eq!(first, derived(&person.clone()));
        let other = derived(&PersonSecret::from_bytes([6; 32]));
        for (i, a) in first.iter().enumerate() {
            assert!(first[i + 1..].iter().all(|b| a != b));
            assert!(other.iter().all(|b| a != b));
        }
    }

    #[test]
    fn generated_secrets_differ_and_do_not_print() {
        let (a, b) = (PersonSecret::generate().unwrap(), PersonSecret::generate().unwrap());
        assert_ne!(a, b);
        assert_eq!(format!("{a:?}"), "PersonSecret(…)");
    }
}
