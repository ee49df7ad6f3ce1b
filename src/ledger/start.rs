//! Making a ledger and starting one.
//!
//! In scope: the order in which parts are made or opened and threads begin. Out of scope: how files
//! are read back ([`super::open`]). Invariant: no thread runs and nothing is signed before the
//! recovered tree has been held against the published checkpoint.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use crate::clock::{Clock, random_fill};
use crate::event::catalogue::Catalogue;
use crate::event::entry::{Entry, EntryBody};
use crate::event::keys::{self, LedgerId, MacKey};
use crate::index::{FACET_DIRECTORY, Index, IndexOptions, Term};
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::hash::{Hash, TreeSize, empty_root};
use crate::log::merkle;
use crate::log::note::{SigningKey, VerifierKey};
use crate::log::tile::TILE_WIDTH;
use crate::store::Storage;
use crate::store::journal::{Cut, Journal, JournalTrim};
use crate::store::sealed::BundleMask;
use crate::vault::{AsideKey, Inboxes, KeyTree, PersonSecret, Slot, SlotNumber, WrappedPerson};

use super::cache::FileCache;
use super::commit::{Committer, OpenGroup};
use super::duties::Duties;
use super::error::LedgerError;
use super::fold::{Fold, FoldStart};
use super::intake::Intake;
use super::keys::{LedgerKeys, Secrets};
use super::nodes::LedgerNodes;
use super::open::{Files, Recovered};
use super::orders::Orders;
use super::persons::Directory;
use super::removal::{self, Keeper, Removed};
use super::retention::job;
use super::sequencer::{Sequencer, index_terms};
use super::shared::{Macs, OnFatal, Shared};
use super::stats::Stats;
use super::tail::Tail;
use super::times::TimesCache;
use super::witnessed::{self, Witnessed};
use super::{JOURNAL_DIR, Ledger, LedgerOptions, settings};

/// Entries whose index rows are added in one call when the index is caught up.
const CATCH_UP_ENTRIES: u64 = 4_096;

/// Index rows merged in one step while catching up.
const CATCH_UP_MERGE_POSTINGS: u64 = 1 << 20;

/// What opening takes besides keys and options.
pub struct Surroundings {
    /// Where the ledger's files are.
    pub storage: Arc<dyn Storage>,
    /// A second place that keeps the newest published checkpoint, on another disk than the ledger's:
    /// what a restored old copy is held against. None where there is no such place.
    pub anchor: Option<Arc<dyn Storage>>,
    /// Checkpoints that others kept, which the log must extend; those of other origins are passed over.
    pub witnessed: Vec<Witnessed>,
    /// Where the index, which is disposable, is kept.
    pub index_dir: PathBuf,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Called once when a write has failed.
    pub on_fatal: OnFatal,
    /// Called with warnings for the operator.
    pub on_warning: OnWarning,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("index_dir", &self.index_dir).finish_non_exhaustive()
    }
}

fn prefix_of(name: &str) -> String {
    format!("ledgers/{name}")
}

fn vault_of(name: &str) -> String {
    format!("vault/{name}")
}

impl Ledger {
    /// Makes an empty ledger: its vault with the ledger's own secrets, and a checkpoint of size 0.
    ///
    /// # Errors
    /// Where there is one already, or a file cannot be written.
    pub fn create(storage: &Arc<dyn Storage>, name: &str, keys: LedgerKeys) -> Result<(), LedgerError> {
        let checkpoint_path = format!("{}/checkpoint", prefix_of(name));
        if storage.exists(&checkpoint_path)? {
            return Err(LedgerError::Setup(format!("a ledger named {name} exists here already")));
        }
        let tree = KeyTree::create(Arc::clone(storage), &vault_of(name), keys.custody)?;
        let mut own = Vec::new();
        for slot in [SlotNumber::LEDGER, SlotNumber::of_inbox(0)] {
            let mut secret = Zeroizing::new([0_u8; 32]);
            random_fill(&mut *secret)?;
            own.push((slot, Slot::key(secret)));
        }
        tree.put(&own)?;
        let origin = keys.signer.name().to_owned();
        let checkpoint = Checkpoint { origin, size: TreeSize(0), root: empty_root() };
        storage.write_durable(&checkpoint_path, checkpoint.sign(&keys.signer)?.as_bytes())?;
        storage.sync_round()?;
        tree.synced()?;
        Ok(())
    }

