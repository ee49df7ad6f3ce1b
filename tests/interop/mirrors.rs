//! Copies of the log made by others: Tessera's `mirror` and `migrate`.
//!
//! In scope: that a server with open bundles, and any static file server over the public files, can be
//! mirrored, that a mirror verifies by every verifier at hand, and that a tree rebuilt from the entries
//! alone has our root. Out of scope: bundles that need a key; `fsck` and `gocheck` have one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use counterfoil::log::checkpoint;
use counterfoil::log::note::VerifierKey;
use serde_json::Value;

use super::common::{DataDir, MAIN, PATIENCE, binary, fsck_dir, run_tool, tool};
use super::{append_accesses, flip, gocheck};

/// Python's own file server over a directory.
pub(crate) struct FileServer {
    child: Child,
    pub(crate) url: String,
}

impl FileServer {
    pub(crate) fn new(dir: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 runs; `tools/test` installs it");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split(['(', ')']).nth(1).unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { url: url.to_owned(), child }
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mirror(from: &str, to: &Path) {
    let mut command = Command::new(tool("mirror"));
    command.arg(format!("--source_url={from}")).arg(format!("--storage_dir={}", to.display()));
    run_tool(&mut command, PATIENCE, |_| false).expect(0, "Log mirrored successfully.");
}

/// Makes a directory whose server gives out entry bundles without a key.
pub(crate) fn open_bundles(data: &DataDir) {
    data.init("mirrored.example/log");
    data.set("public_bundles = true");
}

/// Our own verifier on a mirror, and its exit code.
fn verify(data: &DataDir, mirror: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = binary();
    command.arg("verify").arg(mirror).arg("--key").arg(data.ledger().join("verifier.key")).args(more);
    let ran = run_tool(&mut command, PATIENCE, |_| false);
    (ran.code, ran.said)
}

#[test]
fn a_mirror_verifies_by_fsck_by_gocheck_and_by_us() {
    let data = DataDir::new();
    open_bundles(&data);
    let server = data.serve();
    let client = server.client();
    append_accesses(&data, &client, 0..600);
    let live = format!("http://{}{MAIN}/", client.address);
    let copy = data.beside("mirror");
    mirror(&live, &copy);
    fsck_dir(&data, &copy).unwrap_or_else(|said| panic!("{said}"));
    gocheck::dir(&data, &copy);
    let (code, said) = verify(&data, &copy, &[]);
    assert_eq!(code, Some(0), "{said}");

    // The log grows, the mirror follows, and what it had is a prefix of what it has.
    let older = data.beside("older.checkpoint");
    fs::copy(copy.join("checkpoint"), &older).unwrap();
    append_accesses(&data, &client, 600..1_300);
    mirror(&live, &copy);
    fsck_dir(&data, &copy).unwrap_or_else(|said| panic!("after it grew: {said}"));
    gocheck::dir(&data, &copy);
    let (code, said) = verify(&data, &copy, &["--since", older.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");

    // A mirror that was tampered with is no mirror, and the source still is one.
    flip(&copy.join("tile/entries/003"), 1_000);
    let (code, said) = verify(&data, &copy, &[]);
    assert_eq!(code, Some(3), "{said}");
    fsck_dir(&data, &copy).expect_err("one bit of an entry is another log");
    gocheck::server(&data, &client);
}

#[test]
fn a_mirror_of_a_mirror_over_a_plain_file_server_verifies() {
    let data = DataDir::new();
    let server = data.serve();
    append_accesses(&data, &server.client(), 0..600);
    let files = FileServer::new(&data.ledger());
    let (first, second) = (data.beside("first"), data.beside("second"));
    mirror(&files.url, &first);
    mirror(&FileServer::new(&first).url, &second);
    fsck_dir(&data, &second).unwrap_or_else(|said| panic!("{said}"));
    gocheck::dir(&data, &second);
    let (code, said) = verify(&data, &second, &[]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_tree_rebuilt_from_the_entries_alone_has_our_root() {
    let data = DataDir::new();
    let server = data.serve();
    append_accesses(&data, &server.client(), 0..700);
    assert!(server.terminate().success());
    let files = FileServer::new(&data.ledger());
    let rebuilt = data.beside("migrated");
    let mut command = Command::new(tool("migrate"));
    command
        .arg(format!("--source_url={}", files.url))
        .arg(format!("--storage_dir={}", rebuilt.display()));
    run_tool(&mut command, PATIENCE, |_| false).expect(0, "Migration successful.");
    let state: Value =
        serde_json::from_slice(&fs::read(rebuilt.join(".state/treeState")).unwrap()).unwrap();
    let key: VerifierKey = data.verifier_key().parse().unwrap();
    let note = fs::read(data.ledger().join("checkpoint")).unwrap();
    let signed = checkpoint::open(note, &key).unwrap();
    assert_eq!(state["size"].as_u64(), Some(signed.size.0));
    assert_eq!(state["root"].as_str().unwrap(), STANDARD.encode(signed.root.as_bytes()));
}
