//! Reading: ascending and descending walks over the values of terms, their unions and intersections.
//!
//! In scope: the trait [`Values`], the cursor over one term, [`Union`], [`Intersection`]. Out of
//! scope: what a value points to. Invariants: a cursor sees the postings that were there when it was
//! made, each once, whatever is flushed or merged meanwhile; it holds at most one decoded block per run.

use std::sync::Arc;

use super::block::{Posting, TermPrint};
use super::database::Database;
use super::error::IndexError;
use super::run::Run;

/// Where a walk stands: the next value up is at least `above`, the next one down at most `below`;
/// `None` past the ends of `u64`.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    above: Option<u64>,
    below: Option<u64>,
}

impl Position {
    /// Before everything for a walk up, after everything for a walk down.
    const ENDS: Self = Self { above: Some(0), below: Some(u64::MAX) };
}

/// An ordered set of `u64` values that can be asked from any point in either direction.
///
/// `ceil` and `floor` keep no position; `next_asc`, `next_desc` and `seek` walk.
pub trait Values {
    /// The least value that is at least `at`.
    ///
    /// # Errors
    /// [`IndexError`] where a run cannot be read; the answer is then unknown, not empty.
    fn ceil(&mut self, at: u64) -> Result<Option<u64>, IndexError>;

    /// The greatest value that is at most `at`.
    ///
    /// # Errors
    /// As [`Values::ceil`].
    fn floor(&mut self, at: u64) -> Result<Option<u64>, IndexError>;

    /// Where the walk stands.
    fn position(&mut self) -> &mut Position;

    /// The next value upwards. A fresh walk starts at the least value.
    ///
    /// # Errors
    /// As [`Values::ceil`].
    fn next_asc(&mut self) -> Result<Option<u64>, IndexError> {
        let Some(at) = self.position().above else { return Ok(None) };
        let found = self.ceil(at)?;
        *self.position() = match found {
            Some(value) => Position { above: value.checked_add(1), below: value.checked_sub(1) },
            None => Position { above: None, below: Some(u64::MAX) },
        };
        Ok(found)
    }

    /// The next value downwards. A fresh walk starts at the greatest value.
    ///
    /// # Errors
    /// As [`Values::ceil`].
    fn next_desc(&mut self) -> Result<Option<u64>, IndexError> {
        let Some(at) = self.position().below else { return Ok(None) };
        let found = self.floor(at)?;
        *self.position() = match found {
            Some(value) => Position { above: value.checked_add(1), below: value.checked_sub(1) },
            None => Position { above: Some(0), below: None },
        };
        Ok(found)
    }

    /// Moves the walk: the next value up is the least `>= at`, the next one down the greatest `<= at`.
    fn seek(&mut self, at: u64) {
        *self.position() = Position { above: Some(at), below: Some(at) };
    }
}

impl<V: Values + ?Sized> Values for Box<V> {
    fn ceil(&mut self, at: u64) -> Result<Option<u64>, IndexError> {
        (**self).ceil(at)
    }

    fn floor(&mut self, at: u64) -> Result<Option<u64>, IndexError> {
        (**self).floor(at)
    }

    fn position(&mut self) -> &mut Position {
        (**self).position()
    }
}

fn ceil_in(values: &[u64], at: u64) -> Option<u64> {
    values.get(values.partition_point(|value| *value < at)).copied()
}

fn floor_in(values: &[u64], at: u64) -> Option<u64> {
    values.partition_point(|value| *value <= at).checked_sub(1).and_then(|i| values.get(i)).copied()
}

/// The values of one term in one run, a block at a time.
#[derive(Debug)]
struct Source {
    run: Arc<Run>,
    /// Smallest and largest value of any term of this kind in the run.
    min: u64,
    max: u64,
    loaded: Option<Loaded>,
}

/// All values of the term from `from` to `to`, both inclusive.
#[derive(Debug)]
struct Loaded {
    from: u64,
    to: u64,
    /// The term goes on in the next block, from this value.
    more: Option<u64>,
    values: Vec<u64>,
}

impl Source {
    fn new(run: Arc<Run>, term: TermPrint) -> Self {
        let bounds = run.info.bounds_of(term);
        Self { run, min: bounds.min, max: bounds.max, loaded: None }
    }

    /// Makes `loaded` cover `at`.
    fn load(&mut self, db: &Database, term: TermPrint, at: u64) -> Result<&Loaded, IndexError> {
        let covers = |l: &Loaded| l.from <= at && at <= l.to;
        let loaded = match self.loaded.take().filter(covers) {
            Some(loaded) => loaded,
            None => Self::read(&self.run, db, term, at)?,
        };
        Ok(self.loaded.insert(loaded))
    }

    fn read(run: &Run, db: &Database, term: TermPrint, at: u64) -> Result<Loaded, IndexError> {
        let goes_on = |next: Option<Posting>| next.filter(|p| p.term == term).map(|p| p.value);
        let mut values = Vec::new();
        let (from, more) = match run.block_before(db, Posting { term, value: at })? {
            None => (0, goes_on(Some(run.info.first))),
            Some(stored) => {
                let block = stored.block(run.info.id)?;
                let corrupt = IndexError::Corrupt { run: run.info.id, what: "block layout" };
                block.values_of(term, &mut values).ok_or(corrupt)?;
                let from = if stored.first.term == term { stored.first.value } else { 0 };
                (from, goes_on(block.next))
            }
        };
        // `block_before` has shown that the next block begins after `at`, so this cannot wrap.
        let to = more.map_or(u64::MAX, |value| value.saturating_sub(1));
        Ok(Loaded { from, to, more, values })
    }

