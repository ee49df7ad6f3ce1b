//! Medians, percentiles and how figures are written.
//!
//! In scope: numbers. Out of scope: tables. Invariant: a figure that was not measured is `None` and is
//! printed as a dash, never as zero.

use std::time::Duration;

/// `a / b`, 0 where there is nothing to divide by.
#[expect(
    clippy::cast_precision_loss,
    reason = "figures of a report; 53 bits are far more than they mean"
)]
pub(crate) fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// Microseconds, saturating.
pub(crate) fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// The value below which `per_mille` of the sorted values lie, in milliseconds.
pub(crate) fn percentile_ms(sorted_us: &[u32], per_mille: usize) -> Option<f64> {
    let last = sorted_us.len().checked_sub(1)?;
    let at = (sorted_us.len() * per_mille / 1000).min(last);
    sorted_us.get(at).map(|us| f64::from(*us) / 1000.0)
}

/// The middle value, the lower of two; none of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)? / 2;
    values.get(middle).copied()
}

/// Three significant digits, thousands set apart.
pub(crate) fn figure(value: Option<f64>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    if value.abs() >= 1000.0 {
        let digits = format!("{value:.0}");
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                out.push(' ');
            }
            out.push(digit);
        }
        return out;
    }
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(figure(Some(1_234_567.8)), "1 234 568");
        assert_eq!(figure(Some(12.34)), "12.3");
        assert_eq!(figure(None), "–");
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(percentile_ms(&[1000, 2000, 3000, 4000], 500), Some(3.0));
        assert_eq!(percentile_ms(&[], 500), None);
    }
}
