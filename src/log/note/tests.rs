//! Notes and keys that are not well formed, and signatures that do not hold.

use super::*;

const NAME: &str = "ledger.example/audit";
const VKEY: &str = "ledger.example/audit+2a52108c+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const SKEY: &str =
    "PRIVATE+KEY+ledger.example/audit+2a52108c+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

fn key() -> SigningKey {
    SigningKey::from_go_string(SKEY).unwrap()
}

fn other() -> SigningKey {
    SigningKey::generate_from_seed("other.example", &[5; 32]).unwrap()
}

#[test]
fn a_private_key_round_trips_and_hides_its_seed() {
    let seed: [u8; 32] = std::array::from_fn(|n| u8::try_from(n).unwrap());
    let key = SigningKey::generate_from_seed(NAME, &seed).unwrap();
    assert_eq!(key.to_go_string().as_str(), SKEY);
    assert_eq!(key.verifier().to_string(), VKEY);
    assert_eq!(self::key().verifier(), VKEY.parse().unwrap());
    assert_eq!(format!("{key:?}"), format!("SigningKey(VerifierKey({VKEY}))"));
}

#[test]
fn names_that_could_be_misread_are_refused() {
    let long = "a".repeat(256);
    for name in ["", "a b", "a+b", "a\u{a0}b", "a\u{2003}b", "a\nb", "a\tb", "a\u{7f}", &long] {
        let error = KeyError::Name { bytes: name.len() };
        assert_eq!(SigningKey::generate_from_seed(name, &[1; 32]).map(drop), Err(error), "{name:?}");
    }
    assert!(SigningKey::generate_from_seed(&long[..255], &[1; 32]).is_ok());
    assert!(SigningKey::generate_from_seed("é/ü", &[1; 32]).is_ok());
}

#[test]
fn verifier_keys_that_are_not_well_formed_are_refused() {
    let syntax = |text: &str| KeyError::Syntax { bytes: text.len() };
    for bad in [
        "",
        "a",
        "a+2a52108c",
        "ledger.example/audit+2A52108C+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4",
        "ledger.example/audit+2a52108+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4",
        "ledger.example/audit++2a52108+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4",
        "ledger.example/audit+2a52108c+",
        "ledger.example/audit+2a52108c+AQ==",
        "ledger.example/audit+2a52108c+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4=",
        "ledger.example/audit+2a52108c+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4\n",
    ] {
        assert_eq!(bad.parse::<VerifierKey>(), Err(syntax(bad)), "{bad:?}");
    }
    let parse = |text: &str| text.parse::<VerifierKey>().map(|_| ());
    assert_eq!(parse(&VKEY.replacen("2a52", "2a53", 1)), Err(KeyError::Id));
    assert_eq!(parse(&VKEY.replacen("ledger", "ledges", 1)), Err(KeyError::Id));
    assert_eq!(parse(&VKEY.replacen("+AQOh", "+BAOh", 1)), Err(KeyError::Id));
    assert_eq!(parse(&VKEY.replacen("ledger", "led ger", 1)), Err(KeyError::Name { bytes: 21 }));
    assert_eq!(parse("a+2a52108c+AQOh"), Err(KeyError::Length { bytes: 2 }));
}

#[test]
fn private_keys_that_are_not_well_formed_are_refused() {
    let parse = |text: &str| SigningKey::from_go_string(text).map(|_| ());
    for bad in ["", "PRIVATE+KEY+", VKEY, &SKEY[1..], &SKEY.replacen("KEY", "KEYS", 1)] {
        assert!(matches!(parse(bad), Err(KeyError::Syntax { .. } | KeyError::Name { .. })), "{bad:?}");
    }
    assert_eq!(parse(&SKEY.replacen("2a52108c", "2a52108d", 1)), Err(KeyError::Id));
    assert_eq!(parse(&SKEY.replacen("AQABAg", "AQABAw", 1)), Err(KeyError::Id));
    assert_eq!(parse(&SKEY[..SKEY.len() - 4]), Err(KeyError::Length { bytes: 29 }));
}

#[test]
fn keys_of_small_order_are_refused() {
    let identity = [[1].as_slice(), &[0; 31]].concat();
    let identity: [u8; 32] = identity.try_into().unwrap();
    for public in [[0; 32], identity] {
        let key = VerifierKey::from_public(NAME, KeyType::Ed25519, &public);
        assert_eq!(key, Err(KeyError::Point));
    }
    let key = VerifierKey::from_public(NAME, KeyType::Unknown(6), &[1; 32]);
    assert_eq!(key, Err(KeyError::Type(6)));
}

