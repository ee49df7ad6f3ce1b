//! Exit codes and streams of every command.
//!
//! In scope: one row a command, with a call that succeeds. Out of scope: calls that go wrong in ways of
//! their own ([`super::mistakes`]). Invariant: a command without a row fails
//! `every_command_has_a_row`.

use serde_json::Value;

use super::{NOWHERE, Scene, code, commands, stderr, stdout};

/// How standard output looks with `--json`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Printed {
    /// One JSON document.
    Document,
    /// No JSON: a page, a script, a key.
    Other,
}

/// One command and how it is called.
pub(crate) struct Row {
    /// A call that succeeds in a [`Scene`].
    pub(crate) good: Vec<String>,
    /// Whether it talks to the server of `COUNTERFOIL_URL`.
    asks: bool,
    /// Whether it needs a key.
    keyed: bool,
    printed: Printed,
}

fn row(good: &str, asks: bool, keyed: bool, printed: Printed) -> Row {
    Row { good: good.split(' ').map(str::to_owned).collect(), asks, keyed, printed }
}

/// Every command but `serve`, which the harness runs, in an order in which each can succeed.
pub(crate) fn rows() -> Vec<Row> {
    use Printed::{Document, Other};
    vec![
        row("init --data other --origin ledger.example/other --json", false, false, Document),
        row("append event1.json --json", true, true, Document),
        row("import --map generic event1.json --json", true, true, Document),
        row("query --subject s-1 --json", true, true, Document),
        row("ledger list --json", true, true, Document),
        row("ledger show --json", true, true, Document),
        row("ledger add clinic --json", true, true, Document),
        row("ledger producers --json", true, true, Document),
        row("keys list --json", true, true, Document),
        row("keys create --role auditor -o auditor.key --json", true, true, Document),
        row("retention set table.json --json", true, true, Document),
        row("retention show --json", true, true, Document),
        row("erase --subject s-1 --reason asked --now --json", true, true, Document),
        row("hold place --person subject:s-1 --reason claim --json", true, true, Document),
        row("hold list --json", true, true, Document),
        row("report retention-due", true, true, Document),
        row("audit --start --wait --json", true, true, Document),
        row("tail --since 0 --count 1 --json", true, true, Document),
        row("prove 1 --json", true, true, Document),
        row("verify receipt.json --key data/ledgers/main/verifier.key --json", false, false, Document),
        row("backup --data data --to copy --keys-to copy-keys --json", false, false, Document),
        row(
            "restore --from copy --data restored --keys copy-keys --root-key data/keys --json",
            false,
            false,
            Document,
        ),
        row("config show --data data --json", false, false, Document),
        row("config check --data data --json", false, false, Document),
        row("doctor --data data --json", false, false, Document),
        row("openapi", false, false, Document),
        row("completions zsh", false, false, Other),
        row("man", false, false, Other),
    ]
}

/// Commands that need an id that is known only when they run; `keys_are_kept_by_their_ids` calls them, and
/// the last one `tests/retention.rs`.
const BY_ID: [&str; 5] = ["keys show", "keys change", "keys rotate", "keys revoke", "hold release"];

fn arguments(row: &Row) -> Vec<&str> {
    row.good.iter().map(String::as_str).collect()
}

#[test]
fn every_command_has_a_row() {
    let rows: Vec<String> = rows().iter().map(|row| row.good.join(" ")).collect();
    let all = commands();
    for path in &all {
        let name = path.join(" ");
        let has_subcommands =
            all.iter().any(|other| other.len() > path.len() && other.starts_with(path));
        let known = rows.iter().any(|row| row == &name || row.starts_with(&format!("{name} ")));
        let elsewhere = name == "serve" || BY_ID.contains(&name.as_str());
        assert!(has_subcommands || known || elsewhere, "counterfoil {name} has no row in this test");
    }
}