    /// Opens a ledger and starts its threads. A ledger without entries gets its settings entry.
    ///
    /// # Errors
    /// [`LedgerError::Damage`] where files disagree with what was signed, and what reading reports.
    pub fn open(
        name: &str,
        keys: LedgerKeys,
        options: LedgerOptions,
        mut around: Surroundings,
    ) -> Result<Self, LedgerError> {
        let storage = Arc::clone(&around.storage);
        if !storage.exists(&format!("{}/checkpoint", prefix_of(name)))?
            && storage.list(&vault_of(name))?.is_empty()
        {
            return Err(LedgerError::NoSuchLedger { name: name.to_owned() });
        }
        let id = keys::ledger_id(keys.signer.name());
        let LedgerKeys { signer, certifier, secrets, custody } = keys;
        let tree = Arc::new(KeyTree::open(Arc::clone(&storage), &vault_of(name), custody)?);
        let lacks =
            || LedgerError::Setup("the vault lacks the inbox key; restore the vault directory".into());
        let inboxes = Inboxes::read(|slot| tree.get(slot))?.ok_or_else(lacks)?;
        let prefix = prefix_of(name);
        let published = read_published(&*storage, &format!("{prefix}/checkpoint"), &signer.verifier())?;
        let known_size = published.as_ref().map_or(0, |checkpoint| checkpoint.size.0);
        let anchored = match &around.anchor {
            Some(anchor) => read_published(&**anchor, &anchor_file(name), &signer.verifier())?,
            None => None,
        };
        let (journal, from_journal) =
            Journal::open(Arc::clone(&storage), &format!("{prefix}/{JOURNAL_DIR}"), id.0, known_size)?;
        from_journal.cut.iter().for_each(|cut| warn_of_cut(cut, &around));
        let files = Files { storage: &*storage, prefix: &prefix, ledger: id };
        let recovered = files.recover(from_journal.frames, journal.first_index(), &tree, &inboxes)?;
        let index = open_index(&around, recovered.tail.size())?;
        let Recovered { upper, folded, registered_through, .. } = recovered;
        let start = FoldStart { folded, upper, registered_through };
        let (persons, settings) = (recovered.persons, recovered.settings);
        let read_back = ReadBack {
            id,
            signer,
            certifier,
            secrets,
            tree,
            inboxes,
            old_inbox_end: recovered.old_inbox_end,
            masks: BTreeMap::from([(folded / TILE_WIDTH, recovered.mask)]),
            removed: Removed::read(&*storage, &prefix)?,
            journal: journal.trim(),
            prefix,
            index,
            tail: recovered.tail,
            settings,
        };
        let kept = std::mem::take(&mut around.witnessed);
        let shared = share(name, options, around, read_back)?;
        witnessed::check(&shared, &kept)?;
        if let Some(checkpoint) = anchored {
            check_published(&shared, &checkpoint, &format!("the anchor's {}", anchor_file(name)))?;
        }
        match published {
            Some(checkpoint) => check_published(&shared, &checkpoint, &shared.path("checkpoint"))?,
            None => shared.warn("the published checkpoint is missing; it is signed again from the log"),
        }
        catch_up(&shared, persons, registered_through, settings)?;
        shared.recover_erasures()?;
        let ledger = Self::run(shared, journal, start)?;
        ledger.write_genesis()?;
        Ok(ledger)
    }

    fn run(shared: Arc<Shared>, journal: Journal, start: FoldStart) -> Result<Self, LedgerError> {
        let mut fold = Fold::new(Arc::clone(&shared), journal.trim(), start);
        let committer = Committer::new(Arc::clone(&shared), journal);
        fold.publish()?;
        let spawn = |name: String, work: Box<dyn FnOnce() + Send>| {
            let started = std::thread::Builder::new().name(name).spawn(work);
            started.map_err(|error| LedgerError::Setup(format!("no thread could be started: {error}")))
        };
        let keeping = Arc::clone(&shared);
        let threads = vec![
            spawn(format!("{}-keeper", shared.name), Box::new(move || removal::keep(&keeping)))?,
            spawn(format!("{}-commit", shared.name), Box::new(move || committer.run()))?,
            spawn(format!("{}-fold", shared.name), Box::new(move || fold.run()))?,
        ];
        let keeper = if shared.options.retention_interval_ms > 0 {
            let job = job::Keeper::new(Arc::clone(&shared), Box::new(Shared::prune));
            Some(spawn(format!("{}-retention", shared.name), Box::new(move || job.run()))?)
        } else {
            None
        };
        Ok(Self { shared, threads: Mutex::new(threads), keeper: Mutex::new(keeper) })
    }

    /// Entry 0 of a new ledger.
    fn write_genesis(&self) -> Result<(), LedgerError> {
        if self.shared.size() > 0 {
            return Ok(());
        }
        let body = settings::genesis(
            &self.shared.origin,
            &self.shared.verifier.to_string(),
            &self.shared.secrets,
            &self.shared.catalogue.load(),
            self.shared.options.skew_max_ms,
        );
        self.append_system(EntryBody::Settings(body)).map(|_| ())
    }
}

