//! Counts the instructions of Counterfoil's pure core, and holds them against a committed table.
//!
//! In scope: the command line; which cases are counted; the closing line. Out of scope: anything that a
//! machine's speed or load changes. Invariants: a comparison that is not made is said, with the reason; the
//! cases run with the system's allocator on one thread, without clock or chance.

#![allow(clippy::disallowed_methods, reason = "a bench starts programs and writes files of its own")]

/// Says something to whoever runs it; the table goes to standard output.
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($argument)*);
    }};
}

mod cases;
mod fixture;
mod record;
#[path = "../../src/table.rs"]
mod table;
mod valgrind;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

use cases::CASES;
use record::{Difference, Record, TOLERANCE_PERCENT, change, compare, compare_names};
use table::Table;
use valgrind::Valgrind;

/// A result whose error is a sentence for whoever runs it.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Count the instructions of the pure core and compare them with the committed table.
///
/// Fails if a count is more than 5 % above or below the table. The counts do not depend on the machine's load.
#[derive(Debug, Parser)]
#[command(name = "tools/bench/run counts")]
struct Cli {
    #[command(subcommand)]
    inner: Option<Inner>,
    /// Write the counts into the table and into docs/performance.md.
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Only the cases whose names hold this, such as `receipt`.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// The committed table.
    #[arg(long, value_name = "FILE", default_value = "tools/bench/instructions.toml")]
    table: PathBuf,
    /// The page that shows it.
    #[arg(long, value_name = "FILE", default_value = "docs/performance.md")]
    page: PathBuf,
    /// The compiler this was built with.
    #[arg(long, env = "RUSTC", hide_env_values = true, value_name = "PROGRAM", default_value = "rustc")]
    rustc: PathBuf,
}

/// What this program does under valgrind.
#[derive(Debug, Subcommand)]
enum Inner {
    /// Run a case so many times.
    #[command(hide = true)]
    Case { name: String, repetitions: u32 },
    /// Name the processor's features.
    #[command(hide = true)]
    Cpu,
}

fn rustc_version(program: &PathBuf) -> Fallible<String> {
    let output = Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Counts the cases that `wanted` names.
fn count(valgrind: &Valgrind, wanted: &str) -> Fallible<BTreeMap<String, u64>> {
    let wanted = CASES.iter().filter(|case| case.name.contains(wanted));
    wanted.map(|case| Ok((case.name.to_owned(), valgrind.count(case)?))).collect()
}

fn write(cli: &Cli, record: &Record) -> Fallible<()> {
    fs::write(&cli.table, record.to_toml())?;
    table::put(&cli.page, "instructions", &record.to_markdown())?;
    print(record.to_markdown())?;
    say!("counts: {} cases written to {}", record.instructions.len(), cli.table.display());
    Ok(())
}

fn print(text: impl std::fmt::Display) -> Fallible<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Compares, prints both tables as one, and fails if they differ.
fn check(record: &Record, counted: &BTreeMap<String, u64>, here: &Record) -> Fallible<()> {
    let mut differences = compare_names(record);
    let mut table = Table::new(&["Case", "Recorded", "Counted", "Change"]);
    let mut largest: Option<(u64, String)> = None;
    for case in &CASES {
        let Some(count) = counted.get(case.name) else { continue };
        differences.extend(compare(record, case.name, *count));
        let Some(recorded) = record.instructions.get(case.name) else { continue };
        let by = change(*recorded, *count);
        let per_million = recorded.abs_diff(*count).saturating_mul(1_000_000) / recorded.max(&1);
        if largest.as_ref().is_none_or(|(most, _)| per_million > *most) {
            largest = Some((per_million, format!("{by} {}", case.name)));
        }
        table.row([case.name.to_owned(), recorded.to_string(), count.to_string(), by]);
    }
    print(table)?;
    if differences.is_empty() {
        let largest = largest.map_or_else(|| "none".to_owned(), |(_, text)| text);
        say!(
            "counts: cases within {TOLERANCE_PERCENT} % of the table: {}; largest change {largest}",
            counted.len()
        );
        return Ok(());
    }
    Err(explain(&differences, record, here).into())
}

fn explain(differences: &[Difference<'_>], record: &Record, here: &Record) -> String {
    let mut out = "not as in the table".to_owned();
    for difference in differences {
        out.push_str("\n  ");
        out.push_str(&difference.to_string());
    }
    for (what, then, now) in
        [("compiler", &record.rustc, &here.rustc), ("valgrind", &record.valgrind, &here.valgrind)]
    {
        if then != now {
            let _ = std::fmt::Write::write_fmt(
                &mut out,
                format_args!("\n  the table was taken with another {what}: {then}; here is {now}"),
            );
        }
    }
    out
}

fn run(cli: &Cli) -> Fallible<()> {
    match &cli.inner {
        Some(Inner::Case { name, repetitions }) => return valgrind::run(name, *repetitions),
        Some(Inner::Cpu) => return print(valgrind::features()),
        None => {}
    }
    if !CASES.iter().any(|case| case.name.contains(&cli.only)) {
        return Err(format!("no case's name holds `{}`", cli.only).into());
    }
    let valgrind = Valgrind::find()?;
    let mut here = Record {
        rustc: rustc_version(&cli.rustc)?,
        valgrind: valgrind.version.clone(),
        cpu: valgrind.cpu()?,
        instructions: BTreeMap::new(),
    };
    if cli.write {
        here.instructions = count(&valgrind, "")?;
        return write(cli, &here);
    }
    let text =
        fs::read_to_string(&cli.table).map_err(|error| format!("{}: {error}", cli.table.display()))?;
    let record = Record::parse(&text)?;
    if record.cpu != here.cpu {
        let differences = compare_names(&record);
        if !differences.is_empty() {
            return Err(explain(&differences, &record, &here).into());
        }
        say!(
            "NOT RUN counts: libraries choose other code on this processor. Under valgrind it has `{}`, \
             the table was taken with `{}`",
            here.cpu,
            record.cpu
        );
        return Ok(());
    }
    check(&record, &count(&valgrind, &cli.only)?, &here)
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("counts: {error}");
            ExitCode::FAILURE
        }
    }
}
