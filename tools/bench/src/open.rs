//! The open loop: latency at a rate that does not depend on the server.
//!
//! In scope: Counterfoil at given rates of single events. Out of scope: how fast it can be, which the
//! closed loop tells. Invariants: latency counts from the moment a request was due; what was due and could
//! not be started, because every connection was waiting, is in the table. The timer that waits for the
//! moment is one of milliseconds, so up to one millisecond of each latency is the generator's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Fallible;
use crate::load::Plan;
use crate::peers::Peer;
use crate::stats::{figure, percentile_ms};
use crate::table::Table;

/// Measures a peer at each rate, on an empty directory each time.
pub(crate) fn run(
    peer: &dyn Peer,
    rates: &[f64],
    connections: usize,
    measure: Duration,
    dir: &Path,
) -> Fallible<Table> {
    let mut table = Table::new(&[
        "peer",
        "due per s",
        "connections",
        "answered per s",
        "not started",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
    ]);
    for rate in rates {
        let own = dir.join("open");
        if own.exists() {
            fs::remove_dir_all(&own)?;
        }
        fs::create_dir_all(&own)?;
        let plan = Plan { connections, batch: 1, warm: measure / 3, measure, rate: Some(*rate) };
        let mut running = peer.start(&own, &plan)?;
        let outcome = running.load(&plan)?;
        running.finish(&outcome)?;
        fs::remove_dir_all(&own)?;
        let of = |per_mille| figure(percentile_ms(&outcome.latencies_us, per_mille));
        table.row([
            peer.name().to_owned(),
            figure(Some(*rate)),
            connections.to_string(),
            figure(Some(outcome.events_per_s())),
            outcome.not_started.to_string(),
            of(500),
            of(990),
            of(999),
            of(1000),
        ]);
    }
    Ok(table)
}
