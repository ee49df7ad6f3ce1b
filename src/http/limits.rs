//! Rates: token buckets per API key and per address, and the guessing of keys.
//!
//! In scope: who may make how many requests and append how many events, and when to come back. Out of
//! scope: connections ([`super::serve`]). Invariants: the tables are bounded whatever addresses and keys
//! come; a bucket is one number, so that keeping it costs as much as counting; no answer says more about
//! a key than that it is limited.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderValue;

use crate::clock::Clock;
use crate::config::Config;

use super::keys::KEYS_MAX;
use super::problem::{self, Problem};

/// Addresses whose buckets are kept at most, twice over: 2 × 32,768 × about 40 bytes is under 3 MiB. Whoever
/// has more addresses than that is not held up by counting them.
const PEERS_MAX: usize = 32_768;

const SECOND_NS: u64 = 1_000_000_000;

/// A rate and how much of it may be used at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    /// Nanoseconds in which one token comes.
    token_ns: u64,
    /// Tokens of a full bucket.
    burst: u64,
}

/// When a bucket will be full again: all there is to know about it. A moment in the past is a full one.
type FullAtNs = u64;

impl Rate {
    /// None for a rate of 0, which is no limit.
    fn per_second(tokens: u64, burst_s: u64) -> Option<Self> {
        (tokens > 0)
            .then(|| Self { token_ns: SECOND_NS / tokens, burst: tokens.saturating_mul(burst_s) })
    }

    fn per_minute(tokens: u64) -> Option<Self> {
        (tokens > 0).then(|| Self { token_ns: 60 * SECOND_NS / tokens, burst: tokens })
    }

    fn whole_ns(self) -> u64 {
        self.token_ns.saturating_mul(self.burst)
    }

    /// Takes `tokens`, or says in how many nanoseconds they will be there. More than a full bucket holds is
    /// given by a full bucket alone, and leaves a debt that is paid before the next token.
    fn take(self, bucket: &mut FullAtNs, now_ns: u64, tokens: u64) -> Result<(), u64> {
        let full_at = (*bucket).max(now_ns);
        let after = full_at.saturating_add(self.token_ns.saturating_mul(tokens));
        let allowed = now_ns.saturating_add(self.whole_ns().max(self.token_ns.saturating_mul(tokens)));
        if after > allowed {
            return Err(after - allowed);
        }
        *bucket = after;
        Ok(())
    }

    /// Tokens that are there, and the seconds until the bucket is full.
    fn state(self, bucket: FullAtNs, now_ns: u64) -> (u64, u64) {
        let lacking_ns = bucket.saturating_sub(now_ns);
        let there = self.whole_ns().saturating_sub(lacking_ns) / self.token_ns.max(1);
        (there, lacking_ns.div_ceil(SECOND_NS))
    }
}

/// A table that forgets: when it is full the older half goes. Which entries are older is known only to
/// within half the table, which is enough and costs nothing.
#[derive(Debug)]
struct Forgetful<K> {
    entries_max: usize,
    newer: HashMap<K, FullAtNs>,
    older: HashMap<K, FullAtNs>,
}

impl<K: Hash + Eq + Copy> Forgetful<K> {
    fn new(entries_max: usize) -> Self {
        Self { entries_max, newer: HashMap::new(), older: HashMap::new() }
    }

    fn get(&self, key: K) -> FullAtNs {
        self.newer.get(&key).or_else(|| self.older.get(&key)).copied().unwrap_or(0)
    }

