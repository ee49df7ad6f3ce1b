//! `counterfoil serve`
//!
//! In scope: opening a data directory, listening, ending in good order. Out of scope: what is
//! served. Invariants: one process per data directory; after a failed write the process ends with
//! an error instead of going on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::clock::{Clock, SystemClock};
use crate::config::{CONFIG_FILE, Config};
use crate::http::keys::{ADMIN_KEY_FILE, KeyStore};
use crate::http::{self, ServeOptions, Server, ServerStats};
use crate::ledger::{HostOptions, LedgerError, LedgerOptions, Ledgers};
use crate::store::lock::DirLock;
use crate::store::{DiskStorage, Storage};

use super::{EXIT_ERROR, EXIT_GOOD, Failure, init};

/// Run the server; on an empty directory, `init` it first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil serve --data ./ledger\n  \
    counterfoil serve --data ./ledger --listen 127.0.0.1:0")]
pub(crate) struct ServeArgs {
    /// The data directory.
    #[arg(long, env = "COUNTERFOIL_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Address and port to listen on; port 0 takes a free one. The default is in counterfoil.toml.
    #[arg(long, env = "COUNTERFOIL_LISTEN", value_name = "ADDR")]
    listen: Option<String>,
    /// Origin for a directory that is still empty; see `init`.
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &ServeArgs) -> Result<u8, Failure> {
    std::fs::create_dir_all(&args.data)
        .map_err(|error| Failure::new(format!("{}: {error}", args.data.display())))?;
    let _lock = DirLock::acquire(&args.data)?;
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(&args.data)?);
    if !storage.exists(CONFIG_FILE)? {
        init::create(&args.data, args.origin.as_deref())?;
        eprintln!("Made the ledger `main` in {}.", args.data.display());
    }
    let config = read_config(&*storage, &args.data)?;
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
        clock: Arc::clone(&clock),
        ledger: LedgerOptions {
            publish_interval_ms: config.publish_interval_ms,
            skew_max_ms: config.skew_max_ms,
            ..LedgerOptions::default()
        },
        on_fatal: end_now,
        on_warning: |warning| eprintln!("counterfoil: warning: {warning}"),
    };
    let ledgers = Ledgers::open(host, &config)?;
    let listen = args.listen.clone().unwrap_or(config.listen);
    let server = Arc::new(Server {
        ledgers,
        keys,
        stats: ServerStats::new(&*clock),
        clock,
        live: Arc::default(),
        metrics_public: config.metrics_public,
    });
    let watched = Arc::clone(&server);
    let watch = DiskWatch { data: args.data.clone(), reserve_bytes: config.disk_reserve_bytes };
    serve(&server, &listen, &args.data, move || watch.look(&watched))?;
    server.keys.save_last_use()?;
    server.ledgers.close()?;
    Ok(EXIT_GOOD)
}

/// A ledger whose write failed cannot say what is durable: the process ends, and the next start
/// recovers from what is.
fn end_now(error: &LedgerError) {
    eprintln!("counterfoil: {error}");
    eprintln!(
        "counterfoil: stopping, because nothing more can be promised; mend the cause and start again"
    );
    std::process::exit(i32::from(EXIT_ERROR));
}

/// Reads the settings of a data directory.
pub(crate) fn read_config(storage: &dyn Storage, data: &Path) -> Result<Config, Failure> {
    let bytes = storage.read(CONFIG_FILE)?.ok_or_else(|| {
        Failure::new(format!("{} holds no {CONFIG_FILE}; `counterfoil init` makes one", data.display()))
    })?;
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::new(format!("{CONFIG_FILE} is not UTF-8")))?;
    Config::parse(&text).map_err(|error| Failure::new(format!("{CONFIG_FILE}: {error}")))
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
    listen: &str,
    data: &Path,
    every_second: impl Fn() + Send + 'static,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen)
            .await
            .map_err(|error| Failure::new(format!("cannot listen on {listen}: {error}")))?;
        let address = listener.local_addr()?;
        announce(server, &address.to_string(), data);
        tokio::spawn(async move {
            let mut seconds = tokio::time::interval(std::time::Duration::from_secs(1));
            loop {
                seconds.tick().await;
                every_second();
            }
        });
        tokio::spawn(keep_last_use(Arc::clone(server)));
        let router = http::router(Arc::clone(server));
        let live = Arc::clone(&server.live);
        let end = async move {
            asked_to_end().await;
            live.end();
        };
        http::serve(listener, router, ServeOptions::default(), end).await?;
        Ok(())
    })
}

/// Writes down once a minute when each key was last used; what a crash loses of it is a minute.
async fn keep_last_use(server: Arc<Server>) {
    let mut minutes = tokio::time::interval(std::time::Duration::from_mins(1));
    loop {
        minutes.tick().await;
        let server = Arc::clone(&server);
        let saved = tokio::task::spawn_blocking(move || server.keys.save_last_use()).await;
        if let Ok(Err(error)) = saved {
            eprintln!("counterfoil: warning: when keys were last used was not written: {error}");
        }
    }
}

/// Says where the server listens and how to use it. The address line goes to standard output, so
/// that a script can wait for it.
fn announce(server: &Server, address: &str, data: &Path) {
    println!("http://{address}");
    for ledger in server.ledgers.all().values() {
        eprintln!("Ledger {}, verifier key:", ledger.name());
        eprintln!("  {}", ledger.verifier());
    }
    let key = data.join(ADMIN_KEY_FILE);
    eprintln!("Append an event:");
    eprintln!(
        "  curl http://{address}/v1/ledgers/main/events -H \"Authorization: Bearer $(cat {})\" \\\n    \
         -H 'Content-Type: application/json' -d '{{\"id\":\"e1\",\"org\":\"acme\",\"producer\":\"crm\",\
         \"type\":\"data.deleted\",\"at\":\"2026-01-31T09:00:00Z\",\"subject\":\"s1\",\"holder\":\"self\",\
         \"complete\":true,\"method\":\"automatic\"}}'",
        key.display()
    );
}

async fn asked_to_end() {
    let interrupted = tokio::signal::ctrl_c();
    let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    else {
        let _ = interrupted.await;
        return;
    };
    tokio::select! {
        _ = interrupted => {}
        _ = terminated.recv() => {}
    }
    eprintln!("counterfoil: ending; requests under way are finished");
}
