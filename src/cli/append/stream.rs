//! Events through the producer's client: more than one request holds, or spooled, kept and checked.
//!
//! In scope: reading events as they come, answers in their order, a server that is away. Out of scope:
//! sending. Invariants: memory holds a bounded number of events that wait for their answers; an event
//! that was read is in the ledger, refused and told, or in the spool when the command ends well.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use serde_json::json;

use crate::client::{Client as Producer, ClientError, OnFull, Patience, Pending, ReceiptKind, Refusal};
use crate::event::error::EventError;
use crate::event::json::{self as strict, JsonLimits, Value};
use crate::event::limits::{DEPTH_MAX, REQUEST_BYTES_MAX, STRUCTURED_BYTES_MAX};
use crate::http::problem::{self, Problem};

use super::super::client::{Client, failure_of};
use super::super::output::open_output;
use super::super::{EXIT_ERROR, EXIT_GOOD, EXIT_NOT_PROVABLE, Failure};
use super::{AppendArgs, BATCH, content_type};

/// Events that wait for their answers at most; a handle takes about 300 bytes.
const AWAITED_MAX: usize = 50_000;

/// Lines that are accepted together, with one flush of the disk, where that many are there already.
const LINES_TOGETHER: usize = 500;

/// Bytes of them.
const BYTES_TOGETHER: usize = 1 << 20;

/// Attempts in a row that may come to nothing where nothing is spooled: about three minutes.
const RETRIES_MAX: u32 = 12;

/// Longest wait for what cannot be waited for without a bound; the client gives up before.
const LONG: Duration = Duration::from_hours(24);

/// Runs the command on events from `source`.
pub(super) fn run(args: &AppendArgs, client: &Client, source: Box<dyn Read>) -> Result<u8, Failure> {
    let kind = if args.full { ReceiptKind::Full } else { ReceiptKind::Brief };
    let spooled = args.keep.spool.is_some();
    let patience =
        if spooled { Patience::Endless } else { Patience::Attended { retries_max: RETRIES_MAX } };
    // A spool that is full is waited for here, with an end.
    let on_full = if spooled { OnFull::Refuse } else { OnFull::Block };
    let builder = args.keep.builder(client)?.receipt(kind).patience(patience).on_full(on_full);
    let builder = builder.on_wait(|why| say!("{why}\nTrying again"));
    let producer = builder.build().map_err(|error| failure_of(&error))?;
    let mut stream = Stream {
        producer: &producer,
        wait: if spooled { Duration::from_secs(args.wait) } else { LONG },
        awaited: VecDeque::new(),
        out: Out { write: open_output(args.output.as_deref())?, alone: false, written: 0, refused: 0 },
        away: false,
    };
    let ended = stream.all(source).and_then(|()| stream.finish());
    let (refused, away) = (stream.out.refused, stream.away);
    drop(stream);
    let closed = producer.close();
    let left = match (ended, closed) {
        (Err(failure), _) => return Err(failure),
        (Ok(()), Err(error)) => return Err(failure_of(&error)),
        (Ok(()), Ok(left)) => left,
    };
    if left > 0 {
        let dir = args.keep.spool.as_deref().unwrap_or(&args.file).display();
        say!(
            "counterfoil: {left} events are in the spool {dir} and not acknowledged; \
             `counterfoil append --spool {dir} /dev/null` sends them"
        );
        return Ok(EXIT_NOT_PROVABLE);
    }
    if refused > 0 {
        say!("counterfoil: {refused} events were refused");
    }
    if away {
        say!("counterfoil: the server was away for a while; not every answer was printed");
        return Ok(EXIT_NOT_PROVABLE);
    }
    Ok(if refused > 0 { EXIT_ERROR } else { EXIT_GOOD })
}

/// What is printed for one event.
enum Awaited {
    Handle(Pending),
    Refused(Refusal),
}

/// The answer, written as it comes in.
struct Out {
    write: Box<dyn Write>,
    /// One event: its receipt is the answer, as the server gives it.
    alone: bool,
    written: u64,
    refused: u64,
}

