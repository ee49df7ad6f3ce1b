//! `GET /docs`: the contract as one page for people.
//!
//! In scope: HTML made from the `OpenAPI` document. Out of scope: the document ([`super::document`]).
//! Invariants: the page asks nobody else for anything and runs no script, which its content security
//! policy enforces; all text is escaped.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::log::hash::sha256;

use super::document;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
    padding:0 1rem;color:#1b1b1b;background:#fff}code,pre{font:14px/1.4 ui-monospace,monospace}\
    h2{margin-top:2.5rem;border-bottom:1px solid #bbb}h3{margin:2rem 0 0}h3 code{font-size:16px}\
    table{border-collapse:collapse;width:100%;margin:.5rem 0}th,td{text-align:left;vertical-align:top;\
    padding:.3rem .6rem;border:1px solid #ccc}th{background:#f2f2f2}.m{display:inline-block;\
    min-width:4rem;font-weight:bold}pre{background:#f6f6f6;padding:.6rem;overflow-x:auto}\
    @media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}th,pre{background:#262626}\
    th,td,h2{border-color:#444}a{color:#8ab4f8}}";

struct Page {
    html: String,
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let style = STANDARD.encode(sha256(STYLE.as_bytes()).as_bytes());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    Page { html: render(document::tree()), policy }
});

/// This description as a page
///
/// Operations, parameters, answers, problems and schemas, from the same document as `/openapi.json`. The
/// page loads nothing else and runs no script.
#[utoipa::path(get, path = "/docs", operation_id = "get_docs", tag = "server",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
pub(crate) async fn docs() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, &PAGE.policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE.html.as_str()).into_response()
}

fn render(document: &Value) -> String {
    let mut out = String::with_capacity(128 * 1024);
    let title = text(at(document, "/info/title"));
    let _ = write!(
        out,
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} API</title>\
         <style>{STYLE}</style></head><body><h1>{title} API</h1><p>{}. Version {}.</p><p>{}</p>\
         <p>For programs: <a href=\"openapi.json\">openapi.json</a>. \
         <a href=\"#problems\">Problems</a>. <a href=\"#schemas\">Schemas</a>.</p>",
        text(at(document, "/info/summary")),
        text(at(document, "/info/version")),
        prose(at(document, "/info/description")),
    );
    for tag in items(at(document, "/tags")) {
        let _ =
            write!(out, "<h2>{}</h2><p>{}</p>", text(at(tag, "/name")), prose(at(tag, "/description")));
        for (path, item) in members(at(document, "/paths")) {
            for (method, operation) in members(item) {
                if at(operation, "/tags/0") == at(tag, "/name") {
                    operation_section(method, path, operation, &mut out);
                }
            }
        }
    }
    problems(document, &mut out);
    out.push_str("<h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in members(at(document, "/components/schemas")) {
        let pretty = serde_json::to_string_pretty(schema).unwrap_or_default();
        let name = escape(name);
        let _ = write!(
            out,
            "<h3 id=\"schema-{name}\"><code>{name}</code></h3><p>{}</p><details>\
             <summary>JSON Schema</summary><pre>{}</pre></details>",
            prose(at(schema, "/description")),
            escape(&pretty)
        );
    }
    out.push_str("</body></html>\n");
    out
}

fn operation_section(method: &str, path: &str, operation: &Value, out: &mut String) {
    let _ = write!(
        out,
        "<h3 id=\"{}\"><code><span class=\"m\">{}</span> {}</code></h3><p><strong>{}.</strong> {}</p>",
        text(at(operation, "/operationId")),
        escape(&method.to_uppercase()),
        escape(path),
        text(at(operation, "/summary")),
        prose(at(operation, "/description")),
    );
    let security = items(at(operation, "/security"));
    let optional = security.iter().any(|each| each.as_object().is_some_and(Map::is_empty));
    out.push_str(match (security.is_empty(), optional) {
        (true, _) => "<p>No key.</p>",
        (false, true) => "<p>A key is needed for some of it.</p>",
        (false, false) => "<p>Needs <code>Authorization: Bearer</code> with a key.</p>",
    });
    let parameters = items(at(operation, "/parameters"));
    if !parameters.is_empty() {
        out.push_str("<table><tr><th>Parameter</th><th>In</th><th>Form</th><th>Meaning</th></tr>");
        for each in parameters {
            let required = if at(each, "/required") == true { ", required" } else { "" };
            let _ = write!(
                out,
                "<tr><td><code>{}</code></td><td>{}{required}</td><td>{}</td><td>{}</td></tr>",
                text(at(each, "/name")),
                text(at(each, "/in")),
                form(at(each, "/schema")),
                prose(at(each, "/description")),
            );
        }
        out.push_str("</table>");
    }
    if let Value::Object(content) = at(operation, "/requestBody/content") {
        let _ = write!(out, "<p>Body: {}</p>", contents(content));
    }
    out.push_str("<table><tr><th>Status</th><th>Answer</th><th>Body</th></tr>");
    for (status, response) in members(at(operation, "/responses")) {
        let body = at(response, "/content").as_object().map(contents).unwrap_or_default();
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{body}</td></tr>",
            escape(status),
            prose(at(response, "/description"))
        );
    }
    out.push_str("</table>");
}

