//! `counterfoil append`
//!
//! In scope: one event or many, and their receipts. Out of scope: other products' formats (`import`).
//! Invariants: what is printed is what the server answered; what fits one request goes in one, as it
//! stands and atomic unless told otherwise; what is spooled is sent or still in the spool.

mod stream;

use std::io::Read;
use std::path::PathBuf;

use clap::Args;

use crate::event::limits::{REQUEST_BYTES_MAX, REQUEST_EVENTS_MAX};

use super::client::{Client, KeepArgs};
use super::output::{open_input, write_output};
use super::{EXIT_ERROR, EXIT_GOOD, Failure, ServerArgs};

/// Append events and print their receipts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil append event.json -o receipt.json\n  \
    counterfoil append events.ndjson --full\n  echo '{…}' | counterfoil append -\n  \
    counterfoil append --spool spool --receipts receipts --verifier-key verifier.key events.ndjson\n  \
    counterfoil append --spool spool /dev/null     # sends what is left there\n\n\
    What is larger than one request (8 MiB or 10,000 events) is one event per line and is sent in\n\
    several, each event for itself. So is everything that is spooled, kept or checked.\n\n\
    Exit codes: 0 all events are in the ledger, 1 some were refused or an error, 3 the server\n\
    contradicts what it signed, 4 events are left in the spool.")]
pub(crate) struct AppendArgs {
    /// A file with one event, a JSON array of events, or one event per line; `-` for standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    keep: KeepArgs,
    /// How long a server that acknowledges nothing is waited for, where the events are spooled.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "spool")]
    wait: u64,
    /// Ask for proof, entry and openings with each receipt (one event gets them anyway).
    #[arg(long)]
    full: bool,
    /// Store what can be stored even where some events are refused.
    #[arg(long)]
    partial: bool,
    /// Print JSON, which the answer is anyway.
    #[arg(long)]
    json: bool,
    /// Where to write the answer; standard output where absent.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &AppendArgs) -> Result<u8, Failure> {
    let client = Client::new(&args.server)?;
    let mut source = open_input(&args.file)?;
    if args.keep.is_used() {
        return stream::run(args, &client, source);
    }
    let mut bytes = Vec::new();
    let bytes_max = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
    let read = source.by_ref().take(bytes_max + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::new(format!("{}: {error}", args.file.display())))?;
    let content_type = content_type(&bytes);
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let many = content_type == NDJSON && lines.count() > REQUEST_EVENTS_MAX;
    if many || bytes.len() > REQUEST_BYTES_MAX {
        return stream::run(args, &client, Box::new(std::io::Cursor::new(bytes).chain(source)));
    }
    one_request(args, &client, content_type, &bytes)
}

fn one_request(
    args: &AppendArgs,
    client: &Client,
    content_type: &str,
    bytes: &[u8],
) -> Result<u8, Failure> {
    let path = if args.partial { "events?atomic=false" } else { "events" };
    let path = if content_type == JSON { "events" } else { path };
    let prefer: &[(&str, &str)] = if args.full { &[("prefer", "receipt=full")] } else { &[] };
    let answer = client.post(path, content_type, prefer, bytes)?;
    if !(200..300).contains(&answer.status) {
        return Err(Failure::new(answer.sentence()));
    }
    write_output(args.output.as_deref(), &answer.body)?;
    let some_refused = args.partial && answer.body.windows(9).any(|window| window == b"{\"error\":");
    Ok(if some_refused { EXIT_ERROR } else { EXIT_GOOD })
}

const JSON: &str = "application/json";
const BATCH: &str = "application/cloudevents-batch+json";
const NDJSON: &str = "application/x-ndjson";

/// One JSON object is one event, an array a batch, several lines NDJSON.
fn content_type(bytes: &[u8]) -> &'static str {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return BATCH;
    }
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let whole_lines = lines.clone().all(|line| {
        let line = line.trim_ascii();
        line.first() == Some(&b'{') && line.last() == Some(&b'}')
    });
    if lines.count() > 1 && whole_lines { NDJSON } else { JSON }
}

#[cfg(test)]
mod tests {
    use super::content_type;

    #[test]
    fn tells_one_event_from_many() {
        assert_eq!(content_type(b"{\n \"a\": 1\n}\n"), "application/json");
        assert_eq!(content_type(b"{\"a\":1}\n\n{\"a\":2}\n"), "application/x-ndjson");
        assert_eq!(content_type(b" [{}]"), "application/cloudevents-batch+json");
    }
}
