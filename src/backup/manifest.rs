//! The manifest of a backup: what it is of, what it needs, and the hash of its list of files.
//!
//! In scope: the JSON text, written and read. Out of scope: whether files are as it says. Invariants: what
//! is read was written by [`Manifest::to_json`], to the member; no member holds a secret.
//!
//! ```text
//! {"what":"counterfoil backup","v":1,"made_at":RFC 3339,
//!  "files":n,"bytes":n,"list":"files.sha256","list_sha256":hex,
//!  "ledgers":[{"name","origin","verifier_key",
//!              "published":{"size":n,"root":hex},          the checkpoint in the backup
//!              "entries":n,"root":hex,                      with those in the journal beyond it
//!              "root_key":{"file":"main.vault-root/root-1.key","id":hex 16 bytes}}]}
//! ```

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::log::hash::Hash;
use crate::log::note::VerifierKey;
use crate::store::{DiskStorage, Storage};

use super::BackupError;

/// The file whose presence says that a directory is a backup.
pub const MANIFEST_FILE: &str = "backup.json";

/// The list of the backup's files and their hashes, which `sha256sum --check` reads.
pub(super) const LIST_FILE: &str = "files.sha256";

/// Longest manifest that is read, in bytes: 64 ledgers of about 1 KiB, many times.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

const WHAT: &str = "counterfoil backup";
const VERSION: u64 = 1;

/// Which root key a backup needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootKeyName {
    /// Its file below `keys/`.
    pub file: String,
    /// Its id, in hexadecimal.
    pub id: String,
}

/// One ledger in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerBackup {
    /// Its name.
    pub name: String,
    /// The origin of its checkpoints.
    pub origin: String,
    /// The key that verifies them.
    pub verifier_key: VerifierKey,
    /// Size of the published checkpoint.
    pub published_size: u64,
    /// Its root.
    pub published_root: Hash,
    /// Number of entries, those in the journal included.
    pub entries: u64,
    /// Root of the log at that size.
    pub root: Hash,
    /// The root key that opens its vault.
    pub root_key: RootKeyName,
}

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// When it was finished, RFC 3339.
    pub made_at: String,
    /// Number of files in the list.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// SHA-256 of the list.
    pub list_sha256: Hash,
    /// The ledgers, by name.
    pub ledgers: Vec<LedgerBackup>,
}

impl Manifest {
    /// The manifest as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let ledgers: Vec<Value> = self.ledgers.iter().map(LedgerBackup::to_json).collect();
        json!({
            "what": WHAT, "v": VERSION, "made_at": self.made_at, "files": self.files, "bytes": self.bytes,
            "list": LIST_FILE, "list_sha256": self.list_sha256.to_string(), "ledgers": ledgers,
        })
    }

    /// Reads the manifest of the backup in `dir`.
    ///
    /// # Errors
    /// [`BackupError::NoManifest`] where there is none, [`BackupError::Manifest`] where it is damaged.
    pub fn read(dir: &Path) -> Result<Self, BackupError> {
        let storage = DiskStorage::open_read_only(dir)?;
        let file = dir.join(MANIFEST_FILE);
        let damaged = |what: &str| BackupError::Manifest { file: file.clone(), what: what.to_owned() };
        match storage.len(MANIFEST_FILE)? {
            None => return Err(BackupError::NoManifest { dir: dir.to_owned() }),
            Some(bytes) if bytes > MANIFEST_BYTES_MAX => return Err(damaged("it is too long")),
            Some(_) => {}
        }
        let bytes = storage.read(MANIFEST_FILE)?.unwrap_or_default();
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
        if value.get("what") != Some(&json!(WHAT)) || value.get("v") != Some(&json!(VERSION)) {
            return Err(damaged("it is no manifest of this version"));
        }
        let read = value.as_object().and_then(Self::from_object);
        let read = read.ok_or_else(|| damaged("a member is missing or wrong"))?;
        if read.to_json() == value { Ok(read) } else { Err(damaged("a member is unknown or wrong")) }
    }

    fn from_object(object: &Map<String, Value>) -> Option<Self> {
        let ledgers = object.get("ledgers")?.as_array()?;
        Some(Self {
            made_at: text(object, "made_at")?,
            files: object.get("files")?.as_u64()?,
            bytes: object.get("bytes")?.as_u64()?,
            list_sha256: text(object, "list_sha256")?.parse().ok()?,
            ledgers: ledgers
                .iter()
                .map(|each| LedgerBackup::from_object(each.as_object()?))
                .collect::<Option<_>>()?,
        })
    }
}

fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name)?.as_str().map(str::to_owned)
}

impl LedgerBackup {
    fn to_json(&self) -> Value {
        let Self { name, origin, published_size, entries, root_key, .. } = self;
        json!({
            "name": name, "origin": origin, "verifier_key": self.verifier_key.to_string(),
            "published": { "size": published_size, "root": self.published_root.to_string() },
            "entries": entries, "root": self.root.to_string(),
            "root_key": { "file": root_key.file, "id": root_key.id },
        })
    }

    fn from_object(object: &Map<String, Value>) -> Option<Self> {
        let published = object.get("published")?.as_object()?;
        let root_key = object.get("root_key")?.as_object()?;
        let name = text(object, "name").filter(|name| crate::config::is_ledger_name(name))?;
        Some(Self {
            name,
            origin: text(object, "origin")?,
            verifier_key: text(object, "verifier_key")?.parse().ok()?,
            published_size: published.get("size")?.as_u64()?,
            published_root: text(published, "root")?.parse().ok()?,
            entries: object.get("entries")?.as_u64()?,
            root: text(object, "root")?.parse().ok()?,
            root_key: RootKeyName { file: text(root_key, "file")?, id: text(root_key, "id")? },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let key = crate::log::note::SigningKey::generate_from_seed("l.example/main", &[1; 32]).unwrap();
        let ledger = LedgerBackup {
            name: "main".to_owned(),
            origin: "l.example/main".to_owned(),
            verifier_key: key.verifier(),
            published_size: 3,
            published_root: Hash([3; 32]),
            entries: 4,
            root: Hash([4; 32]),
            root_key: RootKeyName { file: "main.vault-root/root-1.key".to_owned(), id: "00".repeat(16) },
        };
        let made_at = "2026-11-22T01:48:10Z".to_owned();
        Manifest { made_at, files: 7, bytes: 900, list_sha256: Hash([9; 32]), ledgers: vec![ledger] }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_refused_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Manifest::read(dir.path()), Err(BackupError::NoManifest { .. })));
        let storage = DiskStorage::open(dir.path()).unwrap();
        let text = manifest().to_json().to_string();
        storage.write(MANIFEST_FILE, text.as_bytes()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), manifest());
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("\"files\":7", "\"files\":-7"),
            ("\"name\":\"main\"", "\"name\":\"../main\""),
            ("\"bytes\":900", "\"bytes\":900,\"more\":1"),
            ("{", ""),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            storage.write(MANIFEST_FILE, changed.as_bytes()).unwrap();
            assert!(matches!(Manifest::read(dir.path()), Err(BackupError::Manifest { .. })), "{to}");
        }
    }
}
