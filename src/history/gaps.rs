//! Missing sequence numbers between the events of one source.
//!
//! In scope: what an answer about one source shows by itself. Out of scope: sources that stay
//! silent, which needs their declared counts. Invariant: a gap is reported only where two
//! neighbours of the same source were both returned.

use serde::Serialize;

/// A hole in a source's numbering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Index of the event before the hole.
    pub after_index: u64,
    /// Index of the event after the hole.
    pub before_index: u64,
    /// First sequence number that is missing.
    pub missing_from: u64,
    /// Last sequence number that is missing.
    pub missing_to: u64,
}

/// Holes between `(index, sequence)` pairs of one source, in log order.
pub(crate) fn between(numbered: &[(u64, u64)]) -> Vec<Gap> {
    let pairs = numbered.iter().zip(numbered.iter().skip(1));
    let holes = pairs
        .filter(|((_, before), (_, after))| after.checked_sub(*before).is_some_and(|step| step > 1));
    holes
        .map(|((after_index, before), (before_index, after))| Gap {
            after_index: *after_index,
            before_index: *before_index,
            missing_from: before + 1,
            missing_to: after - 1,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forward_jumps_are_holes() {
        let gaps = between(&[(10, 1), (12, 2), (13, 5), (20, 5), (21, 4), (22, 6)]);
        let found: Vec<_> = gaps.iter().map(|gap| (gap.missing_from, gap.missing_to)).collect();
        assert_eq!(found, [(3, 4), (5, 5)]);
    }
}
