//! `counterfoil retention`
//!
//! In scope: showing the table in force and setting another. Out of scope: what a table means. Invariant:
//! what `show --json` prints of the rules is what `set` takes.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Printed, read_input};
use super::{Failure, ServerArgs};
use crate::event::json::{self as strict, JsonLimits};

/// Bytes of a table's file at most: what the server takes.
const TABLE_BYTES_MAX: u64 = 64 * 1024;

/// See and set how long parts are kept.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil retention show\n  \
    counterfoil retention set table.json && counterfoil report retention-due --format csv\n\n\
    The table is an object with the array `rules`; docs/operating.md describes them. What is due under the \
    new table is pruned by the next pass of the retention job, and cannot be brought back.")]
pub(crate) struct RetentionArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the rules in force, and what the last pass of the retention job did.
    Show(ShowArgs),
    /// Put a table in force in place of the one before.
    Set(SetArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Args)]
struct SetArgs {
    /// The table, a JSON file; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    printed: Printed,
}

/// Runs the command.
pub(crate) fn run(args: &RetentionArgs) -> Result<u8, Failure> {
    let path = |server: &ServerArgs| format!("/v1/ledgers/{}/retention", server.ledger);
    match &args.what {
        What::Show(args) => {
            let answer = Client::new(&args.server)?.call("GET", &path(&args.server), None)?;
            args.printed.print(&answer, &human(&answer))
        }
        What::Set(args) => {
            let bytes = read_input(&args.file, TABLE_BYTES_MAX)?;
            // The strict reader, which finds a member that is given twice.
            strict::parse(&bytes, &JsonLimits::default())
                .map_err(|error| Failure::new(format!("{}: {error}", args.file.display())))?;
            let table: Value = serde_json::from_slice(&bytes)?;
            // What `show --json` prints is taken as well.
            let rules = table.get("rules").cloned().unwrap_or(Value::Null);
            let body = if table.get("last_pass").is_some() { json!({ "rules": rules }) } else { table };
            let answer = Client::new(&args.server)?.call("PUT", &path(&args.server), Some(&body))?;
            args.printed.print(&answer, &human(&answer))
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

fn list(value: &Value, name: &str) -> String {
    let items = value.get(name).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// A line of where it stands, a line a rule, a line of the last pass.
fn human(state: &Value) -> String {
    let mut lines = match state.get("index").and_then(Value::as_u64) {
        Some(index) => format!("Set by entry {index}, {}\n", text(state, "set_at")),
        None => "No table was ever set: everything is kept.\n".to_owned(),
    };
    for rule in state.get("rules").and_then(Value::as_array).into_iter().flatten() {
        let from = match rule.get("from") {
            Some(Value::String(name)) => name.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let (types, parts) = (list(rule, "types"), list(rule, "parts"));
        let _ =
            write!(lines, "{}  {types}  {parts}  {} from {from}", text(rule, "id"), text(rule, "keep"));
        for (name, said) in [("not_before", "not before"), ("statute", "statute")] {
            if let Some(value) = rule.get(name) {
                let shown =
                    value.as_str().map_or_else(|| text(value, "basis").to_owned(), str::to_owned);
                let _ = write!(lines, "  {said} {shown}");
            }
        }
        lines.push('\n');
    }
    if let Some(pass) = state.get("last_pass").filter(|pass| !pass.is_null()) {
        let number = |name| pass.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (pruned, held) = (number("pruned"), number("held"));
        let _ = writeln!(lines, "Last pass {}: {pruned} parts pruned, {held} held", text(pass, "at"));
        if let Some(failure) = pass.get("failure").and_then(Value::as_str) {
            let _ = writeln!(lines, "It ended early: {failure}");
        }
    }
    lines
}