    fn ceil(&mut self, db: &Database, term: TermPrint, at: u64) -> Result<Option<u64>, IndexError> {
        let loaded = self.load(db, term, at)?;
        if let Some(value) = ceil_in(&loaded.values, at) {
            return Ok(Some(value));
        }
        let Some(more) = loaded.more else { return Ok(None) };
        let next = self.load(db, term, more)?;
        Ok(ceil_in(&next.values, more))
    }

    fn floor(&mut self, db: &Database, term: TermPrint, at: u64) -> Result<Option<u64>, IndexError> {
        // A block reached through its own first value always answers, so one block is enough.
        Ok(floor_in(&self.load(db, term, at)?.values, at))
    }
}

/// The values of one term, as they were when [`super::Index::lookup`] was called.
#[derive(Debug)]
pub struct Cursor {
    term: TermPrint,
    db: Arc<Database>,
    /// Values in memory at that time, ascending.
    memory: Vec<u64>,
    /// Oldest run first.
    sources: Vec<Source>,
    position: Position,
}

impl Cursor {
    pub(super) fn new(term: TermPrint, db: Arc<Database>, memory: Vec<u64>, runs: &[Arc<Run>]) -> Self {
        let sources = runs
            .iter()
            .filter(|run| run.may_contain(term))
            .map(|run| Source::new(Arc::clone(run), term))
            .collect();
        Self { term, db, memory, sources, position: Position::ENDS }
    }

    /// Every value, ascending, at most `limit` of them.
    ///
    /// # Errors
    /// As [`Values::ceil`].
    pub fn collect(&mut self, limit: usize) -> Result<Vec<u64>, IndexError> {
        let mut out = Vec::new();
        let mut at = Some(0);
        while let Some(value) = at.filter(|_| out.len() < limit).map_or(Ok(None), |at| self.ceil(at))? {
            out.push(value);
            at = value.checked_add(1);
        }
        Ok(out)
    }
}

impl Values for Cursor {
    fn ceil(&mut self, at: u64) -> Result<Option<u64>, IndexError> {
        let mut best = ceil_in(&self.memory, at);
        for source in &mut self.sources {
            let cannot_help = source.max < at || best.is_some_and(|b| b <= source.min.max(at));
            if cannot_help {
                continue;
            }
            if let Some(value) = source.ceil(&self.db, self.term, at)? {
                best = Some(best.map_or(value, |b| b.min(value)));
            }
        }
        Ok(best)
    }

    fn floor(&mut self, at: u64) -> Result<Option<u64>, IndexError> {
        let mut best = floor_in(&self.memory, at);
        for source in self.sources.iter_mut().rev() {
            let cannot_help = source.min > at || best.is_some_and(|b| b >= source.max.min(at));
            if cannot_help {
                continue;
            }
            if let Some(value) = source.floor(&self.db, self.term, at)? {
                best = Some(best.map_or(value, |b| b.max(value)));
            }
        }
        Ok(best)
    }

    fn position(&mut self) -> &mut Position {
        &mut self.position
    }
}

/// Values that are in at least one of several sets; one person's months, for instance.
#[derive(Debug)]
pub struct Union<V> {
    parts: Vec<V>,
    position: Position,
}

impl<V: Values> Union<V> {
    /// The union of `parts`; empty for none.
    #[must_use]
    pub fn new(parts: Vec<V>) -> Self {
        Self { parts, position: Position::ENDS }
    }
}

impl<V: Values> Values for Union<V> {
    fn ceil(&mut self, at: u64) -> Result<Option<u64>, IndexError> {
        let mut best: Option<u64> = None;
        for part in &mut self.parts {
            if let Some(value) = part.ceil(at)? {
                best = Some(best.map_or(value, |b| b.min(value)));
            }
        }
        Ok(best)
    }

    fn floor(&mut self, at: u64) -> Result<Option<u64>, IndexError> {
        let mut best: Option<u64> = None;
        for part in &mut self.parts {
            if let Some(value) = part.floor(at)? {
                best = Some(best.map_or(value, |b| b.max(value)));
            }
        }
        Ok(best)
    }

    fn position(&mut self) -> &mut Position {
        &mut self.position
    }
}

/// Values that are in every one of several sets, by leapfrog: each set in turn skips to the others'
/// candidate, so the work follows the rarest set.
#[derive(Debug)]
pub struct Intersection<V> {
    parts: Vec<V>,
    position: Position,
}

impl<V: Values> Intersection<V> {
    /// The intersection of `parts`, rarest first where that is known; empty for none.
    #[must_use]
    pub fn new(parts: Vec<V>) -> Self {
        Self { parts, position: Position::ENDS }
    }

    fn leapfrog(
        &mut self,
        from: u64,
        skip: impl Fn(&mut V, u64) -> Result<Option<u64>, IndexError>,
    ) -> Result<Option<u64>, IndexError> {
        let mut candidate = from;
        loop {
            let before = candidate;
            for part in &mut self.parts {
                match skip(part, candidate)? {
                    Some(value) => candidate = value,
                    None => return Ok(None),
                }
            }
            // The first set may have moved the candidate away from `from` and the others agreed; ask
            // once more unless nobody moved.
            if candidate == before {
                return Ok((!self.parts.is_empty()).then_some(candidate));
            }
        }
    }
}

impl<V: Values> Values for Intersection<V> {
    fn ceil(&mut self, at: u64) -> Result<Option<u64>, IndexError> {
        self.leapfrog(at, V::ceil)
    }

    fn floor(&mut self, at: u64) -> Result<Option<u64>, IndexError> {
        self.leapfrog(at, V::floor)
    }

    fn position(&mut self) -> &mut Position {
        &mut self.position
    }
}
