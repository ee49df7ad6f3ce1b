//! Mistakes that people make, and what they are told.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Scene, binary, code, stderr};

/// Runs a command and asserts its exit code and what it says.
#[track_caller]
fn told(scene: &Scene, args: &[&str], exit: i32, words: &[&str]) {
    let output = scene.run(args);
    let said = stderr(&output);
    assert_eq!(code(&output), exit, "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?} should say `{word}`: {said}");
    }
}

#[test]
fn misspelt_words_are_answered_with_the_right_one() {
    for (args, right) in [
        (&["serv"][..], "'serve'"),
        (&["keys", "creat"], "'create'"),
        (&["query", "--subjct", "s"], "'--subject'"),
        (&["keys", "create", "--role", "auditr"], "'auditor'"),
    ] {
        let output = binary().args(args).output().unwrap();
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(stderr(&output).contains(right), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn files_that_are_no_key_files_are_told_apart() {
    let scene = Scene::new();
    fs::write(scene.file("url.key"), "http://127.0.0.1:7423\n").unwrap();
    fs::write(scene.file("two.key"), "cf_1_aaaaaaaa\ncf_2_bbbbbbbb\n").unwrap();
    fs::write(scene.file("empty.key"), "\n").unwrap();
    let public = "data/ledgers/main/verifier.key";
    for (file, exit, words) in [
        ("none.key", 1, &["none.key", "no such file", "keys/admin.key"][..]),
        ("url.key", 1, &["url.key", "address", "--url"]),
        ("two.key", 1, &["two.key", "2 lines"]),
        ("empty.key", 1, &["empty.key", "empty"]),
        (public, 1, &["verifier key", "--key"]),
        ("data", 1, &["data/keys/admin.key"]),
        ("cf_1_ccccccccccccc", 2, &["name a file", "rotate"]),
    ] {
        told(&scene, &["query", "--key-file", file], exit, words);
    }
    // Whoever may do everything may read every file, so that only others can be refused one.
    let closed = scene.file("closed.key");
    fs::write(&closed, "cf_1_dddddddd\n").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&closed).is_err() {
        told(&scene, &["query", "--key-file", "closed.key"], 1, &["closed.key", "may not read"]);
    }
}

#[test]
fn addresses_and_ledgers_that_are_wrong_are_answered_with_right_ones() {
    let scene = Scene::new();
    let bare = scene.server.address.clone();
    told(&scene, &["query", "--url", &bare], 2, &["scheme", &format!("http://{bare}")]);
    told(&scene, &["verify", &bare, "--key", "data/ledgers/main/verifier.key"], 2, &["scheme"]);
    told(&scene, &["query", "--url", "http://127.0.0.1:9"], 1, &["tried http://127.0.0.1:9", "serve"]);
    told(&scene, &["query", "--url", "http://no-such-host.invalid"], 1, &["no-such-host.invalid"]);
    told(&scene, &["query", "--ledger", "mian"], 1, &["no ledger mian", "main"]);
    let added = scene.run(&["ledger", "add", "clinic"]);
    assert_eq!(code(&added), 0, "{}; server: {}", stderr(&added), scene.server.stderr());
    let bound =
        scene.run(&["keys", "create", "--role", "auditor", "--ledger-name", "clinic", "-o", "b.key"]);
    assert_eq!(code(&bound), 0, "{}", stderr(&bound));
    told(&scene, &["query", "--key-file", "b.key"], 1, &["may see: clinic"]);
}

#[test]
fn a_key_that_may_not_is_told_which_roles_may() {
    let scene = Scene::new();
    let made = scene.run(&["keys", "create", "--role", "producer", "-o", "p.key"]);
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    told(&scene, &["query", "--key-file", "p.key"], 1, &["403", "responder, auditor or dpo"]);
    told(&scene, &["keys", "list", "--key-file", "p.key"], 1, &["403", "admin", "keys create"]);
    let none = binary().args(["query", "--url", &scene.url()]).output().unwrap();
    assert_eq!(code(&none), 1);
    let said = stderr(&none);
    assert!(said.contains("401") && said.contains("COUNTERFOIL_KEY_FILE"), "{said}");
}

#[test]
fn verify_says_what_it_was_not_given() {
    let scene = Scene::new();
    told(&scene, &["verify", "receipt.json"], 2, &["--key", "ledgers/NAME/verifier.key"]);
    told(&scene, &["verify", "receipt.json", "--key", "data"], 2, &["data/ledgers/main/verifier.key"]);
    let key = "data/ledgers/main/verifier.key";
    told(&scene, &["verify", "receipt.json", "--key", key, "--since", "data"], 2, &["is a directory"]);
    told(&scene, &["append", "data"], 2, &["data directory", "counterfoil verify"]);
    told(&scene, &["verify", "none.json", "--key", key], 1, &["none.json"]);
}
