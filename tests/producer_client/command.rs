//! `counterfoil append` over the client: spooled, killed, resumed; more than one request; what is kept
//! can be verified.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::common::{DataDir, Server, binary, policy, wait_until};
use crate::proxy::Proxy;

use super::{expected, ids, kept, kept_files, segments, served, verify};

fn append_command(data: &DataDir, url: &str, args: &[&str]) -> Command {
    let mut command = binary();
    command.args(["append", "--url", url, "--key-file"]).arg(data.path().join("keys/admin.key"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(data: &DataDir, url: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = append_command(data, url, args).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that ends before it has read everything says why itself.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn lines(ids: impl Iterator<Item = String>) -> Vec<u8> {
    ids.flat_map(|id| format!("{}\n", policy(&id)).into_bytes()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn receipt_ids(output: &Output) -> Vec<String> {
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let receipts = answer["receipts"].as_array().unwrap().iter();
    receipts.map(|receipt| receipt["id"].as_str().unwrap().to_owned()).collect()
}

/// The ids of the whole events in a spool, read by the description of its format alone.
fn spooled(spool: &Path) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for path in segments(spool) {
        // A segment may be settled and deleted meanwhile.
        let bytes = fs::read(path).unwrap_or_default();
        let mut at = 8;
        while let Some(length) = bytes.get(at..at + 4) {
            let length = usize::try_from(u32::from_be_bytes(length.try_into().unwrap())).unwrap();
            if let Some(event) = bytes.get(at + 12..at + 12 + length) {
                let event: Value = serde_json::from_slice(event).unwrap();
                ids.insert(event["id"].as_str().unwrap().to_owned());
            }
            at += 12 + length;
        }
    }
    ids
}

#[test]
fn a_killed_producer_goes_on_from_its_spool() {
    let proxy = Proxy::honest();
    let (data, server) = served(&proxy);
    let spool = data.beside("spool");
    let dir = spool.to_string_lossy().into_owned();
    let receipts = data.beside("receipts").to_string_lossy().into_owned();
    let key = data.verifier_key();
    let keep = ["--spool", &dir, "--receipts", &receipts, "--verifier-key", &key];
    let accepted = || {
        let spooled = spooled(&spool);
        let all: BTreeSet<String> = ids(&server).into_keys().chain(spooled).collect();
        all.len()
    };
    for round in 0..4 {
        // In every second round the server is away, so that nothing leaves the spool.
        proxy.lead_to((round % 2 == 1).then_some(server.address.as_str()));
        let mut child = append_command(&data, &proxy.url, &keep).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let before = accepted();
        let writer = std::thread::spawn(move || {
            // Until the process is no more; slowly, so that it is killed at its work.
            for n in before.. {
                let line = lines([format!("e-{n}")].into_iter());
                if stdin.write_all(&line).is_err() {
                    return;
                }
                if n % 10 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        wait_until("events to be accepted", || accepted() >= before + 150 + round * 37);
        child.kill().unwrap();
        child.wait().unwrap();
        writer.join().unwrap();
    }
    let count = accepted();
    let of_count = || expected((0..count).map(|n| format!("e-{n}")));
    proxy.lead_to(Some(&server.address));
    let resumed = run(&data, &proxy.url, &[&keep[..], &["/dev/null"]].concat(), b"");
    assert_eq!(resumed.status.code(), Some(0), "{}", stderr(&resumed));
    assert_eq!(ids(&server), of_count(), "what was accepted is there, once, and nothing else");
    let kept: BTreeSet<String> =
        kept(Path::new(&receipts)).into_iter().map(|receipt| receipt.id).collect();
    assert!(kept.iter().eq(of_count().keys()), "a receipt for each");
    assert!(segments(&spool).is_empty(), "{:?}", segments(&spool));
}

#[test]
fn a_server_that_stays_away_is_told_with_what_is_left() {
    let data = DataDir::new();
    data.init("ledger.example/main");
    let spool = data.beside("spool").to_string_lossy().into_owned();
    let input = lines((0..5).map(|n| format!("e-{n}")));
    let nowhere = "http://127.0.0.1:9";
    let output = run(&data, nowhere, &["--spool", &spool, "--wait", "1"], &input);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("5 events are in the spool"), "{}", stderr(&output));
    assert_eq!(spooled(Path::new(&spool)).len(), 5);
    let unspooled = run(&data, nowhere, &[], &input);
    assert_eq!(unspooled.status.code(), Some(1));
    assert!(stderr(&unspooled).contains("nothing listens there"), "{}", stderr(&unspooled));
    let server = data.serve();
    let url = format!("http://{}", server.address);
    let output = run(&data, &url, &["--spool", &spool], &lines(["e-5".to_owned()].into_iter()));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(ids(&server).len(), 6);
}

fn start() -> (DataDir, Server, String) {
    let data = DataDir::new();
    let server = data.serve();
    let url = format!("http://{}", server.address);
    (data, server, url)
}

#[test]
fn what_is_larger_than_one_request_goes_in_several() {
    const EVENTS: usize = 10_500;
    let (data, server, url) = start();
    let all = || (0..EVENTS).map(|n| format!("e-{n}"));
    let mut input = lines(all());
    input.extend_from_slice(b"{\"id\":\"bad\",\"id\":\"bad\"}\n");
    input.extend_from_slice(policy("last").to_string().as_bytes());
    let output = run(&data, &url, &[], &input);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("1 events were refused"), "{}", stderr(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let receipts = answer["receipts"].as_array().unwrap();
    assert_eq!(receipts.len(), EVENTS + 2);
    for (receipt, id) in receipts.iter().zip(all()) {
        assert_eq!(receipt["id"], Value::from(id));
    }
    assert_eq!(receipts[EVENTS]["error"]["code"], "duplicate-key");
    assert_eq!(receipts[EVENTS + 1]["id"], "last");
    assert_eq!(ids(&server).len(), EVENTS + 1);
}

#[test]
fn kept_receipts_can_be_verified_and_a_changed_one_is_found() {
    let (data, _server, url) = start();
    let receipts = data.beside("receipts").to_string_lossy().into_owned();
    let key = data.verifier_key();
    let keep = ["--receipts", &receipts, "--verifier-key", &key, "--full"];
    let one = run(&data, &url, &keep, policy("e-0").to_string().as_bytes());
    assert_eq!(one.status.code(), Some(0), "{}", stderr(&one));
    let receipt: Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!((&receipt["id"], receipt["entry"].is_string()), (&Value::from("e-0"), true));
    let array = format!("[{},{}]", policy("e-1"), policy("e-2"));
    assert_eq!(receipt_ids(&run(&data, &url, &keep, array.as_bytes())), ["e-1", "e-2"]);
    let output = run(&data, &url, &keep, &lines((3..6).map(|n| format!("e-{n}"))));
    assert_eq!(receipt_ids(&output), ["e-3", "e-4", "e-5"]);

    let files = kept_files(Path::new(&receipts));
    let whole: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let file = data.beside("kept.ndjson");
    fs::write(&file, &whole).unwrap();
    let (code, report) = verify(&data, &file);
    assert_eq!((code, &report["count"]), (Some(0), &Value::from(6)), "{report}");
    assert_eq!(report["target"], "receipts");

    fs::write(&file, whole.replacen("\"e-4\"", "\"e-9\"", 1)).unwrap();
    let (code, report) = verify(&data, &file);
    assert_eq!(code, Some(3), "{report}");
    assert!(report.to_string().contains("receipt 4"), "{report}");

    // What a client that was stopped has not finished.
    fs::write(&file, &whole[..whole.len() - 20]).unwrap();
    let (code, report) = verify(&data, &file);
    assert_eq!((code, &report["count"]), (Some(0), &Value::from(5)), "{report}");
    fs::write(&file, whole.replacen("\n{", "\n{}\n{", 1)).unwrap();
    assert_eq!(verify(&data, &file).0, Some(3));
}
