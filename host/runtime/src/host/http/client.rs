//! The clients that all plugins share, and what their errors tell a guest.
//!
//! A client is a pool of warm connections and a set of rules for making new ones. Grants with other rules (may names
//! lead to private addresses?) get another client, so that no connection made under one rule serves under another.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use wasmtime_wasi_http::Error;

use crate::address::{CheckedResolver, RefusedName, UnknownName};
use crate::destination::HttpGrant;

/// A site that does not answer a connection within this is down as far as one call is concerned.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections are given up before common servers (60 s and more) do, so that none dies under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// One client for each set of rules.
pub(crate) struct Clients {
    public: reqwest::Client,
    private: reqwest::Client,
}

impl Clients {
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        Ok(Self {
            public: client(false)?,
            private: client(true)?,
        })
    }

    pub(crate) fn of(&self, grant: &HttpGrant) -> reqwest::Client {
        if grant.private {
            self.private.clone()
        } else {
            self.public.clone()
        }
    }
}

fn client(private: bool) -> Result<reqwest::Client, reqwest::Error> {
    builder(private).build().or_else(|error| {
        // A machine without any certificate authority can still reach sites over plain HTTP.
        tracing::warn!(%error, "no certificate authorities found on this machine: requests over https will fail");
        builder(private).tls_certs_only([]).build()
    })
}

fn builder(private: bool) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .dns_resolver(Arc::new(CheckedResolver { private }))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
}

/// The name led where it must not.
pub(super) fn refused_name(error: &reqwest::Error) -> Option<&RefusedName> {
    cause::<RefusedName>(error)
}

/// The code that a guest sees, chosen so that SDKs can tell "down" from "refused" from "slow".
pub(super) fn translate(error: &reqwest::Error) -> Error {
    if refused_name(error).is_some() {
        return Error::DestinationIpProhibited;
    }
    if cause::<UnknownName>(error).is_some() {
        return Error::DnsError {
            rcode: Some("the name does not resolve".to_owned()),
            info_code: None,
        };
    }
    if error.is_connect() && error.is_timeout() {
        return Error::ConnectionTimeout;
    }
    if error.is_timeout() {
        return Error::HttpResponseTimeout;
    }
    let io = cause::<std::io::Error>(error).map(std::io::Error::kind);
    match io {
        Some(std::io::ErrorKind::ConnectionRefused) => Error::ConnectionRefused,
        Some(std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe) => Error::ConnectionTerminated,
        Some(std::io::ErrorKind::InvalidData) if error.is_connect() => Error::TlsCertificateError,
        _ if error.is_connect() => Error::DestinationUnavailable,
        _ if error.is_request() => Error::ConnectionTerminated,
        _ => Error::HttpProtocolError,
    }
}

/// The first error of this type in the chain of causes.
fn cause<'e, T: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref::<T>())
}
