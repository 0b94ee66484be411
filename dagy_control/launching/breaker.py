"""The launch breaker: whether new runs may be claimed while ECS refuses them all for one cause that is none of theirs. Pure.

It only saves effort and runs: it lives in one process's memory, and a new process, or a changed target, begins with it closed.
"""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from dagy_control.model.launch_failure import LaunchCause, LaunchFailure
from dagy_control.model.runs import ActiveRun

CAUSES = tuple(cause for cause in LaunchCause if cause is not LaunchCause.RUN)
"""What can open it: never a refusal of one run's own request."""

_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\S*[0-9:/]\S*")


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """`refusals`: of different runs in a row, for one cause, that open it. `probe_delay_s`: until one run is sent to try; then doubled."""

    refusals: int = 3
    probe_delay_s: float = 30.0
    probe_delay_max_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What the last refusals in a row have in common. `orgs`: whose runs they were. Open while `probe_at` is set."""

    cause: LaunchCause | None = None
    shape: str = ""
    runs: frozenset[str] = field(default_factory=frozenset)
    orgs: frozenset[str] = field(default_factory=frozenset)
    message: str = ""
    opened_at: datetime | None = None
    probe_at: datetime | None = None
    probes: int = 0

    @property
    def is_open(self) -> bool:
        """Whether new runs are kept in the queue."""
        return self.probe_at is not None

    def describe(self) -> str:
        """In words, for /healthz."""
        if self.opened_at is None or self.probe_at is None:
            return "closed"
        return f"open since {self.opened_at:%H:%M:%S} for {self.cause}, next probe at {self.probe_at:%H:%M:%S} UTC: {self.message}"


CLOSED = Breaker()


class Claims(StrEnum):
    """How many new runs may be claimed."""

    ALL = "all"
    ONE = "one"
    NONE = "none"


def allowed_claims(breaker: Breaker, now: datetime) -> Claims:
    """All while it is closed; while it is open none, and one once a probe is due."""
    if breaker.probe_at is None:
        return Claims.ALL
    return Claims.ONE if breaker.probe_at <= now else Claims.NONE


def after_refusal(
    breaker: Breaker, run: ActiveRun, failure: LaunchFailure, policy: BreakerPolicy, now: datetime
) -> Breaker:
    """The breaker once this run was refused. Throttles, lack of capacity and the run's own faults tell nothing of the target."""
    if failure.cause is None or not failure.is_of_the_target:
        return breaker
    shape = shape_of(failure.message) if failure.cause is LaunchCause.UNKNOWN else ""
    if not breaker.is_open and (failure.cause, shape) != (breaker.cause, breaker.shape):
        breaker = CLOSED
    breaker = replace(
        breaker,
        cause=failure.cause,
        shape=shape,
        runs=breaker.runs | {run.run_id},
        orgs=breaker.orgs | {run.org_id},
        message=failure.message,
    )
    if breaker.probe_at is not None:
        if now < breaker.probe_at:
            return breaker  # it was on its way already
        return replace(breaker, probes=breaker.probes + 1, probe_at=_next_probe(breaker.probes + 1, policy, now))
    if len(breaker.runs) < policy.refusals:
        return breaker
    return replace(breaker, opened_at=now, probe_at=_next_probe(0, policy, now))


def choose_probe(breaker: Breaker, admitted: tuple[ActiveRun, ...]) -> tuple[ActiveRun, ...]:
    """The run to try the target with: of an organisation that has not been refused yet, if there is one.

    A refusal may concern one organisation alone (a condition on the task's tags); its runs must not keep the others waiting.
    """
    others = (run for run in admitted if run.org_id not in breaker.orgs)
    return next(((run,) for run in others), admitted[:1])


def shape_of(message: str) -> str:
    """The message without what is particular to one call: quoted words, and words with figures, colons or slashes."""
    return " ".join(_PARTICULAR.sub("…", message).split())


def _next_probe(probes: int, policy: BreakerPolicy, now: datetime) -> datetime:
    return now + timedelta(seconds=min(policy.probe_delay_s * 2.0 ** min(probes, 62), policy.probe_delay_max_s))
