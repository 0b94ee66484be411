"""The run that a request names."""

from dagy_control.model.runs import Run
from dagy_control.ports.runs import Runs
from dagy_control.requests.refusals import RequestRefused


async def known_run(runs: Runs, run_id: str) -> Run:
    """The run of that id. Raises `RequestRefused` when there is none, or the id is empty: it comes from an unset shell variable."""
    if not run_id.strip():
        raise RequestRefused("run_id", "the run id is empty: say which run")
    run = await runs.get(run_id)
    if run is None:
        raise RequestRefused("run_id", f"there is no run {run_id}")
    return run
