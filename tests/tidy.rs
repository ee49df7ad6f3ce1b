//! The house rules that neither the compiler nor clippy checks, each as a test of its own.
//!
//! In scope: which module may name which, what pure modules may not touch, sizes, banned words,
//! module headers, where renames happen, no traces of the machine that built it. Every rule is a
//! pure function over one [`Source`]; its self-test plants a violation and sees it caught.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot read its files has to fail"
)]

#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

/// The modules each module may name besides itself. A module that is not listed is an error.
///
/// `log, event <- prove <- store, vault, index <- ledger <- history, promises, witness <- http, cli`;
/// clock, config and limits are leaves.
const EDGES: &[(&str, &[&str])] = &[
    ("log", &[]),
    ("event", &["log::hash"]),
    ("prove", &["log", "event"]),
    ("store", &["log", "event", "prove", "clock", "limits"]),
    ("vault", &["log", "event", "prove", "store", "clock", "limits"]),
    ("index", &["log", "event", "prove", "clock", "limits"]),
    ("ledger", &["log", "event", "prove", "store", "vault", "index", "clock", "limits", "config"]),
    ("history", &BELOW_LEDGER_USERS),
    ("audit", &BELOW_LEDGER_USERS),
    ("backup", &BELOW_BACKUP),
    ("promises", &BELOW_LEDGER_USERS),
    ("witness", &BELOW_LEDGER_USERS),
    ("console", &[]),
    ("client", &["log", "event", "prove", "store", "clock", "limits"]),
    ("http", &BELOW_FACES),
    ("cli", &BELOW_CLI),
    ("clock", &[]),
    ("config", &[]),
    ("limits", &[]),
];

const BELOW_LEDGER_USERS: [&str; 10] =
    ["log", "event", "prove", "store", "vault", "index", "ledger", "clock", "limits", "config"];

const BELOW_BACKUP: [&str; 11] =
    ["log", "event", "prove", "store", "vault", "index", "ledger", "audit", "clock", "limits", "config"];

const BELOW_CLI: [&str; 18] = [
    "log", "event", "prove", "store", "vault", "index", "ledger", "history", "audit", "backup",
    "promises", "witness", "console", "http", "client", "clock", "limits", "config",
];

const BELOW_FACES: [&str; 16] = [
    "log", "event", "prove", "store", "vault", "index", "ledger", "history", "audit", "promises",
    "witness", "console", "http", "clock", "limits", "config",
];

/// Modules without I/O, clock, randomness, threads or async.
const PURE: [&str; 3] = ["log", "event", "prove"];
const IMPURE_PATHS: [&str; 6] =
    ["std::fs", "std::net", "std::time", "std::thread", "std::env", "std::process"];
const IMPURE_WORDS: [&str; 6] = ["tokio", "getrandom", "SystemTime", "Instant", "async", "await"];

/// House limits: a file fits an afternoon's reading, a function a screen, a line a side-by-side diff.
const FILE_LINES_MAX: usize = 500;
const TEST_FILE_LINES_MAX: usize = 900;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 110;

const BANNED: [&str; 3] = ["TODO", "FIXME", "XXX"];
const BANNED_ANY_CASE: [&str; 7] =
    ["placeholder", "dummy", "simplified", "for now", "unimplemented", "todo!", "dbg!"];

/// The one file that may rename, and the names by which libraries offer it.
const RENAMES_IN: &str = "src/store/durable.rs";
const RENAMES: [&str; 4] = ["rename", "renameat", "renameat2", "renameat_with"];

/// Places of one machine, and registries' hosts: the source must build anywhere. Written in two halves,
/// so that this file names none of them.
const MACHINE: [&str; 9] = [
    concat!("/", "work/"),
    concat!("/", "root/"),
    concat!("/", "home/"),
    concat!("/", "Users/"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("proxy.", "golang.org"),
    concat!("registry.", "npmjs.org"),
    concat!("pypi", ".org"),
];

type Rule = fn(&Source) -> Vec<String>;

fn finding(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}

fn dependencies(source: &Source) -> Vec<String> {
    let Some(module) = source.module().into_iter().next() else {
        return Vec::new();
    };
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == module) else {
        return vec![finding(source, 1, "this module is not in the table of edges")];
    };
    let mut found = Vec::new();
    for named in source.named(false).iter().filter(|named| named.own) {
        let inside = named.segments.first().is_none_or(|first| *first == module);
        let path = named.segments.join("::");
        let permitted = allowed.iter().any(|edge| starts_with_path(&path, edge));
        if !inside && !permitted {
            found.push(finding(source, named.line, &format!("`{module}` may not name `{path}`")));
        }
    }
    found
}

