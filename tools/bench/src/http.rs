//! Single requests for what surrounds a measurement: making keys, asking for metrics.
//!
//! In scope: one request on a connection of its own. Out of scope: load. Invariant: none is sent while
//! something is measured, unless the bench says so.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Fallible;

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

/// `GET`.
pub(crate) fn get(url: &str, path: &str, key: Option<&str>) -> Fallible<Answer> {
    send(url, &Method::GET, path, key, "")
}

/// `POST` of JSON.
pub(crate) fn post(url: &str, path: &str, key: Option<&str>, body: &str) -> Fallible<Answer> {
    send(url, &Method::POST, path, key, body)
}

fn send(url: &str, method: &Method, path: &str, key: Option<&str>, body: &str) -> Fallible<Answer> {
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let address: SocketAddr = host.parse()?;
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let request = request
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_owned())))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move { drop(connection.await) });
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        Ok(Answer { status, body: answer.into_body().collect().await?.to_bytes() })
    })
}
