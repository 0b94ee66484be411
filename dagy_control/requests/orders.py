"""What may be ordered: the arguments of a launch, read from anybody's JSON or keywords, and checked as far as they tell. Pure."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from dagy_control.model.deployments import Deployment
from dagy_control.model.flow_templates import Json
from dagy_control.model.flows import nearest
from dagy_control.model.runs import Run
from dagy_control.requests.environment import check_environment
from dagy_control.requests.organisations import check_org_id
from dagy_control.requests.refusals import RequestRefused

T = TypeVar("T")

CORRELATION_ID = re.compile(r"(?!(?i:aws:))[A-Za-z0-9_.:/=+@-]{1,128}")
"""It becomes a tag of the task: ECS keeps the prefix `aws:` for itself, in values too ("Tag", API reference)."""
CORRELATION_ID_MAX_CHARACTERS = 128
IDEMPOTENCY_KEY_MAX_CHARACTERS = 256
PARAMETERS_MAX_CHARACTERS = 100_000
ATTEMPTS_MAX = 20
PRIORITY_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOrder:
    """What to launch, for whom, and how: a flow or a deployment, by its name. `memory` in MiB, `cpu` in CPU units.

    What is None takes the deployment's value, or else its default.
    """

    org_id: str
    flow_name: str | None = None
    deployment_name: str | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict)
    flow_version: str | None = None
    workload_profile: str | None = None
    cpu: int | None = None
    memory: int | None = None
    ephemeral_storage_gib: int | None = None
    extra_env_vars: Mapping[str, str] = field(default_factory=dict)
    executor: str = "ecs"
    correlation_id: str | None = None
    parent_correlation_id: str | None = None
    idempotency_key: str | None = None
    priority: int | None = None
    max_attempts: int | None = None


def read_order(document: Mapping[str, Any]) -> LaunchOrder:
    """The order that a JSON object or keyword arguments give; null means absent. Raises `RequestRefused` by field.

    Whole numbers may be written as text too: the runbook writes `memory="8192"`.
    """
    values: dict[str, Any] = {}
    for name, value in document.items():
        read = _READERS.get(name)
        if read is None:
            raise RequestRefused(str(name), f"a launch has no argument {name!r}{nearest(str(name), _READERS)}")
        if value is not None:
            values[name] = read(name, value)
    if "org_id" not in values:
        raise RequestRefused("org_id", "org_id is missing: say whose run it is")
    return LaunchOrder(**values)


def check_order(order: LaunchOrder, providers: Sequence[str]) -> None:
    """Refuse what no flow, table or tag could make good."""
    check_org_id(order.org_id)
    if order.max_attempts is not None and not 1 <= order.max_attempts <= ATTEMPTS_MAX:
        raise RequestRefused("max_attempts", f"max_attempts must be 1 to {ATTEMPTS_MAX}, not {order.max_attempts}")
    for name in ("correlation_id", "parent_correlation_id"):
        value = getattr(order, name)
        if value is not None:
            check_correlation_id(name, value)
    if order.idempotency_key is not None:
        check_idempotency_key(order.idempotency_key)
    if order.priority is not None and abs(order.priority) > PRIORITY_MAX:
        raise RequestRefused("priority", f"priority must be {-PRIORITY_MAX} to {PRIORITY_MAX}, not {order.priority}")
    check_environment(order.extra_env_vars, providers)


def check_correlation_id(name: str, value: str) -> None:
    """Refuse what no tag of a task can hold; `name` says which correlation id it is."""
    if not CORRELATION_ID.fullmatch(value):
        raise RequestRefused(
            name, f"{name} must have 1 to 128 of the characters A-Z a-z 0-9 _ . : / = + @ - and not begin with aws:"
        )


def check_idempotency_key(key: str) -> None:
    """Refuse what cannot tell two launches apart: an empty key comes from an unset shell variable."""
    if not (key.strip() and len(key) <= IDEMPOTENCY_KEY_MAX_CHARACTERS):
        raise RequestRefused(
            "idempotency_key",
            f"the idempotency key must have 1 to {IDEMPOTENCY_KEY_MAX_CHARACTERS} characters; leave it out to launch without",
        )


def correlation_id_of(order: LaunchOrder, run_id: str) -> str:
    """The run's correlation id: a child's begins with its parent's, so that a search for that finds the batch."""
    parent = order.parent_correlation_id
    if not parent:
        return order.correlation_id or run_id
    own = order.correlation_id or run_id[:8]
    correlation_id = own if own.startswith(parent) else f"{parent}.{own}"
    if len(correlation_id) > CORRELATION_ID_MAX_CHARACTERS:
        raise RequestRefused(
            "correlation_id",
            f"the correlation id {correlation_id!r}, which begins with the parent's, has over {CORRELATION_ID_MAX_CHARACTERS} "
            "characters; shorten one of them",
        )
    return correlation_id


