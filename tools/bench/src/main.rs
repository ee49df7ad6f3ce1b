//! Measures Counterfoil and its peers in one run and prints ratios.
//!
//! In scope: the command line; which parts run in which order; where results go. Out of scope: building
//! what is measured, which `tools/bench/run` does. Invariants: nothing here is linked into the product;
//! answers are checked, so that no wrong answer counts as a fast one.

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
mod bars;
mod erase;
mod events;
mod history;
mod http;
mod load;
mod log;
mod open;
mod peers;
mod physical;
mod process;
mod queries;
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
use bars::Results;
use history::History;
use peers::Peer;
use peers::bare::{Bare, Reads};
use peers::counterfoil::Counterfoil;
use peers::postgres::{Body, Postgres};
use peers::tessera::Tessera;

/// A result whose error is a sentence for whoever runs the bench.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measure Counterfoil and its peers in one run.
///
/// Tables go to standard output as Markdown, progress to standard error. docs/performance.md says what is
/// measured and how.
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
    /// Where servers keep their data while they run. Must be passable for the user `postgres`.
    #[arg(long, global = true, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// Where the programs are that `tools/bench/run` built.
    #[arg(long, global = true, value_name = "DIR", default_value = "target/dist")]
    programs: PathBuf,
    /// Tessera's `fsck`.
    #[arg(long, global = true, value_name = "FILE", default_value = "target/tools/fsck")]
    fsck: PathBuf,
    /// Put the tables between the markers of this page, such as docs/performance.md.
    #[arg(long, global = true, value_name = "FILE")]
    write: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Appends by every peer, for developers: one round, two seconds a turn; the machine's limits; bars.
    Quick(AppendArgs),
    /// Durable appends by every peer, and the machine's limits.
    Appends(AppendArgs),
    /// Latency of Counterfoil's appends at given rates.
    Open(OpenArgs),
    /// Disk, memory, start and verification of a long log.
    Log(HistoryArgs),
    /// Queries on a long history, beside a relational database's.
    Queries(HistoryArgs),
    /// Many persons of a long log erased in one shred, alone and while events come in.
    Erasures {
        #[command(flatten)]
        history: HistoryArgs,
        /// Persons of a shred.
        #[arg(long, default_value_t = 1_000)]
        persons: u64,
    },
    /// What the machine itself can do.
    Limits,
    /// Everything, as docs/performance.md shows it.
    All {
        #[command(flatten)]
        appends: AppendArgs,
        #[command(flatten)]
        history: HistoryArgs,
    },
}

#[derive(Debug, Args, Clone)]
struct AppendArgs {
    /// Rounds; figures are their medians [default: 3, quick 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that are measured in each turn [default: 5, quick 2].
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

#[derive(Debug, Args, Clone)]
struct OpenArgs {
    /// Requests a second.
    #[arg(long, value_delimiter = ',', default_value = "1000,5000,10000,20000")]
    rates: Vec<f64>,
    /// Requests under way at most.
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Seconds that are measured at each rate.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

#[derive(Debug, Args, Clone)]
struct HistoryArgs {
    /// Events of the history.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Different subjects in it.
    #[arg(long, default_value_t = 200_000)]
    subjects: u64,
    /// Seconds that are measured of each query.
    #[arg(long, default_value_t = 4.0)]
    query_seconds: f64,
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

/// A run under way.
#[derive(Debug)]
struct Bench<'a> {
    common: &'a Common,
    dir: PathBuf,
    results: Results,
    failed: usize,
}

impl Bench<'_> {
    fn program(&self, name: &str) -> PathBuf {
        self.common.programs.join(name)
    }

    /// All peers that are installed here; what is missing is said.
    fn peers(&self) -> Vec<Box<dyn Peer>> {
        let bare = |reads| Bare { program: self.program("counterfoil-bench-bare"), reads };
        let mut peers: Vec<Box<dyn Peer>> = vec![
            Box::new(Counterfoil { program: self.program("counterfoil") }),
            Box::new(bare(Reads::Typed)),
            Box::new(bare(Reads::Value)),
        ];
        let tessera = Tessera { program: self.program("counterfoil-bench-tessera") };
        if tessera.program.exists() {
            peers.push(Box::new(tessera));
        } else {
            say!("Tessera is not measured: Go did not build its server.");
        }
        if Path::new(peers::postgres::PROGRAMS).exists() {
            for body in [Body::Jsonb, Body::Text] {
                peers.extend(
                    [false, true].map(|chained| Box::new(Postgres { chained, body }) as Box<dyn Peer>),
                );
            }
        } else {
            say!("PostgreSQL is not measured: there is no {}.", peers::postgres::PROGRAMS);
        }
        peers
    }

