"""What has become of the runs of a batch, counted from their records alone. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dagy_control.model.runs import Run, RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchExplanation:
    """The runs of a batch together. `failures`: for each class its count and one run that shows it; costs over those that are known."""

    correlation_id: str
    runs: int
    by_status: Mapping[str, int]
    failures: Mapping[str, tuple[int, str]]
    infra_failures: int
    estimated_cost_usd: float | None
    without_cost: int
    first_created_at: datetime | None
    last_completed_at: datetime | None


def explain_batch(correlation_id: str, runs: Sequence[Run]) -> BatchExplanation:
    """What has become of a batch."""
    failures: dict[str, tuple[int, str]] = {}
    for run in runs:
        if run.status is RunStatus.FAILED:
            name = str(run.failure_class or "no class")
            count, example = failures.get(name, (0, run.run_id))
            failures[name] = (count + 1, example)
    costs = [run.estimated_cost_usd for run in runs if run.estimated_cost_usd is not None]
    return BatchExplanation(
        correlation_id=correlation_id,
        runs=len(runs),
        by_status=dict(sorted(Counter(str(run.status) for run in runs).items())),
        failures=dict(sorted(failures.items())),
        infra_failures=sum(run.infra_failures for run in runs),
        estimated_cost_usd=sum(costs) if costs else None,
        without_cost=len(runs) - len(costs),
        first_created_at=min((run.created_at for run in runs), default=None),
        last_completed_at=max((run.completed_at for run in runs if run.completed_at is not None), default=None),
    )
