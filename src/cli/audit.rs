//! `counterfoil audit`
//!
//! In scope: starting a server's audit of itself, waiting for it, showing what it found. Out of scope: the
//! checks. Invariant: the exit code is the verdict's, and 4 where there is none yet.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::client::Client;
use super::output::{Printed, pause};
use super::{EXIT_FAILED, EXIT_GOOD, EXIT_NOT_PROVABLE, Failure, ServerArgs};

/// Milliseconds between two looks at an audit that is waited for.
const LOOK_INTERVAL_MS: u64 = 500;

/// Let a server audit itself, and see what it found.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil audit\n  counterfoil audit --start --wait\n\n\
    A server speaks for itself here. `counterfoil verify` trusts nothing but the verifier key.\n\n\
    Exit codes: 0 verified, 3 failed, 4 not provable or no result yet, 1 error, 2 usage.")]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Start an audit, unless one is under way.
    #[arg(long)]
    start: bool,
    /// Wait until the audit under way has ended, and show what it found.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    printed: Printed,
}

/// Runs the command.
pub(crate) fn run(args: &AuditArgs) -> Result<u8, Failure> {
    let client = Client::new(&args.server)?;
    if args.start {
        let body = client.post("audit", "application/json", &[], b"")?.good()?;
        let started: Value = serde_json::from_slice(&body)?;
        let id = started.get("id").and_then(Value::as_str).unwrap_or("");
        if started.get("new").and_then(Value::as_bool) == Some(true) {
            say!("Started the audit {id}.");
        } else {
            say!("The audit {id} is under way already.");
        }
        if !args.wait {
            return args.printed.print(&started, id);
        }
    }
    let state = if args.wait { wait(&client)? } else { look(&client)? };
    show(args, &state)
}

fn look(client: &Client) -> Result<Value, Failure> {
    Ok(serde_json::from_slice(&client.get("audit", "application/json")?.good()?)?)
}

/// Looks until no audit is under way.
fn wait(client: &Client) -> Result<Value, Failure> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    loop {
        let state = look(client)?;
        let Some(running) = state.get("running").filter(|running| !running.is_null()) else {
            bar.finish_and_clear();
            return Ok(state);
        };
        let number = |name| running.get(name).and_then(Value::as_u64).unwrap_or(0);
        bar.set_message(running.get("phase").and_then(Value::as_str).unwrap_or("").to_owned());
        bar.set_length(number("entries_total"));
        bar.set_position(number("entries_done"));
        pause(Duration::from_millis(LOOK_INTERVAL_MS));
    }
}

fn show(args: &AuditArgs, state: &Value) -> Result<u8, Failure> {
    let last = state.get("last").filter(|last| !last.is_null());
    if args.printed.json {
        args.printed.file.write(state.to_string().as_bytes())?;
    } else {
        if let Some(running) = state.get("running").filter(|running| !running.is_null()) {
            let number = |name| running.get(name).and_then(Value::as_u64).unwrap_or(0);
            say!(
                "An audit is under way: {}, {} of {} entries.",
                running.get("phase").and_then(Value::as_str).unwrap_or(""),
                number("entries_done"),
                number("entries_total")
            );
        }
        if let Some(last) = last {
            args.printed.file.write(human(last).as_bytes())?;
        } else {
            say!("No audit has ended yet; --start begins one.");
        }
    }
    Ok(match last.and_then(|last| last.get("verdict")).and_then(Value::as_str) {
        Some("verified") => EXIT_GOOD,
        Some("failed") => EXIT_FAILED,
        _ => EXIT_NOT_PROVABLE,
    })
}

/// The result for a person: the verdict, a line a check, a line a finding.
fn human(last: &Value) -> String {
    let of =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let listed = |name: &str| last.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let count = last.get("count").and_then(Value::as_u64).unwrap_or(0);
    let mut text = format!(
        "{}: {count} entries, audit {} ended {}\n",
        of(last, "verdict").to_uppercase().replace('-', " "),
        of(last, "id"),
        of(last, "finished_at")
    );
    for check in listed("checks") {
        let (verdict, name) = (of(&check, "verdict"), of(&check, "name"));
        let _ = writeln!(text, "  {verdict:<12} {name:<12} {}", of(&check, "detail"));
    }
    for found in listed("findings") {
        let (place, detail) = (of(&found, "place"), of(&found, "detail"));
        let _ = writeln!(text, "  {place}: {detail} ({})", of(&found, "check"));
    }
    let remedy = of(last, "remedy");
    if !remedy.is_empty() {
        let _ = writeln!(text, "{remedy}");
    }
    text
}
