//! What the machine itself can do, measured in the same run.
//!
//! In scope: one 4 KiB append made durable, SHA-256 by one thread, a line that says which machine it was.
//! Out of scope: anybody's server. Invariant: the file that is written to lies where the servers' data lie.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::Fallible;
use crate::process;
use crate::stats::{figure, micros, percentile_ms, ratio};
use crate::table::Table;

/// What was found.
#[derive(Debug)]
pub(crate) struct Physical {
    sync_p50_ms: Option<f64>,
    sync_p99_ms: Option<f64>,
    syncs_per_s: f64,
    hash_mb_per_s: f64,
}

/// Appends 4 KiB and flushes for so long; how long each took, in microseconds, sorted.
fn syncs(dir: &Path, measure: Duration) -> Fallible<Vec<u32>> {
    let path = dir.join("appended");
    let mut file = File::create(&path)?;
    let block = [0x5a_u8; 4096];
    let mut took_us = Vec::new();
    let from = Instant::now();
    while from.elapsed() < measure {
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        took_us.push(micros(begun.elapsed()));
    }
    fs::remove_file(&path)?;
    took_us.sort_unstable();
    Ok(took_us)
}

/// The median of one second of flushes, in milliseconds: what a turn of one connection is held against.
pub(crate) fn sync_p50_ms(dir: &Path) -> Fallible<Option<f64>> {
    Ok(percentile_ms(&syncs(dir, Duration::from_secs(1))?, 500))
}

/// Measures each for `measure`.
pub(crate) fn run(dir: &Path, measure: Duration) -> Fallible<Physical> {
    let took_us = syncs(dir, measure)?;
    let syncs_per_s = ratio(took_us.len() as u64, 1) / measure.as_secs_f64();
    let block = [0x5a_u8; 16_384];
    let (mut hashed_bytes, from) = (0, Instant::now());
    while from.elapsed() < measure {
        for _ in 0..64 {
            std::hint::black_box(Sha256::digest(std::hint::black_box(block)));
        }
        hashed_bytes += 64 * block.len() as u64;
    }
    Ok(Physical {
        sync_p50_ms: percentile_ms(&took_us, 500),
        sync_p99_ms: percentile_ms(&took_us, 990),
        syncs_per_s,
        hash_mb_per_s: ratio(hashed_bytes, 1_000_000) / from.elapsed().as_secs_f64(),
    })
}

impl Physical {
    /// Its table.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(&["limit", "per s", "p50 ms", "p99 ms"]);
        table.row([
            "append of 4 KiB to a growing file and fdatasync, one thread".to_owned(),
            figure(Some(self.syncs_per_s)),
            figure(self.sync_p50_ms),
            figure(self.sync_p99_ms),
        ]);
        table.row([
            "SHA-256 of 16 KiB blocks, one thread, by the crate that Counterfoil uses".to_owned(),
            format!("{} MB", figure(Some(self.hash_mb_per_s))),
            figure(None),
            figure(None),
        ]);
        table
    }
}

/// Which machine, and which versions.
pub(crate) fn machine(dir: &Path) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let named = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let said = |program: &str, arguments: &[&str]| {
        let said = process::run(Command::new(program).args(arguments)).unwrap_or_default();
        said.lines().last().map_or_else(|| "none".to_owned(), |line| line.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_kib: u64 =
        named(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    let directory = dir.to_string_lossy();
    format!(
        "{}, {cores} cores, {} GiB; Linux {}; {} on {}; {}; {}; {}; {}; commit {}.",
        named(&read("/proc/cpuinfo"), "model name"),
        memory_kib / (1 << 20),
        read("/proc/sys/kernel/osrelease").trim(),
        said("findmnt", &["-n", "-o", "FSTYPE", "--target", &directory]),
        said("findmnt", &["-n", "-o", "SOURCE", "--target", &directory]),
        said("rustc", &["--version"]),
        said("go", &["version"]),
        said(&format!("{}/postgres", crate::peers::postgres::PROGRAMS), &["--version"]),
        now(),
        said("git", &["rev-parse", "--short", "HEAD"]),
    )
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()
}
