//! Erasure certificates, made from what the ledger remembers and from its log.
//!
//! In scope: filling in a certificate and signing it, registering the key that does. Out of scope: its
//! format and its verification ([`crate::prove::certificate`]). Invariants: a certificate is made anew
//! whenever it is asked for, under the checkpoint of that moment; it names nobody, and no event.

use crate::event::entry::EntryBody;
use crate::event::facet::{Namespace, Role};
use crate::event::json::{Object, Value};
use crate::event::time::rfc3339;
use crate::log::hash::{Hash, LogIndex};
use crate::prove::certificate::{
    Alive, Asked, Certificate, CertificateEntries, CertificateState, Destroyed, ErasedPerson,
    ProvenEntry, Residual, RootKey, Told,
};
use crate::prove::receipt::{RemovedMember, RemovedProof, recorded_at};
use crate::prove::removed::removed_key;

use super::super::error::LedgerError;
use super::super::snapshot::{Snapshot, StoredEvent};
use super::super::{Ledger, settings};
use super::ErasureId;
use super::record::{Done, Record, Share};
use crate::prove::receipt::PartContent;

/// Microseconds of a day.
const DAY_US: u64 = 86_400_000_000;

/// How root keys are kept, in a certificate.
const CUSTODY: &str = "file";

const STATEMENT_PENDING: &str = "The secrets are destroyed at the next shred; until then nothing of the \
    persons is opened.";

const STATEMENT: &str = "The persons' secrets were taken out of the key tree, every node above them was \
    encrypted anew, and the root key before was overwritten and unlinked after the one that followed had \
    been stored and read back. It was a file: copy-on-write file systems, flash disks, snapshots and backups \
    of that file may keep its bytes.";

impl Ledger {
    /// Ids of all erasures, pending ones included.
    ///
    /// # Errors
    /// What the storage reports.
    pub fn erasures(&self) -> Result<Vec<ErasureId>, LedgerError> {
        self.shared.erasure_ids()
    }

    /// The certificate of an erasure under the newest checkpoint; none where there is no such erasure.
    ///
    /// # Errors
    /// What reading the log reports.
    pub fn certificate(&self, id: ErasureId) -> Result<Option<Certificate>, LedgerError> {
        let Some(record) = self.shared.erasure_record(id)? else { return Ok(None) };
        let Some(erased) = record.entry else { return Ok(None) };
        let signer = self.certifier_entry()?;
        let snapshot = self.snapshot();
        let checkpoint = snapshot.checkpoint()?.to_string();
        let done = record.done.as_ref();
        let entries = CertificateEntries {
            erased: proven(&snapshot, erased)?,
            begun: done.map(|done| proven(&snapshot, done.begun)).transpose()?,
            done: done.map(|done| proven(&snapshot, done.ended)).transpose()?,
            signer: done.map(|_| proven(&snapshot, signer)).transpose()?,
        };
        let asked_us = snapshot.time_us(erased)?.unwrap_or(record.asked_us);
        let done_us = done.map(|done| snapshot.time_us(done.ended)).transpose()?.flatten();
        let mut certificate = Certificate {
            id: record.id,
            state: if done.is_some() { CertificateState::Complete } else { CertificateState::Pending },
            ledger: self.name().to_owned(),
            origin: self.origin().to_owned(),
            asked: Asked {
                at: recorded_at(asked_us),
                key: u64::from(record.by.key),
                label: record.by.label.clone(),
                reason: record.reason.clone(),
                request: record.request.clone(),
            },
            persons: persons(&record),
            destroyed: destroyed(&record, done_us),
            root_key: self.root_key(done)?,
            entries,
            checkpoint,
            residual: self.residual(done, done_us),
            told: done.map(|done| told(&done.share)).unwrap_or_default(),
            alive: done.map(|done| alive(&done.share)).unwrap_or_default(),
            also: record.also.clone(),
            signed_by: None,
            signature: None,
        };
        if done.is_some() {
            certificate.signed_by = Some(self.shared.certifier.verifier().to_string());
            let input = certificate.signing_input();
            certificate.signature = Some(self.shared.certifier.sign_bytes(&input));
        }
        Ok(Some(certificate))
    }

    /// Which identifiers of an erasure the ledger has met again since.
    ///
    /// # Errors
    /// What the index and the vault report.
    pub fn returned(&self, id: ErasureId) -> Result<u64, LedgerError> {
        let Some(record) = self.shared.erasure_record(id)? else { return Ok(0) };
        let mut returned = 0;
        for person in &record.persons {
            let found = self.shared.directory.find_key(Hash(person.directory_key))?;
            returned += u64::from(found.is_some());
        }
        Ok(returned)
    }

    /// Index of the settings entry that registers the key for certificates; written where it is missing.
    pub(super) fn certifier_entry(&self) -> Result<u64, LedgerError> {
        let shared = &self.shared;
        if let Some(index) = shared.certifier_entry.get() {
            return Ok(*index);
        }
        let _chain = shared.duties.grow();
        let vkey = shared.certifier.verifier().to_string();
        let newest = shared.newest_settings();
        let registered = |settings: &Object| {
            let is = |name: &str, value: &str| settings.get(name).and_then(Value::as_str) == Some(value);
            is("what", "signer") && is("use", "certificate") && is("key", &vkey)
        };
        let found = settings::find(newest, |index| shared.entry(index), registered)?;
        let index = if let Some(index) = found {
            index
        } else {
            let usage = Value::from("certificate");
            let members = [("use", usage), ("key", Value::from(vkey.as_str()))];
            let body = settings::body(newest, "signer", members);
            shared.append_system(EntryBody::Settings(body))?
        };
        let _ = shared.certifier_entry.set(index);
        Ok(index)
    }

