//! What stands before the routes and after them: limits, pages of other origins, conditional reads.
//!
//! In scope: what holds for every request alike. Out of scope: what a handler answers. Invariants: a
//! request over a limit reaches no handler; an address that guesses keys costs no hash; 304 is answered
//! only to the very body that a 200 would have.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::clock::Clock;
use crate::config::Config;
use crate::log::hash::sha256;

use super::Server;
use super::asked::FoundKey;
use super::auth;
use super::limits::{Caller, Limits};
use super::problem::Problem;
use super::serve::{Peer, peer_group};

/// Seconds for which a browser may keep the answer to a preflight: two hours, the most that browsers heed.
const PREFLIGHT_AGE_S: &str = "7200";

/// Headers that a page of another origin may send and read.
const CORS_REQUEST_HEADERS: &str = "authorization, content-type, content-encoding, if-none-match, \
    last-event-id, prefer, ce-specversion, ce-id, ce-source, ce-type, ce-time, ce-subject, ce-sequence";
const CORS_RESPONSE_HEADERS: &str =
    "etag, location, retry-after, ratelimit, ratelimit-policy, idempotency-replayed";

/// What the front of a server needs to know.
#[derive(Debug)]
pub struct Front {
    /// Whether entry bundles need no key.
    pub(crate) public_bundles: bool,
    pub(crate) limits: Limits,
    origins: Vec<HeaderValue>,
    proxies: Vec<IpAddr>,
}

impl Front {
    /// The front that the settings ask for.
    ///
    /// # Errors
    /// A sentence for a proxy that is no IP address or an origin that no header can hold.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let proxy = |text: &String| {
            let parsed = text.parse::<IpAddr>().map(|address| address.to_canonical());
            parsed.map_err(|_| "proxies_trusted must list IP addresses, such as 192.0.2.1".to_owned())
        };
        let origin = |text: &String| {
            let good = text.contains("://") && !text.ends_with('/');
            HeaderValue::from_str(text).ok().filter(|_| good).ok_or_else(|| {
                "cors_origins must list origins, such as https://console.example".to_owned()
            })
        };
        Ok(Self {
            public_bundles: config.public_bundles,
            limits: Limits::new(config, clock),
            origins: config.cors_origins.iter().map(origin).collect::<Result<_, _>>()?,
            proxies: config.proxies_trusted.iter().map(proxy).collect::<Result<_, _>>()?,
        })
    }

    /// The address that a request is counted for: the peer of the connection or, where that is a proxy
    /// which is trusted to name it, the last address in `X-Forwarded-For` that is no such proxy.
    fn address(&self, request: &Request) -> IpAddr {
        let unknown = IpAddr::from([0, 0, 0, 0]);
        let peer = request.extensions().get::<Peer>().map_or(unknown, |Peer(address)| *address);
        if !self.proxies.contains(&peer) {
            return peer_group(peer);
        }
        let forwarded: Vec<&str> = request
            .headers()
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        let named = forwarded.iter().rev().map_while(|text| text.trim().parse::<IpAddr>().ok());
        let first_stranger = named.map(|ip| ip.to_canonical()).find(|ip| !self.proxies.contains(ip));
        peer_group(first_stranger.unwrap_or(peer))
    }

    /// Who makes a request, where it may.
    fn admit(&self, server: &Server, request: &mut Request) -> Result<Option<Caller>, Problem> {
        let keyed = request.headers().contains_key(header::AUTHORIZATION);
        // Health is asked often and by many; only its details need a key, which is then counted.
        match request.uri().path() {
            "/livez" | "/startupz" => return Ok(None),
            "/readyz" if !keyed => return Ok(None),
            _ => {}
        }
        let address = self.address(request);
        let caller = if keyed {
            let guesser = (address, auth::claimed(server, request.headers()));
            self.limits.may_try_key(guesser)?;
            let found = auth::key(server, request.headers());
            let caller = if let Ok(key) = &found {
                Caller::Key(key.number)
            } else {
                self.limits.key_failed(guesser);
                Caller::Address(address)
            };
            request.extensions_mut().insert(FoundKey(found));
            caller
        } else {
            Caller::Address(address)
        };
        self.limits.request(caller).map(|()| Some(caller))
    }

    fn may_call(&self, origin: &HeaderValue) -> bool {
        self.origins.contains(origin)
    }
}

/// The one layer around every route.
pub(crate) async fn front(
    State(server): State<Arc<Server>>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let began_us = server.clock.monotonic_us();
    let method = request.method().clone();
    let response = pass(&server, request, next).await;
    let duration_us = server.clock.monotonic_us().saturating_sub(began_us);
    let route = matched.as_ref().map(MatchedPath::as_str);
    server.stats.answered(&method, route, &response, duration_us);
    response
}

async fn pass(server: &Server, mut request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let public = is_public(request.uri().path());
    let allowed = origin.filter(|origin| public || server.front.may_call(origin));
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let caller = match server.front.admit(server, &mut request) {
        Ok(caller) => caller,
        Err(problem) => return share(problem.into_response(), allowed.as_ref(), public),
    };
    if preflight {
        return share(preflight_answer(allowed.is_some(), public), allowed.as_ref(), public);
    }
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let wanted_unless: Vec<HeaderValue> =
        request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    let mut response = next.run(request).await;
    if read {
        response = unless_known(response, &wanted_unless);
    }
    if let Some((policy, state)) = caller.and_then(|caller| server.front.limits.headers(caller)) {
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("ratelimit-policy"), policy);
        headers.insert(HeaderName::from_static("ratelimit"), state);
    }
    share(response, allowed.as_ref(), public)
}

