//! Appending events: the path from a request to its receipts.
//!
//! In scope: admitting a request's events, comparing repeats with what is stored, submitting the
//! new ones as one unit, and recording conflicts. Out of scope: parsing requests and wording
//! answers. Invariants: an atomic request is stored whole or not at all; the same source and id
//! never get two entries.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use crate::event::catalogue::Catalogue;
use crate::event::entry::{ConflictBody, EntryBody};
use crate::event::envelope::{self, Event};
use crate::event::json::Value;
use crate::event::keys;
use crate::event::parts::{FacetSource, SplitEvent};
use crate::log::hash::{Hash, LogIndex, leaf_hash};
use crate::prove::receipt::{Compared, KeyOpening, Openings, PartContent, PartOpening, RemovedProof};

use super::admit::{self, Admitted, InTheClear, Prepared};
use super::commit::{Committed, Outcome};
use super::error::{AppendError, LedgerError};
use super::intake::{Item, Submission, WAITING_SUBMISSIONS_MAX};
use super::sequencer::GROUP_BYTES_MAX;
use super::snapshot::{Access, StoredEvent};
use super::{Ledger, Shared, Snapshot};

/// Times a request is looked up again because another took one of its ids in between. Each further
/// turn needs yet another request with the same id at the same moment.
const LOOK_UPS_MAX: usize = 8;

/// One acknowledged event.
#[derive(Debug)]
pub struct Appended {
    /// Position in the log.
    pub index: u64,
    /// `id` of the event as sent.
    pub id: String,
    /// The leaf bytes.
    pub entry: Arc<[u8]>,
    /// RFC 6962 leaf hash of them.
    pub leaf_hash: Hash,
    /// Ledger time in Unix microseconds.
    pub time_us: u64,
    /// Set where the event had been recorded before, with how much of it was compared.
    pub replayed: Option<Compared>,
    /// Inclusion proof and signed checkpoint, where asked for.
    pub proof: Option<(Arc<str>, Vec<Hash>)>,
    /// What is behind the entry's commitments and keys.
    pub openings: Openings,
    /// That the parts said to be gone are, where a proof was asked for.
    pub removed: Option<RemovedProof>,
}

/// One item of a request while it is being worked on.
enum Work {
    /// Its line or item did not parse; the reason stays with the request.
    Malformed,
    Refused(AppendError),
    Known {
        index: u64,
        compared: Compared,
        split: Box<SplitEvent>,
    },
    New(Option<Box<Prepared>>, Box<InTheClear>),
    /// Same as an earlier item of the request.
    Same(usize),
}

impl Ledger {
    /// Appends `events` for `producer`, durably, and answers one result per event in order.
    ///
    /// With `atomic`, one refused event refuses all of them. With `with_proof`, each result carries
    /// an inclusion proof under a checkpoint signed with the commit.
    pub async fn append(
        &self,
        events: Vec<Result<Event, AppendError>>,
        producer: u32,
        atomic: bool,
        with_proof: bool,
    ) -> Vec<Result<Appended, AppendError>> {
        let answers = self.append_all(events, producer, atomic, with_proof).await;
        self.shared.stats.answered(&answers);
        answers
    }

