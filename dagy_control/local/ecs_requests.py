"""What ECS checks about a request before it does anything. Pure: a request in, a checked order out, or an `EcsError`.

Limits are those of the ECS API reference (RunTask, RegisterTaskDefinition) and of Fargate's table of sizes.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from dagy_control.local.ecs_errors import client_error, invalid
from dagy_control.local.ecs_state import Capacity, Cluster, TaskDefinition

Request = dict[str, Any]

_GIB = 1024
FARGATE_MEMORY_MIB: dict[int, frozenset[int]] = {
    256: frozenset({512, 1 * _GIB, 2 * _GIB}),
    512: frozenset(range(1 * _GIB, 4 * _GIB + 1, _GIB)),
    1024: frozenset(range(2 * _GIB, 8 * _GIB + 1, _GIB)),
    2048: frozenset(range(4 * _GIB, 16 * _GIB + 1, _GIB)),
    4096: frozenset(range(8 * _GIB, 30 * _GIB + 1, _GIB)),
    8192: frozenset(range(16 * _GIB, 60 * _GIB + 1, 4 * _GIB)),
    16384: frozenset(range(32 * _GIB, 120 * _GIB + 1, 8 * _GIB)),
    32768: frozenset({60 * _GIB, 120 * _GIB, 244 * _GIB}),
}
_STARTED_BY = re.compile(r"[A-Za-z0-9\-/_]{0,128}")
_CLIENT_TOKEN = re.compile(r"[\x21-\x7e]{1,64}")
_FAMILY = re.compile(r"[A-Za-z0-9_-]{1,255}")
_OVERRIDE_KEYS = frozenset(
    {
        "containerOverrides",
        "cpu",
        "memory",
        "ephemeralStorage",
        "taskRoleArn",
        "executionRoleArn",
        "inferenceAcceleratorOverrides",
    }
)


@dataclass(frozen=True, slots=True)
class RunTaskOrder:
    """A RunTask request that passed every check. `cpu` in CPU units, `memory_mib` in MiB."""

    definition: TaskDefinition
    count: int
    strategy: tuple[dict[str, Any], ...]
    launch_type_given: bool
    overrides: dict[str, Any]
    cpu: int
    memory_mib: int
    started_by: str
    tags: list[dict[str, str]]
    group: str


def check_client_token(request: Request) -> str:
    """The client token, empty when there is none: at most 64 characters of printable ASCII."""
    token = request.get("clientToken")
    if token is None:
        return ""
    if not _CLIENT_TOKEN.fullmatch(token):
        raise invalid("clientToken can be up to 64 ASCII characters in the range of 33-126.")
    return str(token)


def check_run_task(request: Request, cluster: Cluster, definition: TaskDefinition) -> RunTaskOrder:
    """Check a RunTask request as ECS does on Fargate."""
    count = request.get("count", 1)
    if not 1 <= count <= 10:
        raise invalid("count must be between 1 and 10.")
    started_by = request.get("startedBy", "")
    if not _STARTED_BY.fullmatch(started_by):
        raise invalid("startedBy must be at most 128 characters of A-Z, a-z, 0-9, '-', '/' and '_'.")
    network = request.get("networkConfiguration", {})
    if definition.request.get("networkMode") == "awsvpc" and "awsvpcConfiguration" not in network:
        raise invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    overrides = _checked_overrides(request.get("overrides", {}), definition)
    cpu, memory_mib = _checked_size(overrides, definition)
    return RunTaskOrder(
        definition=definition,
        count=count,
        strategy=_checked_strategy(request, cluster),
        launch_type_given="launchType" in request,
        overrides=overrides,
        cpu=cpu,
        memory_mib=memory_mib,
        started_by=started_by,
        tags=check_tags(request.get("tags", [])),
        group=request.get("group", f"family:{definition.family}"),
    )


def check_tags(tags: list[dict[str, str]]) -> list[dict[str, str]]:
    """At most 50 tags, keys of 1 to 128 and values of at most 256 characters, no key twice, none reserved."""
    if len(tags) > 50:
        raise invalid("The number of tags exceeds the limit of 50.")
    keys = [tag.get("key", "") for tag in tags]
    if len(set(keys)) != len(keys):
        raise invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    for tag in tags:
        key, value = tag.get("key", ""), tag.get("value", "")
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise invalid("Tag keys have 1 to 128 characters, values at most 256.")
        if key.lower().startswith("aws:"):
            raise invalid("Tag keys must not begin with 'aws:'.")
    return [{"key": tag["key"], "value": tag.get("value", "")} for tag in tags]


def _checked_overrides(overrides: dict[str, Any], definition: TaskDefinition) -> dict[str, Any]:
    if len(json.dumps(overrides, separators=(",", ":"))) > 8192:
        raise invalid("Container Overrides length must be at most 8192")
    unknown = sorted(set(overrides) - _OVERRIDE_KEYS)
    if unknown:
        raise invalid(f"Unknown parameter in overrides: {unknown[0]}")
    known = definition.container["name"]
    for container in overrides.get("containerOverrides", []):
        if container.get("name") != known:
            raise invalid(
                f"Override for container named {container.get('name')} is not a container in the TaskDefinition."
            )
    storage = overrides.get("ephemeralStorage", {}).get("sizeInGiB")
    if storage is not None and not 21 <= storage <= 200:
        raise invalid("ephemeralStorage sizeInGiB must be between 21 and 200.")
    return overrides


def _checked_size(overrides: dict[str, Any], definition: TaskDefinition) -> tuple[int, int]:
    cpu = overrides.get("cpu") or definition.request.get("cpu")
    memory = overrides.get("memory") or definition.request.get("memory")
    return check_fargate_size(cpu, memory)


def check_fargate_size(cpu: str | None, memory: str | None) -> tuple[int, int]:
    """CPU units and MiB as numbers, when Fargate offers that pair."""
    try:
        units, mib = int(cpu or ""), int(memory or "")
    except ValueError:
        raise client_error("No Fargate configuration exists for given values.") from None
    if mib not in FARGATE_MEMORY_MIB.get(units, frozenset()):
        raise client_error("No Fargate configuration exists for given values.")
    return units, mib


def _checked_strategy(request: Request, cluster: Cluster) -> tuple[dict[str, Any], ...]:
    strategy = request.get("capacityProviderStrategy")
    launch_type = request.get("launchType")
    if strategy and launch_type:
        raise invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again."
        )
    if launch_type == "FARGATE":
        return ({"capacityProvider": Capacity.FARGATE, "weight": 1},)
    strategy = strategy or ([] if launch_type else cluster.default_strategy)
    if not strategy:
        raise invalid("No Container Instances were found in your cluster.")
    for item in strategy:
        if item.get("capacityProvider") not in set(Capacity):
            raise invalid(f"The specified capacity provider '{item.get('capacityProvider')}' was not found.")
    if sum(1 for item in strategy if item.get("base")) > 1:
        raise invalid("Only one capacity provider in the strategy can have a base.")
    if not any(item.get("weight", 0) or item.get("base", 0) for item in strategy):
        raise invalid("At least one capacity provider must have a weight or base greater than zero.")
    return tuple(strategy)


def check_task_definition(request: Request) -> Request:
    """Check a RegisterTaskDefinition request. The embedded cloud runs exactly one container a task, and says so."""
    if not _FAMILY.fullmatch(request.get("family", "")):
        raise client_error(
            "Family should not be empty, and holds at most 255 letters, numbers, hyphens and underscores."
        )
    containers = request.get("containerDefinitions", [])
    if len(containers) != 1:
        raise client_error("The embedded cloud runs exactly one container a task.")
    if not containers[0].get("name") or not containers[0].get("image"):
        raise client_error("Container.name and Container.image should not be null or empty.")
    stop_timeout = containers[0].get("stopTimeout")
    if stop_timeout is not None and not 2 <= stop_timeout <= 120:
        raise client_error("stopTimeout must be between 2 and 120 seconds for tasks using the FARGATE launch type.")
    check_fargate_size(request.get("cpu"), request.get("memory"))
    return {**request, "containerDefinitions": [{"essential": True, **containers[0]}]}
