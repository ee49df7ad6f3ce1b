//! The append bench: every peer in every cell, in rounds.
//!
//! In scope: cells (connections and batch), rounds that interleave the peers, medians, ratios. Out of
//! scope: the load itself and the peers. Invariants: within a round the peers follow one another in the
//! same minutes; a figure is the median of the rounds and a ratio the ratio of medians; a peer that fails
//! is named with its error, and its cell stays empty.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Fallible;
use crate::load::{Outcome, Plan};
use crate::peers::Peer;
use crate::physical;
use crate::process::{self, Size};
use crate::stats::{figure, median, percentile_ms, ratio};
use crate::table::Table;

/// A shape of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    pub(crate) batch: usize,
}

/// All there are.
pub(crate) const CELLS: [Cell; 5] = [
    Cell { name: "singles-64", connections: 64, batch: 1 },
    Cell { name: "singles-1", connections: 1, batch: 1 },
    Cell { name: "singles-1024", connections: 1024, batch: 1 },
    Cell { name: "batch-100", connections: 4, batch: 100 },
    Cell { name: "batch-1000", connections: 4, batch: 1000 },
];

/// One peer in one cell in one round.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) events_per_s: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    disk: Option<(f64, f64)>,
    device_bytes: f64,
    peak_mib: f64,
    server_cpu_us: f64,
    server_cpu_percent: f64,
    client_cpu_percent: f64,
    foreign_cpu_percent: f64,
    answer_bytes: f64,
}

impl Turn {
    fn new(outcome: &Outcome, disk: Option<Size>, written: u64) -> Self {
        let (all, counted) = (outcome.events_all, outcome.events);
        Self {
            events_per_s: outcome.events_per_s(),
            p50_ms: percentile_ms(&outcome.latencies_us, 500),
            p99_ms: percentile_ms(&outcome.latencies_us, 990),
            disk: disk.map(|size| (ratio(size.apparent, all), ratio(size.allocated, all))),
            device_bytes: ratio(written, all),
            peak_mib: ratio(outcome.server.peak_bytes, 1 << 20),
            server_cpu_us: outcome.server.cpu_s * 1e6 / ratio(counted.max(1), 1),
            server_cpu_percent: outcome.server.cpu_s * 100.0 / outcome.seconds,
            client_cpu_percent: outcome.client_cpu_s * 100.0 / outcome.seconds,
            foreign_cpu_percent: outcome.foreign_cpu_s * 100.0 / outcome.seconds,
            answer_bytes: ratio(outcome.answer_bytes, all),
        }
    }
}

/// What a peer came to in a cell.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) peer: &'static str,
    pub(crate) cell: Cell,
    /// Fewer where the peer takes fewer.
    pub(crate) connections: usize,
    pub(crate) turns: Vec<Turn>,
}

impl Row {
    pub(crate) fn median(&self, of: impl Fn(&Turn) -> Option<f64>) -> Option<f64> {
        median(self.turns.iter().filter_map(of))
    }

    pub(crate) fn events_per_s(&self) -> Option<f64> {
        self.median(|turn| Some(turn.events_per_s))
    }
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    pub(crate) rounds: usize,
    pub(crate) warm: Duration,
    pub(crate) measure: Duration,
}

