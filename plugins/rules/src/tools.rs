//! B26: what becomes of VMware's guest tools when a machine changes its platform.

use crate::site::Platform;

/// What is to be done to the tools while the machine is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    /// Left on the disk, but not started.
    Disabled,
    /// Taken off.
    Uninstalled,
    /// Started again.
    Enabled,
    /// Put on again.
    Reinstalled,
}

impl Tools {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Uninstalled => "uninstalled",
            Self::Enabled => "enabled",
            Self::Reinstalled => "reinstalled",
        }
    }
}

/// B26: in the cloud the tools are disabled on Windows and uninstalled on Linux; at home they are enabled and put on
/// again. None: the machine is no VMware machine, or its system is not known.
pub fn change(here: Option<Platform>, origin: &str, os: Option<&str>, reverse: bool) -> Option<Tools> {
    if origin != "vmware" {
        return None;
    }
    let windows = match os?.to_ascii_lowercase().as_str() {
        "windows" => true,
        "linux" => false,
        _ => return None,
    };
    match (here?, reverse, windows) {
        (Platform::Azure, false, true) => Some(Tools::Disabled),
        (Platform::Azure, false, false) => Some(Tools::Uninstalled),
        (Platform::Vmware, true, true) => Some(Tools::Enabled),
        (Platform::Vmware, true, false) => Some(Tools::Reinstalled),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b26_guest_tools_go_and_come_back() {
        let azure = Some(Platform::Azure);
        let vmware = Some(Platform::Vmware);
        assert_eq!(change(azure, "vmware", Some("windows"), false), Some(Tools::Disabled));
        assert_eq!(change(azure, "vmware", Some("linux"), false), Some(Tools::Uninstalled));
        assert_eq!(change(vmware, "vmware", Some("windows"), true), Some(Tools::Enabled));
        assert_eq!(change(vmware, "vmware", Some("linux"), true), Some(Tools::Reinstalled));
        assert_eq!(change(azure, "hyperv", Some("windows"), false), None);
        assert_eq!(change(vmware, "vmware", Some("linux"), false), None);
        assert_eq!(change(None, "vmware", Some("linux"), false), None);
        assert_eq!(change(azure, "vmware", None, false), None);
    }
}
