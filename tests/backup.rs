//! Backups and restores end to end: real servers that append meanwhile, real copies, real refusals.
//!
//! In scope: what an operator relies on. Out of scope: the order of reading inside a ledger, which the
//! rounds under load exercise. Invariant: every copy that is said to be good restores, starts and verifies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and damages files on purpose"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::{DataDir, MAIN, Server, access, binary, files_below, policy, wait_until};
use serde_json::Value;

/// Events of a request under load.
const BATCH: usize = 20;

/// Requests whose events have attachments of 240 kB: 77 MB, which is more than two segments.
const ATTACHED_ROUNDS: usize = 16;

const ORIGIN: &str = "ledger.example/backup";

fn said(output: &Output) -> String {
    let parts = [&output.stdout, &output.stderr];
    parts.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).join("\n")
}

fn run(args: &[&str]) -> Output {
    binary().args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Backs `data` up to `name` beside it, with its keys, and gives the manifest.
fn back_up(data: &DataDir, name: &str) -> Value {
    let (to, keys) = (data.beside(name), data.beside(&format!("{name}-keys")));
    let from = data.path();
    let args = ["backup", "--data", text(&from), "--to", text(&to), "--keys-to", text(&keys), "--json"];
    let output = run(&args);
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Restores the backup `name` of `data` with everything it needs.
fn restore(data: &DataDir, name: &str, more: &[&str]) -> (DataDir, Output) {
    let restored = DataDir::new();
    let from = data.beside(name);
    let keys = data.beside(&format!("{name}-keys"));
    let root = data.path().join("keys");
    let to = restored.path();
    let mut args = vec!["restore", "--from", text(&from), "--data", text(&to), "--keys", text(&keys)];
    args.extend(["--root-key", text(&root)]);
    args.extend(more);
    let output = run(&args);
    // The first admin key is in no backup; the harness wants one.
    if output.status.success() {
        fs::copy(data.path().join("keys/admin.key"), restored.path().join("keys/admin.key")).unwrap();
    }
    (restored, output)
}

fn restored(data: &DataDir, name: &str) -> DataDir {
    let (restored, output) = restore(data, name, &[]);
    assert!(output.status.success(), "{}", said(&output));
    restored
}

/// Appends events until told to end; ids that were acknowledged are added to `acknowledged`.
fn appender(
    server: &Server,
    number: usize,
    ends: &Arc<AtomicBool>,
    acknowledged: &Arc<Mutex<Vec<String>>>,
) -> std::thread::JoinHandle<()> {
    let (client, ends) = (server.client(), Arc::clone(ends));
    let acknowledged = Arc::clone(acknowledged);
    std::thread::spawn(move || {
        let mut round = 0;
        // Attachments, so that the journal passes a segment and is trimmed meanwhile.
        let attachment = "QUJD".repeat(60_000);
        while !ends.load(Ordering::SeqCst) {
            let id = |each: usize| format!("load-{number}-{round}-{each}");
            let person = |each: usize| format!("s-{number}-{}-{each}", round % 50);
            let mut events: Vec<Value> =
                (0..BATCH).map(|each| access(&id(each), &person(each), "a-1")).collect();
            if number == 0 && round < ATTACHED_ROUNDS {
                for event in &mut events {
                    event["data_base64"] = attachment.clone().into();
                }
            }
            client.append_batch(&events).expect_status(201);
            acknowledged.lock().unwrap().extend((0..BATCH).map(id));
            round += 1;
            std::thread::sleep(std::time::Duration::from_millis(40));
        }
    })
}

fn ids_in(data: &DataDir) -> std::collections::BTreeSet<String> {
    let server = data.serve();
    let client = server.client();
    let mut found = std::collections::BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("{MAIN}/events?limit=1000&order=asc{cursor}");
        let page = client.get(&path).expect_status(200).json();
        for event in page["events"].as_array().unwrap() {
            assert!(event["parts"].as_array().unwrap().iter().all(|part| part["state"] == "open"));
            found.insert(event["event"]["id"].as_str().unwrap().to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    client.append(&policy("after-restoring")).expect_status(201);
    assert!(server.terminate().success());
    found
}

#[test]
fn a_backup_made_while_a_server_appends_has_what_was_acknowledged_and_opens() {
    let data = DataDir::new();
    data.init(ORIGIN);
    let server = data.serve_with(&["publish_interval_ms=100"]);
    let (ends, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let threads: Vec<_> = (0..3).map(|number| appender(&server, number, &ends, &acknowledged)).collect();
    let mut rounds = Vec::new();
    for round in 0..3 {
        let wanted = 400 * (round + 1);
        wait_until("events under load", || acknowledged.lock().unwrap().len() >= wanted);
        let before = acknowledged.lock().unwrap().clone();
        let manifest = back_up(&data, &format!("b{round}"));
        assert!(manifest["ledgers"][0]["entries"].as_u64().unwrap() > before.len() as u64);
        rounds.push(before);
    }
    ends.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(server.terminate().success());
    for (round, before) in rounds.iter().enumerate() {
        let name = format!("b{round}");
        let restored = restored(&data, &name);
        restored.verify();
        let found = ids_in(&restored);
        let lost = before.iter().find(|id| !found.contains(*id));
        assert_eq!(lost, None, "{name}: of {} acknowledged events", before.len());
        restored.verify();
    }
    let segments = files_below(&data.ledger().join("journal"), &|_| true);
    let first = segments[0].file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    assert!(first > 0, "the journal was never trimmed, so the load was too light for this test");
    back_up(&data, "stopped");
    restored(&data, "stopped").verify();
}

#[test]
fn a_backup_of_a_killed_server_is_whole_and_no_key_is_in_any() {
    let data = DataDir::new();
    data.init(ORIGIN);
    let server = data.serve();
    let client = server.client();
    for number in 0..300 {
        let event = access(&format!("e-{number}"), &format!("s-{number}"), "a-1");
        client.append(&event).expect_status(201);
    }
    server.kill();
    let manifest = back_up(&data, "copy");
    let copy = data.beside("copy");
    let root = &manifest["ledgers"][0]["root_key"];
    assert_eq!(root["file"], "main.vault-root/root-1.key");
    let secrets = secrets_of(&data);
    assert!(secrets.len() >= 5, "{} secrets are looked for", secrets.len());
    let all = files_below(&copy, &|_| true);
    assert!(all.len() > 10);
    for file in &all {
        let bytes = fs::read(file).unwrap();
        for (what, secret) in &secrets {
            assert!(!holds(&bytes, secret), "{what} is in {}", file.display());
        }
    }
    // The scan finds what is there: the root key in its own file, in hexadecimal.
    let own = fs::read(data.path().join("keys/main.vault-root/root-1.key")).unwrap();
    assert!(secrets.iter().any(|(_, secret)| holds(&own, secret)));
    let kept = files_below(&data.beside("copy-keys"), &|_| true);
    let kept: Vec<String> = kept
        .iter()
        .map(|path| path.strip_prefix(data.beside("copy-keys")).unwrap().display().to_string())
        .collect();
    let expected = [
        "keys/api-keys.json",
        "keys/main.certificate-key",
        "keys/main.signing-key",
        "keys/reads.certificate-key",
        "keys/reads.signing-key",
        "ledgers/main/reader.key",
        "ledgers/reads/reader.key",
    ];
    assert_eq!(kept, expected);
    assert_eq!(ids_in(&restored(&data, "copy")).len(), 300);
    let list = std::process::Command::new("sha256sum")
        .args(["--check", "--quiet", "files.sha256"])
        .current_dir(&copy)
        .output();
    let list = list.unwrap();
    assert!(list.status.success(), "{}", said(&list));
}

/// Every secret of the directory as bytes: root key, signing seed, reader's keys, the admin key's secret.
fn secrets_of(data: &DataDir) -> Vec<(&'static str, Vec<u8>)> {
    let read = |path: &str| fs::read_to_string(data.path().join(path)).unwrap();
    let mut found = Vec::new();
    let root = read("keys/main.vault-root/root-1.key");
    found.push(("the root key", from_hex(root.split(' ').nth(2).unwrap())));
    for line in read("ledgers/main/reader.key").lines().filter(|line| !line.starts_with('#')) {
        found.push(("a reader's key", from_hex(line.split(' ').nth(2).unwrap())));
    }
    let signing = read("keys/main.signing-key");
    found.push(("the signing key", signing.trim().rsplit('+').next().unwrap().as_bytes().to_vec()));
    found.push(("the admin key", from_hex(data.admin_key().rsplit('_').next().unwrap())));
    found
}

fn from_hex(digits: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(digit).collect()
}

/// Whether `bytes` hold `secret`, as it is or in hexadecimal.
fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    let digits = b"0123456789abcdef";
    let hex: Vec<u8> = secret
        .iter()
        .flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]])
        .collect();
    [secret, &hex].iter().any(|form| bytes.windows(form.len()).any(|window| window == *form))
}

#[test]
fn a_backup_that_was_cut_off_or_changed_is_refused_and_nothing_is_left() {
    let data = filled(40);
    back_up(&data, "whole");
    let cut = data.beside("cut");
    let mut child = binary()
        .args(["backup", "--data", text(&data.path()), "--to", text(&cut)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the copy to begin", || cut.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    // Where the command was faster than its end, the end is made up for.
    let _ = fs::remove_file(cut.join("backup.json"));
    let (_, output) = restore_from(&data, &cut);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("holds no backup.json, so it is no backup"), "{}", said(&output));

    let whole = data.beside("whole");
    let files = files_below(&whole, &|path| !path.ends_with("backup.json"));
    assert!(files.len() > 8);
    for file in &files {
        let intact = fs::read(file).unwrap();
        let mut changed = intact.clone();
        let at = changed.len() / 2;
        changed[at] ^= 1;
        fs::write(file, &changed).unwrap();
        let name = file.strip_prefix(&whole).unwrap().display().to_string();
        let (target, output) = restore_from(&data, &whole);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(said(&output).contains(&name), "{name}: {}", said(&output));
        assert_eq!(files_below(&target, &|_| true), Vec::<PathBuf>::new(), "{name}");
        fs::remove_file(file).unwrap();
        let (_, output) = restore_from(&data, &whole);
        assert!(said(&output).contains(&name), "{name} missing: {}", said(&output));
        fs::write(file, &intact).unwrap();
    }
    let (_, output) = restore_from(&data, &whole);
    assert!(output.status.success(), "{}", said(&output));
}

/// Restores `from` without keys into a new directory.
fn restore_from(data: &DataDir, from: &Path) -> (PathBuf, Output) {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let target = data.beside(&format!("restored-{}", NUMBER.fetch_add(1, Ordering::SeqCst)));
    let output = run(&["restore", "--from", text(from), "--data", text(&target)]);
    (target, output)
}

fn filled(events: usize) -> DataDir {
    let data = DataDir::new();
    data.init(ORIGIN);
    let server = data.serve();
    let client = server.client();
    for number in 0..events {
        client.append(&access(&format!("e-{number}"), "s-1", "a-1")).expect_status(201);
    }
    assert!(server.terminate().success());
    data
}

#[test]
fn nothing_is_written_over_and_directories_are_kept_apart() {
    let data = filled(3);
    back_up(&data, "copy");
    let (from, copy) = (data.path(), data.beside("copy"));
    let into_copy = ["restore", "--from", text(&copy), "--data", text(&from)];
    let onto = run(&into_copy);
    assert_eq!(onto.status.code(), Some(1));
    assert!(said(&onto).contains("not empty"), "{}", said(&onto));
    data.verify();
    let again = run(&["backup", "--data", text(&from), "--to", text(&copy)]);
    assert!(said(&again).contains("not empty"), "{}", said(&again));
    let inside = from.join("backup");
    let within = run(&["backup", "--data", text(&from), "--to", text(&inside)]);
    assert!(said(&within).contains("keep them apart"), "{}", said(&within));
    assert!(!inside.exists());
    let other = data.beside("other");
    let keys = other.join("keys");
    let args = ["backup", "--data", text(&from), "--to", text(&other), "--keys-to", text(&keys)];
    assert!(said(&run(&args)).contains("keep them apart"));
    let unknown = run(&["backup", "--data", text(&from), "--to", text(&other), "--ledger", "none"]);
    assert!(said(&unknown).contains("no ledger named none"), "{}", said(&unknown));
}

#[test]
fn a_ledger_alone_is_backed_up_and_the_settings_list_no_other() {
    let data = DataDir::new();
    data.init(ORIGIN);
    let server = data.serve();
    let clinic = serde_json::json!({ "name": "clinic", "origin": "ledger.example/clinic" });
    server.client().post_json("/v1/ledgers", &clinic).expect_status(201);
    server.client().append(&policy("e-1")).expect_status(201);
    assert!(server.terminate().success());
    let whole = back_up(&data, "whole");
    let named = |manifest: &Value, name: &str| {
        let ledgers = manifest["ledgers"].as_array().unwrap();
        ledgers.iter().any(|ledger| ledger["name"] == name)
    };
    assert!(named(&whole, "clinic") && named(&whole, "main"));
    let (from, to, keys) = (data.path(), data.beside("one"), data.beside("one-keys"));
    let output = run(&[
        "backup",
        "--data",
        text(&from),
        "--to",
        text(&to),
        "--keys-to",
        text(&keys),
        "--ledger",
        "main",
        "--json",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let one: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(named(&one, "main") && !named(&one, "clinic"));
    let clinics = |path: &Path| path.display().to_string().contains("clinic");
    assert_eq!(files_below(&to, &clinics), Vec::<PathBuf>::new());
    assert_eq!(files_below(&keys, &clinics), Vec::<PathBuf>::new());
    for name in ["whole", "one"] {
        let restored = restored(&data, name);
        assert_eq!(ids_in(&restored).len(), 1, "{name}");
    }
}

#[test]
fn a_root_key_that_is_not_there_is_named() {
    let data = filled(5);
    back_up(&data, "copy");
    let none = data.beside("no-keys");
    fs::create_dir(&none).unwrap();
    let (copy, to) = (data.beside("copy"), data.beside("restored"));
    let with = |root: &Path| {
        run(&["restore", "--from", text(&copy), "--data", text(&to), "--root-key", text(root)])
    };
    let missing = with(&none);
    assert_eq!(missing.status.code(), Some(1));
    assert!(said(&missing).contains("main.vault-root/root-1.key"), "{}", said(&missing));
    assert!(!said(&missing).contains("shred"), "{}", said(&missing));
    assert!(!to.exists());
    // A key of a later number, as a shred leaves it: the one that is needed was destroyed.
    let other = filled(1);
    let later = data.beside("later/main.vault-root");
    fs::create_dir_all(&later).unwrap();
    let bytes = rotated(&other);
    fs::write(later.join("root-2.key"), bytes).unwrap();
    fs::set_permissions(later.join("root-2.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let destroyed = with(&data.beside("later"));
    let words = said(&destroyed);
    assert_eq!(destroyed.status.code(), Some(1), "{words}");
    assert!(words.contains("a shred after this backup destroyed"), "{words}");
    assert!(words.contains("root-1.key") && words.contains("The log still verifies"), "{words}");
    // Without keys the log is there, and verifies; a server says which key it lacks.
    let bare = run(&["restore", "--from", text(&copy), "--data", text(&to)]);
    assert!(bare.status.success(), "{}", said(&bare));
    assert!(said(&bare).contains("main.vault-root/root-1.key"), "{}", said(&bare));
    assert!(said(&bare).contains("held against nothing newer"), "{}", said(&bare));
    let key = to.join("ledgers/main/verifier.key");
    let verified = run(&["verify", text(&to), "--key", text(&key), "--json"]);
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_ne!(report["verdict"], "failed", "{report}");
    let served = run(&["serve", "--data", text(&to), "--listen", "127.0.0.1:0"]);
    assert_eq!(served.status.code(), Some(1), "{}", said(&served));
    assert!(said(&served).contains("signing-key"), "{}", said(&served));
}

/// The bytes of a well-formed root key file of number 2.
fn rotated(data: &DataDir) -> Vec<u8> {
    use counterfoil::vault::{FileCustody, RootCustody, RootKey};
    let dir = data.path().join("keys/main.vault-root");
    FileCustody::new(&dir).store_new(&RootKey::from_bytes([9; 32])).unwrap();
    fs::read(dir.join("root-2.key")).unwrap()
}

#[test]
fn a_restored_older_copy_is_caught_by_what_anybody_kept() {
    let data = DataDir::new();
    data.init(ORIGIN);
    let server = data.serve();
    let client = server.client();
    for number in 0..20 {
        client.append(&access(&format!("e-{number}"), "s-1", "a-1")).expect_status(201);
    }
    let keep = |name: &str, bytes: &[u8]| {
        let path = data.beside(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let old_receipt = keep("old.json", &client.append(&policy("old")).expect_status(201).body);
    let size = client.size();
    wait_until("the checkpoint", || {
        let note = client.get(&format!("{MAIN}/checkpoint")).text();
        note.lines().nth(1).is_some_and(|line| line.parse::<u64>().unwrap() >= size)
    });
    let old_note = keep("old.checkpoint", &client.get(&format!("{MAIN}/checkpoint")).body);
    back_up(&data, "old");
    let new_receipt = keep("new.json", &client.append(&policy("new")).expect_status(201).body);
    let batch = client
        .send(
            "POST",
            &format!("{MAIN}/events"),
            &[("content-type", "application/cloudevents-batch+json"), ("prefer", "receipt=full")],
            serde_json::to_vec(&[policy("b-1"), policy("b-2")]).unwrap().as_slice(),
        )
        .expect_status(201);
    let batch = keep("batch.json", &batch.body);
    let brief = client.append_batch(&[policy("b-3"), policy("b-4")]).expect_status(201);
    let brief = keep("brief.json", &brief.body);
    wait_until("the newer checkpoint", || {
        client.get(&format!("{MAIN}/checkpoint")).body != fs::read(&old_note).unwrap()
    });
    let new_note = keep("new.checkpoint", &client.get(&format!("{MAIN}/checkpoint")).body);
    assert!(server.terminate().success());

    let copy = restored(&data, "old");
    let before = fs::read(copy.ledger().join("checkpoint")).unwrap();
    for newer in [&new_receipt, &batch, &new_note] {
        let name = newer.file_name().unwrap().to_str().unwrap();
        let refused = serve_refused(&copy, newer);
        assert!(refused.contains(name) && refused.contains("rolled-back"), "{refused}");
        assert!(refused.contains("Nothing was signed"), "{refused}");
        assert_eq!(fs::read(copy.ledger().join("checkpoint")).unwrap(), before, "{name}");
        let since = ["--since", text(newer)];
        let code = verify(&copy, &since).status.code();
        assert_eq!(code, Some(3), "verify --since {name}");
        let (_, output) = restore(&data, "old", &["--witnessed", text(newer)]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("rolled-back"), "{}", said(&output));
    }
    for older in [&old_receipt, &old_note] {
        let output = verify(&copy, &["--since", text(older)]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let (_, output) = restore(&data, "old", &["--witnessed", text(older)]);
        assert!(output.status.success(), "{}", said(&output));
    }
    // Older and equal ones let it start; the original extends all of them.
    starts(&copy, &[&old_receipt, &old_note]);
    starts(&data, &[&old_receipt, &old_note, &new_receipt, &batch, &new_note]);
    assert!(serve_refused(&data, &brief).contains("brief"));
    a_fork_and_a_foreign_checkpoint_are_refused(&copy, &new_receipt);
}

fn a_fork_and_a_foreign_checkpoint_are_refused(copy: &DataDir, newer: &Path) {
    // The copy goes on with a history of its own: long enough, but another.
    let server = copy.serve();
    for number in 0..10 {
        server.client().append(&policy(&format!("other-{number}"))).expect_status(201);
    }
    assert!(server.terminate().success());
    let forked = serve_refused(copy, newer);
    assert!(forked.contains("a fork"), "{forked}");
    let other = DataDir::new();
    other.init("ledger.example/other");
    let foreign = serve_refused(&other, newer);
    assert!(foreign.contains(ORIGIN) && foreign.contains("ledger.example/other"), "{foreign}");
}

fn verify(data: &DataDir, more: &[&str]) -> Output {
    let (path, key) = (data.path(), data.ledger().join("verifier.key"));
    let mut args = vec!["verify", text(&path), "--key", text(&key)];
    args.extend(more);
    run(&args)
}

/// What a server says that must refuse to start.
fn serve_refused(data: &DataDir, witnessed: &Path) -> String {
    let path = data.path();
    let args =
        ["serve", "--data", text(&path), "--listen", "127.0.0.1:0", "--witnessed", text(witnessed)];
    let output = run(&args);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(output.stdout.is_empty(), "it listened");
    said(&output)
}

/// Starts a server that holds itself against `witnessed`, and ends it.
fn starts(data: &DataDir, witnessed: &[&PathBuf]) {
    use std::io::{BufRead, BufReader};
    let mut command = binary();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
    for file in witnessed {
        command.arg("--witnessed").arg(file);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let listens = line.starts_with("http://");
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(listens, "{}", said(&output));
}

#[test]
fn a_receipt_ahead_of_the_published_checkpoint_is_found_in_the_journal() {
    let data = DataDir::new();
    data.init(ORIGIN);
    let server = data.serve_with(&["publish_interval_ms=60000"]);
    let client = server.client();
    let receipts: Vec<PathBuf> = (0..3)
        .map(|number| {
            let path = data.beside(&format!("receipt-{number}.json"));
            let answer = client.append(&policy(&format!("e-{number}"))).expect_status(201);
            fs::write(&path, answer.body).unwrap();
            path
        })
        .collect();
    server.kill();
    let published = fs::read_to_string(data.ledger().join("checkpoint")).unwrap();
    assert!(published.lines().nth(1).unwrap().parse::<u64>().unwrap() < 4, "{published}");
    for receipt in &receipts {
        let output = verify(&data, &["--since", text(receipt)]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains("from the journal"), "{}", said(&output));
    }
    back_up(&data, "copy");
    let (restored, output) = restore(&data, "copy", &["--witnessed", text(&receipts[2])]);
    assert!(output.status.success(), "{}", said(&output));
    starts(&restored, &[&receipts[2]]);
}
