"""The worker's last act: its result on the record, or, when the table cannot be written, in an S3 object."""

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

COMMIT_TRIES = 20
_log = log("dagy.worker")


async def commit(
    run: Run, result: WorkerResult, *, writer: RecordWriter, results: Results, clock: Clock, timeout_s: float
) -> Run | Refused | None:
    """The run with the result on it, or why it was refused; None when only the S3 object could be written.

    Raises when neither could: the result is lost, and the run will be judged by what ECS says of the task.
    """
    task_arn = run.external_id or ""

    def decide(current: ActiveRun) -> RunChange | Refused:
        if not isinstance(current, Run):
            raise Permanent("a result needs the whole record")
        return commit_result(current, result, RetryPolicy(), task_arn=task_arn, now=clock.now())

    async def settle() -> Run | Refused | None:
        written, refused = await retrying(lambda: writer.settle(run, decide), clock, tries=COMMIT_TRIES, key=run.run_id)
        return written or refused

    try:
        return await within(clock, timeout_s, settle(), name="committing the result")
    except (DagyError, TimeoutError) as error:
        _log.error("result not committed to the table; leaving it in S3", error=str(error))
    await retrying(lambda: results.put(run.run_id, task_arn, result), clock, key=run.run_id)
    return None
