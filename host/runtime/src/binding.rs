//! A plugin bound for one site or one runbook: its configuration, its grants and its limits. Everything that does not
//! change between calls is done here, once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;

use crate::call::Callee;
use crate::call::Timing;
use crate::durable::Owner;
use crate::error::BindError;
use crate::grants::{Effective, Grants, Interface};
use crate::limits::Limits;
use crate::manifest::Kind;
use crate::plugin::Plugin;
use crate::runtime::Runtime;
use crate::stage::Stage;
use crate::state::Subject;

/// A plugin that is linked and ready to be called. Cheap to clone.
#[derive(Clone)]
pub struct Binding {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) callee: Callee,
}

impl Binding {
    /// Links what is requested and granted. `label` names the site or runbook in logs and errors. Fails if the
    /// component imports an interface that is not among them; the error holds the line that would grant it.
    pub fn new(
        runtime: &Runtime,
        plugin: Arc<Plugin>,
        label: impl Into<String>,
        config: Arc<BTreeMap<String, String>>,
        grants: Grants,
        limits: Limits,
    ) -> Result<Self, BindError> {
        Self::pinned(runtime, plugin, label, config, grants, None, limits)
    }

    /// As [`Binding::new`], for a job: it has no more than was granted when it began, and no more than is granted now.
    pub fn pinned(
        runtime: &Runtime,
        plugin: Arc<Plugin>,
        label: impl Into<String>,
        config: Arc<BTreeMap<String, String>>,
        grants: Grants,
        pinned: Option<Grants>,
        limits: Limits,
    ) -> Result<Self, BindError> {
        let effective = Effective {
            requests: plugin.manifest.requests.clone(),
            grants,
            pinned,
        };
        let label = label.into();
        let identity = plugin.identity.clone();
        for interface in plugin.surface.needs() {
            if let Err(denial) = effective.check_interface(interface) {
                return Err(BindError::NotGranted {
                    plugin: Box::new(identity),
                    label,
                    denial,
                });
            }
        }
        let interfaces = effective.interfaces();
        let linked = runtime
            .shared
            .linkers
            .with(&interfaces)
            .and_then(|linker| linker.instantiate_pre(&plugin.component));
        let pre = match linked {
            Ok(pre) => pre,
            Err(source) => {
                return Err(BindError::Link {
                    plugin: Box::new(identity),
                    label,
                    source,
                });
            }
        };
        let owner = Owner::of(&plugin, &label);
        let quota = effective.grants.state.unwrap_or_default();
        let subject = Subject {
            plugin: identity,
            session: plugin.sessions.of(&label),
            label,
            config,
            shelf: interfaces
                .contains(&Interface::State)
                .then(|| runtime.shared.shelves.of(owner, quota)),
            interfaces,
            stage: None,
        };
        let callee = Callee {
            shared: Arc::clone(&runtime.shared),
            pre,
            subject: Arc::new(subject),
            effective: Arc::new(effective),
            health: Arc::clone(&plugin.health),
            limits,
            share: Arc::new(Semaphore::new(runtime.shared.share)),
            timings: None,
            programs: None,
            nested: false,
        };
        Ok(Self { plugin, callee })
    }

    /// The same binding under other limits, for one kind of call that needs them.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> Self {
        let mut other = self.clone();
        other.callee.limits = limits;
        other
    }

    /// The same binding with something that stands in for the world: what it keeps is the stage's, and what it may
    /// forget is forgotten, but for what the stage begins with.
    #[must_use]
    pub fn on_stage(&self, stage: Arc<Stage>) -> Self {
        let mut other = self.clone();
        let mut subject = (*self.callee.subject).clone();
        let (owner, quota) = (
            Owner::of(&self.plugin, self.label()),
            self.callee.effective.grants.state.unwrap_or_default(),
        );
        subject.shelf = subject.shelf.is_some().then(|| stage.shelves.of(owner, quota));
        subject.session = Arc::new(stage.session());
        subject.stage = Some(stage);
        other.callee.subject = Arc::new(subject);
        other
    }

    /// The same binding, which tells where the time of its calls goes.
    #[must_use]
    pub fn timed(&self, timings: UnboundedSender<Timing>) -> Self {
        let mut other = self.clone();
        other.callee.timings = Some(timings);
        other
    }

    /// The limits of its calls.
    pub fn limits(&self) -> Limits {
        self.callee.limits
    }

    /// The plugin.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// The site or runbook.
    pub fn label(&self) -> &str {
        &self.callee.subject.label
    }

    pub(crate) fn expect_kind(&self, wanted: Kind) -> Result<(), BindError> {
        let found = self.plugin.kind();
        if found == wanted {
            return Ok(());
        }
        let (plugin, label) = (Box::new(self.plugin.identity.clone()), self.label().to_owned());
        Err(BindError::WrongKind {
            plugin,
            label,
            found,
            wanted,
        })
    }

    pub(crate) fn link_error(&self, source: wasmtime::Error) -> BindError {
        BindError::Link {
            plugin: Box::new(self.plugin.identity.clone()),
            label: self.label().to_owned(),
            source,
        }
    }
}
