//! The calendar against a computation of its own, and tables against what they must mean.

use proptest::prelude::*;

use super::*;
use crate::event::json::{JsonLimits, parse};
use crate::event::time;

fn us(text: &str) -> u64 {
    u64::try_from(time::unix_us(text).unwrap()).unwrap()
}

fn table(rules: &str) -> Result<RetentionTable, RetentionError> {
    let value = parse(rules.as_bytes(), &JsonLimits::default()).unwrap();
    RetentionTable::from_value(&value, &Catalogue::builtin().unwrap())
}

fn end(keep: &str, from: &str) -> Option<u64> {
    Keep::parse(keep).unwrap().end_us(us(from))
}

#[test]
fn ends_at_the_midnight_after_the_last_day() {
    for (keep, from, over) in [
        ("P1M", "2023-01-31T00:00:00Z", "2023-03-01T00:00:00Z"),
        ("P1M", "2024-01-31T23:59:59Z", "2024-03-01T00:00:00Z"),
        ("P1M", "2024-01-29T12:00:00Z", "2024-03-01T00:00:00Z"),
        ("P1M", "2024-01-28T12:00:00Z", "2024-02-29T00:00:00Z"),
        ("P3M", "2023-11-30T12:00:00Z", "2024-03-01T00:00:00Z"),
        ("P1Y", "2024-02-29T12:00:00Z", "2025-03-01T00:00:00Z"),
        ("P4Y", "2024-02-29T12:00:00Z", "2028-03-01T00:00:00Z"),
        ("P1Y", "2023-02-28T12:00:00Z", "2024-02-29T00:00:00Z"),
        ("P4Y", "1996-02-29T12:00:00Z", "2000-03-01T00:00:00Z"),
        ("P4Y", "2096-02-29T12:00:00Z", "2100-03-01T00:00:00Z"),
        ("P1Y1M", "2023-01-31T12:00:00Z", "2024-03-01T00:00:00Z"),
        ("P1M1D", "2024-01-31T12:00:00Z", "2024-03-02T00:00:00Z"),
        ("P2W", "2024-02-20T12:00:00Z", "2024-03-06T00:00:00Z"),
        ("P1D", "2024-12-31T00:00:00Z", "2025-01-02T00:00:00Z"),
        ("P12M", "2024-12-31T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("P7Y", "2018-05-24T08:00:00Z", "2025-05-25T00:00:00Z"),
    ] {
        assert_eq!(end(keep, from), Some(us(over)), "{keep} from {from}");
    }
    assert_eq!(end("P9000Y", "2024-01-01T00:00:00Z"), None, "beyond the calendar: never");
}

#[test]
fn a_period_has_one_spelling() {
    for text in ["P7Y", "P18M", "P1Y6M", "P2W", "P90D", "P1Y2M3W4D", "P9999D"] {
        assert_eq!(Keep::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "", "P", "7Y", "P0D", "P07Y", "P-1Y", "P1.5Y", "P1D1Y", "P1Y1Y", "PT1H", "P1DT1H", "p1y",
        "P1Y ", "P10000D", "PY", "P1", "P+1Y",
    ] {
        assert_eq!(Keep::parse(text), None, "{text}");
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_days(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date, counted year by year.
fn days_to(year: u64, month: u64, day: u64) -> u64 {
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let months: u64 = (1..month).map(|month| month_days(year, month)).sum();
    years + months + day - 1
}

proptest! {
    #[test]
    fn the_calendar_agrees_with_counting_by_hand(
        year in 1970_u64..2300, month in 1_u64..=12, day in 1_u64..=31, within in 0_u64..US_PER_DAY,
        years in 0_u64..60, months in 0_u64..60, weeks in 0_u64..60, days in 1_u64..400,
    ) {
        let day = day.min(month_days(year, month));
        let part = |number: u64, unit: &str| match number {
            0 => String::new(),
            _ => format!("{number}{unit}"),
        };
        let text = format!("P{}{}{}{days}D", part(years, "Y"), part(months, "M"), part(weeks, "W"));
        let keep = Keep::parse(&text).unwrap();
        let count = (year + years) * 12 + month - 1 + months;
        let (to_year, to_month) = (count / 12, count % 12 + 1);
        let to_day = day.min(month_days(to_year, to_month));
        let over = days_to(to_year, to_month, to_day) + weeks * 7 + days + 1;
        let from_us = days_to(year, month, day) * US_PER_DAY + within;
        prop_assert_eq!(keep.end_us(from_us), Some(over * US_PER_DAY), "{} from {}", text, from_us);
        prop_assert!(over * US_PER_DAY - from_us > keep.days_min() * US_PER_DAY - US_PER_DAY);
        prop_assert!(keep.end_us(from_us + US_PER_DAY / 2) >= keep.end_us(from_us));
    }
}

const TABLE: &str = r#"[
  {"id":"RET-BIO","types":["data.collected"],"parts":["subject"],"keep":"P3Y","from":"recorded"},
  {"id":"RET-TYPE","types":["data.collected"],"parts":["*"],"keep":"P1Y","from":"recorded"},
  {"id":"RET-PART","types":["*"],"parts":["subject","raw"],"keep":"P2Y","from":"last-event"},
  {"id":"RET-ALL-A","types":["*"],"parts":["*"],"keep":"P7Y","from":"recorded"},
  {"id":"RET-ALL-B","types":["*"],"parts":["*"],"keep":"P5Y","from":"recorded"},
  {"id":"RET-END","types":["account.changed"],"parts":["*"],"keep":"P7Y","not_before":"2025-05-25",
   "from":{"type":"account.changed","state":"terminated"}}
]"#;

#[test]
fn the_closest_rule_decides_and_the_longest_of_equals() {
    let table = table(TABLE).unwrap();
    let subject = Role::from_name("subject.1").unwrap();
    let (collected, accessed, account) = (ClassCode(1), ClassCode(2), ClassCode(16));
    let ids = |class, role| -> Vec<&str> {
        table.deciding(class, role).iter().map(|at| table.rules()[*at].id.as_str()).collect()
    };
    assert_eq!(ids(collected, subject), ["RET-BIO"]);
    assert_eq!(ids(collected, Role::OPEN), ["RET-TYPE"]);
    assert_eq!(ids(accessed, subject), ["RET-PART"]);
    assert_eq!(ids(accessed, Role::OPEN), ["RET-ALL-A", "RET-ALL-B"]);
    let recorded_us = us("2020-02-29T10:00:00Z");
    let due = |class, role, at| was_due(&table, class, role, recorded_us, us(at));
    assert_eq!(due(collected, subject, "2023-02-28T23:59:59Z"), Some(false));
    assert_eq!(due(collected, subject, "2023-03-01T00:00:00Z"), Some(true));
    assert_eq!(
        due(accessed, Role::OPEN, "2026-01-01T00:00:00Z"),
        Some(false),
        "five years are not seven"
    );
    assert_eq!(due(accessed, Role::OPEN, "2027-03-01T00:00:00Z"), Some(true));
    assert_eq!(
        due(accessed, subject, "2022-02-28T00:00:00Z"),
        Some(false),
        "not even by the event alone"
    );
    assert_eq!(due(accessed, subject, "2030-01-01T00:00:00Z"), None, "a later event is not in the log");
    assert_eq!(due(account, subject, "2025-05-24T23:59:59Z"), Some(false));
    assert_eq!(due(account, subject, "2025-05-25T00:00:00Z"), None);
    let empty = RetentionTable::from_value(&Value::Array(Vec::new()), &Catalogue::builtin().unwrap());
    assert_eq!(was_due(&empty.unwrap(), collected, subject, 0, u64::MAX), Some(false), "no rule keeps");
}

#[test]
fn seven_years_from_the_later_of_two_days() {
    let table = table(TABLE).unwrap();
    let clock = &table.rules()[5].clock;
    let due = |anchor| clock.due_us(us(anchor)).unwrap();
    assert_eq!(due("2010-01-01T09:00:00Z"), us("2025-05-25T00:00:00Z"));
    assert_eq!(due("2018-05-24T09:00:00Z"), us("2025-05-25T00:00:00Z"));
    assert_eq!(due("2019-01-31T09:00:00Z"), us("2026-02-01T00:00:00Z"));
}

#[test]
fn of_rule_and_statute_the_earlier_counts() {
    let table = table(
        r#"[{"id":"BIPA","types":["*"],"parts":["subject"],"keep":"P3Y","from":"recorded",
        "statute":{"basis":"740 ILCS 14/15(a)","keep":"P1Y","from":"last-event"}}]"#,
    )
    .unwrap();
    let subject = Role::from_name("subject").unwrap();
    let due = |at| was_due(&table, ClassCode(1), subject, us("2020-01-01T00:00:00Z"), us(at));
    assert_eq!(due("2020-12-31T00:00:00Z"), Some(false));
    assert_eq!(due("2022-01-01T00:00:00Z"), None, "by the statute, if nothing came after");
    assert_eq!(due("2023-01-02T00:00:00Z"), Some(true), "by the promise, whatever came after");
    assert_eq!(
        table.rules()[0].earliest_us(us("2020-01-01T00:00:00Z")),
        Some(us("2021-01-02T00:00:00Z"))
    );
}

#[test]
fn nothing_after_the_horizon_can_be_due() {
    let bound = table(
        r#"[{"id":"A","types":["*"],"parts":["*"],"keep":"P1Y1M","from":"recorded"},
        {"id":"B","types":["*"],"parts":["raw"],"keep":"P30D","from":"last-event"}]"#,
    );
    let now_us = us("2026-06-30T12:00:00Z");
    assert_eq!(bound.unwrap().horizon_us(now_us), Some(us("2026-05-31T12:00:00Z")));
    assert_eq!(table(TABLE).unwrap().horizon_us(now_us), None, "an end of contract may lie far back");
}

#[test]
fn what_a_table_cannot_mean_is_refused_with_its_place() {
    let good = r#"{"id":"A","types":["*"],"parts":["*"],"keep":"P1Y","from":"recorded"}"#;
    for (rules, pointer) in [
        ("{}".to_owned(), "/rules"),
        ("[3]".to_owned(), "/rules/0"),
        (format!("[{good},{good}]"), "/rules/1/id"),
        (good.replace("\"A\"", "\"a b\""), "/rules/0/id"),
        (good.replace("\"A\"", "\"\""), "/rules/0/id"),
        (good.replace("\"types\":[\"*\"]", "\"types\":[\"data.teleported\"]"), "/rules/0/types/0"),
        (good.replace("\"types\":[\"*\"]", "\"types\":[\"data.collected\",\"*\"]"), "/rules/0/types/1"),
        (good.replace("\"types\":[\"*\"]", "\"types\":[]"), "/rules/0/types"),
        (good.replace("\"parts\":[\"*\"]", "\"parts\":[\"person\"]"), "/rules/0/parts/0"),
        (good.replace("\"parts\":[\"*\"]", "\"parts\":[\"raw\",\"raw\"]"), "/rules/0/parts/1"),
        (good.replace("P1Y", "1 year"), "/rules/0/keep"),
        (good.replace("\"recorded\"", "\"birth\""), "/rules/0/from"),
        (good.replace("\"recorded\"", "null"), "/rules/0/from"),
        (good.replace("\"recorded\"", r#"{"type":"x-none"}"#), "/rules/0/from/type"),
        (good.replace("\"recorded\"", r#"{"type":"account.changed","subject":"s1"}"#), "/rules/0/from"),
        (
            good.replace("\"recorded\"", r#"{"type":"account.changed","state":"ended"}"#),
            "/rules/0/from/state",
        ),
        (
            good.replace("\"recorded\"", r#"{"type":"account.changed","state":[1]}"#),
            "/rules/0/from/state",
        ),
        (good.replace("{\"id\"", "{\"not_before\":\"2025-02-30\",\"id\""), "/rules/0/not_before"),
        (good.replace("{\"id\"", "{\"note\":\"x\",\"id\""), "/rules/0"),
        (good.replace("{\"id\"", "{\"statute\":{\"basis\":\"law\"},\"id\""), "/rules/0/statute/keep"),
    ] {
        let rules = if rules.starts_with("{\"") { format!("[{rules}]") } else { rules };
        let error = table(&rules).unwrap_err();
        assert_eq!(error.pointer, pointer, "{rules}: {error}");
        assert!(!error.to_string().contains("teleported"), "{error}");
    }
    let again = table(&format!("[{good}]")).unwrap();
    let text = again.to_value().to_canonical();
    assert_eq!(table(std::str::from_utf8(&text).unwrap()).unwrap().rules(), again.rules());
}
