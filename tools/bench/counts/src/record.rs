//! The committed table of counts, and whether fresh counts agree with it.
//!
//! In scope: reading and writing the table, comparing, what to say of a difference. Out of scope: counting.
//! Invariants: every case is in the table and every row of the table is a case; a count beyond the tolerance
//! is a difference in either direction, so that the table stays true and no slow drift hides behind an old
//! gain.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Deserialize;

use crate::Fallible;
use crate::cases::CASES;
use crate::table::Table;

/// How far a count may lie from the table's, in either direction. It leaves room for code elsewhere in the
/// library, which changes how the compiler divides it and what it inlines; a second pass or a needless
/// copy of what an operation works on is more than this.
pub(crate) const TOLERANCE_PERCENT: u64 = 5;

/// How a difference is accepted.
const ACCEPT: &str = "tools/bench/run counts --write";

/// The table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Whose code was counted.
    pub(crate) rustc: String,
    /// What counted.
    pub(crate) valgrind: String,
    /// What programs saw of the processor there.
    pub(crate) cpu: String,
    /// Instructions of one operation, by case.
    pub(crate) instructions: BTreeMap<String, u64>,
}

impl Record {
    /// Reads the table.
    pub(crate) fn parse(text: &str) -> Fallible<Self> {
        toml::from_str(text).map_err(|error| {
            format!(
                "the table cannot be read; write it anew with {ACCEPT}: {}",
                error.to_string().trim()
            )
            .into()
        })
    }

    /// The table as a file.
    pub(crate) fn to_toml(&self) -> String {
        let mut out = format!(
            "# Instructions of one operation of each case, in a release build under valgrind.\n\
             # Written by {ACCEPT}; checked by tools/test, {TOLERANCE_PERCENT} % either way.\n\
             rustc = \"{}\"\nvalgrind = \"{}\"\ncpu = \"{}\"\n\n[instructions]\n",
            self.rustc, self.valgrind, self.cpu
        );
        for case in &CASES {
            if let Some(count) = self.instructions.get(case.name) {
                let _ = writeln!(out, "{} = {count}", case.name);
            }
        }
        out
    }

    /// The table as it stands in a page.
    pub(crate) fn to_markdown(&self) -> String {
        let mut table = Table::new(&["Operation", "Case", "Instructions"]);
        for case in &CASES {
            let count = self.instructions.get(case.name).map_or_else(|| "–".to_owned(), |n| grouped(*n));
            table.row([case.what.to_owned(), format!("`{}`", case.name), count]);
        }
        let (rustc, valgrind, cpu) = (&self.rustc, &self.valgrind, &self.cpu);
        format!("Taken with {rustc}, valgrind {valgrind}, processor as seen there: {cpu}.\n\n{table}")
    }
}

/// A number with its thousands set apart.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A count that does not agree with the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Difference<'a> {
    /// More instructions than the tolerance allows.
    More { case: &'a str, recorded: u64, counted: u64 },
    /// Fewer than it allows.
    Fewer { case: &'a str, recorded: u64, counted: u64 },
    /// A case that the table does not have.
    Missing { case: &'a str },
    /// A row of the table that is no case.
    Unknown { row: &'a str },
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::More { case, recorded, counted } => write!(
                f,
                "{case}: {} instructions, {} against {} in the table; if that is meant: {ACCEPT}",
                grouped(counted),
                change(recorded, counted),
                grouped(recorded),
            ),
            Self::Fewer { case, recorded, counted } => write!(
                f,
                "{case}: {} instructions, {} against {} in the table: better than the table, write it \
                 down: {ACCEPT}",
                grouped(counted),
                change(recorded, counted),
                grouped(recorded),
            ),
            Self::Missing { case } => write!(f, "{case}: not in the table; write it down: {ACCEPT}"),
            Self::Unknown { row } => write!(f, "{row}: in the table, but no case; remove it: {ACCEPT}"),
        }
    }
}

/// The change in percent with one decimal, such as `+12.3 %`.
pub(crate) fn change(recorded: u64, counted: u64) -> String {
    let (sign, by) =
        if counted < recorded { ('-', recorded - counted) } else { ('+', counted - recorded) };
    let per_mille = by.saturating_mul(1_000).saturating_add(recorded / 2) / recorded.max(1);
    format!("{sign}{}.{} %", per_mille / 10, per_mille % 10)
}

/// Cases that the table lacks, and rows of it that are no cases.
pub(crate) fn compare_names(record: &Record) -> Vec<Difference<'_>> {
    let named = |row: &str| CASES.iter().any(|case| case.name == row);
    let missing = CASES.iter().filter(|case| !record.instructions.contains_key(case.name));
    let unknown = record.instructions.keys().filter(|row| !named(row));
    missing
        .map(|case| Difference::Missing { case: case.name })
        .chain(unknown.map(|row| Difference::Unknown { row }))
        .collect()
}

