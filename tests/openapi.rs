//! The contract is the server: every operation of the `OpenAPI` document against a running one.
//!
//! In scope: the committed document, parameters, security, methods, problem codes, and answers held
//! against their schemas. Out of scope: what the answers mean. Invariant: a check runs over all
//! operations of the served document, so a new handler is checked without being named here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use std::collections::BTreeSet;

use common::{Answer, Client, DataDir, MAIN, Server, access, binary, policy, wait_until};
use serde_json::{Map, Value, json};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// An operation of the served document.
struct Operation {
    method: String,
    template: String,
    described: Value,
}

impl Operation {
    /// Its path on the server under test. Elements that need a value which exists get one.
    fn path(&self) -> String {
        let elements =
            [("ledger", "main"), ("index", "0"), ("id", "0000000000000000"), ("path", "0/000")];
        let path = elements.iter().fold(self.template.clone(), |path, (name, value)| {
            path.replace(&format!("{{{name}}}"), value)
        });
        assert!(!path.contains('{'), "{path}: give its element a value in this test");
        path
    }

    fn name(&self) -> String {
        format!("{} {}", self.method.to_uppercase(), self.template)
    }

    fn parameters(&self, place: &str) -> impl Iterator<Item = &Value> {
        let all = self.described["parameters"].as_array().into_iter().flatten();
        all.filter(move |each| each["in"] == place)
    }

    fn query_names(&self) -> BTreeSet<String> {
        self.parameters("query").map(|each| each["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Whether it cannot be called without a key, and whether some of it can.
    fn security(&self) -> (bool, bool) {
        let ways = self.described["security"].as_array().cloned().unwrap_or_default();
        let free = ways.iter().any(|way| way.as_object().is_some_and(Map::is_empty));
        (!ways.is_empty() && !free, free)
    }

    fn codes(&self) -> BTreeSet<String> {
        let responses = self.described["responses"].as_object().unwrap().values();
        let codes = responses.filter_map(|response| {
            response["content"]["application/problem+json"]["schema"]["properties"]["code"]["enum"]
                .as_array()
        });
        codes.flatten().map(|code| code.as_str().unwrap().to_owned()).collect()
    }

    fn call(&self, client: &Client, query: &str) -> Answer {
        let path = format!("{}{query}", self.path());
        client.send(&self.method.to_uppercase(), &path, &[], b"")
    }

    /// A request without a defined end (a stream) cannot be called here; its head could not be told
    /// from its body.
    fn ends(&self) -> bool {
        !self.described["responses"]["200"]["content"]
            .as_object()
            .is_some_and(|content| content.contains_key("text/event-stream"))
    }
}

fn served(server: &Server) -> (Value, Vec<Operation>) {
    let anyone = Client { address: server.address.clone(), key: None };
    let answer = anyone.get("/openapi.json").expect_status(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document = answer.json();
    let mut operations = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{template}: {method}");
            operations.push(Operation {
                method: method.clone(),
                template: template.clone(),
                described: described.clone(),
            });
        }
    }
    assert!(operations.len() >= 18, "{} operations", operations.len());
    (document, operations)
}

#[test]
fn the_committed_document_is_the_served_one_and_what_the_command_prints() {
    let data = DataDir::new();
    let server = data.serve();
    let anyone = Client { address: server.address.clone(), key: None };
    let document = anyone.get("/openapi.json").expect_status(200).text();
    let printed = binary().arg("openapi").output().unwrap();
    assert!(printed.status.success());
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), document);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let differs = committed.lines().zip(document.lines()).position(|(a, b)| a != b);
    assert!(
        committed == document,
        "docs/openapi.json is not what the server serves (line {}); renew it with \
         `cargo run -- openapi > docs/openapi.json` and read the difference",
        differs.map_or(0, |at| at + 1)
    );
    let page = anyone.get("/docs").expect_status(200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert!(page.text().contains("/v1/ledgers/{ledger}/events"));
}

#[test]
fn unknown_parameters_are_refused_with_exactly_the_documented_ones() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let (_, operations) = served(&server);
    let mut refused = 0;
    for operation in operations {
        let name = operation.name();
        let documented = operation.query_names();
        if !operation.ends() && documented.is_empty() {
            continue;
        }
        let answer = operation.call(&client, "?no-such-parameter=1");
        if operation.security() == (false, true) || operation.described["security"].is_null() {
            // Open to everybody and their caches: what such a call does not know it does not look at.
            if documented.is_empty() {
                assert_ne!(answer.status, 400, "{name}");
                continue;
            }
        }
        answer.expect_problem(400, "bad-parameter", &name);
        let problem = answer.json();
        let detail = problem["detail"].as_str().unwrap();
        let (_, known) = detail.split_once("known here:").unwrap_or_else(|| panic!("{name}: {detail}"));
        let known: BTreeSet<String> =
            known.split(',').map(str::trim).filter(|each| !each.is_empty()).map(str::to_owned).collect();
        assert_eq!(known, documented, "{name}: the server's parameters, and the documented ones");
        refused += 1;
    }
    assert!(refused >= 12, "{refused}");
}

