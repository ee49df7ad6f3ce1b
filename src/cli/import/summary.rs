//! What became of every record.
//!
//! In scope: counts by file, type and problem, and how they are told. Out of scope: sending.
//! Invariants: every record is counted once, as appended, already there or refused, unless the
//! server failed before it was sent; records that no mapping could read are listed though they are in the
//! ledger; nothing here holds a value of a record.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Failure;
use crate::event::mapping::{Class, Mapped};

/// Refusals that are listed one by one; further ones are only counted.
const REFUSALS_LISTED_MAX: usize = 1_000;

/// Records that no mapping could read that are listed; further ones are only counted.
const UNMAPPED_LISTED_MAX: usize = 1_000;

/// Those of them that a person is told one by one.
const UNMAPPED_TOLD_MAX: usize = 10;

/// The code of an event whose id is taken by one with other content.
const CONFLICT: &str = "conflict";

/// Where a record was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Position of the file.
    pub(super) file: usize,
    /// Number of the line, from 1, on which the record or its document begins.
    pub(super) line: u64,
    /// Number of the record, from 1, in a document of several.
    pub(super) record: Option<usize>,
}

/// What became of some records.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    records: u64,
    appended: u64,
    replayed: u64,
    refused: u64,
}

impl Counts {
    fn to_json(self) -> Value {
        json!({ "records": self.records, "appended": self.appended, "replayed": self.replayed,
            "refused": self.refused })
    }
}

/// What a record became in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Appended,
    Replayed,
}

/// The counts of a run.
#[derive(Debug, Default)]
pub(super) struct Summary {
    files: Vec<(String, String, Counts)>,
    types: BTreeMap<(Class, String), Counts>,
    codes: BTreeMap<String, u64>,
    notes: BTreeMap<String, u64>,
    refusals: Vec<Value>,
    mappings: BTreeMap<Arc<str>, u64>,
    unmapped: Vec<Value>,
    unmapped_count: u64,
    /// Records that an earlier import recorded under another reading.
    read_differently: u64,
    unreadable: Vec<String>,
    /// Events kept without the time their record claims, since that is in the future.
    untimed: u64,
}

impl Summary {
    /// Begins a file.
    pub(super) fn begin(&mut self, file: &Path, mapping: &str) {
        self.files.push((file.display().to_string(), mapping.to_owned(), Counts::default()));
    }

    /// Position of the file that is read.
    pub(super) fn file(&self) -> usize {
        self.files.len().saturating_sub(1)
    }

    /// A record was mapped.
    pub(super) fn mapped(&mut self, place: &Place, mapped: &Mapped) {
        *self.mappings.entry(Arc::clone(&mapped.mapping)).or_default() += 1;
        if mapped.unmapped {
            self.unmapped_count += 1;
            let file = self.files.get(place.file).map_or("", |(file, _, _)| file);
            let mut each = json!({ "file": file, "line": place.line, "mapping": &*mapped.mapping,
                "reason": mapped.note.as_deref().unwrap_or("") });
            if let (Some(record), Some(members)) = (place.record, each.as_object_mut()) {
                members.insert("record".to_owned(), json!(record));
            }
            if self.unmapped.len() < UNMAPPED_LISTED_MAX {
                self.unmapped.push(each);
            }
        }
        if let Some(note) = &mapped.note {
            *self.notes.entry(note.clone()).or_default() += 1;
        }
    }

    /// An event is in the ledger.
    pub(super) fn ended(&mut self, place: &Place, class: Class, type_name: &str, end: End) {
        let of_type = self.types.entry((class, type_name.to_owned())).or_default();
        let of_file = self.files.get_mut(place.file).map(|(_, _, counts)| counts);
        for counts in of_file.into_iter().chain([of_type]) {
            counts.records += 1;
            match end {
                End::Appended => counts.appended += 1,
                End::Replayed => counts.replayed += 1,
            }
        }
    }

    /// An event was refused by the server. Returns what to say, while refusals are still listed. A
    /// conflict about a record's event means that the record is there, read differently then: by another
    /// mapping of the same source, or an older version of it.
    pub(super) fn refused_as(
        &mut self,
        place: &Place,
        (class, type_name): (Class, &str),
        (code, detail): (&str, &str),
    ) -> Option<String> {
        if code == CONFLICT && class != Class::Passed {
            self.read_differently += 1;
            self.ended(place, class, type_name, End::Replayed);
            return None;
        }
        let of_type = self.types.entry((class, type_name.to_owned())).or_default();
        of_type.records += 1;
        of_type.refused += 1;
        self.refused(place, code, detail)
    }

