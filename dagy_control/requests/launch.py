"""Launching a run: the request checked, and a QUEUED run written. The launching loop does the rest."""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dagy_control.errors import Conflict
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.model.deployments import Deployment
from dagy_control.model.flows import FlowRecord, FlowStatus, nearest, resolve_parameters
from dagy_control.model.overrides import WorkerFrame, longest_overrides_of, overrides_problem
from dagy_control.model.resources import CapacityProvider, TaskSize
from dagy_control.model.runs import Run, RunStatus, Transition
from dagy_control.ports.deployments import Deployments
from dagy_control.ports.flows import Flows
from dagy_control.ports.runs import RunListings, Runs
from dagy_control.requests.executors import Executor, check_executor
from dagy_control.requests.orders import (
    PARAMETERS_MAX_CHARACTERS,
    LaunchOrder,
    check_order,
    correlation_id_of,
    over_deployment,
    read_order,
)
from dagy_control.requests.queue_bound import QueueFull, check_room
from dagy_control.requests.read_once import DeploymentsReadOnce, FlowsReadOnce
from dagy_control.requests.refusals import RequestRefused
from dagy_control.requests.sizes import choose_size


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPolicy:
    """What the configuration says about requests. `frame`: what a run's overrides share, which they must fit beside.

    `max_queued_runs` None: the queue is not looked at.
    """

    executors: Mapping[str, Executor]
    profiles: Mapping[str, TaskSize]
    default_profile: str
    frame: WorkerFrame
    providers: Sequence[str] = tuple(CapacityProvider)
    max_queued_runs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPorts:
    """What requests read and write. `new_id` gives UUIDv4 texts."""

    flows: Flows
    deployments: Deployments
    runs: Runs
    listings: RunListings
    writer: RecordWriter
    clock: Clock
    new_id: Callable[[], str]


class Launcher:
    """Takes orders."""

    def __init__(self, ports: RequestPorts, policy: RequestPolicy) -> None:
        self.ports = ports
        self.policy = policy

    def for_batch(self) -> "Launcher":
        """One that reads each flow and deployment once, and leaves the queue's bound to the batch. For the time of one batch."""
        ports = replace(
            self.ports,
            flows=FlowsReadOnce(self.ports.flows),
            deployments=DeploymentsReadOnce(self.ports.deployments),
        )
        return Launcher(ports, replace(self.policy, max_queued_runs=None))

    async def check_room(self, orders: int, *, executor: str, seed: str) -> None:
        """Raise `QueueFull` when the queue has no room for so many more runs."""
        limit = self.policy.max_queued_runs
        if limit is not None:
            await check_room(self.ports.listings, executor=executor, limit=limit, orders=orders, seed=seed)

    async def launch(self, **order: Any) -> Run:  # noqa: ANN401 - the arguments of LaunchOrder, which types them
        """Launch by keywords, as the runbook writes it: `launch(flow_name=…, org_id=…, workload_profile=…)`."""
        return await self.submit(read_order(order))

    async def submit(self, order: LaunchOrder) -> Run:
        """The QUEUED run; with an idempotency key that was used before, the run of that time.

        Raises `RequestRefused` (`QueueFull` when there is no room), having written nothing; `Transient` when the tables
        cannot be reached: safe to repeat only with an idempotency key.
        """
        check_executor(self.policy.executors, order.executor)
        check_order(order, self.policy.providers)
        if order.deployment_name is None:
            return await self.queue(order)
        if order.flow_name is not None:
            raise RequestRefused("deployment_name", "name a flow or a deployment, not both: a deployment has its flow")
        deployment = await self.deployment(order.org_id, order.deployment_name)
        slugs = deployment.dep_package_slugs
        return await self.queue(over_deployment(order, deployment), dep_package_slugs=slugs)

    async def queue(
        self, order: LaunchOrder, *, retry_of: str | None = None, dep_package_slugs: tuple[str, ...] = ()
    ) -> Run:
        """As `submit`, of an order that is complete: what its deployment has to say is in it, the deployment's name for the record.

        `dep_package_slugs`: those of the deployment, which the run keeps however the deployment changes.
        """
        check_executor(self.policy.executors, order.executor)
        check_order(order, self.policy.providers)
        run_id = self._run_id(order)
        correlation_id = correlation_id_of(order, run_id)
        size = self.size_of(order)
        flow = await self.flow_of(order)
        resolved = resolve_parameters(flow.spec, order.parameters)
        if resolved.problems:
            raise RequestRefused("parameters", "; ".join(resolved.problems))
        run = _new_run(order, flow, size, run_id, correlation_id, self.ports.clock.now(), retry_of)
        run = replace(run, dep_package_slugs=dep_package_slugs)
        if len(run.parameters) > PARAMETERS_MAX_CHARACTERS:
            raise RequestRefused(
                "parameters",
                f"parameters over {PARAMETERS_MAX_CHARACTERS:,} characters; pass a reference to a file instead",
            )
        if problem := overrides_problem(longest_overrides_of(run, self.policy.frame)):
            raise RequestRefused("extra_env_vars", problem)
        try:
            await self.check_room(1, executor=run.executor, seed=run_id)
            return await self.ports.writer.create(run)
        except QueueFull:
            if order.idempotency_key is not None and (known := await self.ports.runs.get(run_id)) is not None:
                return known
            raise
        except Conflict as conflict:
            if order.idempotency_key is not None and isinstance(conflict.current, Run):
                return conflict.current
            raise

    def size_of(self, order: LaunchOrder) -> TaskSize:
        """The size that the order asks for. Raises `RequestRefused` when Fargate has none such."""
        return choose_size(
            self.policy.profiles,
            self.policy.default_profile,
            profile=order.workload_profile,
            cpu=order.cpu,
            memory=order.memory,
            ephemeral_storage_gib=order.ephemeral_storage_gib,
        )

    async def flow_of(self, order: LaunchOrder) -> FlowRecord:
        """The flow version that the order means. Raises `RequestRefused` when there is none, or it is retired."""
        if order.flow_name is None:
            raise RequestRefused("flow_name", "flow_name is missing: name a flow or a deployment")
        record = await self.ports.flows.get(order.org_id, order.flow_name, order.flow_version)
        if record is None:
            raise _unknown(order, order.flow_name, await self.ports.flows.of_org(order.org_id))
        if record.status is not FlowStatus.ACTIVE:
            raise _retired(order.flow_name, record.flow_version)
        return record

    async def deployment(self, org_id: str, deployment_name: str) -> Deployment:
        """The deployment of that name. Raises `RequestRefused`, with the nearest name, when the organisation has none such."""
        found = await self.ports.deployments.get(org_id, deployment_name)
        if found is None:
            names = [each.deployment_name for each in await self.ports.deployments.of_org(org_id)]
            hint = nearest(deployment_name, names) or "; set it first, or see `deployments list`"
            raise RequestRefused(
                "deployment_name", f"organisation {org_id!r} has no deployment {deployment_name!r}{hint}"
            )
        return found

    def _run_id(self, order: LaunchOrder) -> str:
        if order.idempotency_key is None:
            return self.ports.new_id()
        return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_OID, order.org_id), order.idempotency_key))


