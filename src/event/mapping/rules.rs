//! Rules: what a record must look like, and what its event is then made of.
//!
//! In scope: conditions, where a field's value comes from. Out of scope: reading rules from a file
//! ([`super::file`]), choosing among them ([`super::record`]), times ([`super::times`]).
//!
//! Invariant: a value is a scalar of the record, a table's entry or a constant of the mapping; nothing
//! is made up.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::lax::Node;
use super::path::Path;
use crate::event::json::Value;

/// Characters of a value taken from a record. Longer ones are not identifiers but content, which the
/// raw attachment holds; 512 is twice the longest Amazon resource name of IAM.
pub(super) const VALUE_CHARS_MAX: usize = 512;

/// Texts of a condition that are told; a list of deletions is longer than a line.
const TEXTS_SHOWN_MAX: usize = 4;

/// From a vendor's code to ours.
pub(super) type Table = BTreeMap<String, String>;

/// What must be true of a record.
#[derive(Debug)]
pub(super) enum Condition {
    /// Something about what is at a path; below `[]` one item that passes is enough.
    Is(Path, Test),
    /// Something about a value that the mapping has a name for.
    Of(String, Source, Test),
    /// All of these.
    All(Vec<Condition>),
    /// At least one of these.
    Any(Vec<Condition>),
    /// None of these.
    None(Vec<Condition>),
}

/// A test of one node. Texts are compared as they are, or in lower case where the mapping says that
/// case does not matter; they are then in lower case here.
#[derive(Debug)]
pub(super) enum Test {
    /// Something but `null` is there, or nothing but `null`.
    Exists(bool),
    OneOf(BTreeSet<String>),
    Prefix(Vec<String>),
    Suffix(Vec<String>),
}

/// How a mapping compares texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spelling {
    /// Keys that differ in case and underscores only are the same, and so are texts that differ in case.
    pub(super) any: bool,
}

impl Spelling {
    /// A text as it is compared.
    pub(super) fn fold(self, text: &str) -> Cow<'_, str> {
        if self.any { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) }
    }
}

impl Condition {
    pub(super) fn holds(&self, record: &Node<'_>, spelling: Spelling) -> bool {
        let each = |condition: &Self| condition.holds(record, spelling);
        match self {
            Self::Is(path, test) => test.passes(path, record, spelling),
            Self::Of(_, source, test) => {
                let found = source.find(record, spelling);
                let value = found.as_ref().and_then(|found| found.value.as_str());
                match (test, value) {
                    (Test::Exists(wanted), _) => found.is_some() == *wanted,
                    (_, Some(value)) => test.fits(&spelling.fold(value)),
                    (_, None) => false,
                }
            }
            Self::All(conditions) => conditions.iter().all(each),
            Self::Any(conditions) => conditions.iter().any(each),
            Self::None(conditions) => !conditions.iter().any(each),
        }
    }
}

impl Condition {
    /// Why it holds: of alternatives, the first that does.
    pub(super) fn why(&self, record: &Node<'_>, spelling: Spelling) -> String {
        match self {
            Self::Any(conditions) => {
                let held = conditions.iter().find(|condition| condition.holds(record, spelling));
                held.map_or_else(|| self.to_string(), |condition| condition.why(record, spelling))
            }
            Self::All(conditions) => {
                let each = conditions.iter().map(|condition| condition.why(record, spelling));
                each.collect::<Vec<_>>().join(" and ")
            }
            other => other.to_string(),
        }
    }
}