#[test]
fn what_succeeds_exits_with_0_and_prints_only_data() {
    let scene = Scene::new();
    for row in rows() {
        let output = scene.run(&arguments(&row));
        let name = row.good.join(" ");
        assert_eq!(code(&output), 0, "{name}: {}{}", stderr(&output), stdout(&output));
        assert!(!output.stdout.is_empty(), "{name} prints nothing");
        if row.printed == Printed::Document {
            let parsed = serde_json::from_slice::<Value>(&output.stdout);
            assert!(parsed.is_ok(), "{name}: {parsed:?}: {}", stdout(&output));
        }
    }
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for path in commands() {
        let output = super::binary().args(&path).arg("--no-such-flag").output().unwrap();
        let name = path.join(" ");
        assert_eq!((code(&output), stdout(&output).as_str()), (2, ""), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains("--no-such-flag"), "{name}: {}", stderr(&output));
    }
}

#[test]
fn a_server_that_is_not_there_exits_with_1() {
    let scene = Scene::new();
    for row in rows().iter().filter(|row| row.asks) {
        let output = scene.run_with(&arguments(row), &[("COUNTERFOIL_URL", NOWHERE)]);
        let said = stderr(&output);
        assert_eq!(code(&output), 1, "{}: {said}", row.good.join(" "));
        assert!(said.contains(NOWHERE), "{}: {said}", row.good.join(" "));
    }
}

#[test]
fn a_wrong_key_exits_with_1_and_says_what_a_key_needs() {
    let scene = Scene::new();
    let wrong = scene.file("wrong.key");
    let wrong = [("COUNTERFOIL_KEY_FILE", wrong.to_str().unwrap())];
    for row in rows().iter().filter(|row| row.keyed) {
        let output = scene.run_with(&arguments(row), &wrong);
        let said = stderr(&output);
        assert_eq!(code(&output), 1, "{}: {said}", row.good.join(" "));
        assert!(said.contains("401"), "{}: {said}", row.good.join(" "));
    }
}

#[test]
fn what_was_changed_exits_with_3_and_what_goes_on_with_4() {
    let scene = Scene::new();
    let key = "data/ledgers/main/verifier.key";
    let tampered = scene.run(&["verify", "tampered.json", "--key", key, "--json"]);
    assert_eq!(code(&tampered), 3, "{}", stdout(&tampered));
    let report: Value = serde_json::from_slice(&tampered.stdout).unwrap();
    assert_eq!(report["verdict"], "failed");
    let incomplete = scene.run(&["query", "--limit", "1", "--json"]);
    assert_eq!(code(&incomplete), 4, "{}", stderr(&incomplete));
    assert!(serde_json::from_slice::<Value>(&incomplete.stdout).is_ok());
    let whole = scene.run(&["query", "--limit", "1", "--all", "--json", "-o", "events.ndjson"]);
    assert_eq!((code(&whole), stdout(&whole).as_str()), (0, ""));
    let lines = std::fs::read_to_string(scene.file("events.ndjson")).unwrap();
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
}

#[test]
fn keys_are_kept_by_their_ids() {
    let scene = Scene::new();
    let made = scene.run(&["keys", "create", "--role", "producer", "-o", "crm.key", "--json"]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let id = made["id"].as_str().unwrap();
    assert!(made.get("key").is_none(), "a key that went to a file is not printed too");
    for args in [
        &["keys", "show", id, "--json"][..],
        &["keys", "change", id, "--label", "crm", "--json"],
        &["keys", "rotate", id, "-o", "crm-2.key", "--json"],
        &["keys", "revoke", id, "--json"],
    ] {
        let output = scene.run(args);
        assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
        assert!(
            serde_json::from_slice::<Value>(&output.stdout).is_ok(),
            "{args:?}: {}",
            stdout(&output)
        );
    }
    let again = scene.run(&["keys", "create", "--role", "producer", "-o", "crm.key"]);
    assert_eq!(code(&again), 2, "a key file is not replaced: {}", stderr(&again));
}
