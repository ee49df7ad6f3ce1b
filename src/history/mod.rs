//! Searching the ledger: conditions, time bounds, order and pages over a snapshot.
//!
//! In scope: turning a [`Query`] into index look-ups, holding every candidate against its entry,
//! opening what the reader may see, and cursors. Out of scope: how answers are written (the faces)
//! and proofs of completeness. Invariants: every event acknowledged before the snapshot is found,
//! whether or not it has been indexed; the pages of one cursor chain describe one size.

mod calendar;
mod cursor;
mod follow;
mod gaps;
mod query;
mod report;
mod retention_due;
mod summary;

pub use calendar::Bucket;
pub use cursor::{Cursor, CursorError};
pub use follow::{Found, Place, first, follow};
pub use gaps::Gap;
pub use query::{Clock, Condition, HistoryError, Order, Page, Query, run};
pub use report::{REPORT_STYLE, Report, ReportForm};
pub use retention_due::{DUE_COLUMNS, retention_due};
pub use summary::{FACETS_GROUPED_MAX, GROUPS_DEFAULT, GROUPS_MAX, Group, Grouping, Summary, summarise};

/// Events in one page at most.
pub const PAGE_EVENTS_MAX: usize = 1_000;

/// Events in a page that does not say how many it wants.
pub const PAGE_EVENTS_DEFAULT: usize = 100;

/// Candidates opened for one page at most. Filters that the index does not hold (text, and the occurred
/// time of the newest entries) open candidates one by one at about 20 µs each, so a page takes 0.2 s at
/// most; the cursor goes on from there.
pub const PAGE_CANDIDATES_MAX: usize = 10_000;

/// Candidates passed over for one answer at most, unopened, since they are known to have happened at
/// another time: at up to 1 µs each 0.2 s.
pub const PASSED_OVER_MAX: usize = 200_000;