    fn entry(&mut self, key: K) -> &mut FullAtNs {
        if self.newer.len() >= self.entries_max && !self.newer.contains_key(&key) {
            self.older = std::mem::take(&mut self.newer);
        }
        let known = self.older.remove(&key).unwrap_or(0);
        self.newer.entry(key).or_insert(known)
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The holder of the API key with this number.
    Key(u32),
    /// Whoever calls without a key from this address.
    Address(IpAddr),
}

/// Who tries keys: an address and the number of the key that it claims to have, none for a key that is not
/// known. So whoever has a good key is not held up by others at its address who have none.
pub(crate) type Guesser = (IpAddr, Option<u32>);

#[derive(Debug)]
struct Tables {
    requests: Forgetful<u32>,
    events: Forgetful<u32>,
    public: Forgetful<IpAddr>,
    failures: Forgetful<Guesser>,
}

/// The limits of a server.
#[derive(Debug)]
pub(crate) struct Limits {
    clock: Arc<dyn Clock>,
    requests: Option<Rate>,
    events: Option<Rate>,
    public: Option<Rate>,
    failures: Option<Rate>,
    tables: Mutex<Tables>,
}

impl Limits {
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        let rate = |tokens| Rate::per_second(tokens, config.rate_burst_s);
        let tables = Tables {
            requests: Forgetful::new(KEYS_MAX),
            events: Forgetful::new(KEYS_MAX),
            public: Forgetful::new(PEERS_MAX),
            failures: Forgetful::new(PEERS_MAX),
        };
        Self {
            clock,
            requests: rate(config.rate_requests_per_s),
            events: rate(config.rate_events_per_s),
            public: rate(config.rate_public_per_s),
            failures: Rate::per_minute(config.key_failures_per_minute),
            tables: Mutex::new(tables),
        }
    }

    fn now_ns(&self) -> u64 {
        self.clock.monotonic_us().saturating_mul(1_000)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request.
    pub(crate) fn request(&self, caller: Caller) -> Result<(), Problem> {
        let rate = match caller {
            Caller::Key(_) => self.requests,
            Caller::Address(_) => self.public,
        };
        let Some(rate) = rate else { return Ok(()) };
        let now_ns = self.now_ns();
        let mut tables = self.tables();
        let bucket = match caller {
            Caller::Key(number) => tables.requests.entry(number),
            Caller::Address(address) => tables.public.entry(address),
        };
        rate.take(bucket, now_ns, 1).map_err(|wait_ns| limited("requests", wait_ns))
    }

    /// Counts the events of a request before they are appended.
    pub(crate) fn events(&self, number: u32, count: usize) -> Result<(), Problem> {
        let Some(rate) = self.events else { return Ok(()) };
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let now_ns = self.now_ns();
        let mut tables = self.tables();
        rate.take(tables.events.entry(number), now_ns, count)
            .map_err(|wait_ns| limited("events", wait_ns))
    }

    /// Whether a key may be looked at.
    pub(crate) fn may_try_key(&self, guesser: Guesser) -> Result<(), Problem> {
        let Some(rate) = self.failures else { return Ok(()) };
        let mut bucket = self.tables().failures.get(guesser);
        rate.take(&mut bucket, self.now_ns(), 1).map_err(|wait_ns| {
            let detail = "too many wrong API keys have come from this address lately";
            Problem::new(problem::RATE_LIMITED, detail).retry_after_s(wait_ns.div_ceil(SECOND_NS))
        })
    }

    /// Counts a wrong key.
    pub(crate) fn key_failed(&self, guesser: Guesser) {
        if let Some(rate) = self.failures {
            let now_ns = self.now_ns();
            let _ = rate.take(self.tables().failures.entry(guesser), now_ns, 1);
        }
    }

    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers) for a caller; none
    /// where nothing limits it.
    pub(crate) fn headers(&self, caller: Caller) -> Option<(HeaderValue, HeaderValue)> {
        let is_limited = match caller {
            Caller::Key(_) => self.requests.is_some() || self.events.is_some(),
            Caller::Address(_) => self.public.is_some(),
        };
        if !is_limited {
            return None;
        }
        let now_ns = self.now_ns();
        let (mut policy, mut state) = (String::new(), String::new());
        let mut add = |name: &str, rate: Option<Rate>, bucket: FullAtNs| {
            let Some(rate) = rate else { return };
            let comma = if policy.is_empty() { "" } else { ", " };
            let window_s = rate.whole_ns().div_ceil(SECOND_NS).max(1);
            let _ = write!(policy, "{comma}\"{name}\";q={};w={window_s}", rate.burst);
            let (there, full_in_s) = rate.state(bucket, now_ns);
            let _ = write!(state, "{comma}\"{name}\";r={there};t={full_in_s}");
        };
        let tables = self.tables();
        match caller {
            Caller::Key(number) => {
                add("requests", self.requests, tables.requests.get(number));
                add("events", self.events, tables.events.get(number));
            }
            Caller::Address(address) => add("requests", self.public, tables.public.get(address)),
        }
        drop(tables);
        let parsed = HeaderValue::from_str(&policy).ok().zip(HeaderValue::from_str(&state).ok());
        parsed.filter(|(policy, _)| !policy.is_empty())
    }
}

