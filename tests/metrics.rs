//! `GET /metrics` and `GET /readyz?verbose=true` of a running server.
//!
//! In scope: the exposition as a strict parser reads it, its agreement with the documented table, that
//! what happens is counted, that no client makes labels, who may look. Out of scope: how fast counting is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Client, DataDir, MAIN, access, policy, wait_until};
use serde_json::json;

/// A family: its kind, and the values of its series by name and labels.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    series: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

/// Reads an exposition, refusing what `OpenMetrics` 1.0 does not allow.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("ends with EOF, once");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (keyword, rest) = rest.split_once(' ').unwrap();
            let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
            match keyword {
                "HELP" => {
                    assert!(!families.contains_key(name), "{name}: two families");
                    name.clone_into(&mut current);
                    families.insert(name.to_owned(), Family::default());
                    assert!(!value.is_empty(), "{name}: no help");
                }
                "TYPE" => {
                    assert_eq!(name, current, "TYPE follows HELP");
                    let family = families.get_mut(name).unwrap();
                    assert!(family.kind.is_empty() && family.series.is_empty(), "{name}: a second TYPE");
                    value.clone_into(&mut family.kind);
                }
                "UNIT" => {
                    assert_eq!(name, current, "UNIT follows HELP");
                    assert!(name.ends_with(&format!("_{value}")), "{name}: its unit is {value}");
                }
                other => panic!("# {other}"),
            }
            continue;
        }
        let (name, labels, value) = sample(line);
        let family = families.get_mut(&current).unwrap_or_else(|| panic!("{line}: no family"));
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{current}: of type {other}"),
        };
        let suffix =
            name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{line} in {current}"));
        assert!(suffixes.contains(&suffix), "{line}: {suffix} of a {}", family.kind);
        assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{line}");
        assert!(family.series.insert((name, labels), value).is_none(), "{line}: twice");
    }
    for (name, family) in &families {
        check_histograms(name, family);
    }
    families
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        let (inside, after) = inner.rsplit_once('}').unwrap();
        for pair in inside.split("\",") {
            let (label, value) = pair.split_once("=\"").unwrap();
            let value = value.trim_end_matches('"').to_owned();
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
        }
        rest = after;
    }
    let value = rest.strip_prefix(' ').unwrap();
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("{line}: its value")))
}

fn check_histograms(name: &str, family: &Family) {
    for ((_, labels), count) in family.series.iter().filter(|((n, _), _)| *n == format!("{name}_count"))
    {
        let buckets = family.series.iter().filter(|((n, with), _)| {
            let mut bare = with.clone();
            bare.remove("le");
            *n == format!("{name}_bucket") && bare == *labels
        });
        let mut by_bound: Vec<(f64, f64)> = buckets
            .map(|((_, with), value)| (with["le"].replace("+Inf", "inf").parse().unwrap(), *value))
            .collect();
        by_bound.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert!(by_bound.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name}: cumulative");
        let last = by_bound.last().unwrap();
        assert!(last.0.is_infinite(), "{name}: no +Inf");
        assert!((last.1 - count).abs() < 0.5, "{name}: +Inf is the count");
        assert!(family.series.contains_key(&(format!("{name}_sum"), labels.clone())), "{name}: no sum");
    }
}