    /// An empty directory of this run.
    fn fresh(&self, name: &str) -> Fallible<PathBuf> {
        let dir = self.dir.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Prints a part and puts it into the page where one was named.
    fn publish(&self, name: &str, text: &str) -> Fallible<()> {
        writeln!(std::io::stdout(), "## {name}\n\n{text}")?;
        self.common.write.as_ref().map_or(Ok(()), |page| table::put(page, name, text))
    }

    fn machine(&self) -> Fallible<()> {
        self.publish("machine", &physical::machine(&self.dir))
    }

    fn limits(&self, measure: Duration) -> Fallible<()> {
        let found = physical::run(&self.dir, measure)?;
        self.publish("limits", &found.table().to_string())
    }

    fn appends(&mut self, args: &AppendArgs, length: Length) -> Fallible<()> {
        let peers: Vec<_> = self.peers().into_iter().filter(|peer| args.wants(peer.name())).collect();
        let (rows, sync_ms) = appends::run(&peers, &args.cells()?, length, &self.dir)?;
        self.results.sync_ms = sync_ms;
        let event_bytes = events::pool().event_bytes();
        let mut text = format!(
            "Events of {event_bytes:.0} bytes of JSON; medians of {} rounds of {:.0} s.\n\n{}\n",
            length.rounds,
            length.measure.as_secs_f64(),
            appends::table(&rows, event_bytes)
        );
        for peer in &peers {
            let _ = writeln!(text, "* {}: {}.", peer.name(), peer.about());
        }
        self.failed += rows.iter().filter(|row| row.turns.len() < length.rounds).count();
        self.results.rows = rows;
        self.publish("appends", &text)
    }

    fn open(&self, args: &OpenArgs) -> Fallible<()> {
        let peer = Counterfoil { program: self.program("counterfoil") };
        let measure = Duration::from_secs_f64(args.seconds);
        let table = open::run(&peer, &args.rates, args.connections, measure, &self.dir)?;
        self.publish("open", &table.to_string())
    }

    fn log(&mut self, args: &HistoryArgs) -> Fallible<()> {
        let programs = log::Programs {
            counterfoil: self.program("counterfoil"),
            tessera: self.program("counterfoil-bench-tessera"),
            fsck: self.common.fsck.clone(),
        };
        let dir = self.fresh("history")?;
        let report = log::run(&programs, History::new(args.events, args.subjects), &dir)?;
        fs::remove_dir_all(&dir)?;
        self.publish("log", &report.text())?;
        self.results.log = Some(report);
        Ok(())
    }

    fn queries(&mut self, args: &HistoryArgs) -> Fallible<()> {
        let dir = self.fresh("queries")?;
        let measure = Duration::from_secs_f64(args.query_seconds);
        let history = History::new(args.events, args.subjects);
        let found = queries::run(&self.program("counterfoil"), history, measure, &dir)?;
        fs::remove_dir_all(&dir)?;
        self.publish("queries", &format!("{} events.\n\n{}", args.events, queries::table(&found)))?;
        self.results.queries = found;
        Ok(())
    }

    fn erasures(&self, args: &HistoryArgs, persons: u64) -> Fallible<()> {
        let dir = self.fresh("erasures")?;
        let history = History::new(args.events, args.subjects);
        let text = erase::run(&self.program("counterfoil"), history, persons, &dir)?;
        fs::remove_dir_all(&dir)?;
        self.publish("erasures", &text)
    }

    fn bars(&self) -> Fallible<()> {
        self.publish("bars", &self.results.table().to_string())
    }
}

fn run(cli: &Cli) -> Fallible<()> {
    fs::create_dir_all(&cli.common.dir)?;
    let dir = cli.common.dir.canonicalize()?;
    let mut bench = Bench { common: &cli.common, dir, results: Results::default(), failed: 0 };
    bench.machine()?;
    match &cli.part {
        Part::Quick(args) => {
            bench.limits(Duration::from_secs(1))?;
            bench.appends(args, args.length(1, 2.0, 1.0))?;
            bench.bars()?;
        }
        Part::Appends(args) => {
            bench.limits(Duration::from_secs(4))?;
            bench.appends(args, args.length(3, 5.0, 2.0))?;
            bench.bars()?;
        }
        Part::Open(args) => bench.open(args)?,
        Part::Log(args) => bench.log(args)?,
        Part::Queries(args) => bench.queries(args)?,
        Part::Erasures { history, persons } => bench.erasures(history, *persons)?,
        Part::Limits => bench.limits(Duration::from_secs(4))?,
        Part::All { appends, history } => {
            bench.limits(Duration::from_secs(4))?;
            bench.appends(appends, appends.length(3, 5.0, 2.0))?;
            let rates = vec![1_000.0, 5_000.0, 10_000.0, 20_000.0];
            bench.open(&OpenArgs { rates, connections: 256, seconds: 5.0 })?;
            bench.log(history)?;
            bench.queries(history)?;
            bench.bars()?;
        }
    }
    if bench.failed > 0 {
        Err(format!("{} rows lack rounds that failed", bench.failed).into())
    } else {
        Ok(())
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
