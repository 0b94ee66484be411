"""What RunTask overrides in the worker's task definition for one run. Pure: launching sends it, requests measure it beforehand.

Only what is whitelisted here becomes an override: a user's input never does as it is ("RunTask", ECS API reference).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dagy_control.model.resources import FARGATE_MEMORY_MIB, TaskSize
from dagy_control.model.runs import Run

OVERRIDES_MAX_CHARACTERS = 8192
"""ECS refuses longer overrides, counted as JSON ("TaskOverride", API reference)."""

VARIABLES_NAMED_MAX = 20
"""Variables that a refusal lists by name; the others, smaller ones, are summed up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFrame:
    """What every run's overrides share: the worker's container, its roles, and what each worker is told in its environment."""

    container_name: str
    default_size: TaskSize
    execution_role_arn: str | None = None
    task_role_arn: str | None = None
    worker_environment: Mapping[str, str] = field(default_factory=dict)


def overrides_of(run: Run, frame: WorkerFrame) -> dict[str, Any]:
    """The overrides of the run's current attempt, as RunTask takes them. Same record and frame, same overrides, to the letter."""
    environment = {
        **frame.worker_environment,
        **run.environment,
        "DAGY_RUN_ID": run.run_id,
        "DAGY_ATTEMPT": str(run.attempt),
        "DAGY_CORRELATION_ID": run.correlation_id,
    }
    overrides: dict[str, Any] = {
        "containerOverrides": [
            {
                "name": frame.container_name,
                "environment": [{"name": name, "value": value} for name, value in sorted(environment.items())],
            }
        ],
        "cpu": str(run.cpu or frame.default_size.cpu),
        "memory": str(run.memory or frame.default_size.memory_mib),
    }
    if run.ephemeral_storage_gib is not None:
        overrides["ephemeralStorage"] = {"sizeInGiB": run.ephemeral_storage_gib}
    if frame.execution_role_arn:
        overrides["executionRoleArn"] = frame.execution_role_arn
    if frame.task_role_arn:
        overrides["taskRoleArn"] = frame.task_role_arn
    return overrides


def longest_overrides_of(run: Run, frame: WorkerFrame) -> dict[str, Any]:
    """The overrides of the attempt for which they are longest: what fits now also fits a late attempt on a larger size."""
    cpu = max(FARGATE_MEMORY_MIB)
    return overrides_of(replace(run, attempt=9_999, cpu=cpu, memory=max(FARGATE_MEMORY_MIB[cpu])), frame)


def overrides_problem(overrides: Mapping[str, Any]) -> str | None:
    """Why ECS would refuse the overrides for their length, with the size of each variable, largest first; None when they fit.

    Counted as `json.dumps` writes them, blanks and escapes included: never less than ECS counts.
    """
    length = len(json.dumps(overrides))
    if length <= OVERRIDES_MAX_CHARACTERS:
        return None
    return (
        f"the overrides take {length:,} characters of JSON, ECS allows {OVERRIDES_MAX_CHARACTERS:,}: pass less in the "
        "environment, for instance a reference to a parameter instead of its value; characters by variable: "
        f"{_by_variable(overrides)}"
    )


def _by_variable(overrides: Mapping[str, Any]) -> str:
    sizes = sorted(
        (
            (len(json.dumps(each["value"])) - 2, each["name"])
            for container in overrides["containerOverrides"]
            for each in container["environment"]
        ),
        key=lambda sized: (-sized[0], sized[1]),
    )
    listed = ", ".join(f"{name} {size:,}" for size, name in sizes[:VARIABLES_NAMED_MAX])
    others = sizes[VARIABLES_NAMED_MAX:]
    return listed + (f", and {len(others):,} others {sum(size for size, _ in others):,} together" if others else "")
