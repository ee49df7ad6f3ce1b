//! Running a query over a snapshot.
//!
//! In scope: choosing candidates from the index, checking each against its entry and its opened
//! parts, stopping at the page's bounds. Out of scope: parsing requests. Invariant: the index only
//! proposes; what is returned has been compared in full with the entry, so an index that invents
//! rows changes nothing.

use crate::config::SKEW_MS_MAX;
use crate::event::entry::{EntryBody, EventBody};
use crate::event::facet::{Facet, Namespace};
use crate::event::json::Object;
use crate::event::keys::{self, Period};
use crate::event::parts::PersonRef;
use crate::index::{IndexError, Intersection, Union, Values};
use crate::ledger::{Access, DecodedEntry, LedgerError, Passing, Snapshot, Span, StoredEvent};
use crate::log::hash::Hash;
use crate::prove::receipt::PartContent;

use super::cursor::{Cursor, CursorError};
use super::gaps::{self, Gap};
use super::{PAGE_CANDIDATES_MAX, PAGE_EVENTS_MAX, PASSED_OVER_MAX};

/// One condition on an indexed facet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Which facet.
    pub facet: Facet,
    /// Its value; for a person facet the person's id.
    pub value: String,
}

/// Which time `from` and `to` speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// When the event says it happened.
    #[default]
    Occurred,
    /// When the ledger recorded it.
    Recorded,
}

/// Direction of the answer, by log index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

/// What is asked. All conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Conditions on indexed facets.
    pub conditions: Vec<Condition>,
    /// First time in view, Unix microseconds.
    pub from_us: Option<u64>,
    /// First time after the view, Unix microseconds.
    pub to_us: Option<u64>,
    /// Clock of `from_us` and `to_us`.
    pub clock: Clock,
    /// Direction.
    pub order: Order,
    /// Events wanted.
    pub limit: usize,
    /// Text that an opened part must contain, compared without regard to ASCII case.
    pub text: Option<String>,
    /// Where an earlier page ended.
    pub cursor: Option<Cursor>,
    /// What the reader may see.
    pub access: Access,
}

/// One page of an answer.
#[derive(Debug)]
pub struct Page {
    /// Events, opened as far as the reader may see, with the `CloudEvents` object of the open parts.
    pub events: Vec<(StoredEvent, Object)>,
    /// Where the next page starts; none where this was the last.
    pub next: Option<Cursor>,
    /// Size of the view.
    pub size: u64,
    /// Root of the view.
    pub root: Hash,
    /// Holes in the source's numbering; none where the conditions are not one source alone.
    pub gaps: Option<Vec<Gap>>,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The cursor cannot be used.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// A part of the ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<IndexError> for HistoryError {
    fn from(error: IndexError) -> Self {
        Self::Ledger(error.into())
    }
}

/// A condition with the blinded keys that an entry may carry for it.
struct Sought {
    keys: Vec<(Facet, Hash)>,
}

impl Sought {
    fn is_in(&self, body: &EventBody) -> bool {
        self.keys.iter().any(|key| body.keys.contains(key))
    }
}

/// A walk over the indexes that may hold an answer.
pub(super) struct Scan<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) query: &'a Query,
    /// First and last index in view.
    pub(super) low: u64,
    pub(super) last: u64,
    sought: Vec<Sought>,
    candidates: Candidates,
    /// Bounds on the occurred clock, where there are any.
    span: Option<Span>,
    passed_over: usize,
}

impl<'a> Scan<'a> {
    /// A walk over `snapshot`; none where the time bounds leave nothing.
    pub(super) fn open(snapshot: &'a Snapshot, query: &'a Query) -> Result<Option<Self>, LedgerError> {
        let (low, high) = bounds(snapshot, query)?;
        Self::between(snapshot, query, low, high)
    }

    /// A walk over `[low, high)` and nothing else.
    pub(super) fn between(
        snapshot: &'a Snapshot,
        query: &'a Query,
        low: u64,
        high: u64,
    ) -> Result<Option<Self>, LedgerError> {
        let Some(last) = high.checked_sub(1).filter(|last| *last >= low) else { return Ok(None) };
        let sought = sought(snapshot, query, low, last)?;
        let candidates = candidates(snapshot, &sought)?;
        let span = query.span();
        Ok(Some(Self { snapshot, query, low, last, sought, candidates, span, passed_over: 0 }))
    }

    /// The first candidate at or beyond `from` in the query's direction. Those that are known to have
    /// happened outside the query's time are passed over unopened, until the scan [is spent](Self::is_spent).
    pub(super) fn candidate(&mut self, from: u64) -> Result<Option<u64>, HistoryError> {
        let upwards = self.query.order == Order::Ascending;
        let mut at = from;
        loop {
            let found = self.candidates.next(self.query.order, at)?;
            let Some(index) = found.filter(|index| (self.low..=self.last).contains(index)) else {
                return Ok(None);
            };
            let Some(span) = self.span.filter(|_| !self.is_spent()) else { return Ok(Some(index)) };
            at = match self.snapshot.passing(index, span, upwards)? {
                Passing::Stay => return Ok(Some(index)),
                Passing::Next(next) => next,
                Passing::Start => return Ok(None),
            };
            self.passed_over += 1;
        }
    }

