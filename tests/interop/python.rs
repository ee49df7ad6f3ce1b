//! Two Python packages by others that verify transparency logs: `aics-tlog` and `metamorphic-log`.
//!
//! In scope: checkpoint, inclusion and consistency of a live server and of its directory, and that
//! what was changed is refused. Invariant: where `aics-tlog` cannot run because there is no Python
//! new enough, the test says so on standard error, and `tools/test` at its end.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::common::{Client, DataDir, MAIN, PATIENCE, Ran, run_tool, tool, tools_dir};
use super::mirrors::open_bundles;
use super::{append_accesses, flip};

/// `aics-tlog`, or nothing where `tools/test` found that it cannot be installed.
fn aics_tlog() -> Option<PathBuf> {
    match fs::read_to_string(tools_dir().join("python312.absent")) {
        Ok(reason) => {
            // Past the test runner, which shows only what failing tests print.
            let _ = writeln!(std::io::stderr(), "NOT RUN aics-tlog: {reason}");
            None
        }
        Err(_) => Some(tool("python312/bin/aics-tlog")),
    }
}

fn run(command: &mut Command, data: &DataDir) -> Ran {
    // It refuses a key that lies beside the tiles it checks.
    let key = data.beside("auditor.vkey");
    fs::write(&key, data.verifier_key()).unwrap();
    run_tool(command.arg("--vkey-file").arg(key), PATIENCE, |_| false)
}

#[test]
fn aics_tlog_verifies_checkpoint_inclusion_and_consistency() {
    let Some(aics) = aics_tlog() else { return };
    let data = DataDir::new();
    open_bundles(&data);
    let server = data.serve();
    let client = server.client();
    append_accesses(&data, &client, 0..300);
    let url = format!("http://{}{MAIN}/", client.address);
    let old = data.beside("old.note");
    let aics = |what: &str, tiles: &str| {
        let mut command = Command::new(&aics);
        command.args([what, "--tiles", tiles]);
        command
    };
    run(aics("verify-checkpoint", &url).arg("--save-checkpoint").arg(&old), &data)
        .expect(0, "\"ok\": true");
    append_accesses(&data, &client, 300..900);
    run(aics("verify-consistency", &url).arg("--old-checkpoint").arg(&old), &data)
        .expect(0, "\"ok\": true");
    for index in [0, 255, 256, 257, 600, 900] {
        let entry = data.beside("entry");
        let body = client.get(&format!("{MAIN}/events/{index}/entry")).expect_status(200).body;
        fs::write(&entry, body).unwrap();
        run(
            aics("verify-inclusion", &url)
                .args(["--index", &index.to_string()])
                .arg("--leaf")
                .arg(&entry),
            &data,
        )
        .expect(0, "\"ok\": true");
        flip(&entry, 50);
        let ran = run(
            aics("verify-inclusion", &url)
                .args(["--index", &index.to_string()])
                .arg("--leaf")
                .arg(entry),
            &data,
        );
        assert_eq!(ran.code, Some(1), "another entry at {index}: {}", ran.said);
    }
    // Where bundles are open it needs nobody to give it the entry.
    run(aics("verify-inclusion", &url).args(["--index", "700"]), &data).expect(0, "\"ok\": true");
    assert!(server.terminate().success());
    // In the directory it reads the entries itself, and makes a document of its own from them.
    let directory = data.ledger();
    let directory = directory.to_str().unwrap();
    let bundle = data.beside("aics.json");
    run(
        aics("verify-inclusion", directory).args(["--index", "500", "--bundle-out"]).arg(&bundle),
        &data,
    )
    .expect(0, "\"ok\": true");
    flip(&data.ledger().join("tile/entries/001"), 20_000);
    flip(&data.ledger().join("tile/0/001"), 7_999);
    let ran = run(aics("verify-inclusion", directory).args(["--index", "500"]), &data);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    let ran = run(aics("verify-consistency", directory).arg("--old-checkpoint").arg(old), &data);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
}

/// What `metamorphic_check.py` reads, for one index and one older size.
fn served(data: &DataDir, client: &Client, index: u64, older: u64) -> PathBuf {
    let into = data.beside("served");
    fs::create_dir_all(&into).unwrap();
    let get = |path: &str| client.get(&format!("{MAIN}/{path}")).expect_status(200).body;
    let write = |name: &str, bytes: &[u8]| fs::write(into.join(name), bytes).unwrap();
    write("verifier.key", data.verifier_key().as_bytes());
    write("checkpoint", &get("checkpoint"));
    write("inclusion.json", &get(&format!("proofs/inclusion?index={index}")));
    write("consistency.json", &get(&format!("proofs/consistency?from={older}")));
    into
}

#[test]
fn metamorphic_log_verifies_checkpoint_inclusion_and_consistency() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    append_accesses(&data, &client, 0..700);
    for (index, older) in [(0, 1), (255, 255), (256, 256), (511, 257), (700, 513)] {
        let given = served(&data, &client, index, older);
        let proof: Value =
            serde_json::from_slice(&fs::read(given.join("inclusion.json")).unwrap()).unwrap();
        assert_eq!(proof["index"].as_u64(), Some(index));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/metamorphic_check.py");
        let mut command = Command::new(tool("python/bin/python"));
        command.arg(script).arg(given);
        run_tool(&mut command, PATIENCE, |_| false).expect(0, "accepted");
    }
}
