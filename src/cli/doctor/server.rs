//! Checks of a server over HTTP: reachable, ready, of this version, with a clock like ours.
//!
//! In scope: what is served without a key. Out of scope: what needs one. Invariant: nothing is changed.

use std::path::Path;

use serde_json::Value;

use crate::client::transport::Transport;
use crate::clock::{Clock, SystemClock};

use super::super::Failure;
use super::super::client::read_roots;
use super::super::mistakes;
use super::Findings;

/// Seconds by which two clocks may differ: `Date` counts whole seconds, and an answer takes time.
const APART_S_MAX: i64 = 5;

/// Checks the server at `url`.
pub(super) fn check(url: &str, ca_file: Option<&Path>, findings: &mut Findings) -> Result<(), Failure> {
    let roots = read_roots(ca_file)?;
    let transport = Transport::to_ledger(url, "main", None, roots.as_ref());
    let live = match transport.call("GET", "/livez", None) {
        Ok(answer) => answer,
        Err(error) => {
            findings.fail("server", mistakes::unanswered(&error).message, "see the message");
            return Ok(());
        }
    };
    if !live.is_good() {
        let said = format!("{} answers {} at /livez", transport.root(), live.status);
        findings.fail("server", said, "check that the address is a counterfoil server's");
        return Ok(());
    }
    findings.ok("server", format!("{} answers", transport.root()));
    match transport.call("GET", "/readyz", None) {
        Ok(ready) if ready.is_good() => findings.ok("ready", "every ledger takes events"),
        Ok(ready) => {
            let said = ready.sentence();
            findings.fail(
                "ready",
                said,
                "read the server's log; see \"When it stops\" in docs/operating.md",
            );
        }
        Err(error) => findings.fail("ready", error.to_string(), "look at the server's load"),
    }
    version(&transport, findings);
    match live.date_s {
        None => findings.warn("clocks", "the server's answer has no date", "look at the proxy between"),
        Some(date) => {
            let now = i64::try_from(SystemClock::default().now_us() / 1_000_000).unwrap_or(i64::MAX);
            let apart = now.saturating_sub(date);
            let said = format!("this machine's clock is {apart} s ahead of the server's");
            if apart.abs() > APART_S_MAX {
                findings.warn("clocks", said, "set the one that is wrong, and have both kept");
            } else {
                findings.ok("clocks", said);
            }
        }
    }
    Ok(())
}

fn version(transport: &Transport, findings: &mut Findings) {
    let own = env!("CARGO_PKG_VERSION");
    let answer = transport.call("GET", "/openapi.json", None);
    let document = answer.ok().and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok());
    let theirs = document
        .as_ref()
        .and_then(|document| document.get("info")?.get("version")?.as_str().map(str::to_owned));
    match theirs {
        Some(theirs) if theirs == own => findings.ok("version", format!("{own}, as this command")),
        Some(theirs) => {
            let said = format!("the server is {theirs}, this command {own}");
            findings.warn("version", said, "use the same on both sides");
        }
        None => findings.warn("version", "the server does not tell", "check the address"),
    }
}
