//! Tests of the table: what every command and flag must have, and that the page is the table.

use super::*;

/// Commands that print no data of the ledger's, or print it in one form only, and why.
const WITHOUT_JSON: [(&str, &str); 5] = [
    ("counterfoil serve", "prints one line, its address, and runs"),
    ("counterfoil openapi", "prints a JSON document"),
    ("counterfoil completions", "prints a script"),
    ("counterfoil man", "prints a page"),
    (
        "counterfoil report retention-due",
        "prints the form that `--format` names, JSON where it is absent",
    ),
];

/// Commands whose standard output is no document that one would keep, and why.
const WITHOUT_OUTPUT: [(&str, &str); 6] = [
    ("counterfoil serve", "prints one line, its address, and runs"),
    ("counterfoil backup", "writes to a directory, which has what it prints as backup.json"),
    ("counterfoil restore", "writes to a directory"),
    ("counterfoil init", "prints the verifier key, which is in the directory as well"),
    ("counterfoil man", "writes to a directory"),
    ("counterfoil tail", "goes on until it is stopped"),
];

/// Words in the name of a flag whose value might be a secret.
const SECRET_WORDS: [&str; 5] = ["key", "token", "password", "secret", "credential"];

fn leaves() -> Vec<(String, Command)> {
    commands().into_iter().filter(|(_, command)| !command.has_subcommands()).collect()
}

fn has_long(command: &Command, long: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(long))
}

#[test]
fn clap_finds_the_definitions_in_order() {
    command().debug_assert();
}

#[test]
fn every_command_says_what_it_does_and_shows_an_example() {
    for (path, command) in commands() {
        assert!(command.get_about().is_some(), "{path} does not say what it does");
        let examples = examples(&command);
        assert!(!examples.is_empty(), "{path} has no example");
        for example in examples {
            assert!(example.contains(&path), "an example of {path} does not call it: {example}");
        }
        let help = command.clone().render_help().to_string();
        let at = |what: &str| help.find(what).unwrap_or_else(|| panic!("{path}: no {what}:\n{help}"));
        assert!(at("Examples:") < at("Usage:"), "{path}");
        assert!(!help.starts_with("Examples:"), "{path} does not begin with what it does");
    }
}

#[test]
fn every_argument_has_help_and_names_its_value() {
    for (path, command) in commands() {
        for arg in command.get_arguments() {
            let name = arg.get_id();
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.len() > 5, "{path}: {name} has no help");
            if arg.get_action().takes_values() {
                let names = arg.get_value_names().unwrap_or_default();
                assert!(!names.is_empty(), "{path}: {name} does not name its value");
                let upper = names.iter().all(|name| !name.contains(|c: char| c.is_lowercase()));
                assert!(upper, "{path}: {name}: values are named in capitals");
            }
        }
    }
}

#[test]
fn no_flag_takes_a_secret() {
    // A verifier key is public.
    let public = |path: &str, long: &str| {
        long == "verifier-key" || (path == "counterfoil verify" && long == "key")
    };
    for (path, command) in commands() {
        for arg in command.get_arguments() {
            let long = arg.get_long().unwrap_or_default();
            let sounds = long.split('-').any(|word| SECRET_WORDS.contains(&word));
            if !sounds || public(&path, long) || !arg.get_action().takes_values() {
                continue;
            }
            let names = arg.get_value_names().unwrap_or_default();
            let is_path = names.iter().all(|name| ["FILE", "DIR"].contains(&name.as_str()));
            assert!(is_path, "{path} --{long} may take a secret; let it take a FILE");
        }
    }
}

#[test]
fn data_is_printed_as_json_and_to_a_file() {
    for (path, command) in leaves() {
        let exempt = |list: &[(&str, &str)]| list.iter().any(|(known, _)| *known == path);
        assert_ne!(exempt(&WITHOUT_JSON), has_long(&command, "json"), "{path}: --json");
        assert_ne!(exempt(&WITHOUT_OUTPUT), has_long(&command, "output"), "{path}: --output");
        if let Some(output) = command.get_arguments().find(|arg| arg.get_long() == Some("output")) {
            assert_eq!(output.get_short(), Some('o'), "{path}");
        }
    }
}

#[test]
fn the_page_of_commands_is_the_table() {
    let written = include_str!("../../../docs/commands.md");
    assert!(
        written == page(),
        "docs/commands.md is not what the definitions say; renew it:\n  \
         cargo run --quiet -- man --markdown > docs/commands.md"
    );
}
