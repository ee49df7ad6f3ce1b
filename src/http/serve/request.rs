//! One request before it reaches the routes: its address, its peer, its body's limits.
//!
//! In scope: what a handler cannot see or must not be reached by. Out of scope: keys and rates
//! ([`crate::http`]'s `front`). Invariant: a connection counts as waiting again only once its answer's
//! body is gone.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response, header};
use axum::response::IntoResponse as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tower::ServiceExt as _;

use crate::http::problem::{self, Problem};

use super::connection::Watch;
use super::slow::{BodyLimits, Share, SlowBody};

/// Bytes of a request's path and query at most. The longest good one is a search with every
/// condition set; no value is over 256 bytes before its percent-encoding.
const URI_BYTES_MAX: usize = 16 * 1024;

/// Where a request came from: the other end of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The requests of one connection.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    pub(super) router: Router,
    pub(super) body: BodyLimits,
    pub(super) peer: Peer,
    pub(super) watch: Arc<Watch>,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.watch.request_begins();
        let this = self.clone();
        Box::pin(async move {
            let ends = Ends(Arc::clone(&this.watch));
            let response = this.answer(request).await;
            Ok(response.map(|body| Answer { body, _ends: ends }))
        })
    }
}

impl Requests {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let length = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        if length > URI_BYTES_MAX {
            let detail = format!("path and query have {length} bytes; at most {URI_BYTES_MAX} are read");
            let problem = Problem::new(problem::URI_TOO_LONG, detail);
            return problem.with("limit_bytes", URI_BYTES_MAX).into_response();
        }
        // Held until the answer is there: until then the handler may hold the body.
        let share = Share::of(&self.body.memory);
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(self.peer);
        let compressed = is_compressed(&parts.headers);
        let body = SlowBody::new(body, self.body, Arc::clone(&share), compressed);
        let answer = self.router.oneshot(Request::from_parts(parts, Body::new(body))).await;
        drop(share);
        match answer {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn is_compressed(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding.as_bytes() != b"identity")
}

/// Tells the connection that its answer is gone, whether it was sent or given up.
#[derive(Debug)]
struct Ends(Arc<Watch>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.answer_ends();
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    _ends: Ends,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