    /// Whether as many candidates were passed over as one answer may.
    pub(super) fn is_spent(&self) -> bool {
        self.passed_over >= PASSED_OVER_MAX
    }

    /// The decoded entry at `index`, where it is an event that meets the indexed conditions.
    fn decoded(&self, index: u64) -> Result<Option<DecodedEntry>, LedgerError> {
        let decoded = self.snapshot.decoded(index)?;
        let meets = |body: &EventBody| self.sought.iter().all(|each| each.is_in(body));
        Ok(decoded.filter(|(_, entry)| matches!(&entry.body, EntryBody::Event(body) if meets(body))))
    }

    /// The time and body of the entry at `index`, where it is an event that meets the indexed
    /// conditions.
    pub(super) fn entry(&self, index: u64) -> Result<Option<(u64, EventBody)>, LedgerError> {
        Ok(self.decoded(index)?.and_then(|(_, entry)| match entry.body {
            EntryBody::Event(body) => Some((entry.time_us, body)),
            _ => None,
        }))
    }

    /// The event at `index`, opened, where it meets every condition.
    pub(super) fn event(&self, index: u64) -> Result<Option<(StoredEvent, Object)>, LedgerError> {
        let Some(decoded) = self.decoded(index)? else { return Ok(None) };
        let stored = self.snapshot.opened(index, decoded, self.query.access)?;
        let merged = stored.merged();
        if !self.query.holds_occurred(stored.occurred_us(&merged)) || !text_matches(self.query, &stored)
        {
            return Ok(None);
        }
        Ok(Some((stored, merged)))
    }
}

/// The candidates of a query, in its direction.
enum Candidates {
    All,
    Indexed(Intersection<Union<crate::index::Cursor>>),
}

impl Candidates {
    fn next(&mut self, order: Order, at: u64) -> Result<Option<u64>, IndexError> {
        match (self, order) {
            (Self::All, _) => Ok(Some(at)),
            (Self::Indexed(values), Order::Ascending) => values.ceil(at),
            (Self::Indexed(values), Order::Descending) => values.floor(at),
        }
    }
}

