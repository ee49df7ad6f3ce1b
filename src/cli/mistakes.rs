//! What to say when a command cannot be carried out as it was given.
//!
//! In scope: telling common mistakes apart (a key file that is none, an address without a scheme, a
//! server that does not answer, a ledger of another name) and saying what to do instead. Out of scope:
//! what clap finds by itself. Invariant: nothing that may be a secret is repeated, wherever it was put.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind as ClapKind};
use serde_json::Value;

use crate::client::transport::TransportError;
use crate::http::keys::ADMIN_KEY_FILE;
use crate::log::note::VerifierKey;

use super::Failure;

/// What every API key begins with.
const KEY_PREFIX: &str = "cf_";

/// Bytes of a file that are read to tell what it is.
const LOOK_BYTES: u64 = 4 << 10;

/// Shows what clap found, with a hint where the flag that is missing is not obvious.
pub(super) fn show(mut error: clap::Error) {
    let missing = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(names)) => names.join(" "),
        _ => String::new(),
    };
    if error.kind() == ClapKind::MissingRequiredArgument && missing.contains("--key ") {
        let hint = "--key is the verifier key that you trust: its text, or a file with it. The operator \
                    publishes it; in a data directory it is ledgers/NAME/verifier.key";
        let hints = ContextValue::StyledStrs(vec![StyledStr::from(hint)]);
        error.insert(ContextKind::Suggested, hints);
    }
    let text = error.to_string();
    let clean = scrub(&text);
    if clean == text {
        // Printing is all that is left to do; where it fails there is nobody to tell.
        let _ = error.print();
    } else {
        say!("{}", clean.trim_end());
        say!("API keys are not given on the command line, where others can see them: --key-file FILE");
    }
}

/// Takes everything that looks like an API key out of a text.
pub(super) fn scrub(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(KEY_PREFIX) {
        let end = after
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
            .unwrap_or(after.len());
        let (key, remaining) = after.split_at(end);
        out.push_str(before);
        out.push_str(KEY_PREFIX);
        out.push_str(if key.is_empty() { "" } else { "…" });
        rest = remaining;
    }
    out.push_str(rest);
    out
}

