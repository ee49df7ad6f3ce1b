//! From events to the ledger, in batches that may be sent again.
//!
//! In scope: registering a mapping's types, batches within the server's limits, waiting for a server
//! that is busy or away. Out of scope: what is counted how. Invariant: an event is counted once the
//! server has answered for it; what it has not answered for is sent again under the same id.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Deserialize;

use crate::cli::Failure;
use crate::cli::client::{Answer, Client, problem_sentence};
use crate::event::custom::CustomType;
use crate::event::envelope::{self, Event};
use crate::event::mapping::{Class, Mapping};

use super::summary::{End, Place, Summary};

/// Bytes of one request: half of what the server takes, so that one more event of 1.5 MiB (1 MiB of
/// attachment in base64 and 64 KiB beside it) fits in any case.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Times a request is sent again while the server stores nothing of it. With the delays below it
/// is waited for about a minute, which a restart takes less than.
const RETRIES_MAX: u32 = 12;

/// First delay in milliseconds; each further one is twice as long.
const DELAY_FIRST_MS: u64 = 250;

/// Longest delay in milliseconds that is chosen here.
const DELAY_MAX_MS: u64 = 8_000;

/// Longest delay in seconds that a server may ask for.
const RETRY_AFTER_MAX_S: u64 = 60;

/// The code of events that are too large together, each being small enough.
const TOO_LARGE_TOGETHER: &str = "body-too-large";

/// The code of an event that lies ahead of the server's clock.
const TIME_IN_FUTURE: &str = "time-in-future";

/// An event on its way.
pub(super) struct Pending {
    place: Place,
    class: Class,
    type_name: String,
    /// One line of JSON and its ending.
    line: Vec<u8>,
}

impl Pending {
    /// An event that was made of the record at `place`.
    pub(super) fn new(place: Place, event: &Event, class: Class) -> Self {
        Self { place, class, type_name: event.type_name.clone(), line: line_of(event) }
    }

    /// The event without its time, for a record that claims one ahead of the server's clock: the
    /// claim stays in the attachment, and the event is searched by when it was recorded.
    fn without_time(&self) -> Option<Vec<u8>> {
        if self.class == Class::Passed {
            return None;
        }
        let mut event = envelope::parse_structured(self.line.trim_ascii_end()).ok()?;
        event.time.take()?;
        event.time_us = None;
        Some(line_of(&event))
    }
}

fn line_of(event: &Event) -> Vec<u8> {
    let mut line = event.canonical_content();
    line.push(b'\n');
    line
}

/// The server's answer to a batch.
#[derive(Deserialize)]
struct Receipts {
    receipts: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: Option<u64>,
    #[serde(default)]
    replayed: bool,
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    status: u16,
    code: String,
    detail: String,
    #[serde(default)]
    errors: Vec<RefusedAt>,
}

#[derive(Deserialize)]
struct RefusedAt {
    #[serde(default)]
    pointer: String,
}

impl Refused {
    /// The sentence with the place in the event; the server's pointers hold known names only, and
    /// begin with the event's number in the batch, which says nothing here.
    fn detail(&self) -> String {
        let pointers = self.errors.iter().filter_map(|at| {
            let (_, within) = at.pointer.strip_prefix('/')?.split_once('/')?;
            Some(within)
        });
        let places: Vec<&str> = pointers.collect();
        match places.as_slice() {
            [] => self.detail.clone(),
            places => format!("{} (at {})", self.detail, places.join(", ")),
        }
    }
}

/// Sends events in batches.
pub(super) struct Sender {
    client: Client,
    batch_max: usize,
    batch: Vec<Pending>,
    bytes: usize,
    registered: BTreeSet<String>,
    /// Whether the server has answered; until then an address that leads nowhere is a mistake.
    reached: bool,
}

impl Sender {
    /// A sender of at most `batch_max` events a request.
    pub(super) fn new(client: Client, batch_max: usize) -> Self {
        let registered = BTreeSet::new();
        Self { client, batch_max, batch: Vec::new(), bytes: 0, registered, reached: false }
    }

    /// Registers the types a mapping brings, as far as the key may. Where it may not, they are
    /// perhaps registered already; if not, each event's refusal says so.
    pub(super) fn register(&mut self, mapping: &Mapping, bar: &ProgressBar) -> Result<(), Failure> {
        for custom in mapping.custom_types() {
            if self.registered.insert(custom.name.clone()) {
                self.register_type(custom, bar)?;
            }
        }
        Ok(())
    }