fn warn_of_cut(cut: &Cut, around: &Surroundings) {
    (around.on_warning)(&format!(
        "cut {} bytes of an unfinished write off {} at byte {}; nothing acknowledged was in them",
        cut.bytes, cut.file, cut.offset
    ));
}

/// What opening has read from the vault, the files and the index.
struct ReadBack {
    id: LedgerId,
    signer: SigningKey,
    certifier: SigningKey,
    secrets: Secrets,
    tree: Arc<KeyTree>,
    inboxes: Inboxes,
    old_inbox_end: u64,
    masks: BTreeMap<u64, BundleMask>,
    removed: Removed,
    journal: JournalTrim,
    prefix: String,
    index: Arc<Index>,
    tail: Tail,
    settings: Option<u64>,
}

/// Called with warnings for the operator.
pub type OnWarning = Box<dyn Fn(&str) + Send + Sync>;

/// Puts together what the threads and readers share.
fn share(
    name: &str,
    options: LedgerOptions,
    around: Surroundings,
    read: ReadBack,
) -> Result<Arc<Shared>, LedgerError> {
    let directory = Directory::new(
        &read.secrets.directory,
        Arc::clone(&read.index),
        Arc::clone(&read.tree),
        read.tree.next_person_slot()?.0,
    );
    let open_key = own_secret(&read.tree, SlotNumber::LEDGER, "the ledger's own secret")?;
    let sequencer = Sequencer::new(&read.tail, &*around.clock);
    let shared = Shared {
        name: name.to_owned(),
        origin: read.signer.name().to_owned(),
        id: read.id,
        options,
        storage: around.storage,
        prefix: read.prefix,
        anchor: around.anchor,
        clock: around.clock,
        verifier: read.signer.verifier(),
        signer: read.signer,
        macs: Macs { event: MacKey::new(&read.secrets.event), read: MacKey::new(&read.secrets.read) },
        secrets: read.secrets,
        open_key: PersonSecret::from_bytes(*open_key).data_key(),
        inboxes: ArcSwap::from_pointee(read.inboxes),
        old_inbox_end: AtomicU64::new(read.old_inbox_end),
        roll_wanted: AtomicBool::new(false),
        masks: Mutex::new(read.masks),
        removed: ArcSwap::from_pointee(read.removed),
        orders: Orders::default(),
        keeper: Keeper::default(),
        erasing: Mutex::default(),
        removing: Mutex::default(),
        journal: read.journal,
        certifier: read.certifier,
        certifier_entry: OnceLock::new(),
        tree: read.tree,
        directory,
        index: read.index,
        catalogue: ArcSwap::from_pointee(builtin_catalogue()?),
        customs: Mutex::new(Vec::new()),
        settings: AtomicU64::new(read.settings.unwrap_or(0)),
        duties: Duties::default(),
        tail: RwLock::new(read.tail),
        files: FileCache::default(),
        times: TimesCache::default(),
        aside_key: AsideKey::new(&open_key, read.id),
        intake: Intake::new(sequencer),
        open: OpenGroup::default(),
        published: ArcSwap::from_pointee(String::new()),
        signed: Mutex::new((0, Arc::from(""))),
        journaled_bytes: AtomicU64::new(0),
        stats: Stats::default(),
        conflicts: Mutex::new(HashSet::new()),
        disk_low: AtomicBool::new(false),
        closing: AtomicBool::new(false),
        stopped: AtomicBool::new(false),
        on_fatal: around.on_fatal,
        on_warning: around.on_warning,
        waiting: Mutex::new(()),
        grown: Condvar::new(),
        room: Condvar::new(),
        changes: tokio::sync::watch::Sender::new(0),
    };
    Ok(Arc::new(shared))
}

/// A secret of the ledger's own, without which nothing can be opened or sealed.
fn own_secret(tree: &KeyTree, slot: SlotNumber, what: &str) -> Result<Zeroizing<[u8; 32]>, LedgerError> {
    let missing = || LedgerError::Setup(format!("the vault lacks {what}; restore the vault directory"));
    Ok(tree.get(slot)?.ok_or_else(missing)?.secret)
}

/// Puts back what is derived from the log: persons, index rows, waiting registrations, catalogue.
fn catch_up(
    shared: &Shared,
    persons: Vec<WrappedPerson>,
    registered_through: u64,
    settings: Option<u64>,
) -> Result<(), LedgerError> {
    for person in persons {
        shared.directory.restore(person);
    }
    catch_up_index(shared)?;
    for slot in registered_through..shared.directory.next_slot() {
        shared.directory.restore_unregistered(SlotNumber(slot))?;
    }
    if let Some(newest) = settings {
        let chain = settings::chain_at(newest, shared.size(), |index| shared.entry(index))?;
        shared.catalogue.store(Arc::new(chain.catalogue));
        *shared.customs.lock().unwrap_or_else(PoisonError::into_inner) = chain.customs;
        shared.duties.restore(chain.retention, chain.holds);
    }
    Ok(())
}

