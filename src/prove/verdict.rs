//! What a verifier says: a verdict per check, and one report.
//!
//! In scope: the three verdicts, how they add up, the JSON of a report and the exit code a command
//! gives for it (design sections 2 rule 5 and 5). Out of scope: deciding anything.
//! Invariants: skipped is never success; a report without checks is not provable; no text in a
//! report holds a value taken from an event.

use super::text;
use std::fmt;

/// The outcome of a check, in order of gravity: the worst one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Checked and true.
    Verified,
    /// Could not be checked with what was given; neither true nor false.
    NotProvable,
    /// Checked and false: something was changed, lost or forged.
    Failed,
}

impl Verdict {
    /// The word used in JSON: `verified`, `not-provable` or `failed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::NotProvable => "not-provable",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One question a verifier asked, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The check's stable name, such as `inclusion`.
    pub name: &'static str,
    /// The answer.
    pub verdict: Verdict,
    /// Numbers and places in words: index, tile path, byte offset. Never a personal value.
    pub detail: String,
    /// Whether a `NotProvable` here makes the whole report not provable. A failure always counts.
    pub matters: bool,
}

/// One thing found wrong, at one place. Kept apart from the checks so that a log with many bad
/// places lists them in the order they were met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check it belongs to.
    pub check: &'static str,
    /// Where: a tile path, and a byte offset or an index when known.
    pub place: String,
    /// What is wrong there.
    pub detail: String,
}

/// What kind of thing was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A whole log: checkpoint, tiles, entries, parts.
    Log,
    /// One receipt.
    Receipt,
    /// The answer to a batch: several receipts.
    Receipts,
    /// A C2SP `.tlog-proof` file.
    TlogProof,
    /// A signed checkpoint by itself.
    Checkpoint,
    /// An inclusion proof by itself.
    Inclusion,
    /// A consistency proof by itself.
    Consistency,
    /// An erasure certificate.
    Certificate,
}

impl Target {
    /// The word used in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Receipt => "receipt",
            Self::Receipts => "receipts",
            Self::TlogProof => "tlog-proof",
            Self::Checkpoint => "checkpoint",
            Self::Inclusion => "inclusion-proof",
            Self::Consistency => "consistency-proof",
            Self::Certificate => "certificate",
        }
    }
}

/// How many parts were met in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartCounts {
    /// Opened and their commitments recomputed.
    pub open: u64,
    /// Present, but not opened here: counted, no failure.
    pub withheld: u64,
    /// Erased with their owner's keys.
    pub erased: u64,
    /// Removed by a retention rule.
    pub pruned: u64,
    /// Gone without an erasure or a retention rule: the one state that is an alarm.
    pub lost: u64,
}

/// The first and last log index a report speaks about, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRange {
    /// Lowest index.
    pub first: u64,
    /// Highest index.
    pub last: u64,
}

impl IndexRange {
    /// The range grown so that it holds `index`.
    #[must_use]
    pub fn including(range: Option<Self>, index: u64) -> Self {
        range.map_or(Self { first: index, last: index }, |r| Self {
            first: r.first.min(index),
            last: r.last.max(index),
        })
    }
}

/// Everything a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was verified.
    pub target: Target,
    /// Every question asked, in order.
    pub checks: Vec<Check>,
    /// Entries or receipts that were looked at.
    pub count: u64,
    /// Names of the verifier keys whose signatures were relied on, as `name+id`.
    pub keys: Vec<String>,
    /// Which log indexes the report speaks about.
    pub range: Option<IndexRange>,
    /// Parts by state.
    pub parts: PartCounts,
    /// Bad places in the order they were met; at most as many as the verifier keeps.
    pub findings: Vec<Finding>,
    /// Whether the log ends within a shred, so that files may be as they were before it or after it.
    pub(crate) is_shredding: bool,
}

