//! The JSON reader and writer against public test vectors and against other implementations.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test's helpers may fail it

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use counterfoil::event::json::{JsonErrorKind, JsonLimits, Object, Value, parse};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn vectors(dir: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(dir)
}

/// Name and content of each file of a directory, by name.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

fn read(bytes: &[u8]) -> Result<Value, JsonErrorKind> {
    parse(bytes, &JsonLimits { depth_max: 32, bytes_max: 1 << 20 }).map_err(|e| e.kind)
}

#[test]
fn writes_every_rfc8785_vector() {
    let root = vectors("jcs-rfc8785");
    let expected = files(&root.join("output"));
    let hex = files(&root.join("outhex"));
    let inputs = files(&root.join("input"));
    assert_eq!(inputs.len(), 6);
    for (name, input) in inputs {
        let written = read(&input).unwrap().to_canonical();
        assert_eq!(written, expected[&name], "{name}");
        let digits: String = String::from_utf8(hex[&name.replace(".json", ".txt")].clone())
            .unwrap()
            .split_whitespace()
            .collect();
        assert_eq!(hex::encode(&written), digits, "{name}");
        assert_eq!(read(&written).unwrap().to_canonical(), written, "{name} again");
    }
}

/// Texts of the suite that are JSON and that the ledger refuses, and why.
const REFUSED_BY_DESIGN: &[(&str, JsonErrorKind)] = &[
    // Two readers disagree on which of the values counts.
    ("y_object_duplicated_key.json", JsonErrorKind::DuplicateKey),
    ("y_object_duplicated_key_and_value.json", JsonErrorKind::DuplicateKey),
];

/// What RFC 8259 leaves to the reader, and our decision; `None` accepts.
const LEFT_TO_THE_READER: &[(&str, Option<JsonErrorKind>)] = &[
    // Rounds to zero in every reader of doubles.
    ("i_number_double_huge_neg_exp.json", None),
    ("i_number_real_underflow.json", None),
    // No finite double, or not the integer that was meant.
    ("i_number_huge_exp.json", Some(JsonErrorKind::NumberOutOfRange)),
    ("i_number_neg_int_huge_exp.json", Some(JsonErrorKind::NumberOutOfRange)),
    ("i_number_pos_double_huge_exp.json", Some(JsonErrorKind::NumberOutOfRange)),
    ("i_number_real_neg_overflow.json", Some(JsonErrorKind::NumberOutOfRange)),
    ("i_number_real_pos_overflow.json", Some(JsonErrorKind::NumberOutOfRange)),
    ("i_number_too_big_neg_int.json", Some(JsonErrorKind::IntegerTooLarge)),
    ("i_number_too_big_pos_int.json", Some(JsonErrorKind::IntegerTooLarge)),
    ("i_number_very_big_negative_int.json", Some(JsonErrorKind::IntegerTooLarge)),
    // No character.
    ("i_object_key_lone_2nd_surrogate.json", Some(JsonErrorKind::UnpairedSurrogate)),
    ("i_string_1st_surrogate_but_2nd_missing.json", Some(JsonErrorKind::UnpairedSurrogate)),
    ("i_string_1st_valid_surrogate_2nd_invalid.json", Some(JsonErrorKind::UnpairedSurrogate)),
    ("i_string_incomplete_surrogate_and_escape_valid.json", Some(JsonErrorKind::UnpairedSurrogate)),
    ("i_string_incomplete_surrogate_pair.json", Some(JsonErrorKind::UnpairedSurrogate)),
    ("i_string_incomplete_surrogates_escape_valid.json", Some(JsonErrorKind::UnpairedSurrogate)),
    ("i_string_invalid_lonely_surrogate.json", Some(JsonErrorKind::UnpairedSurrogate)),
    ("i_string_invalid_surrogate.json", Some(JsonErrorKind::UnpairedSurrogate)),
    ("i_string_inverted_surrogates_U+1D11E.json", Some(JsonErrorKind::UnpairedSurrogate)),
    ("i_string_lone_second_surrogate.json", Some(JsonErrorKind::UnpairedSurrogate)),
    // RFC 8259 section 8.1: exchanged JSON is UTF-8.
    ("i_string_UTF-16LE_with_BOM.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_UTF-8_invalid_sequence.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_UTF8_surrogate_U+D800.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_invalid_utf-8.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_iso_latin_1.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_lone_utf8_continuation_byte.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_not_in_unicode_range.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_overlong_sequence_2_bytes.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_overlong_sequence_6_bytes.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_overlong_sequence_6_bytes_null.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_truncated-utf-8.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_utf16BE_no_BOM.json", Some(JsonErrorKind::InvalidUtf8)),
    ("i_string_utf16LE_no_BOM.json", Some(JsonErrorKind::InvalidUtf8)),
    // Depth 32 is the limit; and no byte order mark (RFC 8259 section 8.1).
    ("i_structure_500_nested_arrays.json", Some(JsonErrorKind::TooDeep)),
    ("i_structure_UTF-8_BOM_empty_object.json", Some(JsonErrorKind::Syntax)),
];

