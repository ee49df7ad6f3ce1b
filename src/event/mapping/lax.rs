//! Vendor JSON, read only to look fields up.
//!
//! In scope: RFC 8259 text with what [`crate::event::json`] refuses on purpose: integers of any size,
//! repeated keys, unpaired surrogates, nesting to [`DEPTH_MAX`]. Out of scope: anything that is kept;
//! what is kept is the text itself, as a raw attachment.
//!
//! Invariants: a number keeps its spelling; a slice handed out is the text's own bytes; stack use is
//! bounded by [`DEPTH_MAX`].

use std::borrow::Cow;

/// Deepest nesting that is read. Real vendor events reach 30; common readers stop at 128.
pub(super) const DEPTH_MAX: usize = 128;

/// A JSON value, borrowed from its text.
#[derive(Debug, PartialEq)]
pub(super) enum Node<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it is spelled.
    Number(&'a str),
    /// A string, escapes decoded; half a surrogate pair reads U+FFFD.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Node<'a>>),
    /// An object, repeated keys and all.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The member under `key`; of repeated keys the last, which is what most readers take.
    pub(super) fn get(&self, key: &str) -> Option<&Node<'a>> {
        let Self::Object(members) = self else { return None };
        members.iter().rev().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The same; where no key is spelled so, that of a key that differs in case and underscores only.
    pub(super) fn get_any_spelling(&self, key: &str) -> Option<&Node<'a>> {
        let Self::Object(members) = self else { return None };
        let alike = || members.iter().rev().find(|(name, _)| spelled_alike(name, key));
        self.get(key).or_else(|| alike().map(|(_, node)| node))
    }

    /// A scalar's text: a string's content, a number's spelling, `true`, `false`.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Number(text) => Some(text),
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            _ => None,
        }
    }
}

/// Whether two keys differ in case and underscores only: `eventTime`, `event_time`, `eventtime`.
pub(super) fn spelled_alike(one: &str, other: &str) -> bool {
    let letters = |key: &str| {
        key.bytes().filter(|b| *b != b'_').map(|b| b.to_ascii_lowercase()).collect::<Vec<u8>>()
    };
    // Most keys differ at their first letter; told without taking memory for both.
    let first = |key: &str| key.bytes().find(|b| *b != b'_').map(|b| b.to_ascii_lowercase());
    first(one) == first(other) && letters(one) == letters(other)
}

/// Why a text is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaxError {
    /// Not JSON from this byte on.
    Syntax { offset: usize },
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
}

/// Reads a whole text.
pub(super) fn parse(bytes: &[u8]) -> Result<Node<'_>, LaxError> {
    let mut reader = Reader::new(bytes)?;
    let node = reader.value(0)?;
    reader.finish()?;
    Ok(node)
}

/// What is done with each member of an object: its value is read or skipped.
type EachMember<'f, 'a> = dyn FnMut(&mut Reader<'a>, Cow<'a, str>) -> Result<(), LaxError> + 'f;

