//! Talking to a server.
//!
//! In scope: [`crate::client::transport`] for commands: from flags to a ledger, from errors to
//! failures. Out of scope: what is asked. Invariant: no second HTTP client is made here.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::client::transport::{self, Answer as Answered, ApiKey, Roots, Transport, TransportError};
use crate::client::{Builder, Client as Producer, ClientError};

use super::verify::verifier_key;
use super::{EXIT_FAILED, Failure, ServerArgs, mistakes};

pub(crate) use crate::client::transport::problem_sentence;

/// What a producer keeps, and checks receipts against.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeepArgs {
    /// Keep events in this directory until the server has acknowledged them: in the clear, readable by
    /// their owner alone.
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<PathBuf>,
    /// Keep receipts in this directory, one NDJSON file a day, and the newest checkpoint seen.
    #[arg(long, value_name = "DIR")]
    pub(crate) receipts: Option<PathBuf>,
    /// The verifier key, or a file with it, which receipts and checkpoints are checked against.
    #[arg(long, value_name = "VKEY_OR_FILE")]
    pub(crate) verifier_key: Option<String>,
}

impl KeepArgs {
    /// Whether any of them was given.
    pub(crate) fn is_used(&self) -> bool {
        self.spool.is_some() || self.receipts.is_some() || self.verifier_key.is_some()
    }

    /// A producer's client in the making, over a transport that is there already.
    pub(crate) fn builder(&self, client: &Client) -> Result<Builder, Failure> {
        let mut builder = Producer::builder("").transport(client.transport.clone());
        if let Some(dir) = &self.spool {
            builder = builder.spool_dir(dir);
        }
        if let Some(dir) = &self.receipts {
            builder = builder.receipts_dir(dir);
        }
        if let Some(key) = &self.verifier_key {
            builder = builder.verifier_key(verifier_key(key)?);
        }
        Ok(builder)
    }
}

/// Why a producer's client ended: tampering is a failed verification.
pub(crate) fn failure_of(error: &ClientError) -> Failure {
    match error {
        ClientError::Tampered(_) => Failure { code: EXIT_FAILED, message: error.to_string() },
        _ => Failure::new(error.to_string()),
    }
}

/// A server's ledger.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    transport: Transport,
    /// The ledger's name, where the address leads to one.
    ledger: String,
    has_key: bool,
}

/// An answer with its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Seconds after which the server asks to be tried again.
    pub(crate) retry_after_s: Option<u64>,
    /// Who asked, to find out more about a refusal.
    by: Client,
}

impl Client {
    /// A client of the server and ledger that `args` name.
    pub(crate) fn new(args: &ServerArgs) -> Result<Self, Failure> {
        mistakes::check_url(&args.url)?;
        let key = args.key_file.as_deref().map(read_key).transpose()?;
        let roots = read_roots(args.ca_file.as_deref())?;
        Ok(Self::at(&args.url, &args.ledger, key, roots.as_ref()))
    }

    /// A client of `url`, which is a server's root or a ledger's prefix.
    pub(crate) fn at(url: &str, ledger: &str, key: Option<ApiKey>, roots: Option<&Roots>) -> Self {
        let named =
            url.trim_end_matches('/').split_once("/v1/ledgers/").map_or(ledger, |(_, name)| name);
        let (ledger, has_key) = (named.to_owned(), key.is_some());
        Self { transport: Transport::to_ledger(url, &ledger, key, roots), ledger, has_key }
    }

    /// A client of the log that is served directly below `url`.
    pub(crate) fn below(url: &str, key: Option<ApiKey>, roots: Option<&Roots>) -> Self {
        let has_key = key.is_some();
        Self { transport: Transport::below(url, key, roots), ledger: String::new(), has_key }
    }

    /// A request to a path below the server's root, with its JSON answer; null where it has none.
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<serde_json::Value, Failure> {
        let body = body.map(|body| body.to_string().into_bytes());
        let bytes = self.answered(self.transport.call(method, path, body))?.good()?;
        if bytes.is_empty() { Ok(serde_json::Value::Null) } else { Ok(serde_json::from_slice(&bytes)?) }
    }

    /// `GET` below the ledger's prefix, whatever the status.
    pub(crate) fn get(&self, path: &str, accept: &str) -> Result<Answer, Failure> {
        self.answered(self.transport.get(path, accept))
    }

    /// `GET` of an answer that does not end, below the ledger's prefix.
    pub(crate) fn open(
        &self,
        path: &str,
        extra: &[(&str, &str)],
    ) -> Result<Result<Box<dyn Read + Send>, Answer>, Failure> {
        match self.transport.open(path, extra) {
            Ok(Ok(reader)) => Ok(Ok(reader)),
            Ok(Err(answer)) => self.answered(Ok(answer)).map(Err),
            Err(error) => Err(mistakes::unanswered(&error)),
        }
    }

    /// `POST` below the ledger's prefix, whatever the status.
    pub(crate) fn post(
        &self,
        path: &str,
        content_type: &str,
        extra: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Failure> {
        self.answered(self.transport.post(path, content_type, extra, body))
    }

    fn answered(&self, answer: Result<Answered, TransportError>) -> Result<Answer, Failure> {
        let Answered { status, body, retry_after_s, .. } =
            answer.map_err(|error| mistakes::unanswered(&error))?;
        Ok(Answer { status, body, retry_after_s, by: self.clone() })
    }

    /// The names of the ledgers that the key may see; none where the server does not say.
    fn ledgers(&self) -> Option<Vec<String>> {
        let answer = self.transport.call("GET", "/v1/ledgers", None).ok()?;
        if answer.is_good() { mistakes::ledger_names(&answer.body) } else { None }
    }
}

impl Answer {
    /// The body where the request succeeded, otherwise the problem as a sentence.
    pub(crate) fn good(self) -> Result<Vec<u8>, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        Err(Failure::new(self.sentence()))
    }

    /// What a refusal says, and what can be done about it.
    pub(crate) fn sentence(&self) -> String {
        let said = problem_sentence(self.status, &self.body);
        let problem = serde_json::from_slice::<serde_json::Value>(&self.body).unwrap_or_default();
        let code = problem.get("code").and_then(serde_json::Value::as_str).unwrap_or_default();
        let by = &self.by;
        let more = mistakes::refused(self.status, code, by.has_key, &by.ledger, || by.ledgers());
        if more.is_empty() { said } else { format!("{said}\n  {more}") }
    }
}

/// Reads an API key file of one line.
pub(crate) fn read_key(path: &Path) -> Result<ApiKey, Failure> {
    transport::read_key(path).map_err(|error| mistakes::key_file(path, &error))
}

/// Reads the certificate authorities to trust instead of the public ones.
pub(crate) fn read_roots(path: Option<&Path>) -> Result<Option<Roots>, Failure> {
    Ok(path.map(Roots::read).transpose()?)
}
