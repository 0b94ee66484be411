"""From a claimed run to all that its flow needs on this disk: the artifact, its FlowSpec, and the dependency packages."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.retrying import retrying
from dagy_control.kernel.telemetry import log
from dagy_control.model.flow_templates import Json
from dagy_control.model.flows import FlowRecord, FlowSpec, TaskSpec
from dagy_control.model.runs import FailureClass, Run
from dagy_control.worker.artifact import fetch
from dagy_control.worker.failure import WorkerFailure
from dagy_control.worker.imports import ImportPlaces, Place
from dagy_control.worker.packages import InstalledPackage, PackageShelf
from dagy_control.worker.phases import StartPhases
from dagy_control.worker.policy import WorkerPolicy, WorkerPorts

_log = log("dagy.worker")


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that the engine needs. `own_paths`: what goes onto `sys.path` before everything else."""

    spec: FlowSpec
    parameters: dict[str, Json]
    own_paths: tuple[str, ...]
    places: ImportPlaces


class Preparation:
    """Prepares one run. `tasks`: those of its flow, as far as it is known already."""

    def __init__(self, run: Run, ports: WorkerPorts, clock: Clock, policy: WorkerPolicy, phases: StartPhases) -> None:
        self._run = run
        self._ports = ports
        self._clock = clock
        self._policy = policy
        self._phases = phases
        self.tasks: tuple[TaskSpec, ...] = ()

    async def prepare(self, folder: Path) -> Prepared:
        """Fill the empty folder. Raises `WorkerFailure`, whose class says what is missing."""
        parameters = parameters_of(self._run)
        artifact = folder / "artifact"
        artifact.mkdir()
        spec = await self._fetch(artifact)
        self._phases.over("artifact")
        packages = await self._packages(folder)
        self._phases.over("dependencies")
        places = _places(artifact, packages, self._run.dep_package_slugs)
        for sentence in places.shadows():
            _log.warning(sentence, event_type="module_shadowed")
        places.trace(spec)
        own = [str(artifact), *(str(path) for package in packages for path in package.paths)]
        return Prepared(spec, parameters, tuple(own), places)

    async def _fetch(self, folder: Path) -> FlowSpec:
        record = await self._flow_record()
        self.tasks = record.spec.tasks
        uri, size = record.artifact_s3_uri, record.artifact_size_bytes
        _log.info("Downloading flow artifact", event_type="artifact_download", uri=uri, size_bytes=size)
        spec = await fetch(
            record, self._ports.artifacts, self._clock, folder, max_bytes=self._policy.artifact_max_bytes
        )
        _log.info(
            "artifact unpacked",
            event_type="artifact_downloaded",
            uri=uri,
            sha256=record.artifact_sha256,
            flow_version=record.flow_version,
        )
        return spec

    async def _packages(self, folder: Path) -> list[InstalledPackage]:
        slugs = self._run.dep_package_slugs
        if not slugs:
            return []
        shelf = (self._policy.work_dir or folder) / "packages"
        maker = PackageShelf(self._ports.packages, self._ports.artifacts, self._clock, shelf, self._policy.packages)
        packages = await maker.make_ready(self._run.org_id, slugs)
        _log.info("dependencies installed", event_type="dependencies_installed", slugs=list(slugs))
        return packages

    async def _flow_record(self) -> FlowRecord:
        run = self._run
        record = await retrying(
            lambda: self._ports.flows.get(run.org_id, run.flow_name, run.flow_version), self._clock, key=run.run_id
        )
        if record is None:
            version = f" version {run.flow_version}" if run.flow_version else ""
            raise WorkerFailure(
                FailureClass.ARTIFACT,
                f"flow {run.flow_name!r}{version} is not registered for organisation {run.org_id!r}; register it again",
            )
        return record


def parameters_of(run: Run) -> dict[str, Json]:
    """The run's parameters. Raises `WorkerFailure` when the record holds no JSON object."""
    try:
        parameters = json.loads(run.parameters)
    except ValueError as error:
        raise WorkerFailure(FailureClass.USER_ERROR, f"the run's parameters are not JSON: {error}") from error
    if not isinstance(parameters, dict):
        raise WorkerFailure(FailureClass.USER_ERROR, "the run's parameters are not a JSON object")
    return parameters


def _places(artifact: Path, packages: Sequence[InstalledPackage], slugs: Sequence[str]) -> ImportPlaces:
    own = [Place(str(artifact), "the artifact")]
    own += [Place(str(path), f"dependency package {each.slug!r}") for each in packages for path in each.paths]
    return ImportPlaces(own, tuple(sys.path), slugs)
