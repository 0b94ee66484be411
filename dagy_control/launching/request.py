"""The RunTask request of an attempt: ECS's own parameters, as they are stored and sent. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagy_control.model.failures import shortages
from dagy_control.model.overrides import WorkerFrame, overrides_of, overrides_problem
from dagy_control.model.resources import PROVIDER_VARIABLE, CapacityProvider, choose_provider
from dagy_control.model.runs import Run, launch_token
from dagy_control.model.tasks import STARTED_BY_MAX_CHARACTERS, TaskIdentity

TAG_VALUE_MAX_CHARACTERS = 256
"""ECS refuses a longer value of a tag ("Tag", API reference)."""

_STARTED_BY = re.compile(r"[A-Za-z0-9/_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTarget(WorkerFrame):
    """Where and as what attempts are launched: what the settings say, frozen."""

    installation: str
    cluster: str
    task_definition: str
    subnets: Sequence[str]
    security_groups: Sequence[str]
    assign_public_ip: bool
    provider_weights: Mapping[str, int]
    spot_fallback_after_tries: int = 2


def provider_for(run: Run, target: LaunchTarget) -> str:
    """The capacity provider of this try: the run's own wish, else by weight, else on-demand after too many shortages on Spot."""
    wish = run.environment.get(PROVIDER_VARIABLE)
    if wish:
        return wish
    chosen = choose_provider(target.provider_weights, run.run_id, run.attempt)
    if chosen == CapacityProvider.FARGATE_SPOT and shortages(run) >= target.spot_fallback_after_tries:
        return CapacityProvider.FARGATE
    return chosen


def run_task_request(run: Run, provider: str, target: LaunchTarget) -> dict[str, Any]:
    """The RunTask parameters of the run's current attempt and try. Same record and target, same request, to the letter."""
    tags = {
        "run_id": run.run_id,
        "org_id": run.org_id,
        "flow_name": run.flow_name,
        "attempt": str(run.attempt),
        "correlation_id": run.correlation_id,
        "installation": target.installation,
    }
    return {
        "cluster": target.cluster,
        "taskDefinition": target.task_definition,
        "capacityProviderStrategy": [{"capacityProvider": provider, "weight": 1}],
        "count": 1,
        "clientToken": launch_token(run.run_id, run.attempt, run.launch_try),
        "startedBy": TaskIdentity(target.installation, run.run_id, run.attempt).started_by(),
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": list(target.subnets),
                "securityGroups": list(target.security_groups),
                "assignPublicIp": "ENABLED" if target.assign_public_ip else "DISABLED",
            }
        },
        "overrides": overrides_of(run, target),
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }


def problem_of(request: Mapping[str, Any]) -> str | None:
    """Why ECS would refuse the request for its form; None when it would not. Checked before the call, so that it is never half sent."""
    if problem := overrides_problem(request["overrides"]):
        return problem
    started_by = request["startedBy"]
    if len(started_by) > STARTED_BY_MAX_CHARACTERS or not _STARTED_BY.fullmatch(started_by):
        return (
            f"startedBy {started_by!r} must have at most {STARTED_BY_MAX_CHARACTERS} characters, all of them letters, digits, "
            "'-', '_' or '/': shorten or rename the installation or the run id"
        )
    for tag in request["tags"]:
        if len(tag["value"]) > TAG_VALUE_MAX_CHARACTERS:
            return f"the tag {tag['key']} has {len(tag['value'])} characters, ECS allows {TAG_VALUE_MAX_CHARACTERS}: shorten it"
    return None


def encoded(request: Mapping[str, Any]) -> str:
    """The request as it is kept on the run: a replay must send the same parameters, or ECS answers ConflictException."""
    return json.dumps(request, sort_keys=True, separators=(",", ":"))


def decoded(text: str) -> dict[str, Any]:
    """The request back from the run."""
    request: dict[str, Any] = json.loads(text)
    return request