#[test]
fn notes_that_are_not_well_formed_are_refused_with_the_place() {
    let text = "one\n\ntwo\n";
    let line = key().sign(text);
    let good = format!("{text}\n{line}");
    let note = Note::parse(&good).unwrap();
    assert_eq!((note.text(), note.signatures().len()), (text, 1));
    let in_line = |line| NoteError::SignatureLine { line };
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    for (bad, error) in [
        (String::new(), NoteError::NoSignatures),
        ("\n".to_owned(), NoteError::NoSignatures),
        ("\n\n".to_owned(), NoteError::NoSignatures),
        (text.to_owned(), in_line(1)),
        (format!("one\n{line}"), NoteError::NoSignatures),
        (format!("{text}\n"), NoteError::NoSignatures),
        (format!("{good}\n"), NoteError::NoSignatures),
        (format!("one{line}"), NoteError::NoSignatures),
        (good.trim_end().to_owned(), in_line(1)),
        (format!("{good}x\n"), in_line(2)),
        (format!("{good}{}", line.trim_end()), in_line(2)),
        (with("\u{2014} ", "\u{2014}"), in_line(1)),
        (with("\u{2014} ", "\u{2014}  "), in_line(1)),
        (with("\u{2014} ", "- "), in_line(1)),
        (with("\u{2014} ", "\u{2013} "), in_line(1)),
        (with("audit KlIQ", "audit  KlIQ"), in_line(1)),
        (with("audit KlIQ", "au+dit KlIQ"), in_line(1)),
        (with("audit KlIQ", "au\u{a0}dit KlIQ"), in_line(1)),
        (with(" KlIQ", " !lIQ"), in_line(1)),
        (format!("{text}\n\u{2014} {NAME} KlIQjA==\n"), in_line(1)),
        (format!("{text}\n\u{2014} {NAME} KlIQ\n"), in_line(1)),
        (format!("{text}\n\u{2014} {NAME} \n"), in_line(1)),
        (format!("{text}\n\u{2014} {NAME}\n"), in_line(1)),
        (good.replace('\n', "\r\n"), NoteError::ControlCharacter { offset: 3 }),
        (with("two", "t\0o"), NoteError::ControlCharacter { offset: 6 }),
        (format!("{text}\n{}", line.repeat(101)), NoteError::TooManySignatures),
    ] {
        assert_eq!(Note::parse(&bad), Err(error), "{bad:?}");
    }
    assert!(Note::parse(format!("{text}\n{}", line.repeat(100))).is_ok());
    let utf8 = Note::parse([b"one\xff".as_slice(), good.as_bytes()].concat());
    assert_eq!(utf8, Err(NoteError::InvalidUtf8 { offset: 3 }));
    let long = "a".repeat(NOTE_BYTES_MAX + 1);
    assert_eq!(Note::parse(&long), Err(NoteError::TooLong { bytes: long.len() }));
}

#[test]
fn a_known_key_that_fails_spoils_the_note_and_an_unknown_one_does_not() {
    let text = "text\n";
    let (log, stranger) = (key().sign(text), other().sign(text));
    let forged = other().sign("another text\n");
    let keys = [key().verifier()];
    let both = [key().verifier(), other().verifier()];
    let names = |note: String, keys: &[VerifierKey]| {
        let verified =
            Note::parse(note).unwrap().verify(keys)?.into_iter().map(|v| v.key.name().to_owned());
        Ok::<Vec<String>, NoteError>(verified.collect())
    };
    let note = format!("{text}\n{stranger}{log}");
    assert_eq!(names(note.clone(), &keys).unwrap(), [NAME]);
    assert_eq!(names(note, &both).unwrap(), ["other.example", NAME]);
    assert_eq!(names(format!("{text}\n{log}{log}"), &keys).unwrap(), [NAME]);
    assert_eq!(names(format!("{text}\n{forged}{log}"), &keys).unwrap(), [NAME]);
    let invalid = NoteError::InvalidSignature { line: 2, source: SignatureError::Invalid };
    assert_eq!(names(format!("{text}\n{log}{forged}"), &both), Err(invalid));
    let unverified = NoteError::Unverified { signatures: 1 };
    assert_eq!(names(format!("{text}\n{stranger}"), &keys), Err(unverified));
    assert_eq!(names(format!("{text}\n{log}"), &[]), Err(unverified));
    assert_eq!(names(format!("texT\n\n{log}"), &keys), {
        Err(NoteError::InvalidSignature { line: 1, source: SignatureError::Invalid })
    });
}

#[test]
fn a_key_of_an_unknown_type_is_carried_and_never_believed() {
    let unknown: VerifierKey = "log.example+01020304+/wEC".parse().unwrap();
    assert_eq!(unknown.key_type(), KeyType::Unknown(0xff));
    assert_eq!((unknown.public_bytes(), unknown.key_id()), ([1, 2].as_slice(), 0x0102_0304));
    assert_eq!(unknown.to_string(), "log.example+01020304+/wEC");
    assert_eq!(unknown.verify(b"text\n", b"anything"), Err(SignatureError::Type(0xff)));
    let note = Note::parse("text\n\n\u{2014} log.example AQIDBAA=\n").unwrap();
    assert_eq!(note.signatures()[0].key_id, 0x0102_0304);
    let keys = [unknown];
    assert_eq!(note.verify(&keys), Err(NoteError::Unverified { signatures: 1 }));
    let signed = format!("text\n\n\u{2014} log.example AQIDBAA=\n{}", key().sign("text\n"));
    let both = [keys[0].clone(), key().verifier()];
    assert_eq!(Note::parse(signed).unwrap().verify(&both).unwrap().len(), 1);
}

#[test]
fn a_signature_of_another_length_is_refused() {
    let verifier = key().verifier();
    for bytes in [0, 63, 65, 72] {
        let length = Err(SignatureError::Length { bytes, expected: 64 });
        assert_eq!(verifier.verify(b"text\n", &vec![1; bytes]), length);
    }
}
