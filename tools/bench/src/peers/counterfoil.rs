//! Counterfoil itself, as anybody would start it.
//!
//! In scope: `serve` on an empty directory with every setting at its default, a key of the role producer,
//! checks of what was answered. Out of scope: figures. Invariants: nothing is weakened: the flush, sealing,
//! strict parsing, duplicates, proofs and the signature are all in the answer that is timed; a sample of
//! receipts is verified by `counterfoil verify` and holds what was sent; the log that is left holds at
//! least what was acknowledged.

use std::fs;
use std::path::{Path, PathBuf};

use hyper::body::Bytes;
use rustix::process::Signal;
use serde_json::Value;

use super::{Peer, Running};
use crate::Fallible;
use crate::appends::Cell;
use crate::http;
use crate::load::{self, Outcome, Plan, Target};
use crate::process::{self, Process, Size};

/// Where the ledger `main` is on a server.
pub(crate) const MAIN: &str = "/v1/ledgers/main";

/// The peer.
#[derive(Debug)]
pub(crate) struct Counterfoil {
    pub(crate) program: PathBuf,
}

impl Peer for Counterfoil {
    fn name(&self) -> &'static str {
        "Counterfoil"
    }

    fn about(&self) -> &'static str {
        "validated, sealed, chained, one flush per group; one event: receipt with proof and signed checkpoint"
    }

    fn takes(&self, _: &Cell) -> bool {
        true
    }

    fn start(&self, dir: &Path, plan: &Plan) -> Fallible<Box<dyn Running>> {
        let server = Server::start(&self.program, dir)?;
        let key = server.producer_key()?;
        let kind = if plan.batch == 1 {
            "application/cloudevents+json"
        } else {
            "application/cloudevents-batch+json"
        };
        let headers = [("content-type", kind.to_owned()), ("authorization", format!("Bearer {key}"))];
        let target = Target::new(&server.url, &format!("{MAIN}/events"), &headers)?;
        Ok(Box::new(RunningCounterfoil { server, target }))
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) program: PathBuf,
    /// What it was started in.
    dir: PathBuf,
}

impl Server {
    /// Starts one in `dir/data`, which it makes where it is missing, and waits until it is ready.
    pub(crate) fn start(program: &Path, dir: &Path) -> Fallible<Self> {
        let mut command = process::clean(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--origin", "bench.example/main", "--data"]);
        let (process, url) = Process::start(command.arg(dir.join("data")), &dir.join("log"))?;
        let server = Self { process, url, program: program.to_owned(), dir: dir.to_owned() };
        let ready = http::get(&server.url, "/readyz", None)?;
        if ready.status != 200 {
            return Err(format!("the server is not ready: {}", ready.text()).into());
        }
        Ok(server)
    }

    pub(crate) fn admin_key(&self) -> Fallible<String> {
        Ok(fs::read_to_string(self.data().join("keys/admin.key"))?.trim().to_owned())
    }

    /// Makes a key that may append and nothing else.
    pub(crate) fn producer_key(&self) -> Fallible<String> {
        let admin = self.admin_key()?;
        let made = http::post(&self.url, "/v1/keys", Some(&admin), "{\"role\":\"producer\"}")?;
        let answer: Value = serde_json::from_slice(&made.body)?;
        let key = answer.get("key").and_then(Value::as_str);
        Ok(key.ok_or_else(|| format!("no key was made: {}", made.text()))?.to_owned())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.data().join("ledgers/main")
    }

    /// Ends it in good order; its directory stays.
    pub(crate) fn end(self) -> Fallible<()> {
        self.process.end(Signal::TERM)
    }

    /// Verifies one receipt of an event that was sent: the program's own verdict, and that what it binds is
    /// what was sent.
    fn verify_receipt(&self, sent: &[u8], receipt: &[u8]) -> Fallible<()> {
        let event: Value = serde_json::from_slice(sent)?;
        let held: Value = serde_json::from_slice(receipt)?;
        if held.get("id") != event.get("id") {
            return Err("a receipt is for another event than the one sent".into());
        }
        for name in ["subject", "actor", "purpose"] {
            let value =
                event.pointer(&format!("/data/{name}")).and_then(Value::as_str).unwrap_or_default();
            let openings = held.get("openings").map(Value::to_string).unwrap_or_default();
            if value.is_empty() || !openings.contains(value) {
                return Err(format!("a receipt does not open the `{name}` that was sent").into());
            }
        }
        let file = self.dir.join("receipt.json");
        fs::write(&file, receipt)?;
        let key = self.ledger().join("verifier.key");
        let mut verify = process::clean(&self.program);
        process::run(verify.arg("verify").arg(&file).arg("--key").arg(key)).map(drop)
    }
}

#[derive(Debug)]
struct RunningCounterfoil {
    server: Server,
    target: Target,
}

impl Running for RunningCounterfoil {
    fn load(&mut self, plan: &Plan) -> Fallible<Outcome> {
        load::run(plan, &self.target, self.server.process.pid())
    }

    fn finish(self: Box<Self>, outcome: &Outcome) -> Fallible<Option<Size>> {
        if outcome.samples.is_empty() {
            return Err("no receipt was kept to be verified".into());
        }
        for (sent, answer) in &outcome.samples {
            check_answer(&self.server, sent, answer)?;
        }
        let (data, ledger) = (self.server.data(), self.server.ledger());
        self.server.end()?;
        super::holds(&ledger, outcome.events_all)?;
        Ok(Some(process::size(&data)))
    }
}

/// A single event is answered with its receipt, a batch with one for each event.
fn check_answer(server: &Server, sent: &Bytes, answer: &Bytes) -> Fallible<()> {
    if !sent.starts_with(b"[") {
        return server.verify_receipt(sent, answer);
    }
    let events: Vec<Value> = serde_json::from_slice(sent)?;
    let answer: Value = serde_json::from_slice(answer)?;
    let receipts = answer.get("receipts").and_then(Value::as_array).ok_or("no receipts")?;
    let ids = |list: &[Value]| -> Vec<Option<Value>> {
        list.iter().map(|one| one.get("id").cloned()).collect()
    };
    if ids(&events) != ids(receipts) {
        return Err("the receipts of a batch are not those of its events in order".into());
    }
    Ok(())
}