#[test]
fn a_key_is_asked_for_exactly_where_the_document_says_so() {
    let data = DataDir::new();
    let server = data.serve();
    let anyone = Client { address: server.address.clone(), key: None };
    let (_, operations) = served(&server);
    for operation in operations {
        if !operation.ends() && operation.described["security"].is_null() {
            continue;
        }
        let name = operation.name();
        let (needed, optional) = operation.security();
        let answer = operation.call(&anyone, "");
        assert_eq!(answer.status == 401, needed, "{name}: {}", answer.text());
        if needed {
            answer.expect_problem(401, "unauthenticated", &name);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{name}");
        }
        assert_eq!(operation.codes().contains("unauthenticated"), needed || optional, "{name}");
    }
    let bundle = anyone.get(&format!("{MAIN}/tile/entries/000.p/1"));
    bundle.expect_problem(401, "unauthenticated", "the part of the tiles that needs a key");
}

#[test]
fn other_methods_are_refused_with_the_documented_ones() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let (document, operations) = served(&server);
    for (template, item) in document["paths"].as_object().unwrap() {
        let documented: BTreeSet<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
        let mut allowed: BTreeSet<String> = documented.iter().map(|each| each.to_uppercase()).collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD".to_owned());
        }
        let of_path = operations.iter().find(|operation| operation.template == *template).unwrap();
        let path = of_path.path();
        let others = METHODS.iter().map(|method| method.to_uppercase());
        for method in others.filter(|method| !allowed.contains(method)) {
            // OPTIONS belongs to CORS, which may answer it before the routes do; an answer to HEAD has no
            // body to be a problem.
            if method == "OPTIONS" || method == "HEAD" {
                continue;
            }
            let answer = client.send(&method, &path, &[], b"");
            answer.expect_problem(405, "method-not-allowed", &format!("{method} {path}"));
            let said = answer.header("allow").unwrap_or_else(|| panic!("{method} {path}: no Allow"));
            let said: BTreeSet<String> = said.split(',').map(|each| each.trim().to_owned()).collect();
            assert_eq!(said, allowed, "{method} {path}");
        }
    }
}

