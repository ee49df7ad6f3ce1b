//! The table of the command line: what clap's definitions say, arranged and printed.
//!
//! In scope: examples in front of the options, the page `docs/commands.md`, exit codes, environment
//! variables. Out of scope: the definitions themselves, which stand with each command. Invariants: help,
//! completions, man pages and the page are all made from [`command`], and `tests` walks it, so a flag
//! without help or a command without an example does not pass.
//!
//! A command writes `after_help = "Examples:\n  counterfoil …\n\nRemarks"`; the first paragraph is moved
//! to the front. A subcommand without examples of its own takes those of its parent that call it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::builder::{Resettable, StyledStr, Styles};
use clap::{Arg, Command, CommandFactory};

use super::{Cli, EXIT_ERROR, EXIT_FAILED, EXIT_GOOD, EXIT_NOT_PROVABLE, EXIT_USAGE};

/// What a command's help shows, in this order.
const TEMPLATE: &str = "{about}\n\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// The line before examples, in a command's `after_help`.
const EXAMPLES: &str = "Examples:\n";

/// Exit codes and what each says.
pub(super) const EXIT_CODES: [(u8, &str); 6] = [
    (EXIT_GOOD, "Everything went well."),
    (EXIT_ERROR, "Something could not be done; standard error says what and what to do."),
    (EXIT_USAGE, "The command line was not understood, or cannot be carried out as it stands."),
    (EXIT_FAILED, "Verification failed: what was verified is not what was signed."),
    (EXIT_NOT_PROVABLE, "Nothing was found wrong, but the answer is incomplete or not provable."),
    (8, "Reserved: a promise is broken."),
];

/// Variables that commands look at besides those of their flags.
const VARIABLES: [(&str, &str); 2] = [
    ("NO_COLOR", "set to anything: no colours, on terminals either"),
    ("COUNTERFOIL_<SETTING>", "a setting of `serve`, see [settings.md](settings.md)"),
];

/// The whole command line.
pub(super) fn command() -> Command {
    arrange(Cli::command(), "", "")
}

fn arrange(command: Command, above: &str, inherited: &str) -> Command {
    let path = path_of(above, &command);
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (examples, remarks) = match after.strip_prefix(EXAMPLES) {
        Some(rest) => rest.split_once("\n\n").unwrap_or((rest, "")),
        None => ("", after.as_str()),
    };
    let examples = if examples.is_empty() { calling(&path, inherited) } else { examples.to_owned() };
    let header = *Styles::styled().get_header();
    let shown = format!("{header}Examples:{header:#}\n{examples}");
    let shown = (!examples.is_empty()).then(|| StyledStr::from(shown));
    let remarks = (!remarks.is_empty()).then(|| StyledStr::from(remarks.to_owned()));
    command
        .help_template(TEMPLATE)
        .before_help(Resettable::from(shown))
        .after_help(Resettable::from(remarks))
        .mut_args(|arg| arg.hide_env_values(true))
        .mut_subcommands(|sub| arrange(sub, &path, &examples))
}

fn path_of(above: &str, command: &Command) -> String {
    format!("{above} {}", command.get_name()).trim_start().to_owned()
}

/// The lines of `examples` that call the command at `path`.
fn calling(path: &str, examples: &str) -> String {
    let calls = |line: &&str| {
        line.match_indices(path).any(|(at, _)| {
            let rest = line.get(at + path.len()..).unwrap_or_default();
            rest.is_empty() || rest.starts_with(' ')
        })
    };
    examples.lines().filter(calls).collect::<Vec<_>>().join("\n")
}

/// A command's examples, one a line, as they can be typed.
pub(super) fn examples(command: &Command) -> Vec<String> {
    let text = command.get_before_help().map(ToString::to_string).unwrap_or_default();
    let listed = text.strip_prefix(EXAMPLES).unwrap_or_default();
    listed.lines().map(|line| line.trim().to_owned()).collect()
}

/// Every command that is not hidden, with its path, parents first.
pub(super) fn commands() -> Vec<(String, Command)> {
    fn walk(command: &Command, above: &str, into: &mut Vec<(String, Command)>) {
        let path = path_of(above, command);
        into.push((path.clone(), command.clone()));
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            walk(sub, &path, into);
        }
    }
    let mut found = Vec::new();
    walk(&command(), "", &mut found);
    found
}

