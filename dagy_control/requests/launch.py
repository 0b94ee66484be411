"""Launching a run: the request checked, and a QUEUED run written. The launching loop does the rest."""

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dagy_control.errors import Conflict
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.model.flow_templates import Json
from dagy_control.model.flows import FlowRecord, FlowStatus, nearest, resolve_parameters
from dagy_control.model.resources import CapacityProvider, TaskSize
from dagy_control.model.runs import Run, RunStatus, Transition
from dagy_control.ports.flows import Flows
from dagy_control.requests.environment import check_environment
from dagy_control.requests.executors import Executor, check_executor
from dagy_control.requests.organisations import check_org_id
from dagy_control.requests.refusals import RequestRefused
from dagy_control.requests.sizes import choose_size

CORRELATION_ID = re.compile(r"(?!(?i:aws:))[A-Za-z0-9_.:/=+@-]{1,128}")
"""It becomes a tag of the task: ECS keeps the prefix `aws:` for itself, in values too ("Tag", API reference)."""
CORRELATION_ID_MAX_CHARACTERS = 128
IDEMPOTENCY_KEY_MAX_CHARACTERS = 256
PARAMETERS_MAX_CHARACTERS = 100_000
ATTEMPTS_MAX = 20
PRIORITY_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOrder:
    """What to launch, for whom, and how. `memory` in MiB, `cpu` in CPU units; what is None takes its default."""

    flow_name: str
    org_id: str
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
    priority: int = 0
    max_attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPolicy:
    """What the configuration says about requests."""

    executors: Mapping[str, Executor]
    profiles: Mapping[str, TaskSize]
    default_profile: str
    providers: Sequence[str] = tuple(CapacityProvider)


class Launcher:
    """Takes orders. `new_id` gives UUIDv4 texts."""

    def __init__(
        self, flows: Flows, writer: RecordWriter, clock: Clock, policy: RequestPolicy, new_id: Callable[[], str]
    ) -> None:
        self._flows = flows
        self._writer = writer
        self._clock = clock
        self._policy = policy
        self._new_id = new_id

    async def launch(self, **order: Any) -> Run:  # noqa: ANN401 - the arguments of LaunchOrder, which types them
        """Launch by keywords, as the runbook writes it: `launch(flow_name=…, org_id=…, workload_profile=…)`."""
        return await self.submit(LaunchOrder(**order))

    async def submit(self, order: LaunchOrder) -> Run:
        """The QUEUED run; with an idempotency key that was used before, the run of that time.

        Raises `RequestRefused`, having written nothing; `Transient` when the tables cannot be reached: safe to repeat only
        with an idempotency key.
        """
        check_executor(self._policy.executors, order.executor)
        _check(order, self._policy)
        correlation_id = _correlation_id(order, run_id := self._run_id(order))
        size = choose_size(
            self._policy.profiles,
            self._policy.default_profile,
            profile=order.workload_profile,
            cpu=order.cpu,
            memory=order.memory,
            ephemeral_storage_gib=order.ephemeral_storage_gib,
        )
        flow = await self._flow(order)
        run = _new_run(order, flow, size, run_id, correlation_id, self._clock.now())
        try:
            return await self._writer.create(run)
        except Conflict as conflict:
            if order.idempotency_key is not None and isinstance(conflict.current, Run):
                return conflict.current
            raise

    def _run_id(self, order: LaunchOrder) -> str:
        if order.idempotency_key is None:
            return self._new_id()
        return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_OID, order.org_id), order.idempotency_key))

    async def _flow(self, order: LaunchOrder) -> FlowRecord:
        record = await self._flows.get(order.org_id, order.flow_name, order.flow_version)
        if record is None:
            raise _unknown(order, await self._flows.of_org(order.org_id))
        if record.status is not FlowStatus.ACTIVE:
            raise _retired(order.flow_name, record.flow_version)
        resolved = resolve_parameters(record.spec, order.parameters)
        if resolved.problems:
            raise RequestRefused("parameters", "; ".join(resolved.problems))
        if len(json.dumps(dict(order.parameters))) > PARAMETERS_MAX_CHARACTERS:
            raise RequestRefused(
                "parameters",
                f"parameters over {PARAMETERS_MAX_CHARACTERS:,} characters; pass a reference to a file instead",
            )
        return record


