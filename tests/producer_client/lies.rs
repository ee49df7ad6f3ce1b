//! What lies between the client and the ledger: lost, doubled, cut, changed answers, and ledgers that
//! went back or split.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use counterfoil::client::{ClientError, ReceiptKind, Tampered};
use counterfoil::prove::verdict::Verdict;
use serde_json::{Value, json};

use super::proxy::{Act, Honest, Proxy};
use super::{append, client_of, expected, ids, kept, served};
use crate::common::{DataDir, PATIENCE, Server, files_below};

/// Sends three events through a proxy that does `act` with the first request; returns the receipts'
/// `replayed`, and how long it took.
fn through(act: fn() -> Act) -> (Vec<bool>, Duration, usize) {
    let proxy = Proxy::new(move |_, n| if n == 0 { act() } else { Act::Forward });
    let (data, server) = served(&proxy);
    let receipts = data.beside("receipts");
    let client = client_of(&data, &proxy).linger(PATIENCE).batch_events(3).receipts_dir(&receipts);
    let client = client.build().unwrap();
    let begun = Instant::now();
    let handles: Vec<_> = (0..3).map(|n| append(&client, &format!("e-{n}"))).collect();
    let replayed: Vec<bool> =
        handles.into_iter().map(|handle| handle.wait().unwrap().receipt.replayed).collect();
    let took = begun.elapsed();
    assert_eq!(ids(&server), expected((0..3).map(|n| format!("e-{n}"))));
    assert_eq!(kept(&receipts).len(), 3);
    let appends = proxy.appends();
    assert!(appends.iter().all(|request| request.body == appends[0].body), "the same bytes again");
    client.close().unwrap();
    (replayed, took, appends.len())
}

#[test]
fn an_answer_that_is_lost_doubled_or_cut_costs_nothing() {
    assert_eq!(through(|| Act::Forward).0, [false; 3]);
    for (what, act) in [
        ("lost", (|| Act::Drop) as fn() -> Act),
        ("cut", || Act::Cut(10, Honest::Yes)),
        ("cut in the head", || Act::Cut(700, Honest::Yes)),
        ("cut to a length of its own", || Act::Cut(10, Honest::No)),
        ("nonsense", || Act::Edit(Box::new(|_| "<html>".to_owned()))),
        ("too few", || Act::Edit(Box::new(|_| "{\"receipts\":[]}".to_owned()))),
    ] {
        let (replayed, _, requests) = through(act);
        assert_eq!((replayed, requests), (vec![true; 3], 2), "{what}");
    }
    let (replayed, _, requests) = through(|| Act::Twice);
    assert_eq!((replayed, requests), (vec![true; 3], 1));
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    for act in [(|| Act::Say(503, "retry-after: 2\r\n", "{}".to_owned())) as fn() -> Act, || {
        Act::Say(429, "retry-after: 2\r\n", "{}".to_owned())
    }] {
        let (replayed, took, requests) = through(act);
        assert_eq!((replayed, requests), (vec![false; 3], 2));
        assert!(took >= Duration::from_secs(2), "{took:?}");
    }
    for status in [500, 502, 504, 507] {
        let proxy = Proxy::new(move |_, n| match n {
            0 | 1 => Act::Say(status, "", "{}".to_owned()),
            _ => Act::Forward,
        });
        let (data, server) = served(&proxy);
        let client = client_of(&data, &proxy).build().unwrap();
        append(&client, "e").wait().unwrap();
        assert_eq!((ids(&server).len(), proxy.appends().len()), (1, 3), "{status}");
    }
}

#[test]
fn a_request_that_is_refused_whole_is_not_repeated_and_nothing_is_lost() {
    for status in [401, 403, 404, 501] {
        let problem = json!({ "title": "No", "detail": "not you", "code": "forbidden" }).to_string();
        let proxy = Proxy::new(move |_, _| Act::Say(status, "", problem.clone()));
        let (data, server) = served(&proxy);
        let spool = data.beside("spool");
        let client = client_of(&data, &proxy).spool_dir(&spool).build().unwrap();
        let refused = append(&client, "e-0").wait().unwrap_err();
        assert!(matches!(refused, ClientError::Rejected { status: s, .. } if s == status), "{refused}");
        assert!(client.append_json("{}").is_err(), "the client has ended");
        assert_eq!(client.close().unwrap_err(), refused);
        assert_eq!(proxy.appends().len(), 1, "{status} is sent once");
        let honest = Proxy::honest();
        honest.lead_to(Some(&server.address));
        let client = client_of(&data, &honest).spool_dir(&spool).build().unwrap();
        client.flush(PATIENCE).unwrap();
        assert_eq!(ids(&server).len(), 1);
    }
}

