//! The ledgers of one data directory, and making another while they run.
//!
//! In scope: which ledgers there are, opening all of them, adding one with keys of its own. Out of
//! scope: who may ask for it, and what a ledger does. Invariants: a ledger is listed in
//! `counterfoil.toml` only when its keys and its empty log are durable, and is never taken off it; look-ups
//! take no lock.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::clock::{Clock, RandomError, random_fill};
use crate::config::{CONFIG_FILE, Config, LEDGER_NAME_FORM, is_ledger_name};
use crate::store::Storage;

use super::reads::{READS_LEDGER, read_type, reads_origin};
use super::{Ledger, LedgerError, LedgerKeys, LedgerOptions, Surroundings, Witnessed};

/// Ledgers of one server at most. Each has two threads of its own, an index cache of 32 MiB and a tail of
/// up to 128 MiB while its fold is behind, and all of them share one disk.
pub const LEDGERS_MAX: usize = 64;

type ByName = BTreeMap<String, Arc<Ledger>>;

/// Told of a failed write; see [`Surroundings::on_fatal`].
pub type TellFatal = fn(&LedgerError);

/// Told what an operator should know; see [`Surroundings::on_warning`].
pub type TellWarning = fn(&str);

/// What all ledgers of a data directory have in common.
#[derive(Debug)]
pub struct HostOptions {
    /// The data directory, whose lock the caller holds.
    pub data: PathBuf,
    /// Its files.
    pub storage: Arc<dyn Storage>,
    /// A second place for the newest published checkpoints.
    pub anchor: Option<Arc<dyn Storage>>,
    /// Checkpoints that others kept of these ledgers, each of which must be extended.
    pub witnessed: Vec<Witnessed>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Settings of each ledger.
    pub ledger: LedgerOptions,
    /// Called once by a ledger whose write has failed.
    pub on_fatal: TellFatal,
    /// Called with warnings for the operator.
    pub on_warning: TellWarning,
}

/// Why a ledger was not added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddLedgerError {
    /// The name cannot be a directory's and a URL's.
    #[error("a ledger's name is {LEDGER_NAME_FORM}")]
    Name,
    /// There is a ledger of this name or origin.
    #[error("there is a ledger of this name or with this origin already")]
    Taken,
    /// No room for another.
    #[error("there are {LEDGERS_MAX} ledgers already, which is the most one server runs")]
    TooMany,
    /// Files of a ledger that was never finished are in the way.
    #[error(
        "files of an earlier attempt are in the way; after making sure that no backup needs them, move \
         ledgers/{name}, vault/{name} and keys/{name}.* away and ask again"
    )]
    LeftOver {
        /// The ledger's name.
        name: String,
    },
    /// The settings file would not be understood with the ledger added.
    #[error("{CONFIG_FILE} cannot take another ledger: {0}")]
    Config(String),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Making or opening it failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The running ledgers of a data directory.
#[derive(Debug)]
pub struct Ledgers {
    host: HostOptions,
    by_name: ArcSwap<ByName>,
    adding: Mutex<()>,
}

impl Ledgers {
    /// Opens every ledger that the settings list.
    ///
    /// # Errors
    /// What the first ledger that does not open reports.
    pub fn open(host: HostOptions, config: &Config) -> Result<Self, LedgerError> {
        let mut ledgers = ByName::new();
        for (name, settings) in &config.ledgers {
            ledgers.insert(name.clone(), Arc::new(open(&host, name, &settings.origin)?));
        }
        Ok(Self { host, by_name: ArcSwap::from_pointee(ledgers), adding: Mutex::new(()) })
    }

