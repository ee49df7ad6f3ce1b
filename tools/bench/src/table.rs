//! Tables in Markdown, and where in a document they go.
//!
//! In scope: writing a table, putting it between the markers of a page. Out of scope: figures. Invariant:
//! nothing of a page changes but what is between its markers.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::Fallible;

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} |", self.head.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(self.head.len()))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

/// Puts `text` between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` of a page.
pub(crate) fn put(page: &Path, name: &str, text: &str) -> Fallible<()> {
    let whole = fs::read_to_string(page)?;
    let replaced = replace(&whole, name, text)
        .ok_or_else(|| format!("{}: there are no markers `bench:{name}`", page.display()))?;
    fs::write(page, replaced)?;
    Ok(())
}

fn replace(whole: &str, name: &str, text: &str) -> Option<String> {
    let (open, close) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let (before, rest) = whole.split_once(&open)?;
    let (_, after) = rest.split_once(&close)?;
    Some(format!("{before}{open}\n{}\n{close}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = "a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n";
        let new = replace(page, "x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- bench:x -->\nnew\n<!-- /bench:x -->\nb\n");
        assert_eq!(replace(page, "y", "new"), None);
    }
}
