//! What starts a machine without anybody's hand: the autostart of its ESXi host. (A cluster's HA restarts only machines
//! that were running.) Holding a machine takes it off the host's list; what stood there is kept for its release.

use landfall_sdk::{Failure, state};
use roxmltree::Node;

use crate::collector::{Object, Query, step};
use crate::fault::Trouble;
use crate::machine::{LISTED, Vm, WHOLE};
use crate::vcenter::Vcenter;
use crate::xml::{self, element, reference};

/// The fields of an `AutoStartPowerInfo` after its key, in the order in which the API takes them.
const FIELDS: [&str; 6] = [
    "startOrder",
    "startDelay",
    "waitForHeartbeat",
    "startAction",
    "stopDelay",
    "stopAction",
];
/// Of a machine that is held. -1 takes the host's default.
const HELD: [&str; 6] = ["-1", "-1", "systemDefault", "none", "-1", "systemDefault"];

/// What the host of a machine does with it when it boots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Autostart {
    manager: Option<String>,
    is_enabled: bool,
    /// The values of [`FIELDS`]; none: it is not on the list.
    entry: Option<Vec<String>>,
}

impl Autostart {
    fn read(host: &Object<'_, '_>, machine: &str) -> Self {
        let config = host.get("config.autoStart");
        let entries = config.into_iter().flat_map(|config| xml::children(config, "powerInfo"));
        let entry = entries
            .into_iter()
            .find(|entry| xml::text(*entry, &["key"]) == Some(machine));
        let values = |entry: Node<'_, '_>| {
            let value = |name: &&str| xml::text(entry, &[name]).unwrap_or_default().to_owned();
            FIELDS.iter().map(value).collect()
        };
        Self {
            manager: host.text("configManager.autoStartManager").map(str::to_owned),
            is_enabled: config.is_some_and(|config| xml::text(config, &["defaults", "enabled"]) == Some("true")),
            entry: entry.map(values),
        }
    }

    /// The host would start the machine.
    pub(crate) fn starts(&self) -> bool {
        self.is_enabled && self.is_listed()
    }

    fn is_listed(&self) -> bool {
        let action = self.entry.as_ref().and_then(|entry| entry.get(3));
        action.is_some_and(|action| !action.eq_ignore_ascii_case("none"))
    }
}

/// A machine with its host's autostart, both read now. None: the host was not told, or cannot be read.
pub(crate) fn look(vcenter: &Vcenter, machine: &str) -> Result<(Vm, Option<Autostart>), Trouble> {
    let query = Query::default()
        .of("VirtualMachine", &[LISTED, WHOLE].concat())
        .of("HostSystem", &["config.autoStart", "configManager.autoStartManager"])
        .from(
            "VirtualMachine",
            machine,
            &step("host", "VirtualMachine", "runtime.host", ""),
        );
    let (mut found, mut autostart) = (None, None);
    vcenter.read(&query, |object| {
        match object.kind {
            "VirtualMachine" => found = Some(Vm::read(object)),
            _ => autostart = Some(Autostart::read(object, machine)),
        }
        Ok(())
    })?;
    let vm = found.ok_or_else(|| missing(machine))?;
    Ok((vm, autostart))
}

pub(crate) fn missing(machine: &str) -> Failure {
    let message = format!(
        "vCenter has no machine `{machine}`; list the site again: it was removed, or registered anew under another id"
    );
    Failure::definite("not-found", message)
}

/// Takes the machine off its host's list, or puts it back as it was.
pub(crate) fn hold(vcenter: &Vcenter, machine: &str, is_held: bool) -> Result<(), Trouble> {
    let (_, autostart) = look(vcenter, machine)?;
    let autostart = autostart.unwrap_or_default();
    let kept = format!("autostart/{machine}");
    if is_held {
        let Some(entry) = autostart.entry.as_ref().filter(|_| autostart.is_listed()) else {
            return Ok(());
        };
        state::set(&kept, entry.join("\n"))?;
        return reconfigure(vcenter, &autostart, machine, &HELD.map(str::to_owned));
    }
    let Some(before) = state::get_text(&kept)? else {
        return Ok(());
    };
    let before: Vec<String> = before.lines().map(str::to_owned).collect();
    reconfigure(vcenter, &autostart, machine, &before)?;
    Ok(state::delete(&kept)?)
}

fn reconfigure(vcenter: &Vcenter, autostart: &Autostart, machine: &str, values: &[String]) -> Result<(), Trouble> {
    let manager = autostart.manager.as_deref().ok_or_else(|| {
        Failure::definite(
            "no-autostart",
            format!("the host of `{machine}` has no autostart to change; is it connected?"),
        )
    })?;
    let fields = FIELDS.iter().zip(values).map(|(name, value)| element(name, value));
    let info = reference("key", "VirtualMachine", machine) + &fields.collect::<String>();
    let this = reference("_this", "HostAutoStartManager", manager);
    let arguments = format!("{this}<spec><powerInfo>{info}</powerInfo></spec>");
    vcenter.call("ReconfigureAutostart", &arguments, |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn autostart(is_enabled: bool, action: Option<&str>) -> Autostart {
        let entry = action.map(|action| vec!["1".into(), "0".into(), "no".into(), action.into()]);
        Autostart {
            manager: None,
            is_enabled,
            entry,
        }
    }

    #[test]
    fn a_machine_starts_by_itself_only_if_host_and_entry_say_so() {
        assert!(autostart(true, Some("powerOn")).starts());
        assert!(autostart(true, Some("systemDefault")).starts());
        assert!(!autostart(true, Some("none")).starts());
        assert!(!autostart(false, Some("powerOn")).starts());
        assert!(!autostart(true, None).starts());
    }
}