def over_deployment(order: LaunchOrder, deployment: Deployment) -> LaunchOrder:
    """The order with the deployment's values where it has none of its own; parameters and variables by their names.

    A size is one thing: an order that names a profile takes none of the deployment's numbers.
    """
    named = order.workload_profile is not None
    return replace(
        order,
        flow_name=deployment.flow_name,
        deployment_name=deployment.deployment_name,
        flow_version=_first(order.flow_version, deployment.flow_version),
        parameters={**deployment.parameters, **order.parameters},
        workload_profile=order.workload_profile if named else deployment.workload_profile,
        cpu=order.cpu if named else _first(order.cpu, deployment.cpu),
        memory=order.memory if named else _first(order.memory, deployment.memory),
        ephemeral_storage_gib=_first(order.ephemeral_storage_gib, deployment.ephemeral_storage_gib),
        extra_env_vars={**deployment.environment, **order.extra_env_vars},
        priority=_first(order.priority, deployment.priority),
        max_attempts=_first(order.max_attempts, deployment.max_attempts),
    )


def _first(own: T | None, default: T | None) -> T | None:
    return default if own is None else own


def differences(order: LaunchOrder, run: Run) -> Sequence[str]:
    """In which arguments the run is not what the order asks for, as `memory 512, not 8192`: its idempotency key had made it before.

    What the order leaves open is not compared; of an order by a deployment, which may have changed since, neither are parameters
    and variables that it does not name. The size only while the run has its first one: an attempt may have been given more.
    """
    own = order.deployment_name is not None
    parameters, variables = json.loads(run.parameters), run.environment
    compared = [
        ("deployment", run.deployment_name, order.deployment_name),
        ("parameters", _named(parameters, order.parameters) if own else parameters, dict(order.parameters)),
        ("variables", _named(variables, order.extra_env_vars) if own else variables, dict(order.extra_env_vars)),
    ]
    names = ["flow_name", "flow_version", "executor", "ephemeral_storage_gib", "priority", "max_attempts"]
    if not run.infra_failures:
        names += ["workload_profile", "cpu", "memory"]
    compared += [(name, getattr(run, name), getattr(order, name)) for name in names if getattr(order, name) is not None]
    return [f"{name} {_json(has)}, not {_json(asked)}" for name, has, asked in compared if has != asked]


def _named(values: Mapping[str, T], names: Iterable[str]) -> dict[str, T]:
    return {name: values[name] for name in names if name in values}


def _json(value: object) -> str:
    return f"{json.dumps(value, default=str):.200}"


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise RequestRefused(name, f"{name} must be text, not {_shown(value)}")
    return value


def _whole(name: str, value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise RequestRefused(name, f"{name} must be a whole number, not {_shown(value)}")
    return value


def _values(name: str, value: object) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise RequestRefused(name, f"{name} must be an object of names and values, not {_shown(value)}")
    return value


def _variables(name: str, value: object) -> Mapping[str, str]:
    variables = _values(name, value)
    for variable, each in variables.items():
        if not isinstance(each, str):
            raise RequestRefused(name, f"{name}: {variable} must be text, not {_shown(each)}")
    return {variable: str(each) for variable, each in variables.items()}


def _shown(value: object) -> str:
    return f"{value!r:.60}"


_KINDS: Mapping[object, Callable[[str, object], object]] = {
    str: _text,
    str | None: _text,
    int: _whole,
    int | None: _whole,
    Mapping[str, Json]: _values,
    Mapping[str, str]: _variables,
}
_READERS = {each.name: _KINDS[each.type] for each in fields(LaunchOrder)}
"""A reader for every argument. A new one of another type fails right here, at import."""
