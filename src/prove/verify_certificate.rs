//! The verifier of erasure certificates.
//!
//! In scope: everything a certificate says that the log itself says, and who signed the rest. Out of
//! scope: whether the operator destroyed every copy of a key, which no log can say. Invariants: only the
//! log's verifier key is trusted; what rests on the operator's word is named in `statements` and never
//! called verified; a certificate that is not complete, or not signed by a key that the log registers,
//! is never verified.
//!
//! Checks, in order: `checkpoint`, `inclusion` of every entry, `entries` (their kinds and what they say to
//! each other and to the certificate), `state`, `signer`, `signature`, `statements`, `published`. A
//! stated time is right where it denotes its entry's microsecond, whatever its offset from UTC.

use crate::event::entry::{Entry, EntryBody, PersonsErasedBody, ShredBody, ShredPhase};
use crate::event::json::{self, JsonLimits, Object, Value};
use crate::event::time::unix_us;
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::hash::leaf_hash;
use crate::log::merkle::verify_inclusion;
use crate::log::note::{KeyType, VerifierKey};
use crate::prove::certificate::{Certificate, CertificateState, ProvenEntry};
use crate::prove::text;
use crate::prove::verdict::{IndexRange, Report, Target, Verdict};
use crate::prove::verify_receipt::{Context, check_checkpoint, check_published, read_view};

/// What a settings entry that registers a certificate key says it is used for.
const SIGNER_USE: &str = "certificate";

/// Verifies a certificate.
#[must_use]
pub fn verify_certificate(certificate: &Certificate, context: &Context<'_>) -> Report {
    let mut report = Report::new(Target::Certificate);
    report.count = 1;
    for (_, entry) in certificate.entries.iter() {
        report.range = Some(IndexRange::including(report.range, entry.index.0));
    }
    let opened = checkpoint::open(&certificate.checkpoint, context.key).map_err(|e| text::explain(&e));
    let origin = Some(certificate.origin.as_str());
    let Some(checkpoint) = check_checkpoint(opened, origin, context, &mut report) else {
        return report;
    };
    check_inclusion(certificate, &checkpoint, &mut report);
    match check_entries(certificate) {
        Ok(()) => {
            let detail = format!("erasure {}, as the log has it", hex::encode(certificate.id));
            report.push("entries", Verdict::Verified, detail);
        }
        Err(what) => report.push("entries", Verdict::Failed, what),
    }
    check_state(certificate, &mut report);
    check_signature(certificate, &mut report);
    report.note(
        "statements",
        Verdict::NotProvable,
        "what was destroyed in numbers, remains, stays alive and was told, and that no other copy of the \
         root key was kept, is the word of whoever signed",
    );
    check_published(&checkpoint, context, &mut report);
    report
}

fn check_inclusion(certificate: &Certificate, checkpoint: &Checkpoint, report: &mut Report) {
    let mut count = 0;
    for (name, proven) in certificate.entries.iter() {
        let ProvenEntry { index, entry, inclusion } = proven;
        let leaf = leaf_hash(entry);
        if let Err(error) = verify_inclusion(*index, checkpoint.size, &leaf, inclusion, &checkpoint.root)
        {
            report.push("inclusion", Verdict::Failed, format!("entry {name}: {error}"));
            return;
        }
        count += 1;
    }
    let detail = format!("{count} entries of {}", checkpoint.size);
    report.push("inclusion", Verdict::Verified, detail);
}

fn check_entries(certificate: &Certificate) -> Result<(), String> {
    let entries = &certificate.entries;
    let erased = read(certificate, "erased", &entries.erased)?;
    let EntryBody::PersonsErased(body) = &erased.body else {
        return Err("entry erased is not of persons erased".to_owned());
    };
    check_persons(certificate, body)?;
    check_time("asked", Some(&certificate.asked.at), &erased)?;
    let begun = shred(certificate, "begun", entries.begun.as_ref(), ShredPhase::Begun)?;
    let done = shred(certificate, "done", entries.done.as_ref(), ShredPhase::Done)?;
    if let Some((begun, body)) = &begun {
        if begun.index <= erased.index {
            return Err("the shred began before the erasure was recorded".to_owned());
        }
        if body.root_key_before != certificate.root_key.before {
            return Err("the shred began under another root key".to_owned());
        }
    }
    let Some((done, ended)) = &done else { return Ok(()) };
    let Some((begun, body)) = &begun else {
        return Err("entry done is there without entry begun".to_owned());
    };
    if done.index <= begun.index {
        return Err("the shred ended before it began".to_owned());
    }
    if (body.items, body.root) != (ended.items, ended.root) {
        return Err("the shred ended with another removed set than it began with".to_owned());
    }
    if body.root_key_before != ended.root_key_before {
        return Err("the shred ended under another root key than it began under".to_owned());
    }
    if certificate.root_key.after != Some(ended.root_key_after) {
        return Err("the root key after the shred is another".to_owned());
    }
    check_time("destroyed", certificate.destroyed.at.as_deref(), done)
}

