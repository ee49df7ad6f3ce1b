//! Logs in memory for the tests of the verifiers.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::certificate::{
    Alive, Asked, Certificate, CertificateEntries, CertificateState, Destroyed, ErasedPerson,
    ProvenEntry, Residual, RootKey, Told,
};
use super::receipt::{
    FullReceipt, KeyOpening, Openings, PartContent, PartOpening, Receipt, recorded_at,
};
use super::verdict::Report;
use super::verify_log::{
    LogOptions, LogSource, Opened, PartSource, PartView, StoredParts, StoredState, verify_log,
};
use crate::event::entry::{
    ConflictBody, Entry, EntryBody, EventBody, PersonsErasedBody, ShredBody, ShredPhase,
};
use crate::event::facet::{ClassCode, Facet, Namespace, Role};
use crate::event::keys::{
    PersonFacet, event_key, ledger_id, open_facet_key, part_commitment, period_of, person_facet_key,
};
use crate::log::checkpoint::Checkpoint;
use crate::log::hash::{Hash, LogIndex, TreeSize, leaf_hash};
use crate::log::merkle::{HashReader, MemoryTree, inclusion_proof};
use crate::log::note::SigningKey;
use crate::log::tile::{BundleId, TILE_WIDTH, TileId, bundles_of, encode_bundle, tiles_of};
use crate::prove::entry_view::{EntryView, EventView};
use crate::prove::removed::{Removal, RemovedItem, RemovedSet};
use zeroize::Zeroizing;

pub(crate) const ORIGIN: &str = "ledger.example/main";
pub(crate) const K_READ: [u8; 32] = [3; 32];
pub(crate) const K_EVENT: [u8; 32] = [4; 32];
pub(crate) const S_XF: [u8; 32] = [5; 32];
pub(crate) const ROOT_KEY_BEFORE: [u8; 16] = [0xb0; 16];
pub(crate) const ROOT_KEY_AFTER: [u8; 16] = [0xaf; 16];
pub(crate) const SUBJECT: Facet = Facet(130);
/// 2026-11-22T01:48:10.000123Z
const TIME_US: u64 = 1_795_312_090_000_123;

#[derive(Clone, Debug)]
pub(crate) struct StoredPart {
    pub(crate) view: PartView,
    pub(crate) salt: [u8; 64],
    pub(crate) body: Vec<u8>,
    pub(crate) withheld: bool,
    /// Whether its sealed bytes do not open.
    pub(crate) shut: bool,
}

/// A log with its public files by path, and its stored parts.
#[derive(Clone)]
pub(crate) struct TestLog {
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) stored: Vec<Vec<StoredPart>>,
    pub(crate) tree: MemoryTree,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) note: String,
    /// Files of removed sets by number of items.
    pub(crate) sets: BTreeMap<u64, Vec<u8>>,
    /// Paths whose reading fails.
    pub(crate) broken: Vec<String>,
    /// Every path that was asked for.
    pub(crate) asked: RefCell<Vec<String>>,
}

pub(crate) fn signing_key() -> SigningKey {
    SigningKey::generate_from_seed(ORIGIN, &[9; 32]).unwrap()
}

fn body_open(index: u64) -> String {
    let rest = "\"source\":\"shop\",\"specversion\":\"1.0\",\"type\":\"access\"";
    format!("{{\"data\":{{}},\"id\":\"e-{index}\",{rest}}}")
}

fn body_subject(index: u64) -> String {
    format!("{{\"data\":{{\"subject\":\"s{index}\"}}}}")
}

pub(crate) fn time_us(index: u64) -> u64 {
    TIME_US + index
}

