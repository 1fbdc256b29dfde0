//! Hypervisor adapters: one site, in the source role, the target role, or both.

use crate::bindings::exports::landfall::plugin::adapter::{
    Extent, ExtentPage, Features, Guest, IsolationAnswer, ItemFacts, MachinePage, Network, Operation, OwnedPage,
    PowerAnswer, PreflightAnswer, SiteFacts,
};
use crate::bindings::exports::landfall::plugin::{guest_exec, takeover};
use crate::buffers::Buffer;
use crate::log::log_panics;
use crate::{Call, Direction, Failure, Finding, GuestCommand, GuestExit, Plugin, ProbeAnswer, Progress, RecoveryPoint};

/// Every record of the contract's `adapter` interface.
pub mod adapter_types {
    pub use crate::bindings::exports::landfall::plugin::adapter::{
        BootPrepare, ChangePoint, CreateMachine, Custom, DeletePoints, Disk, Extent, ExtentPage, Features, Hold,
        IsolationAnswer, ItemFacts, Machine, MachinePage, MachineRef, Network, NetworkMapping, Nic, Operation, Owned,
        OwnedPage, Power, PowerAnswer, PreflightAnswer, PrepareReplica, ReceiveComplete, Release, ReplicaRef, Shutdown,
        SiteFacts, Snapshot, SnapshotMember,
    };
}

/// A hypervisor adapter. Export it with [`export_adapter!`](crate::export_adapter).
///
/// Effects go through [`Adapter::submit`], which starts one and returns: [`Progress::Done`] if it is over already,
/// else a handle for [`Adapter::poll_many`]. After a crash the host polls the handle it recorded, else asks
/// [`Adapter::probe`], else (where the declared class allows) submits again under the same key. Machine, replica, mark
/// and handle are the adapter's own opaque text, kept by the host and handed back.
pub trait Adapter: Plugin {
    /// What is possible for a machine that came from `origin` in this direction, each operation with its effect class.
    fn get_features(origin: &str, direction: Direction) -> Features;

    /// What is wrong with the site, if anything.
    fn health() -> Result<Vec<Finding>, Failure>;

    /// A page of the site's machines; `cursor` is the `next` of the page before.
    fn list_machines(cursor: Option<String>) -> Result<MachinePage, Failure>;

    /// The networks that a machine can be connected to.
    fn list_networks() -> Result<Vec<Network>, Failure>;

    /// All findings at once, for an operation named as in the host (`protect`, `test`, `failover`, ...).
    fn preflight(item: &ItemFacts, peer: Option<&SiteFacts>, operation: &str) -> Result<PreflightAnswer, Failure>;

    /// Starts an effect.
    fn submit(call: &Call, operation: &Operation) -> Result<Progress, Failure>;

    /// May wait at the far end until one of them is over, at most `wait_ms`. A handle it does not know is `failed`.
    fn poll_many(handles: Vec<String>, wait_ms: u32) -> Result<Vec<(String, Progress)>, Failure>;

    /// Did the effect under this key happen? Changes nothing.
    fn probe(call: &Call, operation: &Operation) -> Result<ProbeAnswer, Failure>;

    /// Stops an effect where the site can.
    fn cancel(call: &Call, handle: &str) -> Result<Progress, Failure>;

    /// A read made after the call began: the host takes it as evidence that a machine is off.
    fn power_state(machine: &str) -> Result<PowerAnswer, Failure>;

    /// A read made after the call began: the host takes it as evidence that a test cannot reach production.
    fn prove_isolation(network: &str) -> Result<IsolationAnswer, Failure>;

    /// What changed between two marks; `since` none: everything the disk holds.
    fn changes(machine: &str, since: Option<String>, mark: &str, cursor: Option<String>)
    -> Result<ExtentPage, Failure>;

    /// Appends the extent's bytes, as of the mark, to the buffer.
    fn read(machine: &str, mark: &str, extent: Extent, buffer: &Buffer) -> Result<(), Failure>;

    /// Writes what the buffer holds at the offset. Repeating it must change nothing.
    fn write(call: &Call, replica: &str, mark: &str, offset: u64, buffer: &Buffer) -> Result<(), Failure>;

    /// The replica's points, newest first.
    fn list_points(replica: &str) -> Result<Vec<RecoveryPoint>, Failure>;

    /// Whatever at the site carries this installation's stamp.
    fn list_owned(installation: &str, cursor: Option<String>) -> Result<OwnedPage, Failure>;
}

impl<A: Adapter> Guest for A {
    fn get_features(origin: String, direction: Direction) -> Features {
        log_panics();
        <A as Adapter>::get_features(&origin, direction)
    }

    fn health() -> Result<Vec<Finding>, Failure> {
        log_panics();
        <A as Adapter>::health()
    }

    fn list_machines(cursor: Option<String>) -> Result<MachinePage, Failure> {
        log_panics();
        <A as Adapter>::list_machines(cursor)
    }

    fn list_networks() -> Result<Vec<Network>, Failure> {
        log_panics();
        <A as Adapter>::list_networks()
    }

    fn preflight(item: ItemFacts, peer: Option<SiteFacts>, operation: String) -> Result<PreflightAnswer, Failure> {
        log_panics();
        <A as Adapter>::preflight(&item, peer.as_ref(), &operation)
    }

