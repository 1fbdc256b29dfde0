"""The newest recovery point, and everything kept that is young enough."""

from landfall import Failure
from landfall.policy import Choice, Policy, Selection, Verdict


class Newest(Policy):
    def choices(self):
        return [
            Choice(
                name="newest",
                summary="The newest point that is ready to use",
                needs_processing=False,
                needs_group=False,
                params=[],
                ext=[],
            )
        ]

    def select(self, request):
        return [select(candidate) for candidate in request.candidates]

    def retain(self, request):
        keep_ms = int(dict(request.params).get("keep-ms", 2**63))
        verdicts = []
        for candidate in request.candidates:
            for point in candidate.points:
                age = max(0, request.now_ms - point.source_time_ms)
                verdicts.append(Verdict(candidate.item, point.id, age <= keep_ms, f"{age // 1000} s old"))
        return verdicts


def select(candidate):
    # Points come newest first; one that is not processed cannot be used yet.
    for point in candidate.points:
        if point.processed:
            return Selection(candidate.item, point.id, "the newest")
    raise Failure.definite("no-point", f"{candidate.item} has no point to use")