#[test]
fn decides_every_text_of_the_parsing_suite() {
    let refused: BTreeMap<_, _> = REFUSED_BY_DESIGN.iter().copied().collect();
    let decided: BTreeMap<_, _> = LEFT_TO_THE_READER.iter().copied().collect();
    let texts = files(&vectors("json-parsing-suite/test_parsing"));
    let mut counts = [0; 3];
    for (name, text) in &texts {
        let outcome = read(text);
        match name.as_bytes()[0] {
            b'y' => {
                counts[0] += 1;
                assert_eq!(outcome.as_ref().err(), refused.get(name.as_str()), "{name}");
                if let Ok(value) = outcome {
                    let other: serde_json::Value = serde_json::from_slice(text).unwrap();
                    let theirs = serde_json_canonicalizer::to_vec(&other).unwrap();
                    assert_eq!(value.to_canonical(), theirs, "{name}");
                }
            }
            b'n' => {
                counts[1] += 1;
                assert!(outcome.is_err(), "{name}");
            }
            _ => {
                counts[2] += 1;
                assert_eq!(outcome.err(), decided[name.as_str()], "{name}");
            }
        }
    }
    assert_eq!(counts, [95, 188, 35]);
    assert!(refused.keys().all(|name| texts.contains_key(*name)));
}

/// The doubles of `es6testfile`: fixed ones, two thousand of the smallest normal ones, then a hash chain.
fn es6_doubles() -> impl Iterator<Item = u64> {
    let readme = std::fs::read_to_string(vectors("jcs-rfc8785").join("README.md")).unwrap();
    let fixed: Vec<u64> = readme
        .split("BigUint64Array([")
        .nth(1)
        .unwrap()
        .split("])")
        .next()
        .unwrap()
        .split(',')
        .filter_map(|word| word.trim().strip_prefix("0x")?.strip_suffix('n'))
        .map(|digits| u64::from_str_radix(digits, 16).unwrap())
        .collect();
    let serial = (0..2000).map(|i| 0x0010_0000_0000_0000 + i);
    let mut block = [0_u8; 32];
    let chain = std::iter::repeat_with(move || {
        block = Sha256::digest(block).into();
        block
    });
    let random = chain.flat_map(|block| {
        let words: Vec<u64> =
            block.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        words
    });
    let usable = |bits: &u64| f64::from_bits(*bits) != 0.0 && f64::from_bits(*bits).is_finite();
    fixed.into_iter().chain(serial).chain(random.filter(usable))
}

/// The published digest of the first 100,000 lines of `es6testfile100m.txt`.
#[test]
fn writes_one_hundred_thousand_doubles_as_ecmascript_does() {
    let mut lines = Sha256::new();
    for bits in es6_doubles().take(100_000) {
        let written = Value::Float(f64::from_bits(bits)).to_canonical();
        lines.update(format!("{bits:x},{}\n", String::from_utf8(written).unwrap()));
    }
    let published = "22776e6d4b49fa294a0d0f349268e5c28808fe7e0cb2bcbe28f63894e494d4c7";
    assert_eq!(hex::encode(lines.finalize()), published);
}

