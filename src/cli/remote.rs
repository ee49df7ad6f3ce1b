//! `counterfoil verify` of a server or of a mirror that is served over HTTP.
//!
//! In scope: finding the ledger below a URL, fetching checkpoint, tiles and bundles, and with
//! `--parts` the receipt of every event. Out of scope: the verdicts. Invariants: whatever a server
//! answers can make a check fail or stay open, never pass; requests are bounded in number by the
//! signed size, in length and in time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

use crate::event::json::{self, JsonLimits};
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::hash::{Hash, TreeSize, leaf_hash};
use crate::log::tile::{BundleId, TILE_WIDTH, TileId, bundle_entries};
use crate::prove::entry_view::EntryView;
use crate::prove::proofs::ConsistencyDocument;
use crate::prove::receipt::{RECEIPT_BYTES_MAX, Receipt};
use crate::prove::verdict::{Finding, Report, Verdict};
use crate::prove::verify_log::{FINDINGS_KEPT, LogOptions, LogSource, NoParts, verify_log};
use crate::prove::verify_receipt::{Context, Published, verify_receipt};

use crate::client::transport::{ApiKey, Roots};

use super::Failure;
use super::client::{Client, problem_sentence};
use super::query::percent_encode;
use super::verify::show;
use crate::audit::Given;

/// Requests for receipts under way at once.
const REQUESTS_AT_ONCE: usize = 4;

/// Consistency proofs kept: receipts of one run lead to few sizes.
const PROOFS_KEPT: usize = 1_024;

/// What a server is asked for besides the log.
pub(super) struct Asked<'a> {
    /// The receipt of every event.
    pub(super) parts: bool,
    /// Why personal parts are read.
    pub(super) reason: Option<&'a str>,
    /// As whom.
    pub(super) api_key: Option<ApiKey>,
    /// Whose certificates are trusted, where not the public ones.
    pub(super) roots: Option<&'a Roots>,
}

/// Verifies the log below `url`.
pub(super) fn verify(
    url: &str,
    given: &Given<'_>,
    asked: &Asked<'_>,
    bar: &ProgressBar,
) -> Result<Report, Failure> {
    let (client, note, is_ledger) = find(url, given, asked)?;
    let opened = checkpoint::open(&note, given.key).ok();
    let size = opened.as_ref().map_or(0, |checkpoint| checkpoint.size.0);
    let log = RemoteLog { client: &client, events: RefCell::default() };
    let refusal = if opened.is_some() { log.refusal(size, is_ledger)? } else { None };
    let entries = refusal.is_none();
    let options = LogOptions { since: given.since, entries, foreign: !is_ledger };
    let mut progress = |progress| show(bar, progress);
    let mut report = verify_log(&note, given.key, &log, None::<&NoParts>, &options, &mut progress);
    if let Some(refusal) = refusal {
        for check in report.checks.iter_mut().filter(|check| check.name == "entries") {
            check.detail.clone_from(&refusal);
        }
    }
    let Some(opened) = opened.filter(|_| entries && report.verdict() == Verdict::Verified) else {
        return Ok(report);
    };
    if asked.parts {
        report.checks.retain(|check| check.name != "parts");
        let events = log.events.take();
        Receipts::new(&client, given, asked, &opened).check(&events, bar, &mut report);
    } else {
        let why = "one request per event: --parts asks for them";
        for check in report.checks.iter_mut().filter(|check| check.name == "parts") {
            why.clone_into(&mut check.detail);
        }
    }
    Ok(report)
}

/// The client of the log that is meant by a URL, its checkpoint, and whether a server of ours has it.
fn find(url: &str, given: &Given<'_>, asked: &Asked<'_>) -> Result<(Client, Vec<u8>, bool), Failure> {
    if url.contains("/v1/ledgers/") {
        let client = Client::at(url, "", asked.api_key.clone(), asked.roots);
        let note = client.get("checkpoint", "text/plain")?.good()?;
        return Ok((client, note, true));
    }
    let mirror = Client::below(url, None, asked.roots);
    let answer = mirror.get("checkpoint", "text/plain")?;
    if (200..300).contains(&answer.status) {
        return Ok((Client::below(url, asked.api_key.clone(), asked.roots), answer.body, false));
    }
    // A ledger of another name is often the last word of its origin.
    let named = given.key.name().rsplit('/').next().unwrap_or("main");
    let mut found = None;
    for ledger in ["main", named] {
        let client = Client::at(url, ledger, asked.api_key.clone(), asked.roots);
        let answer = client.get("checkpoint", "text/plain")?;
        if !(200..300).contains(&answer.status) {
            continue;
        }
        if checkpoint::open(&answer.body, given.key).is_ok() {
            return Ok((client, answer.body, true));
        }
        found.get_or_insert((client, answer.body, true));
    }
    found.ok_or_else(|| {
        Failure::new(format!(
            "{url}: no checkpoint there; {}",
            problem_sentence(answer.status, &answer.body)
        ))
    })
}

