//! `counterfoil keys`
//!
//! In scope: making, listing, changing, rotating and revoking API keys on a server, and making one in a data
//! directory whose server is stopped. Out of scope: what a role may do (docs/operating.md). Invariants: a
//! secret goes to an owner-only file or to standard output, never to a flag or to stderr; no file is
//! replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::clock::{Clock, SystemClock};
use crate::config::CONFIG_FILE;
use crate::http::keys::{KeyStore, NewKey};
use crate::store::{DirLock, DiskStorage, Storage};
use crate::vault::secret_file;

use super::client::Client;
use super::output::{Printed, moment, write_output};
use super::{EXIT_GOOD, Failure, ServerArgs};

/// Manage API keys.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    counterfoil keys create --role producer --source acme/crm --label crm -o crm.key\n  \
    counterfoil keys create --role auditor --ledger-name main --expires-in 90d -o auditor.key\n  \
    counterfoil keys list\n  counterfoil keys show 5f0c1b2a3d4e5f60\n  \
    counterfoil keys change 5f0c1b2a3d4e5f60 --expires-in 7d\n  \
    counterfoil keys rotate 5f0c1b2a3d4e5f60 --overlap 2h -o crm-2.key\n  \
    counterfoil keys revoke 5f0c1b2a3d4e5f60\n\n\
    The caller's own key (--key-file) must have the role admin.")]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the keys, without their secrets.
    List(ListArgs),
    /// Show one key.
    Show(OneArgs),
    /// Make a key; its text is shown this once.
    Create(CreateArgs),
    /// Change a key's label or when it expires.
    Change(ChangeArgs),
    /// Replace a key by one with the same rights; the old one stays good for a while.
    Rotate(RotateArgs),
    /// Take a key back at once and for good.
    Revoke(OneArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// The key's id: the middle of `cf_<id>_…`, as `keys list` shows it.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What its holder may do.
    #[arg(long, value_name = "ROLE", value_parser = ["producer", "responder", "auditor", "dpo", "admin"])]
    role: String,
    /// What the key is for, in your words.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    label: String,
    /// A ledger it is good for; all where absent. Repeat for several.
    #[arg(long = "ledger-name", value_name = "NAME")]
    ledgers: Vec<String>,
    /// An event source it may append for; any where absent. Repeat for several.
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
    /// How long it is good: a number with s, min, h, d or w, such as 90d. For ever where absent.
    #[arg(long, value_name = "TIME")]
    expires_in: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    /// Make the key in this data directory, whose server is stopped: for when no admin key is left.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    output: KeyOutput,
}

/// Where a new key goes.
#[derive(Debug, Args)]
struct KeyOutput {
    /// A new file for the key, readable by its owner only. Standard output where absent.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the whole answer as JSON, without the key where it goes to a file.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// The key's id.
    #[arg(value_name = "ID")]
    id: String,
    /// A new label.
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// How long it is good from now on, such as 7d.
    #[arg(long, value_name = "TIME")]
    expires_in: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Args)]
struct RotateArgs {
    /// The key's id.
    #[arg(value_name = "ID")]
    id: String,
    /// How long the old key stays good, such as 2h; 90 days at most.
    #[arg(long, value_name = "TIME", default_value = "1d")]
    overlap: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: KeyOutput,
}

/// Runs the command.
pub(crate) fn run(args: &KeysArgs) -> Result<u8, Failure> {
    match &args.what {
        What::List(args) => list(args),
        What::Show(args) => {
            let answer =
                Client::new(&args.server)?.call("GET", &format!("/v1/keys/{}", args.id), None)?;
            show(&answer, &args.printed)
        }
        What::Create(args) => create(args),
        What::Change(args) => change(args),
        What::Rotate(args) => {
            let body = json!({ "overlap_s": seconds(&args.overlap)? });
            let path = format!("/v1/keys/{}/rotate", args.id);
            let made = Client::new(&args.server)?.call("POST", &path, Some(&body))?;
            say!("Key {} stays good for {}.", args.id, args.overlap);
            hand_out(made, &args.output)
        }
        What::Revoke(args) => {
            Client::new(&args.server)?.call("DELETE", &format!("/v1/keys/{}", args.id), None)?;
            say!("Key {} is revoked.", args.id);
            args.printed.print(&json!({ "id": args.id, "state": "revoked" }), "")
        }
    }
}

/// Seconds of a duration such as `90d`.
fn seconds(text: &str) -> Result<u64, Failure> {
    let span = text.parse::<jiff::SignedDuration>().or_else(|error| {
        // Days and weeks are spans of 24 hours here: keys expire by the second, not by the calendar.
        let span: jiff::Span = text.parse().map_err(|_| error)?;
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours())
    });
    let seconds = span.ok().and_then(|span| u64::try_from(span.as_secs()).ok()).filter(|s| *s > 0);
    seconds.ok_or_else(|| {
        Failure::usage("a length of time is a number with s, min, h, d or w, such as 36h or 90d")
    })
}

