//! Whether what was pruned was due, by the retention rules that the log holds.
//!
//! In scope: what the log alone tells, that is the class of an event, the role of a part and when the event
//! was recorded. Out of scope: moments that only content tells, and which prune took which part, which no
//! entry says. Invariant: memory is the rules, and 16 bytes for each pair of class and role that was pruned.
//!
//! A part may have been taken by any prune, so it fails only where no prune's rules can have let it go. Rules
//! let an earlier record go no later than a later one: the latest of its class and role speaks for all.

use std::collections::BTreeMap;

use super::findings::{Findings, Question};
use crate::event::catalogue::Catalogue;
use crate::event::custom::CustomType;
use crate::event::facet::{ClassCode, Role};
use crate::event::json::{self, JsonLimits, Object, Value};
use crate::event::retention::{RetentionTable, was_due};
use crate::log::tile::{TILE_WIDTH, sealed_path};
use crate::prove::verdict::{Report, Verdict};

/// By class and role, the latest pruned part: when it was recorded, Unix microseconds, and its log index.
pub(super) type Pruned = BTreeMap<(ClassCode, Role), (u64, u64)>;

/// The rules under which prunes said they acted.
#[derive(Debug)]
pub(super) struct Due {
    /// Settings entries that register types. The catalogue is made where rules are met, as few logs have any.
    types: Vec<Object>,
    /// By index of the settings entry; none where the rules cannot be read.
    tables: BTreeMap<u64, Option<RetentionTable>>,
    /// By index of the rules, the latest moment at which a prune applied them, Unix microseconds.
    cutoffs: BTreeMap<u64, u64>,
}

impl Due {
    pub(super) fn new() -> Self {
        Self { types: Vec::new(), tables: BTreeMap::new(), cutoffs: BTreeMap::new() }
    }

    /// Looks at a settings entry's body.
    pub(super) fn settings(&mut self, index: u64, body: &[u8]) {
        let Ok(Value::Object(settings)) = json::parse(body, &JsonLimits::default()) else { return };
        match settings.get("what").and_then(Value::as_str) {
            Some("type") => self.types.push(settings),
            Some("retention") => {
                let table = self.table(settings.get("rules").unwrap_or(&Value::Null));
                self.tables.insert(index, table);
            }
            _ => {}
        }
    }

    /// Rules as they are read with the types that are registered before them.
    fn table(&self, rules: &Value) -> Option<RetentionTable> {
        let mut catalogue = Catalogue::builtin().ok()?;
        for settings in &self.types {
            let custom = CustomType::from_value(settings.get("type").unwrap_or(&Value::Null)).ok()?;
            catalogue = catalogue.with_custom(custom).ok()?;
        }
        RetentionTable::from_value(rules, &catalogue).ok()
    }

    /// Takes a prune in; false where there are no rules at `settings`.
    pub(super) fn prune(&mut self, settings: u64, cutoff_us: u64) -> bool {
        let latest = self.cutoffs.entry(settings).or_default();
        *latest = cutoff_us.max(*latest);
        self.tables.contains_key(&settings)
    }

    /// Whether a part can have been due at one of the prunes; none where the log does not tell.
    fn was_due(&self, class: ClassCode, role: Role, recorded_us: u64) -> Option<bool> {
        let mut due = Some(false);
        for (settings, cutoff_us) in &self.cutoffs {
            let table = self.tables.get(settings).and_then(Option::as_ref);
            match table.and_then(|table| was_due(table, class, role, recorded_us, *cutoff_us)) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => due = None,
            }
        }
        due
    }

    /// Adds the answer to a report, if anything was pruned.
    pub(super) fn conclude(&self, pruned: &Pruned, findings: &mut Findings, report: &mut Report) {
        if pruned.is_empty() || self.cutoffs.is_empty() {
            return;
        }
        let mut question = Question::new("due");
        let mut open = 0_usize;
        for ((class, role), (recorded_us, index)) in pruned {
            match self.was_due(*class, *role, *recorded_us) {
                Some(true) => {}
                None => open += 1,
                Some(false) => {
                    let place = format_args!("{} entry {index}", sealed_path(index / TILE_WIDTH));
                    let what = format_args!(
                        "part {} was pruned, and by the rules of no prune was it due",
                        role.name()
                    );
                    findings.fail(&mut question, place, what);
                }
            }
        }
        let kinds = pruned.len();
        if open > 0 && question.is_good() {
            let detail =
                format!("of {open} of {kinds} kinds of parts only content tells when they were due");
            report.note("due", Verdict::NotProvable, detail);
        } else {
            question
                .conclude(format_args!("{kinds} kinds of parts, each due before it was pruned"), report);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::verdict::Target;

    const DAY_US: u64 = 86_400_000_000;
    const COLLECTED: ClassCode = ClassCode(1);

    /// What is said of a subject's part that was recorded on a day and pruned on another, under rules at 7.
    fn said(from: &str, recorded_day: u64, pruned_day: u64) -> Report {
        let mut due = Due::new();
        let rules =
            format!(r#"[{{"id":"r","types":["*"],"parts":["subject"],"keep":"P1M","from":{from}}}]"#);
        due.settings(7, format!(r#"{{"what":"retention","rules":{rules}}}"#).as_bytes());
        due.settings(9, br#"{"what":"retention","rules":[]}"#);
        assert!(due.prune(7, pruned_day * DAY_US) && due.prune(9, pruned_day * DAY_US));
        assert!(!due.prune(8, 0), "no rules stand there");
        due.cutoffs.remove(&8);
        let subject = Role::from_name("subject").unwrap();
        let pruned = BTreeMap::from([((COLLECTED, subject), (recorded_day * DAY_US, 300))]);
        let mut report = Report::new(Target::Log);
        due.conclude(&pruned, &mut Findings::default(), &mut report);
        report
    }

    #[test]
    fn what_is_pruned_was_due_by_the_rules_of_some_prune() {
        // Day 0 is 1 January 1970; a month and a day later is 2 February.
        assert_eq!(said(r#""recorded""#, 0, 32).check("due"), Some(Verdict::Verified));
        let early = said(r#""recorded""#, 0, 31);
        assert_eq!(early.check("due"), Some(Verdict::Failed), "{early:?}");
        assert!(early.checks[0].detail.contains("entry 300: part subject was pruned"), "{early:?}");
        // The last event may have been any; it was not before this one.
        assert_eq!(said(r#""last-event""#, 0, 31).check("due"), Some(Verdict::Failed));
        let open = said(r#""last-event""#, 0, 40);
        assert_eq!(open.check("due"), Some(Verdict::NotProvable));
        assert!(!open.checks[0].matters, "{open:?}");
    }

    #[test]
    fn rules_that_cannot_be_read_accuse_nobody() {
        let mut due = Due::new();
        due.settings(7, br#"{"what":"retention","rules":"all"}"#);
        assert!(due.prune(7, 1));
        assert_eq!(due.was_due(COLLECTED, Role::OPEN, 0), None);
    }
}
