//! The strict JSON parser behind [`super::json::parse`].
//!
//! In scope: RFC 8259's grammar, decoded in one pass over UTF-8 text. Out of scope: what a number means
//! ([`super::number`]).
//!
//! Invariants: recursion stays within [`DEPTH_CEILING`]; an object's keys are found unique in linear time
//! while they are few and in O(n log n) beyond.
//!
//! Offences are of two sorts. After one against the grammar nothing further can be read. After one of
//! content (a key twice, an integer too large, too deep …) the text still parses, so a batch goes on to its
//! next item: see [`Items`].

use super::canonical::first_to_escape;
use super::json::{JsonError, JsonErrorKind, JsonLimits, Object, Value};
use super::number;

/// Nesting beyond which even a text that is to be refused is not followed: bounds the stack.
const DEPTH_CEILING: usize = 128;

/// Objects up to this many keys are searched for a duplicate key by key.
const LINEAR_KEYS_MAX: usize = 24;

/// Members an object is first given room for.
const MEMBERS_EXPECTED: usize = 4;

type Parsed<T> = Result<T, JsonError>;

/// [`super::json::parse`] with a bound on the number of values, and so on memory.
pub(super) fn parse_bounded(bytes: &[u8], limits: &JsonLimits, values_max: usize) -> Parsed<Value> {
    let mut parser = Parser::new(bytes, limits, values_max)?;
    parser.skip_white();
    let value = parser.value()?;
    parser.skip_white();
    parser.end()?;
    Ok(value)
}

/// One item of a batch.
pub(super) struct Item {
    /// The value, or the first offence of content in it.
    pub(super) value: Parsed<Value>,
    /// Length of the item's text in bytes.
    pub(super) text_bytes: usize,
}

/// The items of an array that is a whole text, one by one.
pub(super) struct Items<'a> {
    parser: Parser<'a>,
    values_max: usize,
    first: bool,
}

impl<'a> Items<'a> {
    /// Starts on an array; `None` if the text starts otherwise. Depth and number of values count per item.
    pub(super) fn new(bytes: &'a [u8], limits: &JsonLimits, values_max: usize) -> Parsed<Option<Self>> {
        let mut parser = Parser::new(bytes, limits, values_max)?;
        parser.tolerant = true;
        parser.skip_white();
        if parser.peek().is_none() {
            return Err(parser.error(JsonErrorKind::UnexpectedEnd));
        }
        Ok(parser.eat(b'[').then_some(Self { parser, values_max, first: true }))
    }

    /// The next item; `None` once the array and the text have ended. An error is against the grammar.
    pub(super) fn next(&mut self) -> Parsed<Option<Item>> {
        let parser = &mut self.parser;
        parser.skip_white();
        let first = std::mem::take(&mut self.first);
        if parser.eat(b']') {
            parser.skip_white();
            return parser.end().map(|()| None);
        }
        if !first {
            parser.expect(b',')?;
            parser.skip_white();
        }
        parser.values_left = self.values_max;
        let from = parser.at;
        let value = parser.value()?;
        let value = parser.offence.take().map_or(Ok(value), Err);
        Ok(Some(Item { value, text_bytes: parser.at - from }))
    }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    depth_max: usize,
    values_left: usize,
    /// Where the keys of the objects being read are, outermost first.
    key_offsets: Vec<usize>,
    /// Whether to read on after an offence of content.
    tolerant: bool,
    /// The first such offence.
    offence: Option<JsonError>,
}

impl<'a> Parser<'a> {
    fn new(bytes: &'a [u8], limits: &JsonLimits, values_max: usize) -> Parsed<Self> {
        if bytes.len() > limits.bytes_max {
            return Err(JsonError::new(JsonErrorKind::TooLong, limits.bytes_max));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|e| JsonError::new(JsonErrorKind::InvalidUtf8, e.valid_up_to()))?;
        Ok(Self {
            text,
            bytes,
            at: 0,
            depth: 0,
            depth_max: limits.depth_max.min(DEPTH_CEILING),
            values_left: values_max,
            key_offsets: Vec::new(),
            tolerant: false,
            offence: None,
        })
    }

