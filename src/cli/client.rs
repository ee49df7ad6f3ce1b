//! Talking to a server.
//!
//! In scope: one HTTP client with the caller's key, and problems turned into sentences. Out of
//! scope: what is asked. Invariant: the key is read from a file or the environment's file name, and
//! is never printed.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::http::Response;
use zeroize::Zeroizing;

use super::{Failure, ServerArgs};

/// Bytes of one answer at most: a full tile bundle is 16 MiB, a page of 1,000 full events 64 MiB.
const ANSWER_BYTES_MAX: u64 = 128 << 20;

/// A server's ledger.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    root: String,
    key: Option<Zeroizing<String>>,
}

/// An answer with its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Seconds after which the server asks to be tried again.
    pub(crate) retry_after_s: Option<u64>,
}

impl Client {
    /// A client of the server and ledger that `args` name.
    pub(crate) fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let key = args.key_file.as_deref().map(read_key).transpose()?;
        Ok(Self::at(&args.url, &args.ledger, key))
    }

    /// A client of `url`, which is a server's root or a ledger's prefix.
    pub(crate) fn at(url: &str, ledger: &str, key: Option<Zeroizing<String>>) -> Self {
        let url = url.trim_end_matches('/');
        let (root, base) = match url.split_once("/v1/ledgers/") {
            Some((root, _)) => (root.to_owned(), url.to_owned()),
            None => (url.to_owned(), format!("{url}/v1/ledgers/{ledger}")),
        };
        Self::new_at(root, base, key)
    }

    /// A client of the log that is served directly below `url`.
    pub(crate) fn below(url: &str, key: Option<Zeroizing<String>>) -> Self {
        let url = url.trim_end_matches('/');
        Self::new_at(url.to_owned(), url.to_owned(), key)
    }

    fn new_at(root: String, base: String, key: Option<Zeroizing<String>>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_global(Some(Duration::from_mins(2)))
            .build();
        Self { agent: config.into(), base, root, key }
    }

    /// `GET` below the ledger's prefix, whatever the status.
    pub(crate) fn get(&self, path: &str, accept: &str) -> Result<Answer, Failure> {
        let mut request = self.agent.get(format!("{}/{path}", self.base)).header("accept", accept);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", **key));
        }
        self.answer(request.call())
    }

    /// `POST` below the ledger's prefix, whatever the status.
    pub(crate) fn post(
        &self,
        path: &str,
        content_type: &str,
        extra: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Failure> {
        let mut request =
            self.agent.post(format!("{}/{path}", self.base)).header("content-type", content_type);
        for (name, value) in extra {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", **key));
        }
        self.answer(request.send(body))
    }

    fn answer(&self, result: Result<Response<ureq::Body>, ureq::Error>) -> Result<Answer, Failure> {
        let response = result.map_err(|error| {
            Failure::new(format!("{}: {error}; is the server running there?", self.root))
        })?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after_s = retry_after.and_then(|seconds| seconds.parse().ok());
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(ANSWER_BYTES_MAX + 1);
        reader
            .read_to_end(&mut body)
            .map_err(|error| Failure::new(format!("{}: {error}", self.root)))?;
        if u64::try_from(body.len()).unwrap_or(u64::MAX) > ANSWER_BYTES_MAX {
            return Err(Failure::new(format!(
                "{}: the answer is over {ANSWER_BYTES_MAX} bytes",
                self.root
            )));
        }
        Ok(Answer { status, body, retry_after_s })
    }
}

impl Answer {
    /// The body where the request succeeded, otherwise the problem as a sentence.
    pub(crate) fn good(self) -> Result<Vec<u8>, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        Err(Failure::new(problem_sentence(self.status, &self.body)))
    }
}

/// What a problem answer says, for a person.
pub(crate) fn problem_sentence(status: u16, body: &[u8]) -> String {
    let Ok(problem) = serde_json::from_slice::<serde_json::Value>(body) else {
        return format!("the server answered {status} without saying why");
    };
    let text =
        |name: &str| problem.get(name).and_then(serde_json::Value::as_str).unwrap_or("").to_owned();
    let mut sentence = format!("{}: {} ({status} {})", text("title"), text("detail"), text("code"));
    if let Some(errors) = problem.get("errors").and_then(serde_json::Value::as_array) {
        for error in errors.iter().take(5) {
            let pointer = error.get("pointer").and_then(serde_json::Value::as_str).unwrap_or("");
            if !pointer.is_empty() {
                sentence.push_str("\n  at ");
                sentence.push_str(pointer);
            }
            if let Some(detail) = error.get("detail").and_then(serde_json::Value::as_str) {
                let item = error.get("item").map_or(String::new(), |item| format!("item {item}: "));
                let _ = write!(sentence, "\n  {item}{detail}");
            }
        }
    }
    sentence
}

/// Reads an API key file of one line.
pub(crate) fn read_key(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    let key = Zeroizing::new(text.trim().to_owned());
    if key.lines().count() != 1 || !key.starts_with("cf_") {
        return Err(Failure::new(format!("{}: not an API key file (one line, cf_…)", path.display())));
    }
    Ok(key)
}
