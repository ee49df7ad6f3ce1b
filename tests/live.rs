//! Streams, counts and raw bytes, against a real server process.
//!
//! In scope: order, resuming, nothing lost or repeated under concurrent appends and across a kill,
//! filters, many quiet readers, a reader that does not read, counts held against a count by hand.
//! Out of scope: the self-audit (`tests/audit.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail, and writes settings"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;

use common::{Client, DataDir, MAIN, PATIENCE, access, policy, wait_until};
use serde_json::{Value, json};

/// A message of a stream.
#[derive(Debug, Clone, Default, PartialEq)]
struct Message {
    id: Option<u64>,
    event: String,
    data: String,
}

impl Message {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// A stream being read.
struct Stream {
    reader: BufReader<TcpStream>,
    status: u16,
    text: String,
    ended: bool,
}

impl Stream {
    fn open(client: &Client, query: &str, last: Option<u64>) -> Self {
        let mut stream = TcpStream::connect(&client.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let last = last.map_or(String::new(), |last| format!("last-event-id: {last}\r\n"));
        let key = client.key.as_ref().unwrap();
        let request = format!(
            "GET {MAIN}/events/stream{query} HTTP/1.1\r\nhost: ledger\r\nauthorization: Bearer {key}\r\n{last}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "no head: {head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status == 200 {
            assert!(head.contains("content-type: text/event-stream"), "{head}");
        }
        Self { reader, status, text: String::new(), ended: false }
    }

    /// Reads one chunk of the transfer encoding; false at the end.
    fn chunk(&mut self) -> bool {
        let mut length = String::new();
        if self.reader.read_line(&mut length).unwrap_or(0) == 0 {
            return false;
        }
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        if self.reader.read_exact(&mut chunk).is_err() {
            return false;
        }
        self.text.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
        length > 0
    }

    /// The next message that has data; none where the stream has ended.
    fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut message = Message::default();
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => message.id = Some(id.parse().unwrap()),
                        Some(("event", event)) => event.clone_into(&mut message.event),
                        Some(("data", data)) => data.clone_into(&mut message.data),
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                if !message.data.is_empty() {
                    return Some(message);
                }
            } else if self.ended || !self.chunk() {
                self.ended = true;
                return None;
            }
        }
    }

    /// The next message of a kind.
    fn next_of(&mut self, event: &str) -> Message {
        loop {
            let message = self.next().unwrap_or_else(|| panic!("the stream ended before a {event}"));
            if message.event == event {
                return message;
            }
        }
    }

    /// Entries until one has the index `last`.
    fn entries_through(&mut self, last: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        while seen.last() != Some(&last) {
            let message = self.next_of("entry");
            assert_eq!(message.json()["index"].as_u64(), message.id);
            seen.push(message.id.unwrap());
        }
        seen
    }
}

fn numbered(id: &str, source: &str, sequence: u64) -> Value {
    let mut event = access(id, "s-1", "a-1");
    event["source"] = json!(source);
    event["sequence"] = json!(sequence.to_string());
    event
}

/// Every event's index, by paging through the history.
fn history(client: &Client, query: &str) -> Vec<Value> {
    let mut events = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("{MAIN}/events?order=asc&limit=1000{query}{cursor}");
        let page = client.get(&path).expect_status(200).json();
        events.extend(page["events"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return events,
        }
    }
}

fn indexes(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["index"].as_u64().unwrap()).collect()
}

