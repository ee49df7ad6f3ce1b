//! The log bench: what a long history takes on disk and in memory, how fast it is verified and opened.
//!
//! In scope: Counterfoil with one history, Tessera's `fsck` over the same directory and over a log of its
//! own of the same size. Out of scope: queries. Invariants: `fsck` and our verifier take turns over the same
//! files; each must say that all is well; the server is killed with SIGKILL, not ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::Fallible;
use crate::history::History;
use crate::http;
use crate::peers::counterfoil::{MAIN, Server};
use crate::process::{self, PATIENCE, Size, clean};
use crate::stats::{figure, median, ratio};
use crate::table::Table;

/// How often the server is killed and the log verified.
const ROUNDS: usize = 3;

/// The line without which `fsck` has not succeeded; its exit code is 0 either way.
const FSCK_SUCCESS: &str = "Successfully fsck'd log";

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) counterfoil: PathBuf,
    pub(crate) tessera: PathBuf,
    pub(crate) fsck: PathBuf,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct LogReport {
    history: History,
    fill_s: f64,
    lags: Vec<(String, f64)>,
    pub(crate) peak_mib: f64,
    directories: Vec<(String, Size)>,
    whole: Size,
    ended: Size,
    pub(crate) starts_s: Vec<f64>,
    verify_all_s: Vec<f64>,
    verify_log_s: Vec<f64>,
    fsck_s: Vec<f64>,
    fsck_own_s: Vec<f64>,
}

/// Runs it in an empty directory.
pub(crate) fn run(programs: &Programs, history: History, dir: &Path) -> Fallible<LogReport> {
    let mut server = Server::start(&programs.counterfoil, dir)?;
    let fill_s = history.fill_counterfoil(&server)?;
    say!("log: {} events appended in {fill_s:.1} s", history.events);
    let lags = lags(&server)?;
    wait_until_published(&server, history.events)?;
    let directories = directories(&server);
    let whole = process::size(&server.data());
    let mut peak_bytes = process::usage(server.process.pid()).peak_bytes;
    let mut starts_s = Vec::new();
    for _ in 0..ROUNDS {
        server.process.kill()?;
        let from = Instant::now();
        server = Server::start(&programs.counterfoil, dir)?;
        starts_s.push(from.elapsed().as_secs_f64());
        peak_bytes = peak_bytes.max(process::usage(server.process.pid()).peak_bytes);
        say!("log: ready {:.2} s after a kill", starts_s.last().copied().unwrap_or_default());
    }
    let (data, ledger) = (server.data(), server.ledger());
    server.end()?;
    let mut report = LogReport {
        history,
        fill_s,
        lags,
        peak_mib: ratio(peak_bytes, 1 << 20),
        directories,
        whole,
        ended: process::size(&data),
        starts_s,
        verify_all_s: Vec::new(),
        verify_log_s: Vec::new(),
        fsck_s: Vec::new(),
        fsck_own_s: Vec::new(),
    };
    let own = dir.join("tessera");
    let (events, bytes) = (history.events.to_string(), format!("{:.0}", history.event_bytes()));
    let mut preload = clean(&programs.tessera);
    preload.arg("-dir").arg(&own).args(["-batch", "1024", "-age", "50ms", "-preload", &events]);
    process::run(preload.args(["-bytes", &bytes]))?;
    let log_alone =
        process::run(clean(&programs.counterfoil).args(["verify", "--help"]))?.contains("--log-only");
    for _ in 0..ROUNDS {
        report.verify_all_s.push(verify(programs, &data, &ledger, &[])?);
        if log_alone {
            report.verify_log_s.push(verify(programs, &data, &ledger, &["--log-only"])?);
        }
        report.fsck_s.push(fsck(programs, &ledger, &ledger.join("verifier.key"))?);
        report.fsck_own_s.push(fsck(programs, &own, &dir.join("tessera.pub"))?);
    }
    Ok(report)
}

/// What the server itself says is behind, right after the last event was acknowledged.
fn lags(server: &Server) -> Fallible<Vec<(String, f64)>> {
    let said = http::get(&server.url, "/metrics", Some(&server.admin_key()?))?;
    let text = String::from_utf8_lossy(&said.body).into_owned();
    let lag = |line: &str| {
        let (name, value) = line.split_once('{').zip(line.rsplit_once(' ')).map(|(a, b)| (a.0, b.1))?;
        let name = name.strip_prefix("counterfoil_").filter(|name| name.contains("_lag_"))?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(text.lines().filter(|line| !line.starts_with('#')).filter_map(lag).collect())
}

fn wait_until_published(server: &Server, size: u64) -> Fallible<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let note = http::get(&server.url, &format!("{MAIN}/checkpoint"), None)?;
        let text = String::from_utf8_lossy(&note.body).into_owned();
        let held = text.lines().nth(1).and_then(|line| line.parse::<u64>().ok()).unwrap_or(0);
        if held >= size {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the published checkpoint covers {held} of {size}").into());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn directories(server: &Server) -> Vec<(String, Size)> {
    let ledger = server.ledger();
    let entries = process::size(&ledger.join("tile/entries"));
    let tile = process::size(&ledger.join("tile"));
    let hashes = Size {
        apparent: tile.apparent.saturating_sub(entries.apparent),
        allocated: tile.allocated.saturating_sub(entries.allocated),
        files: tile.files.saturating_sub(entries.files),
    };
    let mut found = vec![("tile/entries".to_owned(), entries), ("tile (hashes)".to_owned(), hashes)];
    for place in [ledger, server.data()] {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() && !["tile", "ledgers"].contains(&name.as_str()) {
                found.push((name, process::size(&entry.path())));
            }
        }
    }
    found
}