fn scrape(client: &Client) -> BTreeMap<String, Family> {
    let answer = client.get("/metrics").expect_status(200);
    let content_type = answer.header("content-type");
    assert_eq!(content_type, Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    parse(&answer.text())
}

/// The sum of all series of `name` whose labels include `wanted`.
fn value(families: &BTreeMap<String, Family>, name: &str, wanted: &[(&str, &str)]) -> f64 {
    let all = families.values().flat_map(|family| &family.series);
    let fits = all.filter(|((series, labels), _)| {
        series == name
            && wanted.iter().all(|(label, value)| labels.get(*label).is_some_and(|v| v == value))
    });
    fits.map(|(_, value)| value).sum()
}

#[track_caller]
fn assert_value(
    families: &BTreeMap<String, Family>,
    name: &str,
    wanted: &[(&str, &str)],
    expected: u32,
) {
    let found = value(families, name, wanted);
    assert!((found - f64::from(expected)).abs() < 0.5, "{name} {wanted:?}: {found}, not {expected}");
}

#[test]
fn what_is_exposed_is_what_is_documented() {
    let data = DataDir::new();
    let server = data.serve();
    server.client().append(&access("a-1", "s-1", "s-2")).expect_status(201);
    let families = scrape(&server.client());
    let page = include_str!("../docs/metrics.md");
    let mut documented = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let exposed = cells[0].trim_matches(|c| c == '|' || c == '`' || c == ' ');
        let kind = cells[1];
        let name = match kind {
            "counter" => exposed.strip_suffix("_total").unwrap(),
            "info" => exposed.strip_suffix("_info").unwrap(),
            _ => exposed,
        };
        let labels: BTreeSet<String> = cells[2]
            .split(", ")
            .map(|label| label.trim_matches('`').to_owned())
            .filter(|label| !label.is_empty())
            .collect();
        let family = families.get(name).unwrap_or_else(|| panic!("{name} is not exposed"));
        assert_eq!(family.kind, kind, "{name}");
        for (series, with) in family.series.keys() {
            let with: BTreeSet<String> = with.keys().filter(|label| *label != "le").cloned().collect();
            assert_eq!(with, labels, "{series}");
        }
        documented.insert(name.to_owned());
    }
    let exposed: BTreeSet<String> = families.keys().cloned().collect();
    assert_eq!(exposed, documented);
    let empty: Vec<_> = families.iter().filter(|(_, f)| f.series.is_empty()).map(|(n, _)| n).collect();
    let none_yet = [
        "counterfoil_audit_time_seconds",
        "counterfoil_audit_verdict",
        "counterfoil_retention_pass_time_seconds",
    ];
    assert_eq!(empty, none_yet, "without samples");
}

#[test]
fn what_happens_is_counted() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let before = scrape(&client);
    let main = ("ledger", "main");
    let event = access("a-1", "s-1", "s-2");
    client.append(&event).expect_status(201);
    client.append(&event).expect_status(200);
    let mut other = event.clone();
    other["data"]["purpose"] = json!("billing");
    client.append(&other).expect_status(409);
    client
        .append(&json!({ "id": "x", "org": "o", "producer": "p", "type": "no.such" }))
        .expect_status(422);
    client.append_batch(&[policy("p-1"), policy("p-2")]).expect_status(201);
    let after = scrape(&client);
    for (result, count) in [("created", 3), ("replayed", 1), ("conflict", 1), ("unknown-type", 1)] {
        let wanted = [main, ("result", result)];
        assert_value(&after, "counterfoil_events_total", &wanted, count);
    }
    let groups = |families| value(families, "counterfoil_commit_flush_seconds_count", &[main]);
    assert!(groups(&after) >= groups(&before) + 2.0, "two commits were flushed");
    assert!(value(&after, "counterfoil_commit_flush_seconds_sum", &[main]) > 0.0);
    let posts = [("method", "POST"), ("route", "/v1/ledgers/{ledger}/events")];
    for (class, count) in [("2xx", 3), ("4xx", 2), ("5xx", 0)] {
        let wanted = [posts[0], posts[1], ("class", class)];
        assert_value(&after, "counterfoil_http_requests_total", &wanted, count);
    }
    assert_value(&after, "counterfoil_http_request_duration_seconds_count", &posts, 5);
    for (code, count) in [("conflict", 1), ("unknown-type", 1), ("not-found", 0)] {
        assert_value(&after, "counterfoil_problems_total", &[("code", code)], count);
    }
    let size = value(&after, "counterfoil_ledger_entries", &[main]);
    assert!(size >= value(&before, "counterfoil_ledger_entries", &[main]) + 3.0);
    assert_value(&after, "counterfoil_ledger_running", &[main], 1);
    assert_value(&after, "counterfoil_api_keys", &[("state", "active")], 1);
    assert!(value(&after, "counterfoil_journal_size_bytes", &[main]) > 0.0);
    assert!(value(&after, "counterfoil_disk_free_bytes", &[]) > 0.0);
    wait_until("everything is published", || {
        value(&scrape(&client), "counterfoil_fold_lag_entries", &[main]) < 0.5
    });
    let published = scrape(&client);
    assert!(value(&published, "counterfoil_checkpoint_entries", &[main]) >= size);
    assert!(value(&published, "counterfoil_checkpoint_time_seconds", &[main]) > 1e9);
    client.post(&format!("{MAIN}/audit"), "", b"").expect_status(202);
    let verified = [main, ("verdict", "verified")];
    wait_until("the audit", || {
        scrape(&client)["counterfoil_audit_verdict"].series.values().any(|found| *found > 0.5)
    });
    assert_value(&scrape(&client), "counterfoil_audit_verdict", &verified, 1);
}

