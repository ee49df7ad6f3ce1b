//! What the end-to-end tests share: a real server process, a plain HTTP client, and events.
//!
//! In scope: starting, stopping and killing the binary under test; HTTP/1.1 over a socket of our
//! own, so that a test may send what no client library would. Out of scope: assertions about the
//! ledger. Invariant: a server dies with its guard, whether its test passes or not.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test helpers may fail the test, keep deadlines, and are not all used by every file"
)]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

/// Long enough for a loaded machine with two cores; nothing is expected to take it.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The binary under test.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    for name in ["URL", "LEDGER", "KEY_FILE", "DATA", "LISTEN"] {
        command.env_remove(format!("COUNTERFOIL_{name}"));
    }
    command
}

/// A data directory that outlives the servers on it.
#[derive(Debug)]
pub struct DataDir {
    root: TempDir,
}

impl Default for DataDir {
    fn default() -> Self {
        Self::new()
    }
}

impl DataDir {
    pub fn new() -> Self {
        Self { root: TempDir::new().expect("a temporary directory") }
    }

    pub fn path(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The directory of the ledger `main`.
    pub fn ledger(&self) -> PathBuf {
        self.path().join("ledgers/main")
    }

    pub fn admin_key(&self) -> String {
        fs::read_to_string(self.path().join("keys/admin.key")).expect("an admin key").trim().to_owned()
    }

    pub fn verifier_key(&self) -> String {
        fs::read_to_string(self.ledger().join("verifier.key")).expect("a verifier key").trim().to_owned()
    }

    /// Runs `counterfoil init`.
    pub fn init(&self, origin: &str) {
        let output = binary().args(["init", "--origin", origin, "--data"]).arg(self.path()).output();
        let output = output.expect("init runs");
        assert!(output.status.success(), "init: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Adds a line to the settings of a directory that exists.
    pub fn set(&self, line: &str) {
        let file = self.path().join("counterfoil.toml");
        let text = fs::read_to_string(&file).expect("settings");
        fs::write(file, format!("{line}\n{text}")).expect("settings to write");
    }

    /// Verifies the directory with our own verifier, which trusts nothing but the key.
    pub fn verify(&self) {
        let key = self.ledger().join("verifier.key");
        let output = binary().arg("verify").arg(self.path()).arg("--key").arg(key).output();
        let output = output.expect("the verifier runs");
        let said = [output.stdout, output.stderr];
        let said = said.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(output.status.code(), Some(0), "verify: {}\n{}", said[0], said[1]);
    }

    /// A file beside the data directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Starts a server that must come up.
    pub fn serve(&self) -> Server {
        match self.try_serve() {
            Ok(server) => server,
            Err(refusal) => panic!("the server ended with {}: {}", refusal.status, refusal.stderr),
        }
    }

    /// Starts a server at an address where an earlier one was, for clients that hold on to it.
    pub fn serve_on(&self, listen: &str) -> Server {
        self.serve_with(&[&format!("listen={listen}")])
    }

    /// Starts a server with settings, each `name=value`.
    pub fn serve_with(&self, settings: &[&str]) -> Server {
        match self.try_serve_with(settings) {
            Ok(server) => server,
            Err(refusal) => panic!("the server ended with {}: {}", refusal.status, refusal.stderr),
        }
    }

    /// Starts a server that may refuse to.
    pub fn try_serve(&self) -> Result<Server, Refusal> {
        self.try_serve_with(&[])
    }

    /// Starts a server that may refuse to, with settings.
    pub fn try_serve_with(&self, settings: &[&str]) -> Result<Server, Refusal> {
        let log = self.beside("stderr.log");
        let from = fs::metadata(&log).map_or(0, |found| found.len());
        let stderr = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let mut child = binary()
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(self.path())
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the server starts");
        let stdout = child.stdout.take().expect("its standard output");
        let (sender, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut first = String::new();
            let mut reader = BufReader::new(stdout);
            let _ = reader.read_line(&mut first);
            let _ = sender.send(first);
            let _ = io::copy(&mut reader, &mut io::sink());
        });
        let mut guard = Guard(child);
        let first = line.recv_timeout(PATIENCE).expect("a first line in time");
        let log = LogTail { path: log, from };
        match first.trim().split_once("://") {
            Some((_, address)) => Ok(Server {
                guard,
                address: address.to_owned(),
                key: self.admin_key(),
                log,
                data: self.path(),
            }),
            None => Err(Refusal { status: guard.wait(PATIENCE), stderr: log.text(), stdout: first }),
        }
    }
}

/// A start that was refused.
#[derive(Debug)]
pub struct Refusal {
    pub status: ExitStatus,
    pub stderr: String,
    pub stdout: String,
}

#[derive(Debug)]
struct LogTail {
    path: PathBuf,
    from: u64,
}

impl LogTail {
    fn text(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        let from = usize::try_from(self.from).unwrap();
        String::from_utf8_lossy(&bytes[from.min(bytes.len())..]).into_owned()
    }
}

#[derive(Debug)]
struct Guard(Child);

impl Guard {
    fn wait(&mut self, patience: Duration) -> ExitStatus {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child to wait for") {
                return status;
            }
            assert!(Instant::now() < end, "the process did not end in {patience:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    guard: Guard,
    pub address: String,
    pub key: String,
    log: LogTail,
    data: PathBuf,
}

impl Server {
    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.log.text()
    }

    /// A client with the first admin key.
    pub fn client(&self) -> Client {
        Client { address: self.address.clone(), key: Some(self.key.clone()) }
    }

    /// A client with a new key of `role`.
    pub fn client_as(&self, role: &str) -> Client {
        self.client_with(&json!({ "role": role }))
    }

    /// A client with a new key made from `request`.
    pub fn client_with(&self, request: &Value) -> Client {
        let made = self.client().post_json("/v1/keys", request).expect_status(201).json();
        Client { address: self.address.clone(), key: Some(text_of(&made["key"])) }
    }

    /// Kills it as a power cut would kill a process: at once.
    pub fn kill(mut self) {
        self.guard.0.kill().expect("a process to kill");
        self.guard.0.wait().expect("its end");
    }

    pub fn pid(&self) -> u32 {
        self.guard.0.id()
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.guard.0.try_wait().expect("a child").is_some()
    }

    /// Asks it to end in good order.
    pub fn ask_to_end(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        assert!(sent.expect("a shell").success(), "no signal was sent to {pid}");
    }

    /// Asks it to end and waits until it has.
    pub fn terminate(mut self) -> ExitStatus {
        self.ask_to_end();
        self.guard.wait(PATIENCE)
    }
}

/// An HTTP client that says exactly what it is told to.
#[derive(Debug, Clone)]
pub struct Client {
    pub address: String,
    pub key: Option<String>,
}

/// Prefix of every path of the ledger `main`.
pub const MAIN: &str = "/v1/ledgers/main";

impl Client {
    pub fn without_key(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        self.send("POST", path, &[("content-type", content_type)], body)
    }

    pub fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post(path, "application/json", body.to_string().as_bytes())
    }

    /// Appends one event.
    pub fn append(&self, event: &Value) -> Answer {
        self.post_json(&format!("{MAIN}/events"), event)
    }

    /// Appends events as one atomic batch.
    pub fn append_batch(&self, events: &[Value]) -> Answer {
        let body = serde_json::to_vec(events).unwrap();
        self.post(&format!("{MAIN}/events"), "application/cloudevents-batch+json", &body)
    }

    /// Sends a request that must be answered.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        match self.try_send(method, path, headers, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// Sends a request that may not be answered, because the server may be killed.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut lines = vec![format!("{method} {path} HTTP/1.1\r\nhost: ledger\r\nconnection: close")];
        lines.extend(self.key.as_ref().map(|key| format!("authorization: Bearer {key}")));
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        if !body.is_empty() || method == "POST" {
            lines.push(format!("content-length: {}", body.len()));
        }
        let mut bytes = format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes();
        bytes.extend_from_slice(body);
        // A server that refuses early may close before it has read everything; its answer counts.
        let written = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        match Answer::parse(&answer, method == "HEAD") {
            Some(answer) => Ok(answer),
            None => Err(written.and(read.map(|_| ())).err().unwrap_or_else(|| {
                io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is cut off")
            })),
        }
    }

