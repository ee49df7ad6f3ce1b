//! Numbers as JSON spells them and as RFC 8785 does.
//!
//! In scope: from a literal to [`Value::Int`] or [`Value::Float`], and back in ECMAScript's spelling
//! (RFC 8785 section 3.2.2.3). Out of scope: the literal's grammar, which the parser has checked.
//!
//! Invariant: whatever is accepted here, written canonically and read again, is the same value. So a number
//! that ECMAScript would write as an integer beyond ±2^53 is refused however it was spelled.

use super::json::{JsonErrorKind, Value};
use super::limits::INTEGER_MAX;

/// 2^53 as a double.
const INTEGER_MAX_F64: f64 = 9_007_199_254_740_992.0;

/// From here on ECMAScript writes an exponent: 10^21 (ECMA-262, `Number::toString`).
const EXPONENT_FROM: f64 = 1e21;

/// The value of an integer literal. `magnitude` saturates, which is beyond the limit as well.
pub(super) fn integer(negative: bool, magnitude: u64) -> Result<Value, JsonErrorKind> {
    match i64::try_from(magnitude) {
        Ok(n) if n <= INTEGER_MAX => Ok(Value::Int(if negative { -n } else { n })),
        _ => Err(JsonErrorKind::IntegerTooLarge),
    }
}

/// The value of a literal with a fraction or an exponent, rounded to the nearest double.
pub(super) fn float(literal: &str) -> Result<Value, JsonErrorKind> {
    let x: f64 = literal.parse().map_err(|_| JsonErrorKind::Syntax)?;
    if !x.is_finite() {
        return Err(JsonErrorKind::NumberOutOfRange);
    }
    if x.abs() > INTEGER_MAX_F64 && x.abs() < EXPONENT_FROM {
        return Err(JsonErrorKind::IntegerTooLarge);
    }
    if x.abs() <= INTEGER_MAX_F64 && x.fract() == 0.0 {
        #[allow(clippy::cast_possible_truncation)] // integral and within ±2^53
        return Ok(Value::Int(x as i64));
    }
    Ok(Value::Float(x))
}

/// Appends `n` in decimal.
pub(super) fn write_integer(n: i64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut rest = n.unsigned_abs();
    let mut unused = digits.len();
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        unused -= 1;
        if rest == 0 {
            break;
        }
    }
    if n < 0 {
        out.push(b'-');
    }
    out.extend(digits.iter().skip(unused));
}

/// Appends `x` as ECMAScript does; `null` for what JSON has no number for, which no parsed value is.
pub(super) fn write_float(x: f64, out: &mut Vec<u8>) {
    if x.is_finite() {
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(x).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value) -> String {
        String::from_utf8(value.to_canonical()).unwrap()
    }

    #[test]
    fn integers_are_kept_to_two_to_the_53() {
        assert_eq!(integer(true, 1 << 53), Ok(Value::Int(-(1 << 53))));
        assert_eq!(integer(false, (1 << 53) + 1), Err(JsonErrorKind::IntegerTooLarge));
        assert_eq!(integer(true, u64::MAX), Err(JsonErrorKind::IntegerTooLarge));
        assert_eq!(integer(true, 0), Ok(Value::Int(0)));
    }

    #[test]
    fn an_integral_double_is_an_integer() {
        assert_eq!(float("20e1"), Ok(Value::Int(200)));
        assert_eq!(float("-1.0"), Ok(Value::Int(-1)));
        assert_eq!(float("1e-400"), Ok(Value::Int(0)));
        assert_eq!(float("9007199254740992.0"), Ok(Value::Int(1 << 53)));
        assert_eq!(float("0.5"), Ok(Value::Float(0.5)));
        assert_eq!(float("1e21"), Ok(Value::Float(1e21)));
    }

    #[test]
    fn a_large_integer_is_refused_in_every_spelling() {
        for literal in ["9007199254740994.0", "1e20", "-9.99e20", "90071992547409940e-1"] {
            assert_eq!(float(literal), Err(JsonErrorKind::IntegerTooLarge), "{literal}");
        }
        assert_eq!(float("1e309"), Err(JsonErrorKind::NumberOutOfRange));
        assert_eq!(float("-1e309"), Err(JsonErrorKind::NumberOutOfRange));
    }

    #[test]
    fn writes_decimal() {
        for n in [0, 7, -7, 10, 1 << 53, -(1 << 53), i64::MIN, i64::MAX] {
            assert_eq!(written(&Value::Int(n)), n.to_string());
        }
        assert_eq!(written(&Value::Float(-0.0)), "0");
        assert_eq!(written(&Value::Float(1e21)), "1e+21");
        assert_eq!(written(&Value::Float(f64::NAN)), "null");
    }
}
