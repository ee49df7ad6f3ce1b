//! The command line: one binary, one table of flags.
//!
//! In scope: arguments, talk on stderr, data on stdout, exit codes. Out of scope: everything the
//! commands do, which the other modules do. Invariants: secrets are never flags; exit codes are
//! 0 good, 1 error, 2 usage, 3 verification failed, 4 incomplete or not provable.

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod output;

mod append;
mod audit;
mod backup;
mod client;
mod config;
mod doctor;
mod erase;
mod hold;
mod import;
mod init;
mod keys;
mod ledger;
mod mistakes;
mod prove;
mod query;
mod remote;
mod report;
mod restore;
mod retention;
mod serve;
mod shell;
mod table;
mod tail;
mod verify;

use clap::{Args, FromArgMatches, Parser, Subcommand};

/// Everything went well.
pub const EXIT_GOOD: u8 = 0;
/// Something could not be done.
pub const EXIT_ERROR: u8 = 1;
/// The command line was not understood.
pub const EXIT_USAGE: u8 = 2;
/// What was verified is not what was signed.
pub const EXIT_FAILED: u8 = 3;
/// Nothing was found wrong, but not everything could be shown.
pub const EXIT_NOT_PROVABLE: u8 = 4;

/// An append-only audit ledger whose receipts anyone can check.
#[derive(Debug, Parser)]
#[command(name = "counterfoil", version, about, max_term_width = 100)]
#[command(
    after_help = "Examples:\n  counterfoil serve --data ./ledger --origin ledger.example/audit\n  \
    counterfoil append event.json --key-file ./ledger/keys/admin.key -o receipt.json\n  \
    counterfoil verify receipt.json --key ./ledger/ledgers/main/verifier.key\n\n\
    counterfoil COMMAND --help shows examples and flags of a command.\n\n\
    Exit codes: 0 good, 1 error, 2 usage, 3 verification failed, 4 incomplete or not provable."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data directory with its keys and the ledgers `main` and `reads`.
    Init(init::InitArgs),
    /// Run the server; on an empty directory, `init` it first.
    Serve(serve::ServeArgs),
    /// Append events and print their receipts.
    Append(append::AppendArgs),
    /// Import files of events from other products.
    Import(import::ImportArgs),
    /// Search events.
    Query(Box<query::QueryArgs>),
    /// Erase persons: their data is destroyed, and everything else still verifies.
    Erase(Box<erase::EraseArgs>),
    /// Manage the ledgers of a server.
    Ledger(ledger::LedgerArgs),
    /// Manage API keys.
    Keys(keys::KeysArgs),
    /// Follow events as they are recorded.
    Tail(Box<tail::TailArgs>),
    /// See and set how long parts are kept.
    Retention(retention::RetentionArgs),
    /// Place, list and release legal holds.
    Hold(hold::HoldArgs),
    /// Get a report of a ledger.
    Report(report::ReportArgs),
    /// Let a server audit itself, and see what it found.
    Audit(audit::AuditArgs),
    /// Copy a data directory, while a server runs on it or not.
    Backup(backup::BackupArgs),
    /// Restore a backup into an empty directory.
    Restore(restore::RestoreArgs),
    /// Get a receipt or a consistency proof for somebody else to verify.
    Prove(prove::ProveArgs),
    /// Verify a server, a data directory, a tile mirror, a receipt, a proof or an erasure certificate.
    Verify(verify::VerifyArgs),
    /// Show or check settings.
    Config(config::ConfigArgs),
    /// Check a data directory, the machine under it, and a server.
    Doctor(doctor::DoctorArgs),
    /// Print the contract of the HTTP API, its `openapi.json`.
    #[command(after_help = "Examples:\n  counterfoil openapi -o openapi.json")]
    Openapi(output::OutputFile),
    /// Print completions for a shell.
    Completions(shell::CompletionsArgs),
    /// Print or write manual pages.
    Man(shell::ManArgs),
}

/// Which server to talk to, and as whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The server's address.
    #[arg(long, env = "COUNTERFOIL_URL", default_value = "http://127.0.0.1:7423", value_name = "URL")]
    pub(crate) url: String,
    /// The ledger's name.
    #[arg(long, env = "COUNTERFOIL_LEDGER", default_value = "main", value_name = "NAME")]
    pub(crate) ledger: String,
    /// File with the API key, one line.
    #[arg(long, env = "COUNTERFOIL_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<std::path::PathBuf>,
    /// PEM file of certificate authorities that the server's certificate may come from, instead of the
    /// public ones.
    #[arg(long, env = "COUNTERFOIL_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<std::path::PathBuf>,
}

/// Why a command ends with an error; the text goes to stderr.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Failure {
    /// An error that is neither usage nor a verdict.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: EXIT_ERROR, message: message.into() }
    }

    /// A command line that cannot be carried out.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: EXIT_USAGE, message: message.into() }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

/// Runs the command line of this process and returns its exit code.
#[must_use]
pub fn run() -> u8 {
    let parsed = table::command().try_get_matches().and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { EXIT_GOOD };
            mistakes::show(error);
            return code;
        }
    };
    let result = match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Append(args) => append::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Erase(args) => erase::run(&args),
        Command::Ledger(args) => ledger::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Retention(args) => retention::run(&args),
        Command::Hold(args) => hold::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Prove(args) => prove::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Openapi(args) => args.write(crate::http::document().as_bytes()),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            say!("counterfoil: {}", mistakes::scrub(&failure.message));
            failure.code
        }
    }
}