/// The entry at `index` and its parts.
pub(crate) fn event_entry(index: u64, prev: Hash) -> (Entry, Vec<StoredPart>) {
    let ledger = ledger_id(ORIGIN);
    let event_key = event_key(&K_EVENT, ledger, "shop", &format!("e-{index}"));
    let subject = Role::person(Namespace::SUBJECT, 0).unwrap();
    let bodies = [(Role::OPEN, body_open(index)), (subject, body_subject(index))];
    let stored: Vec<StoredPart> = bodies
        .into_iter()
        .map(|(role, body)| StoredPart {
            view: PartView { role, state: StoredState::Sealed, intact: true },
            salt: [u8::try_from(index % 251).unwrap(); 64],
            body: body.into_bytes(),
            withheld: false,
            shut: false,
        })
        .collect();
    let commit = |part: &StoredPart| {
        (part.view.role, part_commitment(ledger, &event_key, part.view.role, &part.salt, &part.body))
    };
    let period = period_of(time_us(index));
    let body = EntryBody::Event(EventBody {
        event_key,
        class: ClassCode(1),
        keys: vec![
            (Facet::TYPE, open_facet_key(&K_READ, ledger, Facet::TYPE, "access")),
            (Facet::SOURCE, open_facet_key(&K_READ, ledger, Facet::SOURCE, "shop")),
            (SUBJECT, person_facet_key(&S_XF, ledger, period)),
        ],
        parts: stored.iter().map(commit).collect(),
        producer: 1,
        sequence: index.is_multiple_of(2).then_some(index),
        signature: None,
    });
    (Entry { ledger, index: LogIndex(index), time_us: time_us(index), prev, body }, stored)
}

pub(crate) fn encode(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes).unwrap();
    bytes
}

impl TestLog {
    pub(crate) fn empty() -> Self {
        let mut log = Self {
            entries: Vec::new(),
            stored: Vec::new(),
            tree: MemoryTree::new(),
            files: BTreeMap::new(),
            note: String::new(),
            sets: BTreeMap::new(),
            broken: Vec::new(),
            asked: RefCell::default(),
        };
        log.publish();
        log
    }

    /// A log of `size` entries: settings, then events.
    pub(crate) fn new(size: u64) -> Self {
        let mut log = Self::empty();
        log.grow(size);
        log.publish();
        log
    }

    pub(crate) fn grow(&mut self, size: u64) {
        for index in self.size()..size {
            let (mut entry, mut stored) = event_entry(index, self.prev());
            if index == 0 {
                entry.body = EntryBody::Settings(b"{}".to_vec());
                stored.clear();
            }
            self.append(encode(&entry), stored);
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.tree.size().0
    }

    pub(crate) fn prev(&self) -> Hash {
        self.entries.last().map_or(Hash::ZERO, |entry| leaf_hash(entry))
    }

    pub(crate) fn append(&mut self, entry: Vec<u8>, stored: Vec<StoredPart>) {
        self.tree.push(leaf_hash(&entry));
        self.entries.push(entry);
        self.stored.push(stored);
    }

    /// Appends an entry of the ledger's own.
    pub(crate) fn append_body(&mut self, body: EntryBody) -> u64 {
        let index = self.size();
        let (mut entry, _) = event_entry(index, self.prev());
        entry.body = body;
        self.append(encode(&entry), Vec::new());
        index
    }

    /// The item of a part of the event at `index`.
    pub(crate) fn item(&self, index: u64, role: Role, how: Removal) -> RemovedItem {
        let entry = &self.entries[usize::try_from(index).unwrap()];
        let event_key = EntryView::read(entry).unwrap().event.unwrap().event_key;
        RemovedItem::of(&event_key, role, how)
    }

    /// Marks a part as gone, without anything that says why.
    pub(crate) fn take_away(&mut self, index: u64, role: Role, how: Removal) {
        let parts = &mut self.stored[usize::try_from(index).unwrap()];
        let part = parts.iter_mut().find(|part| part.view.role == role).unwrap();
        part.view.state = match how {
            Removal::Erased => StoredState::Erased,
            Removal::Pruned => StoredState::Pruned,
        };
    }

    /// Writes the file of a removed set.
    pub(crate) fn keep(&mut self, set: &RemovedSet) {
        self.sets.insert(set.items(), set.encode());
    }

    /// Appends a shred's entry.
    pub(crate) fn shred(&mut self, phase: ShredPhase, set: &RemovedSet) -> u64 {
        let root_key_after = if phase == ShredPhase::Done { ROOT_KEY_AFTER } else { [0; 16] };
        self.append_body(EntryBody::Shred(ShredBody {
            phase,
            items: set.items(),
            root: set.root(),
            root_key_before: ROOT_KEY_BEFORE,
            root_key_after,
        }))
    }

    /// Signs the current size and writes its files; those of earlier sizes stay.
    pub(crate) fn publish(&mut self) {
        let size = self.tree.size();
        for id in tiles_of(size) {
            let first = id.index * TILE_WIDTH;
            let nodes = first..first + u64::from(id.width);
            let bytes = nodes.flat_map(|node| self.tree.read(id.level * 8, node).unwrap().0).collect();
            self.files.insert(id.path(), bytes);
        }
        for id in bundles_of(size) {
            let first = usize::try_from(id.index * TILE_WIDTH).unwrap();
            let entries = self.entries[first..first + usize::from(id.width)].iter().map(Vec::as_slice);
            self.files.insert(id.path(), encode_bundle(entries).unwrap());
        }
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root: self.tree.root() };
        self.note = checkpoint.sign(&signing_key()).unwrap();
    }

