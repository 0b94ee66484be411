"""The worker's last act: its result on the record, or, when the table cannot be written, in an S3 object."""

import sys
from dataclasses import replace

from dagy_control.errors import DagyError, Permanent
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.retrying import retrying
from dagy_control.kernel.tasks import within
from dagy_control.kernel.telemetry import log
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import Refused, commit_result
from dagy_control.model.runs import ActiveRun, Run, RunChange, WorkerResult
from dagy_control.ports.flows import Results
from dagy_control.worker.texts import storable

COMMIT_TRIES = 20
ROUNDS = 4
"""Of table and S3: with the usual timeout a result is held for two minutes at least while both are dead."""
MESSAGE_MAX_CHARACTERS = 2000
"""What the record keeps of a message; the S3 object must stay small too, or its reader refuses it."""

_ANY_BUDGET = RetryPolicy(max_infra_failures=sys.maxsize)
"""How many infrastructure failures a run may have is a setting of the daemon: to a worker none of them is ever the last."""

_log = log("dagy.worker")


class ResultLost(DagyError):
    """Neither the table nor S3 took the result."""


async def commit(
    run: Run,
    result: WorkerResult,
    *,
    writer: RecordWriter,
    results: Results,
    clock: Clock,
    timeout_s: float,
    rounds: int = ROUNDS,
) -> Run | Refused | None:
    """The run with the result on it, or why it was refused; None when only the S3 object could be written.

    A round is the table for `timeout_s`, then S3 for as long. Raises when neither took it in any round: the result is lost, and
    the run will be judged by what ECS says of the task.
    """
    task_arn = run.external_id or ""
    result = replace(result, message=storable(result.message, MESSAGE_MAX_CHARACTERS))
    on_record = replace(result, exit_code=None)

    def decide(current: ActiveRun) -> RunChange | Run | Refused:
        if not isinstance(current, Run):
            raise Permanent("a result needs the whole record")
        if current.external_id == task_arn and current.committed_result == on_record:
            return current  # the lost reply of an earlier try, which was made under another op_id
        return commit_result(current, result, _ANY_BUDGET, task_arn=task_arn, now=clock.now())

    async def settle() -> Run | Refused | None:
        settled: tuple[Run | None, Run | Refused | None] = await retrying(
            lambda: writer.settle(run, decide), clock, tries=COMMIT_TRIES, key=run.run_id
        )
        return settled[0] or settled[1]

    async def leave() -> None:
        await retrying(lambda: results.put(run.run_id, task_arn, result), clock, key=run.run_id)

    for remaining in reversed(range(rounds)):
        try:
            return await within(clock, timeout_s, settle(), name="committing the result")
        except (DagyError, TimeoutError) as error:
            _log.error(
                "result not committed to the table; leaving it in S3", event_type="result_delayed", error=str(error)
            )
        try:
            await within(clock, timeout_s, leave(), name="leaving the result in S3")
        except (DagyError, TimeoutError) as error:
            if remaining == 0:
                raise ResultLost(str(error)) from error
            _log.error("result not left in S3; trying the table again", event_type="result_delayed", error=str(error))
        else:
            return None
    raise AssertionError("unreachable: the last round returns or raises")
