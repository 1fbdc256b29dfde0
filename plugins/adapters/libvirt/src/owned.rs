//! Whatever at the site carries an installation's stamp.

use landfall_sdk::Failure;
use landfall_sdk::adapter_types::{Owned, OwnedPage};

use crate::facts::{Facts, Owner};
use crate::libvirt::Libvirt;

pub(crate) fn list(libvirt: &mut Libvirt, installation: &str) -> Result<OwnedPage, Failure> {
    let mut owned = Vec::new();
    for domain in libvirt.domains()? {
        let Some(text) = libvirt.metadata_if_there(&domain)? else {
            continue;
        };
        let Some((kind, by)) = Facts::from_metadata(&text).and_then(owner) else {
            continue;
        };
        if by.installation == installation {
            owned.push(Owned {
                kind: kind.to_owned(),
                id: domain.reference(),
                item: Some(by.item),
                job: by.job,
                step: Some(by.step),
                key: Some(by.key),
                epoch: by.epoch,
            });
        }
    }
    Ok(OwnedPage { owned, next: None })
}

fn owner(facts: Facts) -> Option<(&'static str, Owner)> {
    match facts {
        Facts::Machine(machine) => Some(("machine", machine.owner?)),
        Facts::Replica(replica) => Some(("replica", replica.owner)),
        Facts::Helper(_) | Facts::Epoch(_) => None,
    }
}