    /// The ledger of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Ledger>> {
        self.by_name.load().get(name).cloned()
    }

    /// Every ledger by name, as of now.
    #[must_use]
    pub fn all(&self) -> Guard<Arc<ByName>> {
        self.by_name.load()
    }

    /// Makes a ledger with keys of its own, lists it in the settings file and starts it. Without an
    /// origin it gets a random one. Blocks for some flushes.
    ///
    /// # Errors
    /// [`AddLedgerError`]; nothing is listed then, though files may have been made.
    pub fn add(&self, name: &str, origin: Option<&str>) -> Result<Arc<Ledger>, AddLedgerError> {
        let _guard = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_ledger_name(name) {
            return Err(AddLedgerError::Name);
        }
        if name == READS_LEDGER {
            return Err(AddLedgerError::Taken);
        }
        if self.by_name.load().len() >= LEDGERS_MAX {
            return Err(AddLedgerError::TooMany);
        }
        self.make(name, origin, false)
    }

    /// The ledger of reads with its type registered. Where the data directory has none yet it is made, with
    /// an origin below that of `main`, however many ledgers there are. Blocks for some flushes.
    ///
    /// # Errors
    /// [`AddLedgerError`]. Where the process ended after the ledger was made and before it was listed, the
    /// next call lists it.
    pub fn ensure_reads(&self) -> Result<Arc<Ledger>, AddLedgerError> {
        let _guard = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let ledger = if let Some(ledger) = self.get(READS_LEDGER) {
            ledger
        } else {
            let ledgers = self.by_name.load_full();
            let main = ledgers.get("main").or_else(|| ledgers.values().next());
            let origin = main.and_then(|main| reads_origin(main.origin()));
            let is_free = |origin: &String| ledgers.values().all(|each| each.origin() != origin);
            let checkpoint = format!("ledgers/{READS_LEDGER}/checkpoint");
            let is_made = self.host.storage.exists(&checkpoint).map_err(LedgerError::from)?;
            self.make(READS_LEDGER, origin.filter(is_free).as_deref(), is_made)?
        };
        let custom = read_type().map_err(LedgerError::from)?;
        ledger.register_type(custom)?;
        Ok(ledger)
    }

    /// Makes, unless it is made already, lists and starts a ledger. The caller holds the lock.
    fn make(
        &self,
        name: &str,
        origin: Option<&str>,
        is_made: bool,
    ) -> Result<Arc<Ledger>, AddLedgerError> {
        let ledgers = self.by_name.load_full();
        let taken = |each: &Arc<Ledger>| each.name() == name || Some(each.origin()) == origin;
        if ledgers.values().any(taken) {
            return Err(AddLedgerError::Taken);
        }
        let origin = origin.map_or_else(|| random_origin(name), |origin| Ok(origin.to_owned()))?;
        let settings = self.settings_with(name, &origin)?;
        if !is_made {
            create(&self.host, name, &origin)?;
        }
        let written = self.host.storage.write_durable(CONFIG_FILE, settings.as_bytes());
        written.map_err(LedgerError::from)?;
        let ledger = Arc::new(open(&self.host, name, &origin)?);
        let mut grown = ByName::clone(&ledgers);
        grown.insert(name.to_owned(), Arc::clone(&ledger));
        self.by_name.store(Arc::new(grown));
        Ok(ledger)
    }

    /// The settings file's text with one more ledger. It is added at the end, so that the operator's own
    /// words and comments stay as they are.
    fn settings_with(&self, name: &str, origin: &str) -> Result<String, AddLedgerError> {
        let bytes = self.host.storage.read(CONFIG_FILE).map_err(LedgerError::from)?;
        let mut text = String::from_utf8(bytes.unwrap_or_default())
            .map_err(|_| AddLedgerError::Config("it is not UTF-8".to_owned()))?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let _ = write!(text, "\n[ledgers.{name}]\norigin = {}\n", toml::Value::from(origin));
        let parsed = Config::parse(&text).map_err(|error| AddLedgerError::Config(error.to_string()))?;
        let listed = parsed.ledgers.get(name).is_some_and(|ledger| ledger.origin == origin);
        if listed {
            Ok(text)
        } else {
            Err(AddLedgerError::Config("it is not read as written".to_owned()))
        }
    }

    /// Ends every ledger in good order. Blocks until done.
    ///
    /// # Errors
    /// The first error of a ledger; the others are ended too.
    pub fn close(&self) -> Result<(), LedgerError> {
        let _guard = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let ledgers = self.by_name.load_full();
        ledgers.values().map(|ledger| ledger.close()).fold(Ok(()), Result::and)
    }
}

/// An origin that nobody else has, for a ledger whose owner named none.
///
/// # Errors
/// Where the operating system gives no random bytes.
pub fn random_origin(name: &str) -> Result<String, RandomError> {
    let mut random = [0_u8; 8];
    random_fill(&mut random)?;
    Ok(format!("counterfoil.invalid/{}/{name}", hex::encode(random)))
}

fn open(host: &HostOptions, name: &str, origin: &str) -> Result<Ledger, LedgerError> {
    let (on_fatal, on_warning) = (host.on_fatal, host.on_warning);
    let around = Surroundings {
        storage: Arc::clone(&host.storage),
        anchor: host.anchor.clone(),
        witnessed: host.witnessed.clone(),
        index_dir: host.data.join("ledgers").join(name).join("index"),
        clock: Arc::clone(&host.clock),
        on_fatal: Box::new(on_fatal),
        on_warning: Box::new(on_warning),
    };
    Ledger::open(name, LedgerKeys::open(&host.data, name, origin)?, host.ledger.clone(), around)
}

