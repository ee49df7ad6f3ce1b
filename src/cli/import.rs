//! `counterfoil import`
//!
//! In scope: files of other products' records, mapped to events and appended. Out of scope: the
//! mapping itself ([`crate::event::mapping`]). Invariants: a record's id comes from its bytes, so
//! that importing again adds nothing; what is refused or unmapped is named by file and line, never by
//! content; memory holds one line or document and one batch, whatever the size of the files.

mod explain;
mod input;
mod maps;
mod send;
mod shape;
mod summary;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::event::mapping::{Class, DOCUMENT_BYTES_MAX, Mapped, Mapping, Refusal};

use super::client::{Client, KeepArgs};
use super::output::OutputFile;
use super::{EXIT_ERROR, EXIT_GOOD, Failure, ServerArgs};

use input::{Piece, Pieces};
use send::{Pending, Sender};
use summary::{Place, Summary};

/// Import files of events from other products.
#[derive(Debug, Args)]
#[command(after_help = maps::help())]
pub(crate) struct ImportArgs {
    /// Files of one JSON record per line, or of JSON documents, plain or gzip; `-` for standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The one mapping to use: a name from the list below, or a mapping file. Where absent, each record
    /// is read by the built-in mapping that fits it best.
    #[arg(long, value_name = "MAP")]
    map: Option<String>,
    /// Send nothing: print for each record how it would be read. Needs no server.
    #[arg(long)]
    explain: bool,
    /// With --explain, print the records' values too. They may be personal.
    #[arg(long, requires = "explain")]
    show_values: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    keep: KeepArgs,
    /// Events in one request.
    #[arg(long, default_value_t = 500, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// Print a summary as JSON; with --explain, one object per record.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: OutputFile,
}

/// Runs the command.
pub(crate) fn run(args: &ImportArgs) -> Result<u8, Failure> {
    let mapping = maps::load(args.map.as_deref().unwrap_or(maps::ALL))?;
    for file in args.files.iter().filter(|file| !is_stdin(file)) {
        let found = fs::metadata(file).map_err(|error| about(file, &error))?;
        if found.is_dir() {
            return Err(Failure::usage(format!("{}: a directory; name its files", file.display())));
        }
    }
    if args.explain {
        return explain::run(args, &mapping);
    }
    let batch = usize::try_from(args.batch).unwrap_or(1);
    let mut import = Import {
        sender: Sender::new(Client::new(&args.server)?, batch, args.keep.clone()),
        summary: Summary::default(),
        mapping,
        registered: BTreeSet::new(),
        bar: progress_bar(&args.files),
    };
    // A mapping that was asked for has its types registered at once, so that an admin can do just that.
    let ended = if args.map.is_some() { import.register_all() } else { Ok(()) };
    let ended = ended.and_then(|()| import.all(&args.files));
    import.bar.finish_and_clear();
    let summary = import.summary;
    summary.print();
    if args.json {
        args.file.write(summary.to_json(ended.as_ref().err()).to_string().as_bytes())?;
    }
    ended?;
    Ok(if summary.is_whole() { EXIT_GOOD } else { EXIT_ERROR })
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn about(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", file.display()))
}

/// Shown on a terminal only.
fn progress_bar(files: &[PathBuf]) -> ProgressBar {
    let sizes = files.iter().map(|file| fs::metadata(file).map(|found| found.len()).ok());
    let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}";
    let spinner = "{spinner} {bytes} {bytes_per_sec} {msg}";
    let (bar, template) = match sizes.sum::<Option<u64>>() {
        Some(total) if !files.iter().any(|file| is_stdin(file)) => (ProgressBar::new(total), template),
        _ => (ProgressBar::new_spinner(), spinner),
    };
    bar.with_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

/// One run of the command.
struct Import {
    sender: Sender,
    summary: Summary,
    mapping: Mapping,
    /// Names of the mappings whose types are registered.
    registered: BTreeSet<Arc<str>>,
    bar: ProgressBar,
}

impl Import {
    fn all(&mut self, files: &[PathBuf]) -> Result<(), Failure> {
        for file in files {
            let ended = self.file(file);
            if let Err(FileError::Reading(failure)) = &ended {
                self.say(&failure.message);
                self.summary.unreadable(&failure.message);
            }
            if let Err(FileError::Sending(failure)) = ended {
                return Err(failure);
            }
        }
        self.sender.flush(&mut self.summary, &self.bar)
    }

    fn register_all(&mut self) -> Result<(), Failure> {
        self.sender.register(&self.mapping, &self.bar)?;
        self.registered.extend(self.mapping.members().map(|member| member.name.into()));
        Ok(())
    }

    /// Registers the types of the mapping that made an event, before the first such event is sent.
    fn register(&mut self, mapped: &Mapped) -> Result<(), Failure> {
        if mapped.class != Class::Custom || self.registered.contains(&mapped.mapping) {
            return Ok(());
        }
        let mapping = Mapping::builtin(&mapped.mapping);
        let mapping = mapping.map_err(|error| Failure::new(error.to_string()))?;
        self.sender.register(&mapping, &self.bar)?;
        self.registered.insert(Arc::clone(&mapped.mapping));
        Ok(())
    }

    fn file(&mut self, file: &Path) -> Result<(), FileError> {
        let reading = |error: std::io::Error| FileError::Reading(about(file, &error));
        let mut pieces = Pieces::open(file, &self.bar).map_err(reading)?;
        self.summary.begin(file, self.mapping.name());
        while let Some(piece) = pieces.next().map_err(reading)? {
            self.piece(&piece).map_err(FileError::Sending)?;
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| say!("{text}"));
    }

    /// Maps a line or document and queues its events.
    fn piece(&mut self, piece: &Piece) -> Result<(), Failure> {
        let mapped = match &piece.bytes {
            Some(bytes) => self.mapping.map_line(bytes),
            None => vec![Err(Refusal::TooLarge { limit_bytes: DOCUMENT_BYTES_MAX })],
        };
        let alone = mapped.len() == 1;
        for (at, result) in mapped.into_iter().enumerate() {
            let record = (!alone).then_some(at + 1);
            let place = Place { file: self.summary.file(), line: piece.line, record };
            match result {
                Ok(mapped) => {
                    self.register(&mapped)?;
                    self.summary.mapped(&place, &mapped);
                    let pending = Pending::new(place, &mapped.event, mapped.class);
                    self.sender.push(pending, &mut self.summary, &self.bar)?;
                }
                Err(refusal) => self.refuse(&place, &refusal),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, place: &Place, refusal: &Refusal) {
        let line = self.summary.refused(place, code_of(refusal), &refusal.to_string());
        if let Some(line) = line {
            self.say(&line);
        }
    }
}

/// Why a file was not imported to its end.
enum FileError {
    /// It could not be read; the next one may.
    Reading(Failure),
    /// The server takes nothing more.
    Sending(Failure),
}

/// The problem code of a record that was not mapped, as the server would name it.
fn code_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::TooLarge { .. } => "raw-too-large",
        Refusal::Event(kind) => kind.problem(),
        _ => "malformed-json",
    }
}
