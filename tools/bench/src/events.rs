//! The events that every peer is sent: the same bytes for all of them.
//!
//! In scope: valid Counterfoil events of about 500 bytes in a pool that is made beforehand, unique ids
//! written into copies of it, numbered histories for the log and query benches. Out of scope: how they are
//! sent. Invariants: every event names a subject and an actor, so each costs Counterfoil two persons' parts,
//! the dearest common kind; ids are unique within a run; the same seed gives the same pool.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use crate::Fallible;

/// Everything before the id. It stands first, so that it is at the same place in every event.
const HEAD: &str = "{\"specversion\":\"1.0\",\"id\":\"";

/// Digits of an id: eight that name the run and twelve that count.
pub(crate) const ID_BYTES: usize = 20;

/// Bodies in the pool: more than there are subjects, 8 MiB in all.
const POOL_EVENTS: u64 = 16_384;

/// The source of every event.
pub(crate) const SOURCE: &str = "bench.example/shop";

/// The type of every event: the only one of the catalogue's that names a subject and an actor.
pub(crate) const TYPE: &str = "data.accessed";

/// What was done, as ten pairs of operation and purpose. The purpose is an indexed field.
const ACTIONS: [(&str, &str); 10] = [
    ("read", "order-handling"),
    ("search", "customer-support"),
    ("export", "data-portability"),
    ("match", "fraud-prevention"),
    ("display", "account-page"),
    ("use", "newsletter"),
    ("restore", "backup-test"),
    ("read", "billing-dispute"),
    ("search", "compliance-audit"),
    ("display", "delivery-tracking"),
];

/// The purpose of action `n`, for queries.
pub(crate) fn purpose(n: u64) -> &'static str {
    pick(&ACTIONS, n).1
}

fn pick<T: Copy + Default, const N: usize>(table: &[T; N], n: u64) -> T {
    let at = usize::try_from(n % N as u64).unwrap_or_default();
    table.get(at).copied().unwrap_or_default()
}

/// How many different persons occur.
#[derive(Debug, Clone, Copy)]
pub(crate) struct People {
    pub(crate) subjects: u64,
    pub(crate) actors: u64,
}

/// What the append bench uses.
pub(crate) const PEOPLE: People = People { subjects: 10_000, actors: 1_000 };

/// The identifier of a subject.
pub(crate) fn subject(n: u64) -> String {
    format!("s-{n:08}")
}

/// The identifier of an actor.
pub(crate) fn actor(n: u64) -> String {
    format!("agent-{n:06}")
}

/// `SplitMix64`: spreads consecutive numbers (Steele, Lea and Flood, 2014).
pub(crate) fn spread(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What event `n` of a history says, before it is written as JSON.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) subject: u64,
    pub(crate) actor: u64,
    pub(crate) action: u64,
}

/// The same for every peer and every run.
pub(crate) fn said(n: u64, people: People) -> Said {
    let random = spread(n);
    Said {
        subject: random % people.subjects,
        actor: (random >> 24) % people.actors,
        action: (random >> 48) % ACTIONS.len() as u64,
    }
}

/// Event `n` with this id and time.
pub(crate) fn write(n: u64, id: &str, time_ms: u64, people: People) -> String {
    let said = said(n, people);
    let (operation, purpose) = pick(&ACTIONS, said.action);
    let random = spread(n ^ 0x5eed);
    let time = Timestamp::from_millisecond(i64::try_from(time_ms).unwrap_or(i64::MAX))
        .unwrap_or(Timestamp::MAX)
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ");
    format!(
        "{HEAD}{id}\",\"source\":\"{SOURCE}\",\"type\":\"{TYPE}\",\"time\":\"{time}\",\
         \"data\":{{\"subject\":\"{}\",\"actor\":\"{}\",\"actor_role\":\"support\",\
         \"operation\":\"{operation}\",\"purpose\":\"{purpose}\",\"categories\":[\"contact\",\"transaction\"],\
         \"store\":\"orders-eu-{}\",\"legal_basis\":\"contract\",\"authorised\":true,\
         \"labels\":{{\"service\":\"order-desk\",\"release\":\"2026.11.{:02}\",\"request\":\"{random:016x}\",\
         \"path\":\"/desk/orders/{:010}\"}}}}}}",
        subject(said.subject),
        actor(said.actor),
        random % 8,
        random % 28,
        random % 10_000_000_000,
    )
}

/// Bodies made beforehand; a copy with an id of its own costs a copy of 500 bytes.
#[derive(Debug)]
pub(crate) struct Pool {
    bodies: Vec<Vec<u8>>,
    made_ms: u64,
    /// Eight digits that differ from run to run.
    run: u64,
    /// Parts of the id space that were given out.
    series: AtomicU64,
}

/// The pool of this run; every peer is sent events from it.
pub(crate) fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(Pool::new)
}

