"""Real shapes of tasks, as data: what ECS shows, where that was seen, and what we are to conclude.

`task_shapes.json` holds one shape a row; its `task` says what differs from `SHOWN`, a task that ran and was STOPPED, as
DescribeTasks shows it (`null` takes a field away; a `task` that is null is MISSING). `run` says what the record holds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagy_control.adapters.ecs_reading import EVENT_SOURCE, EVENT_TYPE, read_event
from dagy_control.model.outcomes import Sighting
from dagy_control.model.runs import FailureClass, ResultStatus, Run, StopCause, WorkerResult
from dagy_control.model.tasks import SeenTask
from tests.builders import ARN, NOW, WORKER, ago, committed, running

SHOWN: Mapping[str, Any] = {
    "taskArn": ARN,
    "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/main",
    "taskDefinitionArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/dagy-worker:3",
    "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
    "availabilityZone": "us-east-1a",
    "capacityProviderName": "FARGATE",
    "connectivity": "CONNECTED",
    "cpu": "1024",
    "memory": "2048",
    "ephemeralStorage": {"sizeInGiB": 20},
    "launchType": "FARGATE",
    "platformFamily": "Linux",
    "platformVersion": "1.4.0",
    "desiredStatus": "STOPPED",
    "lastStatus": "STOPPED",
    "createdAt": "2025-12-31T22:59:10.123Z",
    "pullStartedAt": "2025-12-31T22:59:30.456Z",
    "pullStoppedAt": "2025-12-31T22:59:50.456Z",
    "startedAt": "2025-12-31T22:59:58.789Z",
    "stoppingAt": "2025-12-31T23:59:00.000Z",
    "stoppedAt": "2025-12-31T23:59:30.000Z",
    "version": 6,
}
MAX_ATTEMPTS = 2


@dataclass(frozen=True)
class Expected:
    """What a shape leads to: rule, ending, class, the budget that a retry is taken from, the sentence, and the remedy."""

    rule: str
    ending: str
    failure_class: str | None
    retry: str
    sentence: str
    remedy: str


@dataclass(frozen=True)
class Shape:
    """One row. `sighting` is what the judgement sees; `shown` what ECS shows, None for MISSING."""

    name: str
    source: str
    sighting: Sighting
    shown: Mapping[str, Any] | None
    expected: Expected

    @property
    def run(self) -> Run:
        """The whole record."""
        assert isinstance(self.sighting.run, Run)
        return self.sighting.run


def load_shapes() -> list[Shape]:
    """Every row, in the file's order."""
    rows = json.loads(Path(__file__).with_suffix(".json").read_text())
    return [_shape(row) for row in rows]


def _shape(row: Mapping[str, Any]) -> Shape:
    on_record = row.get("run", {})
    shown = None if row["task"] is None else _without_nulls({**SHOWN, **row["task"]})
    expected = Expected(
        rule=row["expect"]["rule"],
        ending=row["expect"]["ending"],
        failure_class=row["expect"]["class"],
        retry=row["expect"]["retry"],
        sentence=row["expect"]["sentence"],
        remedy=row["expect"]["remedy"],
    )
    sighting = Sighting(
        run=_run(on_record),
        task=None if shown is None else _seen(shown, on_record.get("attempt", 1)),
        now=NOW,
        container_name=WORKER,
        missing_grace_s=600.0,
        missing_observations=row.get("observations", 0),
        stored_result=_word(on_record.get("stored")),
    )
    return Shape(row["name"], row["source"], sighting, shown, expected)


def _without_nulls(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if value is not None}


def _seen(shown: Mapping[str, Any], attempt: int) -> SeenTask:
    """By the real reading; the task is of the attempt on record unless the row says otherwise."""
    detail = {"startedBy": f"dagy/r1/{attempt}", **shown}
    return read_event(json.dumps({"source": EVENT_SOURCE, "detail-type": EVENT_TYPE, "detail": detail}))


def _word(said: Mapping[str, Any] | None) -> WorkerResult | None:
    if said is None:
        return None
    failure_class = FailureClass(said["class"]) if "class" in said else None
    return WorkerResult(
        status=ResultStatus(said["status"]), attempt=1, failure_class=failure_class, message=said["message"]
    )


def _run(on_record: Mapping[str, Any]) -> Run:
    values: dict[str, Any] = {"max_attempts": MAX_ATTEMPTS, "attempt": on_record.get("attempt", 1)}
    if word := _word(on_record.get("result")):
        values |= committed(word)
    if on_record.get("cancelled"):
        values["cancel_requested_at"] = ago(90)
    if "stop_cause" in on_record:
        values["stop_cause"] = StopCause(on_record["stop_cause"])
    if "sent_s_ago" in on_record:
        values["launch_sent_at"] = ago(on_record["sent_s_ago"])
    if on_record.get("unclaimed"):
        values["started_at"] = None
    return running(**values)