    fn submit(call: Call, operation: Operation) -> Result<Progress, Failure> {
        log_panics();
        <A as Adapter>::submit(&call, &operation)
    }

    fn poll_many(handles: Vec<String>, wait_ms: u32) -> Result<Vec<(String, Progress)>, Failure> {
        log_panics();
        <A as Adapter>::poll_many(handles, wait_ms)
    }

    fn probe(call: Call, operation: Operation) -> Result<ProbeAnswer, Failure> {
        log_panics();
        <A as Adapter>::probe(&call, &operation)
    }

    fn cancel(call: Call, handle: String) -> Result<Progress, Failure> {
        log_panics();
        <A as Adapter>::cancel(&call, &handle)
    }

    fn power_state(machine: String) -> Result<PowerAnswer, Failure> {
        log_panics();
        <A as Adapter>::power_state(&machine)
    }

    fn prove_isolation(network: String) -> Result<IsolationAnswer, Failure> {
        log_panics();
        <A as Adapter>::prove_isolation(&network)
    }

    fn changes(
        machine: String,
        since: Option<String>,
        mark: String,
        cursor: Option<String>,
    ) -> Result<ExtentPage, Failure> {
        log_panics();
        <A as Adapter>::changes(&machine, since, &mark, cursor)
    }

    fn read(machine: String, mark: String, extent: Extent, buffer: &Buffer) -> Result<(), Failure> {
        log_panics();
        <A as Adapter>::read(&machine, &mark, extent, buffer)
    }

    fn write(call: Call, replica: String, mark: String, offset: u64, buffer: &Buffer) -> Result<(), Failure> {
        log_panics();
        <A as Adapter>::write(&call, &replica, &mark, offset, buffer)
    }

    fn list_points(replica: String) -> Result<Vec<RecoveryPoint>, Failure> {
        log_panics();
        <A as Adapter>::list_points(&replica)
    }

    fn list_owned(installation: String, cursor: Option<String>) -> Result<OwnedPage, Failure> {
        log_panics();
        <A as Adapter>::list_owned(&installation, cursor)
    }
}

/// Optional: runs programs inside machines, for runbooks that were granted `guests`. Export it with
/// `export_adapter!(Type, guest_exec)`.
pub trait GuestExec: Adapter {
    /// Waits for the program's end. The same `call.key` means the same run: an adapter that can tell gives its exit
    /// again.
    fn exec(call: &Call, machine: &str, command: &GuestCommand) -> Result<GuestExit, Failure>;
}

impl<A: GuestExec> guest_exec::Guest for A {
    fn exec(call: Call, machine: String, command: GuestCommand) -> Result<GuestExit, Failure> {
        log_panics();
        <A as GuestExec>::exec(&call, &machine, &command)
    }
}

/// Optional: the site keeps the installation's epoch. Export it with `export_adapter!(Type, takeover)`.
pub trait Takeover: Adapter {
    /// From now on orders of `call.installation` under an epoch lower than `call.epoch` are refused with
    /// `stale-epoch`, a definite failure, here and in `submit`, `write`, `cancel` and `exec`. Repeating it changes
    /// nothing.
    fn take_over(call: &Call) -> Result<(), Failure>;
}

impl<A: Takeover> takeover::Guest for A {
    fn take_over(call: Call) -> Result<(), Failure> {
        log_panics();
        <A as Takeover>::take_over(&call)
    }
}

/// Makes the crate a hypervisor-adapter plugin: `export_adapter!(MyType)`, followed by the optional exports, as in
/// `export_adapter!(MyType, guest_exec, takeover)`. Once in a crate, at the top level.
#[macro_export]
macro_rules! export_adapter {
    ($plugin:ident) => {
        $crate::export_adapter!(@adapter $plugin, ADAPTER);
    };
    ($plugin:ident, guest_exec) => {
        $crate::export_adapter!(@adapter $plugin, ADAPTER_GUEST_EXEC);
        $crate::export_adapter!(@guest_exec $plugin);
    };
    ($plugin:ident, takeover) => {
        $crate::export_adapter!(@adapter $plugin, ADAPTER_TAKEOVER);
        $crate::export_adapter!(@takeover $plugin);
    };
    ($plugin:ident, guest_exec, takeover) => {
        $crate::export_adapter!(@adapter $plugin, ADAPTER_GUEST_EXEC_TAKEOVER);
        $crate::export_adapter!(@guest_exec $plugin);
        $crate::export_adapter!(@takeover $plugin);
    };
    (@guest_exec $plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::landfall::plugin::guest_exec as interface;
            $crate::bindings::cabi_guest_exec!($plugin with_types_in interface);
        };
    };
    (@takeover $plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::landfall::plugin::takeover as interface;
            $crate::bindings::cabi_takeover!($plugin with_types_in interface);
        };
    };
    (@adapter $plugin:ident, $section:ident) => {
        $crate::__export_plugin!($plugin, "hypervisor-adapter", $section);
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::landfall::plugin::adapter as interface;
    $crate::bindings::cabi_adapter!($plugin with_types_in interface);
        };
    };
}
