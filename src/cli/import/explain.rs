//! `counterfoil import --explain`: how each record would be read, without a server.
//!
//! In scope: printing it, for people and programs. Out of scope: finding it out
//! ([`crate::event::mapping`]). Invariant: without `--show-values` nothing of a record is printed, not
//! even the names of its keys; constants and paths are the mapping's own.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::event::catalogue::Catalogue;
use crate::event::envelope::Event;
use crate::event::mapping::{Class, DOCUMENT_BYTES_MAX, Explained, How, Mapped, Mapping, Refusal};
use crate::event::parts::split;

use super::super::output::open_output;
use super::super::{EXIT_ERROR, EXIT_GOOD, Failure};
use super::input::Pieces;
use super::{ImportArgs, about};

/// Explains every record of every file.
pub(super) fn run(args: &ImportArgs, mapping: &Mapping) -> Result<u8, Failure> {
    let catalogue = mapping
        .custom_types()
        .try_fold(Catalogue::builtin()?, |catalogue, custom| catalogue.with_custom(custom.clone()))?;
    let printer = Printer { catalogue, json: args.json, show_values: args.show_values };
    let mut out = open_output(args.file.output.as_deref())?;
    let mut whole = true;
    let hidden = ProgressBar::hidden();
    for file in &args.files {
        let reading = |error: std::io::Error| about(file, &error);
        let mut pieces = Pieces::open(file, &hidden).map_err(reading)?;
        let name = file.display().to_string();
        while let Some(piece) = pieces.next().map_err(reading)? {
            let explained = match &piece.bytes {
                Some(bytes) => mapping.explain_line(bytes),
                None => vec![too_large()],
            };
            let alone = explained.len() == 1;
            for (at, each) in explained.into_iter().enumerate() {
                whole &= each.result.is_ok();
                let place = (name.as_str(), piece.line, (!alone).then_some(at + 1));
                match out.write_all(printer.text(place, &each).as_bytes()) {
                    // Whoever reads has seen enough.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(EXIT_GOOD),
                    written => written?,
                }
            }
        }
    }
    match out.flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(if whole { EXIT_GOOD } else { EXIT_ERROR }),
    }
}

fn too_large() -> Explained {
    Explained { result: Err(Refusal::TooLarge { limit_bytes: DOCUMENT_BYTES_MAX }), how: None }
}

struct Printer {
    catalogue: Catalogue,
    json: bool,
    show_values: bool,
}

type Place<'a> = (&'a str, u64, Option<usize>);

impl Printer {
    fn text(&self, place: Place<'_>, explained: &Explained) -> String {
        let told = self.told(place, explained);
        if self.json { format!("{told}\n") } else { for_people(&told) }
    }

    /// Everything that is told of a record.
    fn told(&self, (file, line, record): Place<'_>, explained: &Explained) -> Value {
        let mut told = json!({ "file": file, "line": line });
        if let Some(record) = record {
            put(&mut told, "record", json!(record));
        }
        match &explained.result {
            Err(refusal) => {
                put(&mut told, "refused", json!(refusal.to_string()));
                put(&mut told, "code", json!(super::code_of(refusal)));
            }
            Ok(mapped) => self.event(&mut told, mapped, explained.how.as_ref()),
        }
        told
    }

    fn event(&self, told: &mut Value, mapped: &Mapped, how: Option<&How>) {
        put(told, "mapping", json!(&*mapped.mapping));
        put(told, "class", json!(mapped.class.name()));
        put(told, "type", json!(mapped.event.type_name));
        put(told, "unmapped", json!(mapped.unmapped));
        if mapped.class != Class::Passed {
            put(told, "source", json!(mapped.event.source));
            put(told, "id", json!(mapped.event.id));
        }
        if let Some(note) = &mapped.note {
            put(told, "note", json!(note));
        }
        let parts = self.parts(&mapped.event);
        if let Err(error) = &parts {
            put(told, "would_be_refused", json!(error));
        }
        let Some(how) = how else { return };
        for (key, path) in [("unwrapped", &how.unwrapped), ("within", &how.within)] {
            if let Some(path) = path {
                put(told, key, json!(path));
            }
        }
        put(told, "accepted", json!(how.accepted));
        if let Some(line) = how.rule_line {
            put(told, "rule_line", json!(line));
        }
        let parts = parts.unwrap_or_default();
        let fields = how.fields.iter().map(|field| {
            let mut each = json!({ "name": field.name, "part": part_of(&parts, &field.name) });
            match &field.path {
                Some(path) => put(&mut each, "path", json!(path)),
                None => put(&mut each, "constant", json!(field.value)),
            }
            if self.show_values {
                put(&mut each, "value", json!(field.value));
            }
            each
        });
        put(told, "fields", fields.collect());
        put(told, "only_in_attachment", json!(how.left.len()));
        if self.show_values {
            put(told, "paths_only_in_attachment", json!(how.left));
        }
    }

