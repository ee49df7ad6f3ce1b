//! A server that fails in every way a real one may, and an importer that goes on.
//!
//! In scope: lost answers, 503 for a request and for single events, final failures. Out of scope: the
//! ledger. Invariant: what was not answered for is sent again, byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::server::{Import, import};

/// What the server does with one request.
enum Answer {
    /// Takes the request and says nothing.
    Lost,
    Says(u16, &'static str, String),
    /// Answers for each event of the request; a receipt gets the id of the event in its place.
    Receipts(Vec<Value>),
}

fn receipts(items: &[Value]) -> Answer {
    Answer::Receipts(items.to_vec())
}

fn receipt(index: u64) -> Value {
    json!({
        "ledger": "main", "origin": "ledger.example/main", "index": index, "id": "",
        "leaf_hash": "00".repeat(32), "recorded_at": "2026-11-22T01:48:10.000123Z", "replayed": false,
    })
}

fn answer_for(mut items: Vec<Value>, request: &str) -> String {
    for (item, line) in items.iter_mut().zip(request.lines()) {
        if item.get("index").is_some() {
            item["id"] = serde_json::from_str::<Value>(line).unwrap()["id"].clone();
        }
    }
    json!({ "receipts": items }).to_string()
}

fn refused(status: u16, code: &str) -> Value {
    json!({ "error": { "status": status, "code": code, "detail": "it is so",
        "errors": [{ "pointer": "/7/data/when" }] } })
}

/// Answers one connection after the other and returns the bodies that came, until the client ends.
fn serve(listener: &TcpListener, answers: Vec<Answer>, ended: &AtomicBool) -> Vec<String> {
    let mut bodies = Vec::new();
    listener.set_nonblocking(true).unwrap();
    for answer in answers {
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) if ended.load(Ordering::SeqCst) => return bodies,
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        stream.set_nonblocking(false).unwrap();
        let request = read_body(&stream);
        let said = match answer {
            Answer::Lost => None,
            Answer::Says(status, headers, body) => Some((status, headers, body)),
            Answer::Receipts(items) => Some((201, "", answer_for(items, &request))),
        };
        bodies.push(request);
        if let Some((status, headers, body)) = said {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n"
            );
            (&stream).write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    }
    bodies
}

fn read_body(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap();
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

/// Imports three records from a server that registers types and then answers so.
fn run(answers: Vec<Answer>) -> (Import, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "cf_0_0\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let registers = Answer::Says(200, "", "{}".to_owned());
    let answers = std::iter::once(registers).chain(answers).collect();
    let ended = Arc::new(AtomicBool::new(false));
    let client_ended = Arc::clone(&ended);
    let server = std::thread::spawn(move || serve(&listener, answers, &client_ended));
    let records = b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n";
    let import = import(&url, &key, &["--map", "generic"], &[Path::new("-")], records);
    ended.store(true, Ordering::SeqCst);
    let bodies = server.join().unwrap();
    (import, bodies.into_iter().skip(1).collect())
}

#[test]
fn what_was_not_answered_for_is_sent_again() {
    let again =
        |code: &str| Answer::Says(503, "retry-after: 1\r\n", json!({ "code": code }).to_string());
    let mut repeated = receipt(8);
    repeated["replayed"] = json!(true);
    let (import, bodies) = run(vec![
        Answer::Lost,
        again("overloaded"),
        receipts(&[receipt(7), refused(503, "overloaded"), refused(422, "wrong-type")]),
        receipts(&[repeated]),
    ]);
    assert_eq!((import.code, import.counts()), (1, [3, 1, 1, 1]), "{}", import.stderr);
    assert_eq!(import.refusals(), [(3, None, "wrong-type")]);
    assert!(import.stderr.contains("-:3: wrong-type: it is so (at data/when)"), "{}", import.stderr);
    let sent: Vec<Vec<&str>> = bodies.iter().map(|body| body.lines().collect()).collect();
    assert_eq!(sent[0].len(), 3);
    assert_eq!((&sent[0], &sent[1]), (&sent[1], &sent[2]), "the same ids and bytes");
    assert_eq!(sent[3], [sent[0][1]], "what is settled is not sent again");
}

#[test]
fn events_that_are_too_large_together_go_alone() {
    let (import, bodies) = run(vec![
        receipts(&[refused(413, "body-too-large"), refused(413, "body-too-large"), receipt(6)]),
        receipts(&[receipt(7)]),
        receipts(&[refused(413, "body-too-large")]),
    ]);
    assert_eq!((import.code, import.counts()), (1, [3, 2, 0, 1]), "{}", import.stderr);
    assert_eq!(import.refusals(), [(2, None, "body-too-large")]);
    assert_eq!(bodies.iter().map(|body| body.lines().count()).collect::<Vec<_>>(), [3, 1, 1]);
}

#[test]
fn a_server_that_fails_for_good_ends_the_import() {
    let (import, bodies) =
        run(vec![receipts(&[receipt(7), refused(507, "disk-full"), refused(507, "disk-full")])]);
    assert_eq!((import.code, import.counts()), (1, [1, 1, 0, 0]), "{}", import.stderr);
    assert_eq!((bodies.len(), &import.summary["complete"]), (1, &json!(false)));
    assert!(import.stderr.contains("disk-full"), "{}", import.stderr);

    let short = run(vec![receipts(&[receipt(7)])]).0;
    assert!(short.code == 1 && short.stderr.contains("1 answers for 3 events"), "{}", short.stderr);
    let denied = Answer::Says(401, "", json!({ "title": "No valid API key" }).to_string());
    let denied = run(vec![denied]).0;
    assert!(denied.code == 1 && denied.stderr.contains("No valid API key"), "{}", denied.stderr);
}
