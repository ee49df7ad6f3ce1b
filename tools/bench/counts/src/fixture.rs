//! What the cases work on: one event, its entry, a log of 256 entries, a log of a million, a receipt.
//!
//! In scope: making all of it out of constants through the library's own functions, and the sources that
//! verifiers and provers read it from. Out of scope: which of it a case uses. Invariant: nothing here comes
//! from a clock, from chance or from a file, so that every run has the same bytes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use counterfoil::event::catalogue::Catalogue;
use counterfoil::event::entry::{Entry, EntryBody, EventBody};
use counterfoil::event::envelope::parse_structured;
use counterfoil::event::facet::Facet;
use counterfoil::event::keys::{
    LedgerId, MacKey, ledger_id, part_commitment, period_of, person_facet_key,
};
use counterfoil::event::parts::{FacetSource, SplitEvent, split};
use counterfoil::event::{Event, keys::Period};
use counterfoil::log::checkpoint::Checkpoint;
use counterfoil::log::hash::{Hash, LogIndex, TreeSize, leaf_hash, node_hash};
use counterfoil::log::merkle::{self, Frontier, HashReader, MemoryTree};
use counterfoil::log::note::SigningKey;
use counterfoil::log::tile::{
    BundleId, TILE_WIDTH, TileHashReader, TileId, TileSource, bundles_of, encode_bundle, tiles_of,
};
use counterfoil::prove::receipt::{
    FullReceipt, KeyOpening, Openings, PartContent, PartOpening, Receipt, recorded_at,
};
use counterfoil::prove::verify_log::LogSource;

use crate::Fallible;

/// An event of the same shape and length as those of the load generator.
pub(crate) const EVENT: &[u8] = b"{\"specversion\":\"1.0\",\"id\":\"5eed0001000000000042\",\
\"source\":\"bench.example/shop\",\"type\":\"data.accessed\",\"time\":\"2026-11-22T01:48:09.123Z\",\
\"data\":{\"subject\":\"s-00004242\",\"actor\":\"agent-000042\",\"actor_role\":\"support\",\
\"operation\":\"read\",\"purpose\":\"customer-support\",\"categories\":[\"contact\",\"transaction\"],\
\"store\":\"orders-eu-3\",\"legal_basis\":\"contract\",\"authorised\":true,\
\"labels\":{\"service\":\"order-desk\",\"release\":\"2026.11.07\",\"request\":\"0123456789abcdef\",\
\"path\":\"/desk/orders/0123456789\"}}}";

pub(crate) const ORIGIN: &str = "ledger.example/main";
pub(crate) const K_EVENT: [u8; 32] = [4; 32];
pub(crate) const K_READ: [u8; 32] = [3; 32];
const S_XF: [u8; 32] = [5; 32];
pub(crate) const SALT: [u8; 64] = [6; 64];
/// 2026-11-22T01:48:10.000123Z
const TIME_US: u64 = 1_795_312_090_000_123;

/// The long log, and the entry in it that has the receipt: no power of two, and far from both edges.
pub(crate) const LONG: TreeSize = TreeSize(1_000_000);
pub(crate) const OLDER: TreeSize = TreeSize(700_001);
pub(crate) const INDEX: LogIndex = LogIndex(654_321);

pub(crate) fn signing_key() -> Fallible<SigningKey> {
    Ok(SigningKey::generate_from_seed(ORIGIN, &[9; 32])?)
}

/// The event as it goes into entries.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) catalogue: Catalogue,
    pub(crate) event: Event,
    pub(crate) split: SplitEvent,
}

impl Recorded {
    pub(crate) fn new() -> Fallible<Self> {
        let catalogue = Catalogue::builtin()?;
        let event = parse_structured(EVENT)?;
        let split = split(&event, &catalogue)?;
        Ok(Self { catalogue, event, split })
    }

    /// Its entry at `index`, behind an entry with the leaf hash `prev`.
    pub(crate) fn entry(&self, index: LogIndex, prev: Hash) -> Entry {
        let ledger = ledger_id(ORIGIN);
        let time_us = TIME_US + index.0;
        let event_key = MacKey::new(&K_EVENT).event_key(ledger, &self.split.source, &self.split.id);
        let body = EntryBody::Event(EventBody {
            event_key,
            class: self.split.class,
            keys: self.keys(ledger, period_of(time_us)),
            parts: self
                .split
                .parts
                .iter()
                .map(|part| {
                    (part.role, part_commitment(ledger, &event_key, part.role, &SALT, &part.body))
                })
                .collect(),
            producer: 1,
            sequence: self.split.sequence,
            signature: None,
        });
        Entry { ledger, index, time_us, prev, body }
    }

    fn keys(&self, ledger: LedgerId, period: Period) -> Vec<(Facet, Hash)> {
        let read = MacKey::new(&K_READ);
        let key = |source: &FacetSource, facet| match source {
            FacetSource::Open(value) => read.open_facet_key(ledger, facet, value),
            FacetSource::Person(_) => person_facet_key(&S_XF, ledger, period),
        };
        let mut keys: Vec<(Facet, Hash)> =
            self.split.terms.iter().map(|term| (term.facet, key(&term.source, term.facet))).collect();
        keys.sort_unstable();
        keys
    }