    async fn append_all(
        &self,
        events: Vec<Result<Event, AppendError>>,
        producer: u32,
        atomic: bool,
        with_proof: bool,
    ) -> Vec<Result<Appended, AppendError>> {
        let count = events.len();
        let mut conflicts = HashSet::new();
        for _ in 0..LOOK_UPS_MAX {
            let catalogue = self.shared.catalogue.load_full();
            let mut works = self.admit_all(&events, &catalogue, producer);
            let refused = works.iter().any(|work| matches!(work, Work::Refused(_) | Work::Malformed));
            self.record_conflicts(&works, &mut conflicts);
            if atomic && refused {
                return works.into_iter().zip(events).map(|(work, event)| refuse(work, event)).collect();
            }
            let items: Vec<Item> = works.iter_mut().filter_map(take_item).collect();
            let bytes: usize = items.iter().map(Item::frame_bytes).sum();
            if bytes > GROUP_BYTES_MAX {
                return fail_all(
                    count,
                    &AppendError::TooLargeTogether { bytes, bytes_max: GROUP_BYTES_MAX },
                );
            }
            let outcome = self.submit(items, with_proof).await;
            match outcome {
                Ok(Outcome::Committed(committed)) => {
                    return self.answers(works, events, committed, with_proof);
                }
                Ok(Outcome::LookUpAgain) => {}
                Err(error) => return fail_all(count, &error),
            }
        }
        fail_all(count, &AppendError::Overloaded { waiting_max: WAITING_SUBMISSIONS_MAX })
    }

    fn admit_all(
        &self,
        events: &[Result<Event, AppendError>],
        catalogue: &Catalogue,
        producer: u32,
    ) -> Vec<Work> {
        let mut works: Vec<Work> = Vec::with_capacity(events.len());
        let mut seen: HashMap<Hash, usize> = HashMap::new();
        for (at, event) in events.iter().enumerate() {
            let admitted = match event {
                Err(_) => {
                    works.push(Work::Malformed);
                    continue;
                }
                Ok(event) => admit::admit(&self.shared, catalogue, event, producer),
            };
            let work = match admitted {
                Err(error) => Work::Refused(error),
                Ok(Admitted::Known { index, split }) => self.compare(index, split),
                Ok(Admitted::New(prepared, content)) => {
                    if let Some(first) = seen.get(&prepared.event_key) {
                        same_in_request(&works, *first, &content.split)
                    } else {
                        seen.insert(prepared.event_key, at);
                        Work::New(Some(prepared), content)
                    }
                }
            };
            works.push(work);
        }
        works
    }

