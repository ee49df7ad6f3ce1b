//! `counterfoil erase`
//!
//! In scope: asking a server to erase persons, waiting until it is done, saving the certificate. Out of
//! scope: destroying anything, and checking certificates (`counterfoil verify`). Invariant: identifiers are
//! sent and never printed.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Printed, pause, write_output};
use super::{EXIT_GOOD, EXIT_NOT_PROVABLE, EXIT_USAGE, Failure, ServerArgs};

/// Milliseconds between two looks at an erasure that is waited for.
const LOOK_INTERVAL_MS: u64 = 200;

/// Erase persons: their data is destroyed, and everything else still verifies.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    counterfoil erase --subject s-1042 --reason 'consent withdrawn' --request dsr-17\n  \
    counterfoil erase --subject s-1042 --account a-7 --reason 'erasure asked' --now -o certificate.json\n  \
    counterfoil erase --show 5f0c1b2a3d4e5f605f0c1b2a3d4e5f60 --page -o certificate.html\n\n\
    Needs a key of the role dpo. With --now the data is destroyed at once, and the command waits for\n\
    the certificate; otherwise the server destroys it within a minute, unless set otherwise.\n\
    `counterfoil verify certificate.json --key verifier.key` checks the certificate offline.\n\n\
    Exit codes: 0 taken, with --now or --show complete; 4 still pending; 1 error, 2 usage.")]
pub(crate) struct EraseArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// A data subject to erase. Repeat for several.
    #[arg(long = "subject", value_name = "ID")]
    subjects: Vec<String>,
    /// An actor to erase. Repeat for several.
    #[arg(long = "actor", value_name = "ID")]
    actors: Vec<String>,
    /// An account to erase. Repeat for several.
    #[arg(long = "account", value_name = "ID")]
    accounts: Vec<String>,
    /// A telephone number to erase. Repeat for several.
    #[arg(long = "number", value_name = "ID")]
    numbers: Vec<String>,
    /// A resource that names a person, to erase. Repeat for several.
    #[arg(long = "resource", value_name = "ID")]
    resources: Vec<String>,
    /// Why: the ground, in words that name nobody.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Identifier of the request it answers.
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Another ledger it shall reach, instead of all that the key is good for; `-` for none. Repeat for
    /// several.
    #[arg(long = "also", value_name = "NAME")]
    also: Vec<String>,
    /// Destroy at once instead of at the next shred, and wait for the certificate.
    #[arg(long)]
    now: bool,
    /// Show the certificate of an erasure instead of beginning one.
    #[arg(long, value_name = "ID", conflicts_with_all = ["now", "reason", "request", "also"])]
    show: Option<String>,
    /// Save the certificate as a page to print (HTML) instead of JSON.
    #[arg(long)]
    page: bool,
    #[command(flatten)]
    printed: Printed,
}

/// Runs the command.
pub(crate) fn run(args: &EraseArgs) -> Result<u8, Failure> {
    let client = Client::new(&args.server)?;
    if let Some(id) = &args.show {
        let certificate = fetch(&client, id)?;
        return save(args, &client, id, &certificate);
    }
    let persons = persons(args);
    if persons.is_empty() {
        return Err(Failure::usage(
            "name somebody: --subject, --actor, --account, --number or --resource",
        ));
    }
    let Some(reason) = &args.reason else {
        return Err(Failure::usage("say why with --reason, in words that name nobody"));
    };
    let mut body = json!({ "persons": persons, "reason": reason, "now": args.now });
    if let Some(members) = body.as_object_mut() {
        if let Some(request) = &args.request {
            members.insert("request".to_owned(), json!(request));
        }
        if !args.also.is_empty() {
            let named: Vec<&String> = args.also.iter().filter(|name| *name != "-").collect();
            members.insert("ledgers".to_owned(), json!(named));
        }
    }
    let answer =
        client.post("erasures", "application/json", &[], body.to_string().as_bytes())?.good()?;
    let taken: Value = serde_json::from_slice(&answer)?;
    let id = text(&taken, "id").to_owned();
    let reached = taken.get("ledgers").and_then(Value::as_array).cloned().unwrap_or_default();
    for ledger in &reached {
        let number = |name: &str| ledger.get(name).and_then(Value::as_u64).unwrap_or(0);
        say!(
            "Ledger {}: {} persons, entry {}; {} identifiers are not known there.",
            text(ledger, "ledger"),
            number("persons"),
            number("entry"),
            number("unknown")
        );
    }
    if !args.now {
        say!("Nothing of them is opened any more; --show {id} tells when their data is destroyed.");
        return args.printed.print(&taken, &id);
    }
    loop {
        let certificate = fetch(&client, &id)?;
        if text(&certificate, "state") == "complete" {
            return save(args, &client, &id, &certificate);
        }
        pause(Duration::from_millis(LOOK_INTERVAL_MS));
    }
}

fn persons(args: &EraseArgs) -> Vec<Value> {
    let namespaces = [
        ("subject", &args.subjects),
        ("actor", &args.actors),
        ("account", &args.accounts),
        ("number", &args.numbers),
        ("resource", &args.resources),
    ];
    let each = namespaces.into_iter().flat_map(|(namespace, ids)| {
        ids.iter().map(move |id| json!({ "namespace": namespace, "id": id }))
    });
    each.collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

fn path_of(id: &str) -> Result<String, Failure> {
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        return Ok(format!("erasures/{id}/certificate"));
    }
    Err(Failure { code: EXIT_USAGE, message: "an erasure's id is 32 hexadecimal digits".to_owned() })
}

fn fetch(client: &Client, id: &str) -> Result<Value, Failure> {
    Ok(serde_json::from_slice(&client.get(&path_of(id)?, "application/json")?.good()?)?)
}

/// Writes the certificate where it is wanted, as it came.
fn save(args: &EraseArgs, client: &Client, id: &str, certificate: &Value) -> Result<u8, Failure> {
    let accept = if args.page { "text/html" } else { "application/json" };
    let bytes = client.get(&path_of(id)?, accept)?.good()?;
    let destroyed = certificate.get("destroyed");
    let number = |name: &str| {
        destroyed.and_then(|destroyed| destroyed.get(name)).and_then(Value::as_u64).unwrap_or(0)
    };
    let is_complete = text(certificate, "state") == "complete";
    if is_complete {
        say!("Destroyed: {} parts of {} events.", number("parts"), number("events"));
    } else {
        say!("The erasure stands in the log; its data is not destroyed yet.");
    }
    write_output(args.printed.file.output.as_deref(), &bytes)?;
    Ok(if is_complete { EXIT_GOOD } else { EXIT_NOT_PROVABLE })
}
