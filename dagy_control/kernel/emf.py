"""The few figures that alarms need, as CloudWatch's embedded metric format: JSON lines in the log that CloudWatch turns into metrics.

Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format". Whatever ships the log (ECS's awslogs driver, Lambda)
needs to know nothing of it.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.drain import Drain
from dagy_control.model.runs import Run, RunStatus

FLUSH_S = 60.0
"""CloudWatch's standard resolution: more lines would cost and show nothing."""

DIMENSIONS_MAX = 30
DIMENSION_CHARACTERS_MAX = 1024


class Figure(StrEnum):
    """A metric's name in CloudWatch; docs/metrics.md explains them."""

    ALIVE = "Alive"
    RUNS_ENDED = "RunsEnded"
    RUNS_FAILED = "RunsFailed"
    RECONCILE_LAG = "ReconcileLag"


F = TypeVar("F", bound=str)

UNITS: Mapping[str, str] = {
    Figure.ALIVE: "Count",
    Figure.RUNS_ENDED: "Count",
    Figure.RUNS_FAILED: "Count",
    Figure.RECONCILE_LAG: "Seconds",
}
COUNTED = (Figure.RUNS_ENDED, Figure.RUNS_FAILED)


def document(
    figures: Mapping[F, float], *, namespace: str, dimensions: Mapping[str, str], unix_ms: int
) -> dict[str, Any]:
    """The root node of one line: every dimension and every figure is a member of it, as `_aws` says. What has no unit is a count."""
    directive = {
        "Namespace": namespace,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": str(figure), "Unit": UNITS.get(figure, "Count")} for figure in figures],
    }
    values = {str(figure): value for figure, value in figures.items()}
    return {"_aws": {"Timestamp": unix_ms, "CloudWatchMetrics": [directive]}, **dimensions, **values}


class EmbeddedMetrics:
    """Gathers figures and writes them as one line a minute. A service of the process: `Supervisor.add("…", metrics.run)`.

    `dimensions`: names and values that tell this installation from others; ValueError for what the specification does not allow.
    `write` takes a line with its end. Counts are of this process: CloudWatch adds up those of all replicas and workers.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        namespace: str,
        dimensions: Mapping[str, str],
        write: Callable[[str], object] = lambda line: sys.stdout.write(line),
    ) -> None:
        if len(dimensions) > DIMENSIONS_MAX or not all(
            0 < len(value) <= DIMENSION_CHARACTERS_MAX for value in dimensions.values()
        ):
            raise ValueError(f"not a usable set of dimensions: {dimensions}")
        self._clock = clock
        self._namespace = namespace
        self._dimensions = dict(dimensions)
        self._write = write
        self._counts: dict[Figure, float] = dict.fromkeys(COUNTED, 0)
        self._levels: dict[Figure, float] = {}

    def run_ended(self, run: Run) -> None:
        """A run has come to its end for good."""
        self._counts[Figure.RUNS_ENDED] += 1
        self._counts[Figure.RUNS_FAILED] += run.status is RunStatus.FAILED

    def reconcile_lag(self, seconds: float) -> None:
        """A pass has ended, so late; the latest of a minute is written, and none where no pass was made (another replica's)."""
        if math.isfinite(seconds):
            self._levels[Figure.RECONCILE_LAG] = seconds

    def tell(self, counts: Mapping[str, float], *, part: str, dimensions: Sequence[str]) -> None:
        """Write at once what happens seldom, as a line of its own: in the namespace's `part`, with these of the dimensions."""
        root = document(
            counts,
            namespace=f"{self._namespace}/{part}",
            dimensions={name: self._dimensions[name] for name in dimensions},
            unix_ms=int(self._clock.now().timestamp() * 1000),
        )
        self._write(json.dumps(root, separators=(",", ":")) + "\n")

    def flush(self, *, alive: bool = True) -> None:
        """Write what there is. Counts of zero too: an alarm needs to tell "none" from "nobody is there to count".

        A process that is not there to be watched, a worker, says `alive=False`: it writes only of runs that have ended.
        """
        if not alive and not any(self._counts.values()):
            return
        figures = {**({Figure.ALIVE: 1} if alive else {}), **self._counts, **self._levels}
        root = document(
            figures,
            namespace=self._namespace,
            dimensions=self._dimensions,
            unix_ms=int(self._clock.now().timestamp() * 1000),
        )
        self._write(json.dumps(root, separators=(",", ":")) + "\n")
        self._counts = dict.fromkeys(COUNTED, 0)
        self._levels = {}

    async def run(self, drain: Drain) -> None:
        """Write a line each minute until the drain begins, and a last one then."""
        while not drain.begun:
            await drain.interrupt(self._clock.sleep(FLUSH_S))
            self.flush()
