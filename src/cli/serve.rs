//! `counterfoil serve`
//!
//! In scope: opening a data directory, listening, ending in good order. Out of scope: what is
//! served. Invariants: one process per data directory; after a failed write the process ends with
//! an error instead of going on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::audit::own::Auditor;
use crate::clock::{Clock, SystemClock};
use crate::config::{CONFIG_FILE, Config};
use crate::http::keys::{ADMIN_KEY_FILE, KeyStore};
use crate::http::{self, Around, Front, ServeOptions, Server, ServerStats, Tls};
use crate::ledger::{HostOptions, LedgerError, LedgerOptions, Ledgers, READS_LEDGER, Witnessed};
use crate::prove::verify_document::DOCUMENT_BYTES_MAX;
use crate::store::lock::DirLock;
use crate::store::{DiskStorage, Storage};

use super::config::{self, name_and_value};
use super::output::{read_input, write_output};
use super::{EXIT_ERROR, EXIT_GOOD, Failure, init};

/// Run the server; on an empty directory, `init` it first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil serve --data ./ledger\n  \
    counterfoil serve --data ./ledger --listen 127.0.0.1:0\n  \
    counterfoil serve --data ./ledger --set rate_events_per_s=500\n  \
    counterfoil serve --data ./restored --witnessed receipt.json")]
pub(crate) struct ServeArgs {
    /// The data directory.
    #[arg(long, env = "COUNTERFOIL_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Address and port to listen on; port 0 takes a free one. Short for --set listen=ADDR.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// A setting for this run; wins over the environment and counterfoil.toml. May be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    settings: Vec<(String, String)>,
    /// Origin for a directory that is still empty; see `init`.
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// A checkpoint, receipt or batch answer that somebody kept of a ledger here. Where its log does not
    /// extend it (a restored older copy, a fork), the server signs nothing and does not start. May be
    /// repeated.
    #[arg(long, value_name = "FILE")]
    witnessed: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &ServeArgs) -> Result<u8, Failure> {
    init::make_directory(&args.data)?;
    let _lock = DirLock::acquire(&args.data)?;
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(&args.data)?);
    let witnessed = read_witnessed(&args.witnessed)?;
    if !storage.exists(CONFIG_FILE)? {
        if let Some(first) = witnessed.first() {
            let said =
                format!("{} holds no ledger, so none that extends {}", args.data.display(), first.file);
            return Err(Failure::new(said));
        }
        init::create(&args.data, args.origin.as_deref())?;
        say!("Made the ledgers `main` and `reads` in {}.", args.data.display());
    }
    let listen = args.listen.iter().map(|listen| ("listen".to_owned(), listen.clone()));
    let flags: Vec<_> = listen.chain(args.settings.iter().cloned()).collect();
    let config = config::read(&*storage, &args.data, &flags)?.config;
    refuse_unknown_origins(&witnessed, &config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let keys = KeyStore::open(Arc::clone(&storage))?;
    let anchor: Option<Arc<dyn Storage>> = match &config.anchor_dir {
        Some(dir) => Some(Arc::new(DiskStorage::open(dir)?)),
        None => None,
    };
    let host = HostOptions {
        data: args.data.clone(),
        storage: Arc::clone(&storage),
        anchor,
        witnessed,
        clock: Arc::clone(&clock),
        ledger: LedgerOptions {
            publish_interval_ms: config.publish_interval_ms,
            skew_max_ms: config.skew_max_ms,
            shred_interval_ms: config.shred_interval_ms,
            backup_keep_days: config.backup_keep_days,
            retention_interval_ms: config.retention_interval_ms,
            ..LedgerOptions::default()
        },
        on_fatal: end_now,
        on_warning: |warning| say!("counterfoil: warning: {warning}"),
    };
    let tls = match (&config.tls_cert_file, &config.tls_key_file) {
        (Some(cert), Some(key)) => Some(Arc::new(Tls::open(cert, key)?)),
        _ => None,
    };
    let front = Front::new(&config, Arc::clone(&clock)).map_err(Failure::new)?;
    let ledgers = Ledgers::open(host, &config)?;
    if ledgers.get(READS_LEDGER).is_none() {
        say!("Making the ledger `reads`, where reads of personal parts are recorded.");
    }
    ledgers.ensure_reads()?;
    let auditor = Auditor::new(args.data.clone(), storage, Arc::clone(&clock));
    let server = Arc::new(Server {
        ledgers,
        keys,
        stats: Arc::new(ServerStats::new(&*clock)),
        clock,
        front,
        live: Arc::default(),
        auditor: Arc::new(auditor),
        metrics_public: config.metrics_public,
    });
    let watched = Arc::clone(&server);
    let watch = DiskWatch { data: args.data.clone(), reserve_bytes: config.disk_reserve_bytes };
    serve(&server, &config, tls, &args.data, move || watch.look(&watched))?;
    server.auditor.end();
    server.keys.save_last_use()?;
    server.ledgers.close()?;
    Ok(EXIT_GOOD)
}