    /// A record was refused. Returns what to say, while refusals are still listed.
    pub(super) fn refused(&mut self, place: &Place, code: &str, detail: &str) -> Option<String> {
        *self.codes.entry(code.to_owned()).or_default() += 1;
        let (file, _, counts) = self.files.get_mut(place.file)?;
        counts.records += 1;
        counts.refused += 1;
        if self.refusals.len() >= REFUSALS_LISTED_MAX {
            return None;
        }
        let mut refusal = json!({ "file": file, "line": place.line, "code": code, "detail": detail });
        let mut at = format!("{file}:{}", place.line);
        if let (Some(record), Some(members)) = (place.record, refusal.as_object_mut()) {
            members.insert("record".to_owned(), json!(record));
            at = format!("{at}: record {record}");
        }
        self.refusals.push(refusal);
        let more = match self.refusals.len() {
            REFUSALS_LISTED_MAX => "\nFurther refusals are counted and not listed.",
            _ => "",
        };
        Some(format!("{at}: {code}: {detail}{more}"))
    }

    /// An event goes in without its record's time.
    pub(super) fn untimed(&mut self) {
        self.untimed += 1;
    }

    /// A file could not be read to its end.
    pub(super) fn unreadable(&mut self, message: &str) {
        self.unreadable.push(message.to_owned());
    }

    /// Whether everything that was read is in the ledger, and everything was read.
    pub(super) fn is_whole(&self) -> bool {
        self.total().refused == 0 && self.unreadable.is_empty()
    }

    fn total(&self) -> Counts {
        let add = |sum: Counts, more: &Counts| Counts {
            records: sum.records + more.records,
            appended: sum.appended + more.appended,
            replayed: sum.replayed + more.replayed,
            refused: sum.refused + more.refused,
        };
        self.files.iter().map(|(_, _, counts)| counts).fold(Counts::default(), add)
    }

    /// Tells a person, on standard error.
    pub(super) fn print(&self) {
        let Counts { records, appended, replayed, refused } = self.total();
        say!(
            "{records} records of {} files: {appended} appended, {replayed} already there, {refused} refused",
            self.files.len()
        );
        for ((class, type_name), counts) in &self.types {
            let stored = counts.appended + counts.replayed;
            say!("  {:<7} {type_name}: {stored}", class.name());
        }
        for (mapping, count) in &self.mappings {
            say!("  read by {mapping}: {count}");
        }
        if self.read_differently > 0 {
            say!(
                "{} records were already there under another reading, which stands",
                self.read_differently
            );
        }
        self.print_unmapped();
        if self.untimed > 0 {
            say!(
                "{} records say they happen in the future; they are kept without a time of their own",
                self.untimed
            );
        }
        for (code, count) in &self.codes {
            say!("  refused {code}: {count}{}", remedy(code));
        }
    }

    fn print_unmapped(&self) {
        if self.unmapped_count == 0 {
            return;
        }
        say!("{} records fit no mapping; they are kept with their original bytes:", self.unmapped_count);
        for each in self.unmapped.iter().take(UNMAPPED_TOLD_MAX) {
            let text = |key: &str| each[key].as_str().unwrap_or_default();
            let record = each.get("record").map_or(String::new(), |at| format!(": record {at}"));
            say!("  {}:{}{record}: {}", text("file"), each["line"], text("reason"));
        }
        if self.unmapped_count > UNMAPPED_TOLD_MAX as u64 {
            say!("  … --json lists the first {UNMAPPED_LISTED_MAX}; --explain says why");
        }
    }

    /// The same for a program.
    pub(super) fn to_json(&self, failure: Option<&Failure>) -> Value {
        let total = self.total();
        let files = self.files.iter().map(|(name, mapping, counts)| {
            merged(json!({ "file": name, "mapping": mapping }), counts.to_json())
        });
        let types = self.types.iter().map(|((class, name), counts)| {
            merged(json!({ "type": name, "class": class.name() }), counts.to_json())
        });
        let mut errors = self.unreadable.clone();
        errors.extend(failure.map(|failure| failure.message.clone()));
        let rest = json!({
            "complete": self.is_whole() && failure.is_none(),
            "without_time": self.untimed,
            "read_differently": self.read_differently,
            "mappings": self.mappings.iter().map(|(name, count)| (name.to_string(), json!(count)))
                .collect::<serde_json::Map<_, _>>(),
            "unmapped": self.unmapped_count,
            "unmapped_records": self.unmapped,
            "files": files.collect::<Vec<_>>(),
            "types": types.collect::<Vec<_>>(),
            "refused_by_code": self.codes,
            "refusals": self.refusals,
            "notes": self.notes,
            "errors": errors,
        });
        merged(rest, total.to_json())
    }
}

fn merged(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

/// What the caller can do about refusals that have one cause.
fn remedy(code: &str) -> &'static str {
    match code {
        "unknown-type" => {
            "\n    An admin key registers a mapping's types: \
             `counterfoil import --map all --key-file ADMIN.key /dev/null` (or --map MAP)"
        }
        "conflict" => "\n    The id is taken by an event with other content, which stands",
        "raw-too-large" => {
            "\n    A record has at most 1 MiB, a document 64 MiB: split documents, and keep larger\n    \
             records elsewhere and append an event whose evidence names their hash"
        }
        "malformed-json" => "\n    Bytes that are no text: name the right file, decompressed or as gzip",
        "wrong-source" => {
            "\n    The key is for other sources; a mapping file says under which its events go"
        }
        _ => "",
    }
}
