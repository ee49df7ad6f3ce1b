//! `counterfoil prove`
//!
//! In scope: fetching a receipt or a consistency proof. Out of scope: verifying it (`verify`).
//! Invariant: what is written verifies offline with the verifier key alone.

use std::path::PathBuf;

use clap::Args;

use super::client::Client;
use super::output::write_output;
use super::{EXIT_GOOD, Failure, ServerArgs};

/// Get a receipt or a consistency proof for somebody else to verify.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil prove 42 -o receipt.json\n  \
    counterfoil prove 42 --tlog-proof -o event.tlog-proof\n  counterfoil prove --from 1000 --to 2000")]
pub(crate) struct ProveArgs {
    /// Log index of the event.
    #[arg(value_name = "INDEX", required_unless_present = "from", conflicts_with = "from")]
    index: Option<u64>,
    #[command(flatten)]
    server: ServerArgs,
    /// Write a C2SP `.tlog-proof` file instead of the JSON receipt.
    #[arg(long, requires = "index")]
    tlog_proof: bool,
    /// Write the entry's bytes instead, which a `.tlog-proof` is verified with.
    #[arg(long, requires = "index", conflicts_with = "tlog_proof")]
    entry: bool,
    /// Why personal parts are read, for keys that need a reason.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Older size of a consistency proof.
    #[arg(long, value_name = "SIZE")]
    from: Option<u64>,
    /// Newer size of a consistency proof; the newest where absent.
    #[arg(long, value_name = "SIZE", requires = "from")]
    to: Option<u64>,
    /// Print JSON, which receipts and proofs are anyway.
    #[arg(long, conflicts_with_all = ["tlog_proof", "entry"])]
    json: bool,
    /// Where to write it; standard output where absent.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &ProveArgs) -> Result<u8, Failure> {
    let client = Client::new(&args.server)?;
    let bytes = match (args.index, args.from) {
        (Some(index), _) if args.entry => client.get(&format!("events/{index}/entry"), "*/*")?.good()?,
        (Some(index), _) => {
            let accept = if args.tlog_proof { "text/x.tlog-proof" } else { "application/json" };
            let reason = args.reason.as_deref().map_or(String::new(), |reason| {
                format!("?reason={}", super::query::percent_encode(reason))
            });
            client.get(&format!("events/{index}/receipt{reason}"), accept)?.good()?
        }
        (None, Some(from)) => {
            let to = args.to.map_or(String::new(), |to| format!("&to={to}"));
            client.get(&format!("proofs/consistency?from={from}{to}"), "application/json")?.good()?
        }
        (None, None) => return Err(Failure::usage("give an index, or --from and --to")),
    };
    if args.entry && args.output.is_none() {
        return Err(Failure::usage("an entry is binary; say where to write it with -o FILE"));
    }
    write_output(args.output.as_deref(), &bytes)?;
    Ok(EXIT_GOOD)
}
