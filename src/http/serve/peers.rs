//! Connections per peer address.
//!
//! In scope: counting them, and turning away a peer that has too many. Out of scope: requests.
//! Invariants: the table has no more rows than there are connections; turning a peer away costs a
//! bounded number of connections for a bounded time.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Connections that are being told of their refusal at once at most; further ones are only closed.
const REFUSALS_MAX: usize = 64;

/// How long a refused client gets to finish sending, so that closing does not destroy the answer.
const REFUSAL_LINGER: Duration = Duration::from_millis(500);

/// What a refused client is told. It stands in front of the routes, so that it is written by hand; the
/// problem type is `overloaded`.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
    cache-control: no-store\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 228\r\n\r\n\
    {\"type\":\"urn:counterfoil:problem:overloaded\",\"title\":\"More requests are waiting than the \
    server accepts\",\"status\":503,\"code\":\"overloaded\",\"detail\":\"this address has as many \
    connections open as one address may have; close some\"}\n";

/// The counts.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    /// Connections per address at most; none for no such limit.
    connections_max: Option<usize>,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    refusals: Arc<Semaphore>,
}

/// One connection in the counts.
#[derive(Debug)]
pub(super) struct PeerSlot {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    /// No limit where `connections_max` is 0.
    pub(super) fn new(connections_max: usize) -> Self {
        Self {
            connections_max: Some(connections_max).filter(|max| *max > 0),
            counts: Arc::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        }
    }

    /// Counts a connection; none where its peer has as many as it may have.
    pub(super) fn enter(&self, peer: IpAddr) -> Option<PeerSlot> {
        let peer = group(peer);
        if let Some(max) = self.connections_max {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(peer).or_insert(0);
            if *count >= max {
                return None;
            }
            *count += 1;
        }
        Some(PeerSlot { peers: self.clone(), peer })
    }

    /// Tells a client that it has too many connections, and closes this one.
    pub(super) fn refuse(&self, stream: TcpStream, tls: bool) {
        let Ok(turn) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        if tls || !stream.try_write(REFUSAL).is_ok_and(|written| written == REFUSAL.len()) {
            return;
        }
        tokio::spawn(async move {
            let _ = tokio::time::timeout(REFUSAL_LINGER, read_to_end(&stream)).await;
            drop(turn);
        });
    }
}

impl Drop for PeerSlot {
    fn drop(&mut self) {
        let mut counts = self.peers.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// Reads and forgets until the client is done.
async fn read_to_end(stream: &TcpStream) {
    let mut ignored = [0_u8; 1024];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut ignored) {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

/// The address that limits are counted for: an IPv4 address, or the /64 that one customer has of IPv6.
pub(crate) fn group(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_gets_its_slots_and_no_more() {
        let peers = Peers::new(2);
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2:1".parse().unwrap();
        let first = peers.enter(one).unwrap();
        let _second = peers.enter(neighbour).unwrap();
        assert!(peers.enter(one).is_none(), "the same /64");
        assert!(peers.enter("192.0.2.1".parse().unwrap()).is_some());
        drop(first);
        assert!(peers.enter(neighbour).is_some());
        assert!(Peers::new(0).enter(one).is_some());
        assert_eq!(group("::ffff:192.0.2.1".parse().unwrap()).to_string(), "192.0.2.1");
    }

    #[test]
    fn the_refusal_is_a_whole_answer() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "it has {}", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        let kind = crate::http::problem::OVERLOADED;
        assert_eq!(problem["title"], kind.title);
        assert_eq!(problem["code"], kind.slug);
    }
}
