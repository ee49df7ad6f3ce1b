//! The newest checkpoint a client has seen, and whether later ones extend it.
//!
//! In scope: keeping it durably, asking for consistency proofs, telling a rolled back or forked log.
//! Out of scope: receipts. Invariants: the checkpoint only grows, and only along proofs; a server that
//! gives no proof is reported as not provable, one whose proof does not hold as tampering.

use std::collections::BTreeMap;

use crate::event::json::{self, JsonLimits};
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::merkle::verify_consistency;
use crate::log::note::{NOTE_BYTES_MAX, VerifierKey};
use crate::prove::proofs::ConsistencyDocument;
use crate::prove::verdict::Verdict;
use crate::store::Storage;

use super::directory::Directory;
use super::error::{ClientError, Tampered};
use super::transport::Transport;

/// The file with the newest checkpoint.
const CHECKPOINT: &str = "checkpoint";

/// Longest consistency proof that is read: 63 hashes in hex and a checkpoint.
const PROOF_BYTES_MAX: usize = NOTE_BYTES_MAX * 2;

/// The problem code of a proof about sizes that the log does not have.
const NO_SUCH_SIZE: &str = "bad-parameter";

/// What could be shown about published history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) verdict: Verdict,
    pub(super) detail: String,
}

impl Shown {
    /// What a client without the log's key can show.
    pub(super) fn no_key() -> Self {
        unknown("no verifier key was given")
    }
}

#[derive(Debug, Clone)]
struct Known {
    checkpoint: Checkpoint,
    note: String,
}

/// The newest checkpoint seen.
#[derive(Debug)]
pub(super) struct Watch {
    key: VerifierKey,
    known: Option<Known>,
    home: Option<Directory>,
}

impl Watch {
    /// Takes up the checkpoint that an earlier process kept in `home`.
    pub(super) fn open(key: VerifierKey, home: Option<Directory>) -> Result<Self, ClientError> {
        let kept = match &home {
            Some(home) => home.storage.read(CHECKPOINT)?,
            None => None,
        };
        let known = kept.map(|note| {
            let refused = |why: String| {
                ClientError::Setting(format!(
                    "the file `{CHECKPOINT}` beside the receipts is not a checkpoint of this verifier \
                     key ({why}); use a directory for each ledger"
                ))
            };
            let checkpoint =
                checkpoint::open(&note, &key).map_err(|error| refused(error.to_string()))?;
            let note = String::from_utf8(note).map_err(|error| refused(error.to_string()))?;
            Ok::<_, ClientError>(Known { checkpoint, note })
        });
        Ok(Self { key, known: known.transpose()?, home })
    }

    /// The log's verifier key.
    pub(super) fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Entries the log is known to have; an event that is new gets an index from here on.
    pub(super) fn known_size(&self) -> u64 {
        self.known.as_ref().map_or(0, |known| known.checkpoint.size.0)
    }