#[test]
fn every_problem_of_an_operation_is_in_the_closed_list() {
    let data = DataDir::new();
    let server = data.serve();
    let (document, operations) = served(&server);
    let schema = &document["components"]["schemas"]["Problem"]["properties"];
    let closed: BTreeSet<&str> =
        schema["code"]["enum"].as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    let page = include_str!("../docs/problems.md");
    let listed: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`')).collect();
    assert_eq!(closed, listed);
    let mut used: BTreeSet<String> = ["method-not-allowed".to_owned()].into();
    for operation in &operations {
        let codes = operation.codes();
        assert!(codes.iter().all(|code| closed.contains(code.as_str())), "{}", operation.name());
        used.extend(codes);
    }
    let unused: Vec<_> = closed.iter().filter(|code| !used.contains(**code)).collect();
    assert!(unused.is_empty(), "no operation answers with {unused:?}");
}

/// Method, path, status, and the body's content type and content.
type Call<'a> = (&'a str, &'a str, u16, Option<(&'static str, Value)>);

/// Rules of retention and holds.
fn duties() -> [Call<'static>; 6] {
    let statute = json!({ "basis": "law", "keep": "P1Y",
        "from": { "type": "account.changed", "state": "terminated" } });
    let rules = json!({ "rules": [{ "id": "A", "types": ["*"], "parts": ["subject", "open"],
        "keep": "P1Y6M", "from": "recorded", "not_before": "2025-05-25", "statute": statute }]});
    let hold = json!({ "persons": [{ "namespace": "subject", "id": "s-1" }], "reason": "claim" });
    [
        ("get", "/retention", 200, None),
        ("put", "/retention", 200, Some(("application/json", rules))),
        ("get", "/retention", 200, None),
        ("post", "/holds", 201, Some(("application/json", hold))),
        ("get", "/holds", 200, None),
        ("get", "/reports/retention-due?at=2100-01-01T00:00:00Z", 200, None),
    ]
}

#[test]
fn answers_meet_their_documented_schemas() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let (document, operations) = served(&server);
    let types = json!({ "name": "x-contract", "schema": { "type": "object" },
        "fields": { "ref": { "owner": "open" } } });
    let receipt = client.post_json(&format!("{MAIN}/events"), &access("a-1", "s-1", "s-2"));
    let verifiable = receipt.json();
    let batch = json!([access("a-2", "s-1", "s-2"), policy("p-1")]);
    let bad = json!([{ "id": "only" }]);
    let key = json!({ "role": "producer", "label": "contract" });
    let made = client.post_json("/v1/keys", &key).expect_status(201).json();
    let key_path = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    let rotation = format!("{key_path}/rotate");
    let mut sent: Vec<Call<'_>> = vec![
        ("post", "/events", 200, Some(("application/json", access("a-1", "s-1", "s-2")))),
        ("post", "/events", 201, Some(("application/cloudevents-batch+json", batch))),
        ("post", "/events?atomic=false", 200, Some(("application/cloudevents-batch+json", bad))),
        ("get", "/events", 200, None),
        ("get", "/events?source=acme/crm&limit=1", 200, None),
        ("get", "/summary?by=type,category&bucket=month", 200, None),
        ("get", "/audit", 200, None),
        ("post", "/audit", 202, None),
        ("get", "/events/1", 200, None),
        ("get", "/events/1/receipt", 200, None),
        ("get", "/proofs/inclusion?index=1", 200, None),
        ("get", "/proofs/consistency?from=1", 200, None),
        ("post", "/verify", 200, Some(("application/json", verifiable))),
        ("post", "/types", 201, Some(("application/json", types.clone()))),
        ("post", "/types", 200, Some(("application/json", types))),
        ("get", "/types", 200, None),
        ("post", "/v1/keys", 201, Some(("application/json", key))),
        ("get", "/v1/keys", 200, None),
        ("get", &key_path, 200, None),
        ("patch", &key_path, 200, Some(("application/json", json!({ "label": "renamed" })))),
        ("post", &rotation, 201, Some(("application/json", json!({ "overlap_s": 60 })))),
        ("post", "/v1/ledgers", 201, Some(("application/json", json!({ "name": "second" })))),
        ("get", "/v1/ledgers", 200, None),
        ("get", "/v1/ledgers/second", 200, None),
        ("get", "/v1/producers", 200, None),
    ];
    sent.extend(duties());
    for (method, path, status, body) in sent {
        let path = if path.starts_with("/v1") { path.to_owned() } else { format!("{MAIN}{path}") };
        let (content_type, body) = body.unwrap_or(("", Value::Null));
        let headers: &[(&str, &str)] =
            if content_type.is_empty() { &[] } else { &[("Content-Type", content_type)] };
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = client.send(&method.to_uppercase(), &path, headers, &bytes).expect_status(status);
        let operation = operation_of(&operations, method, &path);
        let name = format!("{method} {path}");
        let response = &operation.described["responses"][status.to_string()];
        check(&document, &response["content"]["application/json"]["schema"], &answer.json(), &name);
        if !body.is_null() {
            let schema = &operation.described["requestBody"]["content"][content_type]["schema"];
            if !path.contains("atomic=false") {
                check(&document, schema, &body, &format!("{name}: its body"));
            }
        }
    }
    let audit = format!("{MAIN}/audit");
    wait_until("the audit", || !client.get(&audit).json()["last"].is_null());
    let response = &operation_of(&operations, "get", &audit).described["responses"]["200"];
    let ended = client.get(&audit).expect_status(200).json();
    check(&document, &response["content"]["application/json"]["schema"], &ended, "an ended audit");
    let problem = client.get(&format!("{MAIN}/events?limit=0")).expect_status(400).json();
    check(&document, &json!({ "$ref": "#/components/schemas/Problem" }), &problem, "a problem");
}

fn operation_of<'a>(operations: &'a [Operation], method: &str, path: &str) -> &'a Operation {
    let path = path.split('?').next().unwrap();
    let fits = |template: &str| {
        let (pattern, given): (Vec<_>, Vec<_>) =
            (template.split('/').collect(), path.split('/').collect());
        pattern.len() == given.len()
            && pattern.iter().zip(&given).all(|(a, b)| a == b || a.starts_with('{'))
    };
    let mut found = operations.iter().filter(|each| each.method == method && fits(&each.template));
    found.next().unwrap_or_else(|| panic!("{method} {path} is not documented"))
}

#[track_caller]
fn check(document: &Value, schema: &Value, instance: &Value, name: &str) {
    assert!(schema.is_object(), "{name}: no schema");
    // One schema that holds all components, so that references lead into itself.
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let validator =
        jsonschema::draft202012::new(&whole).unwrap_or_else(|error| panic!("{name}: {error}"));
    let errors: Vec<String> = validator
        .iter_errors(instance)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}\n{instance:#}");
}
