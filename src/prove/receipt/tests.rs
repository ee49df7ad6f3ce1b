//! Receipts written, read back, and refused when they have another shape.

use super::*;
use proptest::prelude::*;

fn full_receipt() -> Receipt {
    let open = PartContent::Open { salt: [7; 64], body: "{\"id\":\"e \\\"1\\\"\"}".into() };
    let states = [PartContent::Withheld, PartContent::Erased, PartContent::Pruned, PartContent::Lost];
    let others = states.into_iter().zip([2_u8, 16, 17, 24]);
    let parts = std::iter::once((open, 1_u8)).chain(others);
    Receipt {
        ledger: "main".into(),
        origin: "ledger.example/main".into(),
        index: LogIndex(1 << 53),
        id: "ordner/ä \"quoted\"\n".into(),
        leaf_hash: Hash([0xab; 32]),
        recorded_at: recorded_at(1_795_312_090_000_123),
        replayed: true,
        compared: Some(Compared { equal: vec![Role(1)], not_compared: vec![Role(16), Role(2)] }),
        full: Some(FullReceipt {
            checkpoint: "ledger.example/main\n1\nAAAA\n\n— ledger.example/main x\n".into(),
            inclusion: vec![Hash([1; 32]), Hash([2; 32])],
            entry: vec![0, 1, 254, 255],
            openings: Openings {
                parts: parts.map(|(content, role)| PartOpening { role: Role(role), content }).collect(),
                keys: vec![
                    KeyOpening { facet: Facet::TYPE, value: Some("access".into()), period: None },
                    KeyOpening { facet: Facet(77), value: Some(String::new()), period: None },
                    KeyOpening { facet: Facet(130), value: None, period: Some(Period(2026 * 12 + 10)) },
                ],
            },
            removed: Some(RemovedProof {
                index: LogIndex(9),
                entry: vec![6, 7],
                inclusion: vec![Hash([3; 32])],
                members: vec![
                    RemovedMember { role: Role(2), position: 1 << 53, path: Vec::new() },
                    RemovedMember { role: Role(16), position: 0, path: vec![Hash([4; 32]); 2] },
                ],
            }),
        }),
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut receipt = full_receipt();
    assert_eq!(Receipt::parse(&receipt.to_json()), Ok(receipt.clone()));
    receipt.full = None;
    receipt.compared = None;
    assert_eq!(Receipt::parse(&receipt.to_json()), Ok(receipt));
}

#[test]
fn the_borrowed_head_writes_the_same_text() {
    let receipt = full_receipt();
    let head = ReceiptHead {
        ledger: &receipt.ledger,
        origin: &receipt.origin,
        index: receipt.index,
        id: &receipt.id,
        leaf_hash: &receipt.leaf_hash,
        time_us: 1_795_312_090_000_123,
        replayed: receipt.replayed,
    };
    let mut out = Vec::new();
    head.write_json(receipt.compared.as_ref(), receipt.full.as_ref(), &mut out);
    assert_eq!(out, receipt.to_json());
}

#[test]
fn a_brief_receipt_has_the_fields_of_the_design() {
    let mut receipt = full_receipt();
    receipt.full = None;
    receipt.compared = None;
    receipt.id = "e-1".into();
    receipt.replayed = false;
    let expected = format!(
        "{{\"ledger\":\"main\",\"origin\":\"ledger.example/main\",\"index\":9007199254740992,\"id\":\"e-1\",\
         \"leaf_hash\":\"{}\",\"recorded_at\":\"2026-11-22T01:48:10.000123Z\",\"replayed\":false}}",
        "ab".repeat(32)
    );
    assert_eq!(String::from_utf8(receipt.to_json()).unwrap(), expected);
    let mut batch = Vec::new();
    let one = receipt.to_json();
    write_batch([one.as_slice(), one.as_slice()].into_iter(), &mut batch);
    assert_eq!(String::from_utf8(batch).unwrap(), format!("{{\"receipts\":[{expected},{expected}]}}"));
}

#[test]
fn other_shapes_are_refused_without_echo() {
    let good = String::from_utf8(full_receipt().to_json()).unwrap();
    for (from, to) in [
        ("\"ledger\"", "\"secretname\""),
        ("\"replayed\":true", "\"replayed\":1"),
        ("\"replayed\":true", "\"replayed\":true,\"secretname\":1"),
        ("\"state\":\"erased\"", "\"state\":\"secretname\""),
        ("\"state\":\"erased\"", "\"state\":\"erased\",\"body\":\"secretname\""),
        ("\"role\":\"raw\"", "\"role\":\"secretname\""),
        ("\"facet\":\"facet77\"", "\"facet\":\"facet077\""),
        ("\"facet\":\"facet77\"", "\"facet\":\"facet1\""),
        ("\"facet\":\"facet77\"", "\"facet\":\"facet255\""),
        ("2026-11\"", "2026-13\""),
        ("2026-11\"", "2026-00\""),
        ("2026-11\"", "2026+11\""),
        ("2026-11\"", "2026-1\""),
        ("\"entry\":\"0001feff\"", "\"entry\":\"0001FEFF\""),
        ("\"entry\":\"0001feff\"", "\"entry\":\"001\""),
        ("\"salt\":\"07", "\"salt\":\""),
        ("\"index\":9007199254740992", "\"index\":-1"),
        ("\"index\":9007199254740992", "\"index\":1.5"),
        ("\"leaf_hash\":\"ab", "\"leaf_hash\":\"AB"),
        ("\"entry\":\"0001feff\",", ""),
        ("\"keys\":[", "\"keys\":[3,"),
        ("\"members\":[", "\"members\":[3,"),
        ("\"position\":0", "\"position\":0.5"),
        ("\"position\":0", "\"position\":0,\"secretname\":0"),
        ("\"members\":", "\"secretname\":"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let error = Receipt::parse(bad.as_bytes()).expect_err(to).to_string();
        assert!(!error.contains("secretname"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_receipt_or_an_error(at in 0_usize..1700, byte: u8) {
        let mut bytes = full_receipt().to_json();
        if let Some(slot) = bytes.get_mut(at) { *slot = byte; }
        if let Ok(receipt) = Receipt::parse(&bytes) {
            prop_assert_eq!(Receipt::parse(&receipt.to_json()), Ok(receipt));
        }
    }
}