impl Out {
    fn one(&mut self, item: &[u8]) -> Result<(), Failure> {
        if !self.alone {
            self.write.write_all(if self.written == 0 { b"{\"receipts\":[" } else { b"," })?;
        }
        self.written += 1;
        Ok(self.write.write_all(item)?)
    }

    fn refusal(&mut self, refusal: &Refusal) -> Result<(), Failure> {
        self.refused += 1;
        if self.alone {
            return Err(Failure::new(refusal.to_string()));
        }
        self.one(format!("{{\"error\":{}}}", refusal.problem).as_bytes())
    }

    fn end(&mut self) -> Result<(), Failure> {
        if !self.alone {
            self.write.write_all(if self.written == 0 { b"{\"receipts\":[]}" } else { b"]}" })?;
        }
        self.write.write_all(b"\n")?;
        Ok(self.write.flush()?)
    }
}

struct Stream<'a> {
    producer: &'a Producer,
    wait: Duration,
    awaited: VecDeque<Awaited>,
    out: Out,
    /// Whether the server was waited for in vain; answers are no longer printed then.
    away: bool,
}

impl Stream<'_> {
    fn all(&mut self, source: Box<dyn Read>) -> Result<(), Failure> {
        let mut reader = BufReader::with_capacity(64 << 10, source);
        let mut first = Vec::new();
        read_line(&mut reader, &mut first)?;
        if first.trim_ascii().is_empty() || is_json(&first) || is_line(&first, reader.fill_buf()?) {
            return self.lines(first, &mut reader);
        }
        // One event or an array, over several lines.
        let limit = u64::try_from(REQUEST_BYTES_MAX - first.len().min(REQUEST_BYTES_MAX)).unwrap_or(0);
        reader.take(limit + 1).read_to_end(&mut first)?;
        if first.len() > REQUEST_BYTES_MAX {
            return Err(Failure::usage(format!(
                "what is larger than {REQUEST_BYTES_MAX} bytes must have one event per line"
            )));
        }
        if content_type(&first) == BATCH {
            return self.array(&first);
        }
        self.out.alone = true;
        self.accept(&[first])
    }

    /// One event per line, as they come.
    fn lines(&mut self, first: Vec<u8>, reader: &mut BufReader<Box<dyn Read>>) -> Result<(), Failure> {
        let is_first = !first.trim_ascii().is_empty();
        if is_first && reader.fill_buf()?.is_empty() {
            self.out.alone = true;
        }
        let mut together = vec![first];
        loop {
            let mut bytes = 0;
            // What is not there yet is not waited for while there is something to accept.
            while together.is_empty()
                || (reader.buffer().contains(&b'\n')
                    && together.len() < LINES_TOGETHER
                    && bytes < BYTES_TOGETHER)
            {
                let mut line = Vec::new();
                if read_line(reader, &mut line)? == 0 {
                    return self.accept(&together);
                }
                bytes += line.len();
                together.push(line);
            }
            self.accept(&together)?;
            together.clear();
        }
    }

    fn array(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let limits = JsonLimits { depth_max: DEPTH_MAX + 1, bytes_max: REQUEST_BYTES_MAX };
        match strict::parse(bytes, &limits) {
            Ok(Value::Array(items)) => {
                let lines: Vec<Vec<u8>> = items.iter().map(Value::to_canonical).collect();
                self.accept(&lines)
            }
            Ok(_) => Err(Failure::new("the input is not a JSON array")),
            Err(error) => Err(Failure::new(format!("the input is no JSON array of events: {error}"))),
        }
    }

    /// Hands events to the client, and prints what is answered meanwhile.
    fn accept(&mut self, lines: &[Vec<u8>]) -> Result<(), Failure> {
        let mut events = Vec::with_capacity(lines.len());
        let mut outcomes = Vec::with_capacity(lines.len());
        for line in lines.iter().filter(|line| !line.trim_ascii().is_empty()) {
            match self.producer.read(line.trim_ascii()) {
                Ok(event) => {
                    events.push(event);
                    outcomes.push(None);
                }
                Err(ClientError::Event(error)) => outcomes.push(Some(refusal_of(&error))),
                Err(error) => return Err(failure_of(&error)),
            }
        }
        let handles = match self.producer.append_all(events.clone()) {
            Err(ClientError::SpoolFull { .. }) => {
                self.drain(0)?;
                self.flush()?;
                self.producer.append_all(events)
            }
            accepted => accepted,
        };
        let mut handles = handles.map_err(|error| failure_of(&error))?.into_iter();
        for outcome in outcomes {
            match outcome {
                Some(refusal) => self.awaited.push_back(Awaited::Refused(refusal)),
                None => self.awaited.extend(handles.next().map(Awaited::Handle)),
            }
        }
        self.drain(AWAITED_MAX)
    }

    /// Prints answers in order: all that are there, and more until `kept` events wait at most.
    fn drain(&mut self, kept: usize) -> Result<(), Failure> {
        while let Some(next) = self.awaited.pop_front() {
            let patience = if self.awaited.len() < kept { Duration::ZERO } else { self.wait };
            let handle = match next {
                Awaited::Refused(_) if self.away => {
                    self.out.refused += 1;
                    continue;
                }
                Awaited::Refused(refusal) => {
                    self.out.refusal(&refusal)?;
                    continue;
                }
                Awaited::Handle(handle) if self.away => {
                    drop(handle);
                    continue;
                }
                Awaited::Handle(handle) => handle,
            };
            match handle.wait_for(patience) {
                Ok(Ok(acknowledged)) => self.out.one(&acknowledged.receipt.to_json())?,
                Ok(Err(ClientError::Refused(refusal))) => self.out.refusal(&refusal)?,
                Ok(Err(error)) => return Err(failure_of(&error)),
                Err(handle) if self.awaited.len() < kept => {
                    self.awaited.push_front(Awaited::Handle(handle));
                    return Ok(());
                }
                Err(_) => self.away = true,
            }
        }
        Ok(())
    }

    /// Waits until everything is settled, as long as there is progress.
    fn flush(&mut self) -> Result<(), Failure> {
        loop {
            let before = self.producer.unsettled();
            match self.producer.flush(self.wait) {
                Ok(()) => return Ok(()),
                Err(ClientError::Unacknowledged { .. }) if self.producer.unsettled() < before => {}
                Err(ClientError::Unacknowledged { .. }) => {
                    self.away = true;
                    return Ok(());
                }
                Err(error) => return Err(failure_of(&error)),
            }
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.flush()?;
        self.drain(0)?;
        self.out.end()
    }
}