#[test]
fn a_stream_shows_what_history_shows_in_order_and_goes_on_from_where_it_was_left() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    for number in 0..5 {
        client.append(&access(&format!("a-{number}"), "s-1", "a-1")).expect_status(201);
    }
    let mut replay = Stream::open(&client, "?after=-1", None);
    let known = history(&client, "");
    for event in &known {
        let message = replay.next_of("entry");
        assert_eq!(message.json(), *event, "exactly as history prints it");
    }
    let mut newest = Stream::open(&client, "", None);
    let greeting = newest.next_of("checkpoint");
    assert!(greeting.json()["size"].as_u64().unwrap() > 0);
    client.append(&policy("later")).expect_status(201);
    let last = newest.next_of("entry");
    assert_eq!(last.json()["event"]["id"], "later", "what was there before is not sent");
    let checkpoint = newest.next_of("checkpoint");
    assert!(checkpoint.json()["size"].as_u64().unwrap() > last.id.unwrap());
    let note = checkpoint.json()["checkpoint"].as_str().unwrap().to_owned();
    assert!(note.lines().count() >= 5, "a signed note: {note}");

    let middle = known[2]["index"].as_u64().unwrap();
    let mut resumed = Stream::open(&client, "?after=-1", Some(middle));
    assert_eq!(resumed.next_of("entry").id, known[3]["index"].as_u64(), "the header goes first");
    let mut resumed = Stream::open(&client, &format!("?after={middle}"), None);
    assert_eq!(resumed.next_of("entry").id, known[3]["index"].as_u64());

    let ahead = client.send("GET", &format!("{MAIN}/events/stream"), &[("last-event-id", "999")], b"");
    ahead.expect_problem(400, "bad-cursor", "an index that the ledger does not have");
    for query in ["?after=x", "?after=-2", "?limit=5", "?clock=recorded&to=2030-01-01T00:00:00Z"] {
        let answer = client.get(&format!("{MAIN}/events/stream{query}"));
        answer.expect_problem(400, "bad-parameter", query);
    }
    let producer = server.client_as("producer");
    producer.get(&format!("{MAIN}/events/stream")).expect_problem(403, "forbidden", "a producer");
}

#[test]
fn filters_masks_and_gaps_are_those_of_history() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let auditor = server.client_as("auditor");
    let mut one = Stream::open(&client, "?source=acme/one&after=-1", None);
    let mut person = Stream::open(&client, "?subject=s-2&after=-1", None);
    let mut text = Stream::open(&auditor, "?q=ZWEI&after=-1", None);
    let mut masked = Stream::open(&auditor, "?source=acme/two&after=-1", None);
    for (at, (id, source, sequence)) in [
        ("eins", "acme/one", 1),
        ("zwei", "acme/two", 1),
        ("drei", "acme/one", 2),
        ("vier", "acme/one", 6),
    ]
    .into_iter()
    .enumerate()
    {
        let mut event = numbered(id, source, sequence);
        event["data"]["subject"] = json!(if at == 2 { "s-2" } else { "s-1" });
        client.append(&event).expect_status(201);
    }
    assert_eq!(one.next_of("entry").json()["event"]["id"], "eins");
    assert_eq!(one.next_of("entry").json()["event"]["id"], "drei");
    let drei = person.next_of("entry");
    assert_eq!(drei.json()["event"]["id"], "drei", "a person who was not known when the stream began");
    let gap = one.next_of("gap").json();
    assert_eq!((gap["missing_from"].as_u64(), gap["missing_to"].as_u64()), (Some(3), Some(5)));
    assert_eq!(one.next_of("entry").json()["event"]["id"], "vier");
    assert_eq!(text.next_of("entry").json()["event"]["id"], "zwei");
    let masked = masked.next_of("entry").json();
    assert_eq!(masked["parts"][1]["state"], "withheld");
    assert!(masked["event"]["data"].get("subject").is_none());
    // A hole between what a reader had and what it gets now is told as well.
    let mut resumed = Stream::open(&client, "?source=acme/one", drei.id);
    assert_eq!(resumed.next().unwrap().event, "gap");
}

