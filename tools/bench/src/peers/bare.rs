//! The bare axum server of `src/bin/bare.rs`.
//!
//! In scope: starting it, in its two variants. Out of scope: what it does, which its own header says.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::{Peer, Running};
use crate::Fallible;
use crate::appends::Cell;
use crate::load::{self, Outcome, Plan, Target};
use crate::process::{self, Process, Size};

/// How the JSON is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Into a borrowing struct of all fields.
    Typed,
    /// Into a tree of values.
    Value,
}

/// The peer.
#[derive(Debug)]
pub(crate) struct Bare {
    pub(crate) program: PathBuf,
    pub(crate) reads: Reads,
}

impl Peer for Bare {
    fn name(&self) -> &'static str {
        if self.reads == Reads::Typed { "bare axum, typed" } else { "bare axum, value" }
    }

    fn about(&self) -> &'static str {
        "parses the JSON, answers 28 bytes, stores nothing"
    }

    fn takes(&self, _: &Cell) -> bool {
        true
    }

    fn start(&self, dir: &Path, plan: &Plan) -> Fallible<Box<dyn Running>> {
        let (process, url) = Process::start(&mut process::clean(&self.program), &dir.join("log"))?;
        let path = match (self.reads, plan.batch) {
            (Reads::Typed, 1) => "/typed",
            (Reads::Typed, _) => "/typed-batch",
            (Reads::Value, _) => "/value",
        };
        let target = Target::new(&url, path, &[("content-type", "application/json".to_owned())])?;
        Ok(Box::new(RunningBare { process, target }))
    }
}

#[derive(Debug)]
struct RunningBare {
    process: Process,
    target: Target,
}

impl Running for RunningBare {
    fn load(&mut self, plan: &Plan) -> Fallible<Outcome> {
        load::run(plan, &self.target, self.process.pid())
    }

    fn finish(self: Box<Self>, _: &Outcome) -> Fallible<Option<Size>> {
        // It has nothing to end in good order.
        let _ = self.process.end(Signal::TERM);
        Ok(None)
    }
}