    /// Holds a repeated event against what is stored under its id.
    fn compare(&self, index: u64, split: Box<SplitEvent>) -> Work {
        let stored = match self.snapshot().event(index, Access::Personal) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Work::Refused(LedgerError::Stopped.into()),
            Err(error) => return Work::Refused(error.into()),
        };
        let mut compared = Compared::default();
        let same_roles = stored.parts.len() == split.parts.len();
        for (found, part) in stored.parts.iter().zip(&split.parts) {
            match &found.content {
                _ if found.role != part.role => {
                    return Work::Refused(AppendError::Conflict { first: index });
                }
                PartContent::Open { body, .. } if body.as_bytes() != part.body => {
                    return Work::Refused(AppendError::Conflict { first: index });
                }
                PartContent::Open { .. } => compared.equal.push(part.role),
                _ => compared.not_compared.push(part.role),
            }
        }
        if same_roles {
            Work::Known { index, compared, split }
        } else {
            Work::Refused(AppendError::Conflict { first: index })
        }
    }

    /// Leaves an entry for each id that came again with other content, once per id while it is
    /// remembered, so that a client which repeats itself does not fill the log. The refusal stands
    /// whether or not the queue has room for the entry.
    fn record_conflicts(&self, works: &[Work], recorded: &mut HashSet<u64>) {
        for work in works {
            let Work::Refused(AppendError::Conflict { first }) = work else { continue };
            if !recorded.insert(*first) || !self.shared.conflict_is_new(*first) {
                continue;
            }
            let Ok(Some((bytes, entry))) = self.snapshot().decoded(*first) else { continue };
            let EntryBody::Event(event) = entry.body else { continue };
            let body = EntryBody::Conflict(ConflictBody {
                event_key: event.event_key,
                first: LogIndex(*first),
                first_leaf: leaf_hash(&bytes),
            });
            let (reply, _) = oneshot::channel();
            let items = vec![Item::System(body)];
            let submission = Submission { items, with_proof: false, reply };
            self.shared.submit(submission, WAITING_SUBMISSIONS_MAX);
        }
    }

    async fn submit(&self, items: Vec<Item>, with_proof: bool) -> Result<Outcome, AppendError> {
        if self.shared.is_stopped() {
            return Err(LedgerError::Stopped.into());
        }
        if self.shared.disk_low.load(Ordering::SeqCst) && !items.is_empty() {
            return Err(AppendError::DiskLow);
        }
        if items.is_empty() {
            return Ok(Outcome::Committed(Vec::new()));
        }
        let (reply, answer) = oneshot::channel();
        let submission = Submission { items, with_proof, reply };
        if !self.shared.submit(submission, WAITING_SUBMISSIONS_MAX) {
            return Err(AppendError::Overloaded { waiting_max: WAITING_SUBMISSIONS_MAX });
        }
        answer.await.unwrap_or_else(|_| Err(LedgerError::Stopped.into()))
    }

    fn answers(
        &self,
        works: Vec<Work>,
        events: Vec<Result<Event, AppendError>>,
        committed: Vec<Committed>,
        with_proof: bool,
    ) -> Vec<Result<Appended, AppendError>> {
        let mut committed = committed.into_iter();
        let snapshot = self.snapshot();
        let mut indexes: Vec<Option<u64>> = Vec::with_capacity(works.len());
        let mut answers = Vec::with_capacity(works.len());
        for (work, event) in works.into_iter().zip(events) {
            let answer = match work {
                Work::Malformed | Work::Refused(_) => refuse(work, event),
                Work::Known { index, compared, split } => {
                    recall(&snapshot, index, compared, &split.id, with_proof)
                }
                Work::New(_, content) => match committed.next() {
                    Some(committed) => acknowledge(&self.shared, committed, *content),
                    None => Err(LedgerError::Stopped.into()),
                },
                Work::Same(first) => match indexes.get(first).copied().flatten() {
                    Some(index) => recall_same(&snapshot, index, with_proof, answers.get(first)),
                    None => Err(AppendError::BatchRefused),
                },
            };
            indexes.push(answer.as_ref().ok().map(|appended: &Appended| appended.index));
            answers.push(answer);
        }
        answers
    }
}

fn refuse(work: Work, event: Result<Event, AppendError>) -> Result<Appended, AppendError> {
    match (work, event) {
        (Work::Refused(error), _) | (Work::Malformed, Err(error)) => Err(error),
        _ => Err(AppendError::BatchRefused),
    }
}

fn take_item(work: &mut Work) -> Option<Item> {
    match work {
        Work::New(prepared, _) => prepared.take().map(Item::Event),
        _ => None,
    }
}

fn same_in_request(works: &[Work], first: usize, split: &SplitEvent) -> Work {
    match works.get(first) {
        Some(Work::New(_, content)) if content.split.parts == split.parts => Work::Same(first),
        _ => Work::Refused(AppendError::ConflictInBatch),
    }
}

fn fail_all(count: usize, error: &AppendError) -> Vec<Result<Appended, AppendError>> {
    let each = || match error {
        AppendError::Overloaded { waiting_max } => AppendError::Overloaded { waiting_max: *waiting_max },
        AppendError::TooLargeTogether { bytes, bytes_max } => {
            AppendError::TooLargeTogether { bytes: *bytes, bytes_max: *bytes_max }
        }
        AppendError::DiskLow => AppendError::DiskLow,
        AppendError::ClockAhead { ahead_ms } => AppendError::ClockAhead { ahead_ms: *ahead_ms },
        _ => AppendError::Ledger(LedgerError::Stopped),
    };
    (0..count).map(|_| Err(each())).collect()
}