#[test]
fn nothing_is_lost_or_repeated_under_concurrent_appends_and_across_a_kill() {
    const WRITERS: usize = 4;
    const EVENTS: usize = 60;
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let mut live = Stream::open(&client, "", None);
    let write = |client: &Client, round: usize| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let client = client.clone();
                thread::spawn(move || {
                    (0..EVENTS)
                        .map(|number| {
                            let event = access(&format!("{round}-{writer}-{number}"), "s-1", "a-1");
                            client.append(&event).expect_status(201).json()["index"].as_u64().unwrap()
                        })
                        .collect::<Vec<u64>>()
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<BTreeSet<u64>>()
    };
    let mut written = write(&client, 0);
    // Read a part only, then lose the server and go on with the next one.
    let mut seen: Vec<u64> = Vec::new();
    while seen.len() < WRITERS * EVENTS / 2 {
        seen.push(live.next_of("entry").id.unwrap());
    }
    server.kill();
    let server = data.serve();
    let client = server.client();
    let mut live = Stream::open(&client, "", seen.last().copied());
    written.extend(write(&client, 1));
    seen.extend(live.entries_through(*written.last().unwrap()));
    assert!(seen.is_sorted_by(|a, b| a < b), "in order, none twice");
    let expected: Vec<u64> = written.into_iter().filter(|index| *index >= seen[0]).collect();
    assert_eq!(seen, expected, "every acknowledged event and nothing else");
    assert_eq!(indexes(&history(&client, "")), seen);
}

#[test]
fn a_reader_that_does_not_read_holds_nothing_up_and_can_go_on() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let mut slow = Stream::open(&client, "?after=-1", None);
    // More than sockets buffer: 24 MiB of attachments.
    let body = vec![b'x'; 1 << 20];
    for number in 0..24_u8 {
        let mut body = body.clone();
        body[0] = number;
        client.post(&format!("{MAIN}/add"), "application/octet-stream", &body).expect_status(200);
    }
    let mut quick = Stream::open(&client, "?after=-1", None);
    let last = client.size() - 1;
    assert_eq!(quick.entries_through(last).len(), 24, "others are served meanwhile");
    let resident_kib = fs_status(server.pid());
    assert!(resident_kib < 400 << 10, "{resident_kib} KiB resident");
    assert_eq!(slow.entries_through(last).len(), 24, "what was held back comes when it is read");
}