    /// Number of entries in the log.
    pub fn size(&self) -> u64 {
        let page = self.get(&format!("{MAIN}/events?limit=1")).expect_status(200).json();
        page["as_of"]["size"].as_u64().expect("a size")
    }
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Status line, headers and body as they came.
    pub raw: Vec<u8>,
}

impl Answer {
    /// The answer to HEAD has the headers of a body and none.
    fn parse(raw: &[u8], bodiless: bool) -> Option<Self> {
        let end = raw.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&raw[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let body = &raw[end + 4..];
        let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, v)| v.as_str());
        let body = match (find("transfer-encoding"), find("content-length")) {
            _ if bodiless => body.to_vec(),
            (Some("chunked"), _) => unchunk(body)?,
            (_, Some(length)) => body.get(..length.parse().ok()?)?.to_vec(),
            _ => body.to_vec(),
        };
        Some(Self { status, headers, body, raw: raw.to_vec() })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The `code` of a problem answer; empty where it is none.
    pub fn code(&self) -> String {
        serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|problem| problem["code"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// Asserts that this is the problem `code` with `status`, in full form.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str, case: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{case}: {}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{case}");
        let problem = self.json();
        assert_eq!(problem["status"], json!(status), "{case}");
        assert_eq!(problem["type"], json!(format!("urn:counterfoil:problem:{code}")), "{case}");
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{case}: {member}");
        }
    }
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        rest = &rest[end + 2..];
        if length == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(rest.get(..length)?);
        rest = rest.get(length + 2..)?;
    }
}

