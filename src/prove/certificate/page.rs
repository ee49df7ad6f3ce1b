//! A certificate as a page to print: one file, no scripts, nothing fetched.
//!
//! In scope: the words and their layout. Out of scope: whether they are true; the page says how to find
//! that out, from the JSON beside it. Invariants: every text of the certificate is escaped; the page says
//! what a signature and proofs cover and what is the operator's word; the same certificate gives the
//! same bytes.

use std::fmt::{Display, Write as _};

use super::{Certificate, CertificateState, Told};
use crate::log::hash::leaf_hash;

const STYLE: &str = "body{font:11pt/1.45 Georgia,serif;color:#111;max-width:46rem;margin:2rem auto;\
    padding:0 1rem}h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.05rem;margin:1.6rem 0 .3rem;\
    border-bottom:1px solid #999}table{border-collapse:collapse;width:100%}th,td{text-align:left;\
    vertical-align:top;padding:.2rem .6rem .2rem 0}th{font-weight:normal;color:#555;width:13rem}\
    thead th{width:auto;border-bottom:1px solid #ccc}code{font:9pt/1.4 monospace;\
    overflow-wrap:anywhere}.state{font-size:1.1rem;font-weight:bold}.word{color:#555;font-style:italic}\
    @page{margin:20mm}@media print{body{margin:0;max-width:none;padding:0}h2{break-after:avoid}\
    tr{break-inside:avoid}}";

impl Certificate {
    /// The certificate as a page of HTML to print, complete in itself.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut page = Page(String::with_capacity(8 << 10));
        page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        page.raw("<meta name=\"viewport\" content=\"width=device-width\">\n<title>Erasure certificate ");
        page.text(hex::encode(self.id));
        page.raw("</title>\n<style>").raw(STYLE).raw("</style>\n</head>\n<body>\n");
        self.head(&mut page);
        self.destroyed(&mut page);
        self.remaining(&mut page);
        self.proof(&mut page);
        page.raw("</body>\n</html>\n");
        page.0
    }

    fn head(&self, page: &mut Page) {
        page.raw("<h1>Erasure certificate</h1>\n<p class=\"state\">");
        page.text(match self.state {
            CertificateState::Pending => "Pending: recorded, and not yet done",
            CertificateState::Complete => "Complete",
        });
        page.raw("</p>\n<table>\n");
        page.row("Erasure", hex::encode(self.id));
        page.row("Ledger", format_args!("{} ({})", self.ledger, self.origin));
        page.row("Recorded at", &self.asked.at);
        page.row("Asked by", format_args!("{} (key {})", self.asked.label, self.asked.key));
        page.row("Reason", &self.asked.reason);
        page.row("Request", self.asked.request.as_deref().unwrap_or("none named"));
        page.raw("</table>\n");
        page.heading("Persons");
        page.raw(
            "<p>A person is one identifier in one namespace. It is not named here: the directory key ",
        );
        page.raw(
            "is a keyed hash of it, which the ledger's operator can compute from the identifier.</p>\n",
        );
        page.table(
            &["Namespace", "Directory key"],
            self.persons.iter().map(|person| {
                let name = person.namespace.name().unwrap_or("unnamed");
                [name.to_owned(), person.directory_key.to_string()]
            }),
        );
    }

    fn destroyed(&self, page: &mut Page) {
        let destroyed = &self.destroyed;
        page.heading("What was destroyed");
        page.word(
            "The operator's word, signed: the log keeps no list of it, which would be a trace itself.",
        );
        page.raw("<table>\n");
        page.row("Destroyed at", destroyed.at.as_deref().unwrap_or("not yet"));
        page.row("Persons' secrets", destroyed.persons);
        page.row("Parts", destroyed.parts);
        page.row("Events that lost a part", destroyed.events);
        page.raw("</table>\n");
        page.table(
            &["Part", "Number"],
            destroyed.by_role.iter().map(|(role, parts)| [role.name().into_owned(), parts.to_string()]),
        );
        page.table(
            &["Type of event", "Number"],
            destroyed.by_type.iter().map(|(name, events)| [name.clone(), events.to_string()]),
        );
        page.heading("Keys");
        page.raw("<table>\n");
        page.row("Root key destroyed", hex::encode(self.root_key.before));
        let after = self.root_key.after.map(hex::encode);
        page.row("Root key that followed", after.as_deref().unwrap_or("none yet"));
        page.row("Custody", &self.root_key.custody);
        page.row("What that means", &self.root_key.statement);
        page.raw("</table>\n");
    }

    fn remaining(&self, page: &mut Page) {
        page.heading("What remains");
        page.word("The operator's word, signed.");
        page.table(
            &["What", "Until", "Why"],
            self.residual.iter().map(|residual| {
                let until = residual.until.clone().unwrap_or_else(|| "not limited".to_owned());
                [residual.what.clone(), until, residual.basis.clone()]
            }),
        );
        page.table(
            &["Identifiers that stay", "Number"],
            self.alive.iter().map(|alive| [alive.facet.clone(), alive.count.to_string()]),
        );
        page.heading("Recipients");
        page.word("From the events named, which say what the ledger was told.");
        page.table(
            &["Recipient", "Told", "Confirmed", "Events"],
            self.told.iter().map(|told| {
                let Told { recipient, told_at, confirmed_at, events } = told;
                let when = |at: &Option<String>| at.clone().unwrap_or_else(|| "no".to_owned());
                let events: Vec<String> = events.iter().map(u64::to_string).collect();
                [recipient.clone(), when(told_at), when(confirmed_at), events.join(", ")]
            }),
        );
        for also in &self.also {
            page.raw("<p>").text(also).raw("</p>\n");
        }
    }

    fn proof(&self, page: &mut Page) {
        page.heading("Entries of the log");
        page.table(
            &["Entry", "Index", "Leaf hash"],
            self.entries.iter().map(|(name, entry)| {
                [name.to_owned(), entry.index.to_string(), leaf_hash(&entry.entry).to_string()]
            }),
        );
        page.heading("Signed checkpoint");
        page.raw("<pre><code>").text(&self.checkpoint).raw("</code></pre>\n");
        page.heading("Signature");
        page.raw("<table>\n");
        page.row("Key", self.signed_by.as_deref().unwrap_or("not signed"));
        let signature = self.signature.map(hex::encode);
        page.row("Signature", signature.as_deref().unwrap_or("not signed"));
        page.raw("</table>\n");
        page.heading("How to check this");
        page.raw(
            "<p>This page proves nothing by itself. Take the certificate as JSON, which carries the ",
        );
        page.raw(
            "entries and their proofs, and the log's verifier key from where you trust it, and run, ",
        );
        page.raw("without a network:</p>\n<pre><code>");
        page.raw("counterfoil verify certificate.json --key verifier.key</code></pre>\n");
        page.raw(
            "<p>It shows that the log, whose every state is signed, says that these persons' secrets ",
        );
        page.raw(
            "were to be destroyed, that a shred followed and ended, under which root keys, and that a ",
        );
        page.raw(
            "key which the log names signed the words above. That no other copy of a root key was kept ",
        );
        page.raw("is no fact of a log: it rests on the custody named.</p>\n");
    }
}

