//! Query parameters: read once, each known or refused.
//!
//! In scope: percent-decoded `name=value` pairs and their typed readings, path elements. Out of
//! scope: what they mean. Invariant: an unknown or repeated parameter is refused, so that a misspelt
//! filter never silently widens an answer.

use std::convert::Infallible;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, RawQuery};
use axum::http::request::Parts;

use super::problem::{self, Problem};

/// The variable elements of a path. One that is not UTF-8 once decoded is refused as a problem.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Path<T>
where
    S: Send + Sync,
    axum::extract::Path<T>: FromRequestParts<S, Rejection = PathRejection>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(elements)) => Ok(Self(elements)),
            Err(_) => Err(Problem::new(problem::BAD_PARAMETER, "the path is not UTF-8 once decoded")),
        }
    }
}

/// The parameters of a request.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let RawQuery(query) = RawQuery::from_request_parts(parts, state).await?;
        Ok(Self::parse(query.as_deref().unwrap_or("")))
    }
}

impl Params {
    fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), percent_decode(value))
        });
        Self { pairs: pairs.collect() }
    }

    /// Refuses any parameter that is not in `names`, any without a value, and any given twice.
    pub(crate) fn allow_only(&self, names: &[&str]) -> Result<(), Problem> {
        for (at, (name, value)) in self.pairs.iter().enumerate() {
            if !names.contains(&name.as_str()) {
                let detail = format!("unknown query parameter; known here: {}", names.join(", "));
                return Err(Problem::new(problem::BAD_PARAMETER, detail));
            }
            if value.is_empty() {
                return Err(bad(name, "has no value; leave it out"));
            }
            if self.pairs.iter().take(at).any(|(earlier, _)| earlier == name) {
                return Err(bad(name, "given twice"));
            }
        }
        Ok(())
    }

    /// The value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A decimal number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.get(name)
            .map(|text| decimal(text).ok_or_else(|| bad(name, "must be a decimal number")))
            .transpose()
    }

    /// A decimal number that must be there.
    pub(crate) fn required_number(&self, name: &str) -> Result<u64, Problem> {
        self.number(name)?.ok_or_else(|| bad(name, "is required"))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(bad(name, "must be true or false")),
        }
    }
}

/// A decimal number without sign or leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with('0');
    (plain && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// The problem of one parameter.
pub(crate) fn bad(name: &str, what: &str) -> Problem {
    Problem::new(problem::BAD_PARAMETER, format!("`{name}` {what}")).with("parameter", name)
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => match after.split_at_checked(2) {
                Some((digits, after)) if hex_pair(digits).is_some() => {
                    bytes.extend(hex_pair(digits));
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            other => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_pair(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    digits.iter().all(u8::is_ascii_hexdigit).then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_refuses() {
        let params = Params::parse("a=x%20y+z&b=%zz&n=007&empty=");
        assert_eq!(params.get("a"), Some("x y z"));
        assert_eq!(params.get("b"), Some("%zz"));
        assert!(Params::parse("a=1&empty=").allow_only(&["a", "empty"]).is_err());
        assert!(params.number("n").is_err());
        assert!(params.allow_only(&["a", "b"]).is_err());
        assert!(Params::parse("a=1&a=2").allow_only(&["a"]).is_err());
    }
}