/// The checkpoints in files that were kept of ledgers.
pub(super) fn read_witnessed(files: &[PathBuf]) -> Result<Vec<Witnessed>, Failure> {
    let mut found = Vec::new();
    for path in files {
        let bytes = read_input(path, u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX))?;
        let kept = Witnessed::in_file(path, &bytes);
        found.extend(kept.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?);
    }
    Ok(found)
}

/// Refuses a checkpoint of a log that is not here: whoever gave it meant something by it.
fn refuse_unknown_origins(witnessed: &[Witnessed], config: &Config) -> Result<(), Failure> {
    let is_here = |origin: &String| config.ledgers.values().any(|ledger| ledger.origin == *origin);
    let Some(foreign) = witnessed.iter().find(|each| !is_here(&each.origin)) else { return Ok(()) };
    let (file, origin) = (&foreign.file, &foreign.origin);
    let here: Vec<&str> = config.ledgers.values().map(|ledger| ledger.origin.as_str()).collect();
    let here = here.join(", ");
    Err(Failure::new(format!("{file}: a checkpoint of {origin}, but the ledgers here are {here}")))
}

/// A ledger whose write failed cannot say what is durable: the process ends, and the next start
/// recovers from what is.
fn end_now(error: &LedgerError) {
    say!("counterfoil: {error}");
    say!("counterfoil: stopping, because nothing more can be promised; mend the cause and start again");
    std::process::exit(i32::from(EXIT_ERROR));
}

/// Looks after the room on the disk.
#[derive(Debug)]
struct DiskWatch {
    data: PathBuf,
    reserve_bytes: u64,
}

impl DiskWatch {
    /// Tells every ledger whether the disk has less room than is kept in reserve. Where the operating
    /// system does not say, appends go on and a full disk is met by the write that fails.
    fn look(&self, server: &Server) {
        let Ok(disk) = rustix::fs::statvfs(&self.data) else { return };
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        server.stats.set_disk_free_bytes(free_bytes);
        let low = free_bytes < self.reserve_bytes;
        for ledger in server.ledgers.all().values() {
            ledger.set_disk_low(low);
        }
    }
}

fn serve(
    server: &Arc<Server>,
    config: &Config,
    tls: Option<Arc<Tls>>,
    data: &Path,
    every_second: impl Fn() + Send + 'static,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listen = &config.listen;
        let listener = tokio::net::TcpListener::bind(listen)
            .await
            .map_err(|error| Failure::new(format!("cannot listen on {listen}: {error}")))?;
        let address = listener.local_addr()?;
        let asked_to_end = asked_to_end()?;
        every_second();
        announce(server, address, tls.as_deref(), data);
        tokio::spawn(async move {
            let mut seconds = tokio::time::interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                every_second();
            }
        });
        tokio::spawn(keep_last_use(Arc::clone(server)));
        tokio::spawn(audit_when_due(Arc::clone(server), config.audit_interval_s));
        tokio::spawn(keep_certificate(
            tls.clone(),
            Duration::from_millis(config.tls_reload_interval_ms),
        ));
        let router = http::router(Arc::clone(server));
        let around = Around { stats: Arc::clone(&server.stats), clock: Arc::clone(&server.clock) };
        let live = Arc::clone(&server.live);
        let end = async move {
            asked_to_end.await;
            live.end();
        };
        http::serve(listener, router, ServeOptions::from(config), tls, around, end).await?;
        Ok(())
    })
}

