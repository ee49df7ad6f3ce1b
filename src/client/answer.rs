//! What an answer to a batch says, item by item.
//!
//! In scope: telling receipts, refusals and passing failures apart. Out of scope: checking receipts.
//! Invariant: an answer that does not speak of every event sent, in order, speaks of none.

use crate::event::json::{self, JsonLimits, Object, Value};
use crate::prove::receipt::Receipt;

use super::error::Refusal;
use super::transport::{ANSWER_BYTES_MAX, Answer, problem_sentence};

/// Deepest nesting of an answer: a batch around a receipt around openings around a list of items.
const ANSWER_DEPTH_MAX: usize = 16;

/// The code of events that are too large together, each being small enough.
const TOO_LARGE_TOGETHER: &str = "body-too-large";

/// What the server says of one event.
#[derive(Debug)]
pub(super) enum Item {
    /// It is in the ledger.
    Receipt(Box<Receipt>),
    /// It never will be.
    Refused(Refusal),
    /// It is too large beside the others.
    Apart(Refusal),
    /// It may be later.
    Later(Refusal),
}

/// Reads the answer to a batch of `sent` events; an error in words where it is none.
pub(super) fn items(body: &[u8], sent: usize) -> Result<Vec<Item>, String> {
    let bytes_max = usize::try_from(ANSWER_BYTES_MAX).unwrap_or(usize::MAX);
    let limits = JsonLimits { depth_max: ANSWER_DEPTH_MAX, bytes_max };
    let value = json::parse(body, &limits).map_err(|error| format!("no list of receipts: {error}"))?;
    let list = match value {
        Value::Object(mut answer) => answer.remove("receipts"),
        _ => None,
    };
    let Some(Value::Array(list)) = list else { return Err("no list of receipts".to_owned()) };
    if list.len() != sent {
        return Err(format!("the server gave {} answers for {sent} events", list.len()));
    }
    list.into_iter().map(item).collect()
}

fn item(value: Value) -> Result<Item, String> {
    if let Some(Value::Object(problem)) = value.as_object().and_then(|object| object.get("error")) {
        let refusal = refusal(problem).ok_or("an item is neither a receipt nor a problem")?;
        return Ok(match refusal.status {
            413 if refusal.code == TOO_LARGE_TOGETHER => Item::Apart(refusal),
            429 | 500.. => Item::Later(refusal),
            _ => Item::Refused(refusal),
        });
    }
    let receipt = Receipt::from_value(value).map_err(|error| format!("a receipt: {error}"))?;
    Ok(Item::Receipt(Box::new(receipt)))
}

fn refusal(problem: &Object) -> Option<Refusal> {
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    let status = problem.get("status").and_then(Value::as_i64)?;
    Some(Refusal {
        status: u16::try_from(status).ok()?,
        code: text("code").unwrap_or("unknown").to_owned(),
        detail: with_places(text("detail").unwrap_or_default(), problem),
        problem: String::from_utf8(Value::Object(problem.clone()).to_canonical()).ok()?,
    })
}

/// The sentence with the places in the event. The server's pointers hold known names only, and begin
/// with the event's number in the batch, which says nothing here.
fn with_places(detail: &str, problem: &Object) -> String {
    let errors = problem.get("errors").and_then(Value::as_array).unwrap_or_default();
    let places = errors.iter().filter_map(|error| {
        let pointer = error.as_object()?.get("pointer")?.as_str()?;
        Some(pointer.strip_prefix('/')?.split_once('/')?.1)
    });
    let places: Vec<&str> = places.collect();
    match places.as_slice() {
        [] => detail.to_owned(),
        places => format!("{detail} (at {})", places.join(", ")),
    }
}

/// What the status of a whole request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The body answers for each event.
    Answered,
    /// The same request may succeed later.
    Later,
    /// Something in the body is to blame.
    Body,
    /// No request of this client will succeed.
    Never,
}

pub(super) fn meaning(status: u16) -> Meaning {
    match status {
        200..300 => Meaning::Answered,
        400 | 409 | 413 | 415 | 422 => Meaning::Body,
        408 | 425 | 429 | 500 | 502..=504 | 506..=510 => Meaning::Later,
        _ => Meaning::Never,
    }
}

/// The refusal of a single event that a whole answer is.
pub(super) fn whole_refusal(answer: &Answer) -> Refusal {
    let parsed = serde_json::from_slice::<serde_json::Value>(&answer.body).ok();
    let text = |name: &str| {
        let value = parsed.as_ref().and_then(|problem| problem.get(name)?.as_str());
        value.unwrap_or_default().to_owned()
    };
    let problem = parsed.as_ref().map_or_else(|| "{}".to_owned(), ToString::to_string);
    Refusal {
        status: answer.status,
        code: text("code"),
        detail: problem_sentence(answer.status, &answer.body),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_place_within_the_event() {
        let body = br#"{"receipts":[{"error":{"status":422,"code":"wrong-type","detail":"it is so",
            "errors":[{"pointer":"/7/data/when"}]}},{"error":{"status":503,"code":"overloaded"}},
            {"error":{"status":413,"code":"body-too-large"}},
            {"error":{"status":413,"code":"event-too-large"}}]}"#;
        let items = items(body, 4).unwrap();
        let [Item::Refused(first), Item::Later(_), Item::Apart(_), Item::Refused(_)] = items.as_slice()
        else {
            panic!("{items:?}")
        };
        assert_eq!((first.status, first.detail.as_str()), (422, "it is so (at data/when)"));
    }

    #[test]
    fn an_answer_of_another_length_or_shape_says_nothing() {
        for (body, sent) in [
            (&b"{\"receipts\":[]}"[..], 1),
            (b"{\"receipts\":[{\"index\":1}]}", 1),
            (b"{\"receipts\":[{\"error\":{}}]}", 1),
            (b"{\"receipts\":", 0),
            (b"[]", 0),
            (b"", 0),
        ] {
            assert!(items(body, sent).is_err(), "{body:?}");
        }
    }

    #[test]
    fn what_may_be_sent_again() {
        let later: Vec<u16> = (100..600).filter(|status| meaning(*status) == Meaning::Later).collect();
        assert_eq!(later, [408, 425, 429, 500, 502, 503, 504, 506, 507, 508, 509, 510]);
        for status in [301, 401, 403, 404, 405, 501, 505] {
            assert_eq!(meaning(status), Meaning::Never, "{status}");
        }
    }
}