/// Refuses an address that cannot be one.
pub(super) fn check_url(url: &str) -> Result<(), Failure> {
    let Some((scheme, rest)) = url.split_once("://") else {
        let example = scrub(url);
        return Err(Failure::usage(format!(
            "the server's address {example} has no scheme; write http://{example} or https://{example}"
        )));
    };
    if !matches!(scheme, "http" | "https") {
        return Err(Failure::usage("the server's address begins with http:// or https://"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Failure::usage(
            "an address does not carry a name or password; keys are read from a file: --key-file FILE",
        ));
    }
    if authority.is_empty() {
        return Err(Failure::usage("the server's address has no host; write http://HOST:PORT"));
    }
    Ok(())
}

/// Why a file is not an API key's.
pub(super) fn key_file(path: &Path, error: &TransportError) -> Failure {
    let name = scrub(&path.to_string_lossy());
    if name.starts_with(KEY_PREFIX) && !path.exists() {
        return Failure::usage(
            "--key-file and COUNTERFOIL_KEY_FILE name a file, and what was given looks like a key itself. \
             Write it to a file that only you can read. Others may have seen it by now: `keys rotate` \
             replaces it",
        );
    }
    let what = match File::open(path) {
        Err(missing) if missing.kind() == ErrorKind::NotFound => format!(
            "there is no such file. A data directory has its first key in {ADMIN_KEY_FILE}; \
             `counterfoil keys create … -o FILE` makes others"
        ),
        Err(denied) if denied.kind() == ErrorKind::PermissionDenied => {
            "this user may not read it. A key file belongs to its owner alone: run as that user, or ask \
             for a key of your own"
                .to_owned()
        }
        Err(other) => other.to_string(),
        Ok(_) if path.is_dir() => {
            let inside = path.join(ADMIN_KEY_FILE);
            if inside.exists() {
                format!("a directory; its first key is {}", inside.display())
            } else {
                "a directory; name the file with the key".to_owned()
            }
        }
        Ok(file) => contents(file, error),
    };
    Failure::new(format!("key file {name}: {what}"))
}

/// What a file holds instead of a key.
fn contents(file: File, error: &TransportError) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = file.take(LOOK_BYTES).read_to_end(&mut bytes) {
        return error.to_string();
    }
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    let lines = text.lines().count();
    let held = if text.is_empty() {
        "it is empty".to_owned()
    } else if text.starts_with("http://") || text.starts_with("https://") {
        "it holds an address; that goes to --url".to_owned()
    } else if text.parse::<VerifierKey>().is_ok() {
        "it holds a verifier key, which is public and goes to `verify --key`".to_owned()
    } else if lines > 1 {
        format!("it has {lines} lines")
    } else if text.starts_with(KEY_PREFIX) {
        return match error {
            TransportError::File { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
    } else {
        "it holds something else".to_owned()
    };
    format!("not an API key file (one line, cf_…): {held}")
}

/// What can be done about a request without an answer.
pub(super) fn unanswered(error: &TransportError) -> Failure {
    let TransportError::Unanswered { root, reason } = error else {
        return Failure::new(error.to_string());
    };
    let lower = reason.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let check = if has(&["refused"]) {
        "nothing listens there: is the server running? `counterfoil serve --data DIR` prints its \
         address; give another with --url or COUNTERFOIL_URL"
    } else if has(&["unknownissuer", "unknown issuer", "invalid peer certificate"]) {
        "the server's certificate is not trusted. Where it comes from an authority of your own, give \
         that one's certificate with --ca-file; otherwise do not go on"
    } else if has(&["corrupt message", "invalidcontenttype", "invalid content type", "wrong version"]) {
        "the server seems not to speak TLS on this port; an address without TLS begins with http://"
    } else if has(&["lookup", "resolve", "dns", "name or service", "host not found"]) {
        "the host's name is not known; check --url or COUNTERFOIL_URL"
    } else if has(&["timeout", "timed out"]) {
        "no answer in time; check the address, a firewall between, and the server's load"
    } else {
        "is the server running there? Check --url or COUNTERFOIL_URL, its port, and http:// against \
         https://"
    };
    Failure::new(format!("tried {root}: {reason}; {check}"))
}

/// What can be done about a refusal, besides what the server itself says; empty where nothing can.
/// `known` asks the server for the ledgers that the key may see.
pub(super) fn refused(
    status: u16,
    code: &str,
    has_key: bool,
    ledger: &str,
    known: impl FnOnce() -> Option<Vec<String>>,
) -> String {
    match (status, code) {
        (401, _) if !has_key => {
            "no key was given: --key-file FILE or COUNTERFOIL_KEY_FILE. Appending needs \
             the role producer; searching responder, auditor or dpo; keys and ledgers admin"
                .to_owned()
        }
        (401, _) => {
            "the key of --key-file is not one of this server's, or has expired or been revoked; \
             an admin sees which with `counterfoil keys list`"
                .to_owned()
        }
        (403, "forbidden") => {
            "`counterfoil keys create --role ROLE`, run with an admin key, makes a key of another role"
                .to_owned()
        }
        (404, _) | (403, "wrong-ledger") => match known() {
            Some(known) if known.iter().all(|name| name != ledger) => format!(
                "there is no ledger {ledger} for this key; those it may see: {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// The names in an answer of `GET /v1/ledgers`.
pub(super) fn ledger_names(answer: &[u8]) -> Option<Vec<String>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let names = answer.get("ledgers")?.as_array()?.iter();
    names.map(|ledger| ledger.get("name")?.as_str().map(str::to_owned)).collect()
}

/// What was given as a verifier key and is none.
pub(super) fn verifier_key(path: &Path) -> Failure {
    let text = path.to_string_lossy();
    if text.trim().starts_with(KEY_PREFIX) {
        return Failure::usage(
            "what was given is an API key, and a verifier key (name+id+key) is wanted, which is public. \
             API keys are read from a file: --key-file FILE. Others may have seen this one by now: `keys \
             rotate` replaces it",
        );
    }
    let inside = path.join("ledgers/main/verifier.key");
    if inside.is_file() {
        let said = format!("a directory is no verifier key; that of `main` is {}", inside.display());
        return Failure::usage(said);
    }
    Failure::usage(
        "neither a verifier key (name+id+key) nor a file with one was given; in a data directory it is \
         ledgers/NAME/verifier.key",
    )
}

/// A directory where a file is wanted.
pub(super) fn directory(path: &Path) -> Failure {
    let name = path.display();
    let receipt = if path.join(crate::config::CONFIG_FILE).is_file() {
        format!("; it is a data directory, which `counterfoil verify {name} --key FILE` verifies whole")
    } else {
        String::new()
    };
    Failure::usage(format!("{name} is a directory, and a file is wanted here{receipt}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_looks_like_a_key_is_repeated() {
        assert_eq!(scrub("a cf_1234_secret-Q b"), "a cf_… b");
        assert_eq!(scrub("'cf_x' and cf_y"), "'cf_…' and cf_…");
        assert_eq!(scrub("one line, cf_…"), "one line, cf_…");
        assert_eq!(scrub("nothing here"), "nothing here");
    }

    #[test]
    fn addresses_are_told_apart() {
        for good in ["http://127.0.0.1:7423", "https://ledger.example/v1/ledgers/main"] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        let refused = |url: &str| check_url(url).unwrap_err().message;
        assert!(refused("127.0.0.1:7423").contains("write http://127.0.0.1:7423"));
        assert!(refused("ftp://h").contains("http://"));
        assert!(refused("http://").contains("no host"));
        let said = refused("https://me:password@ledger.example");
        assert!(said.contains("--key-file") && !said.contains("password@"), "{said}");
    }

    #[test]
    fn an_unanswered_request_is_told_with_its_likely_cause() {
        let said = |reason: &str| {
            let (root, reason) = ("https://h".to_owned(), reason.to_owned());
            unanswered(&TransportError::Unanswered { root, reason }).message
        };
        for (reason, hint) in [
            ("io: Connection refused", "serve"),
            ("rustls: invalid peer certificate: UnknownIssuer", "--ca-file"),
            ("received corrupt message of type InvalidContentType", "http://"),
            ("io: failed to lookup address information", "name"),
            ("timeout: global", "in time"),
            ("odd", "running"),
        ] {
            let said = said(reason);
            assert!(said.contains("tried https://h") && said.contains(hint), "{said}");
        }
    }

    #[test]
    fn a_ledger_of_another_name_is_answered_with_those_there_are() {
        let known = || Some(vec!["main".to_owned(), "clinic".to_owned()]);
        assert!(refused(404, "not-found", true, "mian", known).contains("main, clinic"));
        assert_eq!(refused(404, "not-found", true, "main", known), "");
        assert!(refused(401, "unauthenticated", false, "main", known).contains("--key-file"));
        assert!(refused(403, "forbidden", true, "main", known).contains("keys create"));
        let answer = br#"{"ledgers":[{"name":"main"}]}"#;
        assert_eq!(ledger_names(answer), Some(vec!["main".to_owned()]));
    }
}