#[test]
fn one_event_that_spoils_a_request_is_found_and_the_others_pass() {
    // What a filter before the server does with one event's content.
    let proxy = Proxy::new(|request, _| {
        let spoiled = request.lines().iter().any(|line| line.contains("e-5"));
        if spoiled { Act::Say(400, "", "{\"code\":\"filtered\"}".to_owned()) } else { Act::Forward }
    });
    let (data, server) = served(&proxy);
    let client = client_of(&data, &proxy).linger(PATIENCE).batch_events(8).build().unwrap();
    let handles: Vec<_> = (0..8).map(|n| append(&client, &format!("e-{n}"))).collect();
    let outcomes: Vec<bool> = handles.into_iter().map(|handle| handle.wait().is_ok()).collect();
    assert_eq!(outcomes, [true, true, true, true, true, false, true, true]);
    assert_eq!(ids(&server).len(), 7);
}

/// Changes the receipts of an answer.
type Change = fn(&mut Vec<Value>);

/// Sends two events through a proxy that changes the receipts in the answer; the client must call it
/// tampering and keep the events.
fn tampered(kind: ReceiptKind, change: Change) -> Tampered {
    let proxy = Proxy::new(move |_, _| Act::Edit(Box::new(move |body| changed(body, change))));
    let (data, _server) = served(&proxy);
    let (spool, receipts) = (data.beside("spool"), data.beside("receipts"));
    let client = client_of(&data, &proxy).receipt(kind).spool_dir(&spool).receipts_dir(&receipts);
    let client = client.linger(PATIENCE).batch_events(2).build().unwrap();
    let handles = [append(&client, "e-0"), append(&client, "e-1")];
    for handle in handles {
        assert!(matches!(handle.wait(), Err(ClientError::Tampered(_))));
    }
    let late = client.append_json("{}").unwrap_err();
    let ClientError::Tampered(what) = client.close().unwrap_err() else { panic!("{late}") };
    assert_eq!(proxy.appends().len(), 1, "nothing is sent any more");
    assert_eq!(kept(&receipts).len(), 0, "no receipt of it is believed");
    assert_eq!(super::segments(&spool).len(), 1, "the events are kept");
    assert!(!evidence(&receipts).is_empty(), "what shows it is kept");
    what
}

fn evidence(dir: &Path) -> Vec<Value> {
    let is_evidence = |path: &Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("evidence-"))
    };
    let files = files_below(dir, &is_evidence);
    files.iter().map(|file| serde_json::from_slice(&fs::read(file).unwrap()).unwrap()).collect()
}

/// Parses an answer, changes it and writes it again.
fn changed(body: &str, change: Change) -> String {
    let mut answer: Value = serde_json::from_str(body).unwrap();
    change(answer["receipts"].as_array_mut().unwrap());
    answer.to_string()
}

#[test]
fn a_receipt_of_another_event_is_not_believed() {
    for kind in [ReceiptKind::Brief, ReceiptKind::Full] {
        let what = tampered(kind, |receipts| receipts.swap(0, 1));
        assert!(matches!(what, Tampered::OtherEvent { .. }), "{what}");
    }
    // Another event's proof under the right name.
    let what = tampered(ReceiptKind::Full, |receipts| {
        let id = receipts[0]["id"].clone();
        receipts[0] = receipts[1].clone();
        receipts[0]["id"] = id;
    });
    assert!(matches!(what, Tampered::Receipt { check: "identity", .. }), "{what}");
    let what = tampered(ReceiptKind::Brief, |receipts| {
        receipts[0]["origin"] = json!("other.example/main");
    });
    assert!(matches!(what, Tampered::OtherLedger { .. }), "{what}");
}

#[test]
fn content_that_was_changed_on_its_way_to_the_server_is_found() {
    let proxy = Proxy::new(|_, _| Act::Forge(|body| body.replace("\"2\"", "\"3\"")));
    let (data, server) = served(&proxy);
    let client = client_of(&data, &proxy).receipt(ReceiptKind::Full).build().unwrap();
    let error = append(&client, "e-0").wait().unwrap_err();
    assert!(matches!(error, ClientError::Tampered(Tampered::OtherContent { .. })), "{error}");
    assert_eq!(ids(&server).len(), 1, "its receipt verifies, but it is of other content");
}

fn flip(value: &mut Value) {
    let text = value.as_str().unwrap();
    let first = if text.starts_with('0') { "1" } else { "0" };
    *value = json!(format!("{first}{}", &text[1..]));
}

#[test]
fn a_full_receipt_is_checked_to_the_last_byte() {
    let changes: [(&str, Change); 6] = [
        ("leaf", |receipts| flip(&mut receipts[0]["leaf_hash"])),
        ("inclusion", |receipts| flip(&mut receipts[1]["inclusion"][0])),
        ("entry", |receipts| receipts[0]["recorded_at"] = json!("2026-11-22T01:48:10.000123Z")),
        ("content", |receipts| flip(&mut receipts[0]["openings"]["parts"][0]["salt"])),
        ("content", |receipts| {
            let body = &mut receipts[1]["openings"]["parts"][0]["body"];
            *body = json!(body.as_str().unwrap().replace("\"2\"", "\"3\""));
        }),
        ("checkpoint", |receipts| {
            let note = &mut receipts[0]["checkpoint"];
            *note = json!(note.as_str().unwrap().replacen('\n', "\n1", 1));
        }),
    ];
    for (check, change) in changes {
        let what = tampered(ReceiptKind::Full, change);
        let found = matches!(&what, Tampered::Receipt { check: found, .. } if *found == check);
        assert!(found, "{check}: {what}");
    }
}