#[test]
fn no_client_makes_labels() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let labels = |families: BTreeMap<String, Family>| -> BTreeSet<(String, BTreeMap<String, String>)> {
        families.into_values().flat_map(|family| family.series.into_keys()).collect()
    };
    client.append(&policy("p-0")).expect_status(201);
    client.append(&json!({ "id": "x", "org": "o", "producer": "p", "type": "no.such" }));
    let before = labels(scrape(&client));
    let anyone = client.without_key();
    for path in
        ["/secret-path", "/v1/ledgers/no-such/events", "/v1/ledgers/x%0a%22y/events/7", "//", "/%ff"]
    {
        for method in ["GET", "POST", "HACK", "OPTIONS", "PUT"] {
            let _ = client.try_send(method, path, &[("x-evil", "a\"b"), ("host2", "z")], b"");
            let _ = anyone.try_send(method, path, &[], b"");
        }
    }
    for type_name in ["x-\"quote", "no\nsuch", "secret-type"] {
        client.append(&json!({ "id": "x", "org": "o", "producer": "p", "type": type_name }));
    }
    client.get(&format!("{MAIN}/events/999999999")).expect_status(404);
    let page = include_str!("../docs/problems.md");
    let codes: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`')).collect();
    let after = labels(scrape(&client));
    for (series, with) in after.difference(&before) {
        let result = with.get("result").map(String::as_str);
        assert!(result.is_some_and(|result| codes.contains(result)), "{series} {with:?}");
        assert_eq!((series.as_str(), with.len()), ("counterfoil_events_total", 2), "{with:?}");
    }
}

#[test]
fn metrics_and_checks_are_for_who_watches() {
    let data = DataDir::new();
    data.init("watch.example/main");
    let server = data.serve();
    let anyone = server.client().without_key();
    anyone.get("/metrics").expect_problem(401, "unauthenticated", "no key");
    for role in ["producer", "responder", "dpo"] {
        server.client_as(role).get("/metrics").expect_problem(403, "forbidden", role);
    }
    for role in ["auditor", "admin"] {
        let watcher = server.client_as(role);
        // `main` and `reads`.
        assert_eq!(scrape(&watcher)["counterfoil_ledger_entries"].series.len(), 2, "{role}");
        let ready = watcher.get("/readyz?verbose=true").expect_status(200).json();
        let checks = ready["checks"].as_array().unwrap().iter();
        let names: BTreeSet<&str> = checks.map(|check| check["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["checkpoint", "clock", "disk", "index", "running"].into());
        assert_eq!(ready["status"], "ok", "{ready}");
    }
    server.client().post_json("/v1/ledgers", &json!({ "name": "second" })).expect_status(201);
    assert_eq!(scrape(&server.client())["counterfoil_ledger_entries"].series.len(), 3);
    let bound = server.client_with(&json!({ "role": "auditor", "ledgers": ["second"] }));
    let families = scrape(&bound);
    let ledgers: BTreeSet<&str> = families
        .values()
        .flat_map(|family| family.series.keys())
        .filter_map(|(_, labels)| labels.get("ledger").map(String::as_str))
        .collect();
    assert_eq!(ledgers, ["second"].into(), "bound to one ledger");
    for path in ["/readyz", "/readyz?verbose=true"] {
        assert_eq!(anyone.get(path).expect_status(200).text(), "ok\n", "{path}");
    }
    server.client_as("producer").get("/readyz?verbose=true").expect_problem(
        403,
        "forbidden",
        "producer",
    );
    assert_eq!(anyone.get("/startupz").expect_status(200).text(), "ok\n");
    drop(server);
    let config = data.path().join("counterfoil.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let open = text.replace("metrics_public = false", "metrics_public = true");
    let open = if open == text { format!("metrics_public = true\n{text}") } else { open };
    #[allow(clippy::disallowed_methods, reason = "the operator's hand, not the server's")]
    std::fs::write(&config, open).unwrap();
    let server = data.serve();
    scrape(&server.client().without_key());
}
