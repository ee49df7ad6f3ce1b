//! The thread that sends.
//!
//! In scope: what goes into a request, sending it again, settling what was answered for. Out of scope:
//! queueing, checking. Invariants: one request at a time, so that events keep their order; an event is
//! settled after its receipt is checked and kept, never before; what is not settled is sent again
//! under the same id, byte for byte.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::clock::{Clock, random_fill};
use crate::event::envelope;
use crate::event::limits::REQUEST_BYTES_MAX;
use crate::prove::receipt::Receipt;
use crate::prove::verdict::Report;

use super::answer::{self, Meaning};
use super::check::Checker;
use super::error::{ClientError, Refusal, Tampered};
use super::keep::Receipts;
use super::pending::Acknowledged;
use super::queue::{self, Item, Room};
use super::shared::Shared;
use super::transport::{Answer, Transport, TransportError};
use super::watch::{Shown, Watch};
use super::{Patience, ReceiptKind};

/// Bodies from this length on are compressed; below it, less than one packet would be saved.
const GZIP_BYTES_MIN: usize = 4 << 10;

/// First delay before a request is sent again, in milliseconds; each further one is twice as long.
const DELAY_FIRST_MS: u64 = 250;

/// Longest delay that is chosen here, in milliseconds.
const DELAY_MAX_MS: u64 = 30_000;

/// Longest delay in seconds that a server may ask for.
const RETRY_AFTER_MAX_S: u64 = 300;

/// Told why the server is waited for.
pub(super) type OnWait = Box<dyn Fn(&str) + Send>;

/// What the thread works with.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) transport: Transport,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events_max: usize,
    pub(super) linger: Duration,
    pub(super) receipt: ReceiptKind,
    pub(super) patience: Patience,
    pub(super) on_wait: Option<OnWait>,
    pub(super) checker: Checker,
    pub(super) watch: Option<Watch>,
    pub(super) receipts: Option<Receipts>,
    pub(super) state: Sending,
}

/// What changes from request to request.
#[derive(Default)]
pub(super) struct Sending {
    /// Taken from the queue and not settled.
    carry: VecDeque<Item>,
    /// Events in the next request at most, where fewer than `events_max` are tried.
    narrowed: Option<usize>,
    /// Attempts in a row of which nothing came.
    attempts: u32,
    /// Whether the server has ever answered.
    reached: bool,
}

impl Sending {
    pub(super) fn new(reached: bool) -> Self {
        Self { reached, ..Self::default() }
    }
}

/// Why a request is not done.
enum Trouble {
    /// Send it again.
    Later { why: String, after_s: Option<u64> },
    /// Send no more.
    Final(ClientError),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Self::Final(error)
    }
}

/// An event that was answered for.
enum Settled {
    Acknowledged(Box<Acknowledged>),
    Refused(Refusal),
}

impl Worker {
    /// Sends until the client is closed or cannot go on.
    pub(super) fn run(mut self) {
        let ended = loop {
            match self.gather() {
                Ok(true) => {}
                Ok(false) => break ClientError::Closed,
                Err(error) => break error,
            }
            match self.exchange() {
                Ok(()) => {}
                Err(Trouble::Final(error)) => break error,
                Err(Trouble::Later { why, after_s }) => match self.wait(why, after_s) {
                    Ok(true) => {}
                    Ok(false) => break ClientError::Closed,
                    Err(error) => break error,
                },
            }
        };
        for item in self.state.carry.drain(..) {
            item.complete(Err(ended.clone()));
        }
        self.shared.end(ended);
    }

    /// Waits until there is something to send; false where the client is being closed.
    fn gather(&mut self) -> Result<bool, ClientError> {
        if self.state.carry.is_empty() {
            let room = Room { events: self.events_max, bytes: REQUEST_BYTES_MAX };
            match self.shared.take(room, self.linger)? {
                Some(items) => self.state.carry = items,
                None => return Ok(false),
            }
        }
        Ok(!self.shared.is_closing())
    }

    /// Sends one request and settles what it is answered with.
    fn exchange(&mut self) -> Result<(), Trouble> {
        let sent = self.state.carry.len().min(self.state.narrowed.unwrap_or(usize::MAX)).max(1);
        let mut body = Vec::new();
        for item in self.state.carry.iter().take(sent) {
            body.extend_from_slice(&item.event);
            body.push(b'\n');
        }
        let answer = self.post(&body).map_err(|error| self.lost(error))?;
        self.state.reached = true;
        match answer::meaning(answer.status) {
            Meaning::Answered => self.answered(sent, &answer),
            Meaning::Later => Err(self.later(answer.status, answer.sentence(), answer.retry_after_s)),
            Meaning::Body if sent > 1 => {
                self.state.narrowed = Some(sent / 2);
                Ok(())
            }
            Meaning::Body => {
                let refusal = answer::whole_refusal(&answer);
                self.settle(vec![(0, Settled::Refused(refusal))])?;
                Ok(())
            }
            Meaning::Never => {
                let (status, sentence) = (answer.status, answer.sentence());
                Err(Trouble::Final(ClientError::Rejected { status, sentence }))
            }
        }
    }