fn expires_at_s(expires_in: Option<&str>) -> Result<Option<u64>, Failure> {
    expires_in.map(|text| Ok(now_s().saturating_add(seconds(text)?))).transpose()
}

fn now_s() -> u64 {
    SystemClock::default().now_us() / 1_000_000
}

fn create(args: &CreateArgs) -> Result<u8, Failure> {
    let expires_at_s = expires_at_s(args.expires_in.as_deref())?;
    if let Some(output) = &args.output.output
        && output.exists()
    {
        return Err(Failure::usage(format!(
            "{} is there already and is not replaced",
            output.display()
        )));
    }
    let new = json!({
        "role": args.role, "label": args.label, "ledgers": args.ledgers, "sources": args.sources,
        "expires_at_s": expires_at_s,
    });
    let made = match &args.data {
        Some(data) => create_offline(data, new)?,
        None => Client::new(&args.server)?.call("POST", "/v1/keys", Some(&new))?,
    };
    hand_out(made, &args.output)
}

fn create_offline(data: &Path, new: Value) -> Result<Value, Failure> {
    let _lock = DirLock::acquire(data)?;
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(data)?);
    if !storage.exists(CONFIG_FILE)? {
        return Err(Failure::new(format!("{} is no data directory: no {CONFIG_FILE}", data.display())));
    }
    let new: NewKey = serde_json::from_value(new)?;
    let (key, text) = KeyStore::open(storage)?.create(new, false, now_s())?;
    Ok(json!({
        "key": *text, "id": key.id, "number": key.number, "label": key.label, "role": key.role,
        "ledgers": key.ledgers, "sources": key.sources, "expires_at_s": key.expires_at_s, "state": "live",
    }))
}

/// Gives the key's text to where it shall go, and says what was made.
fn hand_out(mut made: Value, output: &KeyOutput) -> Result<u8, Failure> {
    let text =
        |made: &Value, name: &str| made.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let key = zeroize::Zeroizing::new(text(&made, "key"));
    say!("Made key {} with the role {}.", text(&made, "id"), text(&made, "role"));
    if let Some(path) = &output.output {
        secret_file::create(path, format!("{}\n", *key).as_bytes())?;
        say!("It is in {}, and nowhere else.", path.display());
        made.as_object_mut().and_then(|made| made.remove("key"));
    } else {
        say!("Keep it now; it is not shown again.");
    }
    match (output.json, &output.output) {
        (true, _) => write_output(None, made.to_string().as_bytes())?,
        (false, None) => write_output(None, key.as_bytes())?,
        (false, Some(_)) => {}
    }
    Ok(EXIT_GOOD)
}

fn change(args: &ChangeArgs) -> Result<u8, Failure> {
    let mut body = Map::new();
    if let Some(label) = &args.label {
        body.insert("label".to_owned(), json!(label));
    }
    if let Some(expires) = expires_at_s(args.expires_in.as_deref())? {
        body.insert("expires_at_s".to_owned(), json!(expires));
    }
    if body.is_empty() {
        return Err(Failure::usage("nothing to change; give --label or --expires-in"));
    }
    let path = format!("/v1/keys/{}", args.id);
    let answer = Client::new(&args.server)?.call("PATCH", &path, Some(&Value::Object(body)))?;
    show(&answer, &args.printed)
}

fn list(args: &ListArgs) -> Result<u8, Failure> {
    let answer = Client::new(&args.server)?.call("GET", "/v1/keys", None)?;
    let keys = answer.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    let lines: Vec<String> = keys.iter().map(line).collect();
    args.printed.print(&answer, &lines.join("\n"))
}

fn show(key: &Value, printed: &Printed) -> Result<u8, Failure> {
    printed.print(key, &line(key))
}

/// A key on one line: id, number, role, state, expiry, last use, bounds, label.
fn line(key: &Value) -> String {
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let at = |name: &str| key.get(name).and_then(Value::as_u64).map(moment);
    let many = |name: &str| {
        let items = key.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
    };
    let number = key.get("number").and_then(Value::as_u64).unwrap_or(0);
    let never = || "never".to_owned();
    let (expires, used) = (at("expires_at_s"), at("last_used_at_s"));
    let mut columns = vec![
        text("id"),
        format!("#{number}"),
        format!("{:<9}", text("role")),
        format!("{:<7}", text("state")),
        format!("expires {}", expires.unwrap_or_else(never)),
        format!("used {}", used.unwrap_or_else(never)),
    ];
    for bounds in ["ledgers", "sources"] {
        let bound = many(bounds);
        if !bound.is_empty() {
            columns.push(format!("{bounds} {bound}"));
        }
    }
    columns.extend(Some(text("label")).filter(|label| !label.is_empty()));
    columns.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_odd_ones_refused() {
        assert_eq!(seconds("90d").ok(), Some(90 * 86_400));
        assert_eq!(seconds("36h").ok(), Some(36 * 3_600));
        assert_eq!(seconds("2w").ok(), Some(14 * 86_400));
        for odd in ["", "0s", "-1d", "90", "soon", "1y"] {
            assert!(seconds(odd).is_err(), "{odd}");
        }
    }
}
