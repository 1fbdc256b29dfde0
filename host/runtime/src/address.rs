//! Addresses that no request may reach, whoever granted what; addresses that want a word of the operator; and the
//! resolver that keeps names away from both.
//!
//! A name is resolved here, checked here, and connected to at the checked address, so that a name server cannot answer
//! one thing to the check and another to the connection. A grant that names a literal address means that address. A
//! name is in somebody else's hand: it leads to a private or loopback address only if the grant says `private`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Metadata services of clouds over IPv6 that are not link-local.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

/// Those over IPv4: one in the range of carriers' addresses, one of a host agent, an older one.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Why an address is never connected to.
pub(crate) fn refused(address: IpAddr) -> Option<&'static str> {
    match plain(address) {
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address, where clouds keep their metadata service"),
        IpAddr::V4(v4) if METADATA_V4.contains(&v4) => Some("a cloud's metadata service"),
        IpAddr::V6(v6) if METADATA_V6.contains(&v6) => Some("a cloud's metadata service"),
        IpAddr::V4(v4) if v4.octets().starts_with(&[0]) || v4.is_broadcast() || v4.is_multicast() => {
            Some("no address of one host")
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_unspecified() || v6.is_multicast() => Some("no address of one host"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Not on the public network: this host itself, or a site's own ranges.
fn is_private(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            // Carriers' addresses and those of test benches are private too (RFC 6598, RFC 2544).
            let shared = (first, second & 0xc0) == (100, 64) || (first, second & 0xfe) == (198, 18);
            v4.is_loopback() || v4.is_private() || shared
        }
        IpAddr::V6(v6) => {
            // The old site-local range, which some networks still have.
            let site_local = v6.segments().first().is_some_and(|first| first & 0xffc0 == 0xfec0);
            v6.is_loopback() || v6.is_unique_local() || site_local
        }
    }
}

/// An IPv6 address that a router or the system turns into an IPv4 one is that one: mapped, compatible, translated, NAT64
/// (also with a local prefix), 6to4.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else {
        return address.to_canonical();
    };
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) != (0, 0) && (high, low) != (0, 1) => v4(high, low),
        _ => IpAddr::V6(v6),
    }
}

/// A name leads where no request may go.
#[derive(Debug, thiserror::Error)]
#[error("{name} resolves to {address}, {why}")]
pub(crate) struct RefusedName {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    pub(crate) why: &'static str,
    /// A grant that says `private` would allow it.
    pub(crate) private: bool,
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
pub(crate) struct CheckedResolver {
    /// Private and loopback addresses are granted.
    pub(crate) private: bool,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let name = name.as_str().to_owned();
            // The port is a placeholder that reqwest replaces by the URL's.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map(Vec::from_iter);
            let addresses = found.map_err(|source| UnknownName {
                name: name.clone(),
                source,
            })?;
            check(&name, &addresses, private)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// One bad answer among good ones refuses all: it is a sign that somebody plays with the name.
pub(crate) fn check(name: &str, addresses: &[SocketAddr], private: bool) -> Result<(), RefusedName> {
    // Like a literal address, this name can mean only one thing.
    let local = name == "localhost" || name.ends_with(".localhost");
    for socket in addresses {
        let address = socket.ip();
        let never = refused(address);
        let hidden = is_private(address) && !private && !(local && address.to_canonical().is_loopback());
        if let Some(why) = never.or(hidden.then_some("a private or loopback address")) {
            return Err(RefusedName {
                name: name.to_owned(),
                address,
                why,
                private: never.is_none(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(name: &str, addresses: &[&str], private: bool) -> Result<(), RefusedName> {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
        check(name, &addresses.iter().map(address).collect::<Vec<_>>(), private)
    }

    #[test]
    fn metadata_and_link_local_are_never_reached() {
        for bad in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "100.100.100.200",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "168.63.129.16",
            "192.0.0.192",
            "64:ff9b:1::a9fe:a9fe",
            "::ffff:0:a9fe:a9fe",
            "0.0.0.0",
            "0.0.0.1",
            "::",
            "224.0.0.1",
        ] {
            assert!(refused(bad.parse().unwrap()).is_some(), "{bad}");
            assert!(!resolved("manager.example", &[bad], true).unwrap_err().private, "{bad}");
        }
        for good in [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "fd00::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "::1",
        ] {
            assert!(refused(good.parse().unwrap()).is_none(), "{good}");
        }
    }

    #[test]
    fn a_name_leads_to_a_private_address_only_if_that_is_granted() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "::1",
            "fd00::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(
                resolved("manager.example", &[private], false).unwrap_err().private,
                "{private}"
            );
            assert!(resolved("manager.example", &[private], true).is_ok(), "{private}");
        }
        assert!(resolved("manager.example", &["203.0.113.1", "2001:db8::1"], false).is_ok());
        assert!(resolved("manager.example", &["203.0.113.1", "10.0.0.1"], false).is_err());
        assert!(resolved("manager.example", &["10.1.2.3", "169.254.169.254"], true).is_err());
    }

    #[test]
    fn localhost_means_this_host_and_nothing_else() {
        assert!(resolved("localhost", &["127.0.0.1", "::1"], false).is_ok());
        assert!(resolved("localhost", &["10.0.0.1"], false).is_err());
    }
}
