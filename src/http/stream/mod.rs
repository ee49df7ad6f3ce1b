//! `GET …/events/stream`: events as they are recorded (server-sent events, WHATWG HTML section 9.2).
//!
//! In scope: the parameters, where a stream starts, what is written. Out of scope: which events meet a
//! query ([`crate::history`]); how many streams there may be, and how they wake ([`live`]).
//!
//! Invariants: only what is durable is sent; in index order, nothing missed and nothing twice, whatever is
//! appended meanwhile; a stream that waits holds no thread; one that is not read holds at most two chunks
//! and is cut off after [`SLOW_READER_S`], and the reader goes on from the last `id` it has.
//!
//! ```text
//! id: 41            id: 41                 event: gap                      event: end
//! event: entry      event: checkpoint      data: {"after_index",…}         data: {"reason":…}
//! data: {…event…}   data: {"size","checkpoint"}
//! ```
//! `id` is the last index that was considered, so that a reader who resumes there misses nothing and a
//! filter that matches rarely is not run again over what it has passed. A checkpoint of a size is sent
//! when everything below that size has been.

pub(crate) mod live;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::event::facet::Facet;
use crate::history::{self, Clock, Found, Order, Place, Query};
use crate::ledger::{Access, Ledger, Opened, READS_LEDGER, Snapshot};

use super::append::of_ledger;
use super::asked::Asked;
use super::auth::{self, Action};
use super::keys::KeyRecord;
use super::openapi::{Conditions, InLedger, Keyed, Reason, Searching, Streaming};
use super::params::{Params, Path, bad, decimal};
use super::problem::{self, Problem};
use super::reads::Reading;
use super::{Server, off_thread, read};

/// Parameters besides one per facet.
const PARAMETERS: [&str; 6] = ["after", "from", "to", "clock", "q", "reason"];

/// A chunk is sent once it has this many bytes. An event with a full attachment takes 1.5 MB, so that a
/// chunk is at most that much longer.
const CHUNK_BYTES: usize = 64 * 1024;

/// Seconds between looks at the caller's key, and at whether the server ends.
const KEY_CHECK_S: u64 = 5;

/// Looks at the key between two comments that keep a quiet connection open: one comment in 15 s.
const CHECKS_PER_COMMENT: u32 = 3;

/// Seconds in which a chunk must be taken.
const SLOW_READER_S: u64 = 60;

/// Milliseconds after which a reader shall connect again.
const RETRY_MS: u32 = 2_000;

/// Follow events
///
/// Server-sent events: `entry` with an event as a search gives it, `checkpoint` when a new one is published
/// and everything below its size has been sent, `gap` where the only condition is `source` and its numbering
/// has a hole, `end` with a `reason` when the server ends the stream. Only durable events, in order, none
/// twice. Starts at the newest entry, or at `from`, or after `after` or `Last-Event-ID`. Personal parts are
/// withheld without a `reason`; each piece that opens some is recorded in the ledger `reads` before it is
/// sent. A stream of `reads` itself opens none. Needs the role responder, auditor or dpo.
#[utoipa::path(get, path = "/events/stream", operation_id = "stream_events", tag = "events",
    params(Conditions, Reason,
        ("after" = Option<i64>, Query, minimum = -1, description = "Begin with the entry after this index; \
        `-1` begins with the first."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The `id` of the last message that was \
        received; goes before `after`.")),
    responses((status = 200, description = "The stream", body = String,
        content_type = "text/event-stream"), Keyed, InLedger, Searching, Streaming),
    security(("key" = [])))]
