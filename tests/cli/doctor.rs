//! `counterfoil config` and `counterfoil doctor` on directories that are well and that are not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::common::DataDir;
use super::{NOWHERE, Scene, binary, code, stderr, stdout};

/// Runs `doctor --json` on a directory.
fn doctor(data: &DataDir, more: &[&str]) -> (i32, Value) {
    let output = binary().args(["doctor", "--json", "--data"]).arg(data.path()).args(more).output();
    let output = output.unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", stdout(&output), stderr(&output)));
    (code(&output), report)
}

/// The details of the checks with a name and a state.
fn found(report: &Value, name: &str, state: &str) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter();
    let matching = checks.filter(|check| check["name"] == name && check["state"] == state);
    matching
        .inspect(|check| {
            assert!(state == "ok" || check["remedy"] != "", "{check} does not say what to do");
        })
        .map(|check| check["detail"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn fails(data: &DataDir, name: &str, words: &str) {
    let (code, report) = doctor(data, &[]);
    assert_eq!(code, 1, "{report}");
    let found = found(&report, name, "fail");
    assert!(found.iter().any(|detail| detail.contains(words)), "{name}, {words}: {report}");
}

#[test]
fn a_directory_that_is_well_is_found_well_stopped_and_running() {
    let scene = Scene::new();
    let (running, report) = doctor(&scene.data, &["--url", &scene.url()]);
    assert_eq!(running, 0, "{report}");
    assert_eq!(report["healthy"], true);
    let held = format!("process {}", scene.server.pid());
    assert!(found(&report, "lock", "ok")[0].contains(&held), "{report}");
    for name in ["server", "ready", "version", "clocks", "settings", "keys"] {
        assert_eq!(found(&report, name, "ok").len(), 1, "{name}: {report}");
    }
    // Of each ledger: `main` and `reads`.
    for name in ["checkpoint", "index"] {
        assert_eq!(found(&report, name, "ok").len(), 2, "{name}: {report}");
    }
    let Scene { data, server } = scene;
    assert!(server.terminate().success());
    let (stopped, report) = doctor(&data, &[]);
    assert_eq!(stopped, 0, "{report}");
    assert!(found(&report, "lock", "ok")[0].contains("free"), "{report}");
    assert_eq!(found(&report, "journal", "ok").len(), 2, "{report}");
    let left = fs::read_dir(data.path()).unwrap().flatten().map(|entry| entry.file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("doctor")));
    data.verify();
}

#[test]
fn each_thing_that_is_wrong_is_found_by_name() {
    let Scene { data, server } = Scene::new();
    assert!(server.terminate().success());
    let signing = data.path().join("keys/main.signing-key");
    fs::set_permissions(&signing, fs::Permissions::from_mode(0o644)).unwrap();
    fails(&data, "keys", "main.signing-key has mode 0644");
    fs::set_permissions(&signing, fs::Permissions::from_mode(0o600)).unwrap();

    let settings = data.path().join("counterfoil.toml");
    let good = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("\nconections_max = 5\n{good}")).unwrap();
    fails(&data, "settings", "counterfoil.toml:2: conections_max is not a setting");
    let anchor = data.beside("anchor");
    fs::write(&settings, format!("anchor_dir = {anchor:?}\n{good}")).unwrap();
    fails(&data, "settings", "anchor_dir");
    fs::write(&settings, &good).unwrap();

    let checkpoint = data.ledger().join("checkpoint");
    let signed = fs::read_to_string(&checkpoint).unwrap();
    fs::write(&checkpoint, signed.replacen("\n3\n", "\n4\n", 1)).unwrap();
    fails(&data, "checkpoint", "");
    fs::write(&checkpoint, &signed).unwrap();

    let journal = data.ledger().join("journal");
    let segment = fs::read_dir(&journal).unwrap().flatten().next().unwrap().path();
    let bytes = fs::read(&segment).unwrap();
    let mut flipped = bytes.clone();
    flipped[20] ^= 1;
    fs::write(&segment, flipped).unwrap();
    fails(&data, "journal", "");
    fs::write(&segment, bytes).unwrap();

    fs::remove_file(&signing).unwrap();
    fails(&data, "keys", "main.signing-key");
    let nowhere = binary().args(["doctor", "--data", "/nonexistent/ledger"]).output().unwrap();
    assert_eq!(code(&nowhere), 1, "{}", stdout(&nowhere));
}