    const fn error(&self, kind: JsonErrorKind) -> JsonError {
        JsonError::new(kind, self.at)
    }

    /// The grammar is broken here, or the text ends here.
    fn broken(&self) -> JsonError {
        let ended = self.at >= self.bytes.len();
        self.error(if ended { JsonErrorKind::UnexpectedEnd } else { JsonErrorKind::Syntax })
    }

    /// Notes an offence of content; reading goes on in a batch.
    #[cold]
    fn offend(&mut self, kind: JsonErrorKind, offset: usize) -> Parsed<()> {
        let error = JsonError::new(kind, offset);
        if !self.tolerant {
            return Err(error);
        }
        self.offence.get_or_insert(error);
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Parsed<()> {
        if self.eat(byte) { Ok(()) } else { Err(self.broken()) }
    }

    fn skip_white(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn end(&self) -> Parsed<()> {
        if self.at < self.bytes.len() { Err(self.error(JsonErrorKind::TrailingBytes)) } else { Ok(()) }
    }

    fn value(&mut self) -> Parsed<Value> {
        if self.values_left == 0 {
            self.offend(JsonErrorKind::TooLong, self.at)?;
        }
        self.values_left = self.values_left.saturating_sub(1);
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true", Value::Bool(true)),
            Some(b'f') => self.literal(b"false", Value::Bool(false)),
            Some(b'n') => self.literal(b"null", Value::Null),
            _ => Err(self.broken()),
        }
    }

    fn literal(&mut self, spelling: &[u8], value: Value) -> Parsed<Value> {
        for byte in spelling {
            self.expect(*byte)?;
        }
        Ok(value)
    }

    /// Reads an array or object one level further in.
    fn nested(&mut self, read: fn(&mut Self) -> Parsed<Value>) -> Parsed<Value> {
        if self.depth >= DEPTH_CEILING {
            return Err(self.error(JsonErrorKind::TooDeep));
        }
        if self.depth >= self.depth_max {
            self.offend(JsonErrorKind::TooDeep, self.at)?;
        }
        self.depth += 1;
        self.at += 1;
        self.skip_white();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Parsed<Value> {
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            let item = self.value()?;
            if self.offence.is_none() {
                items.push(item);
            }
            if !self.another(b']')? {
                return Ok(Value::Array(items));
            }
        }
    }

    fn object(&mut self) -> Parsed<Value> {
        if self.eat(b'}') {
            return Ok(Value::Object(Object::new()));
        }
        let mut members: Vec<(String, Value)> = Vec::with_capacity(MEMBERS_EXPECTED);
        let keys_from = self.key_offsets.len();
        loop {
            let key_at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.broken());
            }
            let key = self.string()?;
            if members.len() < LINEAR_KEYS_MAX && members.iter().any(|(other, _)| *other == key) {
                self.offend(JsonErrorKind::DuplicateKey, key_at)?;
            }
            self.key_offsets.push(key_at);
            self.skip_white();
            self.expect(b':')?;
            self.skip_white();
            let value = self.value()?;
            if self.offence.is_none() {
                members.push((key, value));
            }
            if !self.another(b'}')? {
                break;
            }
        }
        if members.len() > LINEAR_KEYS_MAX {
            self.refuse_duplicates(&members, keys_from)?;
        }
        self.key_offsets.truncate(keys_from);
        Ok(Value::Object(Object::from_unique(members)))
    }

    /// After an element: true if a comma announces another, false if `close` ends them.
    fn another(&mut self, close: u8) -> Parsed<bool> {
        self.skip_white();
        if self.eat(b',') {
            self.skip_white();
            return Ok(true);
        }
        self.expect(close).map(|()| false)
    }

    /// Finds duplicate keys by sorting; reports the first that repeats an earlier one.
    fn refuse_duplicates(&mut self, members: &[(String, Value)], keys_from: usize) -> Parsed<()> {
        let mut keys: Vec<(&str, usize)> =
            members.iter().enumerate().map(|(position, (key, _))| (key.as_str(), position)).collect();
        keys.sort_unstable();
        let neighbours = keys.iter().zip(keys.iter().skip(1));
        let repeated = neighbours.filter(|(a, b)| a.0 == b.0).map(|(_, b)| b.1).min();
        match repeated {
            None => Ok(()),
            Some(position) => {
                let offset = self.key_offsets.get(keys_from + position).copied().unwrap_or(self.at);
                self.offend(JsonErrorKind::DuplicateKey, offset)
            }
        }
    }

    /// Reads a string, the opening quote being next.
    fn string(&mut self) -> Parsed<String> {
        self.at += 1;
        let run = self.run()?;
        if self.eat(b'"') {
            return Ok(run.to_owned());
        }
        let mut decoded = run.to_owned();
        while !self.eat(b'"') {
            self.at += 1;
            self.escape(&mut decoded)?;
            decoded.push_str(self.run()?);
        }
        Ok(decoded)
    }

    /// The characters up to the next quote or backslash, where reading stops.
    fn run(&mut self) -> Parsed<&'a str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let special = first_to_escape(rest);
        let from = self.at;
        self.at += special.unwrap_or(rest.len());
        match self.peek() {
            Some(b'"' | b'\\') => self.text.get(from..self.at).ok_or_else(|| self.broken()),
            _ => Err(self.broken()),
        }
    }

    /// Decodes one escape, its backslash read.
    fn escape(&mut self, decoded: &mut String) -> Parsed<()> {
        let escape_at = self.at - 1;
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{C}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let unit = self.hex_unit()?;
                let code = if (0xD800..0xDC00).contains(&unit) { self.paired(unit) } else { Some(unit) };
                if let Some(character) = code.and_then(char::from_u32) {
                    decoded.push(character);
                    return Ok(());
                }
                return self.offend(JsonErrorKind::UnpairedSurrogate, escape_at);
            }
            _ => return Err(self.broken()),
        };
        self.at += 1;
        decoded.push(character);
        Ok(())
    }

    /// Four hexadecimal digits.
    fn hex_unit(&mut self) -> Parsed<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit =
                self.peek().and_then(|b| char::from(b).to_digit(16)).ok_or_else(|| self.broken())?;
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }

    /// Completes the pair that `high` begins, if an escape for its other half follows.
    fn paired(&mut self, high: u32) -> Option<u32> {
        let from = self.at;
        let low = if self.eat(b'\\') && self.eat(b'u') { self.hex_unit().ok() } else { None };
        match low {
            Some(low) if (0xDC00..0xE000).contains(&low) => {
                Some(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))
            }
            _ => {
                self.at = from;
                None
            }
        }
    }

    fn number(&mut self) -> Parsed<Value> {
        let from = self.at;
        let negative = self.eat(b'-');
        let magnitude = if self.eat(b'0') { 0 } else { self.digits()? };
        let mut exact = true;
        if self.eat(b'.') {
            exact = false;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            exact = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let value = if exact {
            number::integer(negative, magnitude)
        } else {
            number::float(self.text.get(from..self.at).unwrap_or_default())
        };
        match value {
            Ok(value) => Ok(value),
            Err(kind) => self.offend(kind, from).map(|()| Value::Null),
        }
    }

    /// One digit or more, as a saturating number.
    fn digits(&mut self) -> Parsed<u64> {
        let mut magnitude = 0_u64;
        let from = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            magnitude = magnitude.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == from { Err(self.broken()) } else { Ok(magnitude) }
    }
}
