"""What tests of the worker share: a run with everything that its worker reads."""

import asyncio
import hashlib
from typing import Any

from dagy_control.kernel.clock import SystemClock
from dagy_control.model.dep_packages import DepPackage
from dagy_control.model.flow_templates import Json
from dagy_control.model.flows import FlowRecord, FlowSpec, FlowStatus, Isolation, ParameterSpec, TaskSpec
from dagy_control.model.runs import Run
from dagy_control.worker.policy import WorkerPolicy, WorkerPorts
from dagy_control.worker.run import Worker
from tests.builders import ARN, NOW, launching, writer_of
from tests.fakes.dep_packages import FakeDepPackages
from tests.fakes.flows import FakeArtifacts, FakeFlows, FakeResults
from tests.fakes.runs import FakeRuns
from tests.fakes.task_runs import FakeTaskRuns
from tests.hostile_archives import a_zip

MODULE = "dagy_test_etl"
URI = "s3://dagy-artifacts/etl.zip"


def a_task(function: str, *args: Json, isolation: Isolation = Isolation.PROCESS, **values: Any) -> TaskSpec:
    """A task of the artifact's one module, or of the import path given."""
    path = function if ":" in function else f"{MODULE}:{function}"
    return TaskSpec(key=path.rpartition(":")[2], name="a", import_path=path, args=args, isolation=isolation, **values)


def a_flow(*tasks: TaskSpec, parameters: tuple[ParameterSpec, ...] = ()) -> FlowSpec:
    """A flow of these tasks."""
    return FlowSpec(name="etl", version="1", import_path=f"{MODULE}:etl", tasks=tasks, parameters=parameters)


class Working:
    """One run that was launched, its flow, its artifact (of `files`, by name), its packages, and its worker."""

    def __init__(
        self,
        spec: FlowSpec,
        files: dict[str, bytes],
        run: Run | None = None,
        *,
        artifacts: FakeArtifacts | None = None,
        task_runs: FakeTaskRuns | None = None,
        redactor: Any = None,
        **policy: Any,
    ) -> None:
        data = a_zip(("flow.json", spec.to_json().encode()), *files.items())
        self.clock = SystemClock()
        self.runs = FakeRuns(run or launching())
        self.task_runs = task_runs or FakeTaskRuns()
        self.results = FakeResults()
        self.packages = FakeDepPackages()
        self.artifacts = artifacts or FakeArtifacts()
        self.artifacts.objects[URI] = data
        self.traces = FakeArtifacts("dagy-traces")
        self.flows = FakeFlows(
            FlowRecord(
                org_id="acme",
                flow_name="etl",
                flow_version="1",
                spec=spec,
                import_path=spec.import_path,
                artifact_s3_uri=URI,
                artifact_sha256=hashlib.sha256(data).hexdigest(),
                artifact_size_bytes=len(data),
                status=FlowStatus.ACTIVE,
                registered_at=NOW,
            )
        )
        ports = WorkerPorts(
            runs=self.runs,
            task_runs=self.task_runs,
            flows=self.flows,
            packages=self.packages,
            artifacts=self.artifacts,
            traces=self.traces,
            results=self.results,
        )
        settings = {"drain_s": 0.0, "stop_grace_s": 0.3, "max_concurrency": 1, **policy}
        self.worker = Worker(
            ports, writer_of(self.runs, self.clock), self.clock, WorkerPolicy(**settings), redactor=redactor
        )

    @property
    def run(self) -> Run:
        """The run as it is now."""
        return self.runs.records["r1"]

    async def work(self, attempt: int = 1) -> int:
        """The worker's exit code."""
        async with asyncio.timeout(60):
            return await self.worker.run(run_id="r1", attempt=attempt, task_arn=ARN)

    def add_package(self, slug: str, content: bytes, *, name: str = "package.zip") -> DepPackage:
        """Register a dependency package."""
        package = a_package(slug, content, name=name)
        self.packages.records[slug] = package
        self.artifacts.objects[package.package_s3_uri] = content
        return package

    def statuses(self) -> dict[str, str]:
        """Of the tasks, by task_run_id."""
        return {key: row.status for (_, key), row in self.task_runs.records.items()}


def a_package(slug: str, content: bytes, *, name: str = "package.zip") -> DepPackage:
    """The record of a package of this content."""
    digest = hashlib.sha256(content).hexdigest()
    uri = f"s3://dagy-artifacts/dep-packages/{slug}/{digest}/{name}"
    return DepPackage(slug=slug, package_s3_uri=uri, sha256=digest, size=len(content), added_at=NOW)