#[test]
fn errors_name_kind_and_offset() {
    use JsonErrorKind as Kind;
    let many = (0..100).map(|i| format!("\"k{i}\":0,")).collect::<Vec<_>>().concat();
    let far = format!("{{{many}\"k40\":1,\"k3\":1}}");
    let nested = format!("{{\"o\":{{\"x\":0,\"y\":0}},{many}\"k40\":1}}");
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    let table: &[(&[u8], Kind, usize)] = &[
        (b"", Kind::UnexpectedEnd, 0),
        (b"  ", Kind::UnexpectedEnd, 2),
        (b"[1", Kind::UnexpectedEnd, 2),
        (b"\"a", Kind::UnexpectedEnd, 2),
        (b"[1,]", Kind::Syntax, 3),
        (b"{\"a\":1,}", Kind::Syntax, 7),
        (b"\"a\nb\"", Kind::Syntax, 2),
        (b"\"\\x\"", Kind::Syntax, 2),
        (b"tru e", Kind::Syntax, 3),
        (b"+1", Kind::Syntax, 0),
        (b"01", Kind::TrailingBytes, 1),
        (b"{} {}", Kind::TrailingBytes, 3),
        (b"\xEF\xBB\xBF{}", Kind::Syntax, 0),
        (b"[\"\xFF\"]", Kind::InvalidUtf8, 2),
        (b"[\"ab\\uD800\"]", Kind::UnpairedSurrogate, 4),
        (b"[\"\\uDC00\\uD800\"]", Kind::UnpairedSurrogate, 2),
        (b"{\"a\":{\"x\":1,\"\\u0078\":2}}", Kind::DuplicateKey, 12),
        (far.as_bytes(), Kind::DuplicateKey, 1 + many.len()),
        (nested.as_bytes(), Kind::DuplicateKey, nested.len() - 8),
        (b"[1,9007199254740993]", Kind::IntegerTooLarge, 3),
        (b"[-9007199254740993]", Kind::IntegerTooLarge, 1),
        (b"[1e20]", Kind::IntegerTooLarge, 1),
        (b"[1e999]", Kind::NumberOutOfRange, 1),
        (deep.as_bytes(), Kind::TooDeep, 32),
    ];
    for (text, kind, offset) in table {
        let error = parse(text, &JsonLimits::default()).unwrap_err();
        assert_eq!((error.kind, error.offset), (*kind, *offset), "{}", String::from_utf8_lossy(text));
    }
    assert!(parse(&deep.as_bytes()[1..65], &JsonLimits::default()).is_ok(), "32 levels are allowed");
    let long = vec![b' '; 100];
    let error = parse(&long, &JsonLimits { depth_max: 1, bytes_max: 99 }).unwrap_err();
    assert_eq!((error.kind, error.offset), (Kind::TooLong, 99));
}

fn values() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        (-(1_i64 << 53)..=(1 << 53)).prop_map(Value::Int),
        any::<f64>().prop_filter_map("read back as it is", |x| {
            parse(format!("{x:e}").as_bytes(), &JsonLimits::default()).ok()
        }),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number,
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::vec((any::<String>(), inner), 0..40)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Object>())),
        ]
    })
}

proptest! {
    #[test]
    fn writes_as_serde_json_canonicalizer_does(value in values()) {
        let ours = value.to_canonical();
        let plain = serde_json::to_vec(&value).unwrap();
        let other: serde_json::Value = serde_json::from_slice(&plain).unwrap();
        prop_assert_eq!(&ours, &serde_json_canonicalizer::to_vec(&other).unwrap());
        let limits = JsonLimits { depth_max: 32, bytes_max: 1 << 24 };
        let again = parse(&ours, &limits).unwrap();
        prop_assert_eq!(again.to_canonical(), ours);
        prop_assert_eq!(parse(&plain, &limits).unwrap(), value);
    }

    /// Where both read a text they read the same; what serde_json refuses we refuse.
    #[test]
    fn reads_no_more_than_serde_json(text in r#"[\[\]{}:,"\\u0-9a-fDtrueE+. -]{0,24}"#) {
        if let Ok(value) = read(text.as_bytes()) {
            let other: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value.to_canonical(), serde_json_canonicalizer::to_vec(&other).unwrap());
        }
    }

    #[test]
    fn never_fails_otherwise_than_by_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Err(error) = parse(&bytes, &JsonLimits::default()) {
            prop_assert!(error.offset <= bytes.len());
        }
    }
}