fn problems(document: &Value, out: &mut String) {
    out.push_str(
        "<h2 id=\"problems\">Problems</h2><p>A problem's <code>type</code> is \
         <code>urn:counterfoil:problem:</code> and its code.</p>\
         <table><tr><th>Code</th><th>Status</th><th>Meaning</th><th>What to do</th></tr>",
    );
    for problem in items(at(document, "/x-problems")) {
        let _ = write!(
            out,
            "<tr id=\"problem-{0}\"><td><code>{0}</code></td><td>{1}</td><td>{2}</td><td>{3}</td></tr>",
            text(at(problem, "/code")),
            escape(&at(problem, "/status").to_string()),
            prose(at(problem, "/title")),
            prose(at(problem, "/remedy")),
        );
    }
    out.push_str("</table>");
}

/// Content types with the schemas they carry.
fn contents(content: &Map<String, Value>) -> String {
    let each = content.iter().map(|(media_type, content)| {
        let name = schema_name(at(content, "/schema")).map_or_else(String::new, |name| {
            let name = escape(name);
            format!(" <a href=\"#schema-{name}\">{name}</a>")
        });
        format!("<code>{}</code>{name}", escape(media_type))
    });
    each.collect::<Vec<_>>().join(", ")
}

fn schema_name(schema: &Value) -> Option<&str> {
    at(schema, "/$ref").as_str()?.rsplit('/').next()
}

/// A parameter's schema in a few words.
fn form(schema: &Value) -> String {
    if let Some(values) = at(schema, "/enum").as_array() {
        let values = values.iter().map(|value| format!("<code>{}</code>", text(value)));
        return values.collect::<Vec<_>>().join(" or ");
    }
    let kind = match at(schema, "/type") {
        Value::Array(kinds) => kinds.first().cloned().unwrap_or_default(),
        kind => kind.clone(),
    };
    let format = at(schema, "/format").as_str().map_or_else(String::new, |format| format!(", {format}"));
    format!("{}{}", text(&kind), escape(&format))
}

/// What is at an RFC 6901 pointer; null where nothing is.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// A text of the document, escaped.
fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// A text whose back-quoted words are code.
fn prose(value: &Value) -> String {
    let pieces = value.as_str().unwrap_or_default().split('`').enumerate();
    let pieces = pieces.map(|(at, piece)| match at % 2 {
        0 => escape(piece),
        _ => format!("<code>{}</code>", escape(piece)),
    });
    pieces.collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_problem_is_on_the_page_and_nothing_is_fetched() {
        let page = &PAGE.html;
        for (path, item) in members(&document::tree()["paths"]) {
            assert!(page.contains(&escape(path)), "{path}");
            for (_, operation) in members(item) {
                assert!(page.contains(&format!("id=\"{}\"", text(&operation["operationId"]))), "{path}");
            }
        }
        for kind in super::super::problem::TYPES {
            assert!(page.contains(&format!("id=\"problem-{}\"", kind.slug)));
        }
        for fetching in ["<script", "src=", "http-equiv", "url(", "@import", "<link", "style=\""] {
            assert!(!page.contains(fetching), "{fetching}");
        }
        let html =
            render(&serde_json::json!({ "info": { "title": "<b>&\"", "description": "a `<i>`" } }));
        assert!(html.contains("&lt;b&gt;&amp;&quot;") && html.contains("<code>&lt;i&gt;</code>"));
    }
}
