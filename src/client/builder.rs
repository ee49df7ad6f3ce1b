//! The settings of a client.
//!
//! In scope: every choice a producer has, with its default. Out of scope: what follows from them.
//! Invariant: nothing is read, made or sent before [`Builder::build`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::event::limits::REQUEST_EVENTS_MAX;
use crate::log::note::VerifierKey;

use super::check::Checker;
use super::directory::Directory;
use super::keep::Receipts;
use super::queue::Room;
use super::shared::Shared;
use super::spool::Spool;
use super::transport::{ApiKey, Roots, Transport, read_key};
use super::watch::Watch;
use super::worker::{OnWait, Sending, Worker};
use super::{Client, ClientError, OnFull, Patience, ReceiptKind};

/// Events in one request, by default.
const BATCH_EVENTS: usize = 1_000;

/// Events that wait in memory, by default: ten requests.
const QUEUE_EVENTS: usize = 10_000;

/// Bytes that wait in memory, by default: four requests.
const QUEUE_BYTES: usize = 32 << 20;

/// Bytes of a spool, by default: a day of one event of 1 KiB every 80 ms.
const SPOOL_BYTES: u64 = 1 << 30;

/// A client in the making; see [`Client::builder`].
pub struct Builder {
    url: String,
    ledger: String,
    key: Option<ApiKey>,
    key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    transport: Option<Transport>,
    verifier_key: Option<VerifierKey>,
    receipt: ReceiptKind,
    spool_dir: Option<PathBuf>,
    spool_bytes_max: u64,
    spool_sync: bool,
    receipts_dir: Option<PathBuf>,
    queue: Room,
    on_full: OnFull,
    batch_events: usize,
    linger: Duration,
    patience: Patience,
    reached: bool,
    on_wait: Option<OnWait>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ledger: "main".to_owned(),
            key: None,
            key_file: None,
            ca_file: None,
            transport: None,
            verifier_key: None,
            receipt: ReceiptKind::Brief,
            spool_dir: None,
            spool_bytes_max: SPOOL_BYTES,
            spool_sync: true,
            receipts_dir: None,
            queue: Room { events: QUEUE_EVENTS, bytes: QUEUE_BYTES },
            on_full: OnFull::Block,
            batch_events: BATCH_EVENTS,
            linger: Duration::ZERO,
            patience: Patience::Endless,
            reached: false,
            on_wait: None,
            clock: Arc::new(SystemClock::default()),
        }
    }

    /// The ledger's name, `main` by default; without effect where the URL names one.
    #[must_use]
    pub fn ledger(mut self, name: &str) -> Self {
        name.clone_into(&mut self.ledger);
        self
    }

    /// A file with the API key, one line.
    #[must_use]
    pub fn key_file(mut self, path: impl AsRef<Path>) -> Self {
        self.key_file = Some(path.as_ref().to_owned());
        self
    }

    /// The API key itself, for programs that get it from elsewhere than a file.
    #[must_use]
    pub fn key(mut self, key: ApiKey) -> Self {
        self.key = Some(key);
        self
    }

    /// A file with the certificates (PEM) that the server's may be signed by, instead of the ones that
    /// come with the program.
    #[must_use]
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.ca_file = Some(path.as_ref().to_owned());
        self
    }

    /// Uses a transport that is there already, instead of URL, ledger, key and certificates.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// The log's verifier key, against which receipts and checkpoints are checked. Without it, what
    /// needs it is reported as not provable.
    #[must_use]
    pub fn verifier_key(mut self, key: VerifierKey) -> Self {
        self.verifier_key = Some(key);
        self
    }

    /// Brief receipts (the default) or full ones.
    #[must_use]
    pub fn receipt(mut self, kind: ReceiptKind) -> Self {
        self.receipt = kind;
        self
    }

    /// A directory where events are kept until they are acknowledged, **personal data in the clear**,
    /// in files that only their owner may read. One client at a time. Without it, events wait in
    /// memory and are lost with the process.
    #[must_use]
    pub fn spool_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.spool_dir = Some(path.as_ref().to_owned());
        self
    }

    /// Bytes the spool takes; 1 GiB by default.
    #[must_use]
    pub fn spool_bytes_max(mut self, bytes: u64) -> Self {
        self.spool_bytes_max = bytes;
        self
    }

    /// Whether `append` returns after a flush of the disk (the default) or after a write, which
    /// survives the end of the process but not a power cut.
    #[must_use]
    pub fn spool_sync(mut self, sync: bool) -> Self {
        self.spool_sync = sync;
        self
    }

    /// A directory where receipts are kept, one NDJSON file a day, with the newest checkpoint seen.
    /// Full receipts open the events' content to whoever reads them. One client at a time.
    #[must_use]
    pub fn receipts_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.receipts_dir = Some(path.as_ref().to_owned());
        self
    }

    /// Events and bytes that wait in memory where there is no spool; 10,000 and 32 MiB by default.
    #[must_use]
    pub fn queue(mut self, events: usize, bytes: usize) -> Self {
        self.queue = Room { events, bytes };
        self
    }

    /// What `append` does when there is no room: wait for it (the default) or refuse.
    #[must_use]
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = on_full;
        self
    }

    /// Events in one request, 1 to 10,000; 1,000 by default.
    #[must_use]
    pub fn batch_events(mut self, events: usize) -> Self {
        self.batch_events = events.clamp(1, REQUEST_EVENTS_MAX);
        self
    }

    /// How long an event waits for others before it is sent, where neither a request is full nor
    /// somebody flushes; not at all by default, since what comes during one request makes the next.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How long a server that acknowledges nothing is waited for; for ever by default.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The server has answered this program before, so that an address that leads nowhere is no mistake
    /// any more; see [`Patience::Attended`].
    #[must_use]
    pub fn reached(mut self) -> Self {
        self.reached = true;
        self
    }

    /// Called from the sending thread, with the reason, when it begins to wait for the server.
    #[must_use]
    pub fn on_wait(mut self, tell: impl Fn(&str) + Send + 'static) -> Self {
        self.on_wait = Some(Box::new(tell));
        self
    }

    /// Reads the files, takes the directories and starts the sending thread. What an earlier client
    /// left in the spool is sent first. The server need not be there.
    ///
    /// # Errors
    /// A file or directory that cannot be used, a directory in use by another client, a damaged spool.
    pub fn build(self) -> Result<Client, ClientError> {
        let transport = if let Some(transport) = self.transport {
            transport
        } else {
            let roots = self.ca_file.as_deref().map(Roots::read).transpose()?;
            let from_file = self.key_file.as_deref().map(read_key).transpose()?;
            let key = self.key.or(from_file);
            Transport::to_ledger(&self.url, &self.ledger, key, roots.as_ref())
        };
        let receipts = self.receipts_dir.as_deref().map(Directory::open).transpose()?;
        let spool = match (&self.spool_dir, &receipts) {
            (Some(path), Some(receipts)) if receipts.is_at(path) => Some(receipts.clone()),
            (Some(path), _) => Some(Directory::open(path)?),
            (None, _) => None,
        };
        let home = receipts.clone().or_else(|| spool.clone());
        let origin = self.verifier_key.as_ref().map(|key| key.name().to_owned());
        let watch = self.verifier_key.map(|key| Watch::open(key, home)).transpose()?;
        let open = |directory| Spool::open(directory, self.spool_bytes_max, self.spool_sync);
        let shared = Arc::new(Shared::new(self.queue, spool.map(open).transpose()?));
        let mut checker = Checker::new(origin);
        checker.grown_to(watch.as_ref().map_or(0, Watch::known_size));
        let worker = Worker {
            shared: Arc::clone(&shared),
            transport,
            clock: Arc::clone(&self.clock),
            events_max: self.batch_events,
            linger: self.linger,
            receipt: self.receipt,
            patience: self.patience,
            on_wait: self.on_wait,
            checker,
            watch,
            receipts: receipts.map(Receipts::new),
            state: Sending::new(self.reached),
        };
        let thread = std::thread::Builder::new().name("counterfoil-client".to_owned());
        let thread = thread.spawn(move || worker.run());
        let thread =
            thread.map_err(|error| ClientError::Setting(format!("no thread to send from: {error}")))?;
        Ok(Client { shared, clock: self.clock, on_full: self.on_full, thread: Some(thread) })
    }
}