impl Query {
    /// A number that differs for queries with other conditions.
    pub(super) fn fingerprint(&self) -> u64 {
        let conditions: Vec<_> = self.conditions.iter().map(|c| (c.facet.0, c.value.as_str())).collect();
        let described = format!(
            "{conditions:?}{:?}{:?}{:?}{:?}{:?}",
            self.from_us, self.to_us, self.clock, self.order, self.text
        );
        let digest = crate::log::hash::sha256(described.as_bytes());
        digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// The time bounds on the occurred clock; none where there are none.
    fn span(&self) -> Option<Span> {
        let is_bounded = self.from_us.is_some() || self.to_us.is_some();
        let bounds = (self.from_us.unwrap_or(0), self.to_us.unwrap_or(u64::MAX));
        (is_bounded && self.clock == Clock::Occurred)
            .then_some(Span { from_us: bounds.0, to_us: bounds.1 })
    }

    /// Whether the time bounds on the occurred clock hold for an event of that time.
    pub(super) fn holds_occurred(&self, occurred_us: u64) -> bool {
        self.clock == Clock::Recorded
            || self.from_us.is_none_or(|from| occurred_us >= from)
                && self.to_us.is_none_or(|to| occurred_us < to)
    }

    /// Whether the answer is one source's every event, so that holes in its numbering show.
    pub(super) fn is_one_source(&self) -> bool {
        let only_source = matches!(self.conditions.as_slice(), [one] if one.facet == Facet::SOURCE);
        only_source
            && self.text.is_none()
            && (self.clock == Clock::Recorded || self.from_us.is_none() && self.to_us.is_none())
    }
}

/// The view that a query is answered over: all there is, or what its first page saw. With the query's
/// fingerprint, for the next cursor.
pub(super) fn view(ledger: &Snapshot, query: &Query) -> Result<(Snapshot, u64), HistoryError> {
    let fingerprint = query.fingerprint();
    let snapshot = match query.cursor {
        None => ledger.clone(),
        Some(cursor) if cursor.fingerprint != fingerprint => return Err(CursorError::OtherQuery.into()),
        Some(cursor) => ledger
            .at(cursor.size)?
            .ok_or(CursorError::Ahead { size: cursor.size, found: ledger.size().0 })?,
    };
    Ok((snapshot, fingerprint))
}

/// Answers `query` over everything that `ledger` had acknowledged when it was taken.
///
/// # Errors
/// [`HistoryError::Cursor`] for a cursor that does not fit, [`HistoryError::Ledger`] where a file,
/// the vault or the index failed.
pub fn run(ledger: &Snapshot, query: &Query) -> Result<Page, HistoryError> {
    let (snapshot, fingerprint) = view(ledger, query)?;
    let mut page = Page {
        events: Vec::new(),
        next: None,
        size: snapshot.size().0,
        root: snapshot.root(),
        gaps: None,
    };
    let Some(mut scan) = Scan::open(&snapshot, query)? else { return Ok(page) };
    let mut at = match (query.order, query.cursor) {
        (_, Some(cursor)) => Some(cursor.next),
        (Order::Ascending, None) => Some(scan.low),
        (Order::Descending, None) => Some(scan.last),
    };
    let limit = query.limit.clamp(1, PAGE_EVENTS_MAX);
    let mut opened = 0_usize;
    while let Some(from) = at {
        let Some(index) = scan.candidate(from)? else { break };
        if page.events.len() >= limit || opened >= PAGE_CANDIDATES_MAX || scan.is_spent() {
            page.next = Some(Cursor { size: page.size, next: index, fingerprint });
            break;
        }
        opened += 1;
        if let Some(found) = scan.event(index)? {
            page.events.push(found);
        }
        at = match query.order {
            Order::Ascending => index.checked_add(1),
            Order::Descending => index.checked_sub(1),
        };
    }
    if query.is_one_source() {
        page.gaps = Some(numbering_gaps(&page.events));
    }
    Ok(page)
}

/// The indexes `[low, high)` that can hold an answer. On the occurred clock an event is recorded at
/// any time after it happened, but at most the largest skew any setting allows before.
pub(super) fn bounds(snapshot: &Snapshot, query: &Query) -> Result<(u64, u64), LedgerError> {
    let size = snapshot.size().0;
    let skew_us = SKEW_MS_MAX.saturating_mul(1000);
    let low = match (query.from_us, query.clock) {
        (None, _) => 0,
        (Some(from_us), Clock::Recorded) => snapshot.first_at_or_after(from_us)?,
        (Some(from_us), Clock::Occurred) => {
            snapshot.first_at_or_after(from_us.saturating_sub(skew_us))?
        }
    };
    let high = match (query.to_us, query.clock) {
        (Some(to_us), Clock::Recorded) => snapshot.first_at_or_after(to_us)?,
        _ => size,
    };
    Ok((low, high))
}

fn sought(snapshot: &Snapshot, query: &Query, low: u64, last: u64) -> Result<Vec<Sought>, LedgerError> {
    let mut periods = None;
    let mut sought = Vec::with_capacity(query.conditions.len());
    for condition in &query.conditions {
        let facet = condition.facet;
        let keys = match facet.namespace() {
            None => vec![(facet, snapshot.open_key(facet, &facet.normalised(&condition.value)))],
            Some(namespace) => {
                let (from, to) = match periods {
                    Some(found) => found,
                    None => *periods.insert(period_range(snapshot, low, last)?),
                };
                person_keys(snapshot, namespace, &condition.value, facet, from, to)?
            }
        };
        sought.push(Sought { keys });
    }
    Ok(sought)
}

fn period_range(snapshot: &Snapshot, low: u64, last: u64) -> Result<(Period, Period), LedgerError> {
    let period = |index| Ok::<_, LedgerError>(keys::period_of(snapshot.time_us(index)?.unwrap_or(0)));
    Ok((period(low)?, period(last)?))
}

fn person_keys(
    snapshot: &Snapshot,
    namespace: Namespace,
    id: &str,
    facet: Facet,
    from: Period,
    to: Period,
) -> Result<Vec<(Facet, Hash)>, LedgerError> {
    let person = PersonRef { namespace, id: id.to_owned() };
    let keys = snapshot.person_keys(&person, facet, from, to)?;
    Ok(keys.into_iter().map(|key| (facet, key)).collect())
}

fn candidates(snapshot: &Snapshot, sought: &[Sought]) -> Result<Candidates, LedgerError> {
    if sought.is_empty() {
        return Ok(Candidates::All);
    }
    let mut unions = Vec::with_capacity(sought.len());
    for condition in sought {
        let lists = condition.keys.iter().map(|(facet, key)| snapshot.postings(*facet, key));
        unions.push(Union::new(lists.collect::<Result<Vec<_>, _>>()?));
    }
    Ok(Candidates::Indexed(Intersection::new(unions)))
}

pub(super) fn text_matches(query: &Query, stored: &StoredEvent) -> bool {
    let Some(text) = &query.text else { return true };
    let wanted = text.to_ascii_lowercase();
    stored.parts.iter().any(|part| match &part.content {
        PartContent::Open { body, .. } => body.to_ascii_lowercase().contains(&wanted),
        _ => false,
    })
}

fn numbering_gaps(events: &[(StoredEvent, Object)]) -> Vec<Gap> {
    let mut numbered: Vec<(u64, u64)> = events
        .iter()
        .filter_map(|(stored, _)| Some((stored.index, stored.body.as_ref()?.sequence?)))
        .collect();
    numbered.sort_unstable();
    gaps::between(&numbered)
}
