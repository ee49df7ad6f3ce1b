//! Frames: one encoding, and a refusal for everything else.

use super::*;

fn frame() -> Frame {
    let part = |role, owners, blob: &[u8]| SealedPart { role, owners, blob: blob.to_vec() };
    let first = Record {
        entry: b"entry".to_vec(),
        sealed: vec![part(1, vec![], b"open"), part(16, vec![[7; 8], [8; 8]], b"")],
    };
    Frame {
        first_index: 9,
        records: vec![first, Record::default()],
        persons: vec![b"p".to_vec(), vec![]],
        inbox: 7,
    }
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode_into(&mut out).unwrap();
    out
}

/// A frame around `body` with checksums that fit.
fn framed(entries: u32, persons: u32, body: &[u8]) -> Vec<u8> {
    let mut out = FRAME_MAGIC.to_vec();
    out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&9_u64.to_be_bytes());
    out.extend_from_slice(&entries.to_be_bytes());
    out.extend_from_slice(&persons.to_be_bytes());
    out.extend_from_slice(&7_u32.to_be_bytes());
    append_checksum(&mut out, 0);
    let start = out.len();
    out.extend_from_slice(body);
    append_checksum(&mut out, start);
    out
}

#[test]
fn the_layout_is_the_documented_one() {
    let body = [
        &b"\0\x05entry\x02"[..],
        b"\x01\0\0\0\0\x04open",
        b"\x10\x02\x07\x07\x07\x07\x07\x07\x07\x07\x08\x08\x08\x08\x08\x08\x08\x08\0\0\0\0",
        b"\0\0\0",
        b"\0\0\0\x01p\0\0\0\0",
    ]
    .concat();
    assert_eq!(encoded(&frame()), framed(2, 2, &body));
}

#[test]
fn decoding_gives_back_what_was_encoded_and_its_length() {
    let bytes = encoded(&frame());
    let len = len_u64(&bytes);
    assert_eq!(Frame::decode(&bytes, 100).unwrap(), (frame(), len));
    let followed = [bytes.as_slice(), b"next"].concat();
    assert_eq!(Frame::decode(&followed, 0).unwrap().1, len);
    assert_eq!(frame().next_index(), 11);
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let bytes = encoded(&frame());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert!(Frame::decode(&bad, 0).is_err(), "byte {at} bit {bit}");
        }
        let (offset, fault) = Frame::decode(&bytes[..at], 50).unwrap_err();
        assert_eq!(offset, 50);
        assert!(matches!(fault, Fault::EndsInside { found, .. } if found == len_u64_of(at)), "{fault}");
    }
}

#[test]
fn bodies_that_no_writer_writes_are_refused_at_their_place() {
    let cases: [(u32, u32, &[u8], &str, u64); 9] = [
        (1, 0, b"\0\x05entr", "an entry is cut short", 2),
        (1, 0, b"\0", "an entry's length is cut short", 0),
        (1, 0, b"\0\0", "a count of parts is cut short", 2),
        (1, 0, b"\0\0\x01\x01\x01short", "an owner is cut short", 5),
        (1, 0, b"\0\0\x01\x01\0\0\0\0\x09blob", "a blob is cut short", 5),
        (1, 0, b"\0\0\x02\x02\0\0\0\0\0\x02\0\0\0\0\0", "parts do not ascend by role", 10),
        (1, 1, b"\0\0\0", "a person is cut short", 3),
        (1, 0, b"\0\0\0x", "bytes follow the last person", 3),
        (1, u32::MAX, b"\0\0\0\0\0\0\x01", "a person is cut short", 3),
    ];
    for (entries, persons, body, what, at) in cases {
        let (offset, fault) = Frame::decode(&framed(entries, persons, body), 1_000).unwrap_err();
        assert_eq!(fault, Fault::Body(what));
        assert_eq!(offset, 1_032 + at, "{what}");
    }
}

#[test]
fn headers_that_no_writer_writes_are_refused() {
    assert_eq!(Frame::decode(&framed(0, 0, b""), 0).unwrap_err().1, Fault::HeaderField("entry count"));
    let with = |at: usize, bytes: &[u8]| {
        let mut header = encoded(&frame())[..FRAME_HEADER_BYTES].to_vec();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        header.truncate(HEADER_CHECKED_BYTES);
        append_checksum(&mut header, 0);
        FrameHeader::decode(&header).unwrap_err()
    };
    assert_eq!(with(0, b"CFJ2"), Fault::Magic);
    assert_eq!(with(4, &[0xff; 4]), Fault::HeaderField("body length"));
    assert_eq!(with(8, &[0xff; 8]), Fault::HeaderField("first index"));
}

#[test]
fn what_has_no_encoding_leaves_the_buffer_as_it_was() {
    let with = |change: &dyn Fn(&mut Frame)| {
        let mut frame = frame();
        change(&mut frame);
        let mut out = b"before".to_vec();
        let error = frame.encode_into(&mut out).unwrap_err();
        assert_eq!(out, b"before");
        error
    };
    assert_eq!(with(&|f| f.records.clear()), FrameError::Empty);
    assert_eq!(
        with(&|f| f.first_index = u64::MAX - 1),
        FrameError::IndexOverflow { first_index: u64::MAX - 1 }
    );
    let too_long = FrameError::EntryTooLong { index: 10, bytes: 65_536, limit: 65_535 };
    assert_eq!(with(&|f| f.records[1].entry = vec![0; 65_536]), too_long);
    assert_eq!(with(&|f| f.records[0].sealed[1].role = 1), FrameError::PartOrder { index: 9, role: 1 });
    let too_many = FrameError::TooMany { index: 9, count: 256 };
    assert_eq!(with(&|f| f.records[0].sealed[0].owners = vec![[0; 8]; 256]), too_many);
    assert!(matches!(
        with(&|f| f.persons[0] = vec![0; FRAME_BYTES_MAX]),
        FrameError::TooLarge { limit: FRAME_BYTES_MAX, .. }
    ));
}

#[test]
fn the_largest_frame_is_written_and_read() {
    let mut frame = frame();
    let room = FRAME_BYTES_MAX - encoded(&frame).len();
    frame.persons[0].extend(std::iter::repeat_n(1, room));
    let bytes = encoded(&frame);
    assert_eq!(bytes.len(), FRAME_BYTES_MAX);
    assert_eq!(Frame::decode(&bytes, 0).unwrap().0, frame);
    frame.persons[0].push(1);
    assert!(frame.encode_into(&mut Vec::new()).is_err());
}
