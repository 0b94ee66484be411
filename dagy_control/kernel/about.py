"""Which run the work at hand is for: every log line that is written meanwhile carries its keys, the worker's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from dagy_control.model.runs import ActiveRun, Run

_run: ContextVar[ActiveRun | None] = ContextVar("_run", default=None)


@contextmanager
def about(run: ActiveRun | None = None) -> Iterator[None]:
    """Around work for one run (None: its record is not read yet), its calls to AWS included.

    Cheap: the keys are made only when a line is written.
    """
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


def learned(run: Run) -> None:
    """Within `about`: the whole record has been read. From here to the end of the block lines tell its correlation id too."""
    _run.set(run)


def run_keys(run: ActiveRun) -> dict[str, Any]:
    """The keys by which lines of daemon and worker are found together.

    `run_attempt` is the attempt of the record given, not the try of a flow's task, which is `attempt`. `correlation_id` is there for a
    whole record only: the `active` index does not hold it, and is not widened for the sake of a log line.
    """
    keys = {"run_id": run.run_id, "run_attempt": run.attempt, "flow_name": run.flow_name, "org_id": run.org_id}
    return {**keys, "correlation_id": run.correlation_id} if isinstance(run, Run) else keys


def run_at_hand() -> ActiveRun | None:
    """The run that the work under way is for; None outside of any `about`."""
    return _run.get()
