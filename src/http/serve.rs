//! The accept loop: bounded connections, a time to send headers in, and a graceful end.
//!
//! In scope: TCP connections of HTTP/1.1. Out of scope: what is served. Invariants: a client that
//! sends nothing costs a connection slot for a bounded time; ending waits for requests under way.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Bounds of the accept loop.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Open connections at most; further ones wait in the listen queue.
    pub connections_max: usize,
    /// Milliseconds in which a request's headers must arrive.
    pub headers_timeout_ms: u64,
    /// Milliseconds that requests under way get when the server ends.
    pub drain_timeout_ms: u64,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { connections_max: 4_096, headers_timeout_ms: 30_000, drain_timeout_ms: 10_000 }
    }
}

/// Serves `router` on `listener` until `end` resolves, then lets requests under way finish.
///
/// # Errors
/// What the listener reports besides errors of single connections.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(options.connections_max));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(options.headers_timeout_ms))
        .keep_alive(true);
    tokio::pin!(end);
    loop {
        let slot = tokio::select! {
            () = &mut end => break,
            slot = Arc::clone(&slots).acquire_owned() => slot.map_err(io::Error::other)?,
        };
        let stream = tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(_) => {
                    // Out of descriptors or memory: waiting lets other connections end.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            let _ = connection.await;
            drop(slot);
        });
    }
    drop(listener);
    let _ =
        tokio::time::timeout(Duration::from_millis(options.drain_timeout_ms), graceful.shutdown()).await;
    Ok(())
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