    pub(crate) fn verify(&self) -> Report {
        self.verify_with(&LogOptions::default())
    }

    pub(crate) fn verify_with(&self, options: &LogOptions<'_>) -> Report {
        let key = signing_key().verifier();
        verify_log(self.note.as_bytes(), &key, self, Some(self), options, &mut |_| {})
    }

    fn read(&self, path: String) -> Result<Option<Vec<u8>>, String> {
        let broken = self.broken.contains(&path);
        let found = self.files.get(&path).cloned();
        self.asked.borrow_mut().push(path);
        if broken { Err("input/output error".into()) } else { Ok(found) }
    }

    /// The full receipt of the event at `index`, with every part and key opened.
    pub(crate) fn receipt(&self, index: u64) -> Receipt {
        let at = usize::try_from(index).unwrap();
        let size = TreeSize(self.size());
        let open = |part: &StoredPart| PartOpening {
            role: part.view.role,
            content: PartContent::Open {
                salt: part.salt,
                body: String::from_utf8(part.body.clone()).unwrap(),
            },
        };
        let open_key =
            |facet, value: &str| KeyOpening { facet, value: Some(value.into()), period: None };
        let period = Some(period_of(time_us(index)));
        Receipt {
            ledger: "main".into(),
            origin: ORIGIN.into(),
            index: LogIndex(index),
            id: format!("e-{index}"),
            leaf_hash: leaf_hash(&self.entries[at]),
            recorded_at: recorded_at(time_us(index)),
            replayed: false,
            compared: None,
            full: Some(FullReceipt {
                checkpoint: self.note.clone(),
                inclusion: inclusion_proof(LogIndex(index), size, &self.tree).unwrap(),
                entry: self.entries[at].clone(),
                openings: Openings {
                    parts: self.stored[at].iter().map(open).collect(),
                    keys: vec![
                        open_key(Facet::TYPE, "access"),
                        open_key(Facet::SOURCE, "shop"),
                        KeyOpening { facet: SUBJECT, value: None, period },
                    ],
                },
                removed: None,
            }),
        }
    }
}

/// The secret behind the subject's key of every test event.
pub(crate) fn person() -> PersonFacet {
    PersonFacet { facet: SUBJECT, salt: [0; 32], secret: Zeroizing::new(S_XF) }
}

impl LogSource for TestLog {
    type Error = String;

    fn tile(&self, id: TileId) -> Result<Option<Vec<u8>>, String> {
        self.read(id.path())
    }

    fn bundle(&self, id: BundleId) -> Result<Option<Vec<u8>>, String> {
        self.read(id.path())
    }
}

impl PartSource for TestLog {
    type Part = StoredPart;
    type Error = String;

    fn parts(&self, bundle: u64) -> Result<Option<StoredParts<StoredPart>>, String> {
        let path = crate::log::tile::sealed_path(bundle);
        if self.broken.contains(&path) {
            return Err("bad checksum".into());
        }
        let width = usize::try_from(TILE_WIDTH).unwrap();
        let mut bundles = self.stored.chunks(width);
        Ok(bundles.nth(usize::try_from(bundle).unwrap()).map(<[_]>::to_vec))
    }

    fn removed_sizes(&self) -> Result<Vec<u64>, String> {
        Ok(self.sets.keys().copied().collect())
    }

    fn removed(&self, items: u64) -> Result<Option<Vec<u8>>, String> {
        if self.broken.contains(&format!("removed/{items}")) {
            return Err("input/output error".into());
        }
        Ok(self.sets.get(&items).cloned())
    }

    fn describe(&self, part: &StoredPart) -> PartView {
        part.view
    }

    fn open(&self, _: LogIndex, _: &EventView<'_>, part: &StoredPart) -> Result<Opened, String> {
        if part.withheld {
            return Ok(Opened::Withheld);
        }
        if part.shut {
            return Ok(Opened::Damaged);
        }
        Ok(Opened::Open { salt: part.salt, body: Zeroizing::new(part.body.clone()) })
    }
}

