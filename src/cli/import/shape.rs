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
    InString,
    Backslash,
    /// In a number or a word; one byte tells the next value from it.
    InLiteral,
    Broken,
}

/// A text so far.
#[derive(Debug)]
pub(super) struct Shape {
    brackets: Vec<u8>,
    last: Last,
}

impl Shape {
    /// Before the first byte.
    pub(super) fn new() -> Self {
        Self { brackets: Vec::new(), last: Last::Start }
    }

    /// Reads on.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.last = match self.last {
                Last::Broken => return,
                Last::InString | Last::Backslash if *byte == b'\n' => Last::Broken,
                Last::Backslash => Last::InString,
                Last::InString => match byte {
                    b'\\' => Last::Backslash,
                    b'"' => Last::Value,
                    _ => Last::InString,
                },
                last => self.outside_strings(last, *byte),
            };
        }
    }

    /// Where the text stands.
    pub(super) fn state(&self) -> State {
        match self.last {
            Last::Broken => State::Broken,
            Last::Value | Last::InLiteral if self.brackets.is_empty() => State::Closed,
            _ => State::Open,
        }
    }

    fn outside_strings(&mut self, last: Last, byte: u8) -> Last {
        let literal = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let last = if last == Last::InLiteral && !literal { Last::Value } else { last };
        let in_object = self.brackets.last() == Some(&b'{');
        let key_comes = in_object && matches!(last, Last::Opened | Last::Comma);
        let string_fits = !matches!(last, Last::Value | Last::InLiteral);
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => last,
            b'"' if string_fits => Last::InString,
            b'{' | b'[' if string_fits && !key_comes && self.brackets.len() < DEPTH_MAX => {
                self.brackets.push(byte);
                Last::Opened
            }
            b'}' | b']' if matches!(last, Last::Value | Last::Opened) => {
                let opened = if byte == b'}' { b'{' } else { b'[' };
                if self.brackets.pop() == Some(opened) { Last::Value } else { Last::Broken }
            }
            b',' if last == Last::Value && !self.brackets.is_empty() => Last::Comma,
            b':' if last == Last::Value && in_object => Last::Colon,
            _ if literal && (last == Last::InLiteral || (string_fits && !key_comes)) => Last::InLiteral,
            _ if last == Last::Start && BOM.contains(&byte) => Last::Start,
            _ => Last::Broken,
        }
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
