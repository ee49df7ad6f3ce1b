//! Whether every command line in the documentation is one that the table understands.
//!
//! In scope: blocks of code and inline code that begin with `counterfoil`. Out of scope: running them, which
//! `tests/docs.rs` does. Invariant: words in capitals (`DIR`, `SHELL`) stand for values and are let pass.

use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

/// A command line and where it stands.
struct Found {
    place: String,
    words: Vec<String>,
    /// It stands in a block, to be typed as it is; else it may name a command alone.
    whole: bool,
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md")];
    for dir in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root.join(dir)).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    found
}

/// The command lines of a page.
fn lines(page: &Path) -> Vec<Found> {
    let text = fs::read_to_string(page).unwrap();
    let name = page.file_name().unwrap().to_string_lossy();
    let mut found = Vec::new();
    let mut inside = false;
    let mut joined = String::new();
    for (at, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", at + 1);
        if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            if let Some(begun) = line.strip_suffix('\\') {
                joined.push_str(begun);
                continue;
            }
            joined.push_str(line);
            let calls = calls(&joined).into_iter();
            found.extend(calls.map(|words| Found { place: place.clone(), words, whole: true }));
            joined.clear();
        } else {
            let code =
                line.split('`').skip(1).step_by(2).filter(|code| code.starts_with("counterfoil "));
            let words = code.flat_map(calls);
            found.extend(words.map(|words| Found { place: place.clone(), words, whole: false }));
        }
    }
    found
}

/// The calls of `counterfoil` in a line of shell, each as its words.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    for word in shell_words(line).into_iter().chain([";".to_owned()]) {
        if ["|", ";", "&", "<", ">", "(", ")"].contains(&word.as_str()) {
            // Before the name there may be variables and words of the shell.
            let lead = ["!", "env", "exec", "do", "then", "until", "if"];
            let call = words.iter().position(|word| word == "counterfoil");
            if let Some(at) = call
                && words.iter().take(at).all(|word| word.contains('=') || lead.contains(&word.as_str()))
            {
                found.push(words.split_off(at));
            }
            words.clear();
        } else {
            words.push(word);
        }
    }
    found
}

/// Splits a line as a shell would, near enough for what stands in the documentation: quotes, `$(…)` as part
/// of a word, operators as words of their own, comments left out.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quote, mut depth) = (None, 0_u32);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '$') if chars.peek() == Some(&'(') => depth += 1,
            (None, ')') if depth > 0 => depth -= 1,
            (None, c) if depth > 0 => word.push(c),
            (None, '#') if word.is_empty() => break,
            (None, '|' | ';' | '&' | '<' | '>' | '(' | ')') => {
                // In `2>file` the number belongs to the operator.
                if !(matches!(c, '<' | '>') && word.chars().all(|c| c.is_ascii_digit())) {
                    words.push(std::mem::take(&mut word));
                }
                word.clear();
                words.push(c.to_string());
            }
            (None, c) if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            (_, c) => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Why a command line is not understood; none where it is.
fn refused(found: &Found) -> Option<String> {
    let stands_for = |word: &String| word.len() > 1 && !word.contains(|c: char| c.is_lowercase());
    let error = super::command().try_get_matches_from(&found.words).err()?;
    // COUNTERFOIL_DATA may stand for the directory, as it does in docs/operating.md.
    let with_data = found.words.iter().map(String::as_str).chain(["--data", "DIR"]);
    if error.kind() == ErrorKind::MissingRequiredArgument
        && super::command().try_get_matches_from(with_data).is_ok()
    {
        return None;
    }
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            if !found.whole =>
        {
            None
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::InvalidSubcommand
            if found.words.iter().any(stands_for) =>
        {
            None
        }
        _ => Some(format!("{}: {}\n{error}", found.place, found.words.join(" "))),
    }
}

#[test]
fn every_command_line_in_the_documentation_is_understood() {
    let found: Vec<Found> = pages().iter().flat_map(|page| lines(page)).collect();
    assert!(found.len() > 100, "{} command lines were found", found.len());
    let refused: Vec<String> = found.iter().filter_map(refused).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn a_line_of_shell_is_cut_into_calls() {
    let cut = |line: &str| calls(line).iter().map(|call| call.join(" ")).collect::<Vec<_>>();
    let line = "A=1 counterfoil query --q 'a b' 2>log | wc && ! counterfoil verify x # counterfoil";
    assert_eq!(cut(line), ["counterfoil query --q a b", "counterfoil verify x"]);
    assert_eq!(cut("systemctl stop counterfoil"), Vec::<String>::new());
    assert_eq!(cut("ID=$(counterfoil keys list)"), Vec::<String>::new());
    let wrong =
        Found { place: String::new(), words: vec!["counterfoil".into(), "serv".into()], whole: false };
    assert!(refused(&wrong).is_some());
}
