//! The documentation, held to the program: every block of shell commands runs, every link leads somewhere.
//!
//! In scope: README.md and the pages under docs/. Out of scope: whether command lines are understood, which
//! `src/cli/table` tests. Invariants: a block is run as it is written, in the order of its page, in one
//! shell that stops at the first failure; `# exit code N` after a command says how it ends; what is not run says why right above, in words of [`NOT_RUN`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by these"
)]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::run_tool;

/// Why a block may be left out.
const NOT_RUN: [&str; 7] = [
    "it measures for up to forty minutes",
    "the first builds and runs the demonstration, the second runs this test",
    "it builds the program, which the test has built already",
    "it installs programs of others over the network; tests/interop.rs runs them against a live ledger",
    "it builds a program in Go; tests/interop.rs runs it against a live ledger",
    "it goes on from what the operator has",
    "it shows one way of three to give a setting; src/cli/table reads the line",
];

/// The heading of the quick start at which other pages begin to differ from it.
const QUICK_START_ENDS: &str = "## 4. ";

/// A block of shell commands.
#[derive(Debug)]
struct Block {
    line: usize,
    text: String,
    /// Why it is not run, where it is not.
    not_run: Option<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The blocks of a page, those before the line that begins with `until` where that is given.
fn blocks(page: &str, until: Option<&str>) -> Vec<Block> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = String::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(block) = &mut open {
            if line == "```" {
                found.extend(open.take());
            } else {
                let _ = writeln!(block.text, "{line}");
            }
        } else if line == "```bash" {
            let not_run =
                before.strip_prefix("<!-- not run: ").and_then(|rest| rest.strip_suffix(" -->"));
            let not_run = not_run.map(str::to_owned);
            open = Some(Block { line: at + 1, text: String::new(), not_run });
        } else if until.is_some_and(|until| line.starts_with(until)) {
            return found;
        }
        line.clone_into(&mut before);
    }
    assert!(open.is_none(), "{page}: a block does not end");
    found
}

/// Adds the blocks of a page to a script; a failure names page and line.
fn add(script: &mut String, page: &str, until: Option<&str>) {
    for block in blocks(page, until).iter().filter(|block| block.not_run.is_none()) {
        let _ = writeln!(script, "BLOCK={page}:{0}\necho \"--- {page}:{0}\"", block.line);
        for line in block.text.lines() {
            match exit_code(line) {
                Some(code) => {
                    let _ =
                        writeln!(script, "set +eE\n{line}\ncode=$?\nset -eE\n[ \"$code\" -eq {code} ]");
                }
                None => {
                    let _ = writeln!(script, "{line}");
                }
            }
        }
    }
}

/// The exit code that a line of a page says its command has, where that is not 0.
fn exit_code(line: &str) -> Option<u8> {
    let (_, said) = line.split_once("# exit code ")?;
    let digits: String = said.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Runs every block of a page in a shell of its own, in an empty directory, with the binary under test on
/// the path. `continues`: the page goes on from the quick start.
fn run(page: &str, continues: bool) {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_counterfoil"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut script = String::from(
        "set -eEuo pipefail\ntrap 'echo \"=== a command of $BLOCK failed\"' ERR\n\
         trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n",
    );
    if continues {
        add(&mut script, "docs/quick-start.md", Some(QUICK_START_ENDS));
        // What the page reads in the directory is written when a checkpoint is published.
        script.push_str(
            "until [ \"$(sed -n 2p ledger/ledgers/main/checkpoint)\" -ge 2 ]; do sleep 0.1; done\n",
        );
    }
    add(&mut script, page, None);
    script.push_str("echo '--- all of it ran'\n");
    let file = dir.path().join("page.sh");
    fs::write(&file, &script).unwrap();
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let mut shell = Command::new("timeout");
    shell
        .args(["--kill-after=10", "240", "bash"])
        .arg(&file)
        .current_dir(&work)
        .env("PATH", path)
        .env("COUNTERFOIL_LISTEN", format!("127.0.0.1:{port}"))
        .env("COUNTERFOIL_URL", format!("http://127.0.0.1:{port}"));
    for name in ["KEY_FILE", "LEDGER", "CA_FILE"] {
        shell.env_remove(format!("COUNTERFOIL_{name}"));
    }
    if continues {
        shell.env_remove("COUNTERFOIL_DATA");
    } else {
        shell.env("COUNTERFOIL_DATA", dir.path().join("data"));
    }
    let ran = run_tool(&mut shell, Duration::from_secs(270), |_| false);
    let log = fs::read_to_string(work.join("server.log")).unwrap_or_default();
    assert!(
        ran.code == Some(0) && ran.said.contains("--- all of it ran"),
        "{page} ended with {:?}:\n{}\nthe server said:\n{log}",
        ran.code,
        ran.said
    );
}

#[test]
fn the_commands_of_the_readme_run() {
    run("README.md", false);
}

#[test]
fn the_commands_of_the_quick_start_run() {
    run("docs/quick-start.md", false);
}

#[test]
fn the_commands_for_services_run() {
    run("docs/integrating.md", true);
}

#[test]
fn the_commands_for_auditors_run() {
    run("docs/auditing.md", true);
}

#[test]
fn the_commands_for_operators_run() {
    run("docs/operating.md", false);
}

#[test]
fn what_is_not_run_says_why_in_words_that_were_agreed_on() {
    let mut run = 0;
    for page in pages() {
        for block in blocks(&page, None) {
            match &block.not_run {
                Some(why) => {
                    assert!(NOT_RUN.contains(&why.as_str()), "{page}:{}: not run: {why}", block.line);
                }
                None => run += 1,
            }
        }
    }
    assert!(run > 25, "{run} blocks are run");
    let run_pages = ["README.md", "quick-start", "integrating", "auditing", "operating"];
    for page in pages().iter().filter(|page| !run_pages.iter().any(|run| page.contains(run))) {
        let left: Vec<_> =
            blocks(page, None).into_iter().filter(|block| block.not_run.is_none()).collect();
        assert!(
            left.is_empty(),
            "{page}: no test runs this page, and a block does not say so: {left:?}"
        );
    }
}

/// README.md and every page below docs/.
fn pages() -> Vec<String> {
    let found =
        common::files_below(&root().join("docs"), &|path| path.extension().is_some_and(|e| e == "md"));
    let relative = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    let mut pages: Vec<String> = found.iter().map(relative).collect();
    pages.push("README.md".to_owned());
    pages
}

/// The anchors of a page, as the usual renderers make them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for heading in outside_code(text).lines().filter(|line| line.starts_with('#')) {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        found.insert(kept.collect::<String>().replace(' ', "-"));
    }
    found
}

/// The text without its blocks of code.
fn outside_code(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            let _ = writeln!(kept, "{line}");
        }
    }
    kept
}

#[test]
fn every_link_leads_to_a_page_and_a_heading() {
    let mut links = 0;
    for page in pages() {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        let dir = root().join(&page).parent().unwrap().to_owned();
        let prose = outside_code(&text);
        for target in prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { root().join(&page) } else { dir.join(file) };
            assert!(path.exists(), "{page}: {target} leads nowhere");
            if !anchor.is_empty() {
                let headings = anchors(&fs::read_to_string(&path).unwrap());
                assert!(headings.contains(anchor), "{page}: {target}: no such heading in {headings:?}");
            }
        }
    }
    assert!(links > 40, "{links} links were found");
}
