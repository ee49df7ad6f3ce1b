//! Reading everything: every posting once, for those who hold the index against the log.
//!
//! In scope: the merged walk over memory and runs. Out of scope: what the postings should be.
//! Invariant: what was there when the walk began is met, each posting once, whatever is flushed or merged
//! meanwhile; a block that is missing or altered is an error, never a shorter walk.

use std::sync::Arc;

use super::block::Posting;
use super::merge::Stream;
use super::{Index, IndexError};

/// A posting as the index keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    /// Facet code.
    pub facet: u8,
    /// First eight bytes of the key.
    pub print: u64,
    /// Log index, or for [`super::FACET_DIRECTORY`] a vault slot.
    pub value: u64,
}

impl super::Term {
    /// The row that a posting of this term is kept as.
    #[must_use]
    pub fn row(&self, value: u64) -> Row {
        let print = self.print();
        Row { facet: print.facet, print: print.fp, value }
    }
}

impl Index {
    /// Gives every row to `each`, in order of facet, key and value. Memory is a block per run and a copy of
    /// what is not yet in runs.
    ///
    /// # Errors
    /// [`IndexError`] where a run cannot be read; rows may have been given before.
    pub fn each_row(&self, mut each: impl FnMut(Row)) -> Result<(), IndexError> {
        let (db, mut memory, runs) = {
            let state = self.state();
            let db = Arc::clone(state.db.as_ref().ok_or(IndexError::Closed)?);
            let mut memory: Vec<Posting> = state.active.sorted().collect();
            memory.extend(state.frozen.iter().flat_map(|(table, _)| table.sorted()));
            (db, memory, Arc::clone(&state.runs))
        };
        memory.sort_unstable();
        let mut memory = memory.into_iter().peekable();
        let mut streams: Vec<Stream> = runs.iter().map(|run| Stream::new(Arc::clone(run))).collect();
        let mut previous = None;
        loop {
            let mut least: Option<(Posting, Option<&mut Stream>)> =
                memory.peek().map(|posting| (*posting, None));
            for stream in &mut streams {
                if let Some(head) = stream.head(&db)?
                    && least.as_ref().is_none_or(|(posting, _)| head < *posting)
                {
                    least = Some((head, Some(stream)));
                }
            }
            let Some((posting, stream)) = least else { return Ok(()) };
            match stream {
                Some(stream) => stream.pop(),
                None => drop(memory.next()),
            }
            if previous.replace(posting) != Some(posting) {
                let Posting { term, value } = posting;
                each(Row { facet: term.facet, print: term.fp, value });
            }
        }
    }
}
