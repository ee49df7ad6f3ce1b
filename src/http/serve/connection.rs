//! One connection on a clock: how long it may wait, send headers, and leave an answer unread.
//!
//! In scope: what a connection is doing and since when. Out of scope: bodies, which answer 408
//! ([`super::slow`]). Invariant: a connection whose client does nothing ends within twice the limit of
//! what it is waiting for.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Clock;

/// How long a connection may be in each state.
#[derive(Debug, Clone)]
pub(super) struct Timeouts {
    /// Waiting for the next request.
    pub(super) idle: Duration,
    /// Within the headers of a request.
    pub(super) headers: Duration,
    /// With an answer that the client does not take.
    pub(super) write: Duration,
}

impl Timeouts {
    fn shortest(&self) -> Duration {
        self.idle.min(self.headers).min(self.write)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte of a request has come.
    Waiting,
    /// Some bytes of a request have come, its headers are not complete.
    Headers,
    /// A request is being answered.
    Busy,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since_us: u64,
    write_waits_since_us: Option<u64>,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl Watch {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let since_us = clock.monotonic_us();
        let state = State { phase: Phase::Waiting, since_us, write_waits_since_us: None };
        Self { clock, state: Mutex::new(state) }
    }

    fn change(&self, change: impl FnOnce(&mut State, u64)) {
        let now_us = self.clock.monotonic_us();
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), now_us);
    }

    fn enter(&self, phase: Phase) {
        self.change(|state, now_us| {
            state.phase = phase;
            state.since_us = now_us;
        });
    }

    /// A request's headers are complete.
    pub(super) fn request_begins(&self) {
        self.enter(Phase::Busy);
    }

    /// The answer has been handed to the connection.
    pub(super) fn answer_ends(&self) {
        self.enter(Phase::Waiting);
    }

    fn bytes_came(&self) {
        self.change(|state, now_us| {
            if state.phase == Phase::Waiting {
                state.phase = Phase::Headers;
                state.since_us = now_us;
            }
        });
    }

    fn write_waits(&self, waits: bool) {
        self.change(|state, now_us| {
            state.write_waits_since_us = waits.then(|| state.write_waits_since_us.unwrap_or(now_us));
        });
    }

    /// How long the connection may go on as it does; none where its time is up.
    fn remaining(&self, timeouts: &Timeouts) -> Option<Duration> {
        let now_us = self.clock.monotonic_us();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |since_us: u64, limit: Duration| {
            limit.checked_sub(Duration::from_micros(now_us.saturating_sub(since_us)))
        };
        let phase = match state.phase {
            Phase::Waiting => left(state.since_us, timeouts.idle)?,
            Phase::Headers => left(state.since_us, timeouts.headers)?,
            Phase::Busy => timeouts.shortest(),
        };
        let write = match state.write_waits_since_us {
            Some(since_us) => left(since_us, timeouts.write)?,
            None => timeouts.shortest(),
        };
        Some(phase.min(write).min(timeouts.shortest()).max(LOOK_AFTER_MIN))
    }

    /// Runs a connection until it ends or its time is up.
    pub(super) async fn drive(&self, connection: impl Future, timeouts: &Timeouts) {
        tokio::pin!(connection);
        while let Some(remaining) = self.remaining(timeouts) {
            tokio::select! {
                biased;
                _ = &mut connection => return,
                () = tokio::time::sleep(remaining) => {}
            }
        }
    }
}

/// Pause between two looks at a connection at least, so that rounding cannot make it spin.
const LOOK_AFTER_MIN: Duration = Duration::from_millis(5);

/// A stream that tells its [`Watch`] what happens.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) watch: Arc<Watch>,
}

impl<S> Watched<S> {
    fn note<T>(&self, result: Poll<T>) -> Poll<T> {
        self.watch.write_waits(result.is_pending());
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.watch.bytes_came();
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.note(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.note(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FixedClock;

    #[test]
    fn each_state_has_its_own_limit() {
        let clock = Arc::new(FixedClock::at(0));
        let watch = Watch::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let seconds = Duration::from_secs;
        let timeouts = Timeouts { idle: seconds(60), headers: seconds(10), write: seconds(20) };
        let at = |s: u64| clock.set(s * 1_000_000);
        let alive = || watch.remaining(&timeouts).is_some();
        at(59);
        assert!(alive(), "idle");
        watch.bytes_came();
        at(68);
        watch.bytes_came();
        assert!(alive(), "within headers");
        at(70);
        assert!(!alive(), "dripping does not prolong it");
        watch.request_begins();
        at(1_000);
        assert!(alive(), "a busy request has all the time that its handler takes");
        watch.write_waits(true);
        at(1_019);
        watch.write_waits(true);
        assert!(alive());
        at(1_021);
        assert!(!alive(), "an answer left unread");
        watch.write_waits(false);
        watch.answer_ends();
        assert!(alive());
        at(1_082);
        assert!(!alive(), "idle again");
    }
}