/// The text of a JSON string.
pub fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

/// A time in the past of every machine that runs this.
pub const PAST: &str = "2025-06-01T12:00:00Z";

/// An event that names nobody, so that nobody is registered for it.
pub fn policy(id: &str) -> Value {
    json!({
        "id": id, "org": "acme", "producer": "web", "type": "policy.published", "at": PAST,
        "version": "2", "material": false, "page_notice": true,
    })
}

/// An access to the data of `subject` by `actor`, as `CloudEvents`.
pub fn access(id: &str, subject: &str, actor: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "acme/crm", "type": "data.accessed", "time": PAST,
        "data": {
            "subject": subject, "actor": actor, "actor_role": "agent", "operation": "read",
            "purpose": "support", "categories": ["contact"],
        },
    })
}

/// Names of the files below `dir` whose path satisfies `wanted`.
pub fn files_below(dir: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path, wanted));
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Waits until `done` or fails with `what`.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A tool that `tools/test` installs by name. A missing one fails its test: nothing passes unseen.
pub fn tool(name: &str) -> PathBuf {
    let path = tools_dir().join(name);
    assert!(
        path.exists(),
        "{} is missing; `tools/test` installs it, or set COUNTERFOIL_TOOLS_DIR to where it is",
        path.display()
    );
    path
}

/// Where `tools/test` installs.
pub fn tools_dir() -> PathBuf {
    std::env::var_os("COUNTERFOIL_TOOLS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"), PathBuf::from)
}

/// How a tool ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` where it was killed because it did not end in time.
    pub code: Option<i32>,
    /// What it wrote, standard output and standard error together.
    pub said: String,
}

impl Ran {
    /// Asserts that it ended with `code` and said `text`.
    #[track_caller]
    pub fn expect(self, code: i32, text: &str) -> Self {
        assert!(self.code == Some(code) && self.said.contains(text), "{:?}: {}", self.code, self.said);
        self
    }
}

/// Runs a tool with its output in a file, so that it never waits for a reader. It is killed after
/// `patience`, or as soon as `give_up` says so of what it has written.
pub fn run_tool(command: &mut Command, patience: Duration, give_up: impl Fn(&str) -> bool) -> Ran {
    let output = NamedTempFile::new().expect("a temporary file");
    let file = output.reopen().unwrap();
    let text = || String::from_utf8_lossy(&fs::read(output.path()).unwrap()).into_owned();
    let child = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn();
    let mut child = Guard(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            return Ran { code: status.code(), said: text() };
        }
        if Instant::now() > end || give_up(&text()) {
            return Ran { code: None, said: text() };
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What `fsck` gets before it counts as hanging, which v1.0.4 does on some damage.
const FSCK_PATIENCE: Duration = Duration::from_mins(2);

/// The line without which `fsck` has not succeeded; its exit code is 0 either way.
const FSCK_SUCCESS: &str = "Successfully fsck'd log";

/// Runs `fsck` on a log and returns what it said; an error where it did not say that all is well.
fn fsck(data: &DataDir, url: &str, more: &[&str]) -> Result<String, String> {
    let mut command = Command::new(tool("fsck"));
    command
        .arg(format!("--storage_url={url}"))
        .arg(format!("--public_key={}", data.ledger().join("verifier.key").display()))
        .args(["--ui=false", "--N=8"])
        .args(more);
    // After a failure it may hang instead of ending.
    let said = run_tool(&mut command, FSCK_PATIENCE, |said| said.contains("fsck failed")).said;
    if said.contains(FSCK_SUCCESS) { Ok(said) } else { Err(said) }
}

/// Checks the data directory of a server that has ended.
pub fn fsck_files(data: &DataDir) -> Result<String, String> {
    fsck_dir(data, &data.ledger())
}

/// Checks a directory with the log's files, such as a mirror.
pub fn fsck_dir(data: &DataDir, dir: &Path) -> Result<String, String> {
    fsck(data, &format!("file://{}/", dir.display()), &[])
}

/// Checks the log that a server serves.
pub fn fsck_http(data: &DataDir, client: &Client) -> Result<String, String> {
    let key = format!("--bearer_token={}", client.key.as_ref().unwrap());
    fsck(data, &format!("http://{}{MAIN}/", client.address), &[&key])
}