/// Reads a text from left to right.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first value, behind a byte order mark.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, LaxError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| LaxError::Syntax { offset: error.valid_up_to() })?;
        let mut reader = Self { text, at: if text.starts_with('\u{feff}') { 3 } else { 0 } };
        reader.skip_space();
        Ok(reader)
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Nothing but white space is left.
    pub(super) fn finish(&mut self) -> Result<(), LaxError> {
        self.skip_space();
        if self.peek().is_none() { Ok(()) } else { self.fail() }
    }

    /// The text from `start` up to here.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or("")
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fail<T>(&self) -> Result<T, LaxError> {
        Err(LaxError::Syntax { offset: self.at })
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|b| !wanted(*b)).unwrap_or(rest.len());
        self.at += length;
        length
    }

    fn skip_space(&mut self) {
        self.skip_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn word(&mut self, word: &str) -> Result<(), LaxError> {
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return self.fail();
        }
        self.at += word.len();
        Ok(())
    }

    /// Reads the value here.
    pub(super) fn value(&mut self, depth: usize) -> Result<Node<'a>, LaxError> {
        match self.peek() {
            Some(b'{') => {
                let mut members = Vec::new();
                self.members(depth, &mut |reader, key| {
                    members.push((key, reader.value(depth + 1)?));
                    Ok(())
                })?;
                Ok(Node::Object(members))
            }
            Some(b'[') => {
                let mut items = Vec::new();
                self.items(depth, &mut |reader| {
                    items.push(reader.value(depth + 1)?);
                    Ok(())
                })?;
                Ok(Node::Array(items))
            }
            Some(b'"') => Ok(Node::String(self.string()?)),
            Some(b't') => self.word("true").map(|()| Node::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Node::Bool(false)),
            Some(b'n') => self.word("null").map(|()| Node::Null),
            _ => self.number().map(Node::Number),
        }
    }

    /// Passes over the value here.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), LaxError> {
        match self.peek() {
            Some(b'{') => self.members(depth, &mut |reader, _| reader.skip(depth + 1)),
            Some(b'[') => self.items(depth, &mut |reader| reader.skip(depth + 1)),
            Some(b'"') => self.string().map(drop),
            _ => self.value(depth).map(drop),
        }
    }

    /// Walks the object here; `each` reads or skips the member's value.
    pub(super) fn members(
        &mut self,
        depth: usize,
        each: &mut EachMember<'_, 'a>,
    ) -> Result<(), LaxError> {
        self.enter(depth)?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return self.fail();
            }
            self.skip_space();
            each(self, key)?;
            if self.close(b'}')? {
                return Ok(());
            }
        }
    }

    /// Walks the array here; `each` reads or skips the item.
    pub(super) fn items(
        &mut self,
        depth: usize,
        each: &mut dyn FnMut(&mut Self) -> Result<(), LaxError>,
    ) -> Result<(), LaxError> {
        self.enter(depth)?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.close(b']')? {
                return Ok(());
            }
        }
    }

    fn enter(&mut self, depth: usize) -> Result<(), LaxError> {
        if depth >= DEPTH_MAX {
            return Err(LaxError::TooDeep);
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// Behind a member or item: `true` at the closing bracket, `false` at the next member or item.
    fn close(&mut self, bracket: u8) -> Result<bool, LaxError> {
        self.skip_space();
        if self.take(bracket) {
            return Ok(true);
        }
        if !self.take(b',') {
            return self.fail();
        }
        self.skip_space();
        Ok(false)
    }

    fn number(&mut self) -> Result<&'a str, LaxError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return self.fail();
        }
        if self.take(b'.') && self.digits() == 0 {
            return self.fail();
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return self.fail();
            }
        }
        Ok(self.since(start))
    }

    fn digits(&mut self) -> usize {
        self.skip_while(|b| b.is_ascii_digit())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, LaxError> {
        if !self.take(b'"') {
            return self.fail();
        }
        let mut out = Cow::Borrowed("");
        loop {
            let start = self.at;
            self.skip_while(|b| b >= b' ' && b != b'"' && b != b'\\');
            let plain = self.since(start);
            if out.is_empty() {
                out = Cow::Borrowed(plain);
            } else {
                out.to_mut().push_str(plain);
            }
            if self.take(b'"') {
                return Ok(out);
            }
            if !self.take(b'\\') {
                return self.fail();
            }
            out.to_mut().push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, LaxError> {
        let Some(byte) = self.peek() else { return self.fail() };
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.unit()?;
                return self.pair(high);
            }
            _ => return self.fail(),
        };
        self.at += 1;
        Ok(plain)
    }

    /// Reads `uXXXX`.
    fn unit(&mut self) -> Result<u32, LaxError> {
        let digits = self.text.get(self.at + 1..self.at + 5).unwrap_or("");
        let hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        match u32::from_str_radix(digits, 16) {
            Ok(unit) if hex => {
                self.at += 5;
                Ok(unit)
            }
            _ => self.fail(),
        }
    }

    /// Joins a high surrogate with the low one that follows; either alone reads U+FFFD.
    fn pair(&mut self, first: u32) -> Result<char, LaxError> {
        let rest = self.text.get(self.at..).unwrap_or("");
        if (0xd800..0xdc00).contains(&first) && rest.starts_with("\\u") {
            let back = self.at;
            self.at += 1;
            let second = self.unit()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        parse(json.as_bytes()).unwrap().text().unwrap().to_owned()
    }

    #[test]
    fn keeps_what_the_strict_parser_refuses() {
        assert_eq!(text("18446744073709551616123"), "18446744073709551616123");
        assert_eq!(text("-1.50e+400"), "-1.50e+400");
        assert_eq!(
            text(r#""\ud83d\ude00 \ud83d \ude00 \ud83d\u0041""#),
            "\u{1f600} \u{fffd} \u{fffd} \u{fffd}A"
        );
        let twice = parse(br#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(twice.get("a"), Some(&Node::Number("2")));
        let deep = format!("{}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert!(parse(deep.as_bytes()).is_ok());
        assert_eq!(parse(format!("[{deep}]").as_bytes()), Err(LaxError::TooDeep));
    }

    #[test]
    fn decodes_escapes_once() {
        assert_eq!(text(r#""\\n\"\/\b\f\n\r\t\u00e9é""#), "\\n\"/\u{8}\u{c}\n\r\té\u{e9}");
        assert_eq!(text(r#""\u0000""#), "\0");
        assert_eq!(text("\"\\u0041\""), "A");
    }

    #[test]
    fn refuses_what_is_not_json() {
        for (json, offset) in [
            ("", 0),
            ("{", 1),
            ("[1,]", 3),
            ("{\"a\" 1}", 5),
            ("{\"a\":1,}", 7),
            ("01", 1),
            ("1.", 2),
            ("-", 1),
            ("1e", 2),
            ("+1", 0),
            ("nul", 0),
            ("\"\\x\"", 2),
            ("\"\\u12g4\"", 2),
            ("\"\\u+123\"", 2),
            ("\"a\nb\"", 2),
            ("\"a", 2),
            ("1 2", 2),
            ("'a'", 0),
            ("NaN", 0),
        ] {
            assert_eq!(parse(json.as_bytes()), Err(LaxError::Syntax { offset }), "{json}");
        }
        assert_eq!(parse(b"\"\xff\""), Err(LaxError::Syntax { offset: 1 }));
    }

    #[test]
    fn follows_the_public_suite() {
        let suite = "tests/vectors/json-parsing-suite/test_parsing";
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(suite);
        let mut counts = [0, 0];
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let read = parse(&std::fs::read(&path).unwrap()).is_ok();
            let (valid, invalid) = (name.starts_with("y_"), name.starts_with("n_"));
            assert!(!valid || read, "{name} must be read");
            assert!(!invalid || !read, "{name} must be refused");
            counts[0] += usize::from(valid);
            counts[1] += usize::from(invalid);
        }
        assert!(counts[0] > 90 && counts[1] > 180, "{counts:?}");
    }
}
