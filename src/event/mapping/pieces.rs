//! From a file's bytes to the lines a mapping reads.
//!
//! In scope: one event per line, and one JSON document laid out over many lines. Out of scope: reading
//! the file. Invariant: a piece is a slice of the input, without its line ending.

use super::lax::Reader;

/// Input that is mapped at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Number of its first line, from 1.
    pub line: usize,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Takes an input apart: into its lines, blank ones left out, or, where the whole input is one JSON
/// value over several lines (a pretty-printed `CloudTrail` file), into that one value.
pub fn pieces(input: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let whole = is_one_document(input).then_some(Piece { line: 1, bytes: input });
    let lines = input.split(|b| *b == b'\n').enumerate().map(|(number, line)| Piece {
        line: number + 1,
        bytes: line.strip_suffix(b"\r").unwrap_or(line),
    });
    let alone = whole.is_some();
    whole.into_iter().chain(lines.filter(move |piece| !alone && !piece.bytes.trim_ascii().is_empty()))
}

fn is_one_document(input: &[u8]) -> bool {
    let Ok(mut reader) = Reader::new(input) else { return false };
    let start = reader.at();
    if reader.skip(0).is_err() {
        return false;
    }
    reader.since(start).contains('\n') && reader.finish().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(input: &str) -> Vec<(usize, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        pieces(input.as_bytes()).map(|piece| (piece.line, text(piece.bytes))).collect()
    }

    #[test]
    fn lines_keep_their_numbers_and_bytes() {
        let got = split("{\"a\":1}\r\n\n {\"b\":2} \nnot json\n");
        let expected = [(1, "{\"a\":1}"), (3, " {\"b\":2} "), (4, "not json")];
        assert_eq!(got, expected.map(|(line, text)| (line, text.to_owned())));
        assert!(split("").is_empty() && split("\n \n").is_empty());
    }

    #[test]
    fn a_document_over_lines_stays_whole() {
        assert_eq!(split("{\n\"a\":1\n}\n"), [(1, "{\n\"a\":1\n}\n".to_owned())]);
        assert_eq!(split("{\n\"a\":1\n}\n{}").len(), 4);
        assert_eq!(split("{\"a\":1}\n").len(), 1);
    }
}