fn builtin_catalogue() -> Result<Catalogue, LedgerError> {
    Catalogue::builtin().map_err(|error| LedgerError::Setup(error.to_string()))
}

fn open_index(around: &Surroundings, size: u64) -> Result<Arc<Index>, LedgerError> {
    let options = || IndexOptions::new(crate::store::rename_aside);
    if size > 0 && !around.index_dir.exists() {
        (around.on_warning)("the index is rebuilt from the log: its directory is missing");
    }
    let (index, report) = Index::open(&around.index_dir, options())?;
    if let Some(rebuilt) = &report.rebuilt {
        (around.on_warning)(&format!("the index is rebuilt from the log: {}", rebuilt.reason));
    }
    if report.watermark <= size {
        return Ok(Arc::new(index));
    }
    (around.on_warning)("the index is rebuilt from the log: it knew entries that the log does not have");
    index.condemn()?;
    index.close()?;
    drop(index);
    let (index, _) = Index::open(&around.index_dir, options())?;
    Ok(Arc::new(index))
}

/// File of the anchor that keeps a ledger's newest published checkpoint.
pub(crate) fn anchor_file(name: &str) -> String {
    format!("{name}.checkpoint")
}

/// A checkpoint that was published, where there is one.
fn read_published(
    storage: &dyn Storage,
    file: &str,
    verifier: &VerifierKey,
) -> Result<Option<Checkpoint>, LedgerError> {
    let Some(bytes) = storage.read(file)? else { return Ok(None) };
    let opened = checkpoint::open(&bytes, verifier);
    let damage = |what| LedgerError::Damage { file: file.to_owned(), what };
    opened.map(Some).map_err(|error| damage(error.to_string()))
}

/// Holds the recovered tree against a checkpoint that was published. A tree that does not extend it is
/// an older copy or another history: nothing is signed for it.
fn check_published(shared: &Shared, published: &Checkpoint, file: &str) -> Result<(), LedgerError> {
    let damage = |what: String| LedgerError::Damage { file: file.to_owned(), what };
    let size = shared.size();
    if published.size.0 > size {
        return Err(damage(format!("signed for {} entries, but the log has {size}", published.size)));
    }
    let root = merkle::root(published.size, &LedgerNodes(shared))?;
    if root != published.root {
        return Err(damage(format!("the first {} entries have another root", published.size)));
    }
    Ok(())
}

/// Adds to the index what it does not have yet: entries above its watermark, and persons.
fn catch_up_index(shared: &Shared) -> Result<(), LedgerError> {
    let size = shared.size();
    let mut at = shared.index.watermark();
    while at < size {
        let end = size.min(at + CATCH_UP_ENTRIES);
        let mut terms = Vec::new();
        for index in at..end {
            let bytes = shared.entry(index)?;
            let entry = Entry::decode(&bytes).map_err(|source| LedgerError::Entry { index, source })?;
            let event_key = match &entry.body {
                EntryBody::Event(event) => Some(event.event_key),
                _ => None,
            };
            index_terms(index, &entry.body, event_key, &mut terms);
        }
        shared.index.add(at, &terms)?;
        shared.index.advance(end);
        at = end;
        if shared.index.memory_postings() > 1 << 18 {
            shared.index.flush()?;
            shared.index.maintain(CATCH_UP_MERGE_POSTINGS)?;
        }
    }
    catch_up_persons(shared)
}

/// Persons are indexed in slot order together with entries, so those that are missing are the last.
fn catch_up_persons(shared: &Shared) -> Result<(), LedgerError> {
    let key_of = |slot: u64| -> Result<Option<Hash>, LedgerError> {
        Ok(shared.directory.by_slot(SlotNumber(slot))?.map(|person| person.directory_key))
    };
    // A slot that was destroyed says nothing: the next one below that holds a person speaks for it.
    let is_indexed = |slot: u64| -> Result<bool, LedgerError> {
        for slot in (SlotNumber::FIRST_PERSON.0..=slot).rev() {
            let Some(key) = key_of(slot)? else { continue };
            let term = Term { facet: FACET_DIRECTORY, key: *key.as_bytes() };
            return Ok(shared.index.find(&term)?.contains(&slot));
        }
        Ok(true)
    };
    let end = shared.directory.next_slot();
    let (mut low, mut high) = (SlotNumber::FIRST_PERSON.0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_indexed(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let mut terms = Vec::new();
    for slot in low..end {
        if let Some(key) = key_of(slot)? {
            terms.push((slot, Term { facet: FACET_DIRECTORY, key: *key.as_bytes() }));
        }
    }
    shared.index.add(shared.size(), &terms)?;
    Ok(())
}