/// The key that signs certificates, which entry 1 of [`certificate_log`] registers.
pub(crate) fn certificate_key() -> SigningKey {
    SigningKey::generate_from_seed("ledger.example/main/certificates", &[7; 32]).unwrap()
}

/// Settings, the key for certificates, two persons registered, erased and shredded, and a conflict while
/// the shred goes on.
pub(crate) fn certificate_log() -> TestLog {
    let mut log = TestLog::new(1);
    let key = certificate_key().verifier();
    let signer = format!(
        "{{\"key\":\"{key}\",\"previous\":0,\"use\":\"certificate\",\"v\":1,\"what\":\"signer\"}}"
    );
    log.append_body(EntryBody::Settings(signer.into_bytes()));
    let persons = vec![Hash([0xd1; 32]), Hash([0xd2; 32])];
    let registered = persons.iter().map(|person| (*person, Hash([7; 32]))).collect();
    log.append_body(EntryBody::PersonsRegistered { through_slot: 3, persons: registered });
    log.append_body(EntryBody::PersonsErased(PersonsErasedBody { erasure: [0xe1; 16], persons }));
    let set = RemovedSet::default().with([RemovedItem { key: Hash([1; 32]), how: Removal::Erased }]);
    log.shred(ShredPhase::Begun, &set);
    log.append_body(EntryBody::Conflict(ConflictBody {
        event_key: Hash([1; 32]),
        first: LogIndex(0),
        first_leaf: Hash([2; 32]),
    }));
    log.shred(ShredPhase::Done, &set);
    log.publish();
    log
}

/// An entry of a log with its proof.
pub(crate) fn proven(log: &TestLog, index: u64) -> ProvenEntry {
    ProvenEntry {
        index: LogIndex(index),
        entry: log.entries[usize::try_from(index).unwrap()].clone(),
        inclusion: inclusion_proof(LogIndex(index), TreeSize(log.size()), &log.tree).unwrap(),
    }
}

/// Signs a certificate with the key that the log registers.
pub(crate) fn sign(certificate: &mut Certificate) {
    certificate.signed_by = Some(certificate_key().verifier().to_string());
    certificate.signature = Some(certificate_key().sign_bytes(&certificate.signing_input()));
}

/// The certificate of [`certificate_log`], complete and signed.
pub(crate) fn certificate() -> Certificate {
    let log = certificate_log();
    let person = |byte| ErasedPerson { namespace: Namespace::SUBJECT, directory_key: Hash([byte; 32]) };
    let mut certificate = Certificate {
        id: [0xe1; 16],
        state: CertificateState::Complete,
        ledger: "main".into(),
        origin: ORIGIN.into(),
        asked: Asked {
            at: recorded_at(time_us(3)),
            key: 4,
            label: "data protection officer".into(),
            reason: "Art. 17 GDPR".into(),
            request: Some("r-\"7\"".into()),
        },
        persons: vec![person(0xd1), person(0xd2)],
        destroyed: Destroyed {
            at: Some(recorded_at(time_us(6))),
            persons: 2,
            parts: 2,
            events: 1,
            by_role: vec![(Role(16), 2)],
            by_type: vec![("data.accessed".into(), 1)],
        },
        root_key: RootKey {
            before: ROOT_KEY_BEFORE,
            after: Some(ROOT_KEY_AFTER),
            custody: "file".into(),
            statement: "the file was removed and is not there any more".into(),
        },
        entries: CertificateEntries {
            erased: proven(&log, 3),
            begun: Some(proven(&log, 4)),
            done: Some(proven(&log, 6)),
            signer: Some(proven(&log, 1)),
        },
        checkpoint: log.note.clone(),
        residual: vec![Residual {
            what: "backups".into(),
            until: Some("2026-12-24".into()),
            basis: "kept for 30 days".into(),
        }],
        told: vec![Told {
            recipient: "Müller & Söhne".into(),
            told_at: Some("2026-11-23T00:00:00Z".into()),
            confirmed_at: None,
            events: vec![5, 9],
        }],
        alive: vec![Alive { facet: "request".into(), count: 1 }],
        also: vec!["within a month the same blinded key repeats".into()],
        signed_by: None,
        signature: None,
    };
    sign(&mut certificate);
    certificate
}