/// Resident memory of a process in KiB.
fn fs_status(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn threads_of(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

#[test]
fn a_thousand_quiet_streams_take_few_threads_and_all_wake() {
    const STREAMS: usize = 1_000;
    let data = DataDir::new();
    data.init("ledger.example/quiet");
    // One peer would have as many connections as one key may have streams.
    let settings = data.path().join("counterfoil.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("connections_per_peer_max = 0\n{text}")).unwrap();
    let server = data.serve();
    let client = server.client();
    client.append(&policy("first")).expect_status(201);
    let mut streams: Vec<Stream> = (0..STREAMS).map(|_| Stream::open(&client, "", None)).collect();
    assert!(streams.iter().all(|stream| stream.status == 200));
    assert!(threads_of(server.pid()) < 100, "{} threads", threads_of(server.pid()));
    client.append(&policy("second")).expect_status(201);
    for stream in &mut streams {
        assert_eq!(stream.next_of("entry").json()["event"]["id"], "second");
    }
    // One key has its share of the streams; another still gets one, and a place is free again when a
    // reader has gone.
    let more: Vec<Stream> = (0..24).map(|_| Stream::open(&client, "", None)).collect();
    assert!(more.iter().all(|stream| stream.status == 200));
    client.get(&format!("{MAIN}/events/stream")).expect_problem(503, "overloaded", "one more");
    assert_eq!(Stream::open(&server.client_as("auditor"), "", None).status, 200);
    drop(streams);
    wait_until("places to become free", || Stream::open(&client, "", None).status == 200);
}

#[test]
fn streams_end_with_the_key_and_with_the_server() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let made = client.post_json("/v1/keys", &json!({ "role": "auditor" })).expect_status(201).json();
    let auditor = client.with_key(made["key"].as_str().unwrap());
    let mut of_auditor = Stream::open(&auditor, "", None);
    let mut of_admin = Stream::open(&client, "", None);
    let path = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    client.send("DELETE", &path, &[], b"").expect_status(204);
    assert_eq!(of_auditor.next_of("end").json(), json!({ "reason": "key" }));
    assert_eq!(of_auditor.next(), None);
    server.ask_to_end();
    assert_eq!(of_admin.next_of("end").json(), json!({ "reason": "closing" }));
    assert!(server.terminate().success(), "streams do not hold up the end");
}

/// A small generator of numbers that looks random and is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn random_event(number: u64, random: &mut Numbers) -> Value {
    let (month, day, hour) = (1 + random.below(12), 1 + random.below(28), random.below(24));
    let time = format!("2025-{month:02}-{day:02}T{hour:02}:30:00Z");
    let source = ["acme/crm", "acme/web", "acme/ops"][usize::try_from(random.below(3)).unwrap()];
    let subject = format!("s-{}", random.below(4));
    let categories: Vec<&str> =
        ["contact", "usage", "profile"].into_iter().filter(|_| random.below(2) == 0).collect();
    if random.below(3) == 0 {
        return json!({
            "specversion": "1.0", "id": format!("p-{number}"), "source": source, "time": time,
            "type": "policy.published",
            "data": { "version": "2", "material": false, "page_notice": true },
        });
    }
    let mut event = access(&format!("e-{number}"), &subject, "a-1");
    event["source"] = json!(source);
    event["time"] = json!(time);
    event["data"]["categories"] =
        if categories.is_empty() { json!(["contact"]) } else { json!(categories) };
    event
}

fn values_of(event: &Value, facet: &str) -> Vec<Option<String>> {
    let event = &event["event"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let found: Vec<Option<String>> = match facet {
        "type" | "source" => vec![text(&event[facet])],
        "category" => {
            let listed = event["data"]["categories"].as_array().cloned().unwrap_or_default();
            listed.iter().map(text).collect()
        }
        "purpose" => event["data"]["purpose"].as_str().map(|p| Some(p.to_owned())).into_iter().collect(),
        _ => panic!("{facet}"),
    };
    if found.is_empty() { vec![None] } else { found }
}

/// The first moment of the bucket, by cutting the text of the time.
fn bucket_of(event: &Value, bucket: &str, clock: &str) -> String {
    let time = if clock == "recorded" { &event["recorded_at"] } else { &event["event"]["time"] };
    let time = time.as_str().unwrap();
    match bucket {
        "hour" => format!("{}:00:00Z", &time[..13]),
        "day" => format!("{}T00:00:00Z", &time[..10]),
        "month" => format!("{}-01T00:00:00Z", &time[..7]),
        "year" => format!("{}-01-01T00:00:00Z", &time[..4]),
        _ => panic!("{bucket}"),
    }
}

#[test]
fn a_summary_is_what_counting_the_history_gives() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let mut random = Numbers(20_260_131);
    let events: Vec<Value> = (0..400).map(|number| random_event(number, &mut random)).collect();
    for batch in events.chunks(100) {
        client.append_batch(batch).expect_status(201);
    }
    let conditions = [
        "",
        "&subject=s-1",
        "&source=acme/web",
        "&type=data.accessed&category=usage",
        "&from=2025-03-01T00:00:00Z&to=2025-09-15T12:00:00Z",
        "&q=usage",
        "&clock=recorded",
    ];
    let facets: [&[&str]; 5] = [&[], &["type"], &["source", "category"], &["category"], &["purpose"]];
    for conditions in conditions {
        let found = history(&client, conditions);
        let clock = if conditions.contains("recorded") { "recorded" } else { "occurred" };
        for facets in facets {
            for bucket in ["", "hour", "day", "month", "year"] {
                let mut expected: BTreeMap<Value2, u64> = BTreeMap::new();
                for event in &found {
                    let start = (!bucket.is_empty()).then(|| bucket_of(event, bucket, clock));
                    for values in product(event, facets) {
                        *expected.entry((start.clone(), values)).or_default() += 1;
                    }
                }
                let mut query = format!("?limit=1000{conditions}");
                if !facets.is_empty() {
                    query.push_str("&by=");
                    query.push_str(&facets.join(","));
                }
                if !bucket.is_empty() {
                    query.push_str("&bucket=");
                    query.push_str(bucket);
                }
                let answer = client.get(&format!("{MAIN}/summary{query}")).expect_status(200).json();
                let groups = answer["groups"].as_array().unwrap().iter().map(|group| {
                    let start = group["start"].as_str().map(str::to_owned);
                    let values = facets.iter().map(|facet| group[*facet].as_str().map(str::to_owned));
                    ((start, values.collect()), group["count"].as_u64().unwrap())
                });
                assert_eq!(groups.collect::<BTreeMap<Value2, u64>>(), expected, "{query}");
                assert_eq!(answer["total"].as_u64(), Some(found.len() as u64), "{query}");
                assert_eq!(
                    (&answer["other"], &answer["complete"]),
                    (&json!(0), &json!(true)),
                    "{query}"
                );
            }
        }
    }
    let small = client.get(&format!("{MAIN}/summary?by=source&limit=1")).expect_status(200).json();
    let (groups, other) = (small["groups"].as_array().unwrap(), small["other"].as_u64().unwrap());
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0]["count"].as_u64().unwrap() + other, 400, "nothing is left out");
    for (query, about) in [
        ("by=subject", "persons"),
        ("by=nothing", "a facet"),
        ("by=type,source,purpose", "three"),
        ("bucket=week,day", "a bucket"),
        ("by=type,type", "twice"),
    ] {
        client.get(&format!("{MAIN}/summary?{query}")).expect_problem(400, "bad-parameter", about);
    }
}

