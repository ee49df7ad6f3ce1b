//! Measures Counterfoil and its peers in one run and prints ratios.
//!
//! In scope: the command line; which parts run in which order; where results go. Out of scope: building
//! what is measured, which `tools/bench/run` does. Invariants: nothing here is linked into the product;
//! answers are checked while they are timed, so that no wrong answer counts as a fast one.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench reads the clock, waits, and writes files of its own"
)]

/// Says something to whoever runs the bench; results go to standard output.
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($argument)*);
    }};
}

mod appends;
mod events;
mod http;
mod load;
mod peers;
mod process;
mod stats;
mod table;

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use appends::{CELLS, Cell, Length};
use peers::Peer;
use peers::bare::{Bare, Reads};
use peers::counterfoil::Counterfoil;
use peers::postgres::{Body, Postgres};
use peers::tessera::Tessera;

/// A result whose error is a sentence for whoever runs the bench.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measure Counterfoil and its peers in one run.
#[derive(Debug, Parser)]
#[command(name = "tools/bench/run")]
struct Cli {
    #[command(subcommand)]
    part: Part,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Where servers keep their data while they run; made anew and removed.
    #[arg(long, global = true, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// Where the programs are that `tools/bench/run` built.
    #[arg(long, global = true, value_name = "DIR", default_value = "target/dist")]
    programs: PathBuf,
    /// Put the tables between the markers of this page.
    #[arg(long, global = true, value_name = "FILE")]
    write: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Durable appends by every peer, for developers: one round, two seconds each.
    Quick(AppendArgs),
    /// Durable appends by every peer.
    Appends(AppendArgs),
}

#[derive(Debug, Args, Clone)]
struct AppendArgs {
    /// Rounds; figures are their medians [default: 3, quick 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that are measured in each turn [default: 6, quick 2].
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds of load before that [default: 2, quick 1].
    #[arg(long)]
    warm_seconds: Option<f64>,
    /// Only these cells: singles-64, singles-1, singles-1024, batch-100, batch-1000.
    #[arg(long, value_delimiter = ',', value_name = "CELLS")]
    cells: Vec<String>,
    /// Only peers whose name holds one of these, such as `counterfoil,typed`.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    peers: Vec<String>,
}

impl AppendArgs {
    fn length(&self, rounds: usize, seconds: f64, warm: f64) -> Length {
        Length {
            rounds: self.rounds.unwrap_or(rounds),
            warm: Duration::from_secs_f64(self.warm_seconds.unwrap_or(warm)),
            measure: Duration::from_secs_f64(self.seconds.unwrap_or(seconds)),
        }
    }

    fn cells(&self) -> Fallible<Vec<Cell>> {
        if let Some(unknown) =
            self.cells.iter().find(|name| CELLS.iter().all(|cell| cell.name != **name))
        {
            return Err(format!("there is no cell `{unknown}`").into());
        }
        let wanted =
            |cell: &Cell| self.cells.is_empty() || self.cells.iter().any(|name| name == cell.name);
        Ok(CELLS.into_iter().filter(wanted).collect())
    }

    fn wants(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.peers.is_empty() || self.peers.iter().any(|wanted| name.contains(&wanted.to_lowercase()))
    }
}

fn peers(common: &Common) -> Vec<Box<dyn Peer>> {
    let program = |name: &str| common.programs.join(name);
    let bare = |reads| Bare { program: program("counterfoil-bench-bare"), reads };
    vec![
        Box::new(Counterfoil { program: program("counterfoil") }),
        Box::new(bare(Reads::Typed)),
        Box::new(bare(Reads::Value)),
        Box::new(Tessera { program: program("counterfoil-bench-tessera") }),
        Box::new(Postgres { chained: false, body: Body::Jsonb }),
        Box::new(Postgres { chained: true, body: Body::Jsonb }),
        Box::new(Postgres { chained: false, body: Body::Text }),
        Box::new(Postgres { chained: true, body: Body::Text }),
    ]
}

fn appends(args: &AppendArgs, length: Length, common: &Common, dir: &Path) -> Fallible<()> {
    let peers: Vec<_> = peers(common).into_iter().filter(|peer| args.wants(peer.name())).collect();
    let rows = appends::run(&peers, &args.cells()?, length, dir);
    let event_bytes = events::pool().event_bytes();
    let mut text =
        format!("Events of {event_bytes:.0} bytes of JSON.\n\n{}\n", appends::table(&rows, event_bytes));
    for peer in &peers {
        let _ = writeln!(text, "* {}: {}.", peer.name(), peer.about());
    }
    publish(common, "appends", &text)?;
    let failed = rows.iter().filter(|row| row.turns.len() < length.rounds).count();
    if failed > 0 { Err(format!("{failed} rows lack rounds that failed").into()) } else { Ok(()) }
}

/// Prints a part and puts it into the page where one was named.
fn publish(common: &Common, name: &str, text: &str) -> Fallible<()> {
    writeln!(std::io::stdout(), "{text}")?;
    common.write.as_ref().map_or(Ok(()), |page| table::put(page, name, text))
}

fn run(cli: &Cli) -> Fallible<()> {
    fs::create_dir_all(&cli.common.dir)?;
    let dir = cli.common.dir.canonicalize()?;
    match &cli.part {
        Part::Quick(args) => appends(args, args.length(1, 2.0, 1.0), &cli.common, &dir),
        Part::Appends(args) => appends(args, args.length(3, 6.0, 2.0), &cli.common, &dir),
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
