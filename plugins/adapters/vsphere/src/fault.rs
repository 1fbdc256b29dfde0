//! vCenter's faults in the contract's words: what was refused, whether it may work later, and the cure.

use landfall_sdk::Failure;
use roxmltree::Node;

use crate::xml;

/// A fault, of a method or of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The type in the API, such as `InvalidPowerState`.
    pub(crate) kind: String,
    message: String,
    /// Its own fields that are plain text.
    fields: Vec<(String, String)>,
}

/// Why there is no answer: vCenter refused, or there was none.
#[derive(Debug)]
pub(crate) enum Trouble {
    Fault(Fault),
    Other(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Fault(fault) => fault.into(),
            Trouble::Other(failure) => failure,
        }
    }
}

impl Trouble {
    /// vCenter answered with a fault of this type.
    pub(crate) fn is(&self, kind: &str) -> bool {
        matches!(self, Self::Fault(fault) if fault.kind == kind)
    }
}

impl Fault {
    /// From the `Fault` of a SOAP answer.
    pub(crate) fn of_answer(node: Node<'_, '_>) -> Self {
        let message = xml::text(node, &["faultstring"]).unwrap_or_default();
        let detail = xml::child(node, "detail").and_then(|detail| detail.children().find(Node::is_element));
        match detail {
            Some(fault) => Self::new(fault, message),
            None => Self {
                message: message.to_owned(),
                ..Self::unknown()
            },
        }
    }

    /// From a `LocalizedMethodFault`, as tasks and missing properties have it.
    pub(crate) fn localized(node: Node<'_, '_>) -> Option<Self> {
        let message = xml::text(node, &["localizedMessage"]).unwrap_or_default();
        Some(Self::new(xml::child(node, "fault")?, message))
    }

    /// A task that failed and does not say of what.
    pub(crate) fn unknown() -> Self {
        Self {
            kind: "Fault".to_owned(),
            message: String::new(),
            fields: Vec::new(),
        }
    }

    fn new(fault: Node<'_, '_>, message: &str) -> Self {
        let name = fault.tag_name().name();
        let kind = xml::kind(fault).unwrap_or_else(|| name.strip_suffix("Fault").unwrap_or(name));
        let fields = fault.children().filter(Node::is_element).filter_map(|field| {
            let value = field.text()?.trim();
            (!value.is_empty()).then(|| (field.tag_name().name().to_owned(), value.to_owned()))
        });
        Self {
            kind: kind.to_owned(),
            message: message.trim().to_owned(),
            fields: fields.collect(),
        }
    }

    fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map_or("?", |(_, value)| value)
    }
}

