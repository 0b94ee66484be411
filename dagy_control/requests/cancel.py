"""Cancelling a run: written first, acknowledged only then; the loops stop its task."""

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.model.lifecycle import request_cancel
from dagy_control.model.runs import ActiveRun, Run, RunChange
from dagy_control.ports.runs import Runs
from dagy_control.requests.known_run import known_run


async def cancel(runs: Runs, writer: RecordWriter, clock: Clock, run_id: str) -> Run:
    """The run with the cancel on record, or as it was when it is over or being cancelled already: repeating is harmless."""
    run = await known_run(runs, run_id)

    def decide(current: ActiveRun) -> RunChange | ActiveRun:
        return request_cancel(current, now=clock.now(), by="request") or current

    written, unchanged = await writer.settle(run, decide)
    result = written or unchanged
    return result if isinstance(result, Run) else run
