//! Attachments larger together than what may wait for the fold, in a bundle that the fold cannot end.

use super::*;
use crate::event::envelope::Raw;

#[test]
fn a_filling_bundle_of_attachments_holds_nobody_up() {
    let bench = Bench::new(Arc::new(MemoryStorage::new()));
    let ledger = bench.open().unwrap();
    let mebibyte = 1 << 20;
    for id in 0..u64::try_from(fold::TAIL_BYTES_MAX / mebibyte).unwrap() + 4 {
        let mut event = event(&format!("e{id}"), "s1", id);
        event.raw =
            Some(Raw { content_type: "application/octet-stream".into(), bytes: vec![7; mebibyte] });
        append(&ledger, vec![event]).remove(0).unwrap();
    }
    ledger.close().unwrap();
}
