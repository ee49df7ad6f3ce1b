//! `counterfoil verify`
//!
//! In scope: telling what TARGET is, reading the keys, printing the report. Out of scope: every
//! verdict, which [`crate::prove`] gives; reading directories ([`crate::audit`]) and servers
//! ([`super::remote`]). Invariants: only the verifier key is trusted; nothing is written; the exit
//! code is the report's, 1 where there was nothing to judge, 2 where the command line was wrong.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::audit::{self, Given, Reader, Recognised};
use crate::event::json::{self, JsonLimits};
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::note::VerifierKey;
use crate::log::tile::ENTRY_BYTES_MAX;
use crate::prove::kept::{KeptError, notes_in};
use crate::prove::proofs::ConsistencyDocument;
use crate::prove::receipt::RECEIPT_BYTES_MAX;
use crate::prove::verdict::{Check, Report, Target, Verdict};
use crate::prove::verify_document::{DOCUMENT_BYTES_MAX, DocumentError, ReceiptLines, verify_document};
use crate::prove::verify_log::Progress;
use crate::prove::verify_receipt::{Context, Published};

use super::client::{read_key, read_roots};
use super::output::{Printed, open_input, read_input};
use super::{Failure, mistakes, remote};

/// Longest file with a verifier key that is read, in bytes: a name of 255 and the key, many times.
const KEY_BYTES_MAX: u64 = 4 << 10;

/// Verify a server, a data directory, a tile mirror, a receipt, a proof or an erasure certificate.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  counterfoil verify receipt.json --key 'ledger.example/audit+…'\n  \
    counterfoil verify ./ledger --key verifier.key --since checkpoint-of-last-month\n  \
    counterfoil verify https://ledger.example --key verifier.key --key-file auditor.key --parts\n  \
    counterfoil verify event.tlog-proof --entry event.entry --key verifier.key\n\n\
    Exit codes: 0 verified, 3 failed, 4 not provable with what was given, 1 nothing to verify, 2 usage."
)]
pub(crate) struct VerifyArgs {
    /// A URL (a server's root, a ledger's prefix, a mirror), a directory (a data directory, a
    /// ledger's, a mirror), a receipt or a file of them, a batch answer, a proof, a checkpoint, an
    /// erasure certificate; `-` for standard input.
    #[arg(value_name = "TARGET")]
    target: String,
    /// The verifier key, or a file with it; all that is trusted.
    #[arg(long, value_name = "VKEY_OR_FILE")]
    key: String,
    /// An older checkpoint, which what is verified must be consistent with: itself, or a receipt, batch
    /// answer or proof that carries it. Of several the one of the largest size counts.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// The ledger's `reader.key`, with which index keys are recomputed.
    #[arg(long, value_name = "FILE")]
    reader_key: Option<PathBuf>,
    /// File with an API key, with which a server is asked for what needs a role.
    #[arg(long, env = "COUNTERFOIL_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// PEM file of certificate authorities that a server's certificate may come from, instead of the
    /// public ones.
    #[arg(long, env = "COUNTERFOIL_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The entry that a `.tlog-proof` is about.
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    /// Of a directory, check the log alone: signature, tiles, entries and their chain. Sealed parts,
    /// journal and files of other sizes are left out, and the report says so.
    #[arg(long)]
    log_only: bool,
    /// Ask a server for the receipt of every event, to check its parts: one request per event.
    #[arg(long)]
    parts: bool,
    /// Why personal parts are read, for keys that need a reason.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    printed: Printed,
}

/// Runs the command.
pub(crate) fn run(args: &VerifyArgs) -> Result<u8, Failure> {
    let key = verifier_key(&args.key)?;
    let since = match &args.since {
        Some(path) => Some(read_since(path, &key)?),
        None => None,
    };
    let reader = args.reader_key.as_deref().map(Reader::open).transpose()?;
    let given =
        Given { key: &key, since: since.as_deref(), reader: reader.as_ref(), log_only: args.log_only };
    let is_url = args.target.starts_with("http://") || args.target.starts_with("https://");
    if args.parts && !is_url {
        return Err(Failure::usage(
            "--parts is for servers; a directory's parts are read unless --log-only says otherwise",
        ));
    }
    let path = Path::new(&args.target);
    if args.log_only && (is_url || !path.is_dir()) {
        return Err(Failure::usage("--log-only is for directories; of a server only the log is read"));
    }
    if args.log_only && args.reader_key.is_some() {
        return Err(Failure::usage("--reader-key needs the parts, which --log-only leaves out"));
    }
    if is_url || (args.target != "-" && !path.exists() && args.target.contains(':')) {
        mistakes::check_url(&args.target)?;
    }
    let report = if is_url {
        let api_key = args.key_file.as_deref().map(read_key).transpose()?;
        let roots = read_roots(args.ca_file.as_deref())?;
        let asked = remote::Asked {
            parts: args.parts,
            reason: args.reason.as_deref(),
            api_key,
            roots: roots.as_ref(),
        };
        with_bar(|bar| remote::verify(&args.target, &given, &asked, bar))?
    } else if args.target != "-" && path.is_dir() {
        match audit::recognise(path, &key)? {
            Recognised::OtherKeys(origins) => audit::other_keys(&key, &origins),
            Recognised::Place(place) => {
                with_bar(|bar| Ok(audit::verify(&place, &given, &mut |progress| show(bar, progress))?))?
            }
        }
    } else {
        document(path, args, &given)?
    };
    print(args, &report)?;
    Ok(report.exit_code())
}

