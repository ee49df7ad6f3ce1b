//! `counterfoil report`
//!
//! In scope: getting a report in one of its forms. Out of scope: what is in it. Invariant: a report that
//! does not cover everything ends with exit code 4.

use clap::{Args, Subcommand};

use super::client::Client;
use super::output::OutputFile;
use super::query::percent_encode;
use super::{EXIT_NOT_PROVABLE, Failure, ServerArgs};

/// Get a report of a ledger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil report retention-due --format html -o due.html\n  \
    counterfoil report retention-due --at 2027-01-01T00:00:00Z --format csv\n\n\
    With the same `--as-of` and `--at` a report has the same bytes each time, as long as no part was erased \
    or pruned in between. Its last line has the hash of its body.")]
pub(crate) struct ReportArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What is due by the retention table, what a hold keeps, and what waits.
    RetentionDue(DueArgs),
}

#[derive(Debug, Args)]
struct DueArgs {
    /// Form of the report.
    #[arg(long, value_name = "FORM", default_value = "json", value_parser = ["json", "csv", "html"])]
    format: String,
    /// Size of the log that the report is about; the newest where absent.
    #[arg(long, value_name = "SIZE")]
    as_of: Option<u64>,
    /// Moment of the question, RFC 3339; now where absent, or with `--as-of` the time of the newest entry.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Index of the first entry to be looked at.
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    file: OutputFile,
}

/// Runs the command.
pub(crate) fn run(args: &ReportArgs) -> Result<u8, Failure> {
    let What::RetentionDue(args) = &args.what;
    let mut path = format!("reports/retention-due?format={}", args.format);
    let given = [
        ("as_of", args.as_of.map(|size| size.to_string())),
        ("at", args.at.clone()),
        ("from", args.from.map(|index| index.to_string())),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            path = format!("{path}&{name}={}", percent_encode(&value));
        }
    }
    let bytes = Client::new(&args.server)?.get(&path, "*/*")?.good()?;
    let code = args.file.write(&bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let incomplete = ["\"complete\":false", "# complete: false", "<dt>complete</dt><dd>false</dd>"];
    if incomplete.iter().any(|said| text.contains(said)) {
        say!("The report does not cover everything: `next` says where to go on with --from.");
        return Ok(EXIT_NOT_PROVABLE);
    }
    Ok(code)
}
