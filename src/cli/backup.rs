//! `counterfoil backup`
//!
//! In scope: its flags, progress, and saying what was made and what it needs. Out of scope: making it
//! ([`crate::backup`]). Invariant: the summary names the root key that the backup needs and does not hold.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::backup::{Made, Request, Step, make};
use crate::clock::SystemClock;

use super::output::write_output;
use super::{EXIT_GOOD, Failure};

/// Copy a data directory, while a server runs on it or not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil backup --data ./ledger --to /backup/2026-11-30\n  \
    counterfoil backup --data ./ledger --to ./copy --keys-to /elsewhere/keys-2026-11-30\n\n\
    The copy holds every event that was acknowledged before the command began. It is verified before \
    it counts, and backup.json, written last, says so: a directory without it is no backup. It holds no \
    key. The vault's root key is never copied: keep it yourself, and only the newest.")]
pub(crate) struct BackupArgs {
    /// The data directory; a server may be running on it.
    #[arg(long, env = "COUNTERFOIL_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Where the backup goes: a directory that is empty or does not exist yet.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A ledger to back up, instead of all. May be repeated.
    #[arg(long = "ledger", value_name = "NAME")]
    ledgers: Vec<String>,
    /// A second such directory, for signing keys, `reader.key` and the records of API keys. Keep it apart
    /// from the backup.
    #[arg(long, value_name = "DIR")]
    keys_to: Option<PathBuf>,
    /// Print JSON: the manifest, `to`, `keys_to` and `keys`.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &BackupArgs) -> Result<u8, Failure> {
    let request = Request {
        data: &args.data,
        to: &args.to,
        ledgers: &args.ledgers,
        keys_to: args.keys_to.as_deref(),
    };
    let bar = bar();
    let made = make(&request, &SystemClock::default(), &mut |step| show(&bar, step));
    bar.finish_and_clear();
    let made = made?;
    if args.json {
        let mut value = made.manifest.to_json();
        if let Some(members) = value.as_object_mut() {
            members.insert("to".to_owned(), json!(args.to));
            members.insert("keys_to".to_owned(), json!(args.keys_to));
            members.insert("keys".to_owned(), json!(made.keys));
        }
        write_output(None, value.to_string().as_bytes())?;
    } else {
        write_output(None, summary(args, &made).as_bytes())?;
    }
    Ok(EXIT_GOOD)
}

fn summary(args: &BackupArgs, made: &Made) -> String {
    let manifest = &made.manifest;
    let (to, files, bytes) = (args.to.display(), manifest.files, manifest.bytes);
    let mut lines = vec![format!("Backed up and verified: {to}, {files} files, {bytes} bytes.")];
    for ledger in &manifest.ledgers {
        let (name, entries, key) = (&ledger.name, ledger.entries, &ledger.root_key);
        lines.push(format!("{name}: {entries} entries, root {}", ledger.root));
        lines.push(format!("  needs {} (id {}), which no backup holds", key.file, key.id));
    }
    lines.push(match &args.keys_to {
        Some(to) => {
            format!("Key files, for their owner alone: {} in {}", made.keys.join(", "), to.display())
        }
        None => "No key files were copied; --keys-to DIR keeps them, in a place apart.".to_owned(),
    });
    lines.join("\n")
}

/// A spinner on standard error, where that is a terminal.
pub(super) fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, step: &Step) {
    bar.set_message(match step {
        Step::Copying { files, bytes } => format!("copying: {files} files, {} MiB", bytes >> 20),
        Step::Verifying { done, total } => format!("verifying: {done} of {total} entries"),
    });
    bar.tick();
}