/// Measures `peers` in `cells`. With it comes the median flush of the disk, in milliseconds, measured in
/// each round of the cell with one connection, whose latency it bounds.
pub(crate) fn run(
    peers: &[Box<dyn Peer>],
    cells: &[Cell],
    length: Length,
    dir: &Path,
) -> Fallible<(Vec<Row>, Option<f64>)> {
    let (mut rows, mut syncs_ms) = (Vec::new(), Vec::new());
    for cell in cells {
        let batch = cell.batch;
        let able = || peers.iter().filter(|peer| peer.takes(cell));
        let mut of_cell: Vec<Row> = able()
            .map(|peer| Row {
                peer: peer.name(),
                cell: *cell,
                connections: peer.connections(cell.connections),
                turns: Vec::new(),
            })
            .collect();
        for round in 1..=length.rounds {
            if cell.connections == 1 {
                syncs_ms.extend(physical::sync_p50_ms(dir)?);
            }
            for (peer, row) in able().zip(&mut of_cell) {
                let plan = Plan {
                    connections: row.connections,
                    batch,
                    warm: length.warm,
                    measure: length.measure,
                    rate: None,
                };
                match turn(&**peer, &plan, dir) {
                    Ok(turn) => {
                        let rate = figure(Some(turn.events_per_s));
                        say!("{} round {round}: {} {rate} events/s", cell.name, row.peer);
                        row.turns.push(turn);
                    }
                    Err(error) => say!("{} round {round}: {} FAILED: {error}", cell.name, row.peer),
                }
            }
        }
        rows.extend(of_cell);
    }
    Ok((rows, median(syncs_ms)))
}

/// Starts a peer, loads it, checks it, ends it and removes what it left.
fn turn(peer: &dyn Peer, plan: &Plan, dir: &Path) -> Fallible<Turn> {
    let own = dir.join("turn");
    if own.exists() {
        fs::remove_dir_all(&own)?;
    }
    fs::create_dir_all(&own)?;
    let mut running = peer.start(&own, plan)?;
    let written = process::device_bytes(&own);
    let outcome = running.load(plan)?;
    let disk = running.finish(&outcome)?;
    let written = process::device_bytes(&own) - written;
    fs::remove_dir_all(&own)?;
    Ok(Turn::new(&outcome, disk, written))
}

/// The table of one cell or several.
pub(crate) fn table(rows: &[Row], event_bytes: f64) -> Table {
    let mut table = Table::new(&[
        "load",
        "peer",
        "conn.",
        "events/s",
        "range",
        "Counterfoil ÷ it",
        "p50 ms",
        "p99 ms",
        "server CPU µs/event",
        "CPU % server + client + others",
        "disk B/event (allocated)",
        "× JSON",
        "device B/event",
        "peak MiB",
        "answer B/event",
    ]);
    for row in rows {
        let ours = rows.iter().find(|one| one.peer == "Counterfoil" && one.cell == row.cell);
        let against = ours.and_then(Row::events_per_s).zip(row.events_per_s()).map(|(a, b)| a / b);
        let disk = row.median(|turn| turn.disk.map(|disk| disk.0));
        let allocated = row.median(|turn| turn.disk.map(|disk| disk.1));
        let rates = || row.turns.iter().map(|turn| turn.events_per_s);
        let range = (rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max));
        table.row([
            row.cell.name.to_owned(),
            row.peer.to_owned(),
            row.connections.to_string(),
            figure(row.events_per_s()),
            if row.turns.is_empty() {
                "failed".to_owned()
            } else {
                format!("{}–{}", figure(Some(range.0)), figure(Some(range.1)))
            },
            figure(against),
            figure(row.median(|turn| turn.p50_ms)),
            figure(row.median(|turn| turn.p99_ms)),
            figure(row.median(|turn| Some(turn.server_cpu_us))),
            format!(
                "{} + {} + {}",
                figure(row.median(|turn| Some(turn.server_cpu_percent))),
                figure(row.median(|turn| Some(turn.client_cpu_percent))),
                figure(row.median(|turn| Some(turn.foreign_cpu_percent)))
            ),
            match disk {
                Some(_) => format!("{} ({})", figure(disk), figure(allocated)),
                None => figure(None),
            },
            figure(disk.map(|disk| disk / event_bytes)),
            figure(disk.and(row.median(|turn| Some(turn.device_bytes)))),
            figure(row.median(|turn| Some(turn.peak_mib))),
            figure(row.median(|turn| Some(turn.answer_bytes))),
        ]);
    }
    table
}
