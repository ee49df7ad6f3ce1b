//! The HTTP client of the project: requests to one ledger, bounded in length and in time.
//!
//! In scope: addresses, the caller's key, TLS with roots of the caller's choice, bounded answers,
//! problems turned into sentences. Out of scope: what is asked, and whether it is asked again.
//! Invariants: the key is read from a file and never printed; an answer that is cut off is an error,
//! never a shorter answer.

use std::fmt::{self, Write as _};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, Request, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use zeroize::Zeroizing;

/// Bytes of one answer at most: a full tile bundle is 16 MiB, a page of 1,000 full events 64 MiB.
pub const ANSWER_BYTES_MAX: u64 = 128 << 20;

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How long one request may take from its first byte to the last of its answer: 8 MiB at 1 Mbit/s
/// take 67 seconds.
const REQUEST_MAX: Duration = Duration::from_mins(2);

/// Longest key or certificate file that is read: a bundle of 150 roots has 220 KiB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a ledger's path begins with below the server's root.
const LEDGERS: &str = "/v1/ledgers/";

/// An API key, which no `Debug` shows.
pub type ApiKey = Zeroizing<String>;

/// Why a request got no answer, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection, no answer in time, or an answer that broke off.
    #[error("{root}: {reason}; is the server running there?")]
    Unanswered {
        /// The server's address.
        root: String,
        /// What the network or the TLS layer says.
        reason: String,
    },
    /// The answer is longer than any answer may be.
    #[error("{root}: the answer is over {limit_bytes} bytes")]
    TooLong {
        /// The server's address.
        root: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// A file with a key or with certificates cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// The certificate authorities that a server's certificate may come from.
#[derive(Clone, Debug)]
pub struct Roots(RootCerts);

impl Roots {
    /// Reads a file of PEM certificates. They replace the ones that come with the program.
    ///
    /// # Errors
    /// [`TransportError::File`] where it cannot be read or holds no certificate.
    pub fn read(path: &Path) -> Result<Self, TransportError> {
        let failure = |reason: String| TransportError::File { path: path.to_owned(), reason };
        let pem = read_bounded(path)?;
        let mut certificates = Vec::new();
        for item in parse_pem(&pem) {
            if let PemItem::Certificate(certificate) =
                item.map_err(|error| failure(error.to_string()))?
            {
                certificates.push(certificate);
            }
        }
        if certificates.is_empty() {
            return Err(failure("no PEM certificate in it".to_owned()));
        }
        Ok(Self(RootCerts::from(certificates)))
    }
}

/// Reads an API key file of one line.
///
/// # Errors
/// [`TransportError::File`] where it cannot be read or is none.
pub fn read_key(path: &Path) -> Result<ApiKey, TransportError> {
    let bytes = Zeroizing::new(read_bounded(path)?);
    let failure =
        |reason: &str| TransportError::File { path: path.to_owned(), reason: reason.to_owned() };
    let text = std::str::from_utf8(&bytes).map_err(|_| failure("not text"))?;
    let key = Zeroizing::new(text.trim().to_owned());
    if key.lines().count() != 1 || !key.starts_with("cf_") {
        return Err(failure("not an API key file (one line, cf_…)"));
    }
    Ok(key)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, TransportError> {
    let failure = |reason: String| TransportError::File { path: path.to_owned(), reason };
    let file = std::fs::File::open(path).map_err(|error| failure(error.to_string()))?;
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| failure(error.to_string()))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(failure(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// One ledger of one server, and who asks.
#[derive(Clone)]
pub struct Transport {
    agent: Agent,
    root: String,
    base: String,
    key: Option<ApiKey>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("base", &self.base).finish_non_exhaustive()
    }
}

/// An answer with its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
    /// Seconds after which the server asks to be tried again.
    pub retry_after_s: Option<u64>,
    /// The server's own time, in Unix seconds.
    pub date_s: Option<i64>,
}

impl Answer {
    /// Whether the request succeeded.
    #[must_use]
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What the answer says, for a person; see [`problem_sentence`].
    #[must_use]
    pub fn sentence(&self) -> String {
        problem_sentence(self.status, &self.body)
    }
}

impl Transport {
    /// The ledger at `url`, which is a server's root, to which `ledger` is added, or a ledger's prefix.
    #[must_use]
    pub fn to_ledger(url: &str, ledger: &str, key: Option<ApiKey>, roots: Option<&Roots>) -> Self {
        let url = url.trim_end_matches('/');
        let (root, base) = match url.split_once(LEDGERS) {
            Some((root, _)) => (root.to_owned(), url.to_owned()),
            None => (url.to_owned(), format!("{url}{LEDGERS}{ledger}")),
        };
        Self { agent: agent(roots), root, base, key }
    }

    /// What is served directly below `url`.
    #[must_use]
    pub fn below(url: &str, key: Option<ApiKey>, roots: Option<&Roots>) -> Self {
        let url = url.trim_end_matches('/');
        Self { agent: agent(roots), root: url.to_owned(), base: url.to_owned(), key }
    }

    /// The server's address, without the ledger.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// `GET` of a path below the ledger's prefix, whatever the status.
    ///
    /// # Errors
    /// [`TransportError`] where there is no whole answer.
    pub fn get(&self, path: &str, accept: &str) -> Result<Answer, TransportError> {
        let mut request = self.agent.get(format!("{}/{path}", self.base)).header("accept", accept);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", **key));
        }
        self.answer(request.call())
    }

    /// `GET` of a path below the ledger's prefix whose answer does not end: its head is waited for, its body
    /// is the caller's to read, without a limit of time. A failure comes with its whole body.
    ///
    /// # Errors
    /// [`TransportError`] where there is no answer.
    pub fn open(
        &self,
        path: &str,
        extra: &[(&str, &str)],
    ) -> Result<Result<Box<dyn Read + Send>, Answer>, TransportError> {
        let mut request = self.agent.get(format!("{}/{path}", self.base));
        for (name, value) in extra {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", **key));
        }
        let request = request.config().timeout_global(None).timeout_recv_response(Some(REQUEST_MAX));
        match request.build().call() {
            Ok(response) if response.status().is_success() => {
                Ok(Ok(Box::new(response.into_body().into_reader())))
            }
            other => self.answer(other).map(Err),
        }
    }

    /// `POST` to a path below the ledger's prefix, whatever the status.
    ///
    /// # Errors
    /// [`TransportError`] where there is no whole answer: the server may have done what was asked.
    pub fn post(
        &self,
        path: &str,
        content_type: &str,
        extra: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, TransportError> {
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

    /// A request with a JSON body to a path below the server's root, whatever the status.
    ///
    /// # Errors
    /// [`TransportError`] where there is no whole answer: the server may have done what was asked.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, TransportError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.root));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", **key));
        }
        let unsendable = |error: ureq::http::Error| TransportError::Unanswered {
            root: self.root.clone(),
            reason: error.to_string(),
        };
        match body {
            None => self.answer(self.agent.run(request.body(()).map_err(unsendable)?)),
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body);
                self.answer(self.agent.run(request.map_err(unsendable)?))
            }
        }
    }

    fn answer(
        &self,
        result: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer, TransportError> {
        let unanswered = |reason: String| TransportError::Unanswered { root: self.root.clone(), reason };
        let response = result.map_err(|error| unanswered(error.to_string()))?;
        let status = response.status().as_u16();
        let retry_after_s = retry_after_s(response.headers());
        let date_s = text_of(response.headers(), "date").and_then(second);
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(ANSWER_BYTES_MAX + 1);
        reader.read_to_end(&mut body).map_err(|error| unanswered(error.to_string()))?;
        if u64::try_from(body.len()).unwrap_or(u64::MAX) > ANSWER_BYTES_MAX {
            let root = self.root.clone();
            return Err(TransportError::TooLong { root, limit_bytes: ANSWER_BYTES_MAX });
        }
        Ok(Answer { status, body, retry_after_s, date_s })
    }
}

