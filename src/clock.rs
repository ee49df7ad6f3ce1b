//! Time and randomness: the only module that asks the operating system for either.
//!
//! In scope: the wall clock, the monotonic clock, random bytes. Out of scope: calendars and
//! formats. Invariant: every other module takes what it needs of these as a parameter or calls
//! this module, so that a test can replace the clock and `clippy.toml` can ban the rest.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync + Debug {
    /// Wall-clock time in microseconds since 1970-01-01T00:00:00Z; 0 for earlier times.
    fn now_us(&self) -> u64;
    /// Microseconds on a clock that never steps back, from an arbitrary start.
    fn monotonic_us(&self) -> u64;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this module is where clocks are read")]
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this module is where clocks are read")]
    fn now_us(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros)
    }

    fn monotonic_us(&self) -> u64 {
        micros(self.start.elapsed())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A clock that stands where it is put, for tests and for judging files at a given time.
#[derive(Debug, Default)]
pub struct FixedClock {
    now_us: AtomicU64,
}

impl FixedClock {
    /// A clock that reads `now_us`.
    #[must_use]
    pub fn at(now_us: u64) -> Self {
        Self { now_us: AtomicU64::new(now_us) }
    }

    /// Moves the clock to `now_us`, forwards or backwards.
    pub fn set(&self, now_us: u64) {
        self.now_us.store(now_us, Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now_us(&self) -> u64 {
        self.now_us.load(Ordering::SeqCst)
    }

    fn monotonic_us(&self) -> u64 {
        self.now_us()
    }
}

/// The operating system refused to give random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes; a ledger cannot make keys without them")]
pub struct RandomError;

/// Fills `bytes` from the operating system's random number generator.
///
/// # Errors
/// [`RandomError`] where the operating system has no generator to offer.
#[allow(clippy::disallowed_methods, reason = "this module is where randomness is read")]
pub fn random_fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(bytes).map_err(|_| RandomError)
}

/// A new identifier in the form of a UUID of version 7 (RFC 9562 section 5.7): 48 bits of `now_us` in
/// milliseconds, 74 random bits. A million made in one millisecond agree with odds of 2^-35.
///
/// # Errors
/// [`RandomError`] where the operating system has no generator to offer.
pub fn new_id(now_us: u64) -> Result<String, RandomError> {
    let mut bytes = [0; 16];
    random_fill(&mut bytes)?;
    let time = (now_us / 1_000).to_be_bytes();
    for (byte, of_time) in bytes.iter_mut().zip(time.iter().skip(2)) {
        *byte = *of_time;
    }
    for (at, fixed, kept) in [(6, 0x70, 0x0f), (8, 0x80, 0x3f)] {
        if let Some(byte) = bytes.get_mut(at) {
            *byte = fixed | (*byte & kept);
        }
    }
    let hex = hex::encode(bytes);
    let parts = [hex.get(..8), hex.get(8..12), hex.get(12..16), hex.get(16..20), hex.get(20..)];
    Ok(parts.map(Option::unwrap_or_default).join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_version_7_and_sort_by_time() {
        let early = new_id(1_795_312_090_000_000).unwrap();
        let late = new_id(1_795_312_091_000_000).unwrap();
        assert!(early < late && early.len() == 36, "{early}");
        let at = |place: usize| early.as_bytes()[place];
        assert_eq!((at(8), at(14)), (b'-', b'7'), "{early}");
        assert!(matches!(at(19), b'8' | b'9' | b'a' | b'b'), "{early}");
        assert_ne!(new_id(0).unwrap(), new_id(0).unwrap());
    }
}
