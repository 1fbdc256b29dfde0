"""Recovery-point policies: which point to recover to, and which to keep.

Pure: the same request must give the same answer, so that a decision can be replayed over past data. The time is in the
request, and no clock, random or network is ever linked. Records are the contract's own (`Choice`, `Request`,
`Selection`, `Verdict`, ...); every one can be imported from here.
"""

try:
    from wit_world.exports.policy import *
    from wit_world.imports.types import *
except ImportError:
    # Outside of a component: `landfall plugin build` leaves the bindings in target/guest/bindings.
    pass

from .failure import Failure


class Policy:
    """A recovery-point policy. A plugin has one class of this kind, in the file that `entry` names."""

    #: JSON Schema of the operator's configuration, as text.
    config_schema = None
    #: Every finding that the plugin can report: id and what it means.
    findings = {}

    def choices(self):
        """The named choices that this policy offers: a list of `Choice`."""
        raise NotImplementedError

    def select(self, request):
        """One `Selection` for every candidate, or a `Failure` that names those without a fitting point."""
        raise NotImplementedError

    def retain(self, request):
        """Which points to keep: a list of `Verdict`. A proposal, as the host keeps what is in use."""
        raise NotImplementedError