/// How a fresh count differs from the table's; `None` within the tolerance or where the table has none.
pub(crate) fn compare<'a>(record: &Record, case: &'a str, counted: u64) -> Option<Difference<'a>> {
    let recorded = *record.instructions.get(case)?;
    let times = |n: u64, percent: u64| u128::from(n) * u128::from(percent);
    if times(counted, 100) > times(recorded, 100 + TOLERANCE_PERCENT) {
        return Some(Difference::More { case, recorded, counted });
    }
    if times(counted, 100) < times(recorded, 100 - TOLERANCE_PERCENT) {
        return Some(Difference::Fewer { case, recorded, counted });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let instructions = CASES.iter().map(|case| (case.name.to_owned(), 1_000)).collect();
        Record {
            rustc: "rustc 1.95.0".into(),
            valgrind: "3.19.0".into(),
            cpu: "x86_64 avx2".into(),
            instructions,
        }
    }

    #[test]
    fn a_count_within_the_tolerance_agrees() {
        for counted in [950, 1_000, 1_050] {
            assert_eq!(compare(&record(), "event-parse", counted), None);
        }
        assert_eq!(compare_names(&record()), []);
    }

    #[test]
    fn too_many_instructions_are_named_with_the_way_to_accept_them() {
        let difference = compare(&record(), "event-parse", 1_051).unwrap();
        assert_eq!(
            difference,
            Difference::More { case: "event-parse", recorded: 1_000, counted: 1_051 }
        );
        assert_eq!(
            difference.to_string(),
            "event-parse: 1 051 instructions, +5.1 % against 1 000 in the table; if that is meant: \
             tools/bench/run counts --write"
        );
    }

    #[test]
    fn too_few_instructions_are_to_be_written_down() {
        let difference = compare(&record(), "event-parse", 949).unwrap();
        assert_eq!(difference, Difference::Fewer { case: "event-parse", recorded: 1_000, counted: 949 });
        assert!(difference.to_string().contains("-5.1 %"));
        assert!(difference.to_string().contains("better than the table, write it down"));
    }

    #[test]
    fn counts_at_the_edges_of_the_range_end() {
        let mut record = record();
        record.instructions.insert("event-parse".into(), 0);
        assert!(compare(&record, "event-parse", 0).is_none());
        assert!(compare(&record, "event-parse", u64::MAX).unwrap().to_string().contains('+'));
        record.instructions.insert("event-parse".into(), u64::MAX);
        assert!(compare(&record, "event-parse", 0).unwrap().to_string().contains('-'));
    }

    #[test]
    fn a_missing_case_and_an_unknown_row_are_named() {
        let mut record = record();
        record.instructions.remove("leaf-hash");
        record.instructions.insert("gone".into(), 5);
        assert_eq!(
            compare_names(&record),
            [Difference::Missing { case: "leaf-hash" }, Difference::Unknown { row: "gone" }]
        );
        assert_eq!(compare(&record, "leaf-hash", 7), None);
        for difference in compare_names(&record) {
            assert!(difference.to_string().contains(ACCEPT), "{difference}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(Record::parse(&record().to_toml()).unwrap(), record());
    }

    #[test]
    fn an_unreadable_table_is_an_error_that_says_how_to_write_it() {
        let good = record().to_toml();
        let bad = [
            String::new(),
            good.replace("rustc", "compiler"),
            good.replace("leaf-hash = 1000", "leaf-hash = -1"),
            good.replace("leaf-hash = 1000", "leaf-hash = \"many\""),
            good.replace("leaf-hash = 1000", "leaf-hash = 1000\nleaf-hash = 1000"),
            good.replace("[instructions]", "[instructions"),
        ];
        for text in bad {
            assert_ne!(text, good);
            let error = Record::parse(&text).unwrap_err().to_string();
            assert!(error.contains(ACCEPT), "{error}");
        }
    }

    #[test]
    fn the_page_has_the_committed_table() {
        let file = |path: &str| {
            std::fs::read_to_string(format!("{}/../../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
        };
        let record = Record::parse(&file("tools/bench/instructions.toml")).unwrap();
        let table = record.to_markdown();
        assert!(file("docs/performance.md").contains(table.trim_end()), "write it with {ACCEPT}");
        assert_eq!(compare_names(&record), []);
    }
}