impl Pool {
    /// Makes the bodies; their times lie in the last hour.
    fn new() -> Self {
        let now_ms = now_ms();
        let body = |n| write(n, &"0".repeat(ID_BYTES), time_ms(now_ms, n), PEOPLE).into_bytes();
        let bodies = (0..POOL_EVENTS).map(body).collect();
        Self { bodies, made_ms: now_ms, run: spread(now_ms) >> 32, series: AtomicU64::new(0) }
    }

    fn time_ms(&self, n: u64) -> u64 {
        time_ms(self.made_ms, n)
    }

    /// Bytes of an event, on the average.
    pub(crate) fn event_bytes(&self) -> f64 {
        let sum: usize = self.bodies.iter().map(Vec::len).sum();
        crate::stats::ratio(sum as u64, self.bodies.len() as u64)
    }

    /// A sequence of events for one connection, no id of which any other has.
    pub(crate) fn series(&'static self) -> Series {
        let number = self.series.fetch_add(1, Ordering::Relaxed);
        Series {
            pool: self,
            next_id: number << 28,
            next_body: spread(number),
            next_question: number << 28,
        }
    }
}

/// The time of the pool's event `n`: in the hour before it was made.
fn time_ms(made_ms: u64, n: u64) -> u64 {
    made_ms - 3_600_000 + n * 3_600_000 / POOL_EVENTS
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An event as the columns of a table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) at: SystemTime,
    pub(crate) actor: String,
    pub(crate) subject: String,
    pub(crate) purpose: &'static str,
    pub(crate) id: String,
    pub(crate) body: String,
}

impl Row {
    /// The columns of event `n`, which `body` says in JSON.
    pub(crate) fn new(n: u64, id: String, time_ms: u64, people: People, body: String) -> Self {
        let said = said(n, people);
        Self {
            at: UNIX_EPOCH + Duration::from_millis(time_ms),
            actor: actor(said.actor),
            subject: subject(said.subject),
            purpose: purpose(said.action),
            id,
            body,
        }
    }
}

/// See [`Pool::series`].
#[derive(Debug)]
pub(crate) struct Series {
    pool: &'static Pool,
    next_id: u64,
    next_body: u64,
    next_question: u64,
}

impl Series {
    /// Appends the next event to `into`.
    pub(crate) fn write_next(&mut self, into: &mut Vec<u8>) {
        let count = self.pool.bodies.len() as u64;
        let at = usize::try_from(self.next_body % count).unwrap_or_default();
        let Some(body) = self.pool.bodies.get(at) else { return };
        let start = into.len();
        into.extend_from_slice(body);
        let id_at = start + HEAD.len();
        if let Some(place) = into.get_mut(id_at..id_at + ID_BYTES) {
            write_hex(place, (u128::from(self.pool.run) << 48) | u128::from(self.next_id));
        }
        self.next_id += 1;
        self.next_body = self.next_body.wrapping_add(1);
    }

    /// The next event as the columns of a table.
    pub(crate) fn next_row(&mut self) -> Fallible<Row> {
        let n = self.next_body % POOL_EVENTS;
        let mut body = Vec::with_capacity(520);
        self.write_next(&mut body);
        let body = String::from_utf8(body)?;
        let id = body.get(HEAD.len()..HEAD.len() + ID_BYTES).unwrap_or_default().to_owned();
        Ok(Row::new(n, id, self.pool.time_ms(n), PEOPLE, body))
    }

    /// A number that no other series gives, for asking instead of appending.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.next_question += 1;
        self.next_question
    }

    /// The next request's body: one event, or a JSON array of `batch`.
    pub(crate) fn body(&mut self, batch: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(batch * 520 + 2);
        if batch == 1 {
            self.write_next(&mut body);
            return body;
        }
        for n in 0..batch {
            body.push(if n == 0 { b'[' } else { b',' });
            self.write_next(&mut body);
        }
        body.push(b']');
        body
    }
}

/// Writes the low digits of `value`, as many as there is place for.
fn write_hex(place: &mut [u8], mut value: u128) {
    for digit in place.iter_mut().rev() {
        *digit = pick(b"0123456789abcdef", u64::try_from(value & 15).unwrap_or_default());
        value >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_and_bodies_are_json_of_about_500_bytes() {
        let pool = pool();
        assert!((480.0..520.0).contains(&pool.event_bytes()), "{}", pool.event_bytes());
        let mut ids = BTreeSet::new();
        for mut series in [pool.series(), pool.series()] {
            for body in [series.body(1), series.body(1)] {
                let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert!(ids.insert(event["id"].as_str().unwrap().to_owned()));
            }
            let batch: Vec<serde_json::Value> = serde_json::from_slice(&series.body(3)).unwrap();
            assert_eq!(batch.len(), 3);
            for event in batch {
                assert!(ids.insert(event["id"].as_str().unwrap().to_owned()));
            }
        }
    }
}