/// Every environment variable that stands for a flag, with the flag.
pub(super) fn variables() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (_, command) in commands() {
        for arg in command.get_arguments() {
            if let (Some(variable), Some(long)) = (arg.get_env(), arg.get_long()) {
                found.insert(variable.to_string_lossy().into_owned(), long.to_owned());
            }
        }
    }
    found
}

/// The page `docs/commands.md`.
pub(super) fn page() -> String {
    let mut page = String::from(
        "# Commands\n\nMade from the definitions of the command line; `counterfoil man --markdown` prints \
         it. `counterfoil COMMAND --help` says the same, `counterfoil man DIR` writes manual pages, and\n\
         `counterfoil completions SHELL` prints completions for bash, zsh, fish, PowerShell and elvish.\n\n\
         Data goes to standard output, or to a file with `-o FILE`; everything else goes to standard error. \
         With `--json` standard output holds one JSON document, or one JSON object a line where the\n\
         command's section says so. Where a FILE is read, `-` means standard input. No flag takes a secret: \
         API keys are read from files. A file that `-o` names is replaced, except that a new API key\n\
         replaces nothing.\n\n## Exit codes\n\n| code | meaning |\n|---|---|\n",
    );
    for (code, meaning) in EXIT_CODES {
        let _ = writeln!(page, "| {code} | {meaning} |");
    }
    page.push_str("\n## Environment\n\n| variable | meaning |\n|---|---|\n");
    for (variable, long) in variables() {
        let _ = writeln!(page, "| `{variable}` | stands for `--{long}` where that is not given |");
    }
    for (variable, meaning) in VARIABLES {
        let _ = writeln!(page, "| `{variable}` | {meaning} |");
    }
    for (path, command) in commands().into_iter().skip(1) {
        section(&mut page, &path, &command);
    }
    page
}

fn section(page: &mut String, path: &str, command: &Command) {
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let stop = if about.ends_with('.') { "" } else { "." };
    let _ = write!(page, "\n## `{path}`\n\n{about}{stop}\n\n```text\n");
    for example in examples(command) {
        let _ = writeln!(page, "{example}");
    }
    page.push_str("```\n");
    let args: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_hide_set()).collect();
    if !args.is_empty() {
        page.push_str("\n| argument | meaning |\n|---|---|\n");
    }
    for arg in args {
        let _ = writeln!(page, "| {} | {} |", spelling(arg), meaning(arg));
    }
    if let Some(remarks) = command.get_after_help().map(ToString::to_string) {
        let fence = if remarks.contains("\n  ") { ("```text\n", "\n```") } else { ("", "") };
        let _ = writeln!(page, "\n{}{}{}", fence.0, remarks.trim_end(), fence.1);
    }
}

/// How an argument is written.
fn spelling(arg: &Arg) -> String {
    let value = arg.get_value_names().map_or_else(
        || arg.get_id().to_string().to_uppercase(),
        |names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    );
    if arg.is_positional() {
        return format!("`{value}`");
    }
    let takes = arg.get_action().takes_values();
    let long = arg.get_long().map(|long| format!("--{long}")).unwrap_or_default();
    let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let value = if takes { format!(" {value}") } else { String::new() };
    format!("{short}`{long}{value}`")
}

/// What an argument says, with its values, default and variable.
fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
    let values = if arg.get_action().takes_values() { arg.get_possible_values() } else { Vec::new() };
    let values: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
    if !values.is_empty() {
        let _ = write!(text, ": {}", values.join(", "));
    }
    let mut more = Vec::new();
    if arg.is_required_set() {
        more.push("required".to_owned());
    }
    let defaults = if arg.get_action().takes_values() { arg.get_default_values() } else { &[] };
    more.extend(defaults.iter().map(|value| format!("default `{}`", value.to_string_lossy())));
    more.extend(arg.get_env().map(|variable| format!("`{}`", variable.to_string_lossy())));
    if !more.is_empty() {
        let _ = write!(text, " ({})", more.join("; "));
    }
    text
}

#[cfg(test)]
mod docs;
#[cfg(test)]
mod tests;
