//! Checks of a data directory: who gets at it, its settings, its keys, whether a server has it.
//!
//! In scope: what stands in the directory itself. Out of scope: the machine ([`super::machine`]), the
//! ledgers ([`super::ledgers`]). Invariant: a directory that is not there ends the checks, since the
//! rest would say the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::http::keys::ADMIN_KEY_FILE;
use crate::ledger::KeyFiles;
use crate::store::DiskStorage;
use crate::store::lock::{Holder, holder};

use super::super::config;
use super::{Findings, certificate, ledgers, machine};

/// Permission bits of the group and of others.
const OTHERS: u32 = 0o077;

/// Checks `data` and everything in it and under it.
pub(super) fn check(data: &Path, findings: &mut Findings) {
    let shown = data.display();
    match fs::metadata(data) {
        Err(error) => {
            let remedy = "give the directory that `counterfoil init` or `serve` made";
            return findings.fail("directory", format!("{shown}: {error}"), remedy);
        }
        Ok(found) if !found.is_dir() => {
            return findings.fail("directory", format!("{shown} is no directory"), "give a directory");
        }
        Ok(found) => {
            let mode = found.permissions().mode() & 0o7777;
            if mode & OTHERS == 0 {
                findings.ok("directory", format!("{shown}, mode {mode:04o}"));
            } else {
                let said = format!("{shown}, mode {mode:04o}: others than its owner can look into it");
                findings.warn("directory", said, "chmod 700 on it; public files are served from a copy");
            }
        }
    }
    let held = lock(data, findings);
    let config = settings(data, findings);
    let defaults = Config::default();
    machine::check(data, config.as_ref().unwrap_or(&defaults), held, findings);
    let Some(config) = config else { return };
    keys(data, &config, findings);
    if let (Some(cert), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) {
        certificate::check(cert, key, findings);
    }
    ledgers::check(data, &config, held.is_some(), findings);
}

/// The number of the process that has the directory; 0 where it is not known which.
fn lock(data: &Path, findings: &mut Findings) -> Option<u32> {
    match holder(data) {
        Ok(Holder::Nobody) => {
            findings.ok("lock", "free: no server runs here");
            None
        }
        Ok(Holder::Process(pid)) => {
            let by = pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
            findings.ok("lock", format!("held by {by}: a server runs here"));
            Some(pid.unwrap_or(0))
        }
        Err(error) => {
            findings.fail("lock", error.to_string(), "make the directory readable for this user");
            None
        }
    }
}

fn settings(data: &Path, findings: &mut Findings) -> Option<Config> {
    let read = DiskStorage::open_read_only(data)
        .map_err(super::Failure::from)
        .and_then(|storage| config::read(&storage, data, &[]));
    let effective = match read {
        Ok(effective) => effective,
        Err(failure) => {
            findings.fail(
                "settings",
                failure.message,
                "mend it; `counterfoil config check` looks again",
            );
            return None;
        }
    };
    let problems = config::unusable(&effective.config, true);
    if problems.is_empty() {
        let changed = effective.rows().iter().filter(|row| row.origin.name() != "default").count();
        findings.ok("settings", format!("valid, {changed} not at their defaults"));
    }
    for problem in problems {
        findings.fail("settings", problem, "mend it; `counterfoil config check` looks again");
    }
    Some(effective.config)
}

fn keys(data: &Path, config: &Config, findings: &mut Findings) {
    for dir in ["keys", "ledgers"] {
        let mode = fs::metadata(data.join(dir)).map_or(0, |found| found.permissions().mode() & 0o7777);
        if mode & OTHERS != 0 {
            let said = format!("{dir}/ has mode {mode:04o}: others can look into it");
            findings.fail("keys", said, "chmod 700 on it");
        }
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for name in config.ledgers.keys() {
        let of = KeyFiles::of(data, name);
        files.extend([of.signer, of.reader]);
        files.extend(files_in(&of.root));
        if files_in(&of.root).is_empty() {
            let said = format!("{} holds no root key", of.root.display());
            findings.fail("keys", said, "restore it; without it no event can be read");
        }
    }
    files.extend(Some(data.join(ADMIN_KEY_FILE)).filter(|file| file.exists()));
    // It holds hashes, not secrets, and `keys/` keeps others out.
    if !data.join("keys/api-keys.json").exists() {
        let remedy =
            "restore it from where keys/ is backed up, or make keys anew with `keys create --data`";
        findings.fail("keys", "keys/api-keys.json is missing: no API key is good", remedy);
    }
    let mut good = 0;
    for file in &files {
        match fs::metadata(file) {
            Err(error) => {
                let said = format!("{}: {error}", file.display());
                findings.fail("keys", said, "restore it from where keys/ is backed up");
            }
            Ok(found) if found.permissions().mode() & OTHERS != 0 => {
                let mode = found.permissions().mode() & 0o7777;
                let said = format!("{} has mode {mode:04o}: others can reach a secret", file.display());
                findings.fail("keys", said, "chmod 600, and replace it if somebody may have read it");
            }
            Ok(_) => good += 1,
        }
    }
    if good == files.len() {
        findings.ok("keys", format!("{good} files with secrets, all their owner's alone"));
    }
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}