/// HTML being written.
struct Page(String);

impl Page {
    /// Appends markup of our own.
    fn raw(&mut self, markup: &str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Appends text, escaped.
    fn text(&mut self, text: impl Display) -> &mut Self {
        let mut escaped = Escaped(&mut self.0);
        let _ = write!(escaped, "{text}");
        self
    }

    fn heading(&mut self, text: &str) {
        self.raw("<h2>").text(text).raw("</h2>\n");
    }

    /// A line about who vouches for what follows.
    fn word(&mut self, text: &str) {
        self.raw("<p class=\"word\">").text(text).raw("</p>\n");
    }

    fn row(&mut self, name: &str, value: impl Display) {
        self.raw("<tr><th>").text(name).raw("</th><td>").text(value).raw("</td></tr>\n");
    }

    /// A table with a head, or the word `none`.
    fn table<const N: usize>(&mut self, head: &[&str; N], rows: impl Iterator<Item = [String; N]>) {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            let first = head.first().copied().unwrap_or_default();
            self.raw("<p>").text(first).raw(": none.</p>\n");
            return;
        }
        self.raw("<table>\n<thead><tr>");
        for name in head {
            self.raw("<th>").text(name).raw("</th>");
        }
        self.raw("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.raw("<tr>");
            for cell in row {
                self.raw("<td>").text(cell).raw("</td>");
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody>\n</table>\n");
    }
}

/// Writes text so that no reader of HTML takes any of it for markup.
struct Escaped<'a>(&'a mut String);

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for char in text.chars() {
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}
