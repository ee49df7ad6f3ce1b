//! The dates of a TLS certificate.
//!
//! In scope: finding `validity` in the first certificate of a PEM file (RFC 5280 section 4.1). Out of
//! scope: whether anybody trusts it. Invariant: a certificate that cannot be read is told as such, never
//! as valid.

use std::path::Path;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::clock::{Clock, SystemClock};
use crate::http::Tls;

use super::Findings;

/// Seconds before the end from which on it is worth a warning: two weeks.
const SOON_S: i64 = 14 * 86_400;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, the version, which the first version of certificates leaves out.
const VERSION: u8 = 0xA0;

/// Checks certificate and key of a server.
pub(super) fn check(cert: &Path, key: &Path, findings: &mut Findings) {
    let tls = match Tls::open(cert, key) {
        Ok(tls) => tls,
        Err(error) => return findings.fail("tls", error.to_string(), "put usable files there"),
    };
    if let Some(warning) = tls.warning() {
        findings.warn("tls", warning, "chmod 640 or less");
    }
    let shown = cert.display();
    let Some((from, until)) = first(cert).as_deref().and_then(validity) else {
        let said = format!("{shown}: the dates of the certificate cannot be read");
        return findings.warn("tls", said, "look at it with `openssl x509 -noout -dates -in FILE`");
    };
    let now = i64::try_from(SystemClock::default().now_us() / 1_000_000).unwrap_or(i64::MAX);
    let days = until.saturating_sub(now) / 86_400;
    if now < from {
        findings.fail("tls", format!("{shown}: not valid yet"), "wait, or set the clock");
    } else if now >= until {
        findings.fail("tls", format!("{shown}: expired {} days ago", -days), "renew it");
    } else if until - now < SOON_S {
        findings.warn("tls", format!("{shown}: expires in {days} days"), "renew it");
    } else {
        findings.ok("tls", format!("{shown}: good for {days} days more"));
    }
}

fn first(path: &Path) -> Option<Vec<u8>> {
    Some(CertificateDer::from_pem_file(path).ok()?.as_ref().to_vec())
}

/// Unix seconds between which a certificate in DER is valid.
fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (tag, whole, _) = element(certificate)?;
    let (inner_tag, to_be_signed, _) = element(whole)?;
    if tag != SEQUENCE || inner_tag != SEQUENCE {
        return None;
    }
    let (tag, _, after_version) = element(to_be_signed)?;
    let mut rest = if tag == VERSION { after_version } else { to_be_signed };
    for _ in ["serialNumber", "signature", "issuer"] {
        rest = element(rest)?.2;
    }
    let (_, dates, _) = element(rest)?;
    let (from_tag, from, rest) = element(dates)?;
    let (until_tag, until, _) = element(rest)?;
    Some((moment(from_tag, from)?, moment(until_tag, until)?))
}

/// One DER element: tag, content, what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
        if digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// Unix seconds of a `UTCTime` (YYMMDDHHMMSSZ) or `GeneralizedTime` (YYYYMMDDHHMMSSZ).
fn moment(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // Years from 50 on are of the twentieth century (RFC 5280 section 4.1.2.5.1).
        UTC_TIME if text.get(..2)? >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let stamp = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    Some(stamp.parse::<Timestamp>().ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dates_of_a_certificate_are_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2055, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        let second = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
        let expected = (second("2024-02-29T00:00:00Z"), second("2055-01-01T00:00:00Z"));
        assert_eq!(validity(certificate.der()), Some(expected));
    }

    #[test]
    fn what_is_no_certificate_has_no_dates() {
        for bytes in [&b""[..], b"0", b"0\x80", b"0\x84\xff\xff\xff\xff", b"0\x020\x00", &[0x30; 64]] {
            assert_eq!(validity(bytes), None);
        }
    }
}