/// The tiles and bundles of a server.
struct RemoteLog<'a> {
    client: &'a Client,
    /// Index and leaf hash of the events in the bundles read so far.
    events: RefCell<BTreeMap<u64, Hash>>,
}

impl RemoteLog<'_> {
    fn fetch(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let answer = self.client.get(path, "*/*").map_err(|failure| failure.message)?;
        match answer.status {
            200..300 => Ok(Some(answer.body)),
            404 | 410 => Ok(None),
            status => Err(problem_sentence(status, &answer.body)),
        }
    }

    /// Why the server does not give entry bundles, where it does not.
    fn refusal(&self, size: u64, is_ledger: bool) -> Result<Option<String>, Failure> {
        let Some(width) = u16::try_from(size.min(TILE_WIDTH)).ok().filter(|width| *width > 0) else {
            return Ok(None);
        };
        let id = BundleId { index: 0, width };
        let mut status = 404;
        for path in [id.path(), id.full().path()] {
            let answer = self.client.get(&path, "*/*")?;
            status = answer.status;
            match status {
                401 | 403 => {
                    let why = problem_sentence(status, &answer.body);
                    return Ok(Some(format!(
                        "the server gives entries only to a key that may read them (--key-file): {why}"
                    )));
                }
                404 => {}
                _ => break,
            }
        }
        let is_hashes_only = status == 404 && !is_ledger;
        Ok(is_hashes_only.then(|| "the mirror has hash tiles and no entries".to_owned()))
    }

    fn note_events(&self, bundle: u64, bytes: &[u8]) {
        let mut events = self.events.borrow_mut();
        for (index, entry) in (bundle.saturating_mul(TILE_WIDTH)..).zip(bundle_entries(bytes)) {
            let Ok(entry) = entry else { return };
            if EntryView::read(entry).is_ok_and(|view| view.event.is_some()) {
                events.insert(index, leaf_hash(entry));
            }
        }
    }
}

impl LogSource for RemoteLog<'_> {
    type Error = String;

    fn tile(&self, id: TileId) -> Result<Option<Vec<u8>>, String> {
        self.fetch(&id.path())
    }

    fn bundle(&self, id: BundleId) -> Result<Option<Vec<u8>>, String> {
        let bytes = self.fetch(&id.path())?;
        if let Some(bytes) = &bytes {
            self.note_events(id.index, bytes);
        }
        Ok(bytes)
    }
}

/// The receipts of all events, asked for by several threads.
struct Receipts<'a> {
    client: &'a Client,
    given: &'a Given<'a>,
    reason: String,
    checkpoint: &'a Checkpoint,
    proofs: Mutex<Proofs>,
}

/// Consistency proofs by their two sizes; none where the server gave none.
type Proofs = BTreeMap<(u64, u64), Option<Vec<Hash>>>;

/// What came of one receipt.
type Answered = Result<Report, String>;

impl<'a> Receipts<'a> {
    fn new(
        client: &'a Client,
        given: &'a Given<'a>,
        asked: &Asked<'_>,
        checkpoint: &'a Checkpoint,
    ) -> Self {
        let reason = asked.reason.map(|reason| format!("?reason={}", percent_encode(reason)));
        let reason = reason.unwrap_or_default();
        Self { client, given, reason, checkpoint, proofs: Mutex::default() }
    }

