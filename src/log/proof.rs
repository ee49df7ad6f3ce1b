//! Offline inclusion proofs in a file (C2SP tlog-proof, `.tlog-proof`).
//!
//! In scope: the file's syntax and the check of its proof against its checkpoint. Out of scope:
//! where the entry comes from (the verifier's own data) and cosigners' policies. Invariants: a file
//! that parses is written back byte for byte; the extra data is not authenticated by anything.

use super::checkpoint::{self, Checkpoint, CheckpointError};
use super::hash::{Hash, LogIndex};
use super::merkle::{PROOF_HASHES_MAX, ProofError, verify_inclusion};
use super::note::{NOTE_BYTES_MAX, Note, NoteError, VerifierKey};
use super::text::{parse_base64, parse_decimal, to_base64};

/// First line of the file.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Begins the line with the extra data.
const EXTRA_PREFIX: &str = "extra ";
/// Begins the line with the index.
const INDEX_PREFIX: &str = "index ";
/// Longest file in bytes: a note of [`NOTE_BYTES_MAX`] and as much again for extra data.
pub const PROOF_BYTES_MAX: usize = 2 * NOTE_BYTES_MAX;

/// A `.tlog-proof` file is not well formed, or does not prove what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlogProofError {
    /// The file is too long.
    #[error("the proof file has {bytes} bytes, more than {PROOF_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The file is not UTF-8.
    #[error("the proof file is not UTF-8 at byte {offset}")]
    InvalidUtf8 {
        /// The first byte that is not.
        offset: usize,
    },
    /// A line is not what has to stand there.
    #[error("line {line} of the proof file is not well formed")]
    Line {
        /// Number of the line, from 1.
        line: usize,
    },
    /// The file has no empty line before a checkpoint.
    #[error("the proof file has no checkpoint")]
    NoCheckpoint,
    /// There are more hashes than a tree has levels.
    #[error("the proof file has more than {PROOF_HASHES_MAX} hashes")]
    TooManyHashes,
    /// What stands in the checkpoint's place is not a signed note.
    #[error("the proof file's checkpoint is not a signed note")]
    Note(#[from] NoteError),
    /// The checkpoint does not open.
    #[error("the proof file's checkpoint does not open")]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not proven to be in the checkpoint's tree.
    #[error("the proof file does not prove the entry")]
    Proof(#[from] ProofError),
}

/// An inclusion proof and the checkpoint it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Position of the entry.
    pub index: LogIndex,
    /// Data for the application, not empty. Nothing authenticates it.
    pub extra: Option<Vec<u8>>,
    /// The inclusion proof, at most [`PROOF_HASHES_MAX`] hashes, sibling of the leaf first.
    pub hashes: Vec<Hash>,
    /// The checkpoint: the whole signed note, verbatim.
    pub checkpoint: String,
}