def _unknown(order: LaunchOrder, registered: Sequence[FlowRecord]) -> RequestRefused:
    """Why there is nothing to launch, told by what the organisation has registered."""
    versions = [record.flow_version for record in registered if record.flow_name == order.flow_name]
    if not versions:
        hint = nearest(order.flow_name, {record.flow_name for record in registered})
        return RequestRefused(
            "flow_name",
            f"organisation {order.org_id!r} has no flow {order.flow_name!r}"
            f"{hint or '; register it first, or see `flows list`'}",
        )
    if order.flow_version is None:
        return _retired(order.flow_name, *versions)
    return RequestRefused(
        "flow_version",
        f"flow {order.flow_name!r} of organisation {order.org_id!r} has no version {order.flow_version!r}; "
        f"registered: {', '.join(versions)}",
    )


def _retired(flow_name: str, *versions: str) -> RequestRefused:
    listed = ", ".join(repr(version) for version in versions)
    return RequestRefused(
        "flow_version",
        f"flow {flow_name!r} version {listed} is {FlowStatus.RETIRED}; launch or register another version",
    )


def _check(order: LaunchOrder, policy: RequestPolicy) -> None:
    check_org_id(order.org_id)
    if not 1 <= order.max_attempts <= ATTEMPTS_MAX:
        raise RequestRefused("max_attempts", f"max_attempts must be 1 to {ATTEMPTS_MAX}, not {order.max_attempts}")
    for name in ("correlation_id", "parent_correlation_id"):
        value = getattr(order, name)
        if value is not None and not CORRELATION_ID.fullmatch(value):
            raise RequestRefused(
                name, f"{name} must have 1 to 128 of the characters A-Z a-z 0-9 _ . : / = + @ - and not begin with aws:"
            )
    key = order.idempotency_key
    if key is not None and not (key.strip() and len(key) <= IDEMPOTENCY_KEY_MAX_CHARACTERS):
        raise RequestRefused(
            "idempotency_key",
            f"the idempotency key must have 1 to {IDEMPOTENCY_KEY_MAX_CHARACTERS} characters; leave it out to launch without",
        )
    if abs(order.priority) > PRIORITY_MAX:
        raise RequestRefused("priority", f"priority must be {-PRIORITY_MAX} to {PRIORITY_MAX}, not {order.priority}")
    check_environment(order.extra_env_vars, policy.providers)


def _correlation_id(order: LaunchOrder, run_id: str) -> str:
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


def _new_run(
    order: LaunchOrder, flow: FlowRecord, size: TaskSize, run_id: str, correlation_id: str, now: datetime
) -> Run:
    return Run(
        run_id=run_id,
        org_id=order.org_id,
        flow_name=order.flow_name,
        flow_version=flow.flow_version,
        executor=order.executor,
        status=RunStatus.QUEUED,
        attempt=1,
        launch_try=1,
        max_attempts=order.max_attempts,
        infra_failures=0,
        version=1,
        priority=order.priority,
        active_since=now,
        created_at=now,
        queued_at=now,
        correlation_id=correlation_id,
        parent_correlation_id=order.parent_correlation_id,
        idempotency_key=order.idempotency_key,
        workload_profile=order.workload_profile,
        cpu=size.cpu,
        memory=size.memory_mib,
        ephemeral_storage_gib=size.ephemeral_storage_gib,
        environment=dict(order.extra_env_vars),
        parameters=json.dumps(dict(order.parameters)),
        transitions=(
            Transition(at=now, from_status="", to_status=RunStatus.QUEUED, attempt=1, by="request", why="launched"),
        ),
    )
