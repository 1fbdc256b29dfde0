//! A loaded plugin: one version, checked, compiled and described.

use std::collections::BTreeSet;
use std::sync::Arc;

use wasmtime::component::Component;

use crate::cache::Origin;
use crate::contract::plugin::Info;
use crate::error::Identity;
use crate::grants::{Denial, Effective, Grants, Interface};
use crate::health::Health;
use crate::inspect::Surface;
use crate::manifest::{Kind, Manifest};
use crate::session::Sessions;

/// One version of a plugin. Jobs hold on to the very version they were started with.
pub struct Plugin {
    pub(crate) identity: Identity,
    pub(crate) manifest: Manifest,
    pub(crate) info: Info,
    pub(crate) surface: Surface,
    pub(crate) component: Component,
    pub(crate) origin: Origin,
    pub(crate) signed_by: Option<String>,
    pub(crate) health: Arc<Health>,
    /// Gone with the last user of this version.
    pub(crate) sessions: Sessions,
}

impl Plugin {
    /// Name, version and digest.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The name, from the manifest.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// `sha256:...` over component and manifest: what jobs pin.
    pub fn digest(&self) -> &str {
        &self.identity.digest
    }

    /// Which world it fits.
    pub fn kind(&self) -> Kind {
        self.manifest.plugin.kind
    }

    /// The whole manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What `describe` answered.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Whether its machine code was compiled now or earlier.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The configured key that vouches for it, if signatures are required.
    pub fn signed_by(&self) -> Option<&str> {
        self.signed_by.as_deref()
    }

    /// Interfaces that its component imports.
    pub fn imports(&self) -> Vec<String> {
        self.surface.imports.iter().cloned().collect()
    }

    /// Interfaces that it exports.
    pub fn exports(&self) -> Vec<String> {
        self.surface.exports.iter().cloned().collect()
    }

    /// Interfaces that it would get with these grants.
    pub fn effective(&self, grants: &Grants) -> BTreeSet<Interface> {
        self.with(grants).interfaces()
    }

    /// Interfaces that its component imports and would not get with these grants: it could not be bound.
    pub fn lacks(&self, grants: &Grants) -> Vec<Denial> {
        let effective = self.with(grants);
        let needs = self.surface.needs();
        needs
            .into_iter()
            .filter_map(|interface| effective.check_interface(interface).err())
            .collect()
    }

    fn with(&self, grants: &Grants) -> Effective {
        Effective {
            requests: self.manifest.requests.clone(),
            grants: grants.clone(),
            pinned: None,
        }
    }

    /// Faults of its own making in the last minutes, oldest first: three, and it is quarantined.
    pub fn strikes(&self) -> Vec<String> {
        self.health.strikes()
    }

    /// A person trusts it again: what it did is forgotten.
    pub fn forgive(&self) {
        self.health.forgive();
    }

    /// Interfaces that it imports and that must be granted.
    pub fn uses(&self) -> BTreeSet<Interface> {
        self.surface.needs()
    }

    /// An adapter that runs programs inside machines.
    pub fn has_guest_exec(&self) -> bool {
        self.surface.has_export("landfall:plugin/guest-exec")
    }

    /// An adapter whose site keeps the installation's epoch.
    pub fn has_takeover(&self) -> bool {
        self.surface.has_export("landfall:plugin/takeover")
    }

    /// A runbook that can say whether its effect happened.
    pub fn has_probe(&self) -> bool {
        self.surface.has_export("landfall:plugin/runbook-probe")
    }

    /// A runbook that can take its effect back.
    pub fn has_undo(&self) -> bool {
        self.surface.has_export("landfall:plugin/runbook-undo")
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plugin({})", self.identity)
    }
}
