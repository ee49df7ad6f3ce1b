//! The producer's client against real servers that are killed, away, restored or lied about.
//!
//! In scope: exactly once, receipts for all, what is told when a server contradicts itself, the
//! command line over it. Out of scope: the spool's bytes (`src/client/spool`), importing.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot start a server or read its files has to fail"
)]

#[path = "producer_client/command.rs"]
mod command;
mod common;
#[path = "producer_client/lies.rs"]
mod lies;
#[path = "producer_client/proxy.rs"]
mod proxy;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use counterfoil::client::{Builder, Client, ClientError, OnFull, ReceiptKind};
use counterfoil::prove::receipt::Receipt;
use counterfoil::prove::verdict::Verdict;
use serde_json::Value;

use common::{DataDir, MAIN, PATIENCE, Server, binary, policy};
use proxy::{Act, Proxy};

/// A client of the ledger behind a proxy, as the first admin.
fn client_of(data: &DataDir, proxy: &Proxy) -> Builder {
    Client::builder(&proxy.url)
        .key_file(data.path().join("keys/admin.key"))
        .verifier_key(data.verifier_key().parse().unwrap())
}

fn served(proxy: &Proxy) -> (DataDir, Server) {
    let data = DataDir::new();
    let server = data.serve();
    proxy.lead_to(Some(&server.address));
    (data, server)
}

fn append(client: &Client, id: &str) -> counterfoil::client::Pending {
    client.append_json(policy(id).to_string()).unwrap()
}

/// How often each id is in the ledger.
fn ids(server: &Server) -> BTreeMap<String, u32> {
    let mut ids = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("{MAIN}/events?order=asc&clock=recorded&limit=1000{cursor}");
        let page = server.client().get(&path).expect_status(200).json();
        for event in page["events"].as_array().unwrap() {
            *ids.entry(event["event"]["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

fn expected(ids: impl Iterator<Item = String>) -> BTreeMap<String, u32> {
    ids.map(|id| (id, 1)).collect()
}

/// The kept receipts, in order.
fn kept(dir: &Path) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for file in kept_files(dir) {
        let text = fs::read_to_string(file).unwrap();
        receipts.extend(text.lines().map(|line| Receipt::parse(line.as_bytes()).unwrap()));
    }
    receipts
}

fn kept_files(dir: &Path) -> Vec<PathBuf> {
    common::files_below(dir, &|path| path.extension().is_some_and(|ending| ending == "ndjson"))
}

fn segments(spool: &Path) -> Vec<PathBuf> {
    common::files_below(&spool.join("segments"), &|_| true)
}

/// Runs `counterfoil verify` on a file of receipts.
fn verify(data: &DataDir, file: &Path) -> (Option<i32>, Value) {
    let key = data.ledger().join("verifier.key");
    let output = binary().arg("verify").arg(file).arg("--json").arg("--key").arg(key).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), report)
}

#[test]
fn a_killed_server_loses_and_doubles_nothing() {
    const EVENTS: usize = 1_200;
    let proxy = Proxy::honest();
    let (data, mut server) = served(&proxy);
    let (spool, receipts) = (data.beside("spool"), data.beside("receipts"));
    let client = client_of(&data, &proxy)
        .receipt(ReceiptKind::Full)
        .batch_events(40)
        .spool_dir(&spool)
        .spool_sync(false)
        .receipts_dir(&receipts)
        .build()
        .unwrap();
    let mut handles = Vec::new();
    for round in 0..4 {
        let more = (0..EVENTS / 4).map(|n| append(&client, &format!("e-{round}-{n}")));
        handles.extend(more);
        if round < 3 {
            // Somewhere within the batches of this round.
            let before = proxy.appends().len();
            common::wait_until("more batches", || proxy.appends().len() > before + 1);
            server.kill();
            server = data.serve();
            proxy.lead_to(Some(&server.address));
        }
    }
    client.flush(PATIENCE).unwrap();
    let ids_sent: Vec<String> = handles.iter().map(|handle| handle.id().to_owned()).collect();
    let mut by_index = BTreeMap::new();
    for (handle, id) in handles.into_iter().zip(&ids_sent) {
        let acknowledged = handle.wait().unwrap();
        assert_eq!(acknowledged.verdict(), Verdict::Verified);
        by_index.insert(acknowledged.index(), id.clone());
    }
    assert_eq!(by_index.len(), EVENTS);
    assert!(by_index.into_values().eq(ids_sent.iter().cloned()), "the order of the calls is the log's");
    assert_eq!(ids(&server), expected(ids_sent.into_iter()));
    assert_eq!(client.close().unwrap(), 0);
    assert_eq!(segments(&spool), Vec::<PathBuf>::new());
    let kept_ids = kept(&receipts).into_iter().map(|receipt| receipt.id).collect::<Vec<_>>();
    assert_eq!(kept_ids.len(), EVENTS, "a receipt for each, kept once");
    for file in kept_files(&receipts) {
        let (code, report) = verify(&data, &file);
        assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("verified")), "{report}");
    }
    server.terminate();
    data.verify();
}

