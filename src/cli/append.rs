//! `counterfoil append`
//!
//! In scope: one event or a file of them, and their receipts. Out of scope: other products' formats
//! (`import`). Invariant: what is printed is what the server answered.

use std::path::PathBuf;

use clap::Args;

use super::client::{Client, problem_sentence};
use super::output::{read_input, write_output};
use super::{EXIT_ERROR, EXIT_GOOD, Failure, ServerArgs};

/// Bytes of one input file at most: the largest request.
const INPUT_BYTES_MAX: u64 = 8 << 20;

/// Append events and print their receipts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil append event.json -o receipt.json\n  \
    counterfoil append events.ndjson --full\n  echo '{…}' | counterfoil append -")]
pub(crate) struct AppendArgs {
    /// A file with one event, a JSON array of events, or one event per line; `-` for standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
    /// Ask for proof, entry and openings with each receipt (one event gets them anyway).
    #[arg(long)]
    full: bool,
    /// Store what can be stored even where some events are refused.
    #[arg(long)]
    partial: bool,
    /// Where to write the answer.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &AppendArgs) -> Result<u8, Failure> {
    let bytes = read_input(&args.file, INPUT_BYTES_MAX)?;
    let client = Client::new(&args.server)?;
    let content_type = content_type(&bytes);
    let path = if args.partial { "events?atomic=false" } else { "events" };
    let path = if content_type == "application/json" { "events" } else { path };
    let prefer: &[(&str, &str)] = if args.full { &[("prefer", "receipt=full")] } else { &[] };
    let answer = client.post(path, content_type, prefer, &bytes)?;
    if !(200..300).contains(&answer.status) {
        return Err(Failure::new(problem_sentence(answer.status, &answer.body)));
    }
    write_output(args.output.as_deref(), &answer.body)?;
    let some_refused = args.partial && answer.body.windows(9).any(|window| window == b"{\"error\":");
    Ok(if some_refused { EXIT_ERROR } else { EXIT_GOOD })
}

/// One JSON object is one event, an array a batch, several lines NDJSON.
fn content_type(bytes: &[u8]) -> &'static str {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return "application/cloudevents-batch+json";
    }
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let whole_lines = lines.clone().all(|line| {
        let line = line.trim_ascii();
        line.first() == Some(&b'{') && line.last() == Some(&b'}')
    });
    if lines.count() > 1 && whole_lines { "application/x-ndjson" } else { "application/json" }
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
