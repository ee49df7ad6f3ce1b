//! Putting an event together again from the parts that are open.
//!
//! In scope: the union of parts' bodies. Out of scope: whether a body is what its commitment says.
//! Invariants: no part can change what another says; a person's part can add nothing to the envelope
//! but the resource; the order of the parts does not matter.

use crate::event::facet::{Namespace, Role};
use crate::event::json::{JsonError, JsonLimits, Object, Value, parse};
use crate::event::limits::{DEPTH_MAX, STRUCTURED_BYTES_MAX};

/// Why parts do not make an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A body is not JSON as the ledger reads it.
    #[error("part {}: {error}", role.name())]
    Json {
        /// The part.
        role: Role,
        /// What is wrong with it.
        error: JsonError,
    },
    /// A body is not an object, or has members that do not belong into such a part.
    #[error("part {}: it holds what does not belong there", role.name())]
    Misplaced {
        /// The part.
        role: Role,
    },
    /// Two parts say something about the same member.
    #[error("part {}: it repeats what another part says", role.name())]
    Conflict {
        /// The later of the two.
        role: Role,
    },
}

/// The `CloudEvents` object that these parts make up. What lies in parts that are not given (erased,
/// withheld) is absent from it.
///
/// # Errors
/// If a body is malformed or misplaced, or two of them contradict each other.
///
/// ```
/// use counterfoil::event::facet::Role;
/// use counterfoil::event::parts::merge;
/// let open = br#"{"data":{"purpose":"support"},"id":"e1","source":"s","specversion":"1.0","type":"t"}"#;
/// let person = br#"{"data":{"subject":"s1"}}"#;
/// let event = merge([(Role::OPEN, &open[..]), (Role(16), &person[..])].into_iter())?;
/// let data = event.get("data").and_then(|data| data.as_object()).ok_or("data")?;
/// assert_eq!(data.get("subject").and_then(|value| value.as_str()), Some("s1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn merge<'a>(parts: impl Iterator<Item = (Role, &'a [u8])>) -> Result<Object, MergeError> {
    // A part adds no depth to the event it was cut from; base64 is its longest content.
    let limits = JsonLimits { depth_max: DEPTH_MAX, bytes_max: STRUCTURED_BYTES_MAX };
    let mut merged = Object::new();
    for (role, body) in parts {
        let value = parse(body, &limits).map_err(|error| MergeError::Json { role, error })?;
        let Value::Object(object) = value else { return Err(MergeError::Misplaced { role }) };
        if !object.iter().all(|(name, value)| belongs(role, name, value)) {
            return Err(MergeError::Misplaced { role });
        }
        unite(&mut merged, object, role)?;
    }
    Ok(merged)
}

fn belongs(role: Role, name: &str, value: &Value) -> bool {
    match (name, role.as_person()) {
        ("data", _) => role != Role::RAW && value.as_object().is_some(),
        ("data_base64", _) => role == Role::RAW,
        ("datacontenttype", _) => role == Role::RAW || role == Role::OPEN,
        ("subject", person) => person.is_some_and(|(namespace, _)| namespace == Namespace::RESOURCE),
        _ => role == Role::OPEN,
    }
}

/// Adds the members of `from`; objects on both sides are united in turn. Depth is bounded by the
/// parser's limit.
fn unite(into: &mut Object, from: Object, role: Role) -> Result<(), MergeError> {
    for (name, value) in from {
        match (into.remove(&name), value) {
            (None, value) => drop(into.insert(name, value)),
            (Some(Value::Object(mut left)), Value::Object(right)) => {
                unite(&mut left, right, role)?;
                into.insert(name, left);
            }
            (Some(_), _) => return Err(MergeError::Conflict { role }),
        }
    }
    Ok(())
}
