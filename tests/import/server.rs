//! A real server, and the importer run against it.
//!
//! In scope: starting and ending the binary under test, reading what it holds. Out of scope: what is
//! asserted. Invariant: a server ends with its guard, whether its test passes or not.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Events in one page of history.
const PAGE_EVENTS: usize = 500;

/// The binary, without settings of whoever runs the tests.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    for name in ["URL", "LEDGER", "KEY_FILE", "DATA", "LISTEN"] {
        command.env_remove(format!("COUNTERFOIL_{name}"));
    }
    command
}

/// A ledger that is served.
pub(crate) struct Server {
    child: Child,
    pub url: String,
    dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let mut child = binary()
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://"), "the server says where it listens: {url}");
        Self { child, url: url.trim().to_owned(), dir }
    }

    pub(crate) fn admin_key(&self) -> PathBuf {
        self.dir.path().join("data/keys/admin.key")
    }

    /// A file beside the ledger.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A key of another role, in a file.
    pub(crate) fn key(&self, role: &str) -> PathBuf {
        let body = json!({ "label": role, "role": role }).to_string();
        let answer = ureq::post(format!("{}/v1/keys", self.url))
            .header("authorization", self.bearer())
            .send(body)
            .unwrap()
            .into_body()
            .read_to_string()
            .unwrap();
        let key = serde_json::from_str::<Value>(&answer).unwrap()["key"].as_str().unwrap().to_owned();
        self.file(&format!("{role}.key"), key.as_bytes())
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", fs::read_to_string(self.admin_key()).unwrap().trim())
    }

    fn get(&self, path: &str) -> Value {
        let response = ureq::get(format!("{}/v1/ledgers/main/{path}", self.url))
            .header("authorization", self.bearer())
            .call();
        let body = response.unwrap().into_body().with_config().limit(1 << 30).read_to_string().unwrap();
        serde_json::from_str(&body).unwrap()
    }

    /// Events in the log. Entries would be no measure: those that register persons follow by themselves.
    pub(crate) fn count(&self) -> usize {
        self.events().len()
    }

    /// Every event, opened, oldest first.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut events = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("events?order=asc&clock=recorded&limit={PAGE_EVENTS}{cursor}"));
            events.extend(page["events"].as_array().unwrap().iter().map(|each| each["event"].clone()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return events,
            }
        }
    }

    /// The attachments of every event.
    pub(crate) fn attachments(&self) -> BTreeSet<Vec<u8>> {
        let events = self.events();
        let attached =
            events.iter().map(|event| STANDARD.decode(event["data_base64"].as_str().unwrap()));
        attached.map(Result::unwrap).collect()
    }

    /// Imports as the first admin.
    pub(crate) fn import(&self, args: &[&str], files: &[&Path]) -> Import {
        self.import_as(&self.admin_key(), args, files, b"")
    }

    /// Imports with a key, and something on standard input.
    pub(crate) fn import_as(&self, key: &Path, args: &[&str], files: &[&Path], stdin: &[u8]) -> Import {
        import(&self.url, key, args, files, stdin)
    }
}

/// Runs the importer.
pub(crate) fn import(url: &str, key: &Path, args: &[&str], files: &[&Path], stdin: &[u8]) -> Import {
    let mut child = binary()
        .args(["import", "--json", "--url", url, "--key-file"])
        .arg(key)
        .args(args)
        .args(files)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&stdin));
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let _ = writer.join();
    Import {
        code: status.code().unwrap(),
        summary: serde_json::from_slice(&stdout).unwrap_or(Value::Null),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// Explains files, without a server; says what was printed and the exit code.
pub(crate) fn explain(args: &[&str], files: &[&Path]) -> (i32, String) {
    let output = binary().args(["import", "--explain"]).args(args).args(files).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text + &String::from_utf8(output.stderr).unwrap())
}

/// What an import said.
#[derive(Debug)]
pub(crate) struct Import {
    pub code: i32,
    pub summary: Value,
    pub stderr: String,
}

impl Import {
    /// Records, appended, already there, refused.
    pub(crate) fn counts(&self) -> [u64; 4] {
        counts(&self.summary)
    }

    /// How many events of a type are in the ledger now.
    pub(crate) fn of_type(&self, class: &str, name: &str) -> u64 {
        let types = self.summary["types"].as_array().unwrap();
        let found = types.iter().find(|each| each["class"] == class && each["type"] == name);
        found.map_or(0, |found| counts(found)[1] + counts(found)[2])
    }

    /// Line, record and code of each refusal.
    pub(crate) fn refusals(&self) -> Vec<(u64, Option<u64>, &str)> {
        let refusals = self.summary["refusals"].as_array().unwrap().iter();
        refusals
            .map(|each| {
                (each["line"].as_u64().unwrap(), each["record"].as_u64(), each["code"].as_str().unwrap())
            })
            .collect()
    }
}

pub(crate) fn counts(of: &Value) -> [u64; 4] {
    ["records", "appended", "replayed", "refused"].map(|name| of[name].as_u64().unwrap())
}