#[test]
fn without_a_verifier_key_the_report_says_what_was_not_provable() {
    let proxy = Proxy::honest();
    let (data, server) = served(&proxy);
    let client = counterfoil::client::Client::builder(&proxy.url)
        .key_file(data.path().join("keys/admin.key"))
        .receipt(ReceiptKind::Full)
        .build()
        .unwrap();
    let acknowledged = append(&client, "e-0").wait().unwrap();
    let report = &acknowledged.report;
    assert_eq!(acknowledged.verdict(), Verdict::NotProvable);
    assert_eq!(report.check("checkpoint"), Some(Verdict::NotProvable));
    assert_eq!(report.check("sent"), Some(Verdict::Verified));
    // A producer's own key is enough for what the checks ask the server.
    let key = server.client_as("producer").key.unwrap();
    let client = client_of(&data, &proxy).key(key.into()).build().unwrap();
    append(&client, "e-1").wait().unwrap();
    let brief = append(&client, "e-2").wait().unwrap().report;
    assert_eq!(brief.check("inclusion"), Some(Verdict::NotProvable));
    assert_eq!(brief.check("published"), Some(Verdict::Verified));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// A ledger of six events, of which a client has seen the checkpoints of all; and a copy, with the same
/// keys, of how it was after three.
struct Split {
    data: DataDir,
    server: Server,
    older: DataDir,
}

fn split(kind: ReceiptKind) -> Split {
    let proxy = Proxy::honest();
    let data = DataDir::new();
    let older = DataDir::new();
    let mut server = data.serve();
    for round in 0..2 {
        proxy.lead_to(Some(&server.address));
        let client = client_of(&data, &proxy).receipt(kind).receipts_dir(data.beside("receipts"));
        let client = client.build().unwrap();
        for n in 0..3 {
            append(&client, &format!("e-{round}-{n}")).wait().unwrap();
        }
        client.close().unwrap();
        if round == 0 {
            assert!(server.terminate().success());
            copy(&data.path(), &older.path());
            server = data.serve();
        }
    }
    Split { data, server, older }
}

/// Appends to `server` with what the client of `split` has kept.
fn append_to(split: &Split, server: &Server, kind: ReceiptKind) -> Result<u64, ClientError> {
    let proxy = Proxy::honest();
    proxy.lead_to(Some(&server.address));
    let client = client_of(&split.data, &proxy).receipt(kind);
    let client = client.receipts_dir(split.data.beside("receipts")).build().unwrap();
    append(&client, "late").wait().map(|acknowledged| acknowledged.index())
}

#[test]
fn a_ledger_that_went_back_or_split_is_told_in_a_later_process_too() {
    for kind in [ReceiptKind::Brief, ReceiptKind::Full] {
        let split = split(kind);
        append_to(&split, &split.server, kind).expect("the true ledger is believed");

        // The backup gives an index again that was given before.
        let restored = split.older.serve();
        let error = append_to(&split, &restored, kind).unwrap_err();
        let rolled_back = matches!(error, ClientError::Tampered(Tampered::IndexTaken { .. }));
        assert!(rolled_back, "{kind:?}: {error}");

        // It grows past what the client has seen, with other events.
        for n in 0..9 {
            restored.client().append(&super::policy(&format!("other-{n}"))).expect_status(201);
        }
        let error = append_to(&split, &restored, kind).unwrap_err();
        let forked = matches!(error, ClientError::Tampered(Tampered::Forked { .. }));
        assert!(forked, "{kind:?}: {error}");
        let found = evidence(&split.data.beside("receipts"));
        assert!(found.iter().any(|found| found["known_checkpoint"].is_string()), "{found:?}");
        append_to(&split, &split.server, kind).expect("the true ledger is still believed");
    }
}

#[test]
fn a_shorter_log_is_told_when_it_only_repeats() {
    let split = split(ReceiptKind::Brief);
    let restored = split.older.serve();
    let proxy = Proxy::honest();
    proxy.lead_to(Some(&restored.address));
    let client = client_of(&split.data, &proxy).receipts_dir(split.data.beside("receipts"));
    let client = client.build().unwrap();
    // An event that the backup has: its receipt is the first one and good.
    let error = append(&client, "e-0-1").wait().unwrap_err();
    assert!(matches!(error, ClientError::Tampered(Tampered::Shrunk { .. })), "{error}");
}
