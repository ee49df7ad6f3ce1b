//! The walk: bundle by bundle from the first leaf to the last.

use super::chain::Chain;
use super::findings::{Findings, Question};
use super::parts::Parts;
use super::removals::Removals;
use super::tree::{TILE_BYTES, Tree, bundle_width, first_difference};
use super::{LogOptions, LogSource, PartSource, Progress};
use crate::event::keys::ledger_id;
use crate::log::checkpoint::Checkpoint;
use crate::log::hash::{Hash, leaf_hash};
use crate::log::tile::{BundleId, TILE_WIDTH, TileId, bundle_entries};
use crate::prove::verdict::{IndexRange, Report, Verdict};

/// Width of a full tile or bundle.
const FULL: u16 = 256;

/// Length in bytes of what precedes each entry in a bundle (C2SP tlog-tiles).
const LENGTH_BYTES: usize = 2;

/// The state of a walk over one log.
pub(super) struct Walk<'s, S, P: PartSource> {
    source: &'s S,
    parts: Option<Parts<'s, P>>,
    options: &'s LogOptions<'s>,
    checkpoint: &'s Checkpoint,
    since: Option<&'s Checkpoint>,
    /// Over the entries' hashes; over the tiles' where an entry cannot be read.
    tree: Tree,
    /// Over the tiles' hashes, from where they first differ from the entries'.
    tiles_tree: Option<Tree>,
    /// Both roots when the trees had the older checkpoint's size.
    at_since: Option<(Hash, Option<Hash>)>,
    chain: Chain,
    removals: Removals,
    findings: Findings,
    tiles: Question,
    leaves: Question,
    entries: Question,
    tiles_compared: u64,
    stopped: Option<String>,
}

/// A tile as read: its path and the bytes that should be `width` hashes.
struct ReadTile {
    path: String,
    bytes: Vec<u8>,
}

impl ReadTile {
    /// The byte of the tile where it first differs from `hash` at `at`.
    fn first_difference(&self, at: usize, hash: &Hash) -> usize {
        let found = self.bytes.get(at..at + Hash::LEN).unwrap_or_default();
        at + first_difference(found, hash.as_bytes()).unwrap_or(0)
    }
}

impl<'s, S: LogSource, P: PartSource> Walk<'s, S, P> {
    pub(super) fn new(
        source: &'s S,
        parts: Option<&'s P>,
        options: &'s LogOptions<'s>,
        checkpoint: &'s Checkpoint,
        since: Option<&'s Checkpoint>,
    ) -> Self {
        Self {
            source,
            parts: parts.map(Parts::new),
            options,
            checkpoint,
            since,
            tree: Tree::new(),
            tiles_tree: None,
            at_since: None,
            chain: Chain::new(ledger_id(&checkpoint.origin)),
            removals: Removals::new(),
            findings: Findings::default(),
            tiles: Question::new("tiles"),
            leaves: Question::new("leaves"),
            entries: Question::new("entries"),
            tiles_compared: 0,
            stopped: None,
        }
    }

    /// Walks to the end, or to where nothing more can be said.
    pub(super) fn run(&mut self, progress: &mut dyn FnMut(Progress)) {
        let entries_total = self.checkpoint.size.0;
        for bundle in 0..entries_total.div_ceil(TILE_WIDTH) {
            if self.findings.too_many() {
                let done = self.tree.size();
                self.stopped = Some(format!("stopped at index {done} after too many findings"));
                return;
            }
            self.bundle(bundle, bundle_width(bundle, entries_total));
            if self.stopped.is_some() {
                return;
            }
            let full = self.tree.filled();
            let other = self.tiles_tree.as_mut().map(Tree::filled).unwrap_or_default();
            self.compare_upper(&full, &other);
            progress(Progress { entries_done: self.tree.size().0, entries_total });
        }
        self.note_since();
        let last = self.tree.partial();
        let other = self.tiles_tree.as_mut().map(Tree::partial).unwrap_or_default();
        self.compare_upper(&last, &other);
    }

    fn bundle(&mut self, bundle: u64, width: u16) {
        let tile = self.read_tile(TileId { level: 0, index: bundle, width });
        if let Some(parts) = &mut self.parts {
            parts.enter(bundle, &mut self.findings);
        }
        let mut hashes = Vec::with_capacity(TILE_BYTES);
        if self.options.entries {
            self.read_entries(BundleId { index: bundle, width }, tile.as_ref(), &mut hashes);
        }
        let from_tile = tile.as_ref().map_or(&[][..], |tile| tile.bytes.as_slice());
        self.grow(bundle, width, &hashes, from_tile);
    }

