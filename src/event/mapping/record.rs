//! One record and one mapping: whether they belong together, and the event that comes of it.
//!
//! In scope: acceptance, choosing a rule, filling the event. Out of scope: which mappings are tried and
//! where records are looked for ([`super::reader`]).
//!
//! Invariants: a rule's event has every field the rule requires, else the record is kept under the
//! mapping's custom type; a personal field is left out of a custom event that names nobody, since it
//! would have no owner and lie open.

use super::explain::{FieldRead, How};
use super::file::Compiled;
use super::lax::Node;
use super::rules::{Condition, Field, Found, Rule};
use super::{Class, Mapped, RAW_CONTENT_TYPE, id};
use crate::event::envelope::{Event, Raw};
use crate::event::facet::Namespace;
use crate::event::json::{Object, Value};
use crate::event::limits::SUBJECT_CHARS_MAX;

/// Hex digits of a trace id and of a span id (W3C Trace Context section 3.2.2).
const TRACE_HEX_DIGITS: usize = 32;
const SPAN_HEX_DIGITS: usize = 16;

/// Characters of a correlation id that is taken for one: from 8 to the 64 of a SHA-256. Ids are random;
/// longer texts, and those with other characters, may be names and addresses.
const CORRELATION_CHARS: std::ops::RangeInclusive<usize> = 8..=64;

/// Whether a mapping accepts a record.
pub(super) fn accepts(mapping: &Compiled, record: &Node<'_>) -> bool {
    let holds = |condition: &Condition| condition.holds(record, mapping.spelling);
    matches!(record, Node::Object(_)) && mapping.accept.iter().all(holds)
}

/// A record that a mapping reads.
pub(super) struct Record<'r> {
    pub(super) mapping: &'r Compiled,
    /// The object that the mapping's paths begin at.
    pub(super) node: &'r Node<'r>,
    /// The object that the attachment holds; the same unless the record lies within something.
    pub(super) whole: &'r Node<'r>,
    /// The attachment.
    pub(super) bytes: &'r [u8],
}

/// What was read of a record.
#[derive(Default)]
struct Reads<'r> {
    fields: Vec<FieldRead>,
    nodes: Vec<&'r Node<'r>>,
    explain: bool,
}

impl<'r> Reads<'r> {
    fn note(&mut self, name: &str, found: &Found<'r>) {
        if self.explain {
            self.nodes.extend(found.origin.map(|(_, node)| node));
            let path = found.origin.map(|(path, _)| path.to_string());
            self.fields.push(FieldRead { name: name.to_owned(), path, value: found.value.clone() });
        }
    }

    fn note_node(&mut self, name: &str, path: String, value: Value, node: &'r Node<'r>) {
        if self.explain {
            self.nodes.push(node);
            self.fields.push(FieldRead { name: name.to_owned(), path: Some(path), value });
        }
    }
}

impl<'r> Record<'r> {
    /// The event, and how it came about if that is asked for.
    pub(super) fn map(&self, explain: bool) -> (Mapped, Option<How>) {
        let mut reads = Reads { explain, ..Reads::default() };
        let rule = self.mapping.rules.iter().find(|rule| rule.matches(self.node, self.mapping.spelling));
        let mut note = rule.and_then(|rule| rule.note.clone());
        let mut unmapped = false;
        let typed = rule.and_then(|rule| Some((rule.type_name.as_ref()?, rule)));
        let (class, event) = match typed.map(|(name, rule)| (name, self.data_of(rule, &mut reads))) {
            Some((name, Ok(data))) => (Class::Mapped, self.event(name, data, &mut reads)),
            other => {
                if let Some((name, Err(field))) = other {
                    note = Some(format!("not {name}: the record has no value for `{field}`"));
                    unmapped = true;
                }
                reads = Reads { explain, ..Reads::default() };
                let data = self.custom_data(&mut reads);
                (Class::Custom, self.event(&self.mapping.custom.name, data, &mut reads))
            }
        };
        let how = explain.then(|| self.how(rule, reads));
        (Mapped { event, class, note, mapping: self.mapping.name.clone(), unmapped }, how)
    }

