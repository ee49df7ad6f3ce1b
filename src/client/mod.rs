//! The producer's side of a ledger: events in, checked receipts out.
//!
//! In scope: batches, sending again, events kept on disk while the server is away, receipts checked
//! and kept, a server that contradicts itself told. Out of scope: searching and administering; the
//! verdicts, which [`crate::prove`] gives. Invariants: an event that was accepted is settled (in the
//! ledger, or refused with a reason) or still in the spool; an event is sent again under its id only;
//! no receipt is handed out unchecked; nothing waits without a bound on its size.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use counterfoil::client::Client;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("https://ledger.example:7423")
//!     .ledger("main")
//!     .key_file("producer.key")
//!     .verifier_key(std::fs::read_to_string("verifier.key")?.trim().parse()?)
//!     .spool_dir("/var/lib/crm/spool")
//!     .receipts_dir("/var/lib/crm/receipts")
//!     .build()?;
//!
//! let pending = client.append_json(
//!     r#"{"type":"data.accessed","org":"acme","producer":"crm","at":"2025-09-10T13:42:30+02:00",
//!         "subject":"s-1042","actor":"agent-17","actor_role":"support","operation":"read",
//!         "purpose":"support","categories":["contact"]}"#,
//! )?;
//! let acknowledged = pending.wait()?;
//! println!("entry {}: {}", acknowledged.index(), acknowledged.verdict());
//!
//! client.flush(Duration::from_secs(30))?;
//! client.close()?;
//! # Ok(())
//! # }
//! ```

mod answer;
mod builder;
mod check;
mod directory;
mod error;
mod keep;
mod pending;
mod queue;
mod shared;
mod spool;
pub mod transport;
mod watch;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{Clock, new_id};
use crate::event::envelope::{self, Event};
use crate::event::error::EventError;
use crate::event::json::{self, JsonLimits, Value};
use crate::event::limits::{DEPTH_MAX, STRUCTURED_BYTES_MAX};

pub use builder::Builder;
pub use error::{ClientError, Refusal, Tampered};
pub use pending::{Acknowledged, Outcome, Pending};

use shared::Shared;

/// How much a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptKind {
    /// Position and leaf hash; proofs can be fetched later.
    Brief,
    /// Also proof, signed checkpoint, entry and openings: the receipt proves by itself.
    Full,
}

/// What [`Client::append`] does when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// Waits until there is.
    Block,
    /// Fails with [`ClientError::QueueFull`] or [`ClientError::SpoolFull`].
    Refuse,
}

/// How long a server that acknowledges nothing is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// For ever: for services.
    Endless,
    /// For programs that a person waits for: an address that leads nowhere and a failure that waiting
    /// does not mend end the client at once, others after this many attempts in a row.
    Attended {
        /// Attempts after the first.
        retries_max: u32,
    },
}

/// A producer's connection to one ledger. Threads may share it.
///
/// Dropping it is closing it without asking what is left; either waits for a request that is under way.
pub struct Client {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    on_full: OnFull,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("unsettled", &self.shared.unsettled()).finish_non_exhaustive()
    }
}

impl Client {
    /// Begins a client of the server at `url`: its root, or a ledger's prefix.
    #[must_use]
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    /// Accepts an event; with a spool it is on disk when this returns. An empty id is replaced by a new
    /// one. The handle may be dropped.
    ///
    /// # Errors
    /// No room, no disk, or the client has ended, with the reason. The event was then not accepted.
    pub fn append(&self, event: Event) -> Result<Pending, ClientError> {
        let mut handles = self.append_all(vec![event])?;
        handles.pop().ok_or(ClientError::Closed)
    }

    /// Accepts an event given as JSON, in either form; one without an id gets a new one.
    ///
    /// # Errors
    /// As [`Client::append`]; also where the text is not an event.
    pub fn append_json(&self, text: impl AsRef<[u8]>) -> Result<Pending, ClientError> {
        self.append(self.read(text.as_ref())?)
    }

    /// Accepts events in this order, with one flush of the disk for all.
    ///
    /// # Errors
    /// As [`Client::append`]. Some of the events may have been accepted and are then sent; ids make it
    /// harmless to append them again.
    pub fn append_all(&self, events: Vec<Event>) -> Result<Vec<Pending>, ClientError> {
        let mut lines = Vec::with_capacity(events.len());
        for mut event in events {
            if event.id.is_empty() {
                event.id = new_id(self.clock.now_us())?;
            }
            let line = event.canonical_content();
            lines.push((event.id, line));
        }
        self.shared.accept(lines, self.on_full)
    }

    /// Reads an event from JSON and gives it an id where it has none, without accepting it.
    ///
    /// # Errors
    /// Where the text is not an event.
    pub fn read(&self, text: &[u8]) -> Result<Event, ClientError> {
        let limits = JsonLimits { depth_max: DEPTH_MAX, bytes_max: STRUCTURED_BYTES_MAX };
        let is_unnamed =
            |id: Option<&Value>| id.is_none_or(|id| id.is_null() || id.as_str() == Some(""));
        match json::parse(text, &limits).map_err(EventError::from)? {
            Value::Object(mut object) if is_unnamed(object.get("id")) => {
                object.insert("id", new_id(self.clock.now_us())?);
                Ok(envelope::from_value(Value::Object(object))?)
            }
            _ => Ok(envelope::parse_structured(text)?),
        }
    }

    /// Events accepted and not settled yet, with what was left in the spool.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.shared.unsettled()
    }

    /// Waits until every event accepted before is acknowledged or refused.
    ///
    /// # Errors
    /// [`ClientError::Unacknowledged`] when `patience` ends first; the reason where the client has
    /// ended. The events stay where they are.
    pub fn flush(&self, patience: Duration) -> Result<(), ClientError> {
        self.shared.flush(patience)
    }

    /// Ends the client without sending more, and says how many events are left in the spool for the
    /// next one. Call [`Client::flush`] before.
    ///
    /// # Errors
    /// [`ClientError::Unacknowledged`] where events are lost because there is no spool; the reason where
    /// the client had ended before.
    pub fn close(mut self) -> Result<u64, ClientError> {
        self.end();
        let events = self.shared.unsettled();
        match self.shared.ended() {
            Some(ClientError::Closed) | None => {}
            Some(why) => return Err(why),
        }
        match self.shared.spool() {
            Some(spool) => {
                spool.retire()?;
                Ok(events)
            }
            None if events > 0 => Err(ClientError::Unacknowledged { events }),
            None => Ok(0),
        }
    }

    fn end(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.shared.end(ClientError::Closed);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    /// The lines of a code block, without those that a documentation test hides.
    fn shown<'t>(text: &'t str, fence: &str, prefix: &str) -> Vec<&'t str> {
        let lines = text.lines().skip_while(|line| *line != fence).skip(1);
        let block = lines.take_while(|line| line.trim_end() != format!("{prefix}```"));
        let block = block.map(|line| line.strip_prefix(prefix).unwrap_or("").trim_end());
        block.filter(|line| !line.starts_with("# ")).collect()
    }

    #[test]
    fn the_documented_example_is_the_one_that_is_compiled() {
        let compiled = shown(include_str!("mod.rs"), "//! ```no_run", "//! ");
        let documented = shown(include_str!("../../docs/integrating.md"), "```rust", "");
        assert!(compiled.len() > 10, "{compiled:?}");
        assert_eq!(compiled, documented);
    }
}
