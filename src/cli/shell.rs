//! `counterfoil completions` and `counterfoil man`
//!
//! In scope: files for shells and for `man`, made from [`super::table`]. Out of scope: installing them.
//! Invariant: what is written depends on the definitions alone, so that packages come out the same.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::write_output;
use super::{EXIT_GOOD, Failure, table};

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    counterfoil completions bash -o ~/.local/share/bash-completion/completions/counterfoil\n  \
    counterfoil completions zsh -o ~/.zfunc/_counterfoil\n  \
    counterfoil completions fish -o ~/.config/fish/completions/counterfoil.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
    /// Where to write it; standard output where absent.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Print or write manual pages.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil man | man -l -\n  \
    counterfoil man ~/.local/share/man/man1\n  counterfoil man --markdown")]
pub(crate) struct ManArgs {
    /// A directory for one page a command; all on standard output where absent.
    #[arg(value_name = "DIR", conflicts_with = "markdown")]
    dir: Option<PathBuf>,
    /// Print all commands as one page of Markdown, which is docs/commands.md.
    #[arg(long)]
    markdown: bool,
}

/// Runs `counterfoil completions`.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut script = Vec::new();
    let mut command = table::command();
    clap_complete::generate(args.shell, &mut command, "counterfoil", &mut script);
    write_output(args.output.as_deref(), &script)?;
    Ok(EXIT_GOOD)
}

/// Runs `counterfoil man`.
pub(crate) fn man(args: &ManArgs) -> Result<u8, Failure> {
    if args.markdown {
        write_output(None, table::page().as_bytes())?;
        return Ok(EXIT_GOOD);
    }
    let mut all = Vec::new();
    if let Some(dir) = &args.dir {
        fs::create_dir_all(dir).map_err(|error| about(dir, &error))?;
    }
    for (path, command) in table::commands() {
        let name = path.replace(' ', "-");
        let page = page(&name, &path, command)?;
        match &args.dir {
            Some(dir) => write_output(Some(&dir.join(format!("{name}.1"))), &page)?,
            None => all.extend_from_slice(&page),
        }
    }
    if args.dir.is_none() {
        write_output(None, &all)?;
    }
    Ok(EXIT_GOOD)
}

fn about(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

/// The manual page of one command.
fn page(name: &str, path: &str, command: Command) -> io::Result<Vec<u8>> {
    let examples = table::examples(&command);
    let remarks = command.get_after_help().map(ToString::to_string);
    // clap calls a page by its display name and shows the bin name in the synopsis.
    let command = command.display_name(name.to_owned()).bin_name(path.to_owned());
    let has_subcommands = command.has_subcommands();
    let man = Man::new(command.version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true))
        .title(name.to_uppercase())
        .manual("Counterfoil");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    section(&mut out, "EXAMPLES", &examples);
    man.render_options_section(&mut out)?;
    if has_subcommands {
        man.render_subcommands_section(&mut out)?;
    }
    if let Some(remarks) = remarks {
        section(&mut out, "NOTES", remarks.lines());
    }
    let codes = table::EXIT_CODES.iter().map(|(code, meaning)| format!("{code}  {meaning}"));
    section(&mut out, "EXIT STATUS", codes);
    Ok(out)
}

/// A section whose lines stand as they are.
fn section<T: AsRef<str>>(out: &mut Vec<u8>, heading: &str, lines: impl IntoIterator<Item = T>) {
    out.extend_from_slice(format!(".SH \"{heading}\"\n.nf\n").as_bytes());
    for line in lines {
        // A backslash begins an escape; a dot or an apostrophe at the start of a line a request.
        let line = line.as_ref().replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        out.extend_from_slice(format!("{guard}{line}\n").as_bytes());
    }
    out.extend_from_slice(b".fi\n");
}
