"""A run's record: its states, its attributes under the names that people and scripts read, and one change to it."""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

ACTIVE_SHARDS = 16
"""Shards of the `active` index: one DynamoDB partition takes 1,000 writes a second, a bare status would be a hot one."""

TRANSITIONS_KEPT_UNTIL_VERSION = 200
"""Past this version only a terminal transition is still appended: the list, and the 400 KB item, stay bounded."""


class RunStatus(StrEnum):
    """Where a run is in its life; the last three are terminal and never change."""

    QUEUED = "QUEUED"
    LAUNCHING = "LAUNCHING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """Whether the run is over for good."""
        return self in TERMINAL


TERMINAL = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED})
ACTIVE = (RunStatus.QUEUED, RunStatus.LAUNCHING, RunStatus.RUNNING)


class FailureClass(StrEnum):
    """Why an attempt failed. The names are fixed: people, scripts and alarms read them."""

    USER_ERROR = "USER_ERROR"
    NO_RESULT = "NO_RESULT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    TIMED_OUT = "TIMED_OUT"
    ARTIFACT = "ARTIFACT"
    DEPENDENCY = "DEPENDENCY"
    IMPORT = "IMPORT"
    SHUTDOWN = "SHUTDOWN"
    STOPPED = "STOPPED"
    SPOT_INTERRUPTED = "SPOT_INTERRUPTED"
    INFRASTRUCTURE = "INFRASTRUCTURE"
    CAPACITY = "CAPACITY"
    IMAGE_PULL = "IMAGE_PULL"
    RESOURCE_INITIALIZATION = "RESOURCE_INITIALIZATION"
    NETWORK = "NETWORK"
    START_TIMEOUT = "START_TIMEOUT"
    LAUNCH_CONFIGURATION = "LAUNCH_CONFIGURATION"
    LAUNCH_PERMISSION = "LAUNCH_PERMISSION"
    LOST = "LOST"


class StopCause(StrEnum):
    """Why we stopped a run's task ourselves; recorded on the run before StopTask is called."""

    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    START_TIMEOUT = "START_TIMEOUT"
    SUPERSEDED = "SUPERSEDED"
    LINGERING = "LINGERING"