impl Report {
    /// An empty report, which is not provable until a check says otherwise.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            checks: Vec::new(),
            count: 0,
            keys: Vec::new(),
            range: None,
            parts: PartCounts::default(),
            findings: Vec::new(),
            is_shredding: false,
        }
    }

    /// Adds a check whose being not provable decides the report.
    pub fn push(&mut self, name: &'static str, verdict: Verdict, detail: impl Into<String>) {
        self.checks.push(Check { name, verdict, detail: detail.into(), matters: true });
    }

    /// Adds a check whose being not provable is told but does not decide the report.
    pub fn note(&mut self, name: &'static str, verdict: Verdict, detail: impl Into<String>) {
        self.checks.push(Check { name, verdict, detail: detail.into(), matters: false });
    }

    /// The verdict of the check called `name`; the worst one if there are several.
    #[must_use]
    pub fn check(&self, name: &str) -> Option<Verdict> {
        self.checks.iter().filter(|c| c.name == name).map(|c| c.verdict).max()
    }

    /// The overall verdict: `failed` if any check failed; else `not-provable` if a check that
    /// matters is, or if nothing was verified; else `verified`.
    ///
    /// ```
    /// use counterfoil::prove::verdict::{Report, Target, Verdict};
    /// let mut report = Report::new(Target::Receipt);
    /// assert_eq!(report.verdict(), Verdict::NotProvable);
    /// report.push("inclusion", Verdict::Verified, "leaf 3 of 7");
    /// report.note("published", Verdict::NotProvable, "no published checkpoint given");
    /// assert_eq!(report.verdict(), Verdict::Verified);
    /// report.push("content", Verdict::Failed, "part open");
    /// assert_eq!(report.exit_code(), 3);
    /// ```
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.checks.iter().any(|c| c.verdict == Verdict::Failed) {
            return Verdict::Failed;
        }
        let undecided = self.checks.iter().any(|c| c.verdict == Verdict::NotProvable && c.matters);
        let verified = self.checks.iter().any(|c| c.verdict == Verdict::Verified);
        if undecided || !verified { Verdict::NotProvable } else { Verdict::Verified }
    }

    /// The exit code of a command that prints this report (design section 5): 0 verified,
    /// 3 verification failed, 4 incomplete or not provable.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict() {
            Verdict::Verified => 0,
            Verdict::Failed => 3,
            Verdict::NotProvable => 4,
        }
    }

    /// Appends the report as JSON:
    /// `{"verdict","target","count","keys":[…],"range":{"first","last"}|null,"parts":{…},
    /// "checks":[{"name","verdict","detail"}],"findings":[{"check","place","detail"}]}`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"verdict\":");
        text::string(out, self.verdict().as_str());
        out.extend_from_slice(b",\"target\":");
        text::string(out, self.target.as_str());
        out.extend_from_slice(b",\"count\":");
        text::number(out, self.count);
        out.extend_from_slice(b",\"keys\":[");
        for name in &self.keys {
            text::comma(out);
            text::string(out, name);
        }
        out.extend_from_slice(b"],\"range\":");
        match self.range {
            None => out.extend_from_slice(b"null"),
            Some(range) => {
                out.extend_from_slice(b"{\"first\":");
                text::number(out, range.first);
                out.extend_from_slice(b",\"last\":");
                text::number(out, range.last);
                out.push(b'}');
            }
        }
        self.parts.write_json(out);
        out.extend_from_slice(b",\"checks\":[");
        for check in &self.checks {
            text::comma(out);
            object(
                out,
                &[("name", check.name), ("verdict", check.verdict.as_str()), ("detail", &check.detail)],
            );
        }
        out.extend_from_slice(b"],\"findings\":[");
        for found in &self.findings {
            text::comma(out);
            object(out, &[("check", found.check), ("place", &found.place), ("detail", &found.detail)]);
        }
        out.extend_from_slice(b"]}");
    }

    /// The report as JSON bytes, see [`Report::write_json`].
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_json(&mut out);
        out
    }
}

impl PartCounts {
    /// Adds another count to this one.
    pub fn add(&mut self, other: &Self) {
        self.open += other.open;
        self.withheld += other.withheld;
        self.erased += other.erased;
        self.pruned += other.pruned;
        self.lost += other.lost;
    }

    /// All parts counted, whatever their state.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.open + self.withheld + self.erased + self.pruned + self.lost
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"parts\":{");
        for (name, count) in [
            ("open", self.open),
            ("withheld", self.withheld),
            ("erased", self.erased),
            ("pruned", self.pruned),
            ("lost", self.lost),
        ] {
            text::comma(out);
            text::key(out, name);
            text::number(out, count);
        }
        out.push(b'}');
    }
}

impl fmt::Display for PartCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open, withheld, erased, pruned, lost } = self;
        write!(f, "{open} open, {withheld} withheld, {erased} erased, {pruned} pruned, {lost} lost")
    }
}

fn object(out: &mut Vec<u8>, members: &[(&'static str, &str)]) {
    out.push(b'{');
    for (name, value) in members {
        text::comma(out);
        text::key(out, name);
        text::string(out, value);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_that_counts_wins() {
        let mut report = Report::new(Target::Log);
        assert_eq!((report.verdict(), report.exit_code()), (Verdict::NotProvable, 4));
        report.note("published", Verdict::NotProvable, "");
        assert_eq!(report.verdict(), Verdict::NotProvable, "skipped is never success");
        report.push("tree", Verdict::Verified, "");
        assert_eq!((report.verdict(), report.exit_code()), (Verdict::Verified, 0));
        report.push("chain", Verdict::NotProvable, "");
        assert_eq!((report.verdict(), report.exit_code()), (Verdict::NotProvable, 4));
        report.note("keys", Verdict::Failed, "");
        assert_eq!((report.verdict(), report.exit_code()), (Verdict::Failed, 3));
        assert_eq!(report.check("keys"), Some(Verdict::Failed));
        assert_eq!(report.check("none"), None);
    }

    #[test]
    fn json_has_the_fields_the_design_names() {
        let mut report = Report::new(Target::Receipt);
        report.push("inclusion", Verdict::Verified, "leaf \"3\"\n");
        report.keys.push("log.example+1234".into());
        report.range = Some(IndexRange::including(None, 3));
        report.count = 1;
        report.findings.push(Finding { check: "tree", place: "p".into(), detail: "d".into() });
        let value: serde_json::Value = serde_json::from_slice(&report.to_json()).unwrap();
        assert_eq!(value["verdict"], "verified");
        assert_eq!(value["count"], 1);
        assert_eq!(value["keys"][0], "log.example+1234");
        assert_eq!(value["range"]["last"], 3);
        assert_eq!(value["checks"][0]["detail"], "leaf \"3\"\n");
        assert_eq!(value["parts"]["lost"], 0);
        assert_eq!(value["findings"][0]["place"], "p");
    }

    #[test]
    fn ranges_grow_both_ways() {
        let range = IndexRange::including(Some(IndexRange { first: 4, last: 6 }), 2);
        assert_eq!(IndexRange::including(Some(range), 9), IndexRange { first: 2, last: 9 });
    }
}
