//! What holds for every request: rates, conditional reads, HEAD, and pages of other origins.
//!
//! In scope: headers and statuses over real sockets. Out of scope: what the bodies say (`http_api`).

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Answer, Client, DataDir, MAIN, access, policy, wait_until};

fn get_with(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.send("GET", path, headers, b"")
}

#[test]
fn each_key_has_its_own_rate_of_requests() {
    let data = DataDir::new();
    let server = data.serve_with(&["rate_requests_per_s=1", "rate_burst_s=20"]);
    let (busy, calm) = (server.client_as("auditor"), server.client_as("auditor"));
    let path = format!("{MAIN}/events");
    let first = busy.get(&path).expect_status(200);
    assert_eq!(first.header("ratelimit-policy"), Some("\"requests\";q=20;w=20"));
    assert!(first.header("ratelimit").unwrap().starts_with("\"requests\";r=1"), "{first:?}");
    wait_until("the limit", || busy.get(&path).status == 429);
    let limited = busy.get(&path);
    if limited.status == 429 {
        limited.expect_problem(429, "rate-limited", "requests");
        assert_eq!(limited.header("retry-after"), Some("1"));
        assert!(limited.json()["retry_after_s"].is_u64());
    }
    calm.get(&path).expect_status(200);
    for _ in 0..50 {
        busy.get("/livez").expect_status(200);
    }
}

#[test]
fn a_large_batch_is_taken_by_a_full_bucket_and_paid_for_afterwards() {
    let data = DataDir::new();
    let server = data.serve_with(&["rate_events_per_s=1", "rate_burst_s=30"]);
    let client = server.client();
    let batch = |name: &str, count: usize| {
        let events: Vec<_> = (0..count).map(|n| policy(&format!("{name}-{n}"))).collect();
        client.append_batch(&events)
    };
    batch("large", 100).expect_status(201);
    let size = client.size();
    let limited = client.append(&policy("one"));
    limited.expect_problem(429, "rate-limited", "one event after the batch");
    let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((40..=71).contains(&wait), "70 tokens of debt and one: {wait}");
    assert!(limited.header("ratelimit").unwrap().contains("\"events\";r=0"), "{limited:?}");
    assert_eq!(client.size(), size, "a refused event is not there, and reading goes on");
}

#[test]
fn callers_without_a_key_share_the_rate_of_their_address() {
    let data = DataDir::new();
    let server = data.serve_with(&["rate_public_per_s=1", "rate_burst_s=5"]);
    let outsider = server.client().without_key();
    let path = format!("{MAIN}/checkpoint");
    wait_until("the limit", || outsider.get(&path).status == 429);
    server.client().get(&path).expect_status(200);
    outsider.get("/readyz").expect_status(200);
}

#[test]
fn unchanged_answers_are_not_sent_again() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let receipt = client.append(&access("e1", "person", "agent")).expect_status(201).json();
    let index = receipt["index"].as_u64().unwrap();
    let unless =
        |client: &Client, path: &str, tag: &str| get_with(client, path, &[("if-none-match", tag)]);
    let event = format!("{MAIN}/events/{index}");
    let open = client.get(&event).expect_status(200);
    let tag = open.header("etag").unwrap().to_owned();
    assert!(tag.starts_with("W/\""), "a weak validator, since `as_of` grows: {tag}");
    client.append(&policy("e1b")).expect_status(201);
    let strong = tag.trim_start_matches("W/").to_owned();
    for known in [tag.clone(), strong, format!("\"x\", {tag}"), "*".to_owned()] {
        let same = unless(&client, &event, &known);
        assert_eq!((same.status, same.body.len()), (304, 0), "{known}");
        assert_eq!(same.header("etag"), Some(tag.as_str()));
        assert_eq!(same.header("cache-control"), Some("private, no-cache"));
    }
    unless(&client, &event, "\"other\"").expect_status(200);
    // Whoever may see less gets another body, and so another validator.
    let masked = unless(&server.client_as("auditor"), &event, &tag).expect_status(200);
    assert_ne!(masked.header("etag"), Some(tag.as_str()));
    assert_eq!(masked.header("vary"), Some("authorization"));

    let list = format!("{MAIN}/events");
    let before = client.get(&list).expect_status(200).header("etag").unwrap().to_owned();
    client.append(&policy("e2")).expect_status(201);
    unless(&client, &list, &before).expect_status(200);

    let note = format!("{MAIN}/checkpoint");
    wait_until("an unchanged checkpoint", || {
        let tag = client.get(&note).header("etag").unwrap().to_owned();
        unless(&client.without_key(), &note, &tag).status == 304
    });
}