    /// A rule's fields, or the name of the required one for which the record has no value.
    fn data_of(&self, rule: &'r Rule, reads: &mut Reads<'r>) -> Result<Object, &'r str> {
        let mut data = Object::new();
        for field in &rule.required {
            if !self.fill(&mut data, field, reads) {
                return Err(&field.name);
            }
        }
        for field in &rule.optional {
            self.fill(&mut data, field, reads);
        }
        Ok(data)
    }

    fn fill(&self, data: &mut Object, field: &'r Field, reads: &mut Reads<'r>) -> bool {
        let found = field.source.find(self.node, self.mapping.spelling);
        if let Some(found) = &found {
            reads.note(&field.name, found);
            data.insert(field.name.as_str(), found.value.clone());
        }
        found.is_some()
    }

    /// The fields of the custom type. What belongs to a person is left to the attachment where the
    /// record names none.
    fn custom_data(&self, reads: &mut Reads<'r>) -> Object {
        let mut found: Vec<(&str, Found<'r>)> = Vec::new();
        for field in &self.mapping.custom_fields {
            let value = field.source.find(self.node, self.mapping.spelling);
            found.extend(value.map(|value| (field.name.as_str(), value)));
        }
        let declared = |name: &str| self.mapping.custom.fields.iter().find(|field| field.name == name);
        let named: Vec<Namespace> =
            found.iter().filter_map(|(name, _)| declared(name)?.identifies).collect();
        let mut data = Object::new();
        for (name, value) in found {
            let lies = declared(name).is_none_or(|field| {
                let owners = field.owner.namespaces();
                let owned = || owners.iter().any(|namespace| named.contains(namespace));
                field.identifies.is_some() || owners.is_empty() || owned()
            });
            if lies {
                reads.note(name, &value);
                data.insert(name, value.value);
            }
        }
        data
    }

    fn event(&self, type_name: &str, data: Object, reads: &mut Reads<'r>) -> Event {
        let mapping = self.mapping;
        let time = mapping.time.iter().find_map(|time| Some((time, time.find(self.node)?)));
        let time = time.map(|(source, (text, us, node))| {
            reads.note_node("time", source.path.to_string(), Value::String(text.clone()), node);
            (text, us)
        });
        let (time, time_us) = time.map_or((None, None), |(text, us)| (Some(text), Some(us)));
        let said = |text: &str| data.iter().any(|(_, value)| value.as_str() == Some(text));
        let fits = |text: &str| text.chars().count() <= SUBJECT_CHARS_MAX && !said(text);
        let resource = mapping.resource.as_ref();
        let resource = resource.and_then(|source| source.find(self.node, mapping.spelling));
        let resource = resource.filter(|found| found.value.as_str().is_some_and(fits));
        let subject = resource.and_then(|found| {
            reads.note("resource", &found);
            found.value.as_str().map(str::to_owned)
        });
        let attributes = self.attributes(&said, reads);
        Event {
            id: id(self.bytes),
            source: mapping.source.clone(),
            type_name: type_name.to_owned(),
            time,
            time_us,
            sequence: None,
            subject,
            attributes,
            data,
            raw: Some(Raw { content_type: RAW_CONTENT_TYPE.to_owned(), bytes: self.bytes.to_vec() }),
        }
    }

    /// Ids by which events of one business transaction are found together; not one that is `said` in the
    /// data already, since it may be a person's there.
    fn attributes(&self, said: &dyn Fn(&str) -> bool, reads: &mut Reads<'r>) -> Object {
        let mut attributes = Object::new();
        let correlation = self.mapping.correlation.as_ref();
        let found = correlation.and_then(|source| source.find(self.node, self.mapping.spelling));
        let fits = |text: &str| is_opaque_id(text) && !said(text);
        if let Some(found) = found.filter(|found| found.value.as_str().is_some_and(fits)) {
            reads.note("correlationid", &found);
            attributes.insert("correlationid", found.value);
        }
        if let Some(trace) = &self.mapping.trace {
            let hex = |node: &'r Node<'r>, digits: usize| {
                let text = node.text()?.to_ascii_lowercase();
                let valid = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
                (valid && text.bytes().any(|b| b != b'0')).then_some((text, node))
            };
            let id = trace.trace_id.find(self.node, &mut |node| hex(node, TRACE_HEX_DIGITS));
            let span = trace.span_id.find(self.node, &mut |node| hex(node, SPAN_HEX_DIGITS));
            if let (Some((id, node)), Some((span, span_node))) = (id, span) {
                // Whether the trace was sampled is not known here; 00 claims nothing (section 3.2.3).
                let context = Value::String(format!("00-{id}-{span}-00"));
                let path = format!("{}, {}", trace.trace_id, trace.span_id);
                reads.note_node("traceparent", path, context.clone(), node);
                reads.nodes.push(span_node);
                attributes.insert("traceparent", context);
            }
        }
        attributes
    }

    fn how(&self, rule: Option<&Rule>, reads: Reads<'r>) -> How {
        let why = |condition: &Condition| condition.why(self.node, self.mapping.spelling);
        let accepted = self.mapping.accept.iter().map(why).collect();
        How {
            mapping: self.mapping.name.clone(),
            accepted,
            unwrapped: None,
            within: None,
            rule_line: rule.map(|rule| rule.line),
            fields: reads.fields,
            left: super::explain::left(self.whole, &reads.nodes),
        }
    }
}

fn is_opaque_id(text: &str) -> bool {
    CORRELATION_CHARS.contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && text.bytes().any(|b| b.is_ascii_digit())
}
