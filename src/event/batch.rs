//! Many events in one body.
//!
//! In scope: JSON arrays (`CloudEvents` batches) and NDJSON, with an outcome for each event. Out of scope:
//! whether one bad event spoils the others.
//!
//! Invariants: the outcomes are in the order of the body. A body of which the rest cannot be told apart any
//! more is refused as a whole.

use super::envelope::{Event, event_of_text, json_error, parse_structured};
use super::error::{EventError, EventErrorKind};
use super::json::JsonLimits;
use super::limits::{
    DEPTH_MAX, EVENT_VALUES_MAX, REQUEST_BYTES_MAX, REQUEST_EVENTS_MAX, STRUCTURED_BYTES_MAX,
};
use super::parser::{Item, Items};

/// What became of each event of a body.
type Outcomes = Vec<Result<Event, EventError>>;

/// Reads a JSON array of events, each in either form.
///
/// An item that is JSON but not an event (or has a key twice, or too large an integer …) fails alone, its
/// pointer beginning with its position from 0.
///
/// # Errors
/// The body is over 8 MiB, not JSON, not an array, or has over 10,000 items.
pub fn parse_batch(body: &[u8]) -> Result<Outcomes, EventError> {
    check_body(body)?;
    let limits = JsonLimits { depth_max: DEPTH_MAX, bytes_max: REQUEST_BYTES_MAX };
    let items = Items::new(body, &limits, EVENT_VALUES_MAX)?;
    let mut items = items.ok_or(EventError::new(EventErrorKind::NotAnArray))?;
    let mut outcomes = Outcomes::new();
    while let Some(item) = items.next().map_err(|e| json_error(e).within(outcomes.len()))? {
        check_count(outcomes.len())?;
        outcomes.push(event_of_item(item).map_err(|e| e.within(outcomes.len())));
    }
    Ok(outcomes)
}

fn event_of_item(item: Item) -> Result<Event, EventError> {
    let value = item.value.map_err(json_error)?;
    if item.text_bytes > STRUCTURED_BYTES_MAX {
        return Err(EventError::new(EventErrorKind::TooLarge { limit_bytes: STRUCTURED_BYTES_MAX }));
    }
    event_of_text(value, item.text_bytes)
}

/// Reads lines of JSON, one event each in either form; blank lines are skipped.
///
/// A line that fails, fails alone, its pointer beginning with its number from 1, its offset counting from the
/// start of the body.
///
/// # Errors
/// The body is over 8 MiB or has over 10,000 lines that are not blank.
pub fn parse_ndjson(body: &[u8]) -> Result<Outcomes, EventError> {
    check_body(body)?;
    let mut outcomes = Outcomes::new();
    let mut line_at = 0;
    for (position, line) in body.split(|b| *b == b'\n').enumerate() {
        if !line.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')) {
            check_count(outcomes.len())?;
            outcomes.push(parse_structured(line).map_err(|mut error| {
                error.offset = error.offset.map(|offset| line_at + offset);
                error.within(position + 1)
            }));
        }
        line_at += line.len() + 1;
    }
    Ok(outcomes)
}

fn check_body(body: &[u8]) -> Result<(), EventError> {
    if body.len() > REQUEST_BYTES_MAX {
        return Err(EventError::new(EventErrorKind::TooLarge { limit_bytes: REQUEST_BYTES_MAX }));
    }
    Ok(())
}

/// Whether another event may follow `count` of them.
fn check_count(count: usize) -> Result<(), EventError> {
    if count >= REQUEST_EVENTS_MAX {
        return Err(EventError::new(EventErrorKind::TooManyEvents { limit: REQUEST_EVENTS_MAX }));
    }
    Ok(())
}