#[test]
fn a_server_that_is_away_is_waited_for() {
    let proxy = Proxy::honest();
    let (data, server) = served(&proxy);
    proxy.lead_to(None);
    let spool = data.beside("spool");
    let client = client_of(&data, &proxy).spool_dir(&spool).build().unwrap();
    let handles: Vec<_> = (0..20).map(|n| append(&client, &format!("e-{n}"))).collect();
    let away = client.flush(Duration::from_millis(300)).unwrap_err();
    assert_eq!(away, ClientError::Unacknowledged { events: 20 });
    assert_eq!(client.close().unwrap(), 20, "they are left in the spool");
    for handle in handles {
        assert_eq!(handle.wait(), Err(ClientError::Closed));
    }

    let before = proxy.appends().len();
    let client = client_of(&data, &proxy).spool_dir(&spool).build().unwrap();
    let late = append(&client, "e-20");
    let in_use = client_of(&data, &proxy).spool_dir(&spool).build().unwrap_err();
    assert!(matches!(in_use, ClientError::Locked(_)), "{in_use}");
    proxy.lead_to(Some(&server.address));
    client.flush(PATIENCE).unwrap();
    assert_eq!(late.wait().unwrap().receipt.id, "e-20");
    assert_eq!(ids(&server), expected((0..=20).map(|n| format!("e-{n}"))));
    let first = proxy.appends()[before].lines();
    assert!(first[0].contains("\"e-0\""), "what was left goes first: {}", first[0]);
}

#[test]
fn refused_events_are_told_apart_and_kept_with_the_reason() {
    let proxy = Proxy::honest();
    let (data, server) = served(&proxy);
    let spool = data.beside("spool");
    let client =
        client_of(&data, &proxy).spool_dir(&spool).linger(PATIENCE).batch_events(6).build().unwrap();
    let mut handles = Vec::new();
    for n in 0..6 {
        let mut event = policy(&format!("e-{n}"));
        if n == 2 {
            event["type"] = Value::from("x-not.registered");
        }
        if n == 4 {
            event["version"] = Value::from(true);
        }
        handles.push(client.append_json(event.to_string()).unwrap());
    }
    let codes: Vec<Option<String>> = handles
        .into_iter()
        .map(|handle| match handle.wait() {
            Ok(_) => None,
            Err(ClientError::Refused(refusal)) => Some(refusal.code),
            Err(other) => panic!("{other}"),
        })
        .collect();
    let refused = |code: &str| Some(code.to_owned());
    let expected_codes = [None, None, refused("unknown-type"), None, refused("wrong-type"), None];
    assert_eq!(codes, expected_codes);
    assert_eq!(proxy.appends().len(), 1, "a refusal is not sent again");
    assert_eq!(client.close().unwrap(), 0);
    assert_eq!(ids(&server), expected([0, 1, 3, 5].into_iter().map(|n| format!("e-{n}"))));
    let files = common::files_below(&spool.join("refused"), &|_| true);
    let aside: Vec<Value> =
        files.iter().map(|file| serde_json::from_slice(&fs::read(file).unwrap()).unwrap()).collect();
    let aside: Vec<_> =
        aside.iter().map(|kept| (&kept["event"]["id"], &kept["reason"]["code"])).collect();
    let (two, four) = (Value::from("e-2"), Value::from("e-4"));
    let (type_, field) = (Value::from("unknown-type"), Value::from("wrong-type"));
    assert_eq!(aside, [(&two, &type_), (&four, &field)]);
}

