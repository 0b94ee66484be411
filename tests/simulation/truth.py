"""What really is in a world, whatever anybody has written or read: the measure of the invariants."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dagy_control.local.ecs_state import Status, StopCode
from dagy_control.model.outcomes import EXIT_CLAIM_REFUSED
from dagy_control.model.runs import FailureClass, ResultStatus, Run, WorkerResult
from dagy_control.model.tasks import TaskIdentity
from tests.simulation.conduct import Conduct

if TYPE_CHECKING:
    from tests.simulation.world import World

MEANS = {
    Conduct.DIE: FailureClass.USER_ERROR,
    Conduct.OUT_OF_MEMORY: FailureClass.OUT_OF_MEMORY,
    Conduct.NO_RESULT: FailureClass.NO_RESULT,
}
"""What a worker that ends so, after its claim and without a result, is to be called."""

WORDS = {"CannotPull": FailureClass.IMAGE_PULL, "Capacity is unavailable": FailureClass.CAPACITY}
"""What ECS says of a task that did not start."""


class Truth:
    """Reads the world; changes nothing but what ECS itself has still to do by now."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told_of: set[str] = set()

    def now(self) -> datetime:
        """The true time."""
        return self._world.clock.now()

    def container_alive(self, arn: str) -> bool:
        """Whether the task's container runs."""
        return self._world.agent.alive(arn)

    def running_for_s(self, arn: str) -> float:
        """For how long the task has been RUNNING, as ECS says; 0 for one that never was."""
        started_at = self._world.model.task(arn).started_at
        return 0.0 if started_at is None else (self.now() - started_at).total_seconds()

    def has_ended(self, arn: str) -> bool:
        """Whether the task has stopped, whoever knows it."""
        return self._world.model.task(arn).last_status in (Status.STOPPED, Status.DELETED)

    def is_known(self, arn: str) -> bool:
        """Whether ECS still shows the task."""
        self._world.model.advance(self.now())
        task = self._world.model.tasks.get(arn)
        return task is not None and task.last_status is not Status.DELETED

    def told_of(self, arn: str) -> None:
        """A daemon has been told by an event that the task has ended."""
        self._told_of.add(arn)

    def was_told_of(self, arn: str) -> bool:
        """Whether any daemon was told by an event that the task has ended."""
        return arn in self._told_of

    def was_reclaimed(self, arn: str) -> bool:
        """Whether Spot took the task away."""
        return self._world.model.task(arn).stop_code is StopCode.SPOT_INTERRUPTION

    def identity_of(self, arn: str) -> TaskIdentity | None:
        """For which run and attempt the task was started."""
        return TaskIdentity.parse(self._world.model.task(arn).started_by)

    def end_of(self, arn: str) -> FailureClass | None:
        """The failure class that ECS's own words and codes about the task mean; None where they leave it open.

        STOPPED: somebody has called StopTask, and if that was nobody of ours, only a SHUTDOWN of its worker says more.
        """
        task = self._world.model.task(arn)
        if task.exit_code == EXIT_CLAIM_REFUSED:
            return None
        match task.stop_code:
            case StopCode.SPOT_INTERRUPTION:
                return FailureClass.SPOT_INTERRUPTED
            case StopCode.INFRASTRUCTURE_HEALTH:
                return FailureClass.INFRASTRUCTURE
            case StopCode.ESSENTIAL_CONTAINER_EXITED:
                return MEANS.get(self._world.agent.conduct_at_end.get(arn, Conduct.SUCCEED))
            case StopCode.USER_INITIATED:
                return FailureClass.STOPPED
        return next((means for words, means in WORDS.items() if words in task.stopped_reason), None)

    def left(self, run: Run) -> WorkerResult | None:
        """What the worker of this attempt has left in S3."""
        return self._world.stores.results.get((run.run_id, run.attempt, run.external_id or ""))

    def left_success(self, run: Run) -> bool:
        """Whether the worker of this attempt has left a success in S3, before the write was sent that the run is over.

        By the world's own time: the record's `completed_at` is of a daemon's clock, which may be wrong by more than lies between.
        """
        left = self.left(run)
        if left is None or left.status is not ResultStatus.SUCCEEDED:
            return False
        over_at = self._world.over_at.get(run.run_id)
        return over_at is None or self._world.stores.put_at[run.run_id, run.attempt] <= over_at

    def is_rightful(self, arn: str) -> bool:
        """Whether the task is the current one of its model, in the other system's own eyes."""
        return arn in self._world.trainer.current.values()

    def containers_alive(self) -> int:
        """How many containers run."""
        return sum(map(self.container_alive, self._world.model.tasks))

    def strangers_found(self, arn: str, older_than_s: float) -> int:
        """How many tasks of another control plane that has our name are suspected since so long; 0 if this is none of them."""
        strangers, suspicions = self._world.strangers, self._world.stores.suspicions
        if arn not in strangers:
            return 0
        since = self.now() - timedelta(seconds=older_than_s)
        found = [suspicions.get(each) for each in strangers if self.container_alive(each)]
        return sum(suspicion is not None and suspicion.first_seen <= since for suspicion in found)
