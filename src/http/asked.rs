//! What a handler that needs a key is given of its request.
//!
//! In scope: the server, the parameters, the headers and the caller, taken apart once for all handlers. Out
//! of scope: which roles may what ([`super::auth`]), bodies ([`super::body`]). Invariant: a key's secret is
//! hashed once a request: what the front found is what the handler goes by.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::ledger::Ledger;

use super::Server;
use super::auth::{self, Action};
use super::keys::KeyRecord;
use super::params::Params;
use super::problem::Problem;

/// The key of a request as the front found it: a request's extension.
#[derive(Debug, Clone)]
pub(crate) struct FoundKey(pub(crate) Result<Arc<KeyRecord>, Problem>);

/// A request without its path and body.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The server it came to.
    pub(crate) server: Arc<Server>,
    /// Its query parameters.
    pub(crate) params: Params,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    key: Result<Arc<KeyRecord>, Problem>,
}

impl FromRequestParts<Arc<Server>> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Infallible> {
        let params = Params::from_request_parts(parts, server).await?;
        let found = parts.extensions.remove::<FoundKey>();
        let key = found.map_or_else(|| auth::key(server, &parts.headers), |FoundKey(key)| key);
        let headers = std::mem::take(&mut parts.headers);
        Ok(Self { server: Arc::clone(server), params, headers, key })
    }
}

impl Asked {
    /// The caller, where its key allows `action` on `ledger`, or on the server where there is none.
    pub(crate) fn caller(
        &self,
        ledger: Option<&str>,
        action: Action,
    ) -> Result<Arc<KeyRecord>, Problem> {
        auth::authorize(self.key.clone()?, ledger, action)
    }

    /// Caller and ledger, where the key allows `action`. The parameters are still to be looked at.
    pub(crate) fn in_ledger(
        &self,
        ledger: &str,
        action: Action,
    ) -> Result<(Arc<KeyRecord>, Arc<Ledger>), Problem> {
        let key = self.caller(Some(ledger), action)?;
        Ok((key, self.server.ledger(ledger)?))
    }

    /// Caller and ledger, where the key allows `action` and the parameters are known.
    pub(crate) fn enter(
        &self,
        ledger: &str,
        action: Action,
        known: &[&str],
    ) -> Result<(Arc<KeyRecord>, Arc<Ledger>), Problem> {
        let entered = self.in_ledger(ledger, action)?;
        self.params.allow_only(known)?;
        Ok(entered)
    }

    /// The caller of a request that is about no one ledger and takes no parameters.
    pub(crate) fn enter_server(&self, action: Action) -> Result<Arc<KeyRecord>, Problem> {
        let key = self.caller(None, action)?;
        self.params.allow_only(&[])?;
        Ok(key)
    }
}
