"""Runbooks: the actions that a recovery plan calls before and after its groups."""

from dataclasses import dataclass, field

from .failure import Effect


class Runbook:
    """An action of a recovery plan. A plugin has one class of this kind, in the file that `entry` names."""

    #: JSON Schema of the operator's configuration, as text.
    config_schema = None
    #: Every finding that the plugin can report: id and what it means.
    findings = {}

    def effect(self, context):
        """What may be assumed about the effect after a crash.

        Asked at preflight and frozen into the step, so it must follow from the context and the configuration alone.
        """
        return Effect.one_shot(context.action)

    def run(self, call, context, resume):
        """Does the action: gives its outputs (a dict, or None), `again(...)` or `skip(...)`, or raises a `Failure`.

        The effect happens in the call without `resume`; calls with it are polls and may repeat.
        """
        raise NotImplementedError

    # Two more methods are optional, and `exports` of [build] in plugin.toml names those that there are:
    #
    #   def probe(self, call, context): did the effect under `call.key` happen? Gives `absent()`, `running(...)`,
    #       `done(...)` or `unknown(...)`, and changes nothing. ("runbook-probe")
    #   def undo(self, call, context, resume): takes the action back, at test cleanup and after a cancel.
    #       ("runbook-undo")


@dataclass
class Call:
    """Who calls, and under which key. Every attempt of one step's generation carries the same key."""

    installation: str = ""
    epoch: int = 0
    job: str | None = None
    step: str = ""
    attempt: int = 1
    key: str = ""
    #: What is left of this call's wall-clock limit.
    remaining_ms: int = 0
    ext: dict = field(default_factory=dict)


@dataclass
class Machine:
    """A machine of the group, or of the whole plan."""

    item: str
    source_site: str = ""
    target_site: str = ""
    source_machine: str | None = None
    #: Known once the machine was created.
    target_machine: str | None = None
    #: Of the target machine, once it was started.
    addresses: list = field(default_factory=list)
    point: str | None = None
    point_time_ms: int | None = None
    #: `crash` or `app`.
    consistency: str | None = None
    params: dict = field(default_factory=dict)
    ext: dict = field(default_factory=dict)


@dataclass
class Context:
    """What the plan is doing, and what it wants."""

    plan: str = ""
    #: `failover`, `test`, `cleanup`, ...
    operation: str = ""
    #: `test`, `planned` or `unplanned`.
    kind: str | None = None
    #: `forward` or `reverse`.
    direction: str = "forward"
    #: None: before or after all.
    group: str | None = None
    #: `before` or `after`.
    phase: str = "before"
    #: The action's name in the plan.
    action: str = ""
    machines: list = field(default_factory=list)
    #: What earlier actions returned, as ACTION/NAME.
    outputs: dict = field(default_factory=dict)
    params: dict = field(default_factory=dict)
    ext: dict = field(default_factory=dict)


@dataclass
class Again:
    after_ms: int
    resume: bytes
    note: str


def again(after_ms, resume=b"", note=""):
    """Not over yet: the host calls again in `after_ms` with these bytes (or this text), and holds no instance meanwhile.

    `note` is shown to whoever follows the job.
    """
    return Again(after_ms, resume.encode() if isinstance(resume, str) else bytes(resume), note)


@dataclass
class Skip:
    reason: str


def skip(reason):
    """Not needed, with the reason."""
    return Skip(reason)