    /// Reads a bundle's entries, compares their hashes with the tile, walks the chain and the parts
    /// over them and appends their leaf hashes.
    fn read_entries(&mut self, id: BundleId, tile: Option<&ReadTile>, hashes: &mut Vec<u8>) {
        let Some((path, exact, bytes)) = self.read_bundle(id) else { return };
        let mut rest = bundle_entries(&bytes);
        let mut from_tile =
            tile.map_or(&[][..], |tile| tile.bytes.as_slice()).as_chunks::<32>().0.iter();
        let (mut offset, mut differ) = (0, false);
        for index in (id.index * TILE_WIDTH..).take(usize::from(id.width)) {
            let entry = match rest.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    self.findings.fail(&mut self.entries, path, format_args!("index {index}: {error}"));
                    return;
                }
                None => {
                    let what = format_args!("ends at byte {} before index {index}", bytes.len());
                    self.findings.fail(&mut self.entries, path, what);
                    return;
                }
            };
            let leaf = leaf_hash(entry);
            let as_tile = from_tile.next().is_none_or(|hash| *hash == leaf.0);
            if let Some(tile) = tile.filter(|_| !as_tile && !differ) {
                let what =
                    format_args!("index {index}: not the hash of the entry at {path} byte {offset}");
                let place = format!("{} byte {}", tile.path, tile.first_difference(hashes.len(), &leaf));
                self.findings.fail(&mut self.leaves, place, what);
                differ = true;
            }
            hashes.extend_from_slice(leaf.as_bytes());
            let view = self.chain.step(index, entry, leaf, &mut self.findings).filter(|_| as_tile);
            if let Some(view) = &view {
                self.removals.entry(index, view, entry, &mut self.findings);
            }
            if let Some(parts) = self.parts.as_mut().filter(|_| !self.chain.foreign()) {
                parts.entry(index, view.as_ref(), &mut self.findings);
            }
            offset += LENGTH_BYTES + entry.len();
        }
        if exact && rest.next().is_some() {
            let what = format_args!("holds more than {} entries, from byte {offset}", id.width);
            self.findings.fail(&mut self.entries, path, what);
        }
    }

    /// A bundle's path, whether it should end after its entries, and its bytes. A partial bundle
    /// may have been replaced by the full one (C2SP tlog-tiles).
    fn read_bundle(&mut self, id: BundleId) -> Option<(String, bool, Vec<u8>)> {
        let mut wanted = id;
        let mut read = self.source.bundle(wanted);
        if id.width != FULL && matches!(read, Ok(None)) {
            wanted = id.full();
            read = self.source.bundle(wanted);
        }
        match read {
            Ok(Some(bytes)) => return Some((wanted.path(), wanted == id, bytes)),
            Ok(None) => self.findings.fail(&mut self.entries, id.path(), "is missing"),
            Err(error) => self.findings.unread(&mut self.entries, wanted.path(), error),
        }
        None
    }

    /// A tile, cut to its width when only the full one is there. Its length is checked here.
    fn read_tile(&mut self, id: TileId) -> Option<ReadTile> {
        let mut wanted = id;
        let mut read = self.source.tile(wanted);
        if id.width != FULL && matches!(read, Ok(None)) {
            wanted = id.full();
            read = self.source.tile(wanted);
        }
        let path = wanted.path();
        let mut bytes = match read {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.findings.fail(&mut self.tiles, id.path(), "is missing");
                return None;
            }
            Err(error) => {
                self.findings.unread(&mut self.tiles, path, error);
                return None;
            }
        };
        let length = wanted.len_bytes();
        if bytes.len() != length {
            let at = bytes.len().min(length);
            let what = format!("has {} bytes instead of {length}", bytes.len());
            self.findings.fail(&mut self.tiles, format_args!("{path} byte {at}"), what);
        }
        bytes.truncate(id.len_bytes());
        self.tiles_compared += 1;
        Some(ReadTile { path, bytes })
    }

    /// Pushes a bundle's leaves onto the trees: the entries' hash, or the tile's where there is no
    /// entry, and the other way round for the tiles' own tree once they differ.
    fn grow(&mut self, bundle: u64, width: u16, hashes: &[u8], from_tile: &[u8]) {
        let mut ours = hashes.as_chunks::<32>().0.iter();
        let mut theirs = from_tile.as_chunks::<32>().0.iter();
        for _ in 0..width {
            let (entry, tile) = (ours.next(), theirs.next());
            let (Some(leaf), Some(other)) = (entry.or(tile), tile.or(entry)) else {
                let at = self.tree.size();
                self.stopped =
                    Some(format!("stopped at index {at}: neither entry nor tile, bundle {bundle}"));
                return;
            };
            self.note_since();
            if self.tiles_tree.is_none() && leaf != other {
                self.tiles_tree = Some(self.tree.clone());
            }
            if let Some(tree) = &mut self.tiles_tree {
                tree.push(Hash(*other));
            }
            self.tree.push(Hash(*leaf));
            if entry.is_none() {
                self.chain.skip(Hash(*leaf));
            }
        }
    }

    fn note_since(&mut self) {
        if self.since.is_some_and(|old| old.size == self.tree.size()) {
            self.at_since = Some((self.tree.root(), self.tiles_tree.as_ref().map(Tree::root)));
        }
    }

    /// Compares tiles above level 0 with what the trees imply.
    fn compare_upper(&mut self, expected: &[(TileId, Vec<u8>)], other: &[(TileId, Vec<u8>)]) {
        for (id, bytes) in expected {
            let Some(tile) = self.read_tile(*id) else { continue };
            let Some(at) = first_difference(bytes, &tile.bytes) else { continue };
            if other.iter().any(|(seen, bytes)| seen == id && *bytes == tile.bytes)
                || tile.bytes.len() < bytes.len()
            {
                continue; // follows from leaves that differ, or was told when the tile was read
            }
            let place = format_args!("{} byte {at}", tile.path);
            let what = format_args!("hash {} differs from the tiles below", at / Hash::LEN);
            self.findings.fail(&mut self.tiles, place, what);
        }
    }

    /// Adds every answer to the report.
    pub(super) fn conclude(mut self, report: &mut Report) {
        let size = self.checkpoint.size.0;
        report.count = self.tree.size().0;
        report.range = report.count.checked_sub(1).map(|last| IndexRange { first: 0, last });
        self.tiles.conclude(format_args!("{} tiles, every byte compared", self.tiles_compared), report);
        if self.options.entries {
            self.entries.conclude(format_args!("{size} entries read"), report);
            self.leaves.conclude(format_args!("{size} entries hash to their tiles"), report);
        } else {
            report.push("entries", Verdict::NotProvable, "entries were not read");
        }
        self.conclude_root(report);
        self.conclude_since(report);
        let foreign = self.options.foreign;
        self.chain.conclude(self.options.entries, foreign, report);
        self.removals.conclude(report);
        let whole = self.read_all();
        match &mut self.parts {
            Some(parts) if self.options.entries && !self.chain.foreign() => {
                parts.conclude(&self.removals, whole, &mut self.findings, report);
            }
            _ => report.note("parts", Verdict::NotProvable, "stored parts were not read"),
        }
        report.findings = self.findings.kept;
    }

    /// Whether every entry of the checkpoint was read, as its tile has it.
    fn read_all(&self) -> bool {
        let questions = [&self.entries, &self.leaves];
        self.stopped.is_none() && self.chain.is_good() && questions.iter().all(|q| q.is_good())
    }

    fn conclude_root(&self, report: &mut Report) {
        if let Some(stopped) = &self.stopped {
            report.push("root", Verdict::NotProvable, stopped.clone());
            return;
        }
        let signed = |tree: &Tree| tree.root() == self.checkpoint.root;
        let (verdict, detail) = match (signed(&self.tree), self.tiles_tree.as_ref().map(signed)) {
            (true, None) => (Verdict::Verified, "the tree has the signed root"),
            (true, Some(_)) => (Verdict::Verified, "entries have the signed root; tiles were changed"),
            (false, Some(true)) => (Verdict::Failed, "tiles have the signed root; entries were changed"),
            (false, _) => (Verdict::Failed, "the tree does not have the signed root"),
        };
        report.push("root", verdict, detail);
    }

    fn conclude_since(&self, report: &mut Report) {
        let Some(old) = self.since else { return };
        let (from, to) = (old.size, self.checkpoint.size);
        let (verdict, detail) = match self.at_since {
            _ if from > to => {
                (Verdict::Failed, format!("the older checkpoint has size {from}, this one only {to}"))
            }
            None => (Verdict::NotProvable, format!("size {from} was not reached")),
            Some((root, other)) if root == old.root || other == Some(old.root) => {
                (Verdict::Verified, format!("size {to} extends size {from}"))
            }
            Some(_) => (Verdict::Failed, format!("the first {from} entries have another root: a fork")),
        };
        report.push("consistency", verdict, detail);
    }
}
