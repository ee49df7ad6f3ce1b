//! Following a ledger: what came after a position, a bounded piece at a time.
//!
//! In scope: the next events that meet a query, in log order, and the holes they show. Out of scope:
//! waiting for more, and how events are sent. Invariants: every index is considered once and in
//! order, so that a chain of pieces misses nothing and repeats nothing; a piece holds no more than
//! its bounds allow.

use crate::event::json::Object;
use crate::ledger::{LedgerError, Snapshot, StoredEvent};

use super::gaps::{self, Gap};
use super::query::{HistoryError, Order, Query, Scan, bounds};

/// Candidates opened for one piece at most: at about 20 µs each it takes 20 ms.
const PIECE_CANDIDATES_MAX: usize = 1_000;

/// Where a follower stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First index that has not been considered.
    pub next: u64,
    /// Index and sequence number of the last event with one, where the query is one source's.
    numbered: Option<(u64, u64)>,
}

/// What a piece consists of.
#[derive(Debug)]
pub enum Found {
    /// The numbering of the source has a hole before the event that follows.
    Gap(Gap),
    /// An event, opened as far as the reader may see.
    Event(Box<StoredEvent>, Object),
}

impl Place {
    /// Before `next`. Where the query is one source's, the event before is looked up, so that a hole
    /// across the join of two streams is told.
    ///
    /// # Errors
    /// What reading the ledger reports.
    pub fn before(ledger: &Snapshot, query: &Query, next: u64) -> Result<Self, HistoryError> {
        let mut place = Self { next, numbered: None };
        if !query.is_one_source() {
            return Ok(place);
        }
        let backwards = Query { order: Order::Descending, ..query.clone() };
        let Some(mut scan) = Scan::between(ledger, &backwards, 0, next)? else { return Ok(place) };
        let mut at = Some(scan.last);
        for _ in 0..PIECE_CANDIDATES_MAX {
            let Some(from) = at else { break };
            let Some(index) = scan.candidate(from)? else { break };
            place.numbered = scan.entry(index)?.and_then(|(_, body)| Some((index, body.sequence?)));
            if place.numbered.is_some() {
                break;
            }
            at = index.checked_sub(1);
        }
        Ok(place)
    }
}

/// The first index that a stream with these time bounds has to consider.
///
/// # Errors
/// What reading the ledger reports.
pub fn first(ledger: &Snapshot, query: &Query) -> Result<u64, LedgerError> {
    Ok(bounds(ledger, query)?.0)
}

/// Considers what is between `place` and the end of `ledger`, gives what meets `query` to `take`, and
/// returns the place after it. Stops where `take` says that it has enough, or after
/// 1,000 candidates. The query's order must be ascending.
///
/// # Errors
/// What reading the ledger reports.
pub fn follow(
    ledger: &Snapshot,
    query: &Query,
    place: Place,
    mut take: impl FnMut(Found) -> bool,
) -> Result<Place, HistoryError> {
    let mut place = place;
    let end = ledger.size().0;
    let Some(mut scan) = Scan::between(ledger, query, place.next, end)? else { return Ok(place) };
    for _ in 0..PIECE_CANDIDATES_MAX {
        let Some(index) = scan.candidate(place.next)? else {
            place.next = end;
            return Ok(place);
        };
        let found = scan.event(index)?;
        place.next = index.saturating_add(1);
        let Some((stored, event)) = found else { continue };
        let sequence = stored.body.as_ref().and_then(|body| body.sequence);
        if let Some(sequence) = sequence.filter(|_| query.is_one_source()) {
            let pair = [place.numbered, Some((index, sequence))];
            let pair: Vec<(u64, u64)> = pair.into_iter().flatten().collect();
            for gap in gaps::between(&pair) {
                take(Found::Gap(gap));
            }
            place.numbered = Some((index, sequence));
        }
        if !take(Found::Event(Box::new(stored), event)) {
            return Ok(place);
        }
    }
    Ok(place)
}
