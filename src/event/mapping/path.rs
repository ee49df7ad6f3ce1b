//! Paths into a vendor's JSON.
//!
//! In scope: `a.b`, `a[0]`, `a[]` (any item), `a[k=v]` (items whose member `k` reads `v`), `'a.b'` (a
//! key with a dot in it); finding nodes by them. Out of scope: what is done with them.
//!
//! Invariant: a path finds the first node in the text's order that its user accepts.

use std::fmt;

use super::lax::{DEPTH_MAX, Node};

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    pub(super) steps: Vec<Step>,
    text: String,
    /// Whether keys that differ in case and underscores only are the same.
    any_spelling: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Key(String),
    Item(usize),
    Any,
    Where(String, String),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Path {
    /// Reads a path; `None` if it is not one.
    pub(super) fn parse(text: &str, any_spelling: bool) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, after) = if let Some(inner) = rest.strip_prefix('[') {
                let (within, after) = inner.split_once(']')?;
                (bracket(within)?, after)
            } else if let Some(inner) = rest.strip_prefix('\'') {
                let (key, after) = inner.split_once('\'')?;
                (Step::Key(key.to_owned()), after)
            } else {
                let (key, after) = rest.split_at(rest.find(['.', '[', '\'']).unwrap_or(rest.len()));
                if key.is_empty() {
                    return None;
                }
                (Step::Key(key.to_owned()), after)
            };
            steps.push(step);
            rest = match after.strip_prefix('.') {
                Some("") => return None,
                Some(next) => next,
                None if after.is_empty() || after.starts_with('[') => after,
                None => return None,
            };
        }
        let path = Self { steps, text: text.to_owned(), any_spelling };
        (!path.steps.is_empty() && path.steps.len() <= DEPTH_MAX).then_some(path)
    }

    /// This path below another one.
    pub(super) fn below(&self, outer: &Self) -> Self {
        let steps = outer.steps.iter().chain(&self.steps).cloned().collect();
        let dot = if self.text.starts_with('[') { "" } else { "." };
        let text = format!("{}{dot}{}", outer.text, self.text);
        Self { steps, text, any_spelling: self.any_spelling }
    }

    /// The first thing that `choose` makes of the nodes at this path, in the text's order.
    pub(super) fn find<'n, R>(
        &self,
        node: &'n Node<'n>,
        choose: &mut dyn FnMut(&'n Node<'n>) -> Option<R>,
    ) -> Option<R> {
        self.from(&self.steps, node, choose)
    }

    /// Whether anything is there.
    pub(super) fn leads_somewhere(&self, node: &Node<'_>) -> bool {
        self.find(node, &mut |_| Some(())).is_some()
    }

    fn from<'n, R>(
        &self,
        steps: &[Step],
        node: &'n Node<'n>,
        choose: &mut dyn FnMut(&'n Node<'n>) -> Option<R>,
    ) -> Option<R> {
        let Some((step, rest)) = steps.split_first() else { return choose(node) };
        match (step, node) {
            (Step::Key(key), _) => self.from(rest, self.member(node, key)?, choose),
            (Step::Item(index), Node::Array(items)) => self.from(rest, items.get(*index)?, choose),
            (Step::Any, Node::Array(items)) => {
                items.iter().find_map(|item| self.from(rest, item, choose))
            }
            (Step::Where(key, wanted), Node::Array(items)) => {
                let says = |item: &&Node<'n>| {
                    self.member(item, key).and_then(Node::text).is_some_and(|text| text == wanted)
                };
                items.iter().filter(says).find_map(|item| self.from(rest, item, choose))
            }
            _ => None,
        }
    }

    fn member<'n, 't>(&self, node: &'n Node<'t>, key: &str) -> Option<&'n Node<'t>> {
        if self.any_spelling { node.get_any_spelling(key) } else { node.get(key) }
    }
}

/// What stands between square brackets.
fn bracket(within: &str) -> Option<Step> {
    if within.is_empty() {
        return Some(Step::Any);
    }
    match within.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Some(Step::Where(key.to_owned(), value.to_owned()))
        }
        Some(_) => None,
        None => within.parse().ok().map(Step::Item),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lax;
    use super::*;

    fn find(json: &str, path: &str, any_spelling: bool) -> Option<String> {
        let node = lax::parse(json.as_bytes()).unwrap();
        let path = Path::parse(path, any_spelling).unwrap();
        path.find(&node, &mut |node| node.text().map(str::to_owned))
    }

    fn found(json: &str, path: &str) -> Option<String> {
        find(json, path, false)
    }

    #[test]
    fn finds_keys_items_and_any_item() {
        let json = r#"{"a":{"b":[{"c":null},{"c":"x"},{"c":"y"}]},"d.e":1}"#;
        assert_eq!(found(json, "a.b[].c").as_deref(), Some("x"));
        assert_eq!(found(json, "a.b[2].c").as_deref(), Some("y"));
        assert_eq!(found(json, "'d.e'").as_deref(), Some("1"));
        for nowhere in ["a.b[3].c", "a.c", "a.b.c", "a[0]", "d.e", "a"] {
            assert_eq!(found(json, nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn finds_items_by_what_they_say() {
        let json = r#"{"p":[{"Name":"a","v":[1]},{"Name":"b.c","v":2},{"Name":"a","v":3},4]}"#;
        assert_eq!(found(json, "p[Name=a].v").as_deref(), Some("3"), "the first is no scalar");
        assert_eq!(found(json, "p[Name=b.c].v").as_deref(), Some("2"));
        assert_eq!(found(json, "p[Name=d].v"), None);
        assert_eq!(found(json, "p[name=a].v"), None);
        assert_eq!(find(json, "P[name=a].v", true).as_deref(), Some("3"));
    }

    #[test]
    fn any_spelling_means_case_and_underscores() {
        let json = r#"{"eventTime":1,"event_time":2,"EVENTNAME":3,"_Id":4}"#;
        assert_eq!(find(json, "event_time", true).as_deref(), Some("2"), "the exact one comes first");
        assert_eq!(find(json, "eventName", true).as_deref(), Some("3"));
        assert_eq!(find(json, "id", true).as_deref(), Some("4"));
        assert_eq!(find(json, "event-name", true), None);
        assert_eq!(found(json, "eventName"), None);
    }

    #[test]
    fn refuses_what_is_not_a_path() {
        for text in
            ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[0", "'a", "a'b'", "a[0]b", "a[=b]", "a[b=]"]
        {
            assert_eq!(Path::parse(text, false), None, "{text}");
        }
    }
}
