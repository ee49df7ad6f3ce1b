//! Tessera's POSIX library behind the small Go server of `tools/bench/tessera`.
//!
//! In scope: starting it with the batch that suits the load (see [`batching`]). Out of scope: publication:
//! it answers when an entry is integrated and synced, not when a checkpoint covers it. Invariant: every
//! acknowledged entry is in the log that is left.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::{Peer, Running};
use crate::Fallible;
use crate::appends::Cell;
use crate::load::{self, Outcome, Plan, Target};
use crate::process::{self, Process, Size};

/// The peer.
#[derive(Debug)]
pub(crate) struct Tessera {
    pub(crate) program: PathBuf,
}

/// Entries integrated together and how long they wait for one another: what a sweep found best for so many
/// clients.
fn batching(connections: usize) -> (&'static str, &'static str) {
    match connections {
        1 => ("1", "5ms"),
        2..=256 => ("64", "5ms"),
        _ => ("256", "10ms"),
    }
}

impl Peer for Tessera {
    fn name(&self) -> &'static str {
        "Tessera POSIX"
    }

    fn about(&self) -> &'static str {
        "v1.0.4; stores and hashes the bytes, answers the index once it is integrated and synced (batch 1, \
         64 in 5 ms or 256 in 10 ms for 1, 64 and 1,024 connections); the checkpoint follows within 1 s; no \
         duplicates found, no validation but that it is JSON"
    }

    fn takes(&self, cell: &Cell) -> bool {
        cell.batch == 1
    }

    fn start(&self, dir: &Path, plan: &Plan) -> Fallible<Box<dyn Running>> {
        let log = dir.join("log");
        fs::create_dir_all(&log)?;
        let (batch, age) = batching(plan.connections);
        let mut command = process::clean(&self.program);
        command.arg("-dir").arg(&log).args(["-batch", batch, "-age", age]);
        let (process, url) = Process::start(&mut command, &dir.join("stderr"))?;
        let target = Target::new(&url, "/add", &[("content-type", "application/json".to_owned())])?;
        Ok(Box::new(RunningTessera { process, target, log }))
    }
}

#[derive(Debug)]
struct RunningTessera {
    process: Process,
    target: Target,
    log: PathBuf,
}

impl Running for RunningTessera {
    fn load(&mut self, plan: &Plan) -> Fallible<Outcome> {
        load::run(plan, &self.target, self.process.pid())
    }

    fn finish(self: Box<Self>, outcome: &Outcome) -> Fallible<Option<Size>> {
        self.process.end(Signal::TERM)?;
        super::holds(&self.log, outcome.events_all)?;
        Ok(Some(process::size(&self.log)))
    }
}
