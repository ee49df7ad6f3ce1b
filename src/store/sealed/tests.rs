//! Bundle files: what is read back, and what names its damage.

use super::*;

fn bundle() -> SealedBundle {
    let mut erased = StoredPart::sealed(17, vec![[1; 8]], b"a person's".to_vec());
    erased.destroy(Gone::Erased);
    let mut pruned = StoredPart::sealed(2, vec![], b"raw".to_vec());
    pruned.destroy(Gone::Pruned);
    let open = StoredPart::sealed(1, vec![], b"open part".to_vec());
    let person = StoredPart::sealed(16, vec![[5; 8], [6; 8]], vec![7; 40]);
    SealedBundle {
        index: 3,
        mask: BundleMask::First,
        entries: vec![vec![open.clone(), pruned], vec![], vec![open, person, erased]],
    }
}

/// The parts of one entry, read from their place alone; none beyond the bundle's end.
fn one_entry(bytes: &[u8], index: u64, entry: u16) -> Result<Option<Vec<StoredPart>>, SealedError> {
    let places = Places::find(bytes.len() as u64, index, |offset, len| {
        Ok::<_, SealedError>(bytes[usize::try_from(offset).unwrap()..][..len].to_vec())
    })?;
    let Some((offset, len)) = places.of(entry.into()) else { return Ok(None) };
    let from = usize::try_from(offset).unwrap();
    SealedBundle::decode_entry(&bytes[from..from + len], offset, entry).map(Some)
}

#[test]
fn the_layout_is_the_documented_one() {
    let half = |blob: &[u8]| Sha256::digest(blob)[..16].to_vec();
    let mut expected = b"CFS1\0\0\0\0\0\0\0\x03\0\x03".to_vec();
    let entry = |parts: &[Vec<u8>]| [vec![u8::try_from(parts.len()).unwrap()], parts.concat()].concat();
    let open = [&b"\x01\0\0\0\0\0\x09"[..], &half(b"open part"), b"open part"].concat();
    let pruned = [&b"\x02\x02\0\0\0\0\0"[..], &half(b"")].concat();
    let owners = [[5; 8], [6; 8]].concat();
    let person = [&b"\x10\0\x02"[..], &owners, b"\0\0\0\x28", &half(&[7; 40]), &[7; 40]].concat();
    let erased = [&b"\x11\x01\0\0\0\0\0"[..], &half(b"")].concat();
    expected.extend(entry(&[open.clone(), pruned]));
    expected.extend(entry(&[]));
    expected.extend(entry(&[open, person, erased]));
    expected.extend(Sha256::digest(&expected));
    let bytes = bundle().encode().unwrap();
    assert_eq!(bytes, expected);
    assert_eq!(bundle().encoded_len(), bytes.len());
}

#[test]
fn decoding_gives_back_what_was_encoded_whole_or_by_entry() {
    let bytes = bundle().encode().unwrap();
    assert_eq!(SealedBundle::decode(&bytes, 3).unwrap(), bundle());
    for (entry, parts) in (0..).zip(bundle().entries) {
        assert_eq!(one_entry(&bytes, 3, entry).unwrap(), Some(parts));
    }
    assert_eq!(one_entry(&bytes, 3, 3).unwrap(), None);
    assert!(SealedBundle::decode(&bytes, 4).is_err());
    assert!(one_entry(&bytes, 4, 0).is_err());
    let empty = SealedBundle::default();
    assert_eq!(SealedBundle::decode(&empty.encode().unwrap(), 0).unwrap(), empty);
    let full = SealedBundle { index: u64::MAX, mask: BundleMask::Second, entries: vec![vec![]; 256] };
    assert_eq!(SealedBundle::decode(&full.encode().unwrap(), u64::MAX).unwrap(), full);
}

#[test]
fn every_flipped_bit_every_cut_and_every_addition_is_found() {
    let bytes = bundle().encode().unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert!(SealedBundle::decode(&bad, 3).is_err(), "byte {at} bit {bit}");
        }
        assert!(SealedBundle::decode(&bytes[..at], 3).is_err(), "cut at {at}");
    }
    assert!(SealedBundle::decode(&[bytes.as_slice(), b"x"].concat(), 3).is_err());
}

#[test]
fn one_entry_read_alone_is_the_right_one_or_an_error_whatever_byte_was_changed() {
    let bytes = bundle().encode().unwrap();
    let same = |a: &StoredPart, b: &StoredPart| a.blob() == b.blob() && a.role() == b.role();
    for at in 0..bytes.len() {
        for (entry, parts) in (0..).zip(bundle().entries) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x11;
            // A changed owner, role or state is for the whole file's checksum to find.
            let Ok(Some(found)) = one_entry(&bad, 3, entry) else { continue };
            let changed =
                found.len() != parts.len() || !found.iter().zip(&parts).all(|(a, b)| same(a, b));
            assert!(!changed || SealedBundle::decode(&bad, 3).is_err(), "byte {at}, entry {entry}");
        }
        assert!(
            Places::find(at as u64, 3, |_, _| Ok::<_, SealedError>(bytes[..at].to_vec())).is_err()
                || at >= bytes.len() - TRAILER_BYTES,
            "cut at {at}"
        );
    }
}