fn verify(programs: &Programs, data: &Path, ledger: &Path, more: &[&str]) -> Fallible<f64> {
    let mut command = clean(&programs.counterfoil);
    command.arg("verify").arg(data).arg("--key").arg(ledger.join("verifier.key")).args(more);
    let from = Instant::now();
    process::run(&mut command)?;
    Ok(from.elapsed().as_secs_f64())
}

/// One worker, its default: hashing is one thread whatever is asked for.
fn fsck(programs: &Programs, log: &Path, key: &Path) -> Fallible<f64> {
    let mut command = clean(&programs.fsck);
    command.arg(format!("--storage_url=file://{}/", log.display()));
    command.arg(format!("--public_key={}", key.display())).args(["--ui=false", "-v=1"]);
    let from = Instant::now();
    let output = command.output()?;
    let took = from.elapsed().as_secs_f64();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    if said.contains(FSCK_SUCCESS) { Ok(took) } else { Err(format!("fsck: {said}").into()) }
}

impl LogReport {
    /// Bytes on disk for each byte of JSON.
    pub(crate) fn times_json(&self) -> f64 {
        ratio(self.whole.apparent, self.history.events) / self.history.event_bytes()
    }

    fn rate(&self, seconds: &[f64]) -> Option<f64> {
        median(seconds.iter().copied()).map(|s| ratio(self.history.events, 1) / s)
    }

    /// Entries a second: our verifier of the log alone where there is one, else of everything; and `fsck`.
    pub(crate) fn verified_per_s(&self) -> (Option<f64>, Option<f64>) {
        let ours = self.rate(&self.verify_log_s).or_else(|| self.rate(&self.verify_all_s));
        (ours, self.rate(&self.fsck_s))
    }

    /// Its tables.
    pub(crate) fn text(&self) -> String {
        let (events, event_bytes) = (self.history.events, self.history.event_bytes());
        let mut disk = Table::new(&["directory", "B/event", "allocated B/event", "× JSON", "files"]);
        let whole = ("all of it, while it runs".to_owned(), self.whole);
        let ended = ("all of it, after it ended".to_owned(), self.ended);
        for (name, size) in self.directories.iter().chain([&whole, &ended]) {
            let bytes = ratio(size.apparent, events);
            disk.row([
                name.clone(),
                figure(Some(bytes)),
                figure(Some(ratio(size.allocated, events))),
                figure(Some(bytes / event_bytes)),
                size.files.to_string(),
            ]);
        }
        let mut times = Table::new(&["what", "median", "of"]);
        let seconds = |all: &[f64]| all.iter().map(|s| figure(Some(*s))).collect::<Vec<_>>().join(", ");
        times.row([
            "appending it, batches of 1 000 over 4 connections".to_owned(),
            format!("{} events/s", figure(Some(ratio(events, 1) / self.fill_s))),
            format!("{} s", figure(Some(self.fill_s))),
        ]);
        times.row([
            "peak memory, appending and starting".to_owned(),
            format!("{} MiB", figure(Some(self.peak_mib))),
            String::new(),
        ]);
        times.row([
            "from kill -9 to ready".to_owned(),
            format!("{} s", figure(median(self.starts_s.iter().copied()))),
            seconds(&self.starts_s),
        ]);
        for (name, all) in [
            ("`counterfoil verify`, every byte, parts and chain too", &self.verify_all_s),
            ("`counterfoil verify --log-only`", &self.verify_log_s),
            ("`fsck` over the same directory", &self.fsck_s),
            ("`fsck` over a Tessera log of as many entries", &self.fsck_own_s),
        ] {
            if all.is_empty() {
                continue;
            }
            let rate = format!("{} entries/s", figure(self.rate(all)));
            times.row([name.to_owned(), rate, format!("{} s", seconds(all))]);
        }
        for (name, lag) in &self.lags {
            times.row([
                format!("`counterfoil_{name}` after the last answer"),
                figure(Some(*lag)),
                String::new(),
            ]);
        }
        format!(
            "{events} events of {event_bytes:.0} bytes of JSON, {} subjects, {} actors.\n\n{disk}\n{times}",
            self.history.people.subjects, self.history.people.actors
        )
    }
}
