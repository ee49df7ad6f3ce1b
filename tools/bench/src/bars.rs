//! What was aimed at, and whether it was reached.
//!
//! In scope: the bars, each a value of one run against a bound. Out of scope: measuring. Invariant: what
//! this run did not measure is said to be not measured, never met.

use crate::appends::Row;
use crate::log::LogReport;
use crate::queries::{self, Asked};
use crate::stats::{figure, median};
use crate::table::Table;

/// What a run has found so far.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    /// Median flush in the minutes of the turns with one connection.
    pub(crate) sync_ms: Option<f64>,
    pub(crate) log: Option<LogReport>,
    pub(crate) queries: Vec<Asked>,
}

/// On which side of the bound the value must be.
#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Results {
    fn row(&self, peer: &str, cell: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.peer == peer && row.cell.name == cell)
    }

    /// Counterfoil's events a second in a cell over a peer's.
    fn over(&self, peer: &str, cell: &str) -> Option<f64> {
        let rate = |peer| self.row(peer, cell).and_then(Row::events_per_s);
        Some(rate("Counterfoil")? / rate(peer)?)
    }

    fn ours(&self, cell: &str) -> Option<&Row> {
        self.row("Counterfoil", cell)
    }

    /// The bars.
    pub(crate) fn table(&self) -> Table {
        use Bound::{AtLeast, AtMost};
        let sync_ms = self.sync_ms;
        let alone_ms = self.ours("singles-1").and_then(|row| row.median(|turn| turn.p50_ms));
        let log = self.log.as_ref();
        let (ours, fsck) = log.map_or((None, None), LogReport::verified_per_s);
        let start_s = log.and_then(|log| median(log.starts_s.iter().copied()));
        let p99_ms = self.ours("singles-64").and_then(|row| row.median(|turn| turn.p99_ms));
        let mut table = Table::new(&["bar", "bound", "this run", ""]);
        let mut bar = |name: &str, value: Option<f64>, bound: Bound| {
            let (met, bound) = match bound {
                AtLeast(least) => (value.map(|v| v >= least), format!("≥ {}", figure(Some(least)))),
                AtMost(most) => (value.map(|v| v <= most), format!("≤ {}", figure(Some(most)))),
            };
            let met = met.map_or("not measured", |met| if met { "met" } else { "**not met**" });
            table.row([name.to_owned(), bound, figure(value), met.to_owned()]);
        };
        let single = "single events, 64 connections";
        bar(
            &format!("{single}: × Tessera POSIX"),
            self.over("Tessera POSIX", "singles-64"),
            AtLeast(2.5),
        );
        bar(
            &format!("{single}: × bare axum, typed"),
            self.over("bare axum, typed", "singles-64"),
            AtLeast(0.3),
        );
        bar(&format!("{single}: p99, ms"), p99_ms, AtMost(10.0));
        bar(
            &format!("{single}: × PostgreSQL, hash-chained"),
            self.over("PostgreSQL, hash-chained", "singles-64"),
            AtLeast(10.0),
        );
        let allowed_ms = sync_ms.map_or(f64::NAN, |sync_ms| 2.0 * sync_ms + 0.3);
        bar(
            "one connection: median, ms, against twice the median fdatasync and 0.3 ms",
            sync_ms.and(alone_ms),
            AtMost(allowed_ms),
        );
        let batches = "batches of 1 000";
        bar(
            &format!("{batches}: × PostgreSQL, hash-chained"),
            self.over("PostgreSQL, hash-chained", "batch-1000"),
            AtLeast(3.0),
        );
        bar(
            &format!("{batches}: × PostgreSQL, plain"),
            self.over("PostgreSQL, plain", "batch-1000"),
            AtLeast(0.6),
        );
        bar("verifying the log: × fsck", ours.zip(fsck).map(|(ours, fsck)| ours / fsck), AtLeast(1.0));
        bar("from kill -9 to ready, s", start_s, AtMost(2.0));
        bar("peak memory, MB", log.map(|log| log.peak_mib * 1.048_576), AtMost(400.0));
        bar("disk: × the events' JSON", log.map(LogReport::times_json), AtMost(3.5));
        bar(
            "by subject, newest 50, over HTTP: p99, ms",
            queries::subject_p99_ms(&self.queries),
            AtMost(10.0),
        );
        table
    }
}
