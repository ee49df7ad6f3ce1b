//! Paths into a vendor's JSON.
//!
//! In scope: `a.b`, `a[0]`, `a[]` (any item), `'a.b'` (a key with a dot in it); finding nodes by
//! them, and the exact slices of a text that they name. Out of scope: what is done with them.
//!
//! Invariant: a slice is the text's own bytes, from the first byte of the value to its last.

use super::lax::{DEPTH_MAX, LaxError, Node, Reader};

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Item(usize),
    Any,
}

impl Path {
    /// Reads a path; `None` if it is not one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, after) = if let Some(inner) = rest.strip_prefix('[') {
                let (index, after) = inner.split_once(']')?;
                (if index.is_empty() { Step::Any } else { Step::Item(index.parse().ok()?) }, after)
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
        (!steps.is_empty() && steps.len() <= DEPTH_MAX).then_some(Self(steps))
    }

    /// The first thing that `choose` makes of the nodes at this path, in the text's order.
    pub(super) fn find<'n, R>(
        &self,
        node: &'n Node<'_>,
        choose: &mut dyn FnMut(&'n Node<'_>) -> Option<R>,
    ) -> Option<R> {
        find(&self.0, node, choose)
    }

    /// The slices of `text` at this path. Below `[]` there may be many, elsewhere at most one unless
    /// a key is repeated.
    pub(super) fn slices<'a>(&self, text: &'a [u8]) -> Result<Vec<&'a [u8]>, LaxError> {
        let mut reader = Reader::new(text)?;
        let mut out = Vec::new();
        collect(&self.0, &mut reader, 0, &mut out)?;
        reader.finish()?;
        Ok(out)
    }
}

fn find<'n, R>(
    steps: &[Step],
    node: &'n Node<'_>,
    choose: &mut dyn FnMut(&'n Node<'_>) -> Option<R>,
) -> Option<R> {
    let Some((step, rest)) = steps.split_first() else { return choose(node) };
    match (step, node) {
        (Step::Key(key), _) => find(rest, node.get(key)?, choose),
        (Step::Item(index), Node::Array(items)) => find(rest, items.get(*index)?, choose),
        (Step::Any, Node::Array(items)) => items.iter().find_map(|item| find(rest, item, choose)),
        _ => None,
    }
}

fn collect<'a>(
    steps: &[Step],
    reader: &mut Reader<'a>,
    depth: usize,
    out: &mut Vec<&'a [u8]>,
) -> Result<(), LaxError> {
    let Some((step, rest)) = steps.split_first() else {
        let start = reader.at();
        reader.skip(depth)?;
        out.push(reader.since(start).as_bytes());
        return Ok(());
    };
    match (step, reader.peek()) {
        (Step::Key(wanted), Some(b'{')) => reader.members(depth, &mut |reader, key| {
            if key == *wanted { collect(rest, reader, depth + 1, out) } else { reader.skip(depth + 1) }
        }),
        (Step::Any | Step::Item(_), Some(b'[')) => {
            let mut index = 0;
            reader.items(depth, &mut |reader| {
                let wanted = *step == Step::Any || *step == Step::Item(index);
                index += 1;
                if wanted { collect(rest, reader, depth + 1, out) } else { reader.skip(depth + 1) }
            })
        }
        _ => reader.skip(depth),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lax;
    use super::*;

    fn found(json: &str, path: &str) -> Option<String> {
        let node = lax::parse(json.as_bytes()).unwrap();
        Path::parse(path).unwrap().find(&node, &mut |node| node.text().map(str::to_owned))
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
    fn slices_are_verbatim() {
        let text = b" {\"x\": [1, 2], \"Records\" : [ {\"a\" : 1e999 ,\"a\":\"]\\\"}\"} ,{} ]}\n";
        let records = Path::parse("Records[]").unwrap().slices(text).unwrap();
        assert_eq!(records, [b"{\"a\" : 1e999 ,\"a\":\"]\\\"}\"}".as_slice(), b"{}"]);
        assert_eq!(Path::parse("x[1]").unwrap().slices(text).unwrap(), [b"2"]);
        assert_eq!(Path::parse("[]").unwrap().slices(b"[[1],2]").unwrap(), [b"[1]".as_slice(), b"2"]);
        assert!(Path::parse("x.y").unwrap().slices(text).unwrap().is_empty());
        assert!(Path::parse("x").unwrap().slices(b"{\"x\":1}}").is_err());
    }

    #[test]
    fn refuses_what_is_not_a_path() {
        for text in ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[0", "'a", "a'b'", "a[0]b"] {
            assert_eq!(Path::parse(text), None, "{text}");
        }
    }
}
