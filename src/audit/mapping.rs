//! A ledger's index keys, recomputed from the opened events with the reader's keys.
//!
//! In scope: the reader's keys against those the settings commit to, and each entry's keys against
//! its event. Out of scope: persons' keys, which need persons' secrets. Invariant: a key that the
//! log did not commit to is told, since it would make every answer wrong.

use std::collections::BTreeMap;

use crate::event::catalogue::Catalogue;
use crate::event::custom::CustomType;
use crate::event::entry::{Entry, EntryBody};
use crate::event::facet::Role;
use crate::event::json::{self, JsonLimits, Value};
use crate::log::hash::{LogIndex, leaf_hash};
use crate::log::note::VerifierKey;
use crate::log::tile::{TILE_WIDTH, bundle_entries};
use crate::prove::entry_view::EntryView;
use crate::prove::receipt::{FullReceipt, Openings, PartContent, PartOpening, Receipt, recorded_at};
use crate::prove::verdict::{Finding, Report, Verdict};
use crate::prove::verify_log::{FINDINGS_KEPT, Opened, PartSource};
use crate::prove::verify_receipt::{Context, verify_receipt};
use crate::store::StoredPart;

use super::files::DirectoryLog;
use super::parts::SealedParts;
use super::reader::Reader;

/// Holds the reader's keys and the entries' keys against the log.
pub(super) fn check(
    log: &DirectoryLog<'_>,
    parts: &SealedParts<'_>,
    note: &str,
    key: &VerifierKey,
    size: u64,
    reader: &Reader,
    report: &mut Report,
) {
    let Ok(catalogue) = Catalogue::builtin() else {
        return report.push("mapping", Verdict::NotProvable, "the catalogue cannot be read");
    };
    let mut audit = Audit {
        parts,
        note,
        key,
        reader,
        catalogue,
        committed: BTreeMap::new(),
        verified: 0,
        unprovable: 0,
        findings: Vec::new(),
    };
    for bundle in 0..size.div_ceil(TILE_WIDTH) {
        let Ok(Some((_, bytes))) = log.bundle_of(bundle, size) else { continue };
        let stored = parts.parts(bundle).ok().flatten().unwrap_or_default();
        let indexes = bundle * TILE_WIDTH..size;
        let mut stored = stored.into_iter();
        for (index, entry) in indexes.zip(bundle_entries(&bytes)) {
            let Ok(entry) = entry else { break };
            audit.entry(index, entry, &stored.next().unwrap_or_default());
        }
    }
    audit.conclude(report);
}

struct Audit<'a> {
    parts: &'a SealedParts<'a>,
    note: &'a str,
    key: &'a VerifierKey,
    reader: &'a Reader,
    /// With the custom types of the settings entries read so far.
    catalogue: Catalogue,
    /// Commitments of the settings entries by use and epoch.
    committed: BTreeMap<(String, i64), String>,
    verified: u64,
    unprovable: u64,
    findings: Vec<Finding>,
}

