//! `counterfoil config`, and how every command reads a data directory's settings.
//!
//! In scope: showing the settings that hold, with where each came from; checking a file without starting;
//! the place of a mistake. Out of scope: what settings there are ([`crate::config`]). Invariant: nothing
//! is started or written.

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use crate::clock::{Clock, SystemClock};
use crate::config::table::Value;
use crate::config::{CONFIG_FILE, Config, ConfigError, Effective};
use crate::http::{Front, Tls};
use crate::store::{DiskStorage, Storage};

use super::output::Printed;
use super::{EXIT_ERROR, EXIT_GOOD, Failure};

/// Show or check settings.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil config show --data ./ledger\n  \
    counterfoil config show --data ./ledger --json\n  counterfoil config check --data ./ledger\n  \
    counterfoil config check --data ./ledger --set listen=0.0.0.0:7423\n\n\
    docs/settings.md lists every setting. No setting holds a secret; some name a file with one.")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the settings that hold, with where each came from: default, file, environment or flag.
    Show(SettingsArgs),
    /// Check settings without starting; exit code 0 where `serve` could use them, else 1.
    Check(SettingsArgs),
}

#[derive(Debug, Args)]
struct SettingsArgs {
    /// The data directory. Without it, defaults and the environment alone.
    #[arg(long, env = "COUNTERFOIL_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// A setting as `serve` would be given it. May be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    settings: Vec<(String, String)>,
    #[command(flatten)]
    printed: Printed,
}

/// Runs the command.
pub(crate) fn run(args: &ConfigArgs) -> Result<u8, Failure> {
    match &args.what {
        What::Show(args) => show(args),
        What::Check(args) => check(args),
    }
}

/// Reads `NAME=VALUE`.
pub(super) fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a setting is written NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

/// The settings of a data directory, with this process's environment and `flags` over them.
pub(super) fn read(
    storage: &dyn Storage,
    data: &Path,
    flags: &[(String, String)],
) -> Result<Effective, Failure> {
    let bytes = storage.read(CONFIG_FILE)?.ok_or_else(|| {
        Failure::new(format!("{} holds no {CONFIG_FILE}; `counterfoil init` makes one", data.display()))
    })?;
    let file = data.join(CONFIG_FILE);
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(format!("{} is not UTF-8", file.display())))?;
    load(&text, &file, flags).map_err(Failure::new)
}

/// Settings from a file's text, the environment and `flags`; a refusal begins with where the mistake is.
fn load(text: &str, file: &Path, flags: &[(String, String)]) -> Result<Effective, String> {
    Effective::load(text, |name| std::env::var(name).ok(), flags).map_err(|error| {
        // What the file alone is refused for is the file's mistake; the rest is told by its own name.
        match Config::parse(text) {
            Err(own) if own == error => match line_of(text, &own) {
                Some(line) => format!("{}:{line}: {own}", file.display()),
                None => format!("{}: {own}", file.display()),
            },
            _ => error.to_string(),
        }
    })
}

/// The line of the setting that a refusal is about, from 1 on.
fn line_of(text: &str, error: &ConfigError) -> Option<usize> {
    let name = match error {
        ConfigError::Value { place, .. } => place,
        ConfigError::Unknown(name, _) => name,
        ConfigError::Ledgers | ConfigError::LedgerName => "[ledgers",
        ConfigError::HalfTls => "tls_",
        _ => return None,
    };
    let begins = |line: &str| {
        let rest = line.trim_start().strip_prefix(name);
        rest.is_some_and(|rest| name.starts_with(['[', 't']) || rest.trim_start().starts_with('='))
    };
    text.lines().position(begins).map(|at| at + 1)
}

fn effective(args: &SettingsArgs) -> Result<Effective, Failure> {
    match &args.data {
        Some(data) => {
            if !data.is_dir() {
                let said = format!("{} is no directory; `counterfoil init` makes one", data.display());
                return Err(Failure::new(said));
            }
            read(&DiskStorage::open_read_only(data)?, data, &args.settings)
        }
        None => load("", Path::new(CONFIG_FILE), &args.settings).map_err(Failure::new),
    }
}

