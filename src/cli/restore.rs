//! `counterfoil restore`
//!
//! In scope: its flags, and saying what was restored and what is still missing. Out of scope: restoring
//! ([`crate::backup`]). Invariant: whoever restores without anything newer to hold the copy against is told
//! so before a server signs.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::backup::{RestoreRequest, Restored, restore};

use super::output::write_output;
use super::{EXIT_GOOD, Failure, backup, serve};

/// Restore a backup into an empty directory.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  counterfoil restore --from ./copy --data ./restored --keys ./copy-keys \
    --root-key /safe/main.vault-root\n  \
    counterfoil restore --from ./copy --data ./restored --witnessed receipt.json\n\n\
    Every file is checked against the manifest; where one differs nothing is left in the directory. Without \
    --keys and --root-key the restored log can be verified, but not served."
)]
pub(crate) struct RestoreArgs {
    /// The backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The new data directory; it must be empty or not exist yet.
    #[arg(long, env = "COUNTERFOIL_DATA", value_name = "DIR")]
    data: PathBuf,
    /// The directory that `backup --keys-to` wrote.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// A root key file, or a directory of them, such as `main.vault-root`. May be repeated.
    #[arg(long = "root-key", value_name = "FILE")]
    root_keys: Vec<PathBuf>,
    /// A checkpoint, receipt or batch answer that somebody kept. Where the restored log does not extend it,
    /// nothing is restored. May be repeated.
    #[arg(long, value_name = "FILE")]
    witnessed: Vec<PathBuf>,
    /// Print JSON: the manifest, `data`, `keys`, `root_keys` and `witnessed`, the number held against.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &RestoreArgs) -> Result<u8, Failure> {
    let witnessed = serve::read_witnessed(&args.witnessed)?;
    let request = RestoreRequest {
        from: &args.from,
        data: &args.data,
        keys: args.keys.as_deref(),
        root_keys: &args.root_keys,
        witnessed: &witnessed,
    };
    let bar = backup::bar();
    let restored = restore(&request, &mut |done, total| {
        bar.set_message(format!("restoring: {done} of {total} files"));
        bar.tick();
    });
    bar.finish_and_clear();
    let restored = restored?;
    if witnessed.is_empty() {
        say!(
            "This copy was held against nothing newer. What was recorded after {} is not in it, and it \
             cannot know: give `serve --witnessed` the newest receipt or checkpoint that anybody has.",
            restored.manifest.made_at
        );
    }
    if args.json {
        let mut value = restored.manifest.to_json();
        if let Some(members) = value.as_object_mut() {
            members.insert("data".to_owned(), json!(args.data));
            members.insert("keys".to_owned(), json!(restored.keys));
            members.insert("root_keys".to_owned(), json!(restored.root_keys));
            members.insert("witnessed".to_owned(), json!(witnessed.len()));
        }
        write_output(None, value.to_string().as_bytes())?;
    } else {
        write_output(None, summary(args, &restored).as_bytes())?;
    }
    Ok(EXIT_GOOD)
}

fn summary(args: &RestoreArgs, restored: &Restored) -> String {
    let manifest = &restored.manifest;
    let (data, files, made_at) = (args.data.display(), manifest.files, &manifest.made_at);
    let mut lines = vec![format!("Restored to {data}: {files} files of the backup made at {made_at}.")];
    for ledger in &manifest.ledgers {
        lines.push(format!("{}: {} entries, root {}", ledger.name, ledger.entries, ledger.root));
        let (file, id) = (&ledger.root_key.file, &ledger.root_key.id);
        if !restored.root_keys.iter().any(|placed| placed.ends_with(file.as_str())) {
            lines.push(format!("  before it can be served, put {file} (id {id}) into {data}/keys/"));
        }
    }
    if restored.keys.is_empty() {
        lines.push(format!(
            "No key files were placed (--keys): `counterfoil verify {data} --key VKEY` works, `serve` does \
             not."
        ));
    }
    lines.join("\n")
}
