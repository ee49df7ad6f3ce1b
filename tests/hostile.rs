//! Hostile clients: what each costs the server, and that honest ones are served meanwhile.
//!
//! In scope: real sockets against a real process with short time limits, its descriptors and memory as
//! the kernel counts them. Out of scope: TLS (`tls`), what is refused in a body (`bad_input`).

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and keeps deadlines"
)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::{Answer, Client, DataDir, MAIN, PATIENCE, Server, access, policy, wait_until};
use serde_json::json;

/// Short limits, so that a test need not wait for the long ones. Long enough for an honest client.
const SHORT: [&str; 5] = [
    "headers_timeout_ms=1000",
    "body_timeout_ms=1000",
    "body_total_timeout_ms=2500",
    "idle_timeout_ms=1500",
    "write_timeout_ms=1000",
];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    SHORT.iter().chain(more).copied().collect()
}

/// An honest client appends and reads.
#[track_caller]
fn honest(client: &Client, id: &str) {
    client.append(&policy(id)).expect_status(201);
    client.get(&format!("{MAIN}/events?limit=1")).expect_status(200);
}

fn open(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(&server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn say(server: &Server, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut socket = open(server);
    let _ = socket.write_all(bytes.as_ref());
    socket
}

/// Everything that comes until the server closes.
fn hear(socket: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    answer
}

fn status(raw: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(raw);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn answered(server: &Server, bytes: impl AsRef<[u8]>) -> (u16, String) {
    let raw = hear(&mut say(server, bytes));
    (status(&raw), String::from_utf8_lossy(&raw).into_owned())
}

/// Whether the server has closed a connection from which nothing is expected.
fn is_closed(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    let mut byte = [0];
    match (&mut &*socket).read(&mut byte) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

fn resident_kib(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// `Authorization` and `Host`, to put into a request written by hand.
fn heads(server: &Server) -> String {
    format!("host: x\r\nauthorization: Bearer {}\r\n", server.key)
}

#[test]
fn headers_that_drip_end_with_their_time() {
    let data = DataDir::new();
    let server = data.serve_with(&SHORT);
    let client = server.client();
    let before = descriptors(&server);
    let mut drips: Vec<_> =
        (0..100).map(|_| say(&server, "GET /livez HTTP/1.1\r\nhost: x\r\nx-a: ")).collect();
    let begun = Instant::now();
    honest(&client, "meanwhile");
    while !drips.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{} connections still drip", drips.len());
        drips.retain(|socket| {
            socket.set_nonblocking(true).unwrap();
            let _ = (&mut &*socket).write(b"a");
            !is_closed(socket)
        });
        std::thread::sleep(Duration::from_millis(100));
    }
    wait_until("the descriptors", || descriptors(&server) <= before + 8);
    honest(&client, "afterwards");
}

#[test]
fn bodies_that_stall_or_drip_are_answered_408() {
    let data = DataDir::new();
    let server = data.serve_with(&SHORT);
    let client = server.client();
    let head = format!(
        "POST {MAIN}/events HTTP/1.1\r\n{}content-type: application/json\r\ncontent-length: 5000\r\n\r\n{{",
        heads(&server)
    );
    let mut stalled: Vec<_> = (0..50).map(|_| say(&server, &head)).collect();
    let mut dripping = say(&server, &head);
    let begun = Instant::now();
    honest(&client, "meanwhile");
    dripping.set_nonblocking(true).unwrap();
    let mut received = Vec::new();
    while received.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the dripping body is not answered");
        std::thread::sleep(Duration::from_millis(100));
        let _ = dripping.write(b" ");
        let mut some = [0; 4096];
        if let Ok(read) = dripping.read(&mut some) {
            received.extend_from_slice(&some[..read]);
        }
    }
    let said = String::from_utf8_lossy(&received).into_owned();
    assert!(said.contains("408") && said.contains("request-timeout"), "{said}");
    for socket in &mut stalled {
        let said = hear(socket);
        assert_eq!(status(&said), 408, "{}", String::from_utf8_lossy(&said));
    }
    honest(&client, "afterwards");
}

#[test]
fn thousands_of_idle_connections_wait_outside_or_end() {
    let data = DataDir::new();
    let limits = ["connections_max=1000", "connections_per_peer_max=0", "idle_timeout_ms=4000"];
    let server = data.serve_with(&with(&limits));
    let mut inside = open(&server);
    let ask = |socket: &mut TcpStream| {
        socket.write_all(format!("GET /livez HTTP/1.1\r\n{}\r\n", heads(&server)).as_bytes()).unwrap();
        let mut some = [0; 4096];
        let read = socket.read(&mut some).unwrap();
        status(&some[..read])
    };
    assert_eq!(ask(&mut inside), 200);
    let (fds, kib) = (descriptors(&server), resident_kib(&server));
    let address: SocketAddr = server.address.parse().unwrap();
    let mut flood = Vec::new();
    let mut asked = Instant::now();
    for _ in 0..2000 {
        flood.extend(TcpStream::connect_timeout(&address, Duration::from_millis(500)));
        // However long the flood takes to make, whoever is inside and busy stays inside.
        if asked.elapsed() > Duration::from_millis(200) {
            assert_eq!(ask(&mut inside), 200, "whoever is inside is served");
            asked = Instant::now();
        }
    }
    assert!(flood.len() > 1500, "{} connections were made", flood.len());
    assert_eq!(ask(&mut inside), 200, "whoever is inside is served");
    let most = descriptors(&server);
    assert!(most <= fds + 1000, "{most} descriptors, {fds} before");
    let grown = resident_kib(&server).saturating_sub(kib);
    assert!(grown < 64 << 10, "{grown} KiB more");
    // Newcomers wait in the queue behind the flood, and come in as its connections time out.
    honest(&server.client(), "newcomer");
    drop(flood);
    wait_until("the descriptors", || descriptors(&server) < fds + 32);
}

#[test]
fn one_address_cannot_take_all_connections() {
    let data = DataDir::new();
    let server = data.serve_with(&["connections_per_peer_max=20"]);
    let held: Vec<_> = (0..20).map(|_| open(&server)).collect();
    let refusal = |_| {
        let said = hear(&mut say(&server, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"));
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.starts_with("HTTP/1.1 503") && said.contains("retry-after: 1\r\n"), "{said}");
    };
    (0..10).for_each(refusal);
    drop(held);
    let refused =
        || server.client().try_send("GET", "/livez", &[], b"").map_or(0, |answer| answer.status);
    wait_until("a free connection", || refused() == 200);
}

#[test]
fn headers_and_addresses_have_limits() {
    let data = DataDir::new();
    let server = data.serve_with(&SHORT);
    let kib = resident_kib(&server);
    let many = "x-more: a\r\n".repeat(1000);
    let cases = [
        (format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(1 << 20)), 431),
        (format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n"), 431),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(1 << 20)), 431),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "a".repeat(20_000)), 414),
        (
            format!("GET /?{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "a=b&".repeat(5_000)),
            414,
        ),
        ("GET /livez HTTP/9.9\r\n\r\n".to_owned(), 400),
        ("\0\0\0\0\r\n\r\n".to_owned(), 400),
        ("GET /livez HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n".to_owned(), 400),
        ("POST /v1/keys HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_owned(), 400),
        (
            "POST /v1/keys HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"
                .to_owned(),
            400,
        ),
    ];
    for (request, expected) in &cases {
        let (status, said) = answered(&server, request);
        let case = request.get(..60.min(request.len())).unwrap();
        // The rest of a bomb that is not read can tear the connection down before its answer is read.
        let torn = status == 0 && request.len() > 1 << 19;
        assert!(status == *expected || torn, "{case:?}: {status}, not {expected}: {said:.200}");
        if status == 414 {
            assert!(said.contains("uri-too-long"), "{said}");
        }
    }
    honest(&server.client(), "afterwards");
    let grown = resident_kib(&server).saturating_sub(kib);
    assert!(grown < 64 << 10, "{grown} KiB more");
}

fn gzip_bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..256 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

/// A zstd frame of one byte repeated 128 KiB times `blocks` times, with a window of 2^(10 + `exponent`).
fn zstd_bomb(exponent: u8, blocks: u32) -> Vec<u8> {
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3];
    for block in 1..=blocks {
        let header = u32::from(block == blocks) | 1 << 1 | (128 << 10) << 3;
        bytes.extend_from_slice(&header.to_le_bytes()[..3]);
        bytes.push(b' ');
    }
    bytes
}

#[test]
fn bombs_are_refused_within_bounded_memory() {
    let data = DataDir::new();
    let server = data.serve_with(&["body_memory_bytes=67108864"]);
    let client = server.client();
    let kib = resident_kib(&server);
    let bombs = [
        ("gzip", gzip_bomb(), 413),
        // 4 GiB out of 128 KiB; and a window of 2 TiB.
        ("zstd", zstd_bomb(13, 32_768), 413),
        ("zstd", zstd_bomb(31, 2), 400),
    ];
    let most = std::thread::scope(|scope| {
        let client = &client;
        for (encoding, bomb, expected) in &bombs {
            for _ in 0..8 {
                scope.spawn(move || {
                    let headers =
                        [("content-type", "application/json"), ("content-encoding", *encoding)];
                    let answer = client.send("POST", &format!("{MAIN}/events"), &headers, bomb);
                    // The budget for bodies lets four unpack at once; the rest are asked to come again.
                    let again = answer.status == 503 && answer.header("retry-after") == Some("1");
                    assert!(answer.status == *expected || again, "{encoding}: {}", answer.text());
                });
            }
        }
        scope.spawn(move || {
            wait_until("an honest append", || client.append(&policy("meanwhile")).status < 300);
        });
        (0..20)
            .map(|_| {
                std::thread::sleep(Duration::from_millis(20));
                resident_kib(&server)
            })
            .max()
            .unwrap()
    });
    let grown = most.max(resident_kib(&server)).saturating_sub(kib);
    assert!(grown < 256 << 10, "{grown} KiB more");
    for (encoding, bomb, expected) in &bombs {
        let headers = [("content-type", "application/json"), ("content-encoding", *encoding)];
        let answer = client.send("POST", &format!("{MAIN}/events"), &headers, bomb);
        assert_eq!(answer.status, *expected, "alone it is looked at: {}", answer.text());
    }
}

#[test]
fn a_body_without_end_is_cut_off() {
    let data = DataDir::new();
    let server = data.serve_with(&SHORT);
    let kib = resident_kib(&server);
    let mut socket = say(
        &server,
        format!(
            "POST {MAIN}/events HTTP/1.1\r\n{}content-type: application/x-ndjson\r\n\
             transfer-encoding: chunked\r\n\r\n",
            heads(&server)
        ),
    );
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut sent = 0_usize;
    while sent < 256 << 20 && socket.write_all(chunk.as_bytes()).is_ok() {
        sent += chunk.len();
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    let grown = resident_kib(&server).saturating_sub(kib);
    assert!(grown < 64 << 10, "{grown} KiB more");
    honest(&server.client(), "afterwards");
}

#[test]
fn pipelined_requests_are_answered_in_order_and_unread_answers_end() {
    let data = DataDir::new();
    let server = data.serve_with(&SHORT);
    let client = server.client();
    let events: Vec<_> = (0..500).map(|n| access(&format!("p{n}"), "s", "a")).collect();
    client.append_batch(&events).expect_status(201);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\n{}\r\n", heads(&server));
    let entries = (450..500).map(|n| get(&format!("{MAIN}/events/{n}/entry")));
    let requests = entries.collect::<Vec<_>>().concat();
    let last = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let (_, said) = answered(&server, requests + last);
    assert_eq!(said.matches("HTTP/1.1 ").count(), 51, "{said:.500}");
    assert!(said.ends_with("ok\n"), "{said:.500}");

    // Megabytes of answers that nobody reads.
    let before = descriptors(&server);
    let requests = get(&format!("{MAIN}/events?limit=500")).repeat(200);
    let unread: Vec<_> = (0..4).map(|_| say(&server, &requests)).collect();
    honest(&client, "meanwhile");
    wait_until("the connections to end", || descriptors(&server) < before + 4);
    drop(unread);
    honest(&client, "afterwards");
}

#[test]
fn paths_lead_nowhere_else() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    honest(&client, "first");
    let wrong = [
        "/../counterfoil.toml",
        "/%2e%2e/counterfoil.toml",
        "//etc/passwd",
        "/v1//ledgers/main/events",
        "/v1/ledgers/../../keys/admin.key",
        "/v1/ledgers/main/tile/../../../keys/admin.key",
        "/v1/ledgers/main/tile/%2e%2e/%2e%2e/%2e%2e/keys/admin.key",
        "/v1/ledgers/main/tile/..%2freader.key",
        "/v1/ledgers/main/tile/0/000%00",
        "/v1/ledgers/main/tile/0/%c0%ae%c0%ae",
        "/v1/ledgers/%2e%2e/events",
        "/v1/ledgers/main%2f..%2fmain/checkpoint",
        "/v1/ledgers/main/tile//0/000",
        "/v1/ledgers/main/sealed/000",
        "/v1/ledgers/main/journal/0",
        "/v1/ledgers/main/reader.key",
        "/v1/ledgers/main/tile/0/000.p/0",
        "/v1/ledgers/main/tile/0/000.p/257",
        "/v1/ledgers/main/tile/99/000",
        "/v1/ledgers/main/events/%ff",
        "/v1/ledgers/main/events/-1",
        "/v1/ledgers/main/events/99999999999999999999",
        "/v1/ledgers/MAIN/events",
        "/%",
        "/%zz",
        "*",
        "/v1/ledgers/main/tile/entries/..%5c..%5creader.key",
    ];
    let secret = client.key.clone().unwrap();
    for path in wrong {
        for method in ["GET", "HEAD", "POST", "DELETE"] {
            let answer = client.send(method, path, &[("content-length", "0")], b"");
            let case = format!("{method} {path}");
            assert!((400..500).contains(&answer.status), "{case}: {}", answer.status);
            let said = String::from_utf8_lossy(&answer.raw).into_owned();
            assert!(!said.contains(&secret) && !said.contains("root:"), "{case}: {said}");
        }
    }
    for bytes in [
        &b"GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"GET /\xc0\xae\xc0\xae/ HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let closing = [&bytes[..bytes.len() - 2], b"connection: close\r\n\r\n"].concat();
        let (status, said) = answered(&server, closing);
        assert!((400..500).contains(&status), "{status}: {said}");
    }
    honest(&client, "afterwards");
}

#[test]
fn keys_do_what_their_role_says_and_no_more() {
    let data = DataDir::new();
    let server = data.serve();
    let admin = server.client();
    honest(&admin, "first");
    let event = policy("scoped").to_string();
    let calls: [(&str, String, &[u8]); 5] = [
        ("POST", format!("{MAIN}/events"), event.as_bytes()),
        ("GET", format!("{MAIN}/events"), b""),
        ("GET", format!("{MAIN}/events/1/entry"), b""),
        ("GET", "/v1/keys".to_owned(), b""),
        ("POST", "/v1/keys".to_owned(), b"{\"role\":\"admin\"}"),
    ];
    let allowed = [
        ("producer", [true, false, true, false, false]),
        ("responder", [false, true, true, false, false]),
        ("auditor", [false, true, true, false, false]),
        ("dpo", [false, true, true, false, false]),
        ("admin", [false, false, false, true, true]),
    ];
    for (role, may) in allowed {
        let client = server.client_as(role);
        for ((method, path, body), may) in calls.iter().zip(may) {
            let answer = client.send(method, path, &[("content-type", "application/json")], body);
            let case = format!("{role} {method} {path}");
            assert_eq!(answer.status == 403, !may, "{case}: {} {}", answer.status, answer.text());
        }
    }
    server.client().post_json("/v1/ledgers", &json!({"name": "other"})).expect_status(201);
    let elsewhere = server.client_with(&json!({"role": "responder", "ledgers": ["other"]}));
    elsewhere.get(&format!("{MAIN}/events")).expect_problem(403, "wrong-ledger", "another ledger");
    let bound = server.client_with(&json!({"role": "producer", "sources": ["acme/crm"]}));
    bound.append(&policy("foreign")).expect_problem(403, "wrong-source", "another source");
}

#[test]
fn guessing_keys_is_slowed_down_and_good_keys_are_not() {
    let data = DataDir::new();
    let server = data.serve_with(&["key_failures_per_minute=10"]);
    let client = server.client();
    let id = server.key.split('_').nth(1).unwrap().to_owned();
    let other = server.client_as("producer");
    let guess = |n: usize, id: &str| {
        client.with_key(&format!("cf_{id}_{n:064x}")).get(&format!("{MAIN}/events"))
    };
    for claimed in ["0123456789abcdef", &id] {
        let answers: Vec<Answer> = (0..20).map(|n| guess(n, claimed)).collect();
        assert_eq!(answers.iter().take(10).filter(|answer| answer.status == 401).count(), 10);
        let limited = answers.last().unwrap();
        limited.expect_problem(429, "rate-limited", claimed);
        let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    // From the same address, with a key that nobody guesses at.
    other.append(&policy("honest")).expect_status(201);
    let refused = client.get(&format!("{MAIN}/events"));
    refused.expect_problem(429, "rate-limited", "the key that is being guessed, from this address");
}

#[test]
fn a_request_under_way_is_finished_before_the_end() {
    let data = DataDir::new();
    let server = data.serve();
    let event = policy("last").to_string();
    let mut socket = say(
        &server,
        format!(
            "POST {MAIN}/events HTTP/1.1\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
            heads(&server),
            event.len(),
            &event[..10]
        ),
    );
    let idle = open(&server);
    // The server has the request once it has begun to answer another that came later.
    server.client().get("/livez").expect_status(200);
    server.ask_to_end();
    wait_until("the word of the end", || server.stderr().contains("ending"));
    wait_until("the idle connection to be closed", || is_closed(&idle));
    assert!(TcpStream::connect(&server.address).is_err(), "nobody new is let in");
    socket.write_all(&event.as_bytes()[10..]).unwrap();
    assert_eq!(status(&hear(&mut socket)), 201);
    assert!(server.terminate().success());
}

#[test]
fn a_nearly_full_disk_refuses_appends_and_serves_reads() {
    let data = DataDir::new();
    let server = data.serve();
    honest(&server.client(), "before");
    assert!(server.terminate().success());
    // More is asked to stay free than any disk has.
    let server = data.serve_with(&["disk_reserve_bytes=9223372036854775807"]);
    let client = server.client();
    client.append(&policy("during")).expect_problem(507, "disk-full", "one event");
    let batch = [policy("during"), policy("during-2")];
    client.append_batch(&batch).expect_problem(507, "disk-full", "a batch");
    for path in ["events", "events/1", "events/1/receipt", "checkpoint", "tile/0/000.p/1"] {
        let status = client.get(&format!("{MAIN}/{path}")).status;
        assert!(status == 200 || (path.starts_with("tile") && status == 404), "{path}: {status}");
    }
    client.get("/livez").expect_status(200);
    let size = client.size();
    assert!(server.terminate().success());
    let server = data.serve_with(&["disk_reserve_bytes=0"]);
    assert_eq!(server.client().size(), size, "nothing of what was refused is there");
    server.client().append(&policy("during")).expect_status(201);
    assert!(server.terminate().success());
    data.verify();
}
