//! Request bodies on a clock and on a budget.
//!
//! In scope: pauses within a body, the time for the whole, and memory for all bodies under way. Out of
//! scope: the limit of one body and what is in it ([`crate::http`]'s `body`). Invariant: what is taken
//! from the budget goes back when the request is answered or given up, whatever became of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

/// Bytes that a compressed body is counted as from its start: 8 MiB of content at most, and a window
/// of 8 MiB at most to unpack it with.
const COMPRESSED_BYTES: u64 = 16 << 20;

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// Nothing came for too long.
    #[error("nothing of the body came for {0} ms")]
    Paused(u128),
    /// The whole took too long.
    #[error("the body was not complete after {0} ms")]
    TooLong(u128),
    /// Other requests' bodies take all the memory that bodies may take.
    #[error("the bodies of requests under way take all the memory there is for them")]
    NoMemory,
    /// The connection broke.
    #[error("the body ended before its announced length")]
    CutOff,
}

/// Memory for the bodies of all requests.
#[derive(Debug)]
pub(super) struct BodyMemory {
    bytes_max: u64,
    used: AtomicU64,
}

impl BodyMemory {
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, used: AtomicU64::new(0) })
    }
}

/// Limits of every body.
#[derive(Debug, Clone)]
pub(super) struct BodyLimits {
    pub(super) pause: Duration,
    pub(super) total: Duration,
    pub(super) memory: Arc<BodyMemory>,
}

/// What one request has of the memory.
#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<BodyMemory>,
    taken: AtomicU64,
}

impl Share {
    pub(super) fn of(memory: &Arc<BodyMemory>) -> Arc<Self> {
        Arc::new(Self { memory: Arc::clone(memory), taken: AtomicU64::new(0) })
    }

    fn take(&self, bytes: u64) -> Result<(), BodyError> {
        let fits = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.memory.bytes_max);
        match self.memory.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits) {
            Ok(_) => {
                self.taken.fetch_add(bytes, Ordering::SeqCst);
                Ok(())
            }
            Err(_) => Err(BodyError::NoMemory),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(*self.taken.get_mut(), Ordering::SeqCst);
    }
}

/// A body that ends with an error where it comes too slowly.
#[derive(Debug)]
pub(super) struct SlowBody {
    inner: Incoming,
    limits: BodyLimits,
    share: Arc<Share>,
    compressed: bool,
    total: Option<Pin<Box<Sleep>>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl SlowBody {
    pub(super) fn new(inner: Incoming, limits: BodyLimits, share: Arc<Share>, compressed: bool) -> Self {
        Self { inner, limits, share, compressed, total: None, pause: None }
    }

    fn poll_limits(&mut self, context: &mut Context<'_>) -> Option<BodyError> {
        let BodyLimits { pause, total, .. } = self.limits;
        let waiting = self.pause.get_or_insert_with(|| Box::pin(sleep(pause)));
        if waiting.as_mut().poll(context).is_ready() {
            return Some(BodyError::Paused(pause.as_millis()));
        }
        let whole = self.total.get_or_insert_with(|| Box::pin(sleep(total)));
        whole.as_mut().poll(context).is_ready().then_some(BodyError::TooLong(total.as_millis()))
    }
}

impl Body for SlowBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if std::mem::take(&mut self.compressed) {
            self.share.take(COMPRESSED_BYTES)?;
        }
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Pending => match self.poll_limits(context) {
                Some(error) => Poll::Ready(Some(Err(error))),
                None => Poll::Pending,
            },
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(BodyError::CutOff))),
            Poll::Ready(Some(Ok(frame))) => {
                self.pause = None;
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.share.take(u64::try_from(bytes).unwrap_or(u64::MAX))?;
                // A body that is always ready never waits, and still must not go on for ever.
                let over = self.total.as_mut().is_some_and(|total| total.is_elapsed());
                if over {
                    let total_ms = self.limits.total.as_millis();
                    return Poll::Ready(Some(Err(BodyError::TooLong(total_ms))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_and_never_overdrawn() {
        let memory = BodyMemory::new(100);
        let (first, second) = (Share::of(&memory), Share::of(&memory));
        assert_eq!(first.take(60), Ok(()));
        assert_eq!(second.take(41), Err(BodyError::NoMemory));
        assert_eq!(second.take(40), Ok(()));
        drop(first);
        assert_eq!(second.take(60), Ok(()));
        assert_eq!(second.take(u64::MAX), Err(BodyError::NoMemory));
        drop(second);
        assert_eq!(memory.used.load(Ordering::SeqCst), 0);
    }
}