pub(crate) async fn stream(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (key, ledger) = asked.in_ledger(&name, Action::Search)?;
    // A stream of `reads` that opened its events would record itself without end.
    let access = match name.as_str() {
        READS_LEDGER => Access::Masked,
        _ => auth::access(&key, &name, asked.params.get("reason")),
    };
    let query = query(&asked.params, access)?;
    let reading = Reading::new(&key, &ledger, "stream", &asked.params);
    let after = after(&asked.params, &asked.headers)?;
    let slot = asked.server.live.enter(&key.id)?;
    let changes = asked.server.live.changes(&ledger);
    let closing = asked.server.live.closing();
    let query = Arc::new(query);
    let place = {
        let (ledger, query) = (Arc::clone(&ledger), Arc::clone(&query));
        off_thread(move || start(&ledger.snapshot(), &query, after)).await?
    };
    let (sender, receiver) = mpsc::channel(1);
    let follower = Follower {
        server: asked.server,
        ledger,
        key,
        query,
        reading,
        place,
        checkpoint: 0,
        changes,
        closing,
        sender,
        _slot: slot,
    };
    tokio::spawn(follower.run());
    let chunks = ReceiverStream::new(receiver).map(Ok::<_, Infallible>);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

fn query(params: &Params, access: Access) -> Result<Query, Problem> {
    let known: Vec<&str> = Facet::all().filter_map(Facet::name).chain(PARAMETERS).collect();
    params.allow_only(&known)?;
    let query = Query { order: Order::Ascending, ..read::conditions(params, access)? };
    if query.clock == Clock::Recorded && query.to_us.is_some() {
        let why =
            "ends a stream on the recorded clock, and streams do not end; search the history instead";
        return Err(bad("to", why));
    }
    Ok(query)
}

/// The first index after the one that the reader had last: `Last-Event-ID`, which a browser sends when it
/// connects again, goes before `after`.
fn after(params: &Params, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let next = |text: &str| decimal(text).and_then(|index| index.checked_add(1));
    if let Some(last) = headers.get("last-event-id").filter(|value| !value.is_empty()) {
        let next = last.to_str().ok().and_then(next);
        return next.map(Some).ok_or_else(|| {
            Problem::new(problem::BAD_CURSOR, "`Last-Event-ID` must be the `id` of an earlier message")
        });
    }
    match params.get("after") {
        None => Ok(None),
        Some("-1") => Ok(Some(0)),
        Some(text) => next(text).map(Some).ok_or_else(|| bad("after", "must be an index, or -1")),
    }
}

/// Where a stream starts: after what the reader had, else at `from`, else at the newest entry.
fn start(snapshot: &Snapshot, query: &Query, after: Option<u64>) -> Result<Place, Problem> {
    let size = snapshot.size().0;
    let next = match after {
        Some(next) if next > size => {
            let detail = format!("the stream is to go on at index {next}, but the ledger has {size}");
            return Err(Problem::new(problem::BAD_CURSOR, detail).with("size", size));
        }
        Some(next) => next,
        None if query.from_us.is_some() => 0,
        None => size,
    };
    let first = history::first(snapshot, query).map_err(|error| of_ledger(&error))?;
    Place::before(snapshot, query, next.max(first)).map_err(|error| read::of_history(&error))
}

/// One stream.
struct Follower {
    server: Arc<Server>,
    ledger: Arc<Ledger>,
    key: Arc<KeyRecord>,
    query: Arc<Query>,
    reading: Reading,
    place: Place,
    /// Size of the newest checkpoint that was sent.
    checkpoint: u64,
    changes: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    sender: mpsc::Sender<Bytes>,
    _slot: live::Slot,
}

/// What a look at the ledger gave.
struct Piece {
    place: Place,
    checkpoint: u64,
    out: Vec<u8>,
    opened: Opened,
    is_all: bool,
}

impl Follower {
    async fn run(mut self) {
        let mut quiet = 0;
        let mut out = format!("retry: {RETRY_MS}\n\n").into_bytes();
        loop {
            if let Some(reason) = self.over() {
                out.extend_from_slice(end(reason).as_bytes());
                self.send(out).await;
                return;
            }
            let is_all = match self.look(&mut out).await {
                Ok(is_all) => is_all,
                Err(reason) => {
                    out.extend_from_slice(end(reason).as_bytes());
                    self.send(out).await;
                    return;
                }
            };
            if out.is_empty() && quiet >= CHECKS_PER_COMMENT {
                out.extend_from_slice(b":\n\n");
            }
            if !out.is_empty() {
                quiet = 0;
                if !self.send(std::mem::take(&mut out)).await {
                    return;
                }
            }
            if is_all {
                tokio::select! {
                    changed = self.changes.changed() => if changed.is_err() { return },
                    _ = self.closing.changed() => {}
                    () = self.sender.closed() => return,
                    () = tokio::time::sleep(Duration::from_secs(KEY_CHECK_S)) => quiet += 1,
                }
            }
        }
    }

    /// Why the stream has to end now.
    fn over(&self) -> Option<&'static str> {
        let now_s = self.server.clock.now_us() / 1_000_000;
        if *self.closing.borrow() || !self.ledger.is_running() {
            Some("closing")
        } else {
            let key = self.server.keys.get(&self.key.id).filter(|key| key.is_live(now_s));
            let same =
                key.is_some_and(|key| (key.role, &key.ledgers) == (self.key.role, &self.key.ledgers));
            (!same).then_some("key")
        }
    }

    /// Writes what is new to `out`, up to a chunk; true where that was all, and why the stream has to end
    /// where it could not be read or the read not be recorded. Few streams read at a time, so that a
    /// thousand of them leave threads to other requests.
    async fn look(&mut self, out: &mut Vec<u8>) -> Result<bool, &'static str> {
        let published = self.ledger.published();
        let size = size_of(&published);
        if self.ledger.snapshot().size().0 <= self.place.next && size <= self.checkpoint {
            return Ok(true);
        }
        let piece = {
            let _permit = self.server.live.readers.acquire().await.map_err(|_| "closing")?;
            let (ledger, query) = (Arc::clone(&self.ledger), Arc::clone(&self.query));
            let (place, checkpoint) = (self.place, self.checkpoint);
            let read = off_thread(move || piece(&ledger, &query, place, checkpoint)).await;
            read.map_err(|_| "failed")?
        };
        let recorded = self.reading.record(&self.server, &piece.opened).await;
        recorded.map_err(|_| "unrecorded")?;
        self.place = piece.place;
        self.checkpoint = piece.checkpoint;
        out.extend_from_slice(&piece.out);
        Ok(piece.is_all)
    }

    /// Hands a chunk on; false where nobody takes it in time, or the server ends.
    async fn send(&mut self, chunk: Vec<u8>) -> bool {
        let in_time = Duration::from_secs(SLOW_READER_S);
        let was_closing = *self.closing.borrow();
        let sending = self.sender.send(chunk.into());
        tokio::select! {
            sent = tokio::time::timeout(in_time, sending) => matches!(sent, Ok(Ok(()))),
            // The last message is tried for as long as the server waits for its streams.
            _ = self.closing.changed(), if !was_closing => false,
        }
    }
}

