//! Networks: libvirt's own, and those that the operator configured because libvirt does not know them.

use landfall_sdk::adapter_types::{IsolationAnswer, Network, NetworkMapping};
use landfall_sdk::{Failure, Pairs};
use xmltree::Element;

use crate::config::Attachment;
use crate::domain::{Card, To};
use crate::libvirt::Libvirt;
use crate::xml::{attribute, parse};

/// A network, and why it is isolated or not.
struct Found {
    isolated: bool,
    evidence: Pairs,
    to: To,
}

pub(crate) fn list(libvirt: &mut Libvirt) -> Result<Vec<Network>, Failure> {
    let mut list = Vec::new();
    for network in libvirt.networks()? {
        let xml = libvirt.network_xml(&network)?;
        list.push(Network {
            id: network.0.clone(),
            name: network.0,
            isolated: parse(&xml).is_some_and(|xml| leads_nowhere(&xml)),
        });
    }
    for (name, attachment) in &libvirt.config.networks {
        list.push(Network {
            id: name.clone(),
            name: name.clone(),
            isolated: attachment.is_isolated(),
        });
    }
    Ok(list)
}

/// libvirt lets the machines of a network out only by a `forward` element; without one it rejects what leaves.
fn leads_nowhere(network: &Element) -> bool {
    network.get_child("forward").is_none()
}

fn find(libvirt: &mut Libvirt, name: &str) -> Result<Option<Found>, Failure> {
    if let Some(attachment) = libvirt.config.attachment(name) {
        let how = match attachment {
            Attachment::Bridge(bridge) => {
                format!("a bridge of the site, {bridge}, which leads where the site's network leads")
            }
            Attachment::Multicast(group, port) => {
                format!("QEMU's own group {group}:{port}; only machines that join it hear each other")
            }
            Attachment::User { isolated: true, .. } => {
                "QEMU's user network with restrict=on: nothing leaves it, and only the named ports lead in".to_owned()
            }
            Attachment::User { isolated: false, .. } => {
                "QEMU's user network; it reaches what the site reaches".to_owned()
            }
        };
        return Ok(Some(Found {
            isolated: attachment.is_isolated(),
            evidence: vec![("network".to_owned(), name.to_owned()), ("attachment".to_owned(), how)],
            to: To::Attachment(attachment.clone()),
        }));
    }
    let Some(network) = libvirt.network(name)? else {
        return Ok(None);
    };
    let xml = libvirt.network_xml(&network)?;
    let active = libvirt.network_is_active(&network)?;
    let xml = parse(&xml);
    let forward = xml.as_ref().and_then(|xml| xml.get_child("forward"));
    let mode = forward.map_or("none", |forward| {
        forward.attributes.get("mode").map_or("nat", String::as_str)
    });
    let bridge = xml.as_ref().and_then(|xml| attribute(xml, &["bridge"], "name"));
    let evidence = [
        ("network", name.to_owned()),
        ("forward", mode.to_owned()),
        ("active", active.to_string()),
        ("bridge", bridge.unwrap_or_default()),
    ];
    Ok(Some(Found {
        isolated: xml.as_ref().is_some_and(leads_nowhere) && active,
        evidence: evidence.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        to: To::Network(name.to_owned()),
    }))
}

fn unknown(name: &str) -> Failure {
    Failure::definite("not-found", format!("the site has no network `{name}`"))
}

pub(crate) fn isolation(libvirt: &mut Libvirt, name: &str) -> Result<IsolationAnswer, Failure> {
    let found = find(libvirt, name)?.ok_or_else(|| unknown(name))?;
    Ok(IsolationAnswer {
        isolated: found.isolated,
        evidence: found.evidence,
    })
}

/// The cards of a machine that is to be made. In a test each must be on an isolated network.
pub(crate) fn cards(libvirt: &mut Libvirt, mappings: &[NetworkMapping], isolated: bool) -> Result<Vec<Card>, Failure> {
    let mut cards = Vec::new();
    for mapping in mappings {
        let found = find(libvirt, &mapping.network)?.ok_or_else(|| unknown(&mapping.network))?;
        if isolated && !found.isolated {
            let why = format!(
                "card `{}` of a test would be on `{}`, which is not isolated",
                mapping.nic, mapping.network
            );
            return Err(Failure::definite("not-isolated", why));
        }
        if let Some(odd) = mapping
            .addresses
            .iter()
            .find(|text| text.parse::<std::net::IpAddr>().is_err())
        {
            let why = format!("`{odd}`, mapped to card `{}`, is no address", mapping.nic);
            return Err(Failure::definite("bad-address", why));
        }
        cards.push(Card {
            index: card_index(&mapping.nic)?,
            to: found.to,
            addresses: mapping.addresses.clone(),
        });
    }
    Ok(cards)
}

/// `nic-0` is the first.
fn card_index(nic: &str) -> Result<usize, Failure> {
    let index = nic.strip_prefix("nic-").and_then(|text| text.parse().ok());
    index.ok_or_else(|| {
        let why = format!("`{nic}` is no card of a machine here; they are nic-0, nic-1 and so on");
        Failure::definite("unknown-nic", why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_network_without_a_way_out_is_isolated() {
        let leads = |xml: &str| leads_nowhere(&parse(xml).unwrap());
        assert!(leads("<network><bridge name='virbr1'/></network>"));
        assert!(!leads("<network><forward/></network>"), "nat");
        assert!(!leads("<network><forward mode='bridge'/></network>"));
    }

    #[test]
    fn cards_are_numbered() {
        assert_eq!(card_index("nic-2").unwrap(), 2);
        assert!(card_index("eth0").is_err());
    }
}