    fn post(&self, body: &[u8]) -> Result<Answer, TransportError> {
        let prefer = match self.receipt {
            ReceiptKind::Brief => ("prefer", "receipt=brief"),
            ReceiptKind::Full => ("prefer", "receipt=full"),
        };
        let (path, media_type) = ("events?atomic=false", "application/x-ndjson");
        match compressed(body) {
            Some(body) => {
                self.transport.post(path, media_type, &[prefer, ("content-encoding", "gzip")], &body)
            }
            None => self.transport.post(path, media_type, &[prefer], body),
        }
    }

    fn lost(&self, error: TransportError) -> Trouble {
        let hopeless = matches!(self.patience, Patience::Attended { .. }) && !self.state.reached;
        if hopeless {
            return Trouble::Final(error.into());
        }
        Trouble::Later { why: error.to_string(), after_s: None }
    }

    /// What a failure of the server's means: somebody who waits is told at once what waiting does not
    /// mend.
    fn later(&self, status: u16, why: String, after_s: Option<u64>) -> Trouble {
        let mends = matches!(status, 408 | 425 | 429 | 503);
        if matches!(self.patience, Patience::Attended { .. }) && !mends {
            return Trouble::Final(ClientError::GaveUp { attempts: self.state.attempts + 1, last: why });
        }
        Trouble::Later { why, after_s }
    }

    /// Settles the first `sent` events by what the server says of each.
    fn answered(&mut self, sent: usize, answer: &Answer) -> Result<(), Trouble> {
        let items = match answer::items(&answer.body, sent) {
            Ok(items) => items,
            Err(why) if matches!(self.patience, Patience::Attended { .. }) => {
                return Err(Trouble::Final(ClientError::BadAnswer(why)));
            }
            // A proxy may have cut it; the events are asked for again.
            Err(why) => return Err(Trouble::Later { why, after_s: answer.retry_after_s }),
        };
        let mut receipts = Vec::new();
        let mut settled = Vec::new();
        let (mut later, mut apart) = (None, false);
        for (at, item) in items.into_iter().enumerate() {
            match item {
                answer::Item::Receipt(receipt) => receipts.push((at, *receipt)),
                answer::Item::Apart(_) if sent > 1 => apart = true,
                answer::Item::Refused(refusal) | answer::Item::Apart(refusal) => {
                    settled.push((at, Settled::Refused(refusal)));
                }
                answer::Item::Later(refusal) => later = Some(refusal),
            }
        }
        for (at, acknowledged) in self.checked(receipts)? {
            settled.push((at, Settled::Acknowledged(Box::new(acknowledged))));
        }
        settled.sort_unstable_by_key(|(at, _)| *at);
        let progress = !settled.is_empty();
        self.settle(settled)?;
        self.state.narrowed = match self.state.narrowed {
            _ if apart => Some(sent / 2),
            Some(narrowed) if narrowed < self.events_max => Some(narrowed * 2),
            _ => None,
        };
        if progress {
            self.state.attempts = 0;
        }
        match later {
            Some(refusal) => {
                let why = format!("{} ({})", refusal.detail, refusal.code);
                Err(self.later(refusal.status, why, answer.retry_after_s))
            }
            None => Ok(()),
        }
    }

    /// Checks receipts against the events they answer, and the log against what it signed before.
    fn checked(
        &mut self,
        receipts: Vec<(usize, Receipt)>,
    ) -> Result<Vec<(usize, Acknowledged)>, ClientError> {
        if receipts.is_empty() {
            return Ok(Vec::new());
        }
        let mut reports: Vec<Report> = Vec::with_capacity(receipts.len());
        for (at, receipt) in &receipts {
            let key = self.watch.as_ref().map(Watch::key);
            let item = self.state.carry.get(*at);
            let sent = item.and_then(|item| envelope::parse_structured(&item.event).ok());
            let sent = sent.ok_or_else(|| ClientError::BadAnswer("of an unknown event".to_owned()))?;
            match self.checker.check(&sent, receipt, key) {
                Ok(report) => reports.push(report),
                Err(what) => return Err(self.tampered(what, receipt)),
            }
        }
        let shown = match &mut self.watch {
            Some(watch) => {
                let full = receipts.iter().filter_map(|(_, receipt)| receipt.full.as_ref());
                let shown = watch.advance(full.map(|full| full.checkpoint.as_str()), &self.transport)?;
                self.checker.grown_to(watch.known_size());
                shown
            }
            None => Shown::no_key(),
        };
        let acknowledged = receipts.into_iter().zip(reports).map(|((at, receipt), mut report)| {
            report.checks.retain(|check| check.name != "published");
            report.note("published", shown.verdict, shown.detail.clone());
            (at, Acknowledged { receipt, report })
        });
        Ok(acknowledged.collect())
    }