/// The message that ends a stream.
fn end(reason: &str) -> String {
    format!("event: end\ndata: {{\"reason\":\"{reason}\"}}\n\n")
}

/// The next chunk of a stream.
fn piece(ledger: &Ledger, query: &Query, place: Place, sent: u64) -> Result<Piece, Problem> {
    // The checkpoint first: what it speaks of is then in the snapshot.
    let published = ledger.published();
    let snapshot = ledger.snapshot();
    let mut out = Vec::new();
    let mut opened = Opened::over(snapshot.size().0);
    let place = history::follow(&snapshot, query, place, |found| {
        match found {
            Found::Gap(gap) => {
                out.extend_from_slice(format!("event: gap\ndata: {}\n\n", json!(gap)).as_bytes());
            }
            Found::Event(stored, event) => {
                out.extend_from_slice(format!("id: {}\nevent: entry\ndata: ", stored.index).as_bytes());
                read::event_json(&stored, &event, &mut out);
                opened.add(stored.index, &stored.parts);
                out.extend_from_slice(b"\n\n");
            }
        }
        out.len() < CHUNK_BYTES
    });
    let place = place.map_err(|error| read::of_history(&error))?;
    let size = size_of(&published);
    let checkpoint = if size > sent && size <= place.next { size } else { sent };
    if checkpoint > sent {
        let last = place.next.saturating_sub(1);
        let data = json!({ "size": size, "checkpoint": published.as_str() });
        out.extend_from_slice(format!("id: {last}\nevent: checkpoint\ndata: {data}\n\n").as_bytes());
    }
    let is_all = place.next >= snapshot.size().0;
    Ok(Piece { place, checkpoint, out, opened, is_all })
}

/// The size that a checkpoint of the ledger's own speaks of (C2SP tlog-checkpoint, second line).
fn size_of(note: &str) -> u64 {
    note.lines().nth(1).and_then(decimal).unwrap_or(0)
}
