//! Checkpoints (C2SP tlog-checkpoint): what a log signs about itself.
//!
//! In scope: the three lines origin, size and root, signing them, opening a signed checkpoint. Out
//! of scope: which sizes may be signed (`ledger`), cosigners' policies. Invariants: exactly three
//! lines, because what an extension line says is not covered by every kind of cosignature; the
//! origin is the name of the log's key; the empty log has the root of the empty tree.

use std::fmt;

use super::hash::{Hash, TreeSize, empty_root};
use super::note::{KeyType, Note, NoteError, SigningKey, VerifierKey};
use super::text::parse_decimal;

/// Size and root of a log at some time.
///
/// ```
/// use counterfoil::log::checkpoint::{self, Checkpoint};
/// use counterfoil::log::hash::{TreeSize, empty_root};
/// use counterfoil::log::note::SigningKey;
/// let key = SigningKey::generate_from_seed("ledger.example/audit", &[7; 32]).unwrap();
/// let origin = key.name().to_owned();
/// let checkpoint = Checkpoint { origin, size: TreeSize(0), root: empty_root() };
/// let note = checkpoint.sign(&key).unwrap();
/// assert_eq!(checkpoint::open(&note, &key.verifier()), Ok(checkpoint));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log, which is the name of its key.
    pub origin: String,
    /// Number of entries.
    pub size: TreeSize,
    /// Root of the tree of these entries.
    pub root: Hash,
}

/// A checkpoint is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The note is not well formed or not signed by the log.
    #[error("the checkpoint is not a note signed by the log")]
    Note(#[from] NoteError),
    /// The text has not three lines; C2SP allows more, this project does not.
    #[error("the checkpoint has {lines} lines instead of origin, size and root")]
    Lines {
        /// How many it has.
        lines: usize,
    },
    /// The second line is not a size.
    #[error("the checkpoint's second line is not a size")]
    Size,
    /// The third line is not a root, or a log without entries has another one than the empty tree.
    #[error("the checkpoint's third line is not the root of a tree of that size")]
    Root,
    /// The origin is not the name of the key.
    #[error("the checkpoint's origin is not the name of the log's key")]
    Origin,
    /// The key is a cosigner's or of a type that is not implemented.
    #[error("a key of type {0:#04x} is not the key of a log")]
    KeyType(u8),
}

impl Checkpoint {
    /// Reads the text of a checkpoint, three lines with their newlines. This says nothing about
    /// who signed it; use [`open`] for that.
    ///
    /// # Errors
    /// [`CheckpointError`] for any other text, extension lines included.
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let lines = text.split_inclusive('\n').count();
        let mut fields = text.strip_suffix('\n').unwrap_or_default().split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(CheckpointError::Lines { lines });
        };
        if origin.is_empty() {
            return Err(CheckpointError::Origin);
        }
        let size = parse_decimal(size).map(TreeSize).ok_or(CheckpointError::Size)?;
        let root = Hash::from_base64(root).ok_or(CheckpointError::Root)?;
        if size == TreeSize(0) && root != empty_root() {
            return Err(CheckpointError::Root);
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// The text that the log and its cosigners sign.
    #[must_use]
    pub fn text(&self) -> String {
        self.to_string()
    }

    /// Signs the checkpoint and gives the whole note.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`] if the origin is not the name of the key,
    /// [`CheckpointError::Root`] if a log without entries has another root than the empty tree.
    pub fn sign(&self, key: &SigningKey) -> Result<String, CheckpointError> {
        if self.origin != key.name() {
            return Err(CheckpointError::Origin);
        }
        if self.size == TreeSize(0) && self.root != empty_root() {
            return Err(CheckpointError::Root);
        }
        let text = self.text();
        let line = key.sign(&text);
        Ok(format!("{text}\n{line}"))
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64())
    }
}