#[test]
fn head_says_what_get_says() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    client.append(&policy("e1")).expect_status(201);
    let below = ["events", "events/1", "events/1/entry", "checkpoint", "types", "events/77"];
    let paths = below.iter().map(|path| format!("{MAIN}/{path}"));
    let others = ["/livez", "/readyz", "/v1/keys", "/nowhere"].map(str::to_owned);
    for path in paths.chain(others) {
        let (get, head) = (client.get(&path), client.send("HEAD", &path, &[], b""));
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.raw.ends_with(b"\r\n\r\n"), "{path}: no body");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}

#[test]
fn pages_of_other_origins_read_what_is_public_and_more_where_they_are_named() {
    let data = DataDir::new();
    let server = data.serve_with(&["cors_origins=https://console.example"]);
    let client = server.client();
    client.append(&policy("e1")).expect_status(201);
    let origin = |name: &'static str| ("origin", name);
    let allowed = |answer: &Answer| answer.header("access-control-allow-origin").map(str::to_owned);
    let note = format!("{MAIN}/checkpoint");
    let events = format!("{MAIN}/events");
    let ours = "https://console.example";
    let theirs = "https://elsewhere.example";
    assert_eq!(allowed(&get_with(&client, &note, &[origin(theirs)])).as_deref(), Some("*"));
    assert_eq!(allowed(&get_with(&client, &events, &[origin(theirs)])), None);
    let answer = get_with(&client, &events, &[origin(ours)]).expect_status(200);
    assert_eq!(allowed(&answer).as_deref(), Some(ours));
    assert!(answer.headers.iter().any(|(name, value)| name == "vary" && value == "origin"));

    let preflight = |path: &str, from: &'static str| {
        let asked = [origin(from), ("access-control-request-method", "POST")];
        client.without_key().send("OPTIONS", path, &asked, b"")
    };
    let answer = preflight(&events, ours).expect_status(204);
    assert_eq!(allowed(&answer).as_deref(), Some(ours));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("authorization"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    let answer = preflight(&events, theirs).expect_status(204);
    assert_eq!((allowed(&answer), answer.header("access-control-allow-methods")), (None, None));
    assert_eq!(preflight(&note, theirs).header("access-control-allow-methods"), Some("GET, HEAD"));
    assert_eq!(client.send("OPTIONS", &events, &[], b"").status, 405, "no preflight");
}

#[test]
fn a_setting_opens_entry_bundles() {
    let data = DataDir::new();
    let server = data.serve_with(&["public_bundles=true", "publish_interval_ms=20"]);
    let client = server.client();
    let events: Vec<_> = (0..300).map(|n| policy(&format!("e{n}"))).collect();
    client.append_batch(&events).expect_status(201);
    let bundle = || client.without_key().get(&format!("{MAIN}/tile/entries/000"));
    wait_until("the bundle", || bundle().status == 200);
    let bundle = bundle();
    assert_eq!(bundle.header("cache-control"), Some("public, max-age=31536000, immutable"));
    client.without_key().get(&format!("{MAIN}/events")).expect_problem(401, "unauthenticated", "events");
}

#[test]
fn zstd_bodies_are_read_and_several_encodings_are_not() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let packed = ruzstd::encoding::compress_to_vec(policy("z1").to_string().as_bytes(), level);
    let send = |encodings: &[&str], body: &[u8]| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(encodings.iter().map(|encoding| ("content-encoding", *encoding)));
        client.send("POST", &format!("{MAIN}/events"), &headers, body)
    };
    send(&["zstd"], &packed).expect_status(201);
    for encodings in [&["gzip", "zstd"][..], &["zstd, gzip"], &["br"], &["zstd", "zstd"]] {
        let answer = send(encodings, &packed);
        answer.expect_problem(415, "unsupported-media-type", "encodings");
        assert!(answer.text().contains("gzip, zstd or identity"), "{}", answer.text());
    }
    send(&["zstd"], &packed[..packed.len() - 1]).expect_problem(400, "bad-compression", "cut off");
}

#[test]
fn settings_that_cannot_hold_are_refused_at_the_start() {
    let data = DataDir::new();
    let server = data.serve();
    assert!(server.terminate().success());
    let cases = [
        ("connections_max=0", "connections_max must be a whole number from 1 to 1000000"),
        ("conections_max=5", "did you mean connections_max?"),
        ("proxies_trusted=10.0.0.0/8", "proxies_trusted must list IP addresses"),
        ("cors_origins=console.example", "cors_origins must list origins"),
    ];
    for (setting, said) in cases {
        let refusal = data.try_serve_with(&[setting]).unwrap_err();
        assert_eq!(refusal.status.code(), Some(1), "{setting}");
        assert!(refusal.stderr.contains(said), "{setting}: {}", refusal.stderr);
    }
    data.set("no_such_setting = 1");
    let refusal = data.try_serve().unwrap_err();
    let (file, setting) = ("counterfoil.toml", "no_such_setting is not a setting");
    assert!(refusal.stderr.contains(file) && refusal.stderr.contains(setting), "{}", refusal.stderr);
}