#[test]
fn an_event_without_an_id_keeps_the_one_it_got() {
    let proxy = Proxy::new(|_, n| if n == 0 { Act::Drop } else { Act::Forward });
    let (data, server) = served(&proxy);
    let client = client_of(&data, &proxy).build().unwrap();
    let mut event = policy("");
    event.as_object_mut().unwrap().remove("id");
    let handle = client.append_json(event.to_string()).unwrap();
    let id = handle.id().to_owned();
    let acknowledged = handle.wait().unwrap();
    assert_eq!((id.len(), &acknowledged.receipt.id), (36, &id));
    assert!(acknowledged.receipt.replayed, "the first request was stored under the same id");
    assert_eq!(ids(&server), expected([id].into_iter()));
    let bad = client.append_json("{\"id\":\"e\",\"id\":\"f\"}").unwrap_err();
    assert!(matches!(bad, ClientError::Event(_)), "{bad}");
}

#[test]
fn a_bounded_queue_and_a_bounded_spool_say_their_numbers() {
    let proxy = Proxy::honest();
    let data = DataDir::new();
    data.init("ledger.example/main");
    let client = client_of(&data, &proxy).queue(3, 1 << 20).on_full(OnFull::Refuse).batch_events(1);
    let client = client.build().unwrap();
    let mut accepted = Vec::new();
    let full = loop {
        match client.append_json(policy(&format!("e-{}", accepted.len())).to_string()) {
            Ok(handle) => accepted.push(handle),
            Err(error) => break error,
        }
    };
    // One more than the queue holds may be under way.
    assert!((3..=4).contains(&accepted.len()), "{}", accepted.len());
    let ClientError::QueueFull { held_events: 3, limit_events: 3, .. } = full else { panic!("{full}") };
    let lost = u64::try_from(accepted.len()).unwrap();
    assert_eq!(client.close().unwrap_err(), ClientError::Unacknowledged { events: lost });

    let spool = data.beside("spool");
    let client = client_of(&data, &proxy).spool_dir(&spool).spool_bytes_max(700);
    let client = client.on_full(OnFull::Refuse).build().unwrap();
    let mut count = 0;
    let full = loop {
        match client.append_json(policy(&format!("e-{count}")).to_string()) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    let ClientError::SpoolFull { held_bytes, more_bytes, limit_bytes: 700 } = full else {
        panic!("{full}")
    };
    assert!(count > 0 && held_bytes <= 700 && held_bytes + more_bytes > 700, "{full}");
    assert_eq!(client.close().unwrap(), count);
}

#[test]
fn callers_wait_for_room_and_many_threads_share_a_client() {
    let proxy = Proxy::honest();
    let (data, server) = served(&proxy);
    let client = client_of(&data, &proxy).queue(5, 1 << 20).linger(PATIENCE).build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let client = &client;
            scope.spawn(move || {
                for n in 0..25 {
                    append(client, &format!("e-{thread}-{n}"));
                }
            });
        }
    });
    client.flush(PATIENCE).unwrap();
    assert_eq!(ids(&server).len(), 100);
    assert!(proxy.appends().len() < 100, "events travel together");
}