fn agent(roots: Option<&Roots>) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_global(Some(REQUEST_MAX));
    if let Some(roots) = roots {
        config = config.tls_config(TlsConfig::builder().root_certs(roots.0.clone()).build());
    }
    config.build().into()
}

/// `Retry-After` (RFC 9110 section 10.2.3) in seconds. A date is taken against the answer's own
/// `Date`, so that the two clocks need not agree.
fn retry_after_s(headers: &HeaderMap) -> Option<u64> {
    let value = text_of(headers, "retry-after")?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(seconds);
    }
    let wait = second(value)?.saturating_sub(second(text_of(headers, "date")?)?);
    u64::try_from(wait).ok()
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Unix seconds of a date as HTTP writes it.
fn second(text: &str) -> Option<i64> {
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(parsed.as_second())
}

/// What a problem answer (RFC 9457) says, for a person.
#[must_use]
pub fn problem_sentence(status: u16, body: &[u8]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_root_or_a_ledger() {
        let base = |url: &str| Transport::to_ledger(url, "main", None, None).base;
        assert_eq!(base("http://h:1/"), "http://h:1/v1/ledgers/main");
        assert_eq!(base("http://h:1/v1/ledgers/other"), "http://h:1/v1/ledgers/other");
        let given = Transport::to_ledger("http://h/v1/ledgers/x/", "main", None, None);
        assert_eq!((given.root(), given.base.as_str()), ("http://h", "http://h/v1/ledgers/x"));
    }

    #[test]
    fn the_key_is_not_shown() {
        let key = Some(Zeroizing::new("cf_1_secret".to_owned()));
        let transport = Transport::to_ledger("http://h", "main", key, None);
        assert!(!format!("{transport:?}").contains("secret"));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let headers = |pairs: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.insert(*name, value.parse().unwrap());
            }
            retry_after_s(&map)
        };
        assert_eq!(headers(&[("retry-after", "7")]), Some(7));
        let date = ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(headers(&[date, ("date", "Sun, 06 Nov 1994 08:49:07 GMT")]), Some(30));
        assert_eq!(headers(&[date, ("date", "Sun, 06 Nov 1994 09:49:07 GMT")]), None);
        assert_eq!(headers(&[("retry-after", "soon")]), None);
        assert_eq!(headers(&[]), None);
    }

    /// Answers one request over TLS with a certificate for `localhost`; returns the address and the
    /// certificate.
    fn tls_server() -> (String, String) {
        use std::io::Write as _;
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let config = std::sync::Arc::new(config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = rustls::ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
                let mut tls = rustls::StreamOwned::new(connection, stream.unwrap());
                let mut request = [0; 4096];
                // A client that trusts nobody here ends the handshake.
                if tls.read(&mut request).is_ok() {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
                    let _ = tls.write_all(answer).and_then(|()| tls.flush());
                }
            }
        });
        (address, made.cert.pem())
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test writes a certificate file")]
    fn a_server_is_believed_by_the_certificates_that_were_given() {
        let (address, pem) = tls_server();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, &pem).unwrap();
        let roots = Roots::read(&file).unwrap();
        let believed = Transport::below(&address, None, Some(&roots)).get("x", "*/*").unwrap();
        assert_eq!((believed.status, believed.body.as_slice()), (200, b"hi".as_slice()));
        let unknown = Transport::below(&address, None, None).get("x", "*/*").unwrap_err();
        assert!(matches!(unknown, TransportError::Unanswered { .. }), "{unknown}");
        std::fs::write(&file, "no certificate").unwrap();
        assert!(Roots::read(&file).unwrap_err().to_string().contains("no PEM certificate"));
        assert!(Roots::read(&dir.path().join("none")).is_err());
    }
}