impl Test {
    fn passes(&self, path: &Path, record: &Node<'_>, spelling: Spelling) -> bool {
        if let Self::Exists(wanted) = self {
            let there = path.find(record, &mut |node| (*node != Node::Null).then_some(()));
            return there.is_some() == *wanted;
        }
        let mut hit = |node: &Node<'_>| {
            node.text().is_some_and(|text| self.fits(&spelling.fold(text))).then_some(())
        };
        path.find(record, &mut hit).is_some()
    }

    /// Whether a text passes.
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exists(wanted) => *wanted,
            Self::OneOf(texts) => texts.contains(text),
            Self::Prefix(starts) => starts.iter().any(|start| text.starts_with(start)),
            Self::Suffix(ends) => ends.iter().any(|end| text.ends_with(end)),
        }
    }

    /// What it asks, of what is called `name`.
    fn told(&self, name: &dyn fmt::Display) -> String {
        let quoted = |texts: &[String]| {
            let shown = texts.iter().take(TEXTS_SHOWN_MAX).map(|text| format!("`{text}`"));
            let more = if texts.len() > TEXTS_SHOWN_MAX { ", …" } else { "" };
            format!("{}{more}", shown.collect::<Vec<_>>().join(", "))
        };
        match self {
            Self::Exists(true) => format!("`{name}` exists"),
            Self::Exists(false) => format!("`{name}` does not exist"),
            Self::OneOf(texts) => {
                format!("`{name}` is {}", quoted(&texts.iter().cloned().collect::<Vec<_>>()))
            }
            Self::Prefix(texts) if texts.iter().any(String::is_empty) => {
                format!("`{name}` is a text or number")
            }
            Self::Prefix(texts) => format!("`{name}` begins with {}", quoted(texts)),
            Self::Suffix(texts) => format!("`{name}` ends with {}", quoted(texts)),
        }
    }
}

/// As it is told to whoever asks why a record was read as it was. The texts are the mapping's own.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |conditions: &[Self], word: &str| {
            conditions.iter().map(ToString::to_string).collect::<Vec<_>>().join(word)
        };
        match self {
            Self::All(conditions) => write!(f, "{}", joined(conditions, " and ")),
            Self::Any(conditions) => write!(f, "({})", joined(conditions, " or ")),
            Self::None(conditions) => write!(f, "not ({})", joined(conditions, " or ")),
            Self::Is(path, test) => f.write_str(&test.told(path)),
            Self::Of(name, _, test) => f.write_str(&test.told(name)),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Constant(Value),
    Path { path: Path, table: Option<Arc<Table>>, prefix: Option<String>, boolean: bool },
    First(Vec<Source>),
}

/// A value, and where it was found; nowhere for a constant.
pub(super) struct Found<'n> {
    pub(super) value: Value,
    pub(super) origin: Option<(&'n Path, &'n Node<'n>)>,
}

impl Source {
    pub(super) fn find<'n>(&'n self, record: &'n Node<'n>, spelling: Spelling) -> Option<Found<'n>> {
        match self {
            Self::Constant(value) => Some(Found { value: value.clone(), origin: None }),
            Self::First(sources) => sources.iter().find_map(|source| source.find(record, spelling)),
            Self::Path { path, table, prefix, boolean } => path.find(record, &mut |node| {
                let text = node.text().filter(|text| is_value(text))?;
                let text = match table {
                    Some(table) => table.get(spelling.fold(text).as_ref())?,
                    None => text,
                };
                let value = match (boolean, text) {
                    (true, "true") => Value::Bool(true),
                    (true, "false") => Value::Bool(false),
                    (true, _) => return None,
                    (false, _) => Value::String(format!("{}{text}", prefix.as_deref().unwrap_or(""))),
                };
                Some(Found { value, origin: Some((path, node)) })
            }),
        }
    }
}

/// Whether a vendor's text can stand in a field: not empty, not content, no control characters.
fn is_value(text: &str) -> bool {
    !text.trim().is_empty()
        && text.chars().count() <= VALUE_CHARS_MAX
        && !text.chars().any(char::is_control)
}

/// A field of `data` and where its value comes from.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) source: Source,
}

/// One rule. Without a type its records are custom events.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) type_name: Option<String>,
    pub(super) all: Vec<Condition>,
    pub(super) any: Vec<Condition>,
    pub(super) required: Vec<Field>,
    pub(super) optional: Vec<Field>,
    pub(super) note: Option<String>,
    /// Number of its line in the mapping file, from 1.
    pub(super) line: usize,
}

impl Rule {
    pub(super) fn matches(&self, record: &Node<'_>, spelling: Spelling) -> bool {
        let holds = |condition: &Condition| condition.holds(record, spelling);
        (self.any.is_empty() || self.any.iter().any(holds)) && self.all.iter().all(holds)
    }
}