fn acknowledge(
    shared: &Shared,
    committed: Committed,
    content: InTheClear,
) -> Result<Appended, AppendError> {
    let proof = match committed.proof {
        Some(proof) => Some((proof.checkpoint.note(shared)?, proof.hashes)),
        None => None,
    };
    let InTheClear { split, salts } = content;
    let period = keys::period_of(committed.record.time_us);
    let keys = split.terms.into_iter().map(|term| match term.source {
        FacetSource::Open(value) => KeyOpening { facet: term.facet, value: Some(value), period: None },
        FacetSource::Person(_) => KeyOpening { facet: term.facet, value: None, period: Some(period) },
    });
    let keys = keys.collect();
    let parts = split.parts.into_iter().zip(salts).map(|(part, salt)| {
        let body = String::from_utf8(part.body).unwrap_or_default();
        PartOpening { role: part.role, content: PartContent::Open { salt, body } }
    });
    Ok(Appended {
        index: committed.index,
        id: split.id,
        entry: Arc::from(committed.record.entry.as_slice()),
        leaf_hash: committed.record.leaf,
        time_us: committed.record.time_us,
        replayed: None,
        proof,
        openings: Openings { parts: parts.collect(), keys },
        removed: None,
    })
}

/// The receipt of an event that was recorded before, under the newest checkpoint.
fn recall(
    snapshot: &Snapshot,
    index: u64,
    compared: Compared,
    id: &str,
    with_proof: bool,
) -> Result<Appended, AppendError> {
    let mut appended =
        snapshot.receipt(index, Access::Personal, with_proof)?.ok_or(LedgerError::Stopped)?;
    id.clone_into(&mut appended.id);
    appended.replayed = Some(compared);
    Ok(appended)
}

fn recall_same(
    snapshot: &Snapshot,
    index: u64,
    with_proof: bool,
    first: Option<&Result<Appended, AppendError>>,
) -> Result<Appended, AppendError> {
    let id = match first {
        Some(Ok(first)) => first.id.clone(),
        _ => return Err(AppendError::BatchRefused),
    };
    recall(snapshot, index, Compared::default(), &id, with_proof)
}

impl Snapshot {
    /// What a receipt of the event at `index` says under the newest checkpoint of this view; none
    /// beyond it and for entries of the ledger's own.
    ///
    /// # Errors
    /// As [`Snapshot::event`].
    pub fn receipt(
        &self,
        index: u64,
        access: Access,
        with_proof: bool,
    ) -> Result<Option<Appended>, LedgerError> {
        let Some(stored) = self.event(index, access)? else { return Ok(None) };
        if stored.body.is_none() {
            return Ok(None);
        }
        let proof = if with_proof {
            let hashes = self
                .inclusion(index, self.size().0)
                .map_err(|error| LedgerError::Setup(format!("proof of {index}: {error}")))?;
            Some((self.checkpoint()?, hashes))
        } else {
            None
        };
        let removed = if with_proof { self.removed_proof(&stored)? } else { None };
        let (id, keys) = reopened(&stored, &self.catalogue());
        Ok(Some(Appended {
            index,
            id,
            leaf_hash: stored.leaf_hash(),
            entry: stored.entry_bytes,
            time_us: stored.time_us,
            replayed: None,
            proof,
            openings: Openings { parts: stored.parts, keys },
            removed,
        }))
    }
}

/// The id of a stored event and what its keys were made from, as far as its open parts tell.
fn reopened(stored: &StoredEvent, catalogue: &Catalogue) -> (String, Vec<KeyOpening>) {
    let merged = stored.merged();
    let id = merged.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let period = keys::period_of(stored.time_us);
    let split = envelope::from_value(Value::Object(merged))
        .and_then(|event| crate::event::parts::split(&event, catalogue));
    let keys = split.map_or_else(
        |_| Vec::new(),
        |split| {
            let opened = split.terms.into_iter().map(|term| match term.source {
                FacetSource::Open(value) => {
                    KeyOpening { facet: term.facet, value: Some(value), period: None }
                }
                FacetSource::Person(_) => {
                    KeyOpening { facet: term.facet, value: None, period: Some(period) }
                }
            });
            opened.collect()
        },
    );
    (id, keys)
}