fn create(host: &HostOptions, name: &str, origin: &str) -> Result<(), AddLedgerError> {
    for place in [format!("ledgers/{name}"), format!("vault/{name}")] {
        if !host.storage.list(&place).map_err(LedgerError::from)?.is_empty() {
            return Err(AddLedgerError::LeftOver { name: name.to_owned() });
        }
    }
    let keys = LedgerKeys::create(&host.data, &*host.storage, name, origin)?;
    Ok(Ledger::create(&host.storage, name, keys)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::DiskStorage;

    fn ledgers(data: &std::path::Path) -> Ledgers {
        let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(data).unwrap());
        let text = storage.read(CONFIG_FILE).unwrap().unwrap();
        let config = Config::parse(&String::from_utf8(text).unwrap()).unwrap();
        let host = HostOptions {
            data: data.to_owned(),
            storage,
            anchor: None,
            witnessed: Vec::new(),
            clock: Arc::new(SystemClock::default()),
            ledger: LedgerOptions::default(),
            on_fatal: |error| panic!("{error}"),
            on_warning: |_| (),
        };
        Ledgers::open(host, &config).unwrap()
    }

    fn data_directory() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(data.path()).unwrap());
        let keys = LedgerKeys::create(data.path(), &*storage, "main", "example.org/main").unwrap();
        Ledger::create(&storage, "main", keys).unwrap();
        let config = Config::with_ledger("main", "example.org/main").to_toml();
        storage.write_durable(CONFIG_FILE, format!("# ours\n{config}").as_bytes()).unwrap();
        data
    }

    #[test]
    fn an_added_ledger_is_there_at_once_and_after_a_restart() {
        let data = data_directory();
        let first = ledgers(data.path());
        // What another ledger is just writing stays.
        let on_its_way = data.path().join(".tmp/1-1");
        std::fs::create_dir(&on_its_way).unwrap();
        let added = first.add("clinic", Some("example.org/clinic")).unwrap();
        assert!(on_its_way.exists());
        assert_eq!(added.origin(), "example.org/clinic");
        assert_ne!(added.verifier(), first.get("main").unwrap().verifier());
        assert!(matches!(first.add("clinic", None), Err(AddLedgerError::Taken)));
        assert!(matches!(first.add("other", Some("example.org/main")), Err(AddLedgerError::Taken)));
        let verifier = added.verifier().to_string();
        first.close().unwrap();
        drop((added, first));
        let text = std::fs::read_to_string(data.path().join(CONFIG_FILE)).unwrap();
        assert!(text.starts_with("# ours\n"), "the operator's comment is gone");
        let again = ledgers(data.path());
        assert_eq!(again.get("clinic").unwrap().verifier().to_string(), verifier);
        again.close().unwrap();
    }

    #[test]
    fn names_that_are_no_directory_of_their_own_are_refused() {
        let data = data_directory();
        let ledgers = ledgers(data.path());
        for name in ["", ".", "..", "../x", "a/b", "A", "ä", "-a", "a b", "a.b", &"a".repeat(64)] {
            assert!(matches!(ledgers.add(name, None), Err(AddLedgerError::Name)), "{name}");
        }
        ledgers.close().unwrap();
    }

    #[test]
    fn the_ledger_of_reads_is_made_once_and_belongs_to_the_server() {
        let data = data_directory();
        let first = ledgers(data.path());
        // As if the process had ended before the ledger was listed.
        create(&first.host, READS_LEDGER, "example.org/main/reads").unwrap();
        assert!(matches!(first.add(READS_LEDGER, None), Err(AddLedgerError::Taken)));
        assert!(first.get(READS_LEDGER).is_none());
        let reads = first.ensure_reads().unwrap();
        assert_eq!(reads.origin(), "example.org/main/reads");
        let (size, verifier) = (reads.size(), reads.verifier().to_string());
        assert_eq!(first.ensure_reads().unwrap().size(), size, "its type is registered once");
        first.close().unwrap();
        drop((reads, first));
        let again = ledgers(data.path());
        let reads = again.ensure_reads().unwrap();
        assert_eq!((reads.size(), reads.verifier().to_string()), (size, verifier));
        assert!(reads.catalogue().event_type("x-read").is_some());
        again.close().unwrap();
    }

    #[test]
    fn the_ledger_of_reads_finds_an_origin_where_its_own_is_taken() {
        let data = data_directory();
        let ledgers = ledgers(data.path());
        ledgers.add("other", Some("example.org/main/reads")).unwrap();
        let reads = ledgers.ensure_reads().unwrap();
        assert!(reads.origin().starts_with("counterfoil.invalid/"), "{}", reads.origin());
        ledgers.close().unwrap();
    }

    #[test]
    fn files_of_a_creation_that_was_cut_off_are_not_taken_over() {
        let data = data_directory();
        let ledgers = ledgers(data.path());
        ledgers.host.storage.write_durable("ledgers/half/reader.key", b"{}").unwrap();
        assert!(matches!(ledgers.add("half", None), Err(AddLedgerError::LeftOver { .. })));
        assert!(ledgers.get("half").is_none());
        ledgers.close().unwrap();
    }
}
