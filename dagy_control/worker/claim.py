"""The worker's first act: to claim its attempt."""

from dagy_control.errors import Permanent
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.retrying import retrying
from dagy_control.model.lifecycle import Refused, claim_attempt
from dagy_control.model.runs import ActiveRun, Run, RunChange
from dagy_control.ports.runs import Runs

CLAIM_TRIES = 8
"""Reads of the run before the worker gives up, half a minute in all: nothing has run yet, the task is simply tried again."""


async def claim(
    runs: Runs, writer: RecordWriter, clock: Clock, *, run_id: str, attempt: int, task_arn: str
) -> Run | Refused:
    """The claimed run, or why the attempt is not this worker's. Raises `Transient` when the table cannot be reached."""
    run = await retrying(lambda: runs.get(run_id), clock, tries=CLAIM_TRIES, key=run_id)
    if run is None:
        return Refused(f"there is no run {run_id}")

    def decide(current: ActiveRun) -> RunChange | Refused:
        if not isinstance(current, Run):
            raise Permanent("a claim needs the whole record")
        return claim_attempt(current, attempt=attempt, task_arn=task_arn, now=clock.now())

    claimed, refused = await writer.settle(run, decide)
    return claimed or refused or Refused("the record could not be settled")