/// Whether the same call may work later.
enum Later {
    Yes,
    No,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        use Later::{No, Yes};
        let (code, cause, cure, later) = match &*fault.kind {
            "InvalidLogin" => (
                "wrong-password",
                "vCenter refuses the login".to_owned(),
                "check `user` in the site's configuration, and the content of the secret",
                No,
            ),
            "NotAuthenticated" => (
                "session-ended",
                "vCenter ended the session again and again".to_owned(),
                "look at vCenter's limit of sessions, and whether the account is locked",
                Yes,
            ),
            "NoPermission" => (
                "no-permission",
                format!(
                    "the account lacks the privilege `{}` on {}",
                    fault.field("privilegeId"),
                    fault.field("object")
                ),
                "give its role that privilege there",
                No,
            ),
            "ManagedObjectNotFound" => (
                "not-found",
                format!("vCenter has no `{}`", fault.field("obj")),
                "list the site again; it was removed, or registered anew under another id",
                No,
            ),
            "InsufficientResourcesFault" | "NoDiskSpace" | "InsufficientStorageSpace" | "InsufficientStorageIops" => (
                "datastore-full",
                format!("there is no room on the datastore {}", fault.field("datastore")),
                "free some, or name another as `datastore` in the site's configuration",
                No,
            ),
            "DuplicateName" | "AlreadyExists" => (
                "name-taken",
                format!("something else is called `{}` there", fault.field("name")),
                "rename it, or name another `folder` in the site's configuration",
                No,
            ),
            "TaskInProgress" | "ConcurrentAccess" | "ResourceInUse" | "VmConfigFault" => (
                "busy",
                "another task works on it".to_owned(),
                "it is tried again; if it stays so, look at its recent tasks in vCenter",
                Yes,
            ),
            "HostNotConnected" | "HostNotReachable" | "HostCommunication" | "DisallowedOperationOnFailoverHost" => (
                "host-not-connected",
                "vCenter does not reach the ESXi host".to_owned(),
                "reconnect the host, or move the machine",
                Yes,
            ),
            "InvalidDatastore" | "DatastoreNotWritableOnHost" | "InaccessibleDatastore" | "NoCompatibleDatastore" => (
                "datastore-not-accessible",
                "no datastore can be written".to_owned(),
                "check that the hosts of the pool see the datastore",
                Yes,
            ),
            "ToolsUnavailable" => (
                "no-tools",
                "the guest cannot be shut down: VMware Tools do not run in it".to_owned(),
                "start or install them, shut the guest down by hand, or set `power-off = \"true\"` for the site",
                No,
            ),
            "InvalidPowerState" => (
                "wrong-power-state",
                format!("the machine is {}", fault.field("existingState")),
                "somebody else changed its power; look at it and try again",
                Yes,
            ),
            "InvalidState" => (
                "wrong-state",
                "the machine is a template, or in another state that does not allow this".to_owned(),
                "a fenced machine is a template: convert it to a virtual machine when it may run again",
                No,
            ),
            "MethodNotFound" | "NotSupported" | "NotImplemented" => (
                "not-supported",
                "this server does not support it".to_owned(),
                "use a vCenter, not a single host, of version 6.5 or later",
                No,
            ),
            "InvalidArgument" | "InvalidDeviceSpec" | "InvalidVmConfig" | "InvalidProperty" => (
                "refused",
                format!("vCenter does not take `{}`", {
                    let field = fault.field("invalidProperty");
                    if field == "?" { fault.field("property") } else { field }
                }),
                "check folder, pool, datastore and networks in the site's configuration and the inventory",
                No,
            ),
            kind => (
                "refused",
                format!("vCenter refuses it: {kind}"),
                "look at the machine's recent tasks and events in vCenter",
                No,
            ),
        };
        let said = if fault.message.is_empty() {
            String::new()
        } else {
            format!(" (`{}`)", fault.message)
        };
        let failure = Failure {
            // Of these nobody knows how far they got.
            definite: !matches!(
                &*fault.kind,
                "SystemError" | "HostCommunication" | "Timedout" | "RequestCanceled"
            ),
            ..Failure::definite(code, format!("{cause}{said}; {cure}"))
        };
        let failure = failure.detail("fault", fault.kind.clone());
        match later {
            Yes => failure.retryable(),
            No => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> Fault {
        let document = roxmltree::Document::parse(text).unwrap();
        Fault::of_answer(document.root_element())
    }

    #[test]
    fn a_fault_has_the_type_of_its_detail() {
        let fault = answered(
            r#"<Fault xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><faultcode>ServerFaultCode</faultcode>
            <faultstring>not now</faultstring><detail><InvalidPowerStateFault xsi:type="vim25:InvalidPowerState">
            <existingState>poweredOn</existingState></InvalidPowerStateFault></detail></Fault>"#,
        );
        assert_eq!(fault.kind, "InvalidPowerState");
        let failure = Failure::from(fault);
        assert_eq!(
            (&*failure.code, failure.retryable, failure.definite),
            ("wrong-power-state", true, true)
        );
        assert!(failure.message.contains("poweredOn") && failure.message.contains("not now"));
    }

    #[test]
    fn a_fault_without_a_type_is_named_by_its_element() {
        let fault =
            answered("<Fault><detail><NoDiskSpaceFault><datastore>ds1</datastore></NoDiskSpaceFault></detail></Fault>");
        let failure = Failure::from(fault);
        assert_eq!(failure.code, "datastore-full");
        assert!(failure.message.contains("ds1"));
    }

    #[test]
    fn an_unknown_fault_keeps_its_name_and_a_broken_server_proves_nothing() {
        let odd = Failure::from(answered("<Fault><detail><OddFault/></detail></Fault>"));
        assert!(odd.message.contains("Odd") && odd.definite);
        let broken = Failure::from(answered("<Fault><detail><SystemErrorFault/></detail></Fault>"));
        assert!(!broken.definite);
    }
}