impl TlogProof {
    /// Writes the file. Extra data of no bytes is left out, like no extra data. If there are at
    /// most [`PROOF_HASHES_MAX`] hashes and the checkpoint is a note, [`TlogProof::parse`] reads it.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut file = format!("{HEADER}\n");
        if let Some(extra) = self.extra.as_ref().filter(|extra| !extra.is_empty()) {
            file.push_str(EXTRA_PREFIX);
            file.push_str(&to_base64(extra));
            file.push('\n');
        }
        file.push_str(INDEX_PREFIX);
        file.push_str(&self.index.to_string());
        file.push('\n');
        for hash in &self.hashes {
            file.push_str(&hash.to_base64());
            file.push('\n');
        }
        file.push('\n');
        file.push_str(&self.checkpoint);
        file
    }

    /// Reads a file. The checkpoint must be a well-formed note; nothing is verified.
    ///
    /// # Errors
    /// [`TlogProofError`], with the line, for anything that [`TlogProof::encode`] does not write.
    pub fn parse(file: impl AsRef<[u8]>) -> Result<Self, TlogProofError> {
        Self::parse_bytes(file.as_ref())
    }

    fn parse_bytes(file: &[u8]) -> Result<Self, TlogProofError> {
        if file.len() > PROOF_BYTES_MAX {
            return Err(TlogProofError::TooLong { bytes: file.len() });
        }
        let file = std::str::from_utf8(file)
            .map_err(|error| TlogProofError::InvalidUtf8 { offset: error.valid_up_to() })?;
        let (head, checkpoint) = file.split_once("\n\n").ok_or(TlogProofError::NoCheckpoint)?;
        let mut lines = head.split('\n').zip(1..).peekable();
        let line = |line| TlogProofError::Line { line };
        if lines.next().is_none_or(|(text, _)| text != HEADER) {
            return Err(line(1));
        }
        let mut extra = None;
        let extra_line = lines.next_if(|(text, _)| text.starts_with(EXTRA_PREFIX));
        if let Some((text, number)) = extra_line {
            let bytes = text.strip_prefix(EXTRA_PREFIX).and_then(parse_base64);
            extra = Some(bytes.filter(|bytes| !bytes.is_empty()).ok_or(line(number))?);
        }
        let number = 2 + usize::from(extra.is_some());
        let index_line = lines.next().and_then(|(text, _)| text.strip_prefix(INDEX_PREFIX));
        let index = index_line.and_then(parse_decimal).map(LogIndex).ok_or(line(number))?;
        let mut hashes = Vec::new();
        for (text, number) in lines {
            if hashes.len() == PROOF_HASHES_MAX {
                return Err(TlogProofError::TooManyHashes);
            }
            hashes.push(Hash::from_base64(text).ok_or(line(number))?);
        }
        Note::parse(checkpoint)?;
        Ok(Self { index, extra, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// Verifies that the log with this key has signed a tree in which the entry with the leaf hash
    /// `leaf` is number [`TlogProof::index`], and gives that tree's checkpoint. Whether enough
    /// witnesses cosigned it is for the caller to ask.
    ///
    /// # Errors
    /// [`TlogProofError::Checkpoint`] or [`TlogProofError::Proof`].
    pub fn verify(&self, leaf: &Hash, key: &VerifierKey) -> Result<Checkpoint, TlogProofError> {
        let checkpoint = checkpoint::open(&self.checkpoint, key)?;
        verify_inclusion(self.index, checkpoint.size, leaf, &self.hashes, &checkpoint.root)?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::hash::{TreeSize, leaf_hash};
    use crate::log::merkle::{MemoryTree, inclusion_proof};
    use crate::log::note::SigningKey;

    fn key() -> SigningKey {
        SigningKey::generate_from_seed("ledger.example/audit", &[3; 32]).unwrap()
    }

    fn proof() -> TlogProof {
        let tree: MemoryTree = (0..7_u8).map(|n| leaf_hash(&[n])).collect();
        let hashes = inclusion_proof(LogIndex(2), TreeSize(7), &tree).unwrap();
        let origin = key().name().to_owned();
        let checkpoint = Checkpoint { origin, size: TreeSize(7), root: tree.root() };
        let checkpoint = checkpoint.sign(&key()).unwrap();
        TlogProof { index: LogIndex(2), extra: None, hashes, checkpoint }
    }

    #[test]
    fn a_proof_survives_the_file_and_verifies_for_its_entry_only() {
        for extra in [None, Some(vec![0]), Some(vec![7; 1000])] {
            let proof = TlogProof { extra, ..proof() };
            let file = proof.encode();
            let read = TlogProof::parse(&file).unwrap();
            assert_eq!(read, proof);
            assert_eq!(read.encode(), file);
            assert_eq!(read.verify(&leaf_hash(&[2]), &key().verifier()).unwrap().size, TreeSize(7));
            let other = read.verify(&leaf_hash(&[3]), &key().verifier());
            assert_eq!(other, Err(TlogProofError::Proof(ProofError::RootMismatch { size: 7 })));
            let moved = TlogProof { index: LogIndex(3), ..read };
            assert!(moved.verify(&leaf_hash(&[2]), &key().verifier()).is_err());
        }
        let empty = TlogProof { extra: Some(Vec::new()), ..proof() };
        assert_eq!(empty.encode(), proof().encode());
    }

    #[test]
    fn anything_else_is_refused_with_its_line() {
        let file = proof().encode();
        let hash = Hash::ZERO.to_base64();
        let line = |line| TlogProofError::Line { line };
        let with = |from: &str, to: &str| file.replacen(from, to, 1);
        for (bad, error) in [
            (String::new(), TlogProofError::NoCheckpoint),
            (with("@v1", "@v2"), line(1)),
            (with("c2sp", " c2sp"), line(1)),
            (format!("\u{feff}{file}"), line(1)),
            (with("@v1\n", "@v1\r\n"), line(1)),
            (with("@v1\n", "@v1\n\n"), line(2)),
            (with("index 2\n", ""), line(2)),
            (with("index 2", "index 02"), line(2)),
            (with("index 2", "index  2"), line(2)),
            (with("index 2", "index -2"), line(2)),
            (with("index 2", "index 2 "), line(2)),
            (with("index 2", "Index 2"), line(2)),
            (with("index 2", "index 18446744073709551616"), line(2)),
            (with("index 2", "extra \nindex 2"), line(2)),
            (with("index 2", "extra AA\nindex 2"), line(2)),
            (with("index 2", "extra AB==\nindex 2"), line(2)),
            (with("index 2", "extra AA==\nextra AA==\nindex 2"), line(3)),
            (with("index 2\n", "index 2\nextra AA==\n"), line(3)),
            (with("index 2\n", "index 2\nindex 2\n"), line(3)),
            (with("index 2\n", &format!("index 2\n {hash}\n")), line(3)),
            (with("index 2\n", "index 2\nAAAA\n"), line(3)),
            (
                with("index 2\n", &format!("index 2\n{}", format!("{hash}\n").repeat(61))),
                TlogProofError::TooManyHashes,
            ),
            (file.replace("\n\n", "\n"), TlogProofError::NoCheckpoint),
            (format!("{file}\n"), TlogProofError::Note(NoteError::NoSignatures)),
            (format!("{file}x"), TlogProofError::Note(NoteError::SignatureLine { line: 2 })),
            (file.trim_end().to_owned(), TlogProofError::Note(NoteError::SignatureLine { line: 1 })),
        ] {
            assert_eq!(TlogProof::parse(&bad), Err(error), "{bad:?}");
        }
        // A checkpoint that begins with an empty line is a note, but no checkpoint.
        let empty_line = TlogProof::parse(with("\n\nledger", "\n\n\nledger")).unwrap();
        let opened = empty_line.verify(&leaf_hash(&[2]), &key().verifier());
        assert!(matches!(opened, Err(TlogProofError::Checkpoint(_))));
        let utf8 = TlogProof::parse([file.as_bytes(), &[0xff]].concat());
        assert_eq!(utf8, Err(TlogProofError::InvalidUtf8 { offset: file.len() }));
        let long = " ".repeat(PROOF_BYTES_MAX + 1);
        assert_eq!(TlogProof::parse(&long), Err(TlogProofError::TooLong { bytes: long.len() }));
    }
}