fn limited(what: &str, wait_ns: u64) -> Problem {
    let detail = format!("the limit of {what} is reached; nothing of this request was stored");
    Problem::new(problem::RATE_LIMITED, detail).retry_after_s(wait_ns.div_ceil(SECOND_NS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FixedClock;

    fn limits(change: impl FnOnce(&mut Config)) -> (Arc<FixedClock>, Limits) {
        let clock = Arc::new(FixedClock::at(1_000_000_000));
        let mut config = Config { rate_burst_s: 2, ..Config::default() };
        change(&mut config);
        let limits = Limits::new(&config, Arc::clone(&clock) as Arc<dyn Clock>);
        (clock, limits)
    }

    fn wait_s(refused: Result<(), Problem>) -> u64 {
        refused.unwrap_err().to_json()["retry_after_s"].as_u64().unwrap()
    }

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let (clock, limits) = limits(|config| config.rate_requests_per_s = 5);
        for _ in 0..10 {
            limits.request(Caller::Key(1)).unwrap();
        }
        assert_eq!(wait_s(limits.request(Caller::Key(1))), 1);
        limits.request(Caller::Key(2)).unwrap();
        let (policy, state) = limits.headers(Caller::Key(1)).unwrap();
        assert_eq!(policy, r#""requests";q=10;w=2"#);
        assert_eq!(state, r#""requests";r=0;t=2"#);
        clock.set(1_000_200_000);
        limits.request(Caller::Key(1)).unwrap();
        assert!(limits.request(Caller::Key(1)).is_err());
        clock.set(1_900_000_000);
        assert_eq!(limits.headers(Caller::Key(1)).unwrap().1, r#""requests";r=10;t=0"#);
    }

    #[test]
    fn a_batch_larger_than_the_bucket_goes_into_debt() {
        let (clock, limits) = limits(|config| config.rate_events_per_s = 10);
        limits.events(1, 1).unwrap();
        assert_eq!(wait_s(limits.events(1, 100)), 1, "the bucket is not full");
        clock.set(1_000_100_000);
        limits.events(1, 100).unwrap();
        assert_eq!(wait_s(limits.events(1, 1)), 9, "80 tokens of debt and one");
        assert_eq!(limits.headers(Caller::Key(1)).unwrap().1, r#""events";r=0;t=10"#);
        clock.set(1_008_300_000);
        limits.events(1, 1).unwrap();
        assert!(limits.events(2, 20).is_ok() && limits.events(2, 1).is_err());
    }

    #[test]
    fn wrong_keys_are_counted_per_address_and_claim() {
        let (clock, limits) = limits(|config| config.key_failures_per_minute = 3);
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..3 {
            limits.may_try_key((one, None)).unwrap();
            limits.key_failed((one, None));
        }
        assert_eq!(wait_s(limits.may_try_key((one, None))), 20);
        limits.may_try_key((other, None)).unwrap();
        limits.may_try_key((one, Some(1))).unwrap();
        clock.set(1_020_000_000);
        limits.may_try_key((one, None)).unwrap();
    }

    #[test]
    fn without_limits_nothing_is_counted_or_said() {
        let (_, limits) = limits(|config| {
            (config.rate_public_per_s, config.key_failures_per_minute) = (0, 0);
        });
        let address = "2001:db8::".parse().unwrap();
        for _ in 0..100 {
            limits.request(Caller::Address(address)).unwrap();
            limits.key_failed((address, None));
            limits.may_try_key((address, None)).unwrap();
        }
        assert_eq!(limits.headers(Caller::Address(address)), None);
    }

    #[test]
    fn tables_are_bounded_and_keep_what_is_in_use() {
        let mut table = Forgetful::new(10);
        for number in 0..1_000_u32 {
            *table.entry(number) = 7;
            assert_eq!(*table.entry(0), 7, "used all the time");
        }
        assert!(table.newer.len() <= 10 && table.older.len() <= 10);
        assert_eq!(table.get(1), 0);
    }
}
