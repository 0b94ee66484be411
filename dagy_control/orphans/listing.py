"""All running tasks of a cluster, as the judgement needs them, with word of what could not be seen. Through ports only."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dagy_control.errors import DagyError
from dagy_control.kernel.bounded import run_bounded
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import within
from dagy_control.orphans.criteria import Criteria, RunningTask
from dagy_control.orphans.mapping import map_task
from dagy_control.ports.tasks import Described, ReadPriority, Tasks

DESCRIBES_IN_FLIGHT = 4


@dataclass(slots=True)
class Listing:
    """The running tasks. `arns`: all that were listed; `undescribed`: how many of them ECS would not show.

    `cut`: why there may be more of them; empty for a listing that is whole. `problems`: why some are not described.
    """

    tasks: list[RunningTask] = field(default_factory=list)
    arns: set[str] = field(default_factory=set)
    undescribed: int = 0
    cut: str = ""
    problems: list[str] = field(default_factory=list)

    def add(self, described: Described, criteria: Criteria) -> None:
        """Take in one answer. Tasks that have ended meanwhile, or are gone, do not run."""
        self.tasks.extend(map_task(task, criteria) for task in described.tasks if not task.has_ended)
        if described.unreadable:
            self.undescribed += len(described.unreadable)
            self.problems.append(f"ECS lists {len(described.unreadable)} tasks that it does not describe")


async def list_tasks(tasks: Tasks, clock: Clock, cluster: str, criteria: Criteria, *, timeout_s: float) -> Listing:
    """List and describe, 100 tasks a call each. After `timeout_s` what has been seen by then, marked as cut.

    A listing that ECS breaks off raises, and so does one of which nothing could be described.
    """
    listing = Listing()

    async def describe(arns: Sequence[str]) -> None:
        listing.arns.update(arns)
        described = await tasks.describe(cluster, arns, priority=ReadPriority.ORPHANS, tags=True)
        listing.add(described, criteria)

    pages = tasks.list_running(cluster)
    work = run_bounded(pages, describe, limit=DESCRIBES_IN_FLIGHT, name="orphan listing")
    try:
        outcomes = await within(clock, timeout_s, work, name="listing the running tasks")
    except TimeoutError as error:
        listing.cut = f"{error}: {len(listing.arns)} listed, {len(listing.tasks)} of them described; nothing is stopped"
        return listing
    failed = [(outcome.item, outcome.error) for outcome in outcomes if outcome.error is not None]
    for arns, failure in failed:
        if not isinstance(failure, DagyError) or len(failed) == len(outcomes):
            raise failure
        listing.undescribed += len(arns)
        listing.problems.append(f"{len(arns)} tasks not described: {failure}")
    return listing