/// Whether a path is meant for every web page: the public part of a log, and the description of the API.
fn is_public(path: &str) -> bool {
    let below_ledger =
        path.strip_prefix("/v1/ledgers/").and_then(|rest| rest.split_once('/')).map(|(_, rest)| rest);
    match below_ledger {
        Some(rest) => rest == "checkpoint" || rest.starts_with("tile/"),
        None => matches!(path, "/openapi.json" | "/docs" | "/livez" | "/readyz" | "/startupz"),
    }
}

fn preflight_answer(allowed: bool, public: bool) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if allowed {
        let methods = if public { "GET, HEAD" } else { "GET, HEAD, POST, PUT, PATCH, DELETE" };
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        let may_send = HeaderValue::from_static(CORS_REQUEST_HEADERS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, may_send);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_AGE_S));
    }
    response
}

/// Says which pages may read an answer. Public ones are for all, whoever asks, so that caches keep one copy.
fn share(mut response: Response, allowed: Option<&HeaderValue>, public: bool) -> Response {
    let headers = response.headers_mut();
    if public {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if public || allowed.is_some() {
        let may_read = HeaderValue::from_static(CORS_RESPONSE_HEADERS);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, may_read);
    }
    response
}

/// The validator of an answer: a hash of its body. An event's body depends on what the caller may see and
/// on what was erased since, so that its leaf hash alone would not do.
pub(crate) fn etag(body: &[u8]) -> HeaderValue {
    let hash = sha256(body).to_string();
    let short = hash.get(..32).unwrap_or(&hash);
    HeaderValue::from_str(&format!("\"{short}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The validator of an answer that says the same as another though not every byte is: a hash of what
/// matters (RFC 9110, 8.8.1).
pub(crate) fn weak_etag(what_matters: &[u8]) -> HeaderValue {
    let strong = etag(what_matters);
    let weak = format!("W/{}", strong.to_str().unwrap_or("\"\""));
    HeaderValue::from_str(&weak).unwrap_or(strong)
}

/// Adds [`etag`] to an answer and says that it may be kept, but must be asked for again before each use.
pub(crate) fn with_etag(mut response: Response, body_hash: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ETAG, body_hash);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.append(header::VARY, HeaderValue::from_static("authorization"));
    response
}

/// 304 in place of a body that the client has (RFC 9110, 13.1.2: compared weakly).
fn unless_known(response: Response, known: &[HeaderValue]) -> Response {
    let Some(tag) = response.headers().get(header::ETAG).filter(|_| response.status() == StatusCode::OK)
    else {
        return response;
    };
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let tag = strong(tag.to_str().unwrap_or(""));
    let names = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or("");
        text.trim() == "*" || text.split(',').any(|each| strong(each) == tag)
    };
    if tag.is_empty() || !known.iter().any(names) {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    without_content(&mut parts.headers);
    Response::from_parts(parts, Body::empty())
}

fn without_content(headers: &mut HeaderMap) {
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FixedClock;

    fn answer(etag: &'static str, known: &'static str) -> StatusCode {
        let response = ([(header::ETAG, etag)], "body").into_response();
        unless_known(response, &[HeaderValue::from_static(known)]).status()
    }

    #[test]
    fn known_bodies_are_not_sent_again() {
        for known in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert_eq!(answer("\"a\"", known), StatusCode::NOT_MODIFIED, "{known}");
        }
        for known in ["\"b\"", "a", "", "\"a\"b"] {
            assert_eq!(answer("\"a\"", known), StatusCode::OK, "{known}");
        }
        assert_ne!(etag(b"masked"), etag(b"open"));
    }

    #[test]
    fn only_a_trusted_proxy_names_the_peer() {
        let config = Config { proxies_trusted: vec!["192.0.2.9".to_owned()], ..Config::default() };
        let front = Front::new(&config, Arc::new(FixedClock::at(0))).unwrap();
        let asked = |peer: &str, forwarded: &str| {
            let request = Request::builder().header("x-forwarded-for", forwarded).uri("/");
            let mut request = request.body(Body::empty()).unwrap();
            request.extensions_mut().insert(Peer(peer.parse().unwrap()));
            front.address(&request).to_string()
        };
        assert_eq!(asked("192.0.2.1", "198.51.100.1"), "192.0.2.1", "not a proxy of ours");
        assert_eq!(asked("192.0.2.9", "6.6.6.6, 198.51.100.1"), "198.51.100.1", "the proxy's own entry");
        assert_eq!(asked("192.0.2.9", "198.51.100.1, 192.0.2.9"), "198.51.100.1");
        assert_eq!(asked("192.0.2.9", "nonsense"), "192.0.2.9");
        for (proxies, origins) in [(&["10.0.0.0/8"][..], &[][..]), (&[], &["console.example"])] {
            let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
            let config = Config {
                proxies_trusted: list(proxies),
                cors_origins: list(origins),
                ..Config::default()
            };
            assert!(Front::new(&config, Arc::new(FixedClock::at(0))).is_err());
        }
    }

    #[test]
    fn public_paths_are_few() {
        assert!(is_public("/v1/ledgers/main/checkpoint"));
        assert!(is_public("/v1/ledgers/main/tile/0/000"));
        for path in ["/v1/ledgers/main/events", "/v1/keys", "/v1/ledgers/checkpoint", "/metrics"] {
            assert!(!is_public(path), "{path}");
        }
    }
}