    fn tampered(&self, what: Tampered, receipt: &Receipt) -> ClientError {
        match &self.watch {
            Some(watch) => {
                let note = receipt.full.as_ref().map(|full| full.checkpoint.as_str());
                watch.tampered(what, note)
            }
            None => ClientError::Tampered(what),
        }
    }

    /// Keeps receipts and refusals, then lets the spool and the handles go. `settled` ascends.
    fn settle(&mut self, settled: Vec<(usize, Settled)>) -> Result<(), ClientError> {
        if let Some(receipts) = &mut self.receipts {
            let kept = settled.iter().filter_map(|(_, settled)| match settled {
                Settled::Acknowledged(acknowledged) => Some(&acknowledged.receipt),
                Settled::Refused(_) => None,
            });
            receipts.keep(kept, self.clock.now_us())?;
        }
        let mut settled = settled.into_iter().peekable();
        let mut done = Vec::new();
        let mut left = VecDeque::new();
        for (at, item) in std::mem::take(&mut self.state.carry).into_iter().enumerate() {
            match settled.next_if(|(settled_at, _)| *settled_at == at) {
                Some((_, outcome)) => done.push((item, outcome)),
                None => left.push_back(item),
            }
        }
        self.state.carry = left;
        let spool = self.shared.spool();
        for (item, outcome) in &done {
            if let Settled::Refused(refusal) = outcome {
                queue::keep_refused(spool, item, refusal)?;
            }
        }
        queue::settle(spool, done.iter().map(|(item, _)| item))?;
        let count = done.len();
        for (item, outcome) in done {
            item.complete(match outcome {
                Settled::Acknowledged(acknowledged) => Ok(*acknowledged),
                Settled::Refused(refusal) => Err(ClientError::Refused(refusal)),
            });
        }
        self.shared.settled(count);
        Ok(())
    }

    /// Waits before the next attempt; false where the client is being closed.
    fn wait(&mut self, why: String, after_s: Option<u64>) -> Result<bool, ClientError> {
        self.state.attempts = self.state.attempts.saturating_add(1);
        let attempts = self.state.attempts;
        if let Patience::Attended { retries_max } = self.patience
            && attempts > retries_max
        {
            return Err(ClientError::GaveUp { attempts, last: why });
        }
        if attempts == 1
            && let Some(on_wait) = &self.on_wait
        {
            on_wait(&why);
        }
        let delay_ms = delay_ms(attempts, after_s, random_u32());
        Ok(self.shared.pause(Duration::from_millis(delay_ms)))
    }
}

/// What to wait before attempt number `attempts` + 1: what the server asks for and a little more, or
/// between half and all of a delay that doubles. `random` spreads clients that failed together.
fn delay_ms(attempts: u32, after_s: Option<u64>, random: u32) -> u64 {
    let spread = |range_ms: u64| range_ms.saturating_mul(u64::from(random)) >> 32;
    if let Some(after_s) = after_s {
        return after_s.min(RETRY_AFTER_MAX_S) * 1_000 + spread(DELAY_FIRST_MS);
    }
    let doubled = DELAY_FIRST_MS.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    let half = doubled.min(DELAY_MAX_MS) / 2;
    half + spread(half)
}

/// Without randomness delays are merely not spread.
fn random_u32() -> u32 {
    let mut bytes = [0; 4];
    match random_fill(&mut bytes) {
        Ok(()) => u32::from_be_bytes(bytes),
        Err(_) => u32::MAX,
    }
}

/// The body in gzip, where that is shorter and worth it.
fn compressed(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < GZIP_BYTES_MIN {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().filter(|compressed| compressed.len() < body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit_and_obey_the_server() {
        let delays = |random| (1..12).map(|n| delay_ms(n, None, random)).collect::<Vec<_>>();
        let shortest = [125, 250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000, 15000];
        assert_eq!(delays(0), shortest);
        let longest = delays(u32::MAX);
        assert!(longest.iter().zip(shortest).all(|(long, short)| *long < short * 2), "{longest:?}");
        assert!(longest.iter().zip(shortest).all(|(long, short)| *long > short), "{longest:?}");
        assert_eq!(delay_ms(9, Some(7), 0), 7_000);
        assert_eq!(delay_ms(1, Some(u64::MAX), 0), RETRY_AFTER_MAX_S * 1_000);
        assert!(delay_ms(u32::MAX, None, u32::MAX) <= DELAY_MAX_MS);
    }

    #[test]
    fn long_bodies_are_compressed() {
        assert_eq!(compressed(&[b'a'; GZIP_BYTES_MIN - 1]), None);
        assert!(compressed(&[b'a'; GZIP_BYTES_MIN]).unwrap().len() < 100);
    }
}
