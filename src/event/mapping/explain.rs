//! How a record became an event, for whoever asks.
//!
//! In scope: which mapping and rule, which field from which path, what only the attachment holds. Out
//! of scope: how it is printed. Invariant: everything but [`FieldRead::value`] and [`How::left`] comes
//! from the mapping file; those two hold what may be personal, so a printer shows them on request only.

use std::fmt::Write as _;
use std::sync::Arc;

use super::lax::Node;
use super::{Mapped, Refusal};
use crate::event::json::Value;

/// What became of one record, and how.
#[derive(Debug)]
pub struct Explained {
    /// The event, or why there is none.
    pub result: Result<Mapped, Refusal>,
    /// How it came about; absent for records that were not read.
    pub how: Option<How>,
}

/// How a record became an event.
#[derive(Debug, Default, PartialEq)]
pub struct How {
    /// The mapping.
    pub mapping: Arc<str>,
    /// Why it accepts the record: each of its conditions, or the alternative of it that holds.
    pub accepted: Vec<String>,
    /// The path at which the record was taken out of an envelope.
    pub unwrapped: Option<String>,
    /// The path at which the record proper lies in its line.
    pub within: Option<String>,
    /// The line of the rule in the mapping file, from 1; absent where no rule matches.
    pub rule_line: Option<usize>,
    /// The event's fields and attributes, in the order they were read.
    pub fields: Vec<FieldRead>,
    /// Paths of the record's values that no field holds. Keys of a record may be personal, so these are.
    pub left: Vec<String>,
}

/// Where a field comes from.
#[derive(Debug, PartialEq)]
pub struct FieldRead {
    /// The field of `data`; or `time`, `resource`, `correlationid`, `traceparent`.
    pub name: String,
    /// The path it was read from; absent for a constant of the mapping.
    pub path: Option<String>,
    /// Its value.
    pub value: Value,
}

/// The paths of the values below `node` that are not among `read`.
pub(super) fn left(node: &Node<'_>, read: &[&Node<'_>]) -> Vec<String> {
    let mut out = Vec::new();
    collect(node, read, &mut String::new(), &mut out);
    out
}

fn collect(node: &Node<'_>, read: &[&Node<'_>], path: &mut String, out: &mut Vec<String>) {
    let length = path.len();
    match node {
        Node::Object(members) => {
            for (key, member) in members {
                let dot = if length == 0 { "" } else { "." };
                let plain = !key.is_empty() && !key.contains(['.', '[', '\'']);
                // Writing to a text does not fail.
                let _ = if plain { write!(path, "{dot}{key}") } else { write!(path, "{dot}'{key}'") };
                collect(member, read, path, out);
                path.truncate(length);
            }
        }
        Node::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let _ = write!(path, "[{index}]");
                collect(item, read, path, out);
                path.truncate(length);
            }
        }
        Node::Null => {}
        _ if read.iter().any(|known| std::ptr::eq(*known, node)) => {}
        _ => out.push(path.clone()),
    }
}