    fn register_type(&mut self, custom: &CustomType, bar: &ProgressBar) -> Result<(), Failure> {
        let body = custom.to_value().to_canonical();
        let mut patience = Patience::default();
        loop {
            let answer = match self.client.post("types", "application/json", &[], &body) {
                Ok(answer) => answer,
                Err(lost) if self.reached => {
                    patience.wait(None, bar, || lost.message)?;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            self.reached = true;
            match answer.status {
                200..300 | 403 => return Ok(()),
                409 => {
                    let sentence = problem_sentence(answer.status, &answer.body);
                    bar.suspend(|| eprintln!("type {}: {sentence}", custom.name));
                    return Ok(());
                }
                503 => patience.wait(answer.retry_after_s, bar, || sentence(&answer))?,
                _ => return Err(Failure::new(sentence(&answer))),
            }
        }
    }

    /// Queues an event, and sends what waits when that makes a request.
    pub(super) fn push(
        &mut self,
        pending: Pending,
        summary: &mut Summary,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let full =
            self.batch.len() >= self.batch_max || self.bytes + pending.line.len() > BODY_BYTES_MAX;
        if full {
            self.flush(summary, bar)?;
        }
        self.bytes += pending.line.len();
        self.batch.push(pending);
        Ok(())
    }

    /// Sends what waits, until the server has answered for all of it.
    pub(super) fn flush(&mut self, summary: &mut Summary, bar: &ProgressBar) -> Result<(), Failure> {
        let mut patience = Patience::default();
        while !self.batch.is_empty() {
            let sent = self.batch.len().min(self.batch_max);
            let lines = self.batch.iter().take(sent).map(|each| each.line.as_slice());
            let body = lines.collect::<Vec<_>>().concat();
            let brief = [("prefer", "receipt=brief")];
            let path = "events?atomic=false";
            match self.client.post(path, "application/x-ndjson", &brief, &body) {
                Err(lost) => patience.wait(None, bar, || lost.message)?,
                Ok(answer) if answer.status == 503 => {
                    patience.wait(answer.retry_after_s, bar, || sentence(&answer))?;
                }
                Ok(answer) if (200..300).contains(&answer.status) => {
                    let waiting = self.batch.len();
                    let busy = self.settle(sent, &answer, summary, bar)?;
                    if self.batch.len() < waiting {
                        patience = Patience::default();
                    }
                    if let Some(busy) = busy {
                        patience.wait(None, bar, || busy)?;
                    }
                }
                Ok(answer) => return Err(Failure::new(sentence(&answer))),
            }
        }
        self.bytes = 0;
        Ok(())
    }

    /// Counts what the server has answered for, of the first `sent` events, and keeps the rest.
    /// Returns why it is busy, if it is.
    fn settle(
        &mut self,
        sent: usize,
        answer: &Answer,
        summary: &mut Summary,
        bar: &ProgressBar,
    ) -> Result<Option<String>, Failure> {
        let unreadable = || Failure::new("the server's answer is no list of receipts");
        let answer: Receipts = serde_json::from_slice(&answer.body).map_err(|_| unreadable())?;
        let got = answer.receipts.len();
        if got != sent {
            return Err(Failure::new(format!("the server gave {got} answers for {sent} events")));
        }
        let mut busy = None;
        let mut failed = None;
        let unsent = self.batch.split_off(sent);
        for (item, mut pending) in answer.receipts.into_iter().zip(std::mem::take(&mut self.batch)) {
            let of_type = (pending.class, pending.type_name.as_str());
            match (item.error, item.index) {
                (None, Some(_)) => {
                    let end = if item.replayed { End::Replayed } else { End::Appended };
                    summary.ended(&pending.place, pending.class, &pending.type_name, end);
                }
                (Some(error), _) if error.status == 503 => {
                    busy = Some(error.detail);
                    self.batch.push(pending);
                }
                (Some(error), _) if error.code == TOO_LARGE_TOGETHER && sent > 1 => {
                    self.batch_max = sent / 2;
                    self.batch.push(pending);
                }
                (Some(error), _) if error.status >= 500 => {
                    failed = Some(Failure::new(format!("{} ({})", error.detail, error.code)));
                    self.batch.push(pending);
                }
                (Some(error), _) => {
                    let untimed = (error.code == TIME_IN_FUTURE).then(|| pending.without_time());
                    if let Some(line) = untimed.flatten() {
                        summary.untimed();
                        pending.line = line;
                        self.batch.push(pending);
                    } else if let Some(line) =
                        summary.refused_as(&pending.place, of_type, (&error.code, &error.detail()))
                    {
                        bar.suspend(|| eprintln!("{line}"));
                    }
                }
                (None, None) => return Err(unreadable()),
            }
        }
        self.batch.extend(unsent);
        failed.map_or(Ok(busy), Err)
    }
}

fn sentence(answer: &Answer) -> String {
    problem_sentence(answer.status, &answer.body)
}

/// How long a server that stores nothing is waited for.
#[derive(Default)]
struct Patience {
    waits: u32,
}

impl Patience {
    /// Waits as long as the server asked, or twice as long as before; no more when that is no use.
    fn wait(
        &mut self,
        retry_after_s: Option<u64>,
        bar: &ProgressBar,
        why: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let why = why();
        if self.waits >= RETRIES_MAX {
            return Err(Failure::new(format!(
                "{why}\nGiven up; import the same files again to go on, what is there is not stored twice"
            )));
        }
        if self.waits == 0 {
            bar.suspend(|| eprintln!("{why}\nTrying again"));
        }
        let doubled_ms = DELAY_FIRST_MS.saturating_mul(1 << self.waits).min(DELAY_MAX_MS);
        let asked_ms = retry_after_s.map(|seconds| seconds.min(RETRY_AFTER_MAX_S) * 1_000);
        self.waits += 1;
        // Nothing is ever sent: the channel is there to wait on.
        let (_held, never) = mpsc::channel::<()>();
        let _ = never.recv_timeout(Duration::from_millis(asked_ms.unwrap_or(doubled_ms)));
        Ok(())
    }
}
