//! The command line from outside: exit codes, what goes to which stream, help, completions, manual pages,
//! mistakes, and that no secret is ever shown.
//!
//! In scope: the real binary against a real server. Out of scope: what the commands do in depth, which
//! other files test. Invariant: every command that there is stands in [`table::rows`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by these"
)]

mod common;

#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/mistakes.rs"]
mod mistakes;
#[path = "cli/table.rs"]
mod table;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use common::{DataDir, Server, binary, wait_until};

/// An address where nothing listens: the discard port, which no server of a test takes.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A ledger with two events, a receipt, and keys of several kinds in files.
struct Scene {
    data: DataDir,
    server: Server,
}

impl Scene {
    fn new() -> Self {
        let data = DataDir::new();
        data.init("ledger.example/main");
        let server = data.serve();
        let scene = Self { data, server };
        for n in [1, 2] {
            fs::write(scene.file(&format!("event{n}.json")), event(&format!("e-{n}"))).unwrap();
        }
        let receipt = scene.file("receipt.json");
        let receipt = receipt.to_str().unwrap();
        assert_eq!(code(&scene.run(&["append", "event1.json", "-o", receipt])), 0);
        assert_eq!(code(&scene.run(&["append", "event2.json"])), 0);
        let text = fs::read_to_string(receipt).unwrap();
        let leaf = "\"leaf_hash\":\"";
        let at = text.find(leaf).unwrap() + leaf.len();
        let flipped = if &text[at..=at] == "0" { "1" } else { "0" };
        fs::write(scene.file("tampered.json"), format!("{}{flipped}{}", &text[..at], &text[at + 1..]))
            .unwrap();
        fs::write(scene.file("wrong.key"), "cf_0123456789abcdef_wrongwrongwrongwrongwrongwrong\n")
            .unwrap();
        fs::write(scene.file("table.json"), "{\"rules\":[]}").unwrap();
        scene
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data.beside(name)
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Runs a command beside the data directory, with address and first admin key in the environment.
    fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, &[])
    }

    fn run_with(&self, args: &[&str], environment: &[(&str, &str)]) -> Output {
        binary()
            .args(args)
            .current_dir(self.file("."))
            .env("COUNTERFOIL_URL", self.url())
            .env("COUNTERFOIL_KEY_FILE", self.data.path().join("keys/admin.key"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("the command runs")
    }
}

fn event(id: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"org\":\"acme\",\"producer\":\"crm\",\"at\":\"{}\",\"type\":\"data.deleted\",\
         \"subject\":\"s-1\",\"holder\":\"self\",\"complete\":true,\"method\":\"automatic\"}}\n",
        common::PAST
    )
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every command that there is, from the page that is made of the definitions.
fn commands() -> Vec<Vec<String>> {
    let page = stdout(&binary().args(["man", "--markdown"]).output().unwrap());
    let headings =
        page.lines().filter_map(|line| line.strip_prefix("## `counterfoil ")?.strip_suffix('`'));
    let found: Vec<Vec<String>> =
        headings.map(|path| path.split(' ').map(str::to_owned).collect()).collect();
    assert!(found.len() > 15, "{found:?}");
    found
}

#[test]
fn help_begins_with_what_a_command_does_and_an_example() {
    let page = stdout(&binary().args(["man", "--markdown"]).output().unwrap());
    for path in commands() {
        let output = binary().args(&path).arg("--help").output().unwrap();
        let (help, name) = (stdout(&output), path.join(" "));
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{name}");
        let mut lines = help.lines();
        let about = lines.next().unwrap();
        assert!(about.len() > 10 && page.contains(about), "{name}: {about}");
        let at = |what: &str| help.find(what).unwrap_or_else(|| panic!("{name}: no {what}"));
        assert!(at("\nExamples:\n  ") < at("\nUsage: "), "{name}:\n{help}");
        assert!(help.contains(&format!("counterfoil {name}")), "{name}");
    }
}

#[test]
fn completions_and_manual_pages_are_whole() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = binary().args(["completions", shell]).output().unwrap();
        let script = stdout(&output);
        assert_eq!(code(&output), 0, "{shell}");
        for word in ["append", "rotate", "key-file"] {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
        if shell == "bash" {
            let mut bash = std::process::Command::new("bash")
                .arg("-n")
                .stdin(Stdio::piped())
                .spawn()
                .expect("bash is here");
            bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(bash.wait().unwrap().success(), "bash cannot read its completions");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let output = binary().arg("man").arg(dir.path()).output().unwrap();
    assert_eq!((code(&output), stdout(&output).as_str()), (0, ""));
    for path in commands() {
        let file = dir.path().join(format!("counterfoil-{}.1", path.join("-")));
        let page =
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for section in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH \"EXAMPLES\"", ".SH \"EXIT STATUS\""] {
            assert!(page.contains(section), "{}: no {section}", file.display());
        }
    }
    let all = stdout(&binary().arg("man").output().unwrap());
    assert_eq!(all.matches(".TH ").count(), commands().len() + 1);
}

#[test]
fn colours_are_left_out_where_that_is_asked_for() {
    let help = |environment: &[(&str, &str)]| {
        let output = binary().args(["query", "--help"]).envs(environment.iter().copied()).output();
        stdout(&output.unwrap())
    };
    assert!(!help(&[]).contains('\u{1b}'), "a pipe gets no colours");
    assert!(help(&[("CLICOLOR_FORCE", "1")]).contains('\u{1b}'));
    assert!(!help(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\u{1b}'));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = binary()
        .arg("man")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    // Standard error may be closed as well; what it would have said is then said to nobody.
    let shell = |script: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]).env("BINARY", env!("CARGO_BIN_EXE_counterfoil"));
        command.output().unwrap().status.code()
    };
    assert_eq!(shell("exec \"$BINARY\" query --url http://127.0.0.1:9 2>&-"), Some(1));
    assert_eq!(shell("exec \"$BINARY\" no-such-command 2>&- >&-"), Some(2));
}