#[test]
fn a_directory_that_is_older_than_its_anchor_is_found_out() {
    let data = DataDir::new();
    data.init("ledger.example/main");
    let (anchor, checkpoint) = (data.beside("anchor"), data.ledger().join("checkpoint"));
    fs::create_dir(&anchor).unwrap();
    let old = fs::read(&checkpoint).unwrap();
    assert!(data.serve().terminate().success());
    data.set(&format!("anchor_dir = {anchor:?}"));
    let (code, report) = doctor(&data, &[]);
    assert_eq!((code, found(&report, "anchor", "warn").len()), (0, 2), "{report}");
    fs::copy(&checkpoint, anchor.join("main.checkpoint")).unwrap();
    let (code, report) = doctor(&data, &[]);
    assert_eq!((code, found(&report, "anchor", "ok").len()), (0, 1), "{report}");
    assert!(found(&report, "anchor", "warn")[0].contains("reads.checkpoint"), "{report}");
    fs::write(&checkpoint, old).unwrap();
    fails(&data, "anchor", "the ledger at 0");
}

#[test]
fn certificates_are_judged_by_their_dates() {
    let data = DataDir::new();
    data.init("ledger.example/main");
    let (cert_file, key_file) = (data.beside("cert.pem"), data.beside("key.pem"));
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    data.set(&format!("tls_cert_file = {cert_file:?}\ntls_key_file = {key_file:?}"));
    for (until, state) in [(2099, "ok"), (2020, "fail")] {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        fs::write(&cert_file, params.self_signed(&key).unwrap().pem()).unwrap();
        let (code, report) = doctor(&data, &[]);
        assert_eq!(found(&report, "tls", state).len(), 1, "{report}");
        assert_eq!(code, i32::from(state == "fail"), "{report}");
    }
}

#[test]
fn a_server_that_is_not_there_is_found_so() {
    let output = binary().args(["doctor", "--url", NOWHERE]).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).contains("fail  server"), "{}", stdout(&output));
    let none = binary().arg("doctor").output().unwrap();
    assert_eq!(code(&none), 2, "{}", stderr(&none));
}

#[test]
fn settings_are_shown_with_their_origin_and_checked() {
    let data = DataDir::new();
    data.init("ledger.example/main");
    data.set("publish_interval_ms = 500");
    let config = |what: &str, more: &[&str], variables: &[(&str, &str)]| {
        let mut command = binary();
        command.args(["config", what, "--json", "--data"]).arg(data.path()).args(more);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        (code(&output), said)
    };
    let set = ["--set", "idle_timeout_ms=9000"];
    let (shown, report) = config("show", &set, &[("COUNTERFOIL_SKEW_MAX_MS", "7")]);
    assert_eq!(shown, 0);
    let origin = |name: &str| {
        let rows = report["settings"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap()["origin"].as_str().unwrap().to_owned()
    };
    assert_eq!(origin("listen"), "default");
    assert_eq!(origin("publish_interval_ms"), "file");
    assert_eq!(origin("skew_max_ms"), "environment");
    assert_eq!(origin("idle_timeout_ms"), "flag");
    assert_eq!(report["ledgers"][0]["origin"], "ledger.example/main");
    assert_eq!(config("check", &[], &[]).0, 0);
    for (more, variables, words) in [
        (
            &["--set", "publish_interval_ms=1"][..],
            &[][..],
            "publish_interval_ms must be a whole number from",
        ),
        (&["--set", "listen=nowhere"], &[], "listen must be an address and port"),
        (&[], &[("COUNTERFOIL_CONNECTIONS_MAX", "x")], "COUNTERFOIL_CONNECTIONS_MAX must be"),
        (&["--set", "tls_cert_file=/a", "--set", "tls_key_file=/b"], &[], "/a"),
    ] {
        let (checked, report) = config("check", more, variables);
        assert_eq!((checked, &report["valid"]), (1, &Value::Bool(false)), "{more:?}");
        assert!(report["problems"][0].as_str().unwrap().contains(words), "{report}");
    }
    data.set("listen = 7");
    let (checked, report) = config("check", &[], &[]);
    assert_eq!(checked, 1);
    let problem = report["problems"][0].as_str().unwrap();
    assert!(problem.contains("counterfoil.toml:1: listen must be a text"), "{problem}");
}