class ResultStatus(StrEnum):
    """What a worker says of its own attempt."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerResult:
    """A worker's word about its attempt: on the record, or in an S3 object when the table could not be written."""

    status: ResultStatus
    attempt: int
    message: str = ""
    failure_class: FailureClass | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRun:
    """What the loops read of a run: exactly what the `active` index projects, so this class *is* its projection.

    Read from the index it may be stale: `version` makes every write that rests on it conditional. Times are aware UTC.
    """

    run_id: str
    org_id: str
    flow_name: str
    executor: str
    status: RunStatus
    attempt: int
    launch_try: int
    max_attempts: int
    infra_failures: int
    version: int
    priority: int = 0
    active_since: datetime | None = None
    not_before: datetime | None = None
    launch_sent_at: datetime | None = None
    launch_sends: int = 0
    started_at: datetime | None = None
    external_id: str | None = None
    cluster: str | None = None
    cancel_requested_at: datetime | None = None
    stop_cause: StopCause | None = None
    result_status: ResultStatus | None = None
    result_attempt: int | None = None
    result_class: FailureClass | None = None
    result_message: str | None = None
    result_at: datetime | None = None

    @property
    def committed_result(self) -> WorkerResult | None:
        """The result that the worker of the current attempt has committed; None when there is none (or of an older attempt)."""
        if self.result_status is None or self.result_attempt != self.attempt:
            return None
        return WorkerResult(
            status=self.result_status,
            attempt=self.attempt,
            message=self.result_message or "",
            failure_class=self.result_class,
        )

    @property
    def user_failures(self) -> int:
        """Earlier attempts that ended by the user's failure: what `max_attempts` bounds."""
        return self.attempt - 1 - self.infra_failures


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGlance:
    """As much of a run as tells whether a task of it should run."""

    run_id: str
    status: RunStatus
    attempt: int
    external_id: str | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of status (or of attempt), for people: when, from, to, which attempt, who wrote it and why."""

    at: datetime
    from_status: str
    to_status: str
    attempt: int
    by: str
    why: str
    evidence: Mapping[str, Any] | None = None
    """What ECS said of the task whose end led to another attempt, and what it cost; None for any other change."""

    @property
    def failure_class(self) -> FailureClass | None:
        """The class of the failure that led to it: what `why` begins with; None for any other change."""
        word = self.why.partition(":")[0]
        return FailureClass(word) if word in set(FailureClass) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(ActiveRun):
    """One run, whole, as DAGY_RUNS holds it. `memory` is in MiB, `cpu` in CPU units, `parameters` and `launch_request` JSON text."""

    correlation_id: str
    created_at: datetime
    queued_at: datetime | None = None
    launching_at: datetime | None = None
    completed_at: datetime | None = None
    flow_version: str | None = None
    deployment_name: str | None = None
    parent_correlation_id: str | None = None
    idempotency_key: str | None = None
    retry_of: str | None = None
    workload_profile: str | None = None
    cpu: int | None = None
    memory: int | None = None
    ephemeral_storage_gib: int | None = None
    capacity_provider: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    parameters: str = "{}"
    dep_package_slugs: tuple[str, ...] = ()
    launch_token: str | None = None
    launch_request: str | None = None
    duration_seconds: float | None = None
    exit_code: int | None = None
    stop_code: str | None = None
    stopped_reason: str | None = None
    evidence: Mapping[str, Any] | None = None
    failure_class: FailureClass | None = None
    error_message: str | None = None
    estimated_cost_usd: float | None = None
    transitions: tuple[Transition, ...] = ()
    op_id: str | None = None


ACTIVE_ATTRIBUTES: tuple[str, ...] = tuple(each.name for each in fields(ActiveRun))
"""The attributes that the `active` index projects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChange:
    """One conditional write to a run: it holds only while the stored `version` is `expected_version`, and adds one to it.

    `fields` maps attribute names of `Run` to new values; None removes the attribute. Made by `lifecycle` and `stop_evidence` only.
    """

    run_id: str
    expected_version: int
    fields: Mapping[str, Any]
    transition: Transition | None = None


def applied(run: Run, change: RunChange, op_id: str) -> Run:
    """The run as it is after the change: what every store must hold. Raises ValueError when the version is not the expected one."""
    if change.run_id != run.run_id or change.expected_version != run.version:
        raise ValueError(
            f"the change expects version {change.expected_version} of {change.run_id}, not {run.version} of {run.run_id}"
        )
    transitions = (*run.transitions, change.transition) if change.transition else run.transitions
    return replace(run, **dict(change.fields), version=run.version + 1, op_id=op_id, transitions=transitions)


def active_view(run: Run) -> ActiveRun:
    """The run as the `active` index shows it."""
    return ActiveRun(**{name: getattr(run, name) for name in ACTIVE_ATTRIBUTES})


def active_key(executor: str, status: str, run_id: str) -> str:
    """The partition key of the `active` index: `{executor}#{status}#{shard}`, shard = CRC-32(run_id) mod 16."""
    return f"{executor}#{status}#{zlib.crc32(run_id.encode()) % ACTIVE_SHARDS:02d}"


def active_keys(executor: str, status: str) -> tuple[str, ...]:
    """All partition keys of one status of one executor."""
    return tuple(f"{executor}#{status}#{shard:02d}" for shard in range(ACTIVE_SHARDS))


def launch_token(run_id: str, attempt: int, launch_try: int) -> str:
    """The RunTask `clientToken` of a launch try: 64 characters (ECS's limit), the same on every replica and after every crash."""
    return hashlib.sha256(f"{run_id}/{attempt}/{launch_try}".encode()).hexdigest()
