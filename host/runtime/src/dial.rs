//! Makes connections to endpoints: resolves and checks names, connects to what was checked, and does TLS.
//!
//! Certificates are read anew for each connection, so that they can be replaced while the daemon runs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use url::Host;

use crate::address;
use crate::endpoint::{Address, Endpoint, Tls};
use crate::secret;
use crate::transport::Socket;

/// An endpoint that does not answer within this is down as far as one call is concerned.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("{0}")]
    Refused(String),
    #[error("{host} does not resolve: {error}")]
    UnknownName { host: String, error: io::Error },
    #[error("{0}")]
    Unreachable(io::Error),
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("{0}")]
    Certificates(String),
    #[error("TLS: {0}")]
    Tls(io::Error),
}

/// Dropped: the connection is not made, or closed.
pub(crate) async fn dial(endpoint: &Endpoint, port: Option<u16>) -> Result<Box<dyn Socket>, DialError> {
    let made = tokio::time::timeout(CONNECT_TIMEOUT, connect(endpoint, port)).await;
    made.map_err(|_| DialError::Timeout)?
}

async fn connect(endpoint: &Endpoint, port: Option<u16>) -> Result<Box<dyn Socket>, DialError> {
    match endpoint {
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(DialError::Unreachable)?;
            Ok(Box::new(stream))
        }
        Endpoint::Tcp(address) => Ok(Box::new(tcp(address, port).await?)),
        Endpoint::Tls(address, tls) => {
            let config = client(tls).await?;
            let name = server_name(address, tls)?;
            let stream = tcp(address, port).await?;
            let secured = TlsConnector::from(config).connect(name, stream).await;
            Ok(Box::new(secured.map_err(DialError::Tls)?))
        }
    }
}

async fn tcp(address: &Address, port: Option<u16>) -> Result<TcpStream, DialError> {
    let port = port.unwrap_or(address.ports.0);
    let stream = TcpStream::connect(resolve(address, port).await?.as_slice()).await;
    let stream = stream.map_err(DialError::Unreachable)?;
    // Requests are small and waited for.
    stream.set_nodelay(true).map_err(DialError::Unreachable)?;
    Ok(stream)
}

async fn resolve(address: &Address, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let literal = |ip: IpAddr| match address::refused(ip) {
        Some(why) => Err(DialError::Refused(format!("{ip} is {why}"))),
        None => Ok(vec![SocketAddr::new(ip, port)]),
    };
    match address.host() {
        Host::Ipv4(v4) => literal((*v4).into()),
        Host::Ipv6(v6) => literal((*v6).into()),
        Host::Domain(name) => {
            let found = tokio::net::lookup_host((name.as_str(), port)).await;
            let found: Vec<_> = found
                .map_err(|error| DialError::UnknownName {
                    host: name.clone(),
                    error,
                })?
                .collect();
            address::check(name, &found, true).map_err(|refused| DialError::Refused(refused.to_string()))?;
            Ok(found)
        }
    }
}

fn server_name(address: &Address, tls: &Tls) -> Result<ServerName<'static>, DialError> {
    let host = match address.host() {
        Host::Ipv4(v4) => v4.to_string(),
        Host::Ipv6(v6) => v6.to_string(),
        Host::Domain(name) => name.clone(),
    };
    let name = tls.server_name.clone().unwrap_or(host);
    ServerName::try_from(name.clone()).map_err(|_| DialError::Certificates(format!("{name:?} is no server name")))
}

async fn client(tls: &Tls) -> Result<Arc<ClientConfig>, DialError> {
    let tls = tls.clone();
    let read = tokio::task::spawn_blocking(move || read_client(&tls)).await;
    read.map_err(|error| DialError::Certificates(error.to_string()))?
}

fn read_client(tls: &Tls) -> Result<Arc<ClientConfig>, DialError> {
    let wrong = |error: rustls::Error| DialError::Certificates(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?;
    let builder = match &tls.ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(wrong)?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder.with_platform_verifier().map_err(wrong)?,
    };
    let config = match &tls.client {
        Some((certificate, key)) => {
            let read = secret::from_file(key).map_err(|error| DialError::Certificates(error.to_string()))?;
            let key =
                PrivateKeyDer::from_pem_slice(read.expose()).map_err(|error| unreadable(key, "private key", &error))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .map_err(wrong)?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unreadable(path, "certificate", &error))?;
    if found.is_empty() {
        return Err(DialError::Certificates(format!(
            "{} holds no certificate",
            path.display()
        )));
    }
    Ok(found)
}

fn unreadable(path: &Path, what: &str, error: &dyn std::error::Error) -> DialError {
    DialError::Certificates(format!("{} gives no {what}: {error}", path.display()))
}