    fn root_key(&self, done: Option<&Done>) -> Result<RootKey, LedgerError> {
        let before = match done {
            Some(done) => done.key_before,
            None => self.shared.tree.root_key_id()?,
        };
        let statement = if done.is_some() { STATEMENT } else { STATEMENT_PENDING };
        Ok(RootKey {
            before,
            after: done.map(|done| done.key_after),
            custody: CUSTODY.to_owned(),
            statement: statement.to_owned(),
        })
    }

    /// What remains, where and until when.
    fn residual(&self, done: Option<&Done>, done_us: Option<u64>) -> Vec<Residual> {
        let (Some(done), Some(done_us)) = (done, done_us) else { return Vec::new() };
        let days = self.shared.options.backup_keep_days;
        let until_us = done_us.saturating_add(days.saturating_mul(DAY_US));
        let until = i64::try_from(until_us).ok().filter(|_| days > 0).and_then(rfc3339);
        let basis = if days > 0 {
            "the setting backup_keep_days; what they hold does not open without the root key before"
        } else {
            "no setting says how long they are kept; what they hold does not open without the root key before"
        };
        let mut residual = vec![
            Residual {
                what: "backups of the data directory".to_owned(),
                until,
                basis: basis.to_owned(),
            },
            Residual {
                what: "entries of the log".to_owned(),
                until: None,
                basis: "they hold positions, times, types, and keys and commitments that nobody can \
                    recompute any more"
                    .to_owned(),
            },
        ];
        let unconfirmed = done.share.holders.iter().filter(|(_, holder)| holder.confirmed_us.is_none());
        residual.extend(unconfirmed.map(|(name, _)| Residual {
            what: name.clone(),
            until: None,
            basis:
                "events show that it was given the data, and none that it deleted all of it".to_owned(),
        }));
        residual
    }
}

fn proven(snapshot: &Snapshot, index: u64) -> Result<ProvenEntry, LedgerError> {
    let missing = || LedgerError::Damage {
        file: format!("entry {index}"),
        what: "it is not in the log that says so".to_owned(),
    };
    let entry = snapshot.entry(index)?.ok_or_else(missing)?.to_vec();
    Ok(ProvenEntry { index: LogIndex(index), entry, inclusion: inclusion(snapshot, index)? })
}

fn inclusion(snapshot: &Snapshot, index: u64) -> Result<Vec<Hash>, LedgerError> {
    snapshot
        .inclusion(index, snapshot.size().0)
        .map_err(|error| LedgerError::Setup(format!("proof of {index}: {error}")))
}

fn persons(record: &Record) -> Vec<ErasedPerson> {
    let mut persons: Vec<ErasedPerson> = record
        .persons
        .iter()
        .filter_map(|person| {
            let namespace = Namespace::from_name(&person.namespace)?;
            Some(ErasedPerson { namespace, directory_key: Hash(person.directory_key) })
        })
        .collect();
    persons.sort_unstable_by_key(|person| person.directory_key);
    persons
}

fn destroyed(record: &Record, done_us: Option<u64>) -> Destroyed {
    let persons = u64::try_from(record.persons.len()).unwrap_or(u64::MAX);
    let Some(done) = &record.done else { return Destroyed { persons, ..Destroyed::default() } };
    let by_role = done.share.by_role.iter();
    Destroyed {
        at: done_us.map(recorded_at),
        persons,
        parts: done.share.parts,
        events: done.share.events,
        by_role: by_role.filter_map(|(role, parts)| Some((Role::from_name(role)?, *parts))).collect(),
        by_type: done.share.by_type.iter().map(|(name, events)| (name.clone(), *events)).collect(),
    }
}

fn told(share: &Share) -> Vec<Told> {
    let moment = |at_us: Option<u64>| i64::try_from(at_us?).ok().and_then(rfc3339);
    let holders = share.holders.iter().map(|(name, holder)| Told {
        recipient: name.clone(),
        told_at: moment(holder.told_us),
        confirmed_at: moment(holder.confirmed_us),
        events: holder.events.clone(),
    });
    holders.collect()
}

fn alive(share: &Share) -> Vec<Alive> {
    let facets = share.alive.iter();
    facets.map(|(facet, count)| Alive { facet: facet.clone(), count: *count }).collect()
}

impl Snapshot {
    /// That the parts of an event which are said to be gone are: none where all are here, or where what
    /// says so is beyond this view.
    pub(crate) fn removed_proof(
        &self,
        stored: &StoredEvent,
    ) -> Result<Option<RemovedProof>, LedgerError> {
        let gone = stored
            .parts
            .iter()
            .filter(|part| matches!(part.content, PartContent::Erased | PartContent::Pruned));
        let roles: Vec<Role> = gone.map(|part| part.role).collect();
        let removed = self.shared.removed.load();
        let Some(index) = removed.entry.filter(|entry| *entry < self.size().0 && !roles.is_empty())
        else {
            return Ok(None);
        };
        let (Some(body), Some(entry)) = (&stored.body, self.entry(index)?) else { return Ok(None) };
        let members = roles.into_iter().filter_map(|role| {
            let (position, path) = removed.set.prove(&removed_key(&body.event_key, role))?;
            Some(RemovedMember { role, position, path })
        });
        let members = members.collect();
        let inclusion = inclusion(self, index)?;
        Ok(Some(RemovedProof { index: LogIndex(index), entry: entry.to_vec(), inclusion, members }))
    }
}
