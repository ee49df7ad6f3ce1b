//! `counterfoil query`
//!
//! In scope: conditions as flags, pages followed to the end where asked. Out of scope: searching.
//! Invariant: an answer that goes on is never shown as if it ended: exit code 4 says so.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::output::{OutputFile, open_output, write_piece};
use super::{EXIT_GOOD, EXIT_NOT_PROVABLE, Failure, ServerArgs};

/// What events must meet.
#[derive(Debug, Args)]
pub(crate) struct Conditions {
    /// The person the data is about.
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Who acted.
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// The account.
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// The telephone number.
    #[arg(long, value_name = "ID")]
    number: Option<String>,
    /// The resource (the `CloudEvents` attribute `subject`).
    #[arg(long, value_name = "ID")]
    resource: Option<String>,
    /// Event type.
    #[arg(long = "type", value_name = "TYPE")]
    type_name: Option<String>,
    /// Envelope source.
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Who received data.
    #[arg(long, value_name = "VALUE")]
    recipient: Option<String>,
    /// Category of data.
    #[arg(long, value_name = "VALUE")]
    category: Option<String>,
    /// Purpose.
    #[arg(long, value_name = "VALUE")]
    purpose: Option<String>,
    /// Country, ISO 3166-1 alpha-2.
    #[arg(long, value_name = "CODE")]
    country: Option<String>,
    /// Request or demand.
    #[arg(long, value_name = "VALUE")]
    request: Option<String>,
    /// Outcome.
    #[arg(long, value_name = "VALUE")]
    outcome: Option<String>,
    /// Correlation id.
    #[arg(long, value_name = "VALUE")]
    correlation: Option<String>,
    /// Trace id.
    #[arg(long, value_name = "VALUE")]
    trace: Option<String>,
    /// First moment in view, RFC 3339.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// First moment after the view, RFC 3339.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Which clock `--from` and `--to` speak of.
    #[arg(long, value_name = "CLOCK", value_parser = ["occurred", "recorded"])]
    clock: Option<String>,
    /// Text that the opened event must contain.
    #[arg(long = "text", value_name = "TEXT")]
    q: Option<String>,
    /// Why personal parts are read, for keys that need a reason.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Search events.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil query --subject s1 --reason 'request r1'\n  \
    counterfoil query --type data.transferred --country US --from 2025-01-01T00:00:00Z --all --json")]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    conditions: Conditions,
    /// Oldest first or newest first.
    #[arg(long, value_name = "ORDER", value_parser = ["asc", "desc"])]
    order: Option<String>,
    /// Events in one page, 1 to 1000.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Follow the pages to the end.
    #[arg(long)]
    all: bool,
    /// Print JSON: one page, or with `--all` one event per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: OutputFile,
}

impl Conditions {
    /// The query string, `?` included, with `more` parameters; empty where there are none.
    pub(crate) fn parameters(&self, more: &[(&str, Option<&str>)]) -> String {
        let own = [
            ("subject", &self.subject),
            ("actor", &self.actor),
            ("account", &self.account),
            ("number", &self.number),
            ("resource", &self.resource),
            ("type", &self.type_name),
            ("source", &self.source),
            ("recipient", &self.recipient),
            ("category", &self.category),
            ("purpose", &self.purpose),
            ("country", &self.country),
            ("request", &self.request),
            ("outcome", &self.outcome),
            ("correlation", &self.correlation),
            ("trace", &self.trace),
            ("from", &self.from),
            ("to", &self.to),
            ("clock", &self.clock),
            ("q", &self.q),
            ("reason", &self.reason),
        ];
        let own = own.into_iter().map(|(name, value)| (name, value.as_deref()));
        let mut text = String::new();
        for (name, value) in own.chain(more.iter().copied()) {
            if let Some(value) = value {
                let joint = if text.is_empty() { '?' } else { '&' };
                let _ = write!(text, "{joint}{name}={}", percent_encode(value));
            }
        }
        text
    }
}

/// Runs the command.
pub(crate) fn run(args: &QueryArgs) -> Result<u8, Failure> {
    let client = Client::new(&args.server)?;
    let limit = args.limit.map(|limit| limit.to_string());
    let more = [("order", args.order.as_deref()), ("limit", limit.as_deref())];
    let parameters = args.conditions.parameters(&more);
    let mut out = open_output(args.file.output.as_deref())?;
    let mut cursor: Option<String> = None;
    loop {
        let joint = if parameters.is_empty() { '?' } else { '&' };
        let going_on = cursor.as_ref().map_or(String::new(), |cursor| format!("{joint}cursor={cursor}"));
        let answer = client.get(&format!("events{parameters}{going_on}"), "application/json")?.good()?;
        let page: Value = serde_json::from_slice(&answer)
            .map_err(|_| Failure::new("the server's answer is not JSON"))?;
        show(args, &page, &answer, &mut *out)?;
        let next = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        match next {
            None => return Ok(EXIT_GOOD),
            Some(_) if !args.all => {
                if !args.json {
                    say!("More events match; --all follows the pages to the end.");
                }
                return Ok(EXIT_NOT_PROVABLE);
            }
            next => cursor = next,
        }
    }
}

fn show(args: &QueryArgs, page: &Value, answer: &[u8], out: &mut dyn Write) -> Result<(), Failure> {
    if args.json && !args.all {
        return write_piece(out, &[answer, b"\n"].concat());
    }
    let events = page.get("events").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut text = String::new();
    for event in events {
        if args.json {
            let _ = writeln!(text, "{event}");
        } else {
            let _ = writeln!(text, "{}", line(event));
        }
    }
    write_piece(out, text.as_bytes())?;
    if !args.json {
        let as_of = page.get("as_of").and_then(|as_of| as_of.get("size")).and_then(Value::as_u64);
        say!("{} events, as of {} entries", events.len(), as_of.unwrap_or(0));
    }
    Ok(())
}

/// One event on one line: index, time, type, who, and the states of parts that are not open.
pub(crate) fn line(event: &Value) -> String {
    let at = |path: &[&str]| {
        let mut value = event;
        for name in path {
            value = value.get(name)?;
        }
        value.as_str()
    };
    let index = event.get("index").and_then(Value::as_u64).unwrap_or(0);
    let time = at(&["event", "time"]).or_else(|| at(&["recorded_at"])).unwrap_or("");
    let mut line = format!("{index:>8}  {time}  {}", at(&["event", "type"]).unwrap_or("?"));
    for name in ["subject", "actor", "to", "purpose"] {
        if let Some(value) = at(&["event", "data", name]) {
            let _ = write!(line, "  {name}={value}");
        }
    }
    let parts = event.get("parts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for part in parts {
        let state = part.get("state").and_then(Value::as_str).unwrap_or("");
        if state != "open" {
            let _ =
                write!(line, "  [{} {state}]", part.get("role").and_then(Value::as_str).unwrap_or(""));
        }
    }
    line
}

/// Percent-encodes a query value.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}