/// The newest checkpoint of the key's log in a file. What is no document of ours is handed on as it is, so
/// that the report says what is wrong with it.
fn read_since(path: &Path, key: &VerifierKey) -> Result<Vec<u8>, Failure> {
    let bytes = read_input(path, u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX))?;
    let notes = match notes_in(&bytes) {
        Ok(notes) => notes,
        Err(error @ KeptError::Brief) => {
            return Err(Failure::new(format!("{}: {error}", path.display())));
        }
        Err(_) => return Ok(bytes),
    };
    let size = |note: &String| checkpoint::open(note, key).ok().map(|checkpoint| checkpoint.size);
    let newest = notes.into_iter().map(|kept| kept.note).max_by_key(size);
    Ok(newest.map_or(bytes, String::into_bytes))
}

/// Reads a verifier key as text, or from the first line of a file.
pub(super) fn verifier_key(text: &str) -> Result<VerifierKey, Failure> {
    if let Ok(key) = text.trim().parse::<VerifierKey>() {
        return Ok(key);
    }
    let path = Path::new(text);
    if !path.is_file() {
        return Err(mistakes::verifier_key(path));
    }
    let bytes = read_input(path, KEY_BYTES_MAX)?;
    let line = String::from_utf8_lossy(&bytes);
    line.trim()
        .parse()
        .map_err(|error| Failure::usage(format!("{text} does not hold a verifier key: {error}")))
}

/// Verifies one document, offline.
fn document(path: &Path, args: &VerifyArgs, given: &Given<'_>) -> Result<Report, Failure> {
    let mut source = BufReader::new(open_input(path)?);
    let mut bytes = read_piece(path, &mut source)?;
    let is_lines = ReceiptLines::is_receipt(&bytes) && !source.fill_buf()?.is_empty();
    if !is_lines {
        let bytes_max = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX);
        source.by_ref().take(bytes_max).read_to_end(&mut bytes)?;
        if bytes.len() > DOCUMENT_BYTES_MAX {
            let name = path.display();
            return Err(Failure::new(format!("{name}: larger than {DOCUMENT_BYTES_MAX} bytes")));
        }
    }
    let entry_bytes_max = u64::try_from(ENTRY_BYTES_MAX).unwrap_or(u64::MAX);
    let entry = args.entry.as_deref().map(|path| read_input(path, entry_bytes_max)).transpose()?;
    let mut since_report = Report::new(Target::Checkpoint);
    let since = match given.since {
        None => None,
        Some(note) => match checkpoint::open(note, given.key) {
            Ok(opened) => Some(opened),
            Err(error) => {
                since_report.push("since", Verdict::Failed, error.to_string());
                return Ok(since_report);
            }
        },
    };
    let no_proof = |_, _| None;
    let context = Context {
        reader: given.reader.map(|reader| &reader.keys),
        entry: entry.as_deref(),
        published: since.as_ref().map(|checkpoint| Published { checkpoint, proof: &no_proof }),
        ..Context::new(given.key)
    };
    if is_lines {
        return receipt_lines(path, bytes, &mut source, &context);
    }
    let mut report = match verify_document(&bytes, &context) {
        Ok(report) => report,
        Err(error @ DocumentError::UnknownKind) => return Err(Failure::new(error.to_string())),
        Err(error) => {
            let mut report = Report::new(Target::Receipt);
            report.push("document", Verdict::Failed, error.to_string());
            return Ok(report);
        }
    };
    if let Some(since) = &since {
        match report.target {
            Target::Consistency => since_consistency(&bytes, since, &mut report),
            Target::Checkpoint => since_checkpoint(&bytes, given.key, since, &mut report),
            Target::Inclusion => {
                report.push("since", Verdict::NotProvable, "an inclusion proof leads to no other size");
            }
            _ => {} // the verifier of receipts has compared them
        }
    }
    Ok(report)
}

