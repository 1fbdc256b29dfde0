//! What at this vCenter carries an installation's stamp: machines that were made, and snapshots.

use landfall_sdk::adapter_types::{Owned, OwnedPage};

use crate::collector::{Query, everywhere, step};
use crate::fault::Trouble;
use crate::machine::Vm;
use crate::stamp::Stamp;
use crate::vcenter::Vcenter;

/// Machines in one page: their extra configurations are long.
const PAGE: u32 = 50;

pub(crate) fn page(vcenter: &Vcenter, installation: &str, cursor: Option<&str>) -> Result<OwnedPage, Trouble> {
    let root = vcenter.content()?.root_folder;
    let vapps = step("vapps", "VirtualApp", "vm", "");
    let query = Query::default()
        .of(
            "VirtualMachine",
            &["config.extraConfig", "config.instanceUuid", "snapshot"],
        )
        .paged(PAGE)
        .from("Folder", &root, &everywhere("vmFolder", &vapps));
    let mut owned = Vec::new();
    let next = vcenter.page(&query, cursor, |object| {
        owned.extend(of(&Vm::read(object), installation));
        Ok(())
    })?;
    Ok(OwnedPage { owned, next })
}

fn of(vm: &Vm, installation: &str) -> Vec<Owned> {
    let machine = vm.ours().map(|stamp| entry("machine", &vm.id, stamp));
    let points = vm
        .snapshots
        .iter()
        .filter_map(|one| Some(entry("point", &one.id, one.stamp.as_ref()?)));
    let all = machine.into_iter().chain(points);
    all.filter(|(_, owner)| owner == installation)
        .map(|(owned, _)| owned)
        .collect()
}

/// With its owner.
fn entry(kind: &str, id: &str, stamp: &Stamp) -> (Owned, String) {
    let owned = Owned {
        kind: kind.to_owned(),
        id: id.to_owned(),
        item: stamp.item.clone(),
        job: stamp.job.clone(),
        step: stamp.step.clone(),
        key: Some(stamp.key.clone()),
        epoch: stamp.epoch,
    };
    (owned, stamp.installation.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_installations_things_are_listed() {
        let stamp = |installation: &str| Stamp {
            installation: installation.to_owned(),
            key: "k".into(),
            ..Stamp::default()
        };
        let vm = Vm {
            id: "vm-9".into(),
            uuid: stamp("a").uuid(),
            stamp: Some(stamp("a")),
            ..Vm::default()
        };
        assert_eq!(of(&vm, "a").len(), 1);
        assert!(of(&vm, "b").is_empty());
    }
}