/// Reads a line of at most what one event may take.
fn read_line(reader: &mut BufReader<Box<dyn Read>>, line: &mut Vec<u8>) -> Result<usize, Failure> {
    let limit = u64::try_from(STRUCTURED_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let read = reader.take(limit + 1).read_until(b'\n', line)?;
    if line.len() > STRUCTURED_BYTES_MAX + 1 {
        return Err(Failure::new(format!("a line is longer than {STRUCTURED_BYTES_MAX} bytes")));
    }
    Ok(read)
}

/// Whether a line that is no event by itself stands for one all the same, since another follows.
fn is_line(line: &[u8], following: &[u8]) -> bool {
    let line = line.trim_ascii();
    let whole = line.first() == Some(&b'{') && line.last() == Some(&b'}');
    whole && following.trim_ascii_start().first() == Some(&b'{')
}

fn is_json(line: &[u8]) -> bool {
    let limits = JsonLimits { depth_max: DEPTH_MAX, bytes_max: STRUCTURED_BYTES_MAX };
    matches!(strict::parse(line.trim_ascii(), &limits), Ok(Value::Object(_)))
}

/// An event that is none, in the words the server would use.
fn refusal_of(error: &EventError) -> Refusal {
    let kind = problem::by_slug(error.problem());
    let problem = Problem::new(kind, error.to_string())
        .with("errors", vec![json!({ "pointer": error.pointer, "code": kind.slug })]);
    Refusal {
        status: kind.status,
        code: kind.slug.to_owned(),
        detail: problem.detail().to_owned(),
        problem: problem.to_json().to_string(),
    }
}
