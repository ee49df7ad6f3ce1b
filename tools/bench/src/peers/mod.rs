//! Whoever is measured: how each is started, loaded and ended.
//!
//! In scope: what the benches need to know of a peer. Out of scope: figures. Invariants: a peer begins each
//! turn with an empty directory and its service running, and has ended before the next begins, so that
//! nothing of one runs while another is measured; each is durable in the way that [`Peer::about`] says.

pub(crate) mod bare;
pub(crate) mod counterfoil;
pub(crate) mod postgres;
pub(crate) mod tessera;

use std::path::Path;

use crate::Fallible;
use crate::appends::Cell;
use crate::load::{Outcome, Plan};
use crate::process::Size;

/// What is measured.
pub(crate) trait Peer {
    /// As it stands in tables.
    fn name(&self) -> &'static str;

    /// What it does before it answers.
    fn about(&self) -> &'static str;

    /// Whether it is measured in this cell.
    fn takes(&self, cell: &Cell) -> bool;

    /// Connections it is given where `wanted` are asked for.
    fn connections(&self, wanted: usize) -> usize {
        wanted
    }

    /// Starts it on an empty directory.
    fn start(&self, dir: &Path, plan: &Plan) -> Fallible<Box<dyn Running>>;
}

/// A peer that runs.
pub(crate) trait Running {
    /// Loads it.
    fn load(&mut self, plan: &Plan) -> Fallible<Outcome>;

    /// Checks what it answered, ends it in good order and says what it holds on disk then.
    fn finish(self: Box<Self>, outcome: &Outcome) -> Fallible<Option<Size>>;
}

/// Checks that a C2SP log's published checkpoint, whose second line is its size, covers what was
/// acknowledged.
fn holds(log: &Path, acknowledged: u64) -> Fallible<()> {
    let note = std::fs::read_to_string(log.join("checkpoint"))?;
    let held: u64 = note.lines().nth(1).ok_or("the checkpoint is cut off")?.parse()?;
    if held < acknowledged {
        return Err(format!("{acknowledged} events were acknowledged and the log holds {held}").into());
    }
    Ok(())
}
