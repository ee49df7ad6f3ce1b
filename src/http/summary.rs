//! `GET …/summary`: how many events there are of what, and when.
//!
//! In scope: its parameters and its JSON. Out of scope: counting ([`crate::history::summarise`]).
//! Invariant: persons are conditions, never groups, so that nobody is listed by looking at counts.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::event::facet::Facet;
use crate::history::{self, Bucket, FACETS_GROUPED_MAX, GROUPS_DEFAULT, GROUPS_MAX, Grouping, Summary};
use crate::ledger::{Access, Opened};

use super::asked::Asked;
use super::auth::{self, Action};
use super::openapi::{Conditions, EventSummary, InLedger, Keyed, Reason, Searching, Writing};
use super::params::{Params, Path, bad};
use super::problem::Problem;
use super::reads::Reading;
use super::{off_thread, read};

/// Parameters besides one per facet.
const PARAMETERS: [&str; 9] = ["by", "bucket", "from", "to", "clock", "q", "limit", "cursor", "reason"];

/// Count events
///
/// Counts the events that meet the conditions by the values of one or two facets and by time. Only counts
/// are given, so no reason is needed except for a text to be looked for in personal parts; counts of such a
/// text are recorded in the ledger `reads`. Persons can be conditions, never groups. Needs the role
/// responder, auditor or dpo.
#[utoipa::path(get, path = "/summary", operation_id = "summarise_events", tag = "events",
    params(Conditions, Reason,
        ("by" = Option<String>, Query, description = "One or two facets, with a comma between: `type`, \
        `source`, `recipient`, `category`, `purpose`, `country`, `request`, `outcome`, `correlation`, \
        `trace`. An event with several values counts in each."),
        ("bucket" = Option<String>, Query, description = "`hour`, `day`, `week`, `month` or `year` of the \
        UTC calendar; weeks begin on Monday."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Groups at most, the \
        largest; 100 where absent. The rest is in `other`."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the answer before, with the same \
        parameters: counts what that one had not reached.")),
    responses((status = 200, description = "The counts", body = EventSummary), Keyed, InLedger, Searching,
        Writing),
    security(("key" = [])))]
pub(crate) async fn summary(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (key, ledger) = asked.in_ledger(&name, Action::Search)?;
    let known: Vec<&str> = Facet::all().filter_map(Facet::name).chain(PARAMETERS).collect();
    asked.params.allow_only(&known)?;
    let query = read::conditions(&asked.params, auth::access(&key, &name, asked.params.get("reason")))?;
    let grouping = grouping(&asked.params)?;
    let reading = Reading::new(&key, &ledger, "summary", &asked.params);
    let (answer, opened) = off_thread(move || {
        let found = history::summarise(&ledger.snapshot(), &query, &grouping);
        let found = found.map_err(|error| read::of_history(&error))?;
        // The counts speak of personal parts only where a text was looked for in them.
        let searched = query.text.is_some() && query.access == Access::Personal;
        let unmasked = if searched { found.total } else { 0 };
        let opened = Opened { rows: found.total, unmasked, ..Opened::over(found.size) };
        Ok((summary_json(&found, &grouping), opened))
    })
    .await?;
    reading.record(&asked.server, &opened).await?;
    Ok(([(header::CACHE_CONTROL, "private, no-cache")], Json(answer)).into_response())
}

fn grouping(params: &Params) -> Result<Grouping, Problem> {
    let mut facets = Vec::new();
    for name in params.get("by").into_iter().flat_map(|by| by.split(',')) {
        let facet = Facet::from_name(name).ok_or_else(|| {
            let open: Vec<_> = Facet::all().filter(|facet| !facet.is_person()).collect();
            let open: Vec<&str> = open.into_iter().filter_map(Facet::name).collect();
            bad("by", &format!("must be one or two of {}, with a comma between", open.join(", ")))
        })?;
        if facet.is_person() {
            let why = "names a kind of person, and persons are never counted one by one: a list of them \
                       would be personal data that no erasure reaches; use it as a condition";
            return Err(bad("by", why));
        }
        if facets.contains(&facet) || facets.len() >= FACETS_GROUPED_MAX {
            return Err(bad("by", "must be one or two different facets"));
        }
        facets.push(facet);
    }
    let bucket = params.get("bucket").map(|name| {
        Bucket::from_name(name).ok_or_else(|| bad("bucket", "must be hour, day, week, month or year"))
    });
    let groups_max = params.number("limit")?.map_or(Ok(GROUPS_DEFAULT), |limit| {
        usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=GROUPS_MAX).contains(limit))
            .ok_or_else(|| bad("limit", "must be 1 to 1000"))
    })?;
    Ok(Grouping { facets, bucket: bucket.transpose()?, groups_max })
}

fn summary_json(found: &Summary, grouping: &Grouping) -> Value {
    let groups = found.groups.iter().map(|group| {
        let mut object = Map::new();
        if grouping.bucket.is_some() {
            object.insert("start".to_owned(), json!(group.start));
        }
        for (facet, value) in grouping.facets.iter().zip(&group.values) {
            object.insert(facet.name().unwrap_or("").to_owned(), json!(value));
        }
        object.insert("count".to_owned(), json!(group.count));
        Value::Object(object)
    });
    json!({
        "groups": groups.collect::<Vec<_>>(),
        "other": found.other,
        "total": found.total,
        "next_cursor": found.next.map(|cursor| cursor.encode()),
        "as_of": { "size": found.size, "root": found.root.to_string() },
        "complete": found.next.is_none(),
    })
}
