//! Sealing: what opens, what must not, and what salts and combined keys depend on.

use super::*;

const LEDGER: LedgerId = LedgerId([1; 16]);
const EVENT: Hash = Hash([2; 32]);
const COMMITMENT: Hash = Hash([3; 32]);
const ROLE: Role = Role(16);
const OTHER_ROLE: Role = Role(17);
const BODY: &[u8] = br#"{"data":{"subject":"someone whose name must not show"}}"#;

fn key(byte: u8) -> DataKey {
    DataKey::from_bytes([byte; 32])
}

fn sealed() -> Vec<u8> {
    key(9).seal(LEDGER, &EVENT, ROLE, &COMMITMENT, BODY).unwrap()
}

#[test]
fn a_sealed_part_opens_with_the_same_key_and_place() {
    let opened = key(9).open(LEDGER, &EVENT, ROLE, &COMMITMENT, &sealed()).unwrap();
    assert_eq!(opened.as_slice(), BODY);
    assert_eq!(sealed().len(), BODY.len() + SEAL_OVERHEAD_BYTES);
    let empty = key(9).seal(LEDGER, &EVENT, ROLE, &COMMITMENT, b"").unwrap();
    assert!(key(9).open(LEDGER, &EVENT, ROLE, &COMMITMENT, &empty).unwrap().is_empty());
}

#[test]
fn the_body_does_not_show() {
    let sealed = sealed();
    assert!(!BODY.windows(8).any(|run| sealed.windows(8).any(|seen| seen == run)));
}

#[test]
fn any_other_key_or_place_opens_nothing() {
    let sealed = sealed();
    let refused = Err(SealError::NotOpened);
    let mut late_commitment = COMMITMENT;
    late_commitment.0[31] ^= 1; // beyond the nonce: bound by the associated data alone
    let mut other_event = EVENT;
    other_event.0[31] ^= 1;
    let mut other_ledger = LEDGER;
    other_ledger.0[15] ^= 1;
    assert_eq!(key(8).open(LEDGER, &EVENT, ROLE, &COMMITMENT, &sealed), refused);
    assert_eq!(key(9).open(other_ledger, &EVENT, ROLE, &COMMITMENT, &sealed), refused);
    assert_eq!(key(9).open(LEDGER, &other_event, ROLE, &COMMITMENT, &sealed), refused);
    assert_eq!(key(9).open(LEDGER, &EVENT, OTHER_ROLE, &COMMITMENT, &sealed), refused);
    assert_eq!(key(9).open(LEDGER, &EVENT, ROLE, &late_commitment, &sealed), refused);
}

#[test]
fn every_flipped_bit_is_found() {
    let sealed = sealed();
    for position in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[position] ^= 1 << bit;
            let result = key(9).open(LEDGER, &EVENT, ROLE, &COMMITMENT, &changed);
            if position == 0 {
                assert_eq!(result, Err(SealError::UnknownSuite { suite: changed[0] }));
            } else {
                assert_eq!(result, Err(SealError::NotOpened), "bit {bit} of byte {position}");
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let sealed = sealed();
    for bytes in 0..sealed.len() {
        let result = key(9).open(LEDGER, &EVENT, ROLE, &COMMITMENT, &sealed[..bytes]);
        let expected = if bytes < SEAL_OVERHEAD_BYTES {
            SealError::Truncated { bytes }
        } else {
            SealError::NotOpened
        };
        assert_eq!(result, Err(expected));
    }
}

#[test]
fn a_salt_depends_on_key_event_and_role_and_on_nothing_else() {
    let salt = key(9).salt(&EVENT, ROLE);
    assert_eq!(salt, key(9).salt(&EVENT, ROLE));
    assert_ne!(salt, key(8).salt(&EVENT, ROLE));
    assert_ne!(salt, key(9).salt(&Hash([4; 32]), ROLE));
    assert_ne!(salt, key(9).salt(&EVENT, OTHER_ROLE));
    assert_ne!(salt[..32], salt[32..]);
}

#[test]
fn a_combined_key_depends_on_the_set_of_owners() {
    let salt_of = |owners: &[&DataKey]| DataKey::combine(owners).unwrap().salt(&EVENT, ROLE);
    let (a, b, c) = (key(1), key(2), key(3));
    let abc = salt_of(&[&a, &b, &c]);
    for order in [[&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
        assert_eq!(abc, salt_of(&order));
    }
    assert_eq!(abc, salt_of(&[&a, &b, &b, &c, &a]));
    for fewer in [[&a, &b], [&a, &c], [&b, &c]] {
        assert_ne!(abc, salt_of(&fewer));
    }
    assert_eq!(salt_of(&[&a]), a.salt(&EVENT, ROLE));
    assert_ne!(salt_of(&[&a, &b]), a.salt(&EVENT, ROLE));
    assert_eq!(DataKey::combine(&[]).map(|_| ()), Err(SealError::NoOwner));
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", key(7)), "DataKey(…)");
}

proptest::proptest! {
    #[test]
    fn round_trip_of_any_body(body: Vec<u8>, secret: [u8; 32], commitment: [u8; 32], role: u8) {
        let key = DataKey::from_bytes(secret);
        let (commitment, role) = (Hash(commitment), Role(role));
        let sealed = key.seal(LEDGER, &EVENT, role, &commitment, &body).unwrap();
        let opened = key.open(LEDGER, &EVENT, role, &commitment, &sealed).unwrap();
        proptest::prop_assert_eq!(opened.as_slice(), body.as_slice());
    }
}
