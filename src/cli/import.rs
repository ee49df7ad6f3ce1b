//! `counterfoil import`
//!
//! In scope: files of other products' records, mapped to events and appended. Out of scope: the
//! mapping itself ([`crate::event::mapping`]). Invariants: a record's id comes from its bytes, so
//! that importing again adds nothing; what is refused is named by file and line, never by content;
//! memory holds one line or document and one batch, whatever the size of the files.

mod input;
mod send;
mod shape;
mod summary;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::event::mapping::{Class, DOCUMENT_BYTES_MAX, Mapping, Refusal};

use super::client::Client;
use super::output::write_output;
use super::{EXIT_ERROR, EXIT_GOOD, Failure, ServerArgs};

use input::{Piece, Pieces};
use send::{Pending, Sender};
use summary::{Place, Summary};

/// The mapping for records of any product.
const GENERIC: &str = "generic";

/// Lines or documents at the start of a file by which its mapping is chosen.
const SAMPLE_PIECES_MAX: usize = 16;

/// Bytes of them: the largest that may come is one document.
const SAMPLE_BYTES_MAX: usize = 4 << 20;

/// Bytes of a mapping file at most; the largest that comes with the program has 20 KiB.
const MAPPING_BYTES_MAX: u64 = 1 << 20;

/// Import files of events from other products.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil import --map cloudtrail AWSLogs/*.json.gz\n  \
    counterfoil import --map ours.toml audit.ndjson\n  zcat old/*.gz | counterfoil import - --json\n\n\
    Importing a file again adds nothing. A mapping's own event types are registered first, which\n\
    needs an admin key; `counterfoil import --map MAP /dev/null` does that and nothing else.")]
pub(crate) struct ImportArgs {
    /// Files of one JSON record per line, or of one JSON document, plain or gzip; `-` for standard
    /// input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// How records become events: generic, cloudtrail, or a mapping file. Chosen by each file's
    /// first lines where absent.
    #[arg(long, value_name = "MAP")]
    map: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    /// Events in one request.
    #[arg(long, default_value_t = 500, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// Print a summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ImportArgs) -> Result<u8, Failure> {
    let map = args.map.as_deref().map(load).transpose()?.map(Rc::new);
    for file in args.files.iter().filter(|file| !is_stdin(file)) {
        let found = fs::metadata(file).map_err(|error| about(file, &error))?;
        if found.is_dir() {
            return Err(Failure::usage(format!("{}: a directory; name its files", file.display())));
        }
    }
    let batch = usize::try_from(args.batch).unwrap_or(1);
    let mut import = Import {
        sender: Sender::new(Client::new(&args.server)?, batch),
        summary: Summary::default(),
        builtin: BTreeMap::new(),
        bar: progress_bar(&args.files),
    };
    let ended = import.all(&args.files, map.as_ref());
    import.bar.finish_and_clear();
    let summary = import.summary;
    summary.print();
    if args.json {
        write_output(None, summary.to_json(ended.as_ref().err()).to_string().as_bytes())?;
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

/// A mapping by name, or from a file.
fn load(name: &str) -> Result<Mapping, Failure> {
    if Mapping::builtins().any(|known| known == name) {
        return Mapping::builtin(name).map_err(|error| Failure::new(error.to_string()));
    }
    let refused = |what: String| Failure::usage(format!("{name}: {what}"));
    let path = Path::new(name);
    let size = fs::metadata(path).map_err(|error| {
        let known: Vec<_> = Mapping::builtins().collect();
        refused(format!("{error}; a mapping is a file, or one of {}", known.join(", ")))
    })?;
    if size.len() > MAPPING_BYTES_MAX {
        return Err(refused(format!("larger than {MAPPING_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    Mapping::parse(&text).map_err(|error| refused(error.to_string()))
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
    builtin: BTreeMap<&'static str, Rc<Mapping>>,
    bar: ProgressBar,
}

impl Import {
    fn all(&mut self, files: &[PathBuf], map: Option<&Rc<Mapping>>) -> Result<(), Failure> {
        if let Some(map) = map {
            self.sender.register(map, &self.bar)?;
        }
        for file in files {
            let ended = self.file(file, map);
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

    fn file(&mut self, file: &Path, map: Option<&Rc<Mapping>>) -> Result<(), FileError> {
        let reading = |error: std::io::Error| FileError::Reading(about(file, &error));
        let mut pieces = Pieces::open(file, &self.bar).map_err(reading)?;
        let mut sample = Vec::new();
        let mut broken = None;
        let mapping = if let Some(map) = map {
            Rc::clone(map)
        } else {
            // What was read before a fault is imported all the same.
            broken = take_sample(&mut pieces, &mut sample).err();
            let (mapping, why) = self.choose(&sample).map_err(FileError::Sending)?;
            self.say(&format!("{}: mapping {}, {why}", file.display(), mapping.name()));
            self.sender.register(&mapping, &self.bar).map_err(FileError::Sending)?;
            mapping
        };
        self.summary.begin(file, mapping.name());
        for piece in sample {
            self.piece(&mapping, &piece).map_err(FileError::Sending)?;
        }
        if let Some(error) = broken {
            return Err(reading(error));
        }
        while let Some(piece) = pieces.next().map_err(reading)? {
            self.piece(&mapping, &piece).map_err(FileError::Sending)?;
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// The built-in mapping that knows at least half of the sampled records, else `generic`.
    fn choose(&mut self, sample: &[Piece]) -> Result<(Rc<Mapping>, String), Failure> {
        for name in Mapping::builtins().filter(|name| *name != GENERIC) {
            let mapping = self.builtin(name)?;
            let (known, all) = known_records(&mapping, sample);
            if known > 0 && known * 2 >= all {
                return Ok((mapping, format!("which knows {known} of the first {all} records")));
            }
        }
        Ok((self.builtin(GENERIC)?, "since no other knows half of its first records".to_owned()))
    }

    fn builtin(&mut self, name: &'static str) -> Result<Rc<Mapping>, Failure> {
        if let Some(mapping) = self.builtin.get(name) {
            return Ok(Rc::clone(mapping));
        }
        let mapping = Rc::new(Mapping::builtin(name).map_err(|error| Failure::new(error.to_string()))?);
        self.builtin.insert(name, Rc::clone(&mapping));
        Ok(mapping)
    }

    /// Maps a line or document and queues its events.
    fn piece(&mut self, mapping: &Mapping, piece: &Piece) -> Result<(), Failure> {
        let mapped = match &piece.bytes {
            Some(bytes) => mapping.map_line(bytes),
            None => vec![Err(Refusal::TooLarge { limit_bytes: DOCUMENT_BYTES_MAX })],
        };
        let alone = mapped.len() == 1;
        for (at, result) in mapped.into_iter().enumerate() {
            let record = (!alone).then_some(at + 1);
            let place = Place { file: self.summary.file(), line: piece.line, record };
            match result {
                Ok(mapped) => {
                    self.summary.mapped(&mapped);
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

/// Reads the first lines or documents of a file.
fn take_sample(pieces: &mut Pieces, sample: &mut Vec<Piece>) -> std::io::Result<()> {
    let mut bytes = 0;
    while sample.len() < SAMPLE_PIECES_MAX && bytes < SAMPLE_BYTES_MAX {
        let Some(piece) = pieces.next()? else { break };
        bytes += piece.bytes.as_ref().map_or(0, Vec::len);
        sample.push(piece);
    }
    Ok(())
}

/// How many records of a sample a mapping accepts itself, of how many.
fn known_records(mapping: &Mapping, sample: &[Piece]) -> (usize, usize) {
    let own = mapping.custom_types().next().map(|custom| custom.name.as_str());
    let bytes = sample.iter().filter_map(|piece| piece.bytes.as_deref());
    let records: Vec<_> = bytes.flat_map(|bytes| mapping.map_line(bytes)).collect();
    let known = records
        .iter()
        .flatten()
        .filter(|mapped| mapped.class == Class::Mapped || own == Some(mapped.event.type_name.as_str()));
    (known.count(), records.len())
}

/// The problem code of a record that was not mapped, as the server would name it.
fn code_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::TooDeep { .. } => "too-deep",
        Refusal::TooLarge { .. } => "raw-too-large",
        Refusal::Event(kind) => kind.problem(),
        _ => "malformed-json",
    }
}
