"""What the worker is handed: its policy, and its ports."""

from dataclasses import dataclass, field
from pathlib import Path

from dagy_control.ports.dep_packages import DepPackages
from dagy_control.ports.flows import Artifacts, Flows, Results
from dagy_control.ports.runs import Runs, TaskRuns
from dagy_control.worker.packages import PackagePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPolicy:
    """All that the worker is told by the configuration. Times in seconds.

    `drain_s`: how long after SIGTERM the tasks in flight may go on; with `stop_grace_s` for the children and the last writes it
    must fit into the task's stopTimeout (30 by default). `last_write_s`: for each of the last writes then, first the rows of
    the tasks, then the result into the table, then into S3; for the rows always, since the result matters more.
    `work_dir`: where everything on disk goes, and where dependency packages stay for later runs; None: a temporary folder.
    `cgroup_dir`: where the kernel's files about this container's memory lie; None: looked for. `max_tasks_per_process`: attempts
    that one child takes.
    """

    drain_s: float = 15.0
    stop_grace_s: float = 5.0
    last_write_s: float = 3.0
    max_concurrency: int | None = None
    result_write_timeout_s: float = 30.0
    artifact_max_bytes: int = 256 * 1024 * 1024
    packages: PackagePolicy = field(default_factory=PackagePolicy)
    trace_prefix: str = "traces/"
    work_dir: Path | None = None
    cgroup_dir: Path | None = None
    max_tasks_per_process: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPorts:
    """What the worker reads and writes."""

    runs: Runs
    task_runs: TaskRuns
    flows: Flows
    packages: DepPackages
    artifacts: Artifacts
    traces: Artifacts
    results: Results
