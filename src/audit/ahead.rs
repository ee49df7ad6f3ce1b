//! The tree beyond the published checkpoint, as far as the journal goes.
//!
//! In scope: the root of the log at any size that tiles and journal give, since receipts are signed
//! before the checkpoint that covers them is published. Out of scope: whether tiles and frames are good,
//! which the verifier of the log and of the journal say. Invariant: nothing is written; a root that comes
//! out is worth its agreement with a signed one.

use std::sync::Arc;

use crate::event::keys::LedgerId;
use crate::log::checkpoint::Checkpoint;
use crate::log::hash::{Hash, TreeSize, leaf_hash};
use crate::log::merkle::{self, Frontier, HashReader};
use crate::log::tile::{TileHashReader, TileId, TileSource};
use crate::prove::verdict::{Report, Verdict};
use crate::prove::verify_log::LogSource;
use crate::store::StoreError;
use crate::store::journal::{Scanned, scan};

use super::files::DirectoryLog;

const DIR: &str = "journal";

/// How far a ledger's journal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The first entry in it.
    pub(crate) from: u64,
    /// The index after the last one.
    pub(crate) to: u64,
    /// Root of the log at the size asked for, where it goes so far.
    pub(crate) root: Option<Hash>,
}

/// Why the root was not found: words, for there is nothing to decide on.
type Unread = String;

/// The tiles of a directory; full ones stand in for partial ones that were collected.
struct Tiles<'a>(&'a DirectoryLog<'a>);

impl TileSource for Tiles<'_> {
    type Error = Unread;

    fn tile(&self, id: TileId) -> Result<Arc<[u8]>, Unread> {
        let read = |id: TileId| self.0.tile(id).map_err(|error: StoreError| error.to_string());
        let found = match read(id)? {
            None => read(id.full())?,
            found => found,
        };
        found.map(Into::into).ok_or_else(|| format!("{} is missing", id.path()))
    }
}

/// The root at `wanted` entries of a log whose tiles are there for `signed` of them and whose journal
/// goes on.
pub(crate) fn root_at(
    log: &DirectoryLog<'_>,
    ledger: LedgerId,
    signed: TreeSize,
    wanted: Option<TreeSize>,
) -> Result<Reach, Unread> {
    let tiles = TileHashReader::new(signed, Tiles(log));
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let within = wanted.filter(|wanted| wanted.0 <= signed.0);
    let mut root =
        within.map(|wanted| merkle::root(wanted, &tiles)).transpose().map_err(|e| told(&e))?;
    let mut peaks = Vec::new();
    for level in (0..64_u8).rev().filter(|level| signed.0 >> level & 1 == 1) {
        peaks.push(tiles.read(level, (signed.0 >> level) - 1).map_err(|error| told(&error))?);
    }
    let no_frontier = || format!("no frontier of {signed} entries");
    let mut frontier = Frontier::from_parts(signed, peaks).ok_or_else(no_frontier)?;
    let mut from = None;
    let mut frames = scan(log.storage, DIR, ledger.0).map_err(|error| told(&error))?;
    for item in frames.by_ref() {
        let Scanned::Frame { frame, .. } = item.map_err(|error| told(&error))? else { break };
        from.get_or_insert(frame.first_index);
        for (index, record) in (frame.first_index..).zip(&frame.records) {
            if index == frontier.size().0 && Some(frontier.size()) != wanted {
                frontier.push(leaf_hash(&record.entry), &mut |_, _, _| ());
            }
        }
    }
    let to = frames.next_index().unwrap_or(0);
    if wanted.is_none_or(|wanted| wanted == frontier.size()) {
        root = Some(frontier.root());
    }
    Ok(Reach { from: from.unwrap_or(to), to, root })
}

/// Whether `since` is beyond the published checkpoint and the journal alone can speak for it: then the
/// verdict is added and the verifier of the log is not asked.
pub(super) fn is_journalled(
    log: &DirectoryLog<'_>,
    ledger: LedgerId,
    published: &Checkpoint,
    since: &Checkpoint,
) -> Option<(Verdict, String)> {
    if since.size.0 <= published.size.0 {
        return None;
    }
    let root = root_at(log, ledger, published.size, Some(since.size)).ok()?.root?;
    let size = since.size;
    Some(if root == since.root {
        let words = "entries agree, those beyond the published checkpoint from the journal";
        (Verdict::Verified, format!("the first {size} {words}"))
    } else {
        (Verdict::Failed, format!("the first {size} entries have another root: a fork"))
    })
}

/// Adds what the journal said of the older checkpoint.
pub(super) fn conclude(found: Option<(Verdict, String)>, report: &mut Report) {
    if let Some((verdict, detail)) = found {
        report.push("consistency", verdict, detail);
    }
}
