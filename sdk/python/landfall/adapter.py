"""Hypervisor adapters: one site, in the source role, the target role, or both.

Records and enums are the contract's own (`Features`, `Machine`, `Operation_Start`, `RecoveryPoint`, ...), in the names
that componentize-py gives them; every one can be imported from here. `wit/adapter.wit` is the whole contract, with the
outputs of every operation.
"""

try:
    from wit_world.exports.adapter import *
    from wit_world.imports.types import *
except ImportError:
    # Outside of a component: `landfall plugin build` leaves the bindings in target/guest/bindings.
    pass



def facts(effect):
    """An `Effect` as `get_features` lists it."""
    return OperationFacts(effect.operation, EffectClass[effect.kind.upper().replace("-", "_")], effect.settle_ms)


class Adapter:
    """A hypervisor adapter. A plugin has one class of this kind, in the file that `entry` names.

    Effects go through `submit`, which starts one and returns: `done(...)` if it is over already, else `running(...)`
    with a handle for `poll_many`. After a crash the host polls the handle it recorded, else asks `probe`, else (where
    the declared class allows) submits again under the same key. Machine, replica, mark and handle are the adapter's own
    opaque text, kept by the host and handed back.
    """

    #: JSON Schema of the operator's configuration, as text.
    config_schema = None
    #: Every finding that the plugin can report: id and what it means.
    findings = {}

    def get_features(self, origin, direction):
        """What is possible for a machine that came from `origin` in this direction: `Features`."""
        raise NotImplementedError

    def health(self):
        """What is wrong with the site, if anything: a list of `Finding`."""
        return []

    def list_machines(self, cursor):
        """A `MachinePage`; `cursor` is the `next` of the page before."""
        raise NotImplementedError

    def list_networks(self):
        """A list of `Network`."""
        raise NotImplementedError

    def preflight(self, item, peer, operation):
        """All findings at once, for an operation named as in the host: a `PreflightAnswer`."""
        raise NotImplementedError

    def submit(self, call, operation):
        """Starts an effect: `running(...)`, `done(...)` or `failed(...)`."""
        raise NotImplementedError

    def poll_many(self, handles, wait_ms):
        """May wait until one of them is over: a list of (handle, progress). An unknown handle is `failed(...)`."""
        raise NotImplementedError

    def probe(self, call, operation):
        """Did the effect under this key happen? `absent()`, `running(...)`, `done(...)` or `unknown(...)`."""
        return unknown("this adapter cannot tell")

    def cancel(self, call, handle):
        """Stops an effect where the site can."""
        raise NotImplementedError

    def power_state(self, machine):
        """A `PowerAnswer`, read after the call began: the host takes it as evidence that a machine is off."""
        raise NotImplementedError

    def prove_isolation(self, network):
        """An `IsolationAnswer`, read after the call began."""
        raise NotImplementedError

    def changes(self, machine, since, mark, cursor):
        """What changed between two marks: an `ExtentPage`. `since` None: everything the disk holds."""
        raise NotImplementedError

    def read(self, machine, mark, extent, buffer):
        """Appends the extent's bytes, as of the mark, to the buffer."""
        raise NotImplementedError

    def write(self, call, replica, mark, offset, buffer):
        """Writes what the buffer holds at the offset. Repeating it must change nothing."""
        raise NotImplementedError

    def list_points(self, replica):
        """A list of `RecoveryPoint`, newest first."""
        raise NotImplementedError

    def list_owned(self, installation, cursor):
        """Whatever at the site carries this installation's stamp: an `OwnedPage`."""
        raise NotImplementedError