fn show(args: &SettingsArgs) -> Result<u8, Failure> {
    let effective = effective(args)?;
    let rows = effective.rows();
    let settings: Vec<Json> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.setting.name, "value": as_json(&row.value), "origin": row.origin.name(),
                "variable": row.setting.variable(),
            })
        })
        .collect();
    let ledgers = effective.config.ledgers.iter();
    let ledgers: Vec<Json> =
        ledgers.map(|(name, ledger)| json!({ "name": name, "origin": ledger.origin })).collect();
    let file = args.data.as_ref().map(|data| data.join(CONFIG_FILE));
    let whole = json!({ "file": file, "settings": settings, "ledgers": ledgers });
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let (name, origin) = (row.setting.name, row.origin.name());
            format!("{origin:<11}  {name} = {}", row.value)
        })
        .collect();
    for (name, ledger) in &effective.config.ledgers {
        lines.push(format!("file         [ledgers.{name}] origin = {:?}", ledger.origin));
    }
    args.printed.print(&whole, &lines.join("\n"))
}

fn as_json(value: &Value) -> Json {
    match value {
        Value::Absent => Json::Null,
        Value::Number(number) => json!(number),
        Value::Flag(flag) => json!(flag),
        Value::Text(text) => json!(text),
        Value::List(list) => json!(list),
    }
}

fn check(args: &SettingsArgs) -> Result<u8, Failure> {
    let problems = match effective(args) {
        Ok(effective) => unusable(&effective.config, args.data.is_some()),
        Err(failure) => vec![failure.message],
    };
    let valid = problems.is_empty();
    let text = if valid {
        "ok: `counterfoil serve` can use these settings".to_owned()
    } else {
        problems.iter().map(|problem| format!("wrong: {problem}")).collect::<Vec<_>>().join("\n")
    };
    args.printed.print(&json!({ "valid": valid, "problems": problems }), &text)?;
    Ok(if valid { EXIT_GOOD } else { EXIT_ERROR })
}

/// What settings ask for that cannot be had here, although each is within its bounds.
pub(super) fn unusable(config: &Config, has_ledgers: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = config.listen.to_socket_addrs() {
        problems.push(format!("listen must be an address and port such as 127.0.0.1:7423: {error}"));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    if let Err(error) = Front::new(config, clock) {
        problems.push(error);
    }
    if let (Some(cert), Some(key)) = (&config.tls_cert_file, &config.tls_key_file)
        && let Err(error) = Tls::open(cert, key)
    {
        problems.push(format!("tls_cert_file and tls_key_file: {error}"));
    }
    if let Some(dir) = config.anchor_dir.as_ref().filter(|dir| !dir.is_dir()) {
        problems.push(format!("anchor_dir: {} is no directory; make it", dir.display()));
    }
    if has_ledgers && config.ledgers.is_empty() {
        problems.push("the file lists no ledger; [ledgers.<name>] with `origin` does".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_the_file_is_told_with_its_line() {
        let said = |text: &str, flags: &[(&str, &str)]| {
            let flags: Vec<_> =
                flags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            load(text, Path::new("d/counterfoil.toml"), &flags).unwrap_err()
        };
        let file = "# settings\nlisten = \"a\"\n\npublish_interval_ms = 1\n";
        assert!(said(file, &[]).starts_with("d/counterfoil.toml:4: publish_interval_ms must be"));
        assert!(said("\nlisen = 1", &[]).starts_with("d/counterfoil.toml:2: lisen is not a setting"));
        let by_flag = said("publish_interval_ms = 500", &[("publish_interval_ms", "1")]);
        assert!(by_flag.starts_with("publish_interval_ms must be"), "{by_flag}");
        assert!(said("\n[ledgers.\"a/b\"]\norigin = \"x\"", &[]).starts_with("d/counterfoil.toml:2: "));
    }
}
