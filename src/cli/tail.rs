//! `counterfoil tail`
//!
//! In scope: following a stream, going on after a break. Out of scope: which events are in it. Invariants:
//! each event is printed once, in the order of the log, whatever the connection does; a line is written
//! whole and at once, so that stopping the command loses none that was shown.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::{Answer, Client};
use super::output::pause;
use super::query::{Conditions, line};
use super::{EXIT_GOOD, Failure, ServerArgs};

/// Seconds without a sign of life after which the connection counts as broken: three of the server's
/// comments.
const SILENCE_S_MAX: u64 = 45;

/// Seconds before the first attempt to connect again; doubled with each.
const WAIT_S_MIN: u64 = 1;

/// Seconds between two attempts at most.
const WAIT_S_MAX: u64 = 30;

/// Longest line that is read, in bytes: an event of 64 KiB with an attachment of 1 MiB, escaped, and room.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Messages read ahead.
const MESSAGES_AHEAD: usize = 16;

/// Follow events as they are recorded.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil tail\n  \
    counterfoil tail --type data.transferred --country US --json | jq .event.data.to\n  \
    counterfoil tail --since 0 --count 100\n\n\
    After a break the command connects again and goes on where it was. Ctrl-C ends it.")]
pub(crate) struct TailArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    conditions: Conditions,
    /// The first index to look at, or `now` for what is recorded from now on.
    #[arg(long, default_value = "now", value_name = "INDEX", value_parser = since)]
    since: Since,
    /// End after this many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

/// Where to begin.
#[derive(Debug, Clone, Copy)]
enum Since {
    Now,
    Index(u64),
}

fn since(text: &str) -> Result<Since, String> {
    if text == "now" {
        return Ok(Since::Now);
    }
    text.parse().map(Since::Index).map_err(|_| "an index, or `now`".to_owned())
}

/// A message of the stream (WHATWG HTML section 9.2.6); comments have no data.
#[derive(Debug, Default)]
struct Message {
    id: Option<u64>,
    event: String,
    data: String,
}

/// What remains to be done.
struct Tail<'a> {
    args: &'a TailArgs,
    /// Index of the last entry that was considered.
    last: Option<u64>,
    left: Option<u64>,
}

/// Why a connection is over.
enum Over {
    /// Everything that was asked for has been printed.
    Done,
    /// The connection broke; another one may go on.
    Broken(String),
}

/// Runs the command.
pub(crate) fn run(args: &TailArgs) -> Result<u8, Failure> {
    let client = Client::new(&args.server)?;
    let mut tail = Tail { args, last: None, left: args.count };
    let mut wait_s = WAIT_S_MIN;
    let mut connected_before = false;
    loop {
        let opened = tail.open(&client);
        let (why, asked_s) = match opened {
            Ok(Ok(reader)) => {
                if connected_before {
                    say!("Connected again.");
                }
                connected_before = true;
                wait_s = WAIT_S_MIN;
                match tail.follow(reader)? {
                    Over::Done => return Ok(EXIT_GOOD),
                    Over::Broken(why) => (why, None),
                }
            }
            // What the server refuses once it refuses again, and an address that never answered is wrong.
            Ok(Err(answer)) if answer.status < 500 || !connected_before => {
                answer.good()?;
                return Err(Failure::new("the server's answer is no stream"));
            }
            Ok(Err(answer)) => (format!("the server answered {}", answer.status), answer.retry_after_s),
            Err(failure) if connected_before => (failure.message, None),
            Err(failure) => return Err(failure),
        };
        let pause_s = asked_s.map_or(wait_s, |asked| asked.clamp(WAIT_S_MIN, WAIT_S_MAX));
        say!("{why}; connecting again in {pause_s} s");
        pause(Duration::from_secs(pause_s));
        wait_s = wait_s.saturating_mul(2).min(WAIT_S_MAX);
    }
}

