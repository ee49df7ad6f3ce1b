//! Records in an envelope: the exact slices of a text that a path names.
//!
//! In scope: slices, and slices with what stands around them. Out of scope: whether they are records.
//!
//! Invariants: a slice is the text's own bytes, from the first byte of the value to its last; with its
//! surroundings it is the text without the other items of the arrays on the way, so that the same
//! record reads the same however many stood beside it.

use std::borrow::Cow;

use super::lax::{LaxError, Reader, spelled_alike};
use super::path::{Path, Step};

/// Where records lie in an envelope.
#[derive(Clone, Debug)]
pub(super) struct Unwrap {
    pub(super) path: Path,
    pub(super) any_spelling: bool,
    /// Whether a record keeps what stands around it.
    pub(super) keep: bool,
}

/// From where to where in the text: contents of each array on the way and the item taken of it,
/// outermost first.
#[derive(Clone, Debug)]
struct Found {
    arrays: Vec<(usize, usize, usize, usize)>,
    start: usize,
    end: usize,
}

impl Unwrap {
    /// The records of `text`. Below `[]` there may be many, elsewhere at most one unless a key is
    /// repeated.
    pub(super) fn slices<'a>(&self, text: &'a [u8]) -> Result<Vec<Cow<'a, [u8]>>, LaxError> {
        let mut reader = Reader::new(text)?;
        let mut walk = Walk { any_spelling: self.any_spelling, found: Vec::new() };
        walk.collect(&self.path.steps, &mut reader, 0)?;
        reader.finish()?;
        Ok(walk.found.iter().map(|found| self.bytes(text, found)).collect())
    }

    fn bytes<'a>(&self, text: &'a [u8], found: &Found) -> Cow<'a, [u8]> {
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        if !self.keep {
            return Cow::Borrowed(part(found.start, found.end));
        }
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        let (mut from, mut to) = (0, text.len());
        for (opened, item, item_end, closed) in &found.arrays {
            before.push(part(from, *opened));
            behind.push(part(*closed, to));
            (from, to) = (*item, *item_end);
        }
        before.push(part(from, to));
        before.extend(behind.into_iter().rev());
        Cow::Owned(before.concat())
    }
}

struct Walk {
    any_spelling: bool,
    found: Vec<Found>,
}

impl Walk {
    fn collect(
        &mut self,
        steps: &[Step],
        reader: &mut Reader<'_>,
        depth: usize,
    ) -> Result<(), LaxError> {
        let Some((step, rest)) = steps.split_first() else {
            let start = reader.at();
            reader.skip(depth)?;
            self.found.push(Found { arrays: Vec::new(), start, end: reader.at() });
            return Ok(());
        };
        match (step, reader.peek()) {
            (Step::Key(wanted), Some(b'{')) => {
                let any_spelling = self.any_spelling;
                reader.members(depth, &mut |reader, key| {
                    let is = key == *wanted || (any_spelling && spelled_alike(&key, wanted));
                    if is { self.collect(rest, reader, depth + 1) } else { reader.skip(depth + 1) }
                })
            }
            (Step::Any | Step::Item(_), Some(b'[')) => self.items(step, rest, reader, depth),
            _ => reader.skip(depth),
        }
    }

    fn items(
        &mut self,
        step: &Step,
        rest: &[Step],
        reader: &mut Reader<'_>,
        depth: usize,
    ) -> Result<(), LaxError> {
        let opened = reader.at() + 1;
        let first = self.found.len();
        let mut index = 0;
        reader.items(depth, &mut |reader| {
            let wanted = *step == Step::Any || *step == Step::Item(index);
            index += 1;
            if !wanted {
                return reader.skip(depth + 1);
            }
            let (start, before) = (reader.at(), self.found.len());
            self.collect(rest, reader, depth + 1)?;
            for found in self.found.iter_mut().skip(before) {
                found.arrays.insert(0, (opened, start, reader.at(), 0));
            }
            Ok(())
        })?;
        let closed = reader.at().saturating_sub(1);
        for found in self.found.iter_mut().skip(first) {
            if let Some(array) = found.arrays.first_mut() {
                array.3 = closed;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(path: &str, keep: bool, text: &[u8]) -> Result<Vec<String>, LaxError> {
        let path = Path::parse(path, false).unwrap();
        let slices = Unwrap { path, any_spelling: false, keep }.slices(text)?;
        let text = |slice: Cow<'_, [u8]>| String::from_utf8(slice.into_owned()).unwrap();
        Ok(slices.into_iter().map(text).collect())
    }

    #[test]
    fn slices_are_verbatim() {
        let text = b" {\"x\": [1, 2], \"Records\" : [ {\"a\" : 1e999 ,\"a\":\"]\\\"}\"} ,{} ]}\n";
        let records = slices("Records[]", false, text).unwrap();
        assert_eq!(records, ["{\"a\" : 1e999 ,\"a\":\"]\\\"}\"}", "{}"]);
        assert_eq!(slices("x[1]", false, text).unwrap(), ["2"]);
        assert_eq!(slices("[]", false, b"[[1],2]").unwrap(), ["[1]", "2"]);
        assert!(slices("x.y", false, text).unwrap().is_empty());
        assert!(slices("x", false, b"{\"x\":1}}").is_err());
    }

    #[test]
    fn an_envelope_is_kept_without_the_neighbours() {
        let text =
            b"{\"a\":[ {\"r\":1,\"b\":[{\"n\" : 1}, 2 ],\"s\":3} ,{\"b\":[5],\"r\":6}],\"z\":[7,8]}";
        let expected = [
            "{\"a\":[{\"r\":1,\"b\":[{\"n\" : 1}],\"s\":3}],\"z\":[7,8]}",
            "{\"a\":[{\"r\":1,\"b\":[2],\"s\":3}],\"z\":[7,8]}",
            "{\"a\":[{\"b\":[5],\"r\":6}],\"z\":[7,8]}",
        ];
        assert_eq!(slices("a[].b[]", true, text).unwrap(), expected);
        for alone in expected {
            let again = slices("a[].b[]", true, alone.as_bytes()).unwrap();
            assert_eq!(again, [alone], "a record alone reads as it does among others");
        }
        assert_eq!(slices("z[1]", true, b"{\"z\":[7,8]}").unwrap(), ["{\"z\":[8]}"]);
        assert_eq!(slices("z", true, b"{\"z\":[7,8]}").unwrap(), ["{\"z\":[7,8]}"]);
    }
}