/// Bucket and values of a group.
type Value2 = (Option<String>, Vec<Option<String>>);

fn product(event: &Value, facets: &[&str]) -> Vec<Vec<Option<String>>> {
    facets.iter().fold(vec![Vec::new()], |before, facet| {
        let values = values_of(event, facet);
        before
            .iter()
            .flat_map(|head| {
                values.iter().map(move |value| [head.as_slice(), std::slice::from_ref(value)].concat())
            })
            .collect()
    })
}

#[test]
fn bytes_are_added_once_and_read_back() {
    let data = DataDir::new();
    let server = data.serve();
    let producer = server.client_as("producer");
    let add = |client: &Client, body: &[u8]| client.post(&format!("{MAIN}/add"), "text/plain", body);
    let first = add(&producer, b"leaf \x00\xff").expect_status(200);
    assert_eq!(first.header("content-type"), Some("text/plain; charset=utf-8"));
    let index: u64 = first.text().parse().unwrap();
    assert_eq!(add(&producer, b"leaf \x00\xff").text(), index.to_string(), "the same bytes");
    let other = server.client_with(&json!({ "role": "producer", "sources": ["acme/log"] }));
    assert_ne!(add(&other, b"leaf \x00\xff").expect_status(200).text(), index.to_string());
    let stored = server.client().get(&format!("{MAIN}/events/{index}")).expect_status(200).json();
    assert_eq!(stored["event"]["data_base64"], "bGVhZiAA/w==");
    assert_eq!((&stored["event"]["type"], &stored["event"]["source"]), (&json!("x-raw"), &json!("add")));
    add(&producer, b"").expect_status(200);
    let many: Vec<_> = (0..8)
        .map(|writer: u64| {
            let producer = producer.clone();
            thread::spawn(move || {
                let body = format!("from {}", writer % 2);
                producer.post(&format!("{MAIN}/add"), "", body.as_bytes()).expect_status(200).text()
            })
        })
        .collect();
    let answers: BTreeSet<String> = many.into_iter().map(|writer| writer.join().unwrap()).collect();
    assert_eq!(answers.len(), 2, "two bodies, two indexes: {answers:?}");
    let large = vec![0; (1 << 20) + 1];
    add(&producer, &large).expect_problem(413, "raw-too-large", "one byte more than 1 MiB");
    add(&producer, &large[1..]).expect_status(200);
    let two = server.client_with(&json!({ "role": "producer", "sources": ["a", "b"] }));
    add(&two, b"whose?").expect_problem(403, "wrong-source", "a key of two sources");
    add(&server.client_as("auditor"), b"x").expect_problem(403, "forbidden", "an auditor");
}
