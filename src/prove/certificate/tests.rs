//! Certificates written, read back, refused when they have another shape, and printed.

use super::*;
use crate::prove::testing::certificate;

#[test]
fn what_is_written_is_read_back() {
    let mut one = certificate();
    assert_eq!(Certificate::parse(&one.to_json()), Ok(one.clone()));
    (one.signed_by, one.signature, one.asked.request) = (None, None, None);
    (one.entries.begun, one.entries.done, one.entries.signer) = (None, None, None);
    (one.state, one.destroyed.at, one.root_key.after) = (CertificateState::Pending, None, None);
    one.told[0].told_at = None;
    assert_eq!(Certificate::parse(&one.to_json()), Ok(one));
}

#[test]
fn the_text_without_its_signature_is_what_is_signed() {
    let one = certificate();
    let text = String::from_utf8(one.to_json()).unwrap();
    let member = format!("\"signature\":\"{}\",", hex::encode(one.signature.unwrap()));
    let expected = [SIGNING_LABEL, text.replace(&member, "").as_bytes()].concat();
    assert_ne!(expected.len(), SIGNING_LABEL.len() + text.len());
    assert_eq!(one.signing_input(), expected);
}

#[test]
fn other_shapes_are_refused_without_echo() {
    let good = String::from_utf8(certificate().to_json()).unwrap();
    for (from, to) in [
        ("\"also\"", "\"secretname\""),
        ("\"also\":[", "\"also\":[3,"),
        ("\"state\":\"complete\"", "\"state\":\"secretname\""),
        ("certificate 1\"", "certificate 2\""),
        ("\"namespace\":\"subject\"", "\"namespace\":\"secretname\""),
        ("\"role\":\"subject\"", "\"role\":\"secretname\""),
        ("\"parts\":2", "\"parts\":-2"),
        ("\"parts\":2", "\"parts\":2.5"),
        ("\"parts\":2", "\"parts\":2,\"secretname\":3"),
        ("\"after\":\"af", "\"after\":\"AF"),
        ("\"after\":\"af", "\"after\":\""),
        ("\"signature\":\"", "\"signature\":\"00"),
        ("\"index\":", "\"secretname\":"),
        ("\"told_at\":", "\"told_at\":[],\"secretname\":"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let error = Certificate::parse(bad.as_bytes()).expect_err(to).to_string();
        assert!(!error.contains("secretname"), "{error}");
    }
}

#[test]
fn the_page_is_complete_in_itself_and_takes_no_text_for_markup() {
    let mut one = certificate();
    let attack = "<script>alert(1)</script>&\"'";
    one.asked.reason = attack.to_owned();
    one.residual[0].what = attack.to_owned();
    one.told[0].recipient = attack.to_owned();
    one.also[0] = attack.to_owned();
    one.checkpoint = attack.to_owned();
    one.destroyed.by_type[0].0 = attack.to_owned();
    let page = one.to_html();
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="), "{page}");
    let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;";
    assert_eq!(page.matches(escaped).count(), 6);
    for told in [
        hex::encode(one.id),
        one.persons[0].directory_key.to_string(),
        hex::encode(one.root_key.before),
        one.destroyed.at.clone().unwrap(),
        one.signed_by.clone().unwrap(),
        "counterfoil verify certificate.json --key verifier.key".to_owned(),
    ] {
        assert!(page.contains(&told), "{told}");
    }
    for tag in ["table", "tr", "td", "th", "p", "h1", "h2", "pre", "code", "body", "html", "tbody"] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    one.state = CertificateState::Pending;
    assert!(one.to_html().contains("Pending"));
}