#[test]
fn places_are_found_without_reading_large_blobs() {
    let large = StoredPart::sealed(2, vec![[9; 8]], vec![3; 3 << 20]);
    let small = StoredPart::sealed(1, vec![], b"small".to_vec());
    let bundle = SealedBundle {
        index: 1,
        mask: BundleMask::Second,
        entries: vec![vec![small.clone(), large.clone()], vec![small.clone()], vec![large], vec![small]],
    };
    let bytes = bundle.encode().unwrap();
    let mut read_bytes = 0;
    let places = Places::find(bytes.len() as u64, 1, |offset, len| {
        read_bytes += len;
        Ok::<_, SealedError>(bytes[usize::try_from(offset).unwrap()..][..len].to_vec())
    });
    assert!(read_bytes < 1 << 20, "{read_bytes} bytes read of {}", bytes.len());
    assert!(places.is_ok());
    for (entry, parts) in (0..).zip(&bundle.entries) {
        assert_eq!(one_entry(&bytes, 1, entry).unwrap().as_ref(), Some(parts));
    }
}

#[test]
fn a_damaged_blob_is_named_with_its_entry_and_role() {
    let bytes = bundle().encode().unwrap();
    let at = bytes.windows(40).position(|window| window == [7; 40]).unwrap();
    for flipped in at..at + 40 {
        let mut bad = bytes.clone();
        bad[flipped] ^= 0x10;
        let error = SealedBundle::decode(&bad, 3).unwrap_err();
        let offset = u64::try_from(at).unwrap();
        assert_eq!((error.offset, error.entry, error.role), (offset, Some(2), Some(16)));
        assert_eq!(one_entry(&bad, 3, 2).unwrap_err(), error);
        one_entry(&bad, 3, 0).expect("another entry's blob is whole");
    }
    let mut bad = bytes;
    bad[at] ^= 1;
    let text = SealedBundle::decode(&bad, 3).unwrap_err().to_string();
    assert_eq!(
        text,
        format!("sealed bundle, byte {at}, entry 2, part of role 16: the blob's checksum does not fit")
    );
}

/// The bytes of a bundle of one entry with `parts`, with a trailer that fits.
fn with_trailer(parts: &[u8]) -> Vec<u8> {
    let mut bytes = [&b"CFS1\0\0\0\0\0\0\0\x03\0\x01"[..], parts].concat();
    bytes.extend(Sha256::digest(&bytes));
    bytes
}

#[test]
fn what_no_writer_writes_is_refused_though_the_trailer_fits() {
    let gone = |role: u8, state: u8| [&[role, state, 0, 0, 0, 0, 0][..], &checksum_of(b"")].concat();
    let good = with_trailer(&[&[1][..], &gone(1, 1)].concat());
    assert!(SealedBundle::decode(&good, 3).is_ok());
    let cases = [
        (with_trailer(&[&[1][..], &gone(1, 3)].concat()), "no part has this state"),
        (with_trailer(&[&[2][..], &gone(1, 1), &gone(1, 1)].concat()), "parts do not ascend by role"),
        (
            with_trailer(
                &[b"\x01\x01\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(), &checksum_of(b"")].concat(),
            ),
            "a part that is gone has a blob or owners",
        ),
        (
            with_trailer(&[b"\x01\x01\x02\0\0\0\0\x01".as_slice(), &checksum_of(b"x"), b"x"].concat()),
            "a part that is gone has a blob or owners",
        ),
    ];
    for (bytes, what) in cases {
        assert_eq!(SealedBundle::decode(&bytes, 3).unwrap_err().what, what);
    }
}

#[test]
fn what_has_no_encoding_is_refused_at_its_place() {
    let part = |role| StoredPart::sealed(role, vec![], b"x".to_vec());
    let error =
        |entries| SealedBundle { index: 0, mask: BundleMask::First, entries }.encode().unwrap_err();
    assert_eq!(error(vec![vec![]; 257]).what, "more than 256 entries");
    assert_eq!(error(vec![vec![], vec![part(2), part(2)]]).entry, Some(1));
    assert_eq!(error(vec![vec![part(2), part(1)]]).role, Some(1));
    let owned = StoredPart::sealed(1, vec![[0; 8]; 256], vec![]);
    assert_eq!(error(vec![vec![owned]]).what, "more than 255 owners");
    let all_roles: Vec<_> = (0..=255).map(part).collect();
    assert_eq!(error(vec![all_roles]).what, "more than 255 parts");
}

#[test]
fn destroying_keeps_the_first_reason_and_nothing_else() {
    let mut part = StoredPart::sealed(1, vec![[1; 8]], b"secret".to_vec());
    part.destroy(Gone::Pruned);
    part.destroy(Gone::Erased);
    assert_eq!((part.state(), part.role()), (PartState::Pruned, 1));
    assert!(part.owners().is_empty() && part.blob().is_empty());
    assert_eq!(part.checksum(), &checksum_of(b""));
    let text = format!("{:?}", StoredPart::sealed(1, vec![], vec![42; 3]));
    assert!(!text.contains("42"), "{text}");
}
