//! `counterfoil doctor`
//!
//! In scope: what an operator should know before and while a server runs, check by check, each with what
//! to do. Out of scope: verifying the log (`verify`, `audit`). Invariants: nothing of the ledger's is
//! changed; the only thing written is a small file in the data directory, which is removed again; a check
//! that could not be made is never ok.

mod certificate;
mod directory;
mod ledgers;
mod machine;
mod server;

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::output::Printed;
use super::{EXIT_ERROR, EXIT_GOOD, Failure, mistakes};

/// Check a data directory, the machine under it, and a server.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true).multiple(true).args(["data", "url"]))]
#[command(after_help = "Examples:\n  counterfoil doctor --data ./ledger\n  \
    counterfoil doctor --data ./ledger --url http://127.0.0.1:7423 --json\n\n\
    Each check is ok, warn or fail, with what to do. The server may run or not. Exit code 1 where a \
    check failed, else 0.")]
pub(crate) struct DoctorArgs {
    /// The data directory.
    #[arg(long, env = "COUNTERFOIL_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The address of a server to check as well.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// PEM file of certificate authorities that the server's certificate may come from, instead of the
    /// public ones.
    #[arg(long, env = "COUNTERFOIL_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    printed: Printed,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What one check found.
#[derive(Debug)]
struct Check {
    name: &'static str,
    /// The ledger it is about, where it is about one.
    ledger: Option<String>,
    state: State,
    detail: String,
    /// What to do; empty where nothing is to be done.
    remedy: String,
}

/// The checks made so far.
#[derive(Debug, Default)]
struct Findings {
    checks: Vec<Check>,
    ledger: Option<String>,
}

impl Findings {
    fn push(&mut self, name: &'static str, state: State, detail: String, remedy: &str) {
        let (ledger, remedy) = (self.ledger.clone(), remedy.to_owned());
        self.checks.push(Check { name, ledger, state, detail, remedy });
    }

    fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.push(name, State::Ok, detail.into(), "");
    }

    fn warn(&mut self, name: &'static str, detail: impl Into<String>, remedy: &str) {
        self.push(name, State::Warn, detail.into(), remedy);
    }

    fn fail(&mut self, name: &'static str, detail: impl Into<String>, remedy: &str) {
        self.push(name, State::Fail, detail.into(), remedy);
    }

    fn count(&self, state: State) -> usize {
        self.checks.iter().filter(|check| check.state == state).count()
    }

    fn to_json(&self) -> Value {
        let check = |check: &Check| {
            json!({
                "name": check.name, "ledger": check.ledger, "state": check.state.name(),
                "detail": check.detail, "remedy": check.remedy,
            })
        };
        json!({
            "healthy": self.count(State::Fail) == 0,
            "ok": self.count(State::Ok), "warn": self.count(State::Warn), "fail": self.count(State::Fail),
            "checks": self.checks.iter().map(check).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        for check in &self.checks {
            let ledger = check.ledger.as_ref().map_or(String::new(), |ledger| format!("{ledger}: "));
            lines.push(format!(
                "{:<4}  {:<11}  {ledger}{}",
                check.state.name(),
                check.name,
                check.detail
            ));
            if !check.remedy.is_empty() {
                lines.push(format!("{:19}to do: {}", "", check.remedy));
            }
        }
        let [ok, warn, fail] = [State::Ok, State::Warn, State::Fail].map(|state| self.count(state));
        lines.push(format!("{ok} ok, {warn} to look at, {fail} failed"));
        lines.join("\n")
    }
}

/// Runs the command.
pub(crate) fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let mut findings = Findings::default();
    if let Some(url) = &args.url {
        mistakes::check_url(url)?;
    }
    if let Some(data) = &args.data {
        directory::check(data, &mut findings);
    }
    if let Some(url) = &args.url {
        server::check(url, args.ca_file.as_deref(), &mut findings)?;
    }
    args.printed.print(&findings.to_json(), &findings.text())?;
    Ok(if findings.count(State::Fail) == 0 { EXIT_GOOD } else { EXIT_ERROR })
}
