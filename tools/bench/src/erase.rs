//! The erasure bench: many persons of a long history forgotten in one shred, alone and while events come in.
//!
//! In scope: the time from the request to the certificate, and what appends lose meanwhile. Out of scope: that
//! nothing of the persons is left, which the tests look at. Invariants: the persons are spread over the whole
//! history; the certificate must be complete and count every one of them; the directory verifies afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Fallible;
use crate::events::subject;
use crate::history::History;
use crate::http;
use crate::load::{self, Plan, Target};
use crate::peers::counterfoil::{MAIN, Server};
use crate::process;
use crate::stats::figure;
use crate::table::Table;

/// Connections of the appends.
const CONNECTIONS: usize = 64;

/// Time after which a shred is taken to hang.
const PATIENCE: Duration = Duration::from_mins(5);

/// Seconds that appends are measured for at least.
const SECONDS_MIN: f64 = 4.0;

/// What was found.
#[derive(Debug)]
struct Shred {
    seconds: f64,
    persons: u64,
    parts: u64,
}

/// Erases `count` persons, every `step`th from `from` on, and waits for the certificate.
fn erase(server: &Server, from: u64, step: u64, count: u64) -> Fallible<Shred> {
    let persons: Vec<Value> =
        (0..count).map(|n| json!({ "namespace": "subject", "id": subject(from + n * step) })).collect();
    let body = json!({ "persons": persons, "reason": "bench", "now": true }).to_string();
    let key = server.admin_key()?;
    let begun = Instant::now();
    let taken = http::post(&server.url, &format!("{MAIN}/erasures"), Some(&key), &body)?;
    if taken.status != 202 {
        return Err(format!("an erasure was refused: {}", taken.text()).into());
    }
    let taken: Value = serde_json::from_slice(&taken.body)?;
    let id = taken.get("id").and_then(Value::as_str).unwrap_or_default();
    let path = format!("{MAIN}/erasures/{id}/certificate");
    while begun.elapsed() < PATIENCE {
        let certificate: Value =
            serde_json::from_slice(&http::get(&server.url, &path, Some(&key))?.body)?;
        if certificate.get("state").and_then(Value::as_str) == Some("complete") {
            let number = |name: &str| {
                certificate.pointer(&format!("/destroyed/{name}")).and_then(Value::as_u64).unwrap_or(0)
            };
            let (persons, parts) = (number("persons"), number("parts"));
            return Ok(Shred { seconds: begun.elapsed().as_secs_f64(), persons, parts });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("a shred did not end".into())
}

/// Runs the bench in `dir` and gives its table.
pub(crate) fn run(program: &Path, history: History, count: u64, dir: &Path) -> Fallible<String> {
    let server = Server::start(program, dir)?;
    say!("loading {} events", history.events);
    history.fill_counterfoil(&server)?;
    let subjects = history.people.subjects;
    let step = (subjects / count.max(1)).max(3);
    let quiet = erase(&server, 0, step, count)?;
    let seconds = quiet.seconds.max(SECONDS_MIN);
    let plan = Plan {
        connections: CONNECTIONS,
        batch: 1,
        warm: Duration::from_secs(2),
        measure: Duration::from_secs_f64(seconds),
        rate: None,
    };
    let headers = [
        ("content-type", "application/cloudevents+json".to_owned()),
        ("authorization", format!("Bearer {}", server.producer_key()?)),
    ];
    let target = Target::new(&server.url, &format!("{MAIN}/events"), &headers)?;
    let before = load::run(&plan, &target, server.process.pid())?;
    let (busy, during) = std::thread::scope(|scope| {
        let erasing = scope.spawn(|| {
            std::thread::sleep(plan.warm);
            erase(&server, 1, step, count)
        });
        let during = load::run(&plan, &target, server.process.pid());
        (erasing.join(), during)
    });
    let busy = busy.map_err(|_| "the erasing thread died")??;
    let during = during?;
    let after = load::run(&plan, &target, server.process.pid())?;
    let (data, ledger) = (server.data(), server.ledger());
    server.end()?;
    let mut verify = process::clean(program);
    process::run(verify.arg("verify").arg(&data).arg("--key").arg(ledger.join("verifier.key")))?;
    let base = f64::midpoint(before.events_per_s(), after.events_per_s());
    let mut table = Table::new(&["", "persons", "parts", "seconds", "appends per s", "ratio"]);
    let row = |name: &str, shred: Option<&Shred>, rate: Option<f64>| {
        let of = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        [
            name.to_owned(),
            of(shred.map(|shred| shred.persons)),
            of(shred.map(|shred| shred.parts)),
            shred.map_or_else(String::new, |shred| figure(Some(shred.seconds))),
            rate.map_or_else(String::new, |rate| figure(Some(rate))),
            rate.map_or_else(String::new, |rate| figure(Some(rate / base))),
        ]
    };
    table.row(row("shred alone", Some(&quiet), None));
    table.row(row("appends alone, before", None, Some(before.events_per_s())));
    table.row(row("both at once", Some(&busy), Some(during.events_per_s())));
    table.row(row("appends alone, after", None, Some(after.events_per_s())));
    Ok(format!(
        "{} events, {subjects} persons; appends by {CONNECTIONS} clients.\n\n{table}",
        history.events
    ))
}