    /// The event's parts by role, or why the ledger would refuse it.
    fn parts(&self, event: &Event) -> Result<Vec<(String, Value)>, String> {
        let split = split(event, &self.catalogue).map_err(|error| error.to_string())?;
        let part = |part: &crate::event::parts::Part| {
            let body = serde_json::from_slice(&part.body).unwrap_or(Value::Null);
            (part.role.name().into_owned(), body)
        };
        Ok(split.parts.iter().map(part).collect())
    }
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}

/// The part that a field or attribute lies in.
fn part_of<'p>(parts: &'p [(String, Value)], field: &str) -> Option<&'p str> {
    let has = |body: &Value| match field {
        "resource" => body.get("subject").is_some(),
        "time" | "correlationid" | "traceparent" => body.get(field).is_some(),
        _ => body.get("data").and_then(|data| data.get(field)).is_some(),
    };
    parts.iter().find(|(_, body)| has(body)).map(|(role, _)| role.as_str())
}

/// The same in lines.
fn for_people(told: &Value) -> String {
    let text = |key: &str| told.get(key).and_then(Value::as_str);
    let mut out = format!("{}:{}", text("file").unwrap_or("-"), told["line"]);
    if let Some(record) = told.get("record") {
        let _ = write!(out, ": record {record}");
    }
    if let (Some(refused), Some(code)) = (text("refused"), text("code")) {
        let _ = writeln!(out, ": {code}: {refused}");
        return out;
    }
    let _ = writeln!(out, ": {} ({})", text("type").unwrap_or("-"), text("class").unwrap_or("-"));
    if text("class") == Some(Class::Passed.name()) {
        out.push_str("  is an event already and passes unchanged\n");
        return out;
    }
    let _ = write!(out, "  mapping {}", text("mapping").unwrap_or("-"));
    let accepted = told["accepted"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match accepted.collect::<Vec<_>>().join(" and ") {
        none if none.is_empty() => out.push('\n'),
        why => {
            let _ = writeln!(out, ", since {why}");
        }
    }
    for (key, says) in [("unwrapped", "taken out of"), ("within", "found within")] {
        if let Some(path) = text(key) {
            let _ = writeln!(out, "  {says} `{path}`");
        }
    }
    if let Some(line) = told.get("rule_line") {
        let _ = writeln!(out, "  rule on line {line} of the mapping");
    }
    if let Some(note) = text("note") {
        let _ = writeln!(out, "  note: {note}");
    }
    if let Some(error) = text("would_be_refused") {
        let _ = writeln!(out, "  would be refused: {error}");
    }
    for field in told["fields"].as_array().into_iter().flatten() {
        let part = match field["part"].as_str() {
            Some("open") => "open".to_owned(),
            Some(role) => format!("personal, {role}"),
            None => "-".to_owned(),
        };
        let from = match field["path"].as_str() {
            Some(path) => format!("from `{path}`"),
            None => format!("always {}", field["constant"]),
        };
        let value = field.get("value").filter(|_| field["path"].is_string());
        let value = value.map_or(String::new(), |value| format!(" = {value}"));
        let _ = writeln!(out, "  {:<15} {from} ({part}){value}", field["name"].as_str().unwrap_or("-"));
    }
    if let Some(left) = told.get("only_in_attachment") {
        let _ = writeln!(out, "  {left} more values only in the attachment");
    }
    for path in told["paths_only_in_attachment"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "    {}", path.as_str().unwrap_or_default());
    }
    out
}