#[test]
fn an_interrupt_ends_a_command_at_once() {
    use std::os::unix::process::ExitStatusExt;
    let scene = Scene::new();
    // Whoever runs the tests in the background may have had SIGINT ignored, which is inherited.
    let mut child = std::process::Command::new("env")
        .arg("--default-signal=INT")
        .arg(binary().get_program())
        .args(["import", "-", "--url", &scene.url(), "--key-file"])
        .arg(scene.data.path().join("keys/admin.key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"{\"a\":1}\n").unwrap();
    let sent =
        std::process::Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
    assert!(sent.unwrap().success());
    let held = child.stdin.take();
    wait_until("the command to end", || child.try_wait().unwrap().is_some());
    drop(held);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(2), "{}", stderr(&output));
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}

#[test]
fn no_secret_is_shown_or_written_to_the_log() {
    let scene = Scene::new();
    let admin = scene.data.admin_key();
    let secret = admin.rsplit('_').next().unwrap().to_owned();
    let mut said = String::new();
    for row in table::rows() {
        let output = scene.run(&row.good.iter().map(String::as_str).collect::<Vec<_>>());
        said.push_str(&stdout(&output));
        said.push_str(&stderr(&output));
    }
    for args in [
        &["query", "--key-file", &admin][..],
        &["query", &admin],
        &["append", &format!("--token={admin}")],
        &["verify", "receipt.json", "--key", &admin],
        &["query", "--url", &format!("http://x:{admin}@127.0.0.1:9")],
        &["config", "show", "--data", "data"],
        &["doctor", "--data", "data"],
    ] {
        let output = scene.run(args);
        said.push_str(&stdout(&output));
        said.push_str(&stderr(&output));
    }
    assert!(said.len() > 2_000);
    said.push_str(&scene.server.stderr());
    let arguments = fs::read(format!("/proc/{}/cmdline", scene.server.pid())).unwrap();
    said.push_str(&String::from_utf8_lossy(&arguments));
    assert!(!said.contains(&secret), "the first admin key was shown:\n{said}");
}
