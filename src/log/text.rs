//! Spellings that the C2SP text formats share.
//!
//! In scope: strict decimal numbers and strict base64. Out of scope: everything with a meaning.
//! Invariant: a value has one spelling, so what parses can be written back byte for byte.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A number in ASCII decimal, without sign and without leading zeros.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && digits).then(|| text.parse().ok()).flatten()
}

/// Bytes in base64 with padding (RFC 4648 section 4) and zero bits where bits are unused.
pub(super) fn parse_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Base64 with padding (RFC 4648 section 4).
pub(super) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_one_spelling() {
        assert_eq!(parse_decimal("0"), Some(0));
        assert_eq!(parse_decimal("18446744073709551615"), Some(u64::MAX));
        for bad in
            ["", "00", "01", "+1", "-1", " 1", "1 ", "1_0", "0x1", "1e3", "٣", "18446744073709551616"]
        {
            assert_eq!(parse_decimal(bad), None, "{bad:?}");
        }
    }
}
