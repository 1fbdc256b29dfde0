//! Addresses that no request may reach, whoever granted what, and the resolver that keeps names away from them.
//!
//! A name is resolved here, checked here, and connected to at the checked address, so that a name server cannot answer
//! one thing to the check and another to the connection.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Amazon's metadata service over IPv6; the others sit in the link-local ranges.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);

/// Why an address is never connected to.
pub(crate) fn refused(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address, where clouds keep their metadata service"),
        IpAddr::V4(v4) if v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast() => {
            Some("no address of one host")
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(METADATA_V6) => Some("a cloud's metadata service"),
        IpAddr::V6(v6) if v6.is_unspecified() || v6.is_multicast() => Some("no address of one host"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// A name leads where no request may go.
#[derive(Debug, thiserror::Error)]
#[error("{name} resolves to {address}, {why}")]
pub(crate) struct RefusedName {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    pub(crate) why: &'static str,
}

/// A name does not resolve.
#[derive(Debug, thiserror::Error)]
#[error("{name} does not resolve")]
pub(crate) struct UnknownName {
    name: String,
    source: std::io::Error,
}

/// The system's resolver with a check of every answer.
#[derive(Debug)]
pub(crate) struct CheckedResolver;

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str().to_owned();
            // The port is a placeholder that reqwest replaces by the URL's.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map(Vec::from_iter);
            let addresses = found.map_err(|source| UnknownName {
                name: name.clone(),
                source,
            })?;
            check(&name, &addresses)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// One bad answer among good ones refuses all: it is a sign that somebody plays with the name.
fn check(name: &str, addresses: &[SocketAddr]) -> Result<(), RefusedName> {
    for socket in addresses {
        let address = socket.ip();
        let loopback = address.to_canonical().is_loopback() && name != "localhost" && !name.ends_with(".localhost");
        let why = refused(address).or(loopback.then_some("this host itself; grant the address or `localhost` instead"));
        if let Some(why) = why {
            return Err(RefusedName {
                name: name.to_owned(),
                address,
                why,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_and_link_local_are_never_reached() {
        for bad in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "0.0.0.0",
            "::",
            "224.0.0.1",
        ] {
            assert!(refused(bad.parse().unwrap()).is_some(), "{bad}");
        }
        for good in [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "fd00::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(refused(good.parse().unwrap()).is_none(), "{good}");
        }
    }

    #[test]
    fn a_name_must_not_lead_to_this_host() {
        let here = ["127.0.0.1:0".parse().unwrap()];
        assert!(check("manager.example", &here).is_err());
        assert!(check("localhost", &here).is_ok());
        assert!(
            check(
                "manager.example",
                &["10.1.2.3:0".parse().unwrap(), "169.254.169.254:0".parse().unwrap()]
            )
            .is_err()
        );
    }
}