    /// Compares the checkpoints of receipts, or the server's newest where there are none, with the
    /// newest one seen, and keeps the larger.
    pub(super) fn advance<'n>(
        &mut self,
        notes: impl Iterator<Item = &'n str>,
        transport: &Transport,
    ) -> Result<Shown, ClientError> {
        let mut by_size = BTreeMap::new();
        for note in notes {
            let opened = self.opened(note)?;
            let root = opened.root;
            let first: &mut (Checkpoint, String) =
                by_size.entry(opened.size.0).or_insert_with(|| (opened, note.to_owned()));
            if first.0.root != root {
                let size = first.0.size.0;
                return Err(self.tampered(Tampered::Forked { from: size, to: size }, Some(note)));
            }
        }
        if by_size.is_empty() {
            return self.newest(transport);
        }
        let mut worst = None;
        for (checkpoint, note) in by_size.into_values() {
            let shown = self.compare(&checkpoint, &note, transport)?;
            if worst.as_ref().is_none_or(|worst: &Shown| worst.verdict < shown.verdict) {
                worst = Some(shown);
            }
        }
        Ok(worst.unwrap_or_else(|| unknown("no checkpoint was there")))
    }

    fn opened(&self, note: &str) -> Result<Checkpoint, ClientError> {
        checkpoint::open(note, &self.key)
            .map_err(|error| self.tampered(Tampered::Checkpoint(error.to_string()), Some(note)))
    }

    /// Asks for the newest checkpoint, with the proof that leads to it.
    fn newest(&mut self, transport: &Transport) -> Result<Shown, ClientError> {
        let Some(known) = self.known.clone() else {
            let Ok(answer) = transport.get("checkpoint", "text/plain") else {
                return Ok(unknown("the server gave no checkpoint"));
            };
            let Some(note) = String::from_utf8(answer.body).ok().filter(|_| answer.status == 200) else {
                return Ok(unknown("the server gave no checkpoint"));
            };
            let checkpoint = self.opened(&note)?;
            return self.keep(checkpoint, note);
        };
        let from = known.checkpoint.size.0;
        match proof(from, None, transport) {
            Err(why) => Ok(unknown(&why)),
            Ok(None) => Err(self.tampered(Tampered::Shrunk { known: from }, None)),
            Ok(Some(document)) => {
                let Some(note) = document.checkpoint.clone() else {
                    return Ok(unknown("the server's proof has no checkpoint"));
                };
                let newer = self.opened(&note)?;
                if newer.size != document.to {
                    let what = "the proof's checkpoint has another size than the proof".to_owned();
                    return Err(self.tampered(Tampered::Checkpoint(what), Some(&note)));
                }
                self.follow(&known.checkpoint, &newer, &document, &note)?;
                self.keep(newer, note)
            }
        }
    }

    /// Compares one signed checkpoint with the newest one seen.
    fn compare(
        &mut self,
        checkpoint: &Checkpoint,
        note: &str,
        transport: &Transport,
    ) -> Result<Shown, ClientError> {
        let Some(known) = self.known.clone() else {
            return self.keep(checkpoint.clone(), note.to_owned());
        };
        let known = known.checkpoint;
        let (older, newer) =
            if checkpoint.size <= known.size { (checkpoint, &known) } else { (&known, checkpoint) };
        let (from, to) = (older.size.0, newer.size.0);
        if from == to {
            return if older.root == newer.root {
                Ok(shown(to))
            } else {
                Err(self.tampered(Tampered::Forked { from, to }, Some(note)))
            };
        }
        match proof(from, Some(to), transport) {
            Err(why) => return Ok(unknown(&why)),
            // The server signed both sizes, or somebody holds its key.
            Ok(None) => return Err(self.tampered(Tampered::Shrunk { known: to }, Some(note))),
            Ok(Some(document)) => self.follow(older, newer, &document, note)?,
        }
        if checkpoint.size > known.size {
            return self.keep(checkpoint.clone(), note.to_owned());
        }
        Ok(shown(to))
    }

    /// That a proof leads from one root to the other.
    fn follow(
        &self,
        older: &Checkpoint,
        newer: &Checkpoint,
        document: &ConsistencyDocument,
        note: &str,
    ) -> Result<(), ClientError> {
        let (from, to) = (older.size, newer.size);
        verify_consistency(from, to, &document.proof, &older.root, &newer.root)
            .map_err(|_| self.tampered(Tampered::Forked { from: from.0, to: to.0 }, Some(note)))
    }

    fn keep(&mut self, checkpoint: Checkpoint, note: String) -> Result<Shown, ClientError> {
        let size = checkpoint.size.0;
        let is_new = self.known.as_ref().is_none_or(|known| known.checkpoint.size.0 < size);
        if let Some(home) = self.home.as_ref().filter(|_| is_new) {
            home.storage.write_durable(CHECKPOINT, note.as_bytes())?;
        }
        self.known = Some(Known { checkpoint, note });
        Ok(shown(size))
    }

    /// The error, after what shows it was put beside the kept checkpoint: two checkpoints that the same
    /// key signed for two histories are proof against whoever holds that key.
    pub(super) fn tampered(&self, what: Tampered, note: Option<&str>) -> ClientError {
        if let Some(home) = &self.home {
            let evidence = serde_json::json!({
                "what": what.to_string(),
                "known_checkpoint": self.known.as_ref().map(|known| &known.note),
                "checkpoint": note,
            });
            let path = format!("evidence-{}.json", self.known_size());
            // The error is told whether or not there is room for the evidence.
            let _ = home.storage.write_durable(&path, evidence.to_string().as_bytes());
        }
        ClientError::Tampered(what)
    }
}

/// A consistency proof; `None` where the server says it has no such size, an error in words where it
/// gives none for another reason.
fn proof(
    from: u64,
    to: Option<u64>,
    transport: &Transport,
) -> Result<Option<ConsistencyDocument>, String> {
    let to = to.map_or(String::new(), |to| format!("&to={to}"));
    let path = format!("proofs/consistency?from={from}{to}");
    let answer = transport.get(&path, "application/json");
    let answer = answer.map_err(|error| format!("no consistency proof: {error}"))?;
    if !answer.is_good() {
        let problem = serde_json::from_slice::<serde_json::Value>(&answer.body).ok();
        let code = problem.as_ref().and_then(|problem| problem.get("code")?.as_str());
        if code == Some(NO_SUCH_SIZE) {
            return Ok(None);
        }
        return Err(format!("no consistency proof: {}", answer.sentence()));
    }
    let limits = JsonLimits { bytes_max: PROOF_BYTES_MAX, ..JsonLimits::default() };
    let document = json::parse(&answer.body, &limits).ok();
    let document = document.and_then(|value| ConsistencyDocument::parse(value).ok());
    document.map(Some).ok_or_else(|| "the consistency proof cannot be read".to_owned())
}

fn shown(size: u64) -> Shown {
    let detail = format!("consistent with every checkpoint this client has seen, up to size {size}");
    Shown { verdict: Verdict::Verified, detail }
}

fn unknown(why: &str) -> Shown {
    Shown { verdict: Verdict::NotProvable, detail: why.to_owned() }
}
