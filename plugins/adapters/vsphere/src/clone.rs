//! A machine from a recovery point: a full clone of the snapshot, stamped, powered off, its cards where they belong.
//!
//! All of it is one request, so that no machine ever exists without its stamp or with a card in a wrong network.

use landfall_sdk::Failure;
use landfall_sdk::adapter_types::{CreateMachine, NetworkMapping};

use crate::machine::{Card, Vm};
use crate::network::{DISTRIBUTED, Fabric};
use crate::settings::Place;
use crate::stamp::Stamp;
use crate::xml::{element, reference};

/// Which card goes to which network: by the card's key or label; what names no card goes, in its order, to those left.
/// A replica of another platform's machine has other names for its cards.
pub(crate) fn mapped<'m>(cards: &[Card], mappings: &'m [NetworkMapping]) -> Vec<Option<&'m NetworkMapping>> {
    let names = |card: &Card, mapping: &NetworkMapping| mapping.nic == card.key || mapping.nic == card.label;
    let mut others = mappings
        .iter()
        .filter(|mapping| !cards.iter().any(|card| names(card, mapping)));
    let own: Vec<_> = cards
        .iter()
        .map(|card| mappings.iter().find(|mapping| names(card, mapping)))
        .collect();
    own.into_iter().map(|own| own.or_else(|| others.next())).collect()
}

/// The arguments of `CloneVM_Task`.
pub(crate) fn arguments(
    (replica, create): (&Vm, &CreateMachine),
    place: &Place,
    fabric: &Fabric,
    stamp: &Stamp,
) -> Result<String, Failure> {
    let datastore = place
        .datastore
        .as_ref()
        .map(|id| reference("datastore", "Datastore", id));
    let pool_kind = if place.pool.starts_with("resgroup-v") {
        "VirtualApp"
    } else {
        "ResourcePool"
    };
    let location = [datastore.unwrap_or_default(), reference("pool", pool_kind, &place.pool)].concat();
    let mut changes = String::new();
    for (card, mapping) in replica.cards.iter().zip(mapped(&replica.cards, &create.networks)) {
        changes += &edited(card, mapping, fabric)?;
    }
    let options = stamp.pairs().into_iter().map(|(name, value)| {
        let value = element("value", &value).replacen("<value>", r#"<value xsi:type="xsd:string">"#, 1);
        format!(
            r#"<extraConfig xsi:type="OptionValue">{}{value}</extraConfig>"#,
            element("key", &name)
        )
    });
    let number =
        |name: &str, value: Option<u64>| value.map(|value| element(name, &value.to_string())).unwrap_or_default();
    let note = format!(
        "Made by Landfall for `{}` from the recovery point {} of {}.",
        create.item, create.point, create.replica
    );
    let config = [
        element("instanceUuid", &stamp.uuid()),
        element("annotation", &note),
        number("numCPUs", create.cpus.map(u64::from)),
        number("memoryMB", create.memory_bytes.map(|bytes| bytes >> 20)),
        changes,
        options.collect(),
    ];
    Ok([
        reference("_this", "VirtualMachine", &replica.id),
        reference("folder", "Folder", &place.folder),
        element("name", &create.name),
        format!("<spec><location>{location}</location><template>false</template>"),
        format!("<config>{}</config><powerOn>false</powerOn>", config.concat()),
        reference("snapshot", "VirtualMachineSnapshot", &create.point),
        "</spec>".to_owned(),
    ]
    .concat())
}

/// A card with another network. One that is mapped to none is disconnected, so that it reaches nothing.
fn edited(card: &Card, mapping: Option<&NetworkMapping>, fabric: &Fabric) -> Result<String, Failure> {
    let optional =
        |name: &str, value: &Option<String>| value.as_ref().map(|value| element(name, value)).unwrap_or_default();
    let backing = mapping.map(|mapping| backing(&mapping.network, fabric)).transpose()?;
    let connects = mapping.is_some() && card.starts_connected;
    let device = [
        element("key", &card.key),
        format!(
            "<deviceInfo xsi:type=\"Description\">{}<summary/></deviceInfo>",
            element("label", &card.label)
        ),
        backing.unwrap_or_default(),
        format!(
            "<connectable><startConnected>{connects}</startConnected><allowGuestControl>true</allowGuestControl>\
             <connected>false</connected></connectable>"
        ),
        optional("controllerKey", &card.controller),
        optional("unitNumber", &card.unit),
    ];
    Ok(format!(
        r#"<deviceChange xsi:type="VirtualDeviceConfigSpec"><operation>edit</operation><device xsi:type="{}">{}</device></deviceChange>"#,
        crate::xml::escape(&card.kind),
        device.concat()
    ))
}

fn backing(network: &str, fabric: &Fabric) -> Result<String, Failure> {
    let unknown = || {
        let message =
            format!("vCenter has no network `{network}`; map the card to one that `landfall site networks` lists");
        Failure::definite("network-unknown", message)
    };
    let net = fabric.net(network).ok_or_else(unknown)?;
    if net.kind != DISTRIBUTED {
        let network = reference("network", "Network", network);
        let name = element("deviceName", &net.name);
        return Ok(format!(
            r#"<backing xsi:type="VirtualEthernetCardNetworkBackingInfo">{name}{network}</backing>"#
        ));
    }
    let switch = fabric.switch_uuid(net).ok_or_else(|| {
        let message = format!(
            "the distributed switch of `{}` could not be read; check the account's rights to it",
            net.name
        );
        Failure::definite("network-unknown", message)
    })?;
    let port = element("switchUuid", switch) + &element("portgroupKey", network);
    Ok(format!(
        r#"<backing xsi:type="VirtualEthernetCardDistributedVirtualPortBackingInfo"><port>{port}</port></backing>"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(key: &str, label: &str) -> Card {
        Card::named(key, label)
    }

    fn mapping(nic: &str, network: &str) -> NetworkMapping {
        NetworkMapping {
            nic: nic.into(),
            network: network.into(),
            addresses: vec![],
        }
    }

    fn networks(cards: &[Card], mappings: &[NetworkMapping]) -> Vec<Option<String>> {
        mapped(cards, mappings)
            .into_iter()
            .map(|one| one.map(|one| one.network.clone()))
            .collect()
    }

    #[test]
    fn f02_cards_are_mapped_by_key_label_and_order() {
        let cards = [card("4000", "Network adapter 1"), card("4001", "Network adapter 2")];
        let by_name = [mapping("Network adapter 2", "b"), mapping("4000", "a")];
        assert_eq!(networks(&cards, &by_name), [Some("a".into()), Some("b".into())]);
        let of_another_platform = [mapping("nic-0", "a"), mapping("nic-1", "b")];
        assert_eq!(
            networks(&cards, &of_another_platform),
            [Some("a".into()), Some("b".into())]
        );
        assert_eq!(networks(&cards, &[mapping("4001", "b")]), [None, Some("b".into())]);
    }

    #[test]
    fn a_card_that_is_mapped_to_nothing_is_disconnected() {
        let text = edited(&card("4000", "n"), None, &Fabric::default()).unwrap();
        assert!(text.contains("<startConnected>false</startConnected>"));
        let unknown = edited(
            &card("4000", "n"),
            Some(&mapping("4000", "network-9")),
            &Fabric::default(),
        );
        assert_eq!(unknown.unwrap_err().code, "network-unknown");
    }
}