/// Starts each ledger's next self-audit when it is due.
async fn audit_when_due(server: Arc<Server>, interval_s: u64) {
    let mut minutes = tokio::time::interval(Duration::from_mins(1));
    loop {
        minutes.tick().await;
        let server = Arc::clone(&server);
        let looked = tokio::task::spawn_blocking(move || {
            for ledger in server.ledgers.all().values() {
                if server.auditor.is_due(ledger.name(), interval_s)
                    && let Err(error) = server.auditor.start(ledger)
                {
                    say!("counterfoil: warning: a self-audit was not started: {error}");
                }
            }
        });
        let _ = looked.await;
    }
}

/// Writes down once a minute when each key was last used; what a crash loses of it is a minute.
async fn keep_last_use(server: Arc<Server>) {
    let mut minutes = tokio::time::interval(Duration::from_mins(1));
    loop {
        minutes.tick().await;
        let server = Arc::clone(&server);
        let saved = tokio::task::spawn_blocking(move || server.keys.save_last_use()).await;
        if let Ok(Err(error)) = saved {
            say!("counterfoil: warning: when keys were last used was not written: {error}");
        }
    }
}

/// Looks at the certificate's files now and then, and when SIGHUP asks for it. Without TLS, SIGHUP does
/// nothing, rather than ending the server.
async fn keep_certificate(tls: Option<Arc<Tls>>, every: Duration) {
    let Ok(mut asked) = signal(SignalKind::hangup()) else { return };
    let mut turns = tokio::time::interval(every);
    let mut complaint = String::new();
    loop {
        let by_signal = tokio::select! {
            _ = turns.tick() => false,
            _ = asked.recv() => true,
        };
        let Some(tls) = tls.clone() else { continue };
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(Ok(true)) => {
                complaint.clear();
                say!("counterfoil: the TLS certificate was replaced");
            }
            Ok(Ok(false)) if by_signal => say!("counterfoil: the TLS files have not changed"),
            // The same fault is named once, and again to whoever asks by a signal.
            Ok(Err(error)) if by_signal || error.to_string() != complaint => {
                complaint = error.to_string();
                say!("counterfoil: warning: {error}; the certificate in use stays in use");
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Says where the server listens and how to use it. The address line goes to standard output, so
/// that a script can wait for it.
fn announce(server: &Server, address: SocketAddr, tls: Option<&Tls>, data: &Path) {
    let scheme = if tls.is_some() { "https" } else { "http" };
    // Whoever started the server need not read where it listens.
    let _ = write_output(None, format!("{scheme}://{address}").as_bytes());
    if let Some(warning) = tls.and_then(Tls::warning) {
        say!("counterfoil: warning: {warning}");
    }
    if tls.is_none() && !address.ip().is_loopback() {
        say!(
            "counterfoil: warning: API keys and events cross the network unencrypted; set tls_cert_file \
             and tls_key_file, or listen on 127.0.0.1 behind a proxy that speaks TLS"
        );
    }
    for ledger in server.ledgers.all().values() {
        say!("Ledger {}, verifier key:", ledger.name());
        say!("  {}", ledger.verifier());
    }
    let key = data.join(ADMIN_KEY_FILE);
    say!("Append an event:");
    say!(
        "  curl {scheme}://{address}/v1/ledgers/main/events -H \"Authorization: Bearer $(cat {})\" \\\n    \
         -H 'Content-Type: application/json' -d '{{\"id\":\"e1\",\"org\":\"acme\",\"producer\":\"crm\",\
         \"type\":\"data.deleted\",\"at\":\"2026-01-31T09:00:00Z\",\"subject\":\"s1\",\"holder\":\"self\",\
         \"complete\":true,\"method\":\"automatic\"}}'",
        key.display()
    );
}

/// Waits for SIGINT or SIGTERM. They are caught from this call on, not only once it is waited for.
///
/// # Errors
/// Where the operating system does not let them be caught.
fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        say!("counterfoil: ending; requests under way are finished");
    })
}
