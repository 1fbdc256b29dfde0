//! The contract's types as Rust sees them: what crosses between the host and a plugin. All of them are plain data that
//! serde can store, so that an intent, a handle or a frozen context survives the process.

/// Words that more than one interface uses.
pub mod types {
    pub use crate::bindings::landfall::plugin::types::{
        Call, Consistency, Direction, EffectClass, ExtraStep, FailoverKind, Failure, Finding, GuestCommand, GuestExit,
        OperationFacts, Pairs, ProbeAnswer, Progress, RecoveryPoint, Running,
    };
}

/// Hypervisor adapters.
pub mod adapter {
    pub use crate::bindings::exports::landfall::plugin::adapter::{
        BootPrepare, ChangePoint, CreateMachine, Custom, DeletePoints, Disk, Extent, ExtentPage, Features, Hold,
        IsolationAnswer, ItemFacts, Machine, MachinePage, MachineRef, Network, NetworkMapping, Nic, Operation, Owned,
        OwnedPage, Power, PowerAnswer, PreflightAnswer, PrepareReplica, ReceiveComplete, Release, ReplicaRef, Shutdown,
        SiteFacts, Snapshot, SnapshotMember,
    };
}

/// Programs inside machines.
pub mod guests {
    pub use crate::bindings::landfall::plugin::guests::Side;
}

/// Recovery-point policies.
pub mod policy {
    pub use crate::bindings::exports::landfall::plugin::policy::{Candidate, Choice, Request, Selection, Verdict};
}

/// Runbooks.
pub mod runbook {
    pub use crate::bindings::exports::landfall::plugin::runbook_run::{Again, Context, MachineContext, Outcome};
}

/// What every plugin says about itself.
pub mod plugin {
    pub use crate::bindings::exports::landfall::plugin::plugin::Info;
}