def _unknown(order: LaunchOrder, flow_name: str, registered: Sequence[FlowRecord]) -> RequestRefused:
    """Why there is nothing to launch, told by what the organisation has registered."""
    versions = [record.flow_version for record in registered if record.flow_name == flow_name]
    if not versions:
        hint = nearest(flow_name, {record.flow_name for record in registered})
        return RequestRefused(
            "flow_name",
            f"organisation {order.org_id!r} has no flow {flow_name!r}{hint or '; register it first, or see `flows list`'}",
        )
    if order.flow_version is None:
        return _retired(flow_name, *versions)
    return RequestRefused(
        "flow_version",
        f"flow {flow_name!r} of organisation {order.org_id!r} has no version {order.flow_version!r}; "
        f"registered: {', '.join(versions)}",
    )


def _retired(flow_name: str, *versions: str) -> RequestRefused:
    listed = ", ".join(repr(version) for version in versions)
    return RequestRefused(
        "flow_version",
        f"flow {flow_name!r} version {listed} is {FlowStatus.RETIRED}; launch or register another version",
    )


def _new_run(
    order: LaunchOrder,
    flow: FlowRecord,
    size: TaskSize,
    run_id: str,
    correlation_id: str,
    now: datetime,
    retry_of: str | None,
) -> Run:
    why = "launched" if retry_of is None else f"retry of {retry_of}"
    return Run(
        run_id=run_id,
        org_id=order.org_id,
        flow_name=flow.flow_name,
        flow_version=flow.flow_version,
        deployment_name=order.deployment_name,
        executor=order.executor,
        status=RunStatus.QUEUED,
        attempt=1,
        launch_try=1,
        max_attempts=order.max_attempts or 1,
        infra_failures=0,
        version=1,
        priority=order.priority or 0,
        active_since=now,
        created_at=now,
        queued_at=now,
        correlation_id=correlation_id,
        parent_correlation_id=order.parent_correlation_id,
        idempotency_key=order.idempotency_key,
        retry_of=retry_of,
        workload_profile=order.workload_profile,
        cpu=size.cpu,
        memory=size.memory_mib,
        ephemeral_storage_gib=size.ephemeral_storage_gib,
        environment=dict(order.extra_env_vars),
        parameters=json.dumps(dict(order.parameters)),
        transitions=(Transition(at=now, from_status="", to_status=RunStatus.QUEUED, attempt=1, by="request", why=why),),
    )