/// Records that are events of ours already.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) types: BTreeSet<String>,
    pub(super) prefix: String,
}

impl Pass {
    /// Whether the record claims to be an event: `CloudEvents` or the flat form, of a type we know.
    pub(super) fn claims(&self, record: &Node<'_>) -> bool {
        let text = |key: &str| match record.get(key) {
            Some(Node::String(text)) => Some(text.as_ref()),
            _ => None,
        };
        let cloud_event = text("specversion").is_some();
        let flat = text("org").is_some() && text("producer").is_some();
        let known = |name: &str| self.types.contains(name) || name.starts_with(&self.prefix);
        (cloud_event || flat) && text("id").is_some() && text("type").is_some_and(known)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lax;
    use super::*;

    fn holds(json: &str, path: &str, test: Test) -> bool {
        let record = lax::parse(json.as_bytes()).unwrap();
        Condition::Is(Path::parse(path, false).unwrap(), test).holds(&record, Spelling::default())
    }

    #[test]
    fn conditions_compare_texts() {
        let json = r#"{"ro":true,"n":9007199254740993,"name":"GetObject","null":null,
            "list":[{"v":"a"},{"v":"b"}]}"#;
        let one_of = |text: &str| Test::OneOf([text.to_owned()].into());
        assert!(holds(json, "ro", one_of("true")));
        assert!(holds(json, "n", one_of("9007199254740993")));
        assert!(!holds(json, "n", one_of("9007199254740992")));
        assert!(holds(json, "name", Test::Prefix(vec!["Put".into(), "Get".into()])));
        assert!(holds(json, "name", Test::Suffix(vec!["Object".into()])));
        assert!(!holds(json, "name", Test::Suffix(vec!["Get".into()])));
        assert!(holds(json, "list[].v", one_of("b")) && !holds(json, "list[].v", one_of("c")));
        assert!(holds(json, "null", Test::Exists(false)) && holds(json, "list", Test::Exists(true)));
        assert!(holds(json, "gone", Test::Exists(false)) && !holds(json, "gone", Test::Exists(true)));
    }

    #[test]
    fn conditions_nest_and_case_may_not_matter() {
        let record = lax::parse(br#"{"Op":"GetBlob"}"#).unwrap();
        let is = |text: &str| {
            let one_of = Test::OneOf([text.to_owned()].into());
            Condition::Is(Path::parse("op", true).unwrap(), one_of)
        };
        let (any, exact) = (Spelling { any: true }, Spelling::default());
        assert!(is("getblob").holds(&record, any) && !is("getblob").holds(&record, exact));
        assert!(Condition::Any(vec![is("x"), is("getblob")]).holds(&record, any));
        assert!(!Condition::All(vec![is("x"), is("getblob")]).holds(&record, any));
        assert!(!Condition::None(vec![is("x"), is("getblob")]).holds(&record, any));
        let told = Condition::Any(vec![is("x"), Condition::None(vec![is("y")])]).to_string();
        assert_eq!(told, "(`op` is `x` or not (`op` is `y`))");
    }

    #[test]
    fn a_value_is_never_content() {
        let source = |path: &str| Source::Path {
            path: Path::parse(path, false).unwrap(),
            table: None,
            prefix: Some("p:".to_owned()),
            boolean: false,
        };
        let long = "x".repeat(VALUE_CHARS_MAX + 1);
        let limit = "x".repeat(VALUE_CHARS_MAX);
        let json = format!(
            r#"{{"ok":"a b","limit":"{limit}","long":"{long}","line":"a\nb","blank":" ","obj":{{}}}}"#
        );
        let record = lax::parse(json.as_bytes()).unwrap();
        let value =
            |path: &str| source(path).find(&record, Spelling::default()).map(|found| found.value);
        assert_eq!(value("ok"), Some(Value::from("p:a b")));
        assert!(value("limit").is_some());
        for path in ["long", "line", "blank", "obj", "gone"] {
            assert_eq!(value(path), None, "{path}");
        }
    }
}