/// A line with its end, or as much as a receipt may have of one.
fn read_piece(path: &Path, source: &mut impl BufRead) -> Result<Vec<u8>, Failure> {
    let limit = u64::try_from(RECEIPT_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let mut piece = Vec::new();
    let read = source.by_ref().take(limit).read_until(b'\n', &mut piece);
    read.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    Ok(piece)
}

/// Verifies a file of receipts, one per line, whatever its length.
fn receipt_lines(
    path: &Path,
    first: Vec<u8>,
    source: &mut impl BufRead,
    context: &Context<'_>,
) -> Result<Report, Failure> {
    let mut lines = ReceiptLines::new(context);
    let mut line = first;
    loop {
        let is_last = !line.ends_with(b"\n");
        if is_last && !line.is_empty() && !ReceiptLines::is_receipt(&line) {
            let unfinished = source.fill_buf()?.is_empty();
            if !unfinished {
                lines.add(&line);
            }
            return Ok(lines.finish(unfinished));
        }
        if !line.trim_ascii().is_empty() {
            lines.add(&line);
        }
        if is_last {
            return Ok(lines.finish(false));
        }
        line = read_piece(path, source)?;
    }
}

/// Whether a consistency proof begins at the older checkpoint.
fn since_consistency(bytes: &[u8], since: &Checkpoint, report: &mut Report) {
    let limits = JsonLimits { bytes_max: DOCUMENT_BYTES_MAX, ..JsonLimits::default() };
    let value = json::parse(bytes, &limits).ok();
    let Some(proof) = value.and_then(|value| ConsistencyDocument::parse(value).ok()) else { return };
    if proof.from != since.size {
        let detail = format!("the proof begins at size {}, not at {}", proof.from, since.size);
        report.push("since", Verdict::NotProvable, detail);
    } else if proof.root_from == since.root {
        report.push("since", Verdict::Verified, "the proof begins at the older checkpoint");
    } else {
        report.push("since", Verdict::Failed, "the older checkpoint has another root: a fork");
    }
}

/// Whether two checkpoints by themselves can be told to agree.
fn since_checkpoint(bytes: &[u8], key: &VerifierKey, since: &Checkpoint, report: &mut Report) {
    let Ok(opened) = checkpoint::open(bytes, key) else { return };
    let (verdict, detail) = if opened.size != since.size {
        (Verdict::NotProvable, "two sizes need a consistency proof")
    } else if opened.root == since.root {
        (Verdict::Verified, "both have the same size and root")
    } else {
        (Verdict::Failed, "both have the same size and different roots: a fork")
    };
    report.push("since", verdict, detail);
}

/// Runs `work` with a progress bar, which is drawn on standard error where that is a terminal.
fn with_bar<T>(work: impl FnOnce(&ProgressBar) -> Result<T, Failure>) -> Result<T, Failure> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.set_message("entries");
    let result = work(&bar);
    bar.finish_and_clear();
    result
}

/// Moves the bar to where the walk is.
pub(super) fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.entries_total);
    bar.set_position(progress.entries_done);
}

fn print(args: &VerifyArgs, report: &Report) -> Result<u8, Failure> {
    let file = &args.printed.file;
    if !args.printed.json {
        return file.write(human(report).as_bytes());
    }
    // Beside the kind of target, which the report names, what was given as one.
    let mut out = format!("{{\"location\":{},", serde_json::json!(args.target)).into_bytes();
    out.extend_from_slice(report.to_json().get(1..).unwrap_or_default());
    file.write(&out)
}

/// The report for a person: the verdict, a line a check, a line a finding.
fn human(report: &Report) -> String {
    let mut text = format!("{}: {}", words(report.verdict()), report.target.as_str());
    let _ = match (report.target, report.range) {
        (Target::Log, _) => write!(text, " of {} entries", report.count),
        (_, Some(range)) if range.first == range.last => write!(text, ", index {}", range.first),
        (_, Some(range)) => write!(text, ", indexes {} to {}", range.first, range.last),
        _ => Ok(()),
    };
    for key in &report.keys {
        let _ = write!(text, ", key {key}");
    }
    text.push('\n');
    for check in &report.checks {
        let _ = writeln!(text, "  {:<12} {:<12} {}", mark(check), check.name, check.detail);
    }
    if !report.findings.is_empty() {
        text.push_str("findings:\n");
    }
    for found in &report.findings {
        let _ = writeln!(text, "  {}: {} ({})", found.place, found.detail, found.check);
    }
    text
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Verified => "VERIFIED",
        Verdict::NotProvable => "NOT PROVABLE",
        Verdict::Failed => "FAILED",
    }
}

fn mark(check: &Check) -> &'static str {
    match check.verdict {
        Verdict::Verified => "ok",
        Verdict::NotProvable if check.matters => "not provable",
        Verdict::NotProvable => "not checked",
        Verdict::Failed => "FAILED",
    }
}
