//! The accept loop: bounded connections, handshakes, headers and waits, and a graceful end.
//!
//! In scope: TCP connections of HTTP/1.1, with TLS or without. Out of scope: what is served, and limits
//! that depend on the caller ([`super::limits`]). Invariants: whatever a client sends or leaves out, its
//! connection costs a bounded amount of memory for a bounded time; a full house leaves newcomers in the
//! listen queue and serves those inside; ending waits for requests under way.

mod connection;
mod peers;
mod request;
pub(super) mod slow;
mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::clock::Clock;
use crate::config::Config;
use crate::http::stats::{Open, ServerStats};

use connection::{Timeouts, Watch, Watched};
use peers::{PeerSlot, Peers};
use request::Requests;
use slow::{BodyLimits, BodyMemory};

pub(crate) use peers::group as peer_group;
pub(crate) use request::Peer;
pub use tls::{Tls, TlsError};

/// Bytes of a request's line and headers at most; hyper answers 431 beyond it. The `ce-` headers of an
/// event take 2 KiB at most.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// Bytes that a connection buffers at most: headers, and some more of a body at once than a packet has.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Bounds of the accept loop. The settings of the same names say what each is for.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    connections_max: usize,
    connections_per_peer_max: usize,
    handshake_timeout: Duration,
    drain_timeout: Duration,
    timeouts: Timeouts,
    body: BodyLimits,
}

impl From<&Config> for ServeOptions {
    fn from(config: &Config) -> Self {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            connections_max: count(config.connections_max),
            connections_per_peer_max: count(config.connections_per_peer_max),
            handshake_timeout: Duration::from_millis(config.tls_handshake_timeout_ms),
            drain_timeout: Duration::from_millis(config.drain_timeout_ms),
            timeouts: Timeouts {
                idle: Duration::from_millis(config.idle_timeout_ms),
                headers: Duration::from_millis(config.headers_timeout_ms),
                write: Duration::from_millis(config.write_timeout_ms),
            },
            body: BodyLimits {
                pause: Duration::from_millis(config.body_timeout_ms),
                total: Duration::from_millis(config.body_total_timeout_ms),
                memory: BodyMemory::new(config.body_memory_bytes),
            },
        }
    }
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

/// What the accept loop needs besides its bounds.
#[derive(Debug, Clone)]
pub struct Around {
    /// Counts connections.
    pub stats: Arc<ServerStats>,
    /// Time, for the limits of waiting.
    pub clock: Arc<dyn Clock>,
}

/// What every connection of a server shares.
#[derive(Debug)]
struct Shared {
    http: http1::Builder,
    router: Router,
    options: ServeOptions,
    tls: Option<Arc<Tls>>,
    clock: Arc<dyn Clock>,
}

/// What a connection holds until it ends.
#[derive(Debug)]
struct Held {
    _slot: OwnedSemaphorePermit,
    _peer: PeerSlot,
    _counted: Open,
}

/// Serves `router` on `listener` until `end` resolves, then lets requests under way finish.
///
/// # Errors
/// What the listener reports besides errors of single connections.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    tls: Option<Arc<Tls>>,
    around: Around,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let Around { stats, clock } = around;
    stats.set_connections_max(options.connections_max);
    let slots = Arc::new(Semaphore::new(options.connections_max.min(Semaphore::MAX_PERMITS)));
    let peers = Peers::new(options.connections_per_peer_max);
    let graceful = GracefulShutdown::new();
    let (ending, ended) = watch::channel(());
    let drain_timeout = options.drain_timeout;
    let shared = Arc::new(Shared { http: http(), router, options, tls, clock });
    tokio::pin!(end);
    loop {
        let slot = tokio::select! {
            () = &mut end => break,
            slot = Arc::clone(&slots).acquire_owned() => slot.map_err(io::Error::other)?,
        };
        let (stream, address) = tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(_) => {
                    // Out of descriptors or memory: waiting lets other connections end.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let Some(peer) = peers.enter(address.ip()) else {
            stats.refuse_connection();
            peers.refuse(stream, shared.tls.is_some());
            continue;
        };
        let held = Held { _slot: slot, _peer: peer, _counted: stats.connection() };
        let watcher = graceful.watcher();
        tokio::spawn(run(Arc::clone(&shared), stream, address, watcher, ended.clone(), held));
    }
    drop(listener);
    let _ = ending.send(());
    let _ = tokio::time::timeout(drain_timeout, graceful.shutdown()).await;
    Ok(())
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // Waiting for a request and sending one have limits of their own, see `connection`. hyper itself
    // answers 431 to more than 100 headers.
    http.timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .keep_alive(true);
    http
}

/// One connection, from its handshake to its end.
async fn run(
    shared: Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    watcher: Watcher,
    mut ended: watch::Receiver<()>,
    held: Held,
) {
    let _ = stream.set_nodelay(true);
    match &shared.tls {
        None => converse(&shared, stream, address, watcher).await,
        Some(tls) => {
            let limited = tokio::time::timeout(shared.options.handshake_timeout, tls.accept(stream));
            let handshake = tokio::select! {
                done = limited => done.ok(),
                _ = ended.changed() => None,
            };
            if let Some(Ok(stream)) = handshake {
                converse(&shared, stream, address, watcher).await;
            }
        }
    }
    drop(held);
}

/// The requests and answers of one connection.
async fn converse<S>(shared: &Shared, stream: S, address: SocketAddr, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let watch = Arc::new(Watch::new(Arc::clone(&shared.clock)));
    let requests = Requests {
        router: shared.router.clone(),
        body: shared.options.body.clone(),
        peer: Peer(address.ip().to_canonical()),
        watch: Arc::clone(&watch),
    };
    let io = TokioIo::new(Watched { stream, watch: Arc::clone(&watch) });
    let connection = watcher.watch(shared.http.serve_connection(io, requests));
    watch.drive(connection, &shared.options.timeouts).await;
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
