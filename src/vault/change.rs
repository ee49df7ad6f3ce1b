//! The file that makes one change of the key tree whole, whatever a crash leaves of it.
//!
//! In scope: the bytes of that file. Out of scope: when it is written and replayed
//! ([`keytree`](super::keytree)). It holds nodes as they are on the disk, that is encrypted.
//!
//! ```text
//! "CFKC" · version u8 = 1 · kind u8 (1 put, 2 rotation) · nodes u32
//! nodes x { level u8 · index u64 · file }          the file's length follows from the level
//! SHA-256 of all the bytes before it
//! ```
//! Invariant: what decodes is exactly what was encoded; nothing follows the trailer.

use sha2::{Digest, Sha256};

use super::error::VaultError;
use super::node::NodeId;

const MAGIC: &[u8; 4] = b"CFKC";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 4 + 1 + 1 + 4;
const NODE_HEADER_BYTES: usize = 1 + 8;
const TRAILER_BYTES: usize = 32;

/// What a change means for the root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Secrets were added; every old key stays what it is.
    Put,
    /// Secrets were destroyed: the nodes hang under a new root key, and count only once the
    /// custodian has it.
    Rotation,
}

/// The files of a change, children before parents.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) files: Vec<(NodeId, Vec<u8>)>,
}

impl Change {
    pub(super) fn encode(&self) -> Result<Vec<u8>, VaultError> {
        let too_large = |_| VaultError::ChangeTooLarge { nodes: self.files.len() };
        let count = u32::try_from(self.files.len()).map_err(too_large)?;
        let body: usize = self.files.iter().map(|(_, file)| NODE_HEADER_BYTES + file.len()).sum();
        let mut out = Vec::with_capacity(HEADER_BYTES + body + TRAILER_BYTES);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.push(match self.kind {
            Kind::Put => 1,
            Kind::Rotation => 2,
        });
        out.extend_from_slice(&count.to_be_bytes());
        for (id, file) in &self.files {
            out.push(id.level);
            out.extend_from_slice(&id.index.to_be_bytes());
            out.extend_from_slice(file);
        }
        let trailer = Sha256::digest(&out);
        out.extend_from_slice(&trailer);
        Ok(out)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, VaultError> {
        let at =
            |rest: &[u8]| VaultError::ChangeDamaged { offset: bytes.len().saturating_sub(rest.len()) };
        let (body, trailer) = bytes.split_last_chunk::<TRAILER_BYTES>().ok_or_else(|| at(bytes))?;
        if Sha256::digest(body).as_slice() != trailer {
            return Err(at(trailer));
        }
        // What the trailer covers was written by this program; the rest guards against other versions.
        let (header, mut rest) = body.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| at(bytes))?;
        let (kind, count) = match header {
            [b'C', b'F', b'K', b'C', VERSION, 1, count @ ..] => (Kind::Put, *count),
            [b'C', b'F', b'K', b'C', VERSION, 2, count @ ..] => (Kind::Rotation, *count),
            _ => return Err(at(bytes)),
        };
        let mut files = Vec::new();
        for _ in 0..u32::from_be_bytes(count) {
            let (id, file, after) = take_file(rest).ok_or_else(|| at(rest))?;
            files.push((id, file.to_vec()));
            rest = after;
        }
        if rest.is_empty() { Ok(Self { kind, files }) } else { Err(at(rest)) }
    }

    /// The file of the root node, if the change has one.
    pub(super) fn root_file(&self) -> Option<&[u8]> {
        self.files.iter().find(|(id, _)| *id == NodeId::ROOT).map(|(_, file)| file.as_slice())
    }
}

fn take_file(rest: &[u8]) -> Option<(NodeId, &[u8], &[u8])> {
    let (level, rest) = rest.split_first()?;
    let (index, rest) = rest.split_first_chunk::<8>()?;
    let id = NodeId { level: *level, index: u64::from_be_bytes(*index) };
    if !id.is_valid() {
        return None;
    }
    let (file, rest) = rest.split_at_checked(id.file_bytes())?;
    Some((id, file, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        let leaf = NodeId { level: 0, index: 77 };
        let files = [leaf, NodeId::ROOT].map(|id| (id, vec![id.level; id.file_bytes()]));
        Change { kind: Kind::Rotation, files: files.to_vec() }
    }

    #[test]
    fn round_trip() {
        let empty = Change { kind: Kind::Put, files: Vec::new() };
        for change in [change(), empty] {
            assert_eq!(Change::decode(&change.encode().unwrap()).unwrap(), change);
        }
        assert_eq!(change().root_file(), Some([4; 2_113].as_slice()));
    }

    #[test]
    fn every_truncation_and_changed_byte_is_damage() {
        let bytes = change().encode().unwrap();
        for len in (0..bytes.len()).step_by(13).chain([bytes.len() - 1]) {
            assert!(Change::decode(&bytes[..len]).is_err());
        }
        for position in (0..bytes.len()).step_by(13).chain(0..20) {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            assert!(Change::decode(&changed).is_err(), "byte {position}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Change::decode(&longer).is_err());
    }
}