/// Decodes an entry, which must be what its index and the origin say.
fn read(certificate: &Certificate, name: &str, proven: &ProvenEntry) -> Result<Entry, String> {
    read_view(&proven.entry, proven.index, &certificate.origin)
        .map_err(|what| format!("entry {name}: {what}"))?;
    Entry::decode(&proven.entry).map_err(|error| format!("entry {name}: {error}"))
}

fn shred(
    certificate: &Certificate,
    name: &str,
    proven: Option<&ProvenEntry>,
    phase: ShredPhase,
) -> Result<Option<(Entry, ShredBody)>, String> {
    let Some(proven) = proven else { return Ok(None) };
    let entry = read(certificate, name, proven)?;
    match entry.body {
        EntryBody::Shred(body) if body.phase == phase => Ok(Some((entry, body))),
        _ => Err(format!("entry {name} is no such phase of a shred")),
    }
}

fn check_persons(certificate: &Certificate, erased: &PersonsErasedBody) -> Result<(), String> {
    if erased.erasure != certificate.id {
        return Err("entry erased is of another erasure".to_owned());
    }
    let stated = certificate.persons.iter().map(|person| person.directory_key);
    if !stated.eq(erased.persons.iter().copied()) {
        return Err("the persons are not those of entry erased, ascending".to_owned());
    }
    Ok(())
}

/// That a stated time is its entry's.
fn check_time(name: &str, stated: Option<&str>, entry: &Entry) -> Result<(), String> {
    let denoted = stated.and_then(unix_us).and_then(|us| u64::try_from(us).ok());
    if denoted == Some(entry.time_us) {
        return Ok(());
    }
    Err(format!("the time of member {name} is not its entry's, {}", entry.index))
}

fn check_state(certificate: &Certificate, report: &mut Report) {
    let is_done = [
        certificate.entries.done.is_some(),
        certificate.destroyed.at.is_some(),
        certificate.root_key.after.is_some(),
    ];
    let (verdict, detail) = match certificate.state {
        CertificateState::Complete if !is_done.contains(&false) => {
            (Verdict::Verified, "a shred that followed the erasure is done")
        }
        CertificateState::Pending if !is_done.contains(&true) => {
            (Verdict::NotProvable, "recorded; that it is done is not said yet")
        }
        CertificateState::Complete => {
            (Verdict::Failed, "said to be complete, without all that shows it")
        }
        CertificateState::Pending => (Verdict::Failed, "said to be pending, with what shows it is done"),
    };
    report.push("state", verdict, detail);
}

fn check_signature(certificate: &Certificate, report: &mut Report) {
    let (key, signature) = match (&certificate.signed_by, &certificate.signature) {
        (Some(key), Some(signature)) => (key, signature),
        (None, None) => {
            report.push("signature", Verdict::NotProvable, "nobody signed the certificate");
            return;
        }
        _ => {
            report.push(
                "signature",
                Verdict::Failed,
                "a key without a signature, or the other way round",
            );
            return;
        }
    };
    match check_signer(certificate, key) {
        Ok(Some(index)) => {
            let detail = format!("the log registers the key in entry {index}");
            report.push("signer", Verdict::Verified, detail);
        }
        Ok(None) => {
            report.push("signer", Verdict::NotProvable, "no entry of the log registers the key");
        }
        Err(what) => report.push("signer", Verdict::Failed, what),
    }
    let verified = key
        .parse::<VerifierKey>()
        .map_err(|error| error.to_string())
        .and_then(|key| match key.key_type() {
            KeyType::Ed25519 => Ok(key),
            _ => Err("the key is not of the type that signs certificates".to_owned()),
        })
        .and_then(|key| {
            let signed = key.verify(&certificate.signing_input(), signature);
            signed.map_err(|error| error.to_string()).map(|()| key)
        });
    match verified {
        Ok(key) => {
            report.keys.push(crate::prove::verify_log::key_name(&key));
            report.push("signature", Verdict::Verified, "signature good");
        }
        Err(what) => report.push("signature", Verdict::Failed, what),
    }
}

/// Whether the entry given registers the key for certificates; its index if so.
fn check_signer(certificate: &Certificate, key: &str) -> Result<Option<u64>, String> {
    let Some(proven) = &certificate.entries.signer else { return Ok(None) };
    let entry = read(certificate, "signer", proven)?;
    let EntryBody::Settings(body) = &entry.body else {
        return Err("entry signer is not of settings".to_owned());
    };
    let settings = settings(body).ok_or("entry signer is not a JSON object")?;
    let is = |name: &str, text: &str| settings.get(name).and_then(Value::as_str) == Some(text);
    if !is("what", "signer") || !is("use", SIGNER_USE) {
        return Err("entry signer registers no key for certificates".to_owned());
    }
    if !is("key", key) {
        return Err("entry signer registers another key".to_owned());
    }
    Ok(Some(entry.index.0))
}

fn settings(body: &[u8]) -> Option<Object> {
    match json::parse(body, &JsonLimits::default()) {
        Ok(Value::Object(settings)) => Some(settings),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
