//! A report: a table with a head that says what it holds for, in three forms.
//!
//! In scope: JSON, CSV (RFC 4180, with comment lines around it) and HTML of any report. Out of scope: what
//! is in one. Invariants: the same report gives the same bytes; the foot has the SHA-256 of the body, which
//! is the array of rows in RFC 8785 form, the CSV from the line of columns to the last row, or the `table`
//! element.

use std::fmt::Write as _;

use crate::event::json::{Object, Value};
use crate::log::hash::sha256;

/// What a report is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReportForm {
    /// One JSON object.
    #[default]
    Json,
    /// Comma-separated values.
    Csv,
    /// A page to be read and printed.
    Html,
}

impl ReportForm {
    /// Every form with its name and media type.
    pub const ALL: [(&'static str, &'static str, Self); 3] = [
        ("json", "application/json", Self::Json),
        ("csv", "text/csv; charset=utf-8", Self::Csv),
        ("html", "text/html; charset=utf-8", Self::Html),
    ];

    /// The form of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, ..)| *known == name).map(|(.., form)| *form)
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        Self::ALL.iter().find(|(.., form)| *form == self).map_or("", |(_, media_type, _)| media_type)
    }
}

/// A report.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Its name, as paths have it.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it holds for, in this order.
    pub head: Vec<(&'static str, Value)>,
    /// Names of its columns.
    pub columns: &'static [&'static str],
    /// Its rows, a value for each column: texts, numbers, lists of texts, or null.
    pub rows: Vec<Vec<Value>>,
}

/// The style sheet of the HTML form; its hash is what the page's policy allows.
pub const REPORT_STYLE: &str = "body{font:14px/1.4 sans-serif;margin:2em}table{border-collapse:collapse}\
    th,td{border:1px solid #999;padding:.2em .5em;text-align:left;vertical-align:top}th{background:#eee}";

impl Report {
    /// The report in a form.
    #[must_use]
    pub fn print(&self, form: ReportForm) -> Vec<u8> {
        match form {
            ReportForm::Json => self.json(),
            ReportForm::Csv => self.csv().into_bytes(),
            ReportForm::Html => self.html().into_bytes(),
        }
    }

    fn json(&self) -> Vec<u8> {
        let rows = self.rows.iter().map(|row| {
            let members = self.columns.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned());
            Value::Object(members.collect::<Object>())
        });
        let rows = Value::Array(rows.collect());
        let body_sha256 = sha256(&rows.to_canonical()).to_string();
        let mut object = Object::new();
        object.insert("report", self.name);
        for (name, value) in &self.head {
            object.insert(*name, value.clone());
        }
        let columns = self.columns.iter().map(|name| Value::from(*name));
        object.insert("columns", Value::Array(columns.collect()));
        object.insert("rows", rows);
        object.insert("body_sha256", body_sha256);
        let mut bytes = object.to_canonical();
        bytes.push(b'\n');
        bytes
    }

    fn csv(&self) -> String {
        let line = |fields: Vec<String>| fields.join(",") + "\r\n";
        let mut body = line(self.columns.iter().map(|name| quoted(name)).collect());
        for row in &self.rows {
            body.push_str(&line(row.iter().map(|value| quoted(&shown(value))).collect()));
        }
        let mut text = format!("# report: {}\r\n", self.name);
        for (name, value) in &self.head {
            let _ = write!(text, "# {name}: {}\r\n", shown(value));
        }
        let body_sha256 = sha256(body.as_bytes());
        let _ = write!(text, "{body}# body_sha256: {body_sha256}\r\n");
        text
    }

    fn html(&self) -> String {
        let mut body = String::from("<table><thead><tr>");
        for name in self.columns {
            let _ = write!(body, "<th>{}</th>", escaped(name));
        }
        body.push_str("</tr></thead><tbody>\n");
        for row in &self.rows {
            let cells = row.iter().map(|value| format!("<td>{}</td>", escaped(&shown(value))));
            let _ = writeln!(body, "<tr>{}</tr>", cells.collect::<String>());
        }
        body.push_str("</tbody></table>");
        let title = escaped(self.title);
        let mut text = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <style>{REPORT_STYLE}</style></head><body>\n<h1>{title}</h1>\n<dl>"
        );
        for (name, value) in &self.head {
            let _ = write!(text, "<dt>{name}</dt><dd>{}</dd>", escaped(&shown(value)));
        }
        let body_sha256 = sha256(body.as_bytes());
        let _ = writeln!(text, "</dl>\n{body}\n<p>body_sha256 {body_sha256}</p></body></html>");
        text
    }
}

/// A value as a cell shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        Value::Object(members) => {
            let each = members.iter().map(|(name, value)| format!("{name} {}", shown(value)));
            each.collect::<Vec<_>>().join(", ")
        }
        other => String::from_utf8_lossy(&other.to_canonical()).into_owned(),
    }
}

/// A field of a CSV line. One that a spreadsheet would take for a formula gets an apostrophe in front.
fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\n', '\r']) || text.starts_with('#') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            name: "some",
            title: "Some <report>",
            head: vec![("as_of", Value::Int(7))],
            columns: &["name", "count"],
            rows: vec![
                vec![Value::from("a,\"b\""), Value::Int(-1)],
                vec![Value::from("=1+1"), Value::Null],
                vec![Value::Array(vec![Value::from("<x>"), Value::from("y")]), Value::Int(2)],
            ],
        }
    }

    #[test]
    fn every_form_says_the_same_and_hashes_its_body() {
        let report = report();
        let json = String::from_utf8(report.print(ReportForm::Json)).unwrap();
        let rows = [
            r#"[{"count":-1,"name":"a,\"b\""},"#,
            r#"{"count":null,"name":"=1+1"},{"count":2,"name":["<x>","y"]}]"#,
        ];
        let rows = rows.concat();
        let hash = sha256(rows.as_bytes());
        assert_eq!(
            json,
            format!(
                "{{\"as_of\":7,\"body_sha256\":\"{hash}\",\"columns\":[\"name\",\"count\"],\
                 \"report\":\"some\",\"rows\":{rows}}}\n"
            )
        );
        let csv = String::from_utf8(report.print(ReportForm::Csv)).unwrap();
        let body = "name,count\r\n\"a,\"\"b\"\"\",-1\r\n'=1+1,\r\n<x> y,2\r\n";
        let hash = sha256(body.as_bytes());
        let wanted = format!("# report: some\r\n# as_of: 7\r\n{body}# body_sha256: {hash}\r\n");
        assert_eq!(csv, wanted);
        let html = String::from_utf8(report.print(ReportForm::Html)).unwrap();
        assert!(html.contains("<h1>Some &lt;report&gt;</h1>") && !html.contains("<x>"), "{html}");
        let (_, from) = html.split_once("<table>").unwrap();
        let (table, _) = from.split_once("</table>").unwrap();
        let hash = sha256(format!("<table>{table}</table>").as_bytes());
        assert!(html.contains(&format!("<p>body_sha256 {hash}</p>")), "{html}");
    }
}