impl Audit<'_> {
    fn entry(&mut self, index: u64, entry: &[u8], stored: &[StoredPart]) {
        let Ok(view) = EntryView::read(entry) else { return };
        if view.event.is_none() {
            if let Ok(Entry { body: EntryBody::Settings(body), .. }) = Entry::decode(entry) {
                self.settings(&body);
            }
            return;
        }
        let Some(receipt) = self.receipt(index, entry, &view, stored) else {
            self.unprovable += 1;
            return;
        };
        let context = Context {
            reader: Some(&self.reader.keys),
            catalogue: Some(&self.catalogue),
            ..Context::new(self.key)
        };
        let seen = verify_receipt(&receipt, &context);
        let asked = || seen.checks.iter().filter(|c| ["event-key", "mapping"].contains(&c.name));
        match asked().map(|check| check.verdict).max() {
            Some(Verdict::Verified) => self.verified += 1,
            Some(Verdict::Failed) => {
                let worst = asked().find(|check| check.verdict == Verdict::Failed);
                let detail = worst.map(|check| check.detail.clone()).unwrap_or_default();
                let place = format!("entry {index}");
                self.findings.push(Finding { check: "mapping", place, detail });
            }
            _ => self.unprovable += 1,
        }
    }

    /// A receipt of the entry with every part that opens, to be held against its keys. Its proof is
    /// left out: that the entry is in the log was shown before.
    fn receipt(
        &self,
        index: u64,
        entry: &[u8],
        view: &EntryView<'_>,
        stored: &[StoredPart],
    ) -> Option<Receipt> {
        let event = view.event.as_ref()?;
        let open = |part: &StoredPart| {
            let content = match self.parts.open(LogIndex(index), event, part).ok()? {
                Opened::Open { salt, body } => {
                    PartContent::Open { salt, body: String::from_utf8(body.to_vec()).ok()? }
                }
                _ => PartContent::Withheld,
            };
            Some(PartOpening { role: Role(part.role()), content })
        };
        let parts = stored.iter().map(open).collect::<Option<Vec<_>>>()?;
        let id = parts.iter().find_map(|part| match &part.content {
            PartContent::Open { body, .. } if part.role == Role::OPEN => {
                text_of(&object_of(body.as_bytes())?, "id")
            }
            _ => None,
        })?;
        Some(Receipt {
            ledger: String::new(),
            origin: self.key.name().to_owned(),
            index: LogIndex(index),
            id,
            leaf_hash: leaf_hash(entry),
            recorded_at: recorded_at(view.time_us),
            replayed: false,
            compared: None,
            full: Some(FullReceipt {
                checkpoint: self.note.to_owned(),
                inclusion: Vec::new(),
                entry: entry.to_vec(),
                openings: Openings { parts, keys: Vec::new() },
                removed: None,
            }),
        })
    }

    fn settings(&mut self, body: &[u8]) {
        let Some(settings) = object_of(body) else { return };
        let settings = settings.as_object();
        let keys = settings.and_then(|settings| settings.get("keys")).and_then(Value::as_array);
        for key in keys.into_iter().flatten() {
            let epoch = key.as_object().and_then(|key| key.get("epoch")).and_then(Value::as_i64);
            if let (Some(usage), Some(epoch), Some(commitment)) =
                (text_of(key, "use"), epoch, text_of(key, "commitment"))
            {
                self.committed.insert((usage, epoch), commitment);
            }
        }
        let custom = settings.and_then(|settings| settings.get("type"));
        if let Some(custom) = custom.and_then(|custom| CustomType::from_value(custom).ok())
            && let Ok(grown) = self.catalogue.with_custom(custom)
        {
            self.catalogue = grown;
        }
    }

    fn conclude(self, report: &mut Report) {
        let (mut good, mut unknown, mut other) = (0, 0, None);
        for (usage, epoch, commitment) in &self.reader.commitments {
            match self.committed.get(&((*usage).to_owned(), i64::from(*epoch))) {
                Some(found) if *found == commitment.to_string() => good += 1,
                Some(_) => other = Some(format!("the {usage} key of epoch {epoch} is another ledger's")),
                None => unknown += 1,
            }
        }
        match other {
            Some(detail) => report.push("reader-keys", Verdict::Failed, detail),
            None if unknown > 0 => {
                let detail = format!("{unknown} keys are in no settings entry");
                report.push("reader-keys", Verdict::NotProvable, detail);
            }
            None => {
                let detail = format!("{good} keys, each committed to in the log");
                report.push("reader-keys", Verdict::Verified, detail);
            }
        }
        let Self { verified, unprovable, mut findings, .. } = self;
        if let Some(first) = findings.first() {
            let detail = format!("first of {}: {}: {}", findings.len(), first.place, first.detail);
            report.push("mapping", Verdict::Failed, detail);
            findings.truncate(FINDINGS_KEPT);
            report.findings.append(&mut findings);
            return;
        }
        let detail =
            format!("the keys of {verified} events recomputed; {unprovable} are not open enough for it");
        let verdict = if unprovable > 0 { Verdict::NotProvable } else { Verdict::Verified };
        report.note("mapping", verdict, detail);
    }
}

fn object_of(bytes: &[u8]) -> Option<Value> {
    json::parse(bytes, &JsonLimits::default()).ok()
}

fn text_of(value: &Value, name: &str) -> Option<String> {
    value.as_object()?.get(name)?.as_str().map(str::to_owned)
}