    /// The full receipt of its entry in the long log, everything opened.
    pub(crate) fn receipt(&self) -> Fallible<Receipt> {
        let entry = self.entry(INDEX, Hash([7; 32]));
        let bytes = encode(&entry)?;
        let leaf = leaf_hash(&bytes);
        let log = LongLog::new(leaf);
        let checkpoint = log.checkpoint()?;
        let parts = self.split.parts.iter().map(|part| {
            let body = String::from_utf8(part.body.clone())?;
            Ok(PartOpening { role: part.role, content: PartContent::Open { salt: SALT, body } })
        });
        let keys = self.split.terms.iter().map(|term| match &term.source {
            FacetSource::Open(value) => {
                KeyOpening { facet: term.facet, value: Some(value.clone()), period: None }
            }
            FacetSource::Person(_) => {
                let period = Some(period_of(entry.time_us));
                KeyOpening { facet: term.facet, value: None, period }
            }
        });
        Ok(Receipt {
            ledger: "main".into(),
            origin: ORIGIN.into(),
            index: INDEX,
            id: self.split.id.clone(),
            leaf_hash: leaf,
            recorded_at: recorded_at(entry.time_us),
            replayed: false,
            compared: None,
            full: Some(FullReceipt {
                checkpoint: checkpoint.sign(&signing_key()?)?,
                inclusion: merkle::inclusion_proof(INDEX, LONG, &log)?,
                entry: bytes,
                removed: None,
                openings: Openings { parts: parts.collect::<Fallible<_>>()?, keys: keys.collect() },
            }),
        })
    }
}

pub(crate) fn encode(entry: &Entry) -> Fallible<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes)?;
    Ok(bytes)
}

/// A log of a million equal leaves. All complete subtrees of a height are then equal too, so that the log
/// is known from one hash for each of its levels, and its proofs are as long as any other's.
#[derive(Clone, Debug)]
pub(crate) struct LongLog {
    levels: Vec<Hash>,
    /// One full tile of each tile level.
    tiles: Vec<Arc<[u8]>>,
}

impl LongLog {
    pub(crate) fn new(leaf: Hash) -> Self {
        let height = usize::try_from(LONG.0.ilog2()).unwrap_or_default();
        let above = |below: &Hash| Some(node_hash(below, below));
        let levels: Vec<Hash> = std::iter::successors(Some(leaf), above).take(height + 1).collect();
        let full = |hash: &Hash| {
            let width = usize::try_from(TILE_WIDTH).unwrap_or_default();
            Arc::from(hash.as_bytes().repeat(width))
        };
        let tiles = levels.iter().step_by(8).map(full).collect();
        Self { levels, tiles }
    }

    pub(crate) fn checkpoint(&self) -> Fallible<Checkpoint> {
        Ok(Checkpoint { origin: ORIGIN.into(), size: LONG, root: merkle::root(LONG, self)? })
    }

    /// What a writer of this log keeps.
    pub(crate) fn frontier(&self) -> Option<Frontier> {
        let peaks = self.levels.iter().enumerate().rev().filter(|(level, _)| LONG.0 >> level & 1 == 1);
        Frontier::from_parts(LONG, peaks.map(|(_, hash)| *hash).collect())
    }

    /// A reader that has read no tile yet.
    pub(crate) fn reader(&self) -> TileHashReader<&Self> {
        TileHashReader::new(LONG, self)
    }
}

impl HashReader for LongLog {
    type Error = std::num::TryFromIntError;

    fn read(&self, level: u8, _: u64) -> Result<Hash, Self::Error> {
        Ok(self.levels.get(usize::from(level)).copied().unwrap_or(Hash::ZERO))
    }
}

/// There is no tile of that level.
#[derive(Debug)]
pub(crate) struct NoTile;

impl fmt::Display for NoTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no tile of that level")
    }
}

impl Error for NoTile {}

impl TileSource for LongLog {
    type Error = NoTile;

    fn tile(&self, id: TileId) -> Result<Arc<[u8]>, NoTile> {
        self.tiles.get(usize::from(id.level)).map(Arc::clone).ok_or(NoTile)
    }
}

/// A log of 256 entries with its public files: the first its settings, all others the event.
#[derive(Debug)]
pub(crate) struct ShortLog {
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) leaves: Vec<Hash>,
    pub(crate) note: String,
    files: BTreeMap<String, Vec<u8>>,
}

impl ShortLog {
    pub(crate) fn new(recorded: &Recorded) -> Fallible<Self> {
        let mut entries = Vec::new();
        let mut leaves: Vec<Hash> = Vec::new();
        let mut entry = recorded.entry(LogIndex(0), Hash::ZERO);
        let event = std::mem::replace(&mut entry.body, EntryBody::Settings(b"{}".to_vec()));
        for index in 0..TILE_WIDTH {
            entry.index = LogIndex(index);
            entry.time_us = TIME_US + index;
            entry.prev = leaves.last().copied().unwrap_or(Hash::ZERO);
            if index == 1 {
                entry.body.clone_from(&event);
            }
            let bytes = encode(&entry)?;
            leaves.push(leaf_hash(&bytes));
            entries.push(bytes);
        }
        let tree: MemoryTree = leaves.iter().copied().collect();
        let mut files = BTreeMap::new();
        for id in tiles_of(tree.size()) {
            let first = id.index * TILE_WIDTH;
            let nodes = first..first + u64::from(id.width);
            let hashes = nodes.map(|node| tree.read(id.level * 8, node));
            let hashes: Vec<Hash> = hashes.collect::<Result<_, _>>()?;
            files.insert(id.path(), hashes.iter().flat_map(|hash| hash.0).collect());
        }
        for id in bundles_of(tree.size()) {
            files.insert(id.path(), encode_bundle(entries.iter().map(Vec::as_slice))?);
        }
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: tree.size(), root: tree.root() };
        let note = checkpoint.sign(&signing_key()?)?;
        Ok(Self { entries, leaves, note, files })
    }
}

impl LogSource for ShortLog {
    type Error = Infallible;

    fn tile(&self, id: TileId) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.files.get(&id.path()).cloned())
    }

    fn bundle(&self, id: BundleId) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.files.get(&id.path()).cloned())
    }
}
