//! `counterfoil hold`
//!
//! In scope: placing, listing and releasing legal holds. Out of scope: what a hold stops. Invariant: a
//! person's identifier goes to the server and is printed nowhere.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::output::Printed;
use super::{Failure, ServerArgs};

/// Place, list and release legal holds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    counterfoil hold place --person subject:s-17 --reason 'claim 2026/12' --reference file://claims/12\n  \
    counterfoil hold place --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --reason audit\n  \
    counterfoil hold list\n  \
    counterfoil hold release 0123456789abcdef0123456789abcdef --reason 'claim settled'\n\n\
    What is given to `place` must hold together; of several persons an event need name one only. Whom a \
    hold is about is not kept in the clear: write down in `--reference` where the case is.")]
pub(crate) struct HoldArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Keep what meets the conditions from being erased or pruned.
    Place(PlaceArgs),
    /// List every hold, the released ones included.
    List(ListArgs),
    /// End a hold, so that it stops nothing any more.
    Release(ReleaseArgs),
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// A person, such as subject:s-17; may be repeated.
    #[arg(long = "person", value_name = "NAMESPACE:ID")]
    persons: Vec<String>,
    /// Events that belong to this request.
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Events recorded from this time on, RFC 3339.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Events recorded before this time, RFC 3339.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Why it is placed.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Where the case is kept.
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Args)]
struct ReleaseArgs {
    /// The hold's id, as `list` shows it.
    #[arg(value_name = "ID")]
    id: String,
    /// Why it is released.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    printed: Printed,
}

/// Runs the command.
pub(crate) fn run(args: &HoldArgs) -> Result<u8, Failure> {
    let path = |server: &ServerArgs| format!("/v1/ledgers/{}/holds", server.ledger);
    match &args.what {
        What::Place(args) => {
            let persons = args.persons.iter().map(|person| match person.split_once(':') {
                Some((namespace, id)) => Ok(json!({ "namespace": namespace, "id": id })),
                None => {
                    Err(Failure::usage("--person takes a namespace and an id, such as subject:s-17"))
                }
            });
            let body = json!({
                "persons": persons.collect::<Result<Vec<_>, _>>()?,
                "request": args.request,
                "from": args.from,
                "to": args.to,
                "reason": args.reason,
                "reference": args.reference,
            });
            let hold = Client::new(&args.server)?.call("POST", &path(&args.server), Some(&body))?;
            args.printed.print(&hold, text(&hold, "id"))
        }
        What::List(args) => {
            let answer = Client::new(&args.server)?.call("GET", &path(&args.server), None)?;
            let holds = answer.get("holds").and_then(Value::as_array).into_iter().flatten();
            let lines: Vec<String> = holds.map(line).collect();
            args.printed.print(&answer, &lines.join("\n"))
        }
        What::Release(args) => {
            let id = &args.id;
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Failure::usage(
                    "the id is 32 hex digits, as `counterfoil hold list` shows it",
                ));
            }
            let path = format!("{}/{id}/release", path(&args.server));
            let body = json!({ "reason": args.reason });
            let hold = Client::new(&args.server)?.call("POST", &path, Some(&body))?;
            args.printed.print(&hold, &line(&hold))
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

/// A hold on one line.
fn line(hold: &Value) -> String {
    let mut about = Vec::new();
    match hold.get("persons").and_then(Value::as_u64) {
        Some(0) | None => {}
        Some(1) => about.push("1 person".to_owned()),
        Some(persons) => about.push(format!("{persons} persons")),
    }
    if hold.get("request").and_then(Value::as_bool) == Some(true) {
        about.push("a request".to_owned());
    }
    for (name, said) in [("from", "from"), ("to", "to")] {
        if let Some(time) = hold.get(name).and_then(Value::as_str) {
            about.push(format!("{said} {time}"));
        }
    }
    let reason = hold.get("reason").and_then(Value::as_str).unwrap_or("(its words are lost)");
    let (id, state, at) = (text(hold, "id"), text(hold, "state"), text(hold, "placed_at"));
    format!("{id}  {state}  {at}  {}  {reason}", about.join(", "))
}
