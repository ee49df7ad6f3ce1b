//! From a file to the pieces a mapping reads.
//!
//! In scope: plain and gzip input, one record per line, JSON values laid out over lines. Out of
//! scope: what is in them. Invariants: a piece is the file's own bytes; at most one piece is held;
//! a piece that is too long is counted and skipped, never held.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;

use crate::event::mapping::DOCUMENT_BYTES_MAX;

use super::is_stdin;
use super::shape::{Shape, State};

/// First bytes of a gzip file (RFC 1952 section 2.3.1); no JSON text begins with them.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A line, or a document over several.
#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    /// Number of its first line, from 1.
    pub(super) line: u64,
    /// Its bytes without the line ending; none where it has more than [`DOCUMENT_BYTES_MAX`].
    pub(super) bytes: Option<Vec<u8>>,
}

/// How an input is laid out, told by its first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Unknown,
    /// A record in each line.
    Lines,
    /// Values over several lines.
    Values,
}

/// An input, piece by piece.
pub(super) struct Pieces {
    input: Box<dyn BufRead>,
    layout: Layout,
    line: u64,
    bytes_max: usize,
}

impl Pieces {
    /// Opens a file, or standard input for `-`; what is read of it moves `bar`.
    pub(super) fn open(path: &Path, bar: &ProgressBar) -> io::Result<Self> {
        let raw: Box<dyn Read> = if is_stdin(path) {
            Box::new(bar.wrap_read(io::stdin()))
        } else {
            Box::new(bar.wrap_read(File::open(path)?))
        };
        Self::new(Box::new(BufReader::with_capacity(1 << 16, raw)), DOCUMENT_BYTES_MAX)
    }

    fn new(mut input: Box<dyn BufRead>, bytes_max: usize) -> io::Result<Self> {
        // A pipe may give its first byte alone; then it takes a second read to see both.
        let mut start = [0; 2];
        let mut filled = 0;
        while let Some(rest) = start.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match input.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let zipped = filled == start.len() && start == GZIP_MAGIC;
        let start = start.into_iter().take(filled).collect::<Vec<u8>>();
        let input: Box<dyn BufRead> = Box::new(Cursor::new(start).chain(input));
        let input = if zipped {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(input)))
        } else {
            input
        };
        Ok(Self { input, layout: Layout::Unknown, line: 0, bytes_max })
    }

    /// The next piece, blank lines left out.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            let mut line = Line::new(self.layout != Layout::Lines);
            if !self.read_line(&mut line)? {
                return Ok(None);
            }
            self.line += 1;
            let number = self.line;
            if line.bytes.as_ref().is_some_and(|bytes| bytes.trim_ascii().is_empty()) {
                continue;
            }
            match line.shape.as_ref().map(Shape::state) {
                Some(State::Open) => return self.document(line).map(Some),
                Some(State::Closed) if self.layout == Layout::Unknown => self.layout = Layout::Lines,
                _ => {}
            }
            return Ok(Some(Piece { line: number, bytes: line.bytes.map(without_ending) }));
        }
    }

    /// Reads on to where the value ends that began in `text`. If it turns out to be none, its first
    /// line stands alone and the input goes on behind that, line by line from now on.
    fn document(&mut self, mut text: Line) -> io::Result<Piece> {
        let number = self.line;
        let first_line = text.bytes.as_ref().map_or(0, Vec::len);
        loop {
            let more = self.read_line(&mut text)?;
            self.line += u64::from(more);
            let state = text.shape.as_ref().map_or(State::Broken, Shape::state);
            match state {
                State::Open if more => continue,
                State::Closed => self.layout = Layout::Values,
                State::Open | State::Broken => {
                    self.layout = Layout::Lines;
                    if let Some(bytes) = &mut text.bytes {
                        let rest = Cursor::new(bytes.split_off(first_line));
                        let input = std::mem::replace(&mut self.input, Box::new(io::empty()));
                        self.input = Box::new(rest.chain(input));
                        self.line = number;
                    }
                }
            }
            return Ok(Piece { line: number, bytes: text.bytes.map(without_ending) });
        }
    }

    /// Appends the next line, its ending included; false at the end of the input.
    fn read_line(&mut self, line: &mut Line) -> io::Result<bool> {
        let mut any = false;
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let taken = end.unwrap_or(buffer.len());
            let chunk = buffer.get(..taken).unwrap_or_default();
            line.take(chunk, self.bytes_max);
            any |= taken > 0;
            self.input.consume(taken);
            if end.is_some() || taken == 0 {
                return Ok(any);
            }
        }
    }
}

/// What has been read of a piece.
struct Line {
    bytes: Option<Vec<u8>>,
    shape: Option<Shape>,
}

impl Line {
    fn new(shaped: bool) -> Self {
        Self { bytes: Some(Vec::new()), shape: shaped.then(Shape::new) }
    }

