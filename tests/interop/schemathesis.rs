//! `schemathesis`: thousands of requests made from `/openapi.json`, and every answer held against it.
//!
//! In scope: no answer outside the contract, whatever is sent, with the key of each role and with none.
//! Out of scope: what the answers mean. Invariants: the seed is fixed, so that a finding comes again;
//! the number of requests is bounded.

use std::process::Command;
use std::time::Duration;

use super::append_accesses;
use super::common::{DataDir, Server, run_tool, tool};

/// Requests of each operation in the phase of random ones; those of the phase before it come on top.
const EXAMPLES_MAX: &str = "--max-examples=20";

/// Far beyond the 10 s that a run needs.
const PATIENCE: Duration = Duration::from_mins(4);

/// Operations with which a run can end the key that it uses; they are called last, in a run of their own.
const ENDING_KEYS: [&str; 2] = ["rotate_key", "revoke_key"];

fn check(server: &Server, key: Option<&str>, who: &str, operations: &str) {
    let mut command = Command::new(tool("python/bin/schemathesis"));
    command
        .args(["--config-file", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/schemathesis.toml")])
        .args(["--no-color", "run", &format!("http://{}/openapi.json", server.address)])
        // A schema cannot say what a cursor, an event of a registered type or a receipt is, so requests that
        // meet the schema are refused for good reasons; the refusals are checked all the same.
        .args(["--checks=all", "--exclude-checks=positive_data_acceptance"])
        .args([
            "--phases=examples,coverage,fuzzing",
            EXAMPLES_MAX,
            "--seed=1",
            "--generation-database=none",
        ])
        .args(["--continue-on-failure", "--request-timeout=30"])
        // An answer without an end is tested elsewhere.
        .arg("--exclude-path-regex=/stream$")
        .args(ENDING_KEYS.map(|id| format!("--{operations}-operation-id={id}")))
        .current_dir(std::env::temp_dir());
    if let Some(key) = key {
        command.arg(format!("--header=Authorization: Bearer {key}"));
    }
    let ran = run_tool(&mut command, PATIENCE, |_| false);
    assert!(ran.code == Some(0) && ran.said.contains(" passed\n"), "{who}: {}", ran.said);
}

#[test]
fn every_answer_is_within_the_contract() {
    let data = DataDir::new();
    data.init("schemathesis.example/log");
    // It sends wrong keys by the hundred, and expects to hear of each that it is wrong.
    data.set("key_failures_per_minute = 0");
    data.set("rate_public_per_s = 0");
    let server = data.serve();
    append_accesses(&data, &server.client(), 0..300);
    for role in ["producer", "responder", "auditor"] {
        check(&server, server.client_as(role).key.as_deref(), role, "exclude");
    }
    check(&server, None, "without a key", "exclude");
    check(&server, Some(&server.key), "the first admin key", "exclude");
    check(&server, Some(&server.key), "the first admin key", "include");
}
