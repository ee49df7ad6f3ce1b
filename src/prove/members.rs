//! Taking members out of a parsed JSON object, once each, with errors that name only known names.
//!
//! In scope: required and optional members, types, hex. Out of scope: what members mean.
//! Invariant: a document with a member nobody took is refused by [`Members::end`]; no error holds a
//! value or the name of an unknown member.

use crate::event::json::{JsonError, Object, Value};
use crate::log::hash::Hash;

/// Why a JSON document is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// The text is not strict JSON.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// A member is missing.
    #[error("member {0} is missing")]
    Missing(&'static str),
    /// A member is there but not what it must be.
    #[error("member {name} is not {expected}")]
    Wrong {
        /// The member.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Members that have no meaning here.
    #[error("{count} members of {name} have no meaning")]
    Unknown {
        /// The object they are in.
        name: &'static str,
        /// How many.
        count: usize,
    },
    /// Members that may only come together.
    #[error("member {present} is there but {absent} is not")]
    Incomplete {
        /// A member that is there.
        present: &'static str,
        /// A member that is not.
        absent: &'static str,
    },
}

/// The members of an object that have not been taken yet.
pub(crate) struct Members {
    name: &'static str,
    rest: Vec<(String, Value)>,
}

impl Members {
    pub(crate) fn new(name: &'static str, object: Object) -> Self {
        Self { name, rest: object.into_iter().collect() }
    }

    /// Those of a value that must be an object.
    pub(crate) fn of(name: &'static str, value: Value) -> Result<Self, ShapeError> {
        match value {
            Value::Object(object) => Ok(Self::new(name, object)),
            _ => Err(ShapeError::Wrong { name, expected: "an object" }),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.rest.iter().any(|(key, _)| key == name)
    }

    pub(crate) fn optional(&mut self, name: &'static str) -> Option<Value> {
        let at = self.rest.iter().position(|(key, _)| key == name)?;
        Some(self.rest.swap_remove(at).1)
    }

    pub(crate) fn required(&mut self, name: &'static str) -> Result<Value, ShapeError> {
        self.optional(name).ok_or(ShapeError::Missing(name))
    }

    pub(crate) fn string(&mut self, name: &'static str) -> Result<String, ShapeError> {
        as_string(name, self.required(name)?)
    }

    pub(crate) fn optional_string(&mut self, name: &'static str) -> Result<Option<String>, ShapeError> {
        self.optional(name).map(|value| as_string(name, value)).transpose()
    }

    /// A member that must be there and may be `null`.
    pub(crate) fn nullable<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Value) -> Result<T, ShapeError>,
    ) -> Result<Option<T>, ShapeError> {
        match self.required(name)? {
            Value::Null => Ok(None),
            value => read(value).map(Some),
        }
    }

    pub(crate) fn u64(&mut self, name: &'static str) -> Result<u64, ShapeError> {
        let wrong = ShapeError::Wrong { name, expected: "a whole number from 0 to 2^53" };
        self.required(name)?.as_i64().and_then(|n| u64::try_from(n).ok()).ok_or(wrong)
    }

    pub(crate) fn bool(&mut self, name: &'static str) -> Result<bool, ShapeError> {
        self.required(name)?.as_bool().ok_or(ShapeError::Wrong { name, expected: "true or false" })
    }

    pub(crate) fn hash(&mut self, name: &'static str) -> Result<Hash, ShapeError> {
        let value = self.required(name)?;
        as_hash(name, &value)
    }

    pub(crate) fn bytes(&mut self, name: &'static str) -> Result<Vec<u8>, ShapeError> {
        as_bytes(name, &self.string(name)?)
    }

    pub(crate) fn array(&mut self, name: &'static str) -> Result<Vec<Value>, ShapeError> {
        match self.required(name)? {
            Value::Array(items) => Ok(items),
            _ => Err(ShapeError::Wrong { name, expected: "an array" }),
        }
    }

    pub(crate) fn hashes(&mut self, name: &'static str) -> Result<Vec<Hash>, ShapeError> {
        self.array(name)?.iter().map(|item| as_hash(name, item)).collect()
    }

    /// That every member was taken.
    pub(crate) fn end(self) -> Result<(), ShapeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(ShapeError::Unknown { name: self.name, count }),
        }
    }
}

pub(crate) fn as_string(name: &'static str, value: Value) -> Result<String, ShapeError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(ShapeError::Wrong { name, expected: "a string" }),
    }
}

fn as_hash(name: &'static str, value: &Value) -> Result<Hash, ShapeError> {
    let wrong = ShapeError::Wrong { name, expected: "64 lower-case hexadecimal digits" };
    value.as_str().and_then(|text| text.parse().ok()).ok_or(wrong)
}

pub(crate) fn as_bytes(name: &'static str, text: &str) -> Result<Vec<u8>, ShapeError> {
    let wrong = ShapeError::Wrong { name, expected: "lower-case hexadecimal digits" };
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong);
    }
    hex::decode(text).map_err(|_| wrong)
}
