//! Files in, files out.
//!
//! In scope: reading a file or standard input, writing a result to a file or standard output. Out
//! of scope: formats. Invariant: data goes to stdout, talk to stderr.

use std::fs::OpenOptions;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::{EXIT_GOOD, Failure, mistakes};

/// Says something to whoever runs the command. A standard error that nobody reads any more is no reason
/// to stop, as `eprintln!` would.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

/// Where data goes.
#[derive(Debug, Clone, Args)]
pub(crate) struct OutputFile {
    /// Where to write it; standard output where absent.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

impl OutputFile {
    /// Writes there.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<u8, Failure> {
        write_output(self.output.as_deref(), bytes)?;
        Ok(EXIT_GOOD)
    }
}

/// In which form data is printed, and where it goes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Printed {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) file: OutputFile,
}

impl Printed {
    /// Prints `json`, or `text` where JSON is not asked for.
    pub(crate) fn print(&self, json: &Value, text: &str) -> Result<u8, Failure> {
        if self.json {
            self.file.write(json.to_string().as_bytes())
        } else {
            self.file.write(text.as_bytes())
        }
    }
}

/// Opens `path`, or standard input for `-`, and decompresses `.gz`.
pub(crate) fn open_input(path: &Path) -> Result<Box<dyn Read>, Failure> {
    let failure = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
    let mut source: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else if path.is_dir() {
        return Err(mistakes::directory(path));
    } else {
        Box::new(std::fs::File::open(path).map_err(failure)?)
    };
    if path.extension().is_some_and(|extension| extension == "gz") {
        source = Box::new(flate2::read::MultiGzDecoder::new(source));
    }
    Ok(source)
}

/// Reads `path`, or standard input for `-`, of at most `bytes_max` bytes, and decompresses `.gz`.
pub(crate) fn read_input(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let name = path.display();
    let failure = |error: std::io::Error| Failure::new(format!("{name}: {error}"));
    let mut bytes = Vec::new();
    let source = open_input(path)?;
    source.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failure)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(Failure::new(format!("{name}: larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Opens `path`, emptied, or standard output, for what is written piece by piece.
pub(crate) fn open_output(path: Option<&Path>) -> Result<Box<dyn Write>, Failure> {
    match path {
        Some(path) if path.as_os_str() != "-" => {
            let opened = OpenOptions::new().write(true).create(true).truncate(true).open(path);
            let file = opened.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
            Ok(Box::new(BufWriter::new(file)))
        }
        _ => Ok(Box::new(BufWriter::new(std::io::stdout()))),
    }
}

/// Writes to `path`, or to standard output.
pub(crate) fn write_output(path: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    match path {
        Some(path) if path.as_os_str() != "-" =>
        {
            #[allow(clippy::disallowed_methods, reason = "a file of the user's, not of a ledger")]
            std::fs::write(path, bytes)
                .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
        }
        _ => {
            let mut out = std::io::stdout().lock();
            let result = out.write_all(bytes).and_then(|()| match bytes.last() {
                Some(b'\n') | None => Ok(()),
                Some(_) => out.write_all(b"\n"),
            });
            match result {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                other => Ok(other?),
            }
        }
    }
}

/// Waits before the server is asked again.
#[allow(
    clippy::disallowed_methods,
    reason = "a command that waits for a server has nothing to be woken by"
)]
pub(crate) fn pause(time: std::time::Duration) {
    std::thread::sleep(time);
}

/// Writes the next piece of what [`open_output`] opened, and lets it be seen at once.
pub(crate) fn write_piece(out: &mut dyn Write, bytes: &[u8]) -> Result<(), Failure> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// A moment in Unix seconds as a person reads it, in UTC.
pub(crate) fn moment(unix_s: u64) -> String {
    let at = i64::try_from(unix_s).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map_or_else(|| unix_s.to_string(), |at| at.to_string())
}