impl Tail<'_> {
    fn open(&self, client: &Client) -> Result<Result<Box<dyn Read + Send>, Answer>, Failure> {
        let after = match (self.last, self.args.since) {
            (None, Since::Index(0)) => Some("-1".to_owned()),
            (None, Since::Index(first)) => Some((first - 1).to_string()),
            _ => None,
        };
        let path =
            format!("events/stream{}", self.args.conditions.parameters(&[("after", after.as_deref())]));
        let last = self.last.map(|last| last.to_string());
        let resuming = last.as_deref().map(|last| ("last-event-id", last));
        let accept = [("accept", "text/event-stream")];
        let headers: Vec<(&str, &str)> = accept.into_iter().chain(resuming).collect();
        client.open(&path, &headers)
    }

    /// Prints what comes until the connection is over.
    fn follow(&mut self, reader: Box<dyn Read + Send>) -> Result<Over, Failure> {
        let (sender, messages) = mpsc::sync_channel(MESSAGES_AHEAD);
        std::thread::spawn(move || read(reader, &sender));
        loop {
            let message = match next(&messages) {
                Ok(message) => message,
                Err(why) => return Ok(Over::Broken(why)),
            };
            match message.event.as_str() {
                "entry" => self.show(&message)?,
                "gap" => say!("gap: {}", message.data),
                "end" if message.data.contains("\"key\"") => {
                    return Err(Failure::new(
                        "the server ended the stream: the API key has expired, was revoked or has changed",
                    ));
                }
                "end" if message.data.contains("\"unrecorded\"") => {
                    let why =
                        "the server cannot record this read, and opens nothing personal unrecorded";
                    return Ok(Over::Broken(why.to_owned()));
                }
                "end" => return Ok(Over::Broken("the server ended the stream".to_owned())),
                _ => {}
            }
            self.last = message.id.or(self.last);
            if self.left == Some(0) {
                return Ok(Over::Done);
            }
        }
    }

    fn show(&mut self, message: &Message) -> Result<(), Failure> {
        let text = if self.args.json {
            message.data.clone()
        } else {
            let event: Value = serde_json::from_str(&message.data)
                .map_err(|_| Failure::new("the server sent an event that is not JSON"))?;
            line(&event)
        };
        self.left = self.left.map(|left| left.saturating_sub(1));
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.left = Some(0),
            other => other?,
        }
        Ok(())
    }
}

/// The next message, or why there is none.
fn next(messages: &Receiver<Result<Message, String>>) -> Result<Message, String> {
    match messages.recv_timeout(Duration::from_secs(SILENCE_S_MAX)) {
        Ok(message) => message,
        Err(RecvTimeoutError::Timeout) => Err(format!("nothing came for {SILENCE_S_MAX} s")),
        Err(RecvTimeoutError::Disconnected) => Err("the connection ended".to_owned()),
    }
}

/// Reads messages until the connection ends or nobody takes them.
fn read(reader: Box<dyn Read + Send>, sender: &SyncSender<Result<Message, String>>) {
    let mut reader = BufReader::new(reader);
    let mut message = Message::default();
    let mut text = Vec::new();
    loop {
        text.clear();
        let found = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text);
        let sent = match found {
            Err(error) => {
                let _ = sender.send(Err(format!("the connection broke: {error}")));
                return;
            }
            Ok(0) => return,
            Ok(_) if text.last() != Some(&b'\n') => {
                let _ = sender.send(Err("the connection broke in the middle of a message".to_owned()));
                return;
            }
            Ok(_) => {
                let line = String::from_utf8_lossy(&text);
                take_line(line.trim_end_matches(['\n', '\r']), &mut message)
                    .is_none_or(|whole| sender.send(Ok(whole)).is_ok())
            }
        };
        if !sent {
            return;
        }
    }
}

/// Takes one line into `message`; the whole message at the empty line that ends it.
fn take_line(line: &str, message: &mut Message) -> Option<Message> {
    if line.is_empty() {
        return Some(std::mem::take(message));
    }
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    let value = value.strip_prefix(' ').unwrap_or(value);
    match name {
        "id" => message.id = value.parse().ok(),
        "event" => value.clone_into(&mut message.event),
        "data" => {
            let joint = if message.data.is_empty() { "" } else { "\n" };
            let _ = write!(message.data, "{joint}{value}");
        }
        _ => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_messages() {
        let (sender, messages) = mpsc::sync_channel(MESSAGES_AHEAD);
        let text =
            "retry: 2\n\n:\n\nid: 7\nevent: entry\ndata: a\ndata:b\n\nid: 8\nevent: entry\ndata: half";
        read(Box::new(text.as_bytes()), &sender);
        drop(sender);
        let mut all: Vec<_> = messages.iter().collect();
        assert!(all.pop().unwrap().is_err(), "a message that was cut off is none");
        let whole = all.pop().unwrap().unwrap();
        assert_eq!((whole.id, whole.event.as_str(), whole.data.as_str()), (Some(7), "entry", "a\nb"));
    }
}
