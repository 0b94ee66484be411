"""Whoever asks for runs, as tests need them: flows, runs, and a launcher whose new ids are known."""

from collections.abc import Awaitable
from itertools import count
from typing import Any, TypeVar

import pytest

from dagy_control.model.flows import FlowRecord, FlowSpec, FlowStatus, ParameterSpec
from dagy_control.model.resources import TaskSize
from dagy_control.model.runs import Run
from dagy_control.requests.executors import Executor
from dagy_control.requests.launch import Launcher, RequestPolicy, RequestPorts
from dagy_control.requests.refusals import RequestRefused
from tests.builders import NOW, target, writer_of
from tests.fakes.clock import VirtualClock
from tests.fakes.dep_packages import FakeDepPackages
from tests.fakes.deployments import FakeDeployments
from tests.fakes.flows import FakeFlows
from tests.fakes.runs import FakeRuns

T = TypeVar("T")

POLICY = RequestPolicy(
    executors={"ecs": Executor("ecs")},
    profiles={"small": TaskSize(256, 512), "medium": TaskSize(1024, 2048)},
    default_profile="medium",
    frame=target(),
)


def a_flow(name: str = "etl", version: str = "1", status: FlowStatus = FlowStatus.ACTIVE) -> FlowRecord:
    """A flow of organisation `acme` with the optional parameters `day` and `table`."""
    spec = FlowSpec(
        name=name,
        version=version,
        import_path="etl:etl",
        parameters=(ParameterSpec("day", required=False, default="today"), ParameterSpec("table", required=False)),
    )
    return FlowRecord(
        org_id="acme",
        flow_name=name,
        flow_version=version,
        spec=spec,
        import_path=spec.import_path,
        artifact_s3_uri="s3://b/k",
        artifact_sha256="0" * 64,
        artifact_size_bytes=1,
        status=status,
        registered_at=NOW,
    )


class Requesting:
    """The flow `etl` unless other ones are given; new runs are …-000000000001 and so on."""

    def __init__(self, *flows: FlowRecord, policy: RequestPolicy = POLICY) -> None:
        self.clock = VirtualClock()
        self.runs = FakeRuns()
        self.flows = FakeFlows(*(flows or (a_flow(),)))
        self.deployments = FakeDeployments()
        self.packages = FakeDepPackages()
        numbers = count(1)
        ports = RequestPorts(
            flows=self.flows,
            deployments=self.deployments,
            runs=self.runs,
            listings=self.runs,
            writer=writer_of(self.runs, self.clock),
            clock=self.clock,
            new_id=lambda: f"00000000-0000-4000-8000-{next(numbers):012d}",
        )
        self.launcher = Launcher(ports, policy)

    async def launch(self, **order: Any) -> Run:
        """Launch the flow `etl` for `acme` unless the order says otherwise, or names a deployment."""
        if "deployment_name" not in order:
            order = {"flow_name": "etl", **order}
        order = {"org_id": "acme", **order}
        return await self.done(self.launcher.launch(**order))

    async def refusal(self, **order: Any) -> RequestRefused:
        """Why the order is refused; nothing may have been written."""
        before = dict(self.runs.records)
        with pytest.raises(RequestRefused) as refused:
            await self.launch(**order)
        assert self.runs.records == before
        assert "create" not in self.runs.calls
        return refused.value

    async def done(self, work: Awaitable[T]) -> T:
        """The outcome of a request, on the virtual clock."""
        return await self.clock.run(work, limit_s=60)
