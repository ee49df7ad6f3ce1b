//! Where a JSON value that is laid out over lines ends.
//!
//! In scope: strings, brackets and what may follow what, byte by byte. Out of scope: whether the
//! value is JSON, which the mapping decides. Invariant: a text that cannot become a value is found
//! out at the first byte that shows it, so that a broken line does not swallow the lines after it.

/// Deepest nesting that is followed; deeper texts are not mapped either.
const DEPTH_MAX: usize = 1_024;

/// A byte order mark, which some tools write before the first line.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// How far a text has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It goes on.
    Open,
    /// It is one value.
    Closed,
    /// It can never be one value.
    Broken,
}

/// What stands before the next byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Start,
    Opened,
    Comma,
    Colon,
    Value,
}

/// A text so far.
#[derive(Debug)]
pub(super) struct Shape {
    brackets: Vec<u8>,
    last: Last,
    in_string: bool,
    escaped: bool,
    in_literal: bool,
    broken: bool,
}

impl Shape {
    /// Before the first byte.
    pub(super) fn new() -> Self {
        Self {
            brackets: Vec::new(),
            last: Last::Start,
            in_string: false,
            escaped: false,
            in_literal: false,
            broken: false,
        }
    }

    /// Reads on.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.broken {
                return;
            }
            self.broken = !self.takes(*byte);
        }
    }

    /// Where the text stands.
    pub(super) fn state(&self) -> State {
        let ended = self.last == Last::Value || self.in_literal;
        match self.broken {
            true => State::Broken,
            false if ended && !self.in_string && self.brackets.is_empty() => State::Closed,
            false => State::Open,
        }
    }

    fn takes(&mut self, byte: u8) -> bool {
        if self.in_string {
            return self.takes_in_string(byte);
        }
        let literal = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if self.in_literal && !literal {
            self.in_literal = false;
            self.last = Last::Value;
        }
        let in_object = self.brackets.last() == Some(&b'{');
        let key_comes = in_object && matches!(self.last, Last::Opened | Last::Comma);
        let value_fits = self.last != Last::Value && !key_comes;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => true,
            _ if self.last == Last::Start && BOM.contains(&byte) => true,
            b'"' => {
                self.in_string = true;
                self.last != Last::Value
            }
            b'{' | b'[' => {
                self.brackets.push(byte);
                self.last = Last::Opened;
                value_fits && self.brackets.len() <= DEPTH_MAX
            }
            b'}' | b']' => {
                let opened = self.brackets.pop();
                let ends_well = matches!(self.last, Last::Value | Last::Opened);
                self.last = Last::Value;
                ends_well && opened == Some(if byte == b'}' { b'{' } else { b'[' })
            }
            b',' => std::mem::replace(&mut self.last, Last::Comma) == Last::Value,
            b':' => in_object && std::mem::replace(&mut self.last, Last::Colon) == Last::Value,
            _ if literal && self.in_literal => true,
            _ if literal => {
                self.in_literal = true;
                value_fits
            }
            _ => false,
        }
    }

    fn takes_in_string(&mut self, byte: u8) -> bool {
        match byte {
            b'\n' => return false,
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => {
                self.in_string = false;
                self.last = Last::Value;
            }
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> State {
        let mut shape = Shape::new();
        shape.feed(text.as_bytes());
        shape.state()
    }

    #[test]
    fn whole_values_are_closed() {
        for text in [
            "{}",
            "[]\n",
            "{\"a\":1}",
            " [1, 2.5e-3,\"]\",{\"b\":[null]}]\r\n",
            "7",
            "\"\\\"\"",
            "true",
            "\u{feff}{}",
            "{\"a\\\\\":{}}",
        ] {
            assert_eq!(state(text), State::Closed, "{text}");
        }
    }

    #[test]
    fn the_start_of_a_value_is_open() {
        for text in
            ["{", "[\n", "{\"a\":\n", "{\"a\": 1,\n  \"b\"", "[{}\n,", "{\"a\":[{\"b\":1}", "\"x"]
        {
            assert_eq!(state(text), State::Open, "{text}");
        }
    }

    #[test]
    fn lines_that_do_not_belong_together_are_broken() {
        for text in [
            "{\"a\":1\n{\"b\":2}",
            "{\"a\":1,\n{\"b\":2}",
            "{\"a\":\"x\n",
            "[1\n[2]",
            "{}{}",
            "{} 7",
            "not json",
            "]",
            "{]",
            "{\"a\":}",
            "[1,]",
            ":",
            "[1:2]",
            "# x",
            "{a:1}",
            "{\"a\":{\"b\":1}\n{",
            "\"\\\n\"",
        ] {
            assert_eq!(state(text), State::Broken, "{text}");
        }
        assert_eq!(state(&"[".repeat(DEPTH_MAX)), State::Open);
        assert_eq!(state(&"[".repeat(DEPTH_MAX + 1)), State::Broken);
    }
}