/// Opens a signed checkpoint: the note is well formed, signed by `key`, which is the log's own, and
/// its text is a checkpoint of the log that has the key's name. Other signatures are passed over.
///
/// # Errors
/// [`CheckpointError`].
pub fn open(note: impl AsRef<[u8]>, key: &VerifierKey) -> Result<Checkpoint, CheckpointError> {
    if key.key_type() != KeyType::Ed25519 {
        return Err(CheckpointError::KeyType(key.key_type().byte()));
    }
    let note = Note::parse(note)?;
    note.verify(std::slice::from_ref(key))?;
    let checkpoint = Checkpoint::from_text(note.text())?;
    if checkpoint.origin != key.name() {
        return Err(CheckpointError::Origin);
    }
    Ok(checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::cosignature::CosigningKey;
    use crate::log::hash::leaf_hash;

    const ROOT: &str = "kTlgHMHKirKnoMLBNMBIRfKxulSag9bIRc/NpDnMWF0=";

    fn key() -> SigningKey {
        SigningKey::generate_from_seed("ledger.example/audit", &[3; 32]).unwrap()
    }

    fn open_text(text: &str) -> Result<Checkpoint, CheckpointError> {
        open(format!("{text}\n{}", key().sign(text)), &key().verifier())
    }

    #[test]
    fn only_three_lines_open() {
        let good = format!("ledger.example/audit\n7\n{ROOT}\n");
        let opened = open_text(&good).unwrap();
        assert_eq!((opened.size, opened.text()), (TreeSize(7), good.clone()));
        assert_eq!(Checkpoint::from_text(&good), Ok(opened));

        let origin = "ledger.example/audit";
        for (text, error) in [
            (format!("{good}extension\n"), CheckpointError::Lines { lines: 4 }),
            (format!("{good}\n"), CheckpointError::Lines { lines: 4 }),
            (format!("{good}\nhidden\n"), CheckpointError::Lines { lines: 5 }),
            (format!("{origin}\n7\n"), CheckpointError::Lines { lines: 2 }),
            (format!("\n{good}"), CheckpointError::Lines { lines: 4 }),
            (format!("\n7\n{ROOT}\n"), CheckpointError::Origin),
            (format!("other.example\n7\n{ROOT}\n"), CheckpointError::Origin),
            (format!("{origin} \n7\n{ROOT}\n"), CheckpointError::Origin),
            (format!("{origin}\n07\n{ROOT}\n"), CheckpointError::Size),
            (format!("{origin}\n+7\n{ROOT}\n"), CheckpointError::Size),
            (format!("{origin}\n7 \n{ROOT}\n"), CheckpointError::Size),
            (format!("{origin}\n\n{ROOT}\n"), CheckpointError::Size),
            (format!("{origin}\n18446744073709551616\n{ROOT}\n"), CheckpointError::Size),
            (format!("{origin}\n7\n{ROOT} \n"), CheckpointError::Root),
            (format!("{origin}\n7\n{}\n", ROOT.trim_end_matches('=')), CheckpointError::Root),
            (format!("{origin}\n7\n{}1=\n", &ROOT[..42]), CheckpointError::Root),
            (format!("{origin}\n7\nkTlgHMHK\n"), CheckpointError::Root),
            (format!("{origin}\n0\n{ROOT}\n"), CheckpointError::Root),
        ] {
            assert_eq!(open_text(&text), Err(error), "{text:?}");
        }
        assert_eq!(Checkpoint::from_text(""), Err(CheckpointError::Lines { lines: 0 }));
        let unfinished = good.trim_end();
        assert_eq!(Checkpoint::from_text(unfinished), Err(CheckpointError::Lines { lines: 3 }));
    }

    #[test]
    fn signing_refuses_what_opening_would() {
        let origin = "ledger.example/audit".to_owned();
        let mut checkpoint = Checkpoint { origin, size: TreeSize(0), root: leaf_hash(b"") };
        assert_eq!(checkpoint.sign(&key()), Err(CheckpointError::Root));
        checkpoint.size = TreeSize(1);
        assert!(checkpoint.sign(&key()).is_ok());
        checkpoint.origin = "ledger.example/audit\nother".to_owned();
        assert_eq!(checkpoint.sign(&key()), Err(CheckpointError::Origin));
    }

    #[test]
    fn another_key_or_a_cosigner_s_key_does_not_open_it() {
        let text = format!("ledger.example/audit\n7\n{ROOT}\n");
        let note = format!("{text}\n{}", key().sign(&text));
        let other = SigningKey::generate_from_seed("ledger.example/audit", &[4; 32]).unwrap();
        let unverified = CheckpointError::Note(NoteError::Unverified { signatures: 1 });
        assert_eq!(open(&note, &other.verifier()), Err(unverified));
        let witness = CosigningKey::generate_from_seed("ledger.example/audit", &[3; 32]).unwrap();
        let cosigned = format!("{text}\n{}", witness.cosign(&text, 5));
        assert_eq!(open(&cosigned, &witness.verifier()), Err(CheckpointError::KeyType(4)));
        assert!(open(&cosigned, &key().verifier()).is_err());
        let flipped = note.replacen("\n7\n", "\n8\n", 1);
        let open_flipped = open(flipped, &key().verifier());
        assert!(matches!(open_flipped, Err(CheckpointError::Note(NoteError::InvalidSignature { .. }))));
    }
}
