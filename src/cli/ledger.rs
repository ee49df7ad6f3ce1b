//! `counterfoil ledger`
//!
//! In scope: listing, showing and adding the ledgers of a server, and who appends to one. Out of scope: the
//! data directory's first ledger (`init`). Invariant: a verifier key is printed so that it can be handed on.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Printed, write_output};
use super::{EXIT_GOOD, Failure, ServerArgs};

/// Manage the ledgers of a server.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    counterfoil ledger add clinic --origin ledger.example/clinic -o clinic.vkey\n  \
    counterfoil ledger list\n  counterfoil ledger show --ledger clinic\n  \
    counterfoil ledger producers\n\n\
    Each ledger has a log, keys and persons of its own. A ledger is never removed.")]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the ledgers that the key is good for.
    List(PlainArgs),
    /// Show one ledger: its verifier key, sizes and state.
    Show(PlainArgs),
    /// Add a ledger with keys of its own; the server takes it in at once.
    Add(AddArgs),
    /// List who may append to a ledger, and how long each source has been silent.
    Producers(PlainArgs),
}

#[derive(Debug, Args)]
struct PlainArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Args)]
struct AddArgs {
    /// Its name in URLs: 1 to 63 characters of a-z, 0-9 and -.
    #[arg(value_name = "NAME")]
    name: String,
    /// Name of its key and first line of its checkpoints, for ever, such as ledger.example/clinic. Random
    /// where absent.
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// A file for its verifier key.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &LedgerArgs) -> Result<u8, Failure> {
    match &args.what {
        What::List(args) => {
            let answer = Client::new(&args.server)?.call("GET", "/v1/ledgers", None)?;
            let ledgers = answer.get("ledgers").and_then(Value::as_array).into_iter().flatten();
            let lines: Vec<String> = ledgers.map(line).collect();
            args.printed.print(&answer, &lines.join("\n"))
        }
        What::Show(args) => {
            let path = format!("/v1/ledgers/{}", args.server.ledger);
            let answer = Client::new(&args.server)?.call("GET", &path, None)?;
            let text = format!("{}\nverifier key  {}", line(&answer), text(&answer, "verifier_key"));
            args.printed.print(&answer, &text)
        }
        What::Add(args) => add(args),
        What::Producers(args) => {
            let path = format!("/v1/producers?ledger={}", args.server.ledger);
            let answer = Client::new(&args.server)?.call("GET", &path, None)?;
            let listed = answer.get("producers").and_then(Value::as_array).into_iter().flatten();
            let lines: Vec<String> = listed.flat_map(producer_lines).collect();
            args.printed.print(&answer, &lines.join("\n"))
        }
    }
}

fn add(args: &AddArgs) -> Result<u8, Failure> {
    let new = json!({ "name": args.name, "origin": args.origin });
    let answer = Client::new(&args.server)?.call("POST", "/v1/ledgers", Some(&new))?;
    let verifier = text(&answer, "verifier_key");
    say!("Added the ledger {} with the origin {}.", args.name, text(&answer, "origin"));
    say!("Back up the server's keys/ and vault/; the new ledger's secrets are there.");
    match &args.output {
        Some(path) => write_output(Some(path), format!("{verifier}\n").as_bytes())?,
        None if args.json => {}
        None => write_output(None, verifier.as_bytes())?,
    }
    if args.json {
        write_output(None, answer.to_string().as_bytes())?;
    }
    Ok(EXIT_GOOD)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// A ledger on one line.
fn line(ledger: &Value) -> String {
    let running = ledger.get("running").and_then(Value::as_bool).unwrap_or(false);
    let state = if running { "running" } else { "STOPPED" };
    let (size, published) = (number(ledger, "size"), number(ledger, "published_size"));
    let (name, origin) = (text(ledger, "name"), text(ledger, "origin"));
    format!("{name}  {state}  {size} entries, {published} published  {origin}")
}

/// A producer and its sources, a line each.
fn producer_lines(producer: &Value) -> Vec<String> {
    let (label, state) = (text(producer, "label"), text(producer, "state"));
    let mut lines = vec![format!("#{}  {state}  {label}", number(producer, "number"))];
    for source in producer.get("sources").and_then(Value::as_array).into_iter().flatten() {
        let silent = source.get("silent_s").and_then(Value::as_u64);
        let said = silent.map_or_else(
            || "nothing yet".to_owned(),
            |silent| format!("event {}, {silent} s ago", number(source, "newest_index")),
        );
        lines.push(format!("    {}  {said}", text(source, "source")));
    }
    lines
}