    fn check(&self, events: &BTreeMap<u64, Hash>, bar: &ProgressBar, report: &mut Report) {
        let size = self.checkpoint.size.0;
        let events: Vec<(u64, Hash)> =
            events.range(..size).map(|(index, leaf)| (*index, *leaf)).collect();
        bar.set_message("receipts");
        bar.set_length(u64::try_from(events.len()).unwrap_or(u64::MAX));
        bar.set_position(0);
        let next = AtomicUsize::new(0);
        let tally = Mutex::new(Tally::default());
        std::thread::scope(|scope| {
            for _ in 0..REQUESTS_AT_ONCE {
                scope.spawn(|| {
                    while let Some((index, leaf)) = events.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let answered = self.receipt(*index, leaf);
                        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                        tally.add(*index, answered);
                        bar.inc(1);
                    }
                });
            }
        });
        tally.into_inner().unwrap_or_else(PoisonError::into_inner).conclude(report);
    }

    fn receipt(&self, index: u64, leaf: &Hash) -> Answered {
        let path = format!("events/{index}/receipt{}", self.reason);
        let answer = self.client.get(&path, "application/json").map_err(|failure| failure.message)?;
        if !(200..300).contains(&answer.status) {
            return Err(problem_sentence(answer.status, &answer.body));
        }
        let proof = |from: TreeSize, to: TreeSize| self.proof(from, to);
        let context = Context {
            reader: self.given.reader.map(|reader| &reader.keys),
            published: Some(Published { checkpoint: self.checkpoint, proof: &proof }),
            ..Context::new(self.given.key)
        };
        let mut report =
            match Receipt::parse(answer.body.get(..RECEIPT_BYTES_MAX).unwrap_or(&answer.body)) {
                Ok(receipt) if receipt.index.0 == index && receipt.leaf_hash == *leaf => {
                    verify_receipt(&receipt, &context)
                }
                Ok(_) => return Ok(failed("the receipt is of another entry than the log has there")),
                Err(error) => return Ok(failed(&error.to_string())),
            };
        report.checks.retain(|check| check.matters || check.verdict == Verdict::Failed);
        Ok(report)
    }

    /// A consistency proof, asked for once per pair of sizes. It needs no trust.
    fn proof(&self, from: TreeSize, to: TreeSize) -> Option<Vec<Hash>> {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = proofs.get(&(from.0, to.0)) {
            return found.clone();
        }
        let path = format!("proofs/consistency?from={from}&to={to}");
        let answer = self.client.get(&path, "application/json").ok();
        let body = answer.filter(|answer| (200..300).contains(&answer.status)).map(|answer| answer.body);
        let limits = JsonLimits { bytes_max: RECEIPT_BYTES_MAX, ..JsonLimits::default() };
        let value = body.and_then(|body| json::parse(&body, &limits).ok());
        let proof = value.and_then(|value| ConsistencyDocument::parse(value).ok()).map(|p| p.proof);
        if proofs.len() >= PROOFS_KEPT {
            proofs.clear();
        }
        proofs.insert((from.0, to.0), proof.clone());
        proof
    }
}

fn failed(detail: &str) -> Report {
    let mut report = Report::new(crate::prove::verdict::Target::Receipt);
    report.push("receipt", Verdict::Failed, detail);
    report
}

/// The reports of the receipts, added up; the first of each kind is told.
#[derive(Default)]
struct Tally {
    verified: u64,
    unprovable: Told,
    unread: Told,
    failed: Told,
    parts: crate::prove::verdict::PartCounts,
    findings: Vec<Finding>,
}

#[derive(Default)]
struct Told {
    count: u64,
    first: Option<(u64, String)>,
}

impl Told {
    fn add(&mut self, index: u64, detail: &str) {
        self.count += 1;
        if self.first.as_ref().is_none_or(|(first, _)| index < *first) {
            self.first = Some((index, detail.to_owned()));
        }
    }

    fn describe(&self) -> Option<String> {
        let (index, detail) = self.first.as_ref()?;
        Some(format!("{} receipts, first of event {index}: {detail}", self.count))
    }
}

impl Tally {
    fn add(&mut self, index: u64, answered: Answered) {
        let report = match answered {
            Ok(report) => report,
            Err(why) => return self.unread.add(index, &why),
        };
        self.parts.add(&report.parts);
        let verdict = report.verdict();
        let worst = report.checks.iter().find(|check| check.verdict == verdict);
        let detail = worst.map(|c| format!("{}: {}", c.name, c.detail)).unwrap_or_default();
        match verdict {
            Verdict::Verified => self.verified += 1,
            Verdict::NotProvable => self.unprovable.add(index, &detail),
            Verdict::Failed => {
                self.failed.add(index, &detail);
                if self.findings.len() < FINDINGS_KEPT {
                    let place = format!("events/{index}/receipt");
                    self.findings.push(Finding { check: "parts", place, detail });
                }
            }
        }
    }

    fn conclude(mut self, report: &mut Report) {
        self.findings.sort_by(|a, b| a.place.len().cmp(&b.place.len()).then(a.place.cmp(&b.place)));
        report.parts.add(&self.parts);
        report.findings.append(&mut self.findings);
        let open = format!("{} receipts verified; parts: {}", self.verified, self.parts);
        let (verdict, detail) = match (self.failed.describe(), self.unread.describe()) {
            (Some(failed), _) => (Verdict::Failed, failed),
            (None, Some(unread)) => (Verdict::NotProvable, unread),
            (None, None) => match self.unprovable.describe() {
                Some(unprovable) => (Verdict::NotProvable, unprovable),
                None if self.parts.lost > 0 => (Verdict::Failed, format!("parts are lost; {open}")),
                None => (Verdict::Verified, open),
            },
        };
        report.push("parts", verdict, detail);
    }
}