    fn take(&mut self, chunk: &[u8], bytes_max: usize) {
        if let Some(shape) = &mut self.shape {
            shape.feed(chunk);
        }
        match &mut self.bytes {
            Some(bytes) if bytes.len() + chunk.len() <= bytes_max => bytes.extend_from_slice(chunk),
            bytes => *bytes = None,
        }
    }
}

fn without_ending(mut bytes: Vec<u8>) -> Vec<u8> {
    for ending in [b'\n', b'\r'] {
        if bytes.last() == Some(&ending) {
            bytes.pop();
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// One byte at a time, as the slowest pipe would.
    struct Slow(Cursor<Vec<u8>>);

    impl Read for Slow {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let length = out.len().min(1);
            self.0.read(&mut out[..length])
        }
    }

    fn read(input: &[u8], bytes_max: usize) -> Vec<(u64, Option<String>)> {
        let open = |slow: bool| -> Box<dyn BufRead> {
            if slow {
                Box::new(BufReader::new(Slow(Cursor::new(input.to_vec()))))
            } else {
                Box::new(Cursor::new(input.to_vec()))
            }
        };
        let all = |slow: bool| {
            let mut pieces = Pieces::new(open(slow), bytes_max).unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            std::iter::from_fn(|| pieces.next().unwrap())
                .map(|piece| (piece.line, piece.bytes.map(text)))
                .collect::<Vec<_>>()
        };
        let found = all(false);
        assert_eq!(found, all(true), "how the input arrives does not matter");
        found
    }

    fn owned(expected: &[(u64, &str)]) -> Vec<(u64, Option<String>)> {
        expected.iter().map(|(line, text)| (*line, Some((*text).to_owned()))).collect()
    }

    #[test]
    fn lines_keep_their_numbers_and_bytes() {
        let lines = b"{\"a\":1}\r\n\n {\"b\":2} \nnot json\n{\"open\n{}";
        let expected =
            [(1, "{\"a\":1}"), (3, " {\"b\":2} "), (4, "not json"), (5, "{\"open"), (6, "{}")];
        assert_eq!(read(lines, 100), owned(&expected));
        assert!(read(b"", 100).is_empty() && read(b"\n \r\n", 100).is_empty());
    }

    #[test]
    fn values_over_lines_stay_whole_and_may_follow_each_other() {
        let document = "\u{feff}{\n\"Records\": [\n{\"a\": \"}\"}\n]\n}";
        assert_eq!(read(format!("{document}\n").as_bytes(), 100), owned(&[(1, document)]));
        let two = "[\n1\n]\n\n{}\n{\n}\n";
        assert_eq!(read(two.as_bytes(), 100), owned(&[(1, "[\n1\n]"), (5, "{}"), (6, "{\n}")]));
    }

    #[test]
    fn a_broken_first_line_swallows_nothing() {
        for bad in ["{\"a\":1,", "{\"a\":[{\"b\":1}", "{\"a\":", "[", "{\"a\":\"x", "nonsense {"] {
            let lines = format!("{bad}\n{{\"b\":2}}\n{{\"c\":3}}\n");
            let expected = [(1, bad), (2, "{\"b\":2}"), (3, "{\"c\":3}")];
            assert_eq!(read(lines.as_bytes(), 100), owned(&expected), "{bad}");
        }
    }

    #[test]
    fn what_is_too_long_is_counted_and_skipped() {
        let long = "x".repeat(50);
        let lines = format!("{{}}\n\"{long}\"\n{{\"b\":2}}\n");
        let expected = [(1, Some("{}".to_owned())), (2, None), (3, Some("{\"b\":2}".to_owned()))];
        assert_eq!(read(lines.as_bytes(), 20), expected);
        let document = format!("[\n\"{}\",\n\"{}\"\n]\n{{}}\n", &long[..15], &long[..15]);
        assert_eq!(read(document.as_bytes(), 20), [(1, None), (5, Some("{}".to_owned()))]);
    }

    #[test]
    fn gzip_is_told_by_its_first_bytes() {
        let mut zipped = Vec::new();
        for part in ["{\"a\":1}\n{\"b\"", ":2}\n"] {
            let mut encoder = flate2::write::GzEncoder::new(&mut zipped, flate2::Compression::fast());
            encoder.write_all(part.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        assert_eq!(read(&zipped, 100), owned(&[(1, "{\"a\":1}"), (2, "{\"b\":2}")]));
        let mut cut = Pieces::new(Box::new(Cursor::new(zipped[..30].to_vec())), 100).unwrap();
        assert!(std::iter::from_fn(|| cut.next().transpose()).any(|piece| piece.is_err()));
        assert_eq!(read(b"{", 100), owned(&[(1, "{")]));
    }
}
