//! A proxy that lies: between the client and a real server, it does with each request what it is told.
//!
//! In scope: one HTTP/1.1 request a connection, forwarded, dropped, doubled, answered or cut. Out of
//! scope: what is asserted. Invariant: the address stays while the server behind it comes and goes.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::common::PATIENCE;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Method, path and version.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn is_append(&self) -> bool {
        self.line.starts_with("POST") && self.line.contains("/events?")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The events that were sent.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut text = String::new();
        if self.header("content-encoding") == Some("gzip") {
            flate2::read::GzDecoder::new(self.body.as_slice()).read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(self.body.clone()).unwrap();
        }
        text.lines().map(str::to_owned).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{}\r\nconnection: close\r\n", self.line);
        for (name, value) in self.headers.iter().filter(|(name, _)| name != "connection") {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// What is done with a request.
pub(crate) enum Act {
    Forward,
    /// The server does what is asked; the client never learns.
    Drop,
    Twice,
    /// Status, further header lines, body.
    Say(u16, &'static str, String),
    /// The server's answer without its last bytes; as they come, or with a length that fits.
    Cut(usize, Honest),
    /// Another body for the server than was sent.
    Forge(fn(&str) -> String),
    /// The server's answer with another body.
    Edit(Box<dyn Fn(&str) -> String>),
}

/// Whether a cut answer says so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Honest {
    Yes,
    No,
}

type Script = dyn Fn(&Request, usize) -> Act + Send + Sync;

struct Inner {
    upstream: Mutex<Option<String>>,
    script: Box<Script>,
    /// Append requests, in order.
    appends: Mutex<Vec<Request>>,
    ended: AtomicBool,
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy in front of nothing yet. `script` gets each append request with its number from 0.
    pub(crate) fn new(script: impl Fn(&Request, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            upstream: Mutex::new(None),
            script: Box::new(script),
            appends: Mutex::new(Vec::new()),
            ended: AtomicBool::new(false),
        });
        let shared = Arc::clone(&inner);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A connection that fails is what these tests are about.
                std::thread::spawn(move || stream.and_then(|stream| shared.serve(&stream)));
            }
        });
        Self { url, inner, thread: Some(thread) }
    }

    /// A proxy that passes everything on.
    pub(crate) fn honest() -> Self {
        Self::new(|_, _| Act::Forward)
    }

    /// What stands behind it from now on.
    pub(crate) fn lead_to(&self, address: Option<&str>) {
        *self.inner.upstream.lock().unwrap() = address.map(str::to_owned);
    }

    /// The append requests so far.
    pub(crate) fn appends(&self) -> Vec<Request> {
        self.inner.appends.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Inner {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = read(stream)?;
        let act = if request.is_append() {
            let mut appends = self.appends.lock().unwrap();
            appends.push(request.clone());
            (self.script)(&request, appends.len() - 1)
        } else {
            Act::Forward
        };
        match act {
            Act::Forward => reply(stream, &self.ask(&request)?),
            Act::Drop => {
                self.ask(&request)?;
                stream.shutdown(Shutdown::Both)
            }
            Act::Twice => {
                self.ask(&request)?;
                reply(stream, &self.ask(&request)?)
            }
            Act::Say(status, headers, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}");
                reply(stream, format!("{head}connection: close\r\n\r\n{body}").as_bytes())
            }
            Act::Cut(bytes, Honest::Yes) => {
                let answer = self.ask(&request)?;
                reply(stream, &answer[..answer.len() - bytes])
            }
            Act::Cut(bytes, Honest::No) => {
                self.rewritten(stream, &request, |body| body[..body.len() - bytes].to_owned())
            }
            Act::Forge(forge) => {
                let mut forged = request.clone();
                forged.body = forge(std::str::from_utf8(&request.body).unwrap()).into_bytes();
                forged.headers.retain(|(name, _)| name != "content-length");
                forged.headers.push(("content-length".to_owned(), forged.body.len().to_string()));
                reply(stream, &self.ask(&forged)?)
            }
            Act::Edit(edit) => self.rewritten(stream, &request, edit),
        }
    }

    fn rewritten(
        &self,
        stream: &TcpStream,
        request: &Request,
        edit: impl Fn(&str) -> String,
    ) -> io::Result<()> {
        let answer = self.ask(request)?;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.lines().next().unwrap();
        let body = edit(body);
        let length = body.len();
        let head = format!("{status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        reply(stream, format!("{head}{body}").as_bytes())
    }

    /// The server's answer, whole.
    fn ask(&self, request: &Request) -> io::Result<Vec<u8>> {
        let upstream = self.upstream.lock().unwrap().clone();
        let upstream = upstream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let mut stream = TcpStream::connect(upstream)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&request.bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

fn reply(mut stream: &TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer)?;
    stream.shutdown(Shutdown::Write)
}

fn read(stream: &TcpStream) -> io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: Vec<(String, String)> = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Request { line: lines.swap_remove(0), headers, body })
}
