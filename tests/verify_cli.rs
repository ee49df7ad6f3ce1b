//! `counterfoil verify` as a user runs it: the real server fills a directory, the real command
//! judges it, whole and with every file of it damaged in turn.
//!
//! A mirror (checkpoint and tiles alone) verifies with 0 where it has the entry bundles, since all
//! that was signed is then shown, and says that parts were not checked; with hash tiles alone it is
//! not provable (4), since no entry was seen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has to fail, and damages files as a disk would"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use counterfoil::log::checkpoint::{self, Checkpoint};
use counterfoil::log::hash::Hash;
use counterfoil::vault::signer;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_counterfoil");
const RUN_LIMIT: Duration = Duration::from_secs(20);
const EVENTS: u32 = 300;

struct Ran {
    code: i32,
    text: String,
}

fn run(args: &[&str]) -> Ran {
    let mut child = Command::new(BINARY)
        .args(args)
        .env_remove("COUNTERFOIL_KEY_FILE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let out = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    let mut talk = String::new();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > RUN_LIMIT {
            child.kill().unwrap();
            panic!("{args:?} took longer than {RUN_LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    stderr.read_to_string(&mut talk).unwrap();
    Ran { code: status.code().unwrap_or(-1), text: out.join().unwrap() + &talk }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn expect(code: i32, args: &[&str]) -> String {
    let ran = run(args);
    assert_eq!(ran.code, code, "{args:?}\n{}", ran.text);
    ran.text
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }

    fn append(&self, data: &Path, events: std::ops::Range<u32>) -> serde_json::Value {
        let lines: Vec<String> = events.map(event).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), lines.join("\n") + "\n").unwrap();
        let key = text(&data.join("keys/admin.key"));
        let args = ["append", &text(file.path()), "--url", &self.url, "--key-file", &key, "--full"];
        let ran = run(&args);
        assert_eq!(ran.code, 0, "{}", ran.text);
        serde_json::from_str(&ran.text).unwrap()
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn event(number: u32) -> String {
    let subject = format!("s{}", number % 23);
    let event = serde_json::json!({
        "id": format!("e{number}"), "org": "illuma", "producer": "illuma.core", "subject": subject,
        "type": "data.deleted", "at": "2026-01-31T09:00:00Z", "holder": "self", "complete": true,
        "method": "automatic",
    });
    event.to_string()
}

/// A directory a server has filled and left, with what was kept on the way.
struct Filled {
    dir: TempDir,
    receipts: serde_json::Value,
}

impl Filled {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn key(&self) -> String {
        text(&self.data().join("ledgers/main/verifier.key"))
    }
}

/// Waits until the published checkpoint speaks of what was appended.
fn wait_for_size(data: &Path, size: u64) {
    for _ in 0..400 {
        let note = fs::read_to_string(data.join("ledgers/main/checkpoint")).unwrap();
        if note.lines().nth(1).unwrap().parse::<u64>().unwrap() >= size {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("no checkpoint of {size} entries was published");
}

fn filled() -> &'static Filled {
    static FILLED: OnceLock<Filled> = OnceLock::new();
    FILLED.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let server = Server::start(&data);
        let receipts = server.append(&data, 0..100);
        wait_for_size(&data, 101);
        fs::copy(data.join("ledgers/main/checkpoint"), dir.path().join("older")).unwrap();
        // Two sizes within the last bundle, so that a partial file of a smaller one is left behind.
        server.append(&data, 100..EVENTS - 20);
        wait_for_size(&data, u64::from(EVENTS) - 19);
        server.append(&data, EVENTS - 20..EVENTS);
        server.stop();
        Filled { dir, receipts }
    })
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
    found.sort();
}

/// The files of the log in a ledger's directory, relative to it.
fn log_files(ledger: &Path) -> Vec<PathBuf> {
    let mut files = vec![ledger.join("checkpoint")];
    for dir in ["tile", "sealed", "journal"] {
        files_below(&ledger.join(dir), &mut files);
    }
    files.iter().map(|path| path.strip_prefix(ledger).unwrap().to_owned()).collect()
}

#[test]
fn a_directory_a_server_has_left_verifies_and_is_not_touched() {
    let filled = filled();
    let data = filled.data();
    let snapshot = || {
        let mut files = Vec::new();
        files_below(&data, &mut files);
        files.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = snapshot();
    let said = expect(0, &["verify", &text(&data), "--key", &filled.key()]);
    assert!(said.starts_with("VERIFIED"), "{said}");
    assert!(
        said.contains("journal") && said.contains("0 withheld") && said.contains("0 lost"),
        "{said}"
    );
    let ledger = text(&data.join("ledgers/main"));
    assert!(expect(0, &["verify", &ledger, "--key", &filled.key()]).contains("0 withheld"));
    let vkey = fs::read_to_string(filled.key()).unwrap();
    let said = expect(0, &["verify", &text(&data), "--key", vkey.trim(), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["verdict"], "verified");
    assert_eq!(report["location"], text(&data));
    assert!(report["count"].as_u64().unwrap() > u64::from(EVENTS));
    assert!(report["parts"]["open"].as_u64().unwrap() >= u64::from(EVENTS));
    assert_eq!(snapshot(), before, "verifying changed something");
}

#[test]
fn the_readers_keys_recompute_index_keys() {
    let filled = filled();
    let data = text(&filled.data());
    let reader = text(&filled.data().join("ledgers/main/reader.key"));
    let said = expect(0, &["verify", &data, "--key", &filled.key(), "--reader-key", &reader]);
    assert!(said.contains(&format!("keys of {EVENTS} events recomputed")), "{said}");
    let other = tempfile::tempdir().unwrap();
    let other_reader = text(&other.path().join("reader.key"));
    counterfoil::vault::KeyRing::create(Path::new(&other_reader)).unwrap();
    let said = expect(3, &["verify", &data, "--key", &filled.key(), "--reader-key", &other_reader]);
    assert!(said.contains("another ledger's"), "{said}");
}

#[test]
fn the_log_alone_is_verified_where_asked_and_what_was_left_out_is_said() {
    let filled = filled();
    let copy = tempfile::tempdir().unwrap();
    copy_tree(&filled.data(), copy.path());
    let (key, data) = (filled.key(), text(copy.path()));
    let flip = |file: &str| {
        let path = copy.path().join("ledgers/main").join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
    };
    let alone = ["verify", &data, "--log-only", "--key", &key];
    let said = expect(0, &alone);
    for left_out in ["parts", "journal", "leftovers"] {
        let line = said.lines().find(|line| line.contains(&format!(" {left_out} "))).unwrap();
        assert!(line.trim_start().starts_with("not checked"), "{line}");
    }
    assert!(!said.contains("content"), "{said}");
    flip("sealed/000");
    expect(0, &alone);
    expect(3, &["verify", &data, "--key", &key]);
    flip("sealed/000");
    for file in ["tile/0/000", "tile/entries/000"] {
        flip(file);
        assert!(expect(3, &alone).contains(file));
        flip(file);
    }
    let receipt = first_receipt(filled);
    expect(2, &["verify", &text(receipt.path()), "--log-only", "--key", &key]);
    let reader = text(&copy.path().join("ledgers/main/reader.key"));
    expect(2, &["verify", &data, "--log-only", "--key", &key, "--reader-key", &reader]);
}

#[test]
fn without_the_vaults_root_key_parts_are_withheld() {
    let filled = filled();
    let copy = tempfile::tempdir().unwrap();
    copy_tree(&filled.data(), copy.path());
    fs::remove_dir_all(copy.path().join("keys/main.vault-root")).unwrap();
    let said = expect(0, &["verify", &text(copy.path()), "--key", &filled.key()]);
    assert!(said.contains("0 open") && !said.contains(" 0 withheld"), "{said}");
}

#[test]
fn a_mirror_verifies_with_bundles_and_is_not_provable_without() {
    let filled = filled();
    let mirror = tempfile::tempdir().unwrap();
    let ledger = filled.data().join("ledgers/main");
    fs::copy(ledger.join("checkpoint"), mirror.path().join("checkpoint")).unwrap();
    copy_tree(&ledger.join("tile"), &mirror.path().join("tile"));
    let target = text(mirror.path());
    let said = expect(0, &["verify", &target, "--key", &filled.key()]);
    assert!(said.contains("stored parts were not read"), "{said}");
    let url = serve_files(mirror.path());
    expect(0, &["verify", &url, "--key", &filled.key()]);
    fs::remove_dir_all(mirror.path().join("tile/entries")).unwrap();
    let said = expect(4, &["verify", &target, "--key", &filled.key()]);
    assert!(said.starts_with("NOT PROVABLE"), "{said}");
    expect(4, &["verify", &url, "--key", &filled.key()]);
    let tile = mirror.path().join("tile/0/000");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[77] ^= 1;
    fs::write(&tile, bytes).unwrap();
    expect(3, &["verify", &target, "--key", &filled.key()]);
    expect(3, &["verify", &url, "--key", &filled.key()]);
}

/// A static file server of the simplest kind, for as long as the tests run.
fn serve_files(root: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let root = root.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let path = first.split(' ').nth(1).unwrap().trim_start_matches('/');
            let (status, body) = match fs::read(root.join(path)) {
                Ok(bytes) => ("200 OK", bytes),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}

#[test]
fn wrong_keys_and_wrong_targets() {
    let filled = filled();
    let data = filled.data();
    let origin = fs::read_to_string(data.join("ledgers/main/checkpoint")).unwrap();
    let origin = origin.lines().next().unwrap().to_owned();
    let vkey = |name: &str| {
        let key = counterfoil::log::note::SigningKey::generate_from_seed(name, &[7; 32]).unwrap();
        key.verifier().to_string()
    };
    let receipt = first_receipt(filled);
    for target in [text(&data), text(&data.join("ledgers/main")), text(receipt.path())] {
        expect(3, &["verify", &target, "--key", &vkey(&origin)]);
        expect(3, &["verify", &target, "--key", &vkey("other.example/main")]);
    }
    let key = filled.key();
    expect(2, &["verify", &text(&data), "--key", "no key at all"]);
    expect(2, &["verify", &text(&data)]);
    expect(1, &["verify", "no-such-file", "--key", &key]);
    expect(1, &["verify", "http://127.0.0.1:9", "--key", &key]);
    expect(1, &["verify", &text(&data.join("keys")), "--key", &key]);
    expect(1, &["verify", &text(&data.join("counterfoil.toml")), "--key", &key]);
    expect(2, &["verify", &text(&data), "--parts", "--key", &key]);
}

fn first_receipt(filled: &Filled) -> tempfile::NamedTempFile {
    saved(&filled.receipts["receipts"][3])
}

fn saved(value: &serde_json::Value) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), value.to_string()).unwrap();
    file
}

/// Every string and number below `value`, as a way to change it.
fn leaves(value: &serde_json::Value, at: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            members.iter().for_each(|(name, value)| leaves(value, &format!("{at}/{name}"), found));
        }
        serde_json::Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| leaves(item, &format!("{at}/{i}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn receipts_verify_offline_and_fail_with_any_signed_field_changed() {
    let filled = filled();
    let key = filled.key();
    let good = &filled.receipts["receipts"][3];
    let said = expect(0, &["verify", &text(first_receipt(filled).path()), "--key", &key]);
    assert!(said.starts_with("VERIFIED: receipt"), "{said}");
    expect(0, &["verify", &text(saved(&filled.receipts).path()), "--key", &key]);
    let reader = text(&filled.data().join("ledgers/main/reader.key"));
    let with_reader = |value: &serde_json::Value| {
        let file = saved(value);
        run(&["verify", &text(file.path()), "--key", &key, "--reader-key", &reader])
    };
    assert_eq!(with_reader(good).code, 0);
    let mut fields = Vec::new();
    leaves(good, "", &mut fields);
    assert!(fields.len() > 20, "{fields:?}");
    for field in fields {
        let mut bad = good.clone();
        let value = bad.pointer_mut(&field).unwrap();
        *value = match value {
            serde_json::Value::String(text) => {
                let at = text.len() / 2;
                let other = if &text[at..=at] == "1" { "2" } else { "1" };
                let mut text = text.clone();
                text.replace_range(at..=at, other);
                text.into()
            }
            serde_json::Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
            serde_json::Value::Bool(flag) => (!*flag).into(),
            other => panic!("{field}: {other}"),
        };
        let ran = with_reader(&bad);
        // The server's words about the request, which no signature covers.
        let unsigned = ["/ledger", "/replayed"].contains(&field.as_str());
        assert_eq!(ran.code, if unsigned { 0 } else { 3 }, "{field}\n{}", ran.text);
    }
}

#[test]
fn an_older_checkpoint_must_be_a_beginning_of_the_log() {
    let filled = filled();
    let data = text(&filled.data());
    let key = filled.key();
    let older = filled.dir.path().join("older");
    let said = expect(0, &["verify", &data, "--key", &key, "--since", &text(&older)]);
    assert!(said.contains("extends size"), "{said}");
    let verifier = fs::read_to_string(&key).unwrap().trim().parse().unwrap();
    let opened = checkpoint::open(fs::read(&older).unwrap(), &verifier).unwrap();
    let signer = signer::open(&filled.data().join("keys/main.signing-key"), &opened.origin).unwrap();
    let fork = Checkpoint { root: Hash([9; 32]), ..opened.clone() }.sign(&signer).unwrap();
    let forked = tempfile::NamedTempFile::new().unwrap();
    fs::write(forked.path(), fork).unwrap();
    let said = expect(3, &["verify", &data, "--key", &key, "--since", &text(forked.path())]);
    assert!(said.contains("fork"), "{said}");
    let grown = Checkpoint { size: counterfoil::log::hash::TreeSize(1 << 40), ..opened }.sign(&signer);
    fs::write(forked.path(), grown.unwrap()).unwrap();
    expect(3, &["verify", &data, "--key", &key, "--since", &text(forked.path())]);
    expect(
        3,
        &[
            "verify",
            &text(forked.path()),
            "--key",
            &key,
            "--since",
            &data_file(filled, "keys/admin.key"),
        ],
    );
    let checkpoint = data_file(filled, "ledgers/main/checkpoint");
    expect(0, &["verify", &checkpoint, "--key", &key, "--since", &checkpoint]);
    expect(4, &["verify", &checkpoint, "--key", &key, "--since", &text(&older)]);
}

fn data_file(filled: &Filled, name: &str) -> String {
    text(&filled.data().join(name))
}

/// Positions of a file that are flipped: its ends, its middle, and some others that stay the same
/// from run to run.
fn positions(path: &Path, length: usize) -> Vec<usize> {
    let seed = path
        .to_str()
        .unwrap()
        .bytes()
        .fold(17_usize, |seed, byte| seed.wrapping_mul(31).wrapping_add(usize::from(byte)));
    let mut at = vec![0, length / 2, length - 1];
    at.extend((1..=4_usize).map(|turn| seed.wrapping_mul(turn * 2_654_435_761) % length));
    at.sort_unstable();
    at.dedup();
    at
}

#[test]
fn one_flipped_byte_anywhere_is_found_and_its_file_named() {
    let filled = filled();
    let copy = tempfile::tempdir().unwrap();
    copy_tree(&filled.data(), copy.path());
    let ledger = copy.path().join("ledgers/main");
    let files = log_files(&ledger);
    assert!(files.len() >= 10, "{files:?}");
    for file in &files {
        let path = ledger.join(file);
        let good = fs::read(&path).unwrap();
        for at in positions(file, good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            let ran = run(&["verify", &text(copy.path()), "--key", &filled.key()]);
            assert_eq!(ran.code, 3, "{} byte {at}\n{}", file.display(), ran.text);
            assert!(
                ran.text.contains(file.to_str().unwrap()),
                "{} byte {at}\n{}",
                file.display(),
                ran.text
            );
        }
        fs::write(&path, &good).unwrap();
    }
    expect(0, &["verify", &text(copy.path()), "--key", &filled.key()]);
}

#[test]
fn missing_cut_and_overlong_files_are_found() {
    let filled = filled();
    let copy = tempfile::tempdir().unwrap();
    copy_tree(&filled.data(), copy.path());
    let ledger = copy.path().join("ledgers/main");
    let target = text(copy.path());
    let note = fs::read_to_string(ledger.join("checkpoint")).unwrap();
    let last = format!(".p/{}", note.lines().nth(1).unwrap().parse::<u64>().unwrap() % 256);
    for file in log_files(&ledger) {
        let (path, name) = (ledger.join(&file), file.to_str().unwrap());
        let good = fs::read(&path).unwrap();
        // A partial file of a smaller size may go: nobody needs it any more.
        let is_needed = !name.contains(".p/") || name.ends_with(&last) || name.starts_with("tile/1/");
        fs::remove_file(&path).unwrap();
        let ran = run(&["verify", &target, "--key", &filled.key()]);
        assert_eq!(ran.code, if is_needed { 3 } else { 0 }, "without {name}\n{}", ran.text);
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        expect(3, &["verify", &target, "--key", &filled.key()]);
        if !name.starts_with("journal") {
            fs::write(&path, [&good[..], b"x"].concat()).unwrap();
            expect(3, &["verify", &target, "--key", &filled.key()]);
        }
        fs::write(&path, &good).unwrap();
    }
    // A pipe in a file's place must not hold the verifier up.
    let journal = ledger.join("journal").join("00000000000000000000.cfj");
    for path in [ledger.join("tile/0/000"), journal] {
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        expect(3, &["verify", &target, "--key", &filled.key()]);
        fs::remove_file(&path).unwrap();
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn an_unfinished_write_at_the_journals_end_is_told_and_no_failure() {
    let filled = filled();
    let copy = tempfile::tempdir().unwrap();
    copy_tree(&filled.data(), copy.path());
    let journal = copy.path().join("ledgers/main/journal");
    let mut files = Vec::new();
    files_below(&journal, &mut files);
    let last = files.last().unwrap();
    let mut bytes = fs::read(last).unwrap();
    bytes.extend_from_slice(b"CFJ1\0\0");
    fs::write(last, bytes).unwrap();
    let said = expect(0, &["verify", &text(copy.path()), "--key", &filled.key()]);
    assert!(said.contains("unfinished write"), "{said}");
}

#[test]
fn a_running_servers_directory_and_url_verify_while_it_appends() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let key = text(&data.join("ledgers/main/verifier.key"));
    let api_key = text(&data.join("keys/admin.key"));
    server.append(&data, 0..60);
    wait_for_size(&data, 61);
    std::thread::scope(|scope| {
        let appending = scope.spawn(|| {
            for turn in 0..12 {
                server.append(&data, 60 + turn * 50..110 + turn * 50);
            }
        });
        while !appending.is_finished() {
            expect(0, &["verify", &text(&data), "--key", &key]);
            expect(0, &["verify", &server.url, "--key", &key, "--key-file", &api_key]);
        }
    });
    expect(0, &["verify", &text(&data), "--key", &key]);
    let prefix = format!("{}/v1/ledgers/main", server.url);
    let said = expect(0, &["verify", &prefix, "--key", &key, "--key-file", &api_key]);
    assert!(said.contains("--parts asks for them"), "{said}");
    let said = expect(4, &["verify", &prefix, "--key", &key]);
    assert!(said.contains("--key-file"), "{said}");
    let reader = text(&data.join("ledgers/main/reader.key"));
    let args = ["verify", &prefix, "--key", &key, "--key-file", &api_key, "--parts"];
    let said = expect(0, &[&args[..], &["--reader-key", &reader]].concat());
    assert!(said.contains("receipts verified"), "{said}");
    let other = counterfoil::log::note::SigningKey::generate_from_seed("x.example/main", &[7; 32]);
    expect(3, &["verify", &server.url, "--key", &other.unwrap().verifier().to_string()]);
    documents_of(&server, &key, &api_key);
    server.stop();
    expect(0, &["verify", &text(&data), "--key", &key]);
}

/// Proof files that a server gives, saved and verified offline.
fn documents_of(server: &Server, key: &str, api_key: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| text(&dir.path().join(name));
    let prove = |args: &[&str]| {
        let common = ["prove", "--url", &server.url, "--key-file", api_key];
        expect(0, &[&common[..], args].concat());
    };
    prove(&["7", "--tlog-proof", "-o", &file("proof")]);
    prove(&["7", "--entry", "-o", &file("entry")]);
    prove(&["--from", "40", "--to", "60", "-o", &file("consistency")]);
    let proof = file("proof");
    expect(0, &["verify", &proof, "--entry", &file("entry"), "--key", key]);
    expect(4, &["verify", &proof, "--key", key]);
    expect(3, &["verify", &proof, "--entry", &file("consistency"), "--key", key]);
    expect(0, &["verify", &file("consistency"), "--key", key]);
    let mut proof: serde_json::Value =
        serde_json::from_slice(&fs::read(file("consistency")).unwrap()).unwrap();
    let other = counterfoil::log::note::SigningKey::generate_from_seed("x.example/main", &[7; 32]);
    let other = other.unwrap().verifier().to_string();
    expect(3, &["verify", &file("consistency"), "--key", &other]);
    proof.as_object_mut().unwrap().remove("checkpoint").unwrap();
    expect(4, &["verify", &text(saved(&proof).path()), "--key", key]);
    proof["root_to"] = "00".repeat(32).into();
    expect(3, &["verify", &text(saved(&proof).path()), "--key", key]);
    let events = format!("{}\n{{\"id\":\"no event\"}}\n", event(70_000));
    fs::write(file("events"), events).unwrap();
    let args = ["append", &file("events"), "--url", &server.url, "--key-file", api_key, "--partial"];
    let ran = run(&[&args[..], &["--full", "-o", &file("batch")]].concat());
    assert_eq!(ran.code, 1, "{}", ran.text);
    let said = expect(0, &["verify", &file("batch"), "--key", key]);
    assert!(said.contains("1 items are refusals"), "{said}");
}