fn starts_with_path(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn purity(source: &Source) -> Vec<String> {
    if !source.module().first().is_some_and(|module| PURE.contains(&module.as_str())) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for named in source.named(true) {
        let path = named.segments.join("::");
        if IMPURE_PATHS.iter().any(|impure| starts_with_path(&path, impure)) {
            found.push(finding(source, named.line, &format!("a pure module names `{path}`")));
        }
    }
    for (number, line) in source.live.lines().enumerate() {
        for word in IMPURE_WORDS {
            if contains_word(line, word) {
                found.push(finding(source, number + 1, &format!("a pure module names `{word}`")));
            }
        }
    }
    found
}

fn file_size(source: &Source) -> Vec<String> {
    let limit = if source.is_test() { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
    let lines = source.text.lines().count();
    if lines > limit {
        return vec![finding(source, lines, &format!("{lines} lines, at most {limit}"))];
    }
    Vec::new()
}

fn function_size(source: &Source) -> Vec<String> {
    let too_long = |lines: usize| lines > FUNCTION_LINES_MAX;
    let functions = source.functions().into_iter().filter(|function| too_long(function.lines));
    functions.map(|f| finding(source, f.line, &format!("`{}` has {} lines", f.name, f.lines))).collect()
}

fn line_width(source: &Source) -> Vec<String> {
    let widths = source.text.lines().map(|line| line.chars().count()).enumerate();
    let wide = widths.filter(|(_, width)| *width > LINE_COLUMNS_MAX);
    wide.map(|(number, width)| finding(source, number + 1, &format!("{width} columns"))).collect()
}

fn banned_words(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let lower = line.to_lowercase();
        let exact = BANNED.iter().filter(|word| contains_word(line, word));
        let folded = BANNED_ANY_CASE.iter().filter(|word| contains_word(&lower, word));
        found.extend(
            exact.chain(folded).map(|word| finding(source, number + 1, &format!("says `{word}`"))),
        );
    }
    found
}

/// Whether `word` stands in `line` with no letter, digit or underscore on either side.
fn contains_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        let open_end = word.ends_with('!');
        !before.is_some_and(part_of_word) && (open_end || !after.is_some_and(part_of_word))
    })
}

fn header(source: &Source) -> Vec<String> {
    if source.text.starts_with("//!") {
        return Vec::new();
    }
    vec![finding(source, 1, "a module starts with a `//!` header")]
}

fn renames(source: &Source) -> Vec<String> {
    if source.path == RENAMES_IN {
        return Vec::new();
    }
    let foreign = source.named(true).into_iter().filter(|named| !named.own);
    let renaming =
        foreign.filter(|n| n.segments.last().is_some_and(|last| RENAMES.contains(&last.as_str())));
    renaming
        .map(|n| {
            finding(source, n.line, &format!("`{}` belongs in {RENAMES_IN}", n.segments.join("::")))
        })
        .collect()
}

fn machine_traces(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let traces = MACHINE.iter().filter(|trace| line.contains(*trace));
        found.extend(traces.map(|trace| finding(source, number + 1, &format!("names `{trace}`"))));
    }
    found
}

/// A module file that no parent declares is compiled by nobody.
fn orphans(sources: &[Source]) -> Vec<String> {
    let declares = |parent: &[String], name: &str| {
        let declaration = format!("mod {name};");
        sources.iter().any(|source| source.module() == parent && source.code.contains(&declaration))
    };
    let is_root = |source: &&Source| !source.module().is_empty();
    let orphan = |source: &&Source| {
        let module = source.module();
        module.split_last().is_some_and(|(name, parent)| !declares(parent, name))
    };
    sources
        .iter()
        .filter(is_root)
        .filter(orphan)
        .map(|s| finding(s, 1, "no module declares this file"))
        .collect()
}

fn files(dir: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return found;
    };
    for path in entries.map(|entry| entry.expect("a directory entry").path()) {
        if path.is_dir() {
            found.extend(files(&path, wanted));
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(dirs: &[&str], extensions: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let wanted = |path: &Path| {
        let relative = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        let skipped =
            ["tests/data/", "tests/vectors/", "tests/golden/", "tests/tidy", "target/", "node_modules/"];
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        extensions.contains(&extension.as_str()) && !skipped.iter().any(|dir| relative.contains(dir))
    };
    let paths = dirs.iter().flat_map(|dir| files(&root.join(dir), &wanted));
    let source = |path: PathBuf| {
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        Source::new(&relative, &fs::read_to_string(&path).expect("a text file in UTF-8"))
    };
    paths.map(source).collect()
}

fn modules() -> Vec<Source> {
    let sources = read(&["src"], &["rs"]);
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the source tree was not found");
    sources
}

fn assert_clean(rule: Rule) {
    let found: Vec<String> = modules().iter().flat_map(rule).collect();
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

#[test]
fn modules_depend_in_one_direction() {
    assert_clean(dependencies);
}

#[test]
fn pure_modules_stay_pure() {
    assert_clean(purity);
}

#[test]
fn files_stay_short() {
    assert_clean(file_size);
}

#[test]
fn functions_stay_short() {
    assert_clean(function_size);
}

#[test]
fn lines_stay_narrow() {
    assert_clean(line_width);
}

#[test]
fn no_banned_words() {
    assert_clean(banned_words);
}

#[test]
fn every_module_has_a_header() {
    assert_clean(header);
}

#[test]
fn only_the_durable_store_renames() {
    assert_clean(renames);
}

#[test]
fn no_traces_of_a_machine() {
    let sources =
        read(&["src", "tests", "tools", "docs", ".ci"], &["rs", "toml", "md", "sh", "yml", "", "ts"]);
    let found: Vec<String> = sources.iter().flat_map(machine_traces).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_module_file_is_declared() {
    let found = orphans(&modules());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[path = "tidy/self_tests.rs"]
mod self_tests;
