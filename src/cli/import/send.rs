//! From events to the ledger.
//!
//! In scope: registering a mapping's types, handing events to the producer's client
//! ([`crate::client`]), counting what became of them. Out of scope: batches and sending again, which the
//! client does; what is counted how. Invariant: an event is counted once the server has answered for it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc;
use std::time::Duration;

use indicatif::ProgressBar;

use crate::cli::Failure;
use crate::cli::client::{Answer, Client, KeepArgs, failure_of, problem_sentence};
use crate::client::{Client as Producer, ClientError, Outcome, Patience, Pending as Handle};
use crate::event::custom::CustomType;
use crate::event::envelope::Event;
use crate::event::mapping::{Class, Mapping};

use super::summary::{End, Place, Summary};

/// Times a request is sent again while the server stores nothing of it. With delays that double from a
/// quarter of a second to half a minute it is waited for about two minutes; a restart takes less.
const RETRIES_MAX: u32 = 12;

/// First delay in milliseconds; each further one is twice as long.
const DELAY_FIRST_MS: u64 = 250;

/// Longest delay in milliseconds that is chosen here.
const DELAY_MAX_MS: u64 = 8_000;

/// Longest delay in seconds that a server may ask for.
const RETRY_AFTER_MAX_S: u64 = 60;

/// Bytes of events that wait: one request. One more event than fits is 1.5 MiB (1 MiB of attachment in
/// base64 and 64 KiB beside it).
const QUEUE_BYTES: usize = 8 << 20;

/// An event waits for a full request, or for the end of the files.
const LINGER: Duration = Duration::from_hours(24);

/// The code of an event that lies ahead of the server's clock.
const TIME_IN_FUTURE: &str = "time-in-future";

/// An event on its way.
pub(super) struct Pending {
    place: Place,
    class: Class,
    event: Event,
}

impl Pending {
    /// An event that was made of the record at `place`.
    pub(super) fn new(place: Place, event: &Event, class: Class) -> Self {
        Self { place, class, event: event.clone() }
    }

    /// Takes the event's time away, for a record that claims one ahead of the server's clock: the
    /// claim stays in the attachment, and the event is searched by when it was recorded.
    fn forget_time(&mut self) -> bool {
        if self.class == Class::Passed || self.event.time.take().is_none() {
            return false;
        }
        self.event.time_us = None;
        true
    }
}

/// Sends events in batches.
pub(super) struct Sender {
    client: Client,
    keep: KeepArgs,
    batch_max: usize,
    /// Begun with the first event.
    producer: Option<Producer>,
    awaited: VecDeque<(Pending, Handle)>,
    registered: BTreeSet<String>,
    /// Whether the server has answered; until then an address that leads nowhere is a mistake.
    reached: bool,
}

impl Sender {
    /// A sender of at most `batch_max` events a request.
    pub(super) fn new(client: Client, batch_max: usize, keep: KeepArgs) -> Self {
        let (registered, awaited) = (BTreeSet::new(), VecDeque::new());
        Self { client, keep, batch_max, producer: None, awaited, registered, reached: false }
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
        let mut patience = Waits::default();
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
                    bar.suspend(|| say!("type {}: {sentence}", custom.name));
                    return Ok(());
                }
                503 => patience.wait(answer.retry_after_s, bar, || sentence(&answer))?,
                _ => return Err(Failure::new(sentence(&answer))),
            }
        }
    }

    fn producer(&mut self, bar: &ProgressBar) -> Result<&Producer, Failure> {
        if self.producer.is_none() {
            let bar = bar.clone();
            let builder = self.keep.builder(&self.client)?;
            let builder = builder
                .batch_events(self.batch_max)
                .queue(self.batch_max, QUEUE_BYTES)
                .linger(LINGER)
                .patience(Patience::Attended { retries_max: RETRIES_MAX })
                .on_wait(move |why| bar.suspend(|| say!("{why}\nTrying again")));
            let builder = if self.reached { builder.reached() } else { builder };
            self.producer = Some(builder.build().map_err(|error| failure_of(&error))?);
        }
        self.producer.as_ref().ok_or_else(|| Failure::new("no client"))
    }

    /// Queues an event, and counts what was answered for meanwhile.
    pub(super) fn push(
        &mut self,
        pending: Pending,
        summary: &mut Summary,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        self.enqueue(pending, bar)?;
        // One request is under way while the next one fills.
        while self.awaited.len() > self.batch_max * 2 {
            self.count_one(summary, bar)?;
        }
        Ok(())
    }

    fn enqueue(&mut self, pending: Pending, bar: &ProgressBar) -> Result<(), Failure> {
        let handle = self.producer(bar)?.append(pending.event.clone());
        self.awaited.push_back((pending, handle.map_err(|error| given_up(&error))?));
        Ok(())
    }

    /// Sends what waits, until the server has answered for all of it.
    pub(super) fn flush(&mut self, summary: &mut Summary, bar: &ProgressBar) -> Result<(), Failure> {
        let mut failed = Ok(());
        while let (Some(producer), false) = (&self.producer, self.awaited.is_empty()) {
            // How it ended is in the handles.
            let _ = producer.flush(LINGER);
            for _ in 0..self.awaited.len() {
                let counted = self.count_one(summary, bar);
                failed = failed.and(counted);
            }
            if failed.is_err() {
                break;
            }
        }
        let closed = match self.producer.take() {
            Some(producer) => producer.close().map_err(|error| given_up(&error)),
            None => Ok(0),
        };
        failed.and(closed.map(|_| ()))
    }

    /// Counts the oldest event once it is answered for.
    fn count_one(&mut self, summary: &mut Summary, bar: &ProgressBar) -> Result<(), Failure> {
        let Some((mut pending, handle)) = self.awaited.pop_front() else { return Ok(()) };
        let outcome: Outcome = handle.wait();
        match outcome {
            Ok(acknowledged) => {
                let end = if acknowledged.receipt.replayed { End::Replayed } else { End::Appended };
                summary.ended(&pending.place, pending.class, &pending.event.type_name, end);
                Ok(())
            }
            Err(ClientError::Refused(refusal)) => {
                if refusal.code == TIME_IN_FUTURE && pending.forget_time() {
                    summary.untimed();
                    return self.enqueue(pending, bar);
                }
                let of_type = (pending.class, pending.event.type_name.as_str());
                let why = (refusal.code.as_str(), refusal.detail.as_str());
                if let Some(line) = summary.refused_as(&pending.place, of_type, why) {
                    bar.suspend(|| say!("{line}"));
                }
                Ok(())
            }
            Err(error) => Err(given_up(&error)),
        }
    }
}

/// Why the import ends, and that it may be repeated.
fn given_up(error: &ClientError) -> Failure {
    let mut failure = failure_of(error);
    if matches!(error, ClientError::GaveUp { .. }) {
        failure.message.push_str(
            "\nGiven up; import the same files again to go on, what is there is not stored twice",
        );
    }
    failure
}

fn sentence(answer: &Answer) -> String {
    answer.sentence()
}

/// How long a server that registers nothing is waited for.
#[derive(Default)]
struct Waits {
    waits: u32,
}

impl Waits {
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
            bar.suspend(|| say!("{why}\nTrying again"));
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
