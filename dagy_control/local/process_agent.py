"""The process agent: runs each container of the ECS model as a real process.

As in a container: the environment is the definition's, the overrides' and what the platform injects, nothing of the
user's own; SIGTERM goes to the first process only (so a worker that leaves its children alone is found out here, not
on AWS); when the first process ends, everything that it started ends with it; the memory limit holds for all of it
together, and when it is exceeded the process dies that the kernel would choose, which is counted where a container finds
the kernel's count: in the files of its control group, here a folder that `DAGY_CGROUP_DIR` names.
"""

import asyncio
import os
import shutil
import subprocess
from asyncio.subprocess import Process
from collections import Counter
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, Signals

from typing_extensions import override

from dagy_control.kernel.clock import Clock
from dagy_control.local.agent import METADATA_VARIABLE, MIB, Agent, AgentPolicy, Container, End, Reports
from dagy_control.local.processes import Exceeded, Watched, kill_container, kill_marked, kill_process, over_limit

CLOUD_VARIABLE = "EMBEDDED_CLOUD_DIR"
CGROUP_VARIABLE = "DAGY_CGROUP_DIR"


class ProcessAgent(Agent):
    """Carries out the model's effects. `stop` leaves no process behind."""

    def __init__(self, policy: AgentPolicy, *, clock: Clock, reports: Reports) -> None:
        super().__init__(policy, clock=clock, reports=reports)
        self._kills: Counter[str] = Counter()  # for memory, by task
        self._out_of_memory: set[str] = set()  # tasks whose first process was among them

    @override
    async def _run(self, container: Container) -> End:
        arn = container.start.task_arn
        scratch = self._policy.workdir / "scratch" / container.task_id
        self._write_cgroup(container)
        process = await self._spawn(container, scratch)
        self._is_up(container, process.pid)
        returned = await process.wait()
        del self._live[arn]
        await asyncio.to_thread(self._clean_up, container, process.pid, scratch)
        return End(returned if returned >= 0 else 128 - returned, returned == -SIGKILL and arn in self._out_of_memory)

    @override
    def _send(self, container: Container, number: Signals) -> None:
        pid = self._pids[container.start.task_arn]
        if number is SIGKILL:
            kill_container(pid)
        else:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @override
    async def _remove_left(self) -> int:
        return await asyncio.to_thread(kill_marked, CLOUD_VARIABLE, str(self._policy.workdir))

    async def _spawn(self, container: Container, scratch: Path) -> Process:
        scratch.mkdir(parents=True, exist_ok=True)
        log = self._logs.open(container.start.task_arn)
        own = {"HOME": str(scratch), "TMPDIR": str(scratch)}
        marks = {CLOUD_VARIABLE: str(self._policy.workdir), CGROUP_VARIABLE: str(self._cgroup(container))}
        try:
            return await asyncio.create_subprocess_exec(
                *container.start.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=scratch,
                env={**own, **self._environment(container), **marks},
                start_new_session=True,
            )
        finally:
            os.close(log)

    def _cgroup(self, container: Container) -> Path:
        return self._policy.workdir / "cgroups" / container.task_id

    def _clean_up(self, container: Container, root_pid: int, scratch: Path) -> None:
        kill_container(root_pid)
        kill_marked(METADATA_VARIABLE, self._metadata_uri(container))
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(self._cgroup(container), ignore_errors=True)

    @override
    async def _look(self) -> None:
        running = [container.start for arn, container in self._live.items() if arn in self._pids]
        if running:
            watched = [Watched(each.task_arn, self._pids[each.task_arn], each.memory_mib * MIB) for each in running]
            for exceeded in await asyncio.to_thread(over_limit, watched):
                self._kill_for_memory(exceeded)
            await super()._look()

    def _kill_for_memory(self, exceeded: Exceeded) -> None:
        arn, root_pid = exceeded.container.task_arn, exceeded.container.root_pid
        container = self._live.get(arn)
        if container is None:
            return
        self._kills[arn] += 1
        try:
            self._write_cgroup(container)  # first: whoever sees the death finds it counted
        finally:
            if exceeded.victim_pid == root_pid:
                self._out_of_memory.add(arn)
                kill_container(root_pid)
            else:
                kill_process(exceeded.victim_pid)

    def _write_cgroup(self, container: Container) -> None:
        """The files of a control group, version 2, that tell a container of its memory."""
        folder, kills = self._cgroup(container), self._kills[container.start.task_arn]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{container.start.memory_mib * MIB}\n")
        (folder / "memory.events.new").write_text(f"oom {kills}\noom_kill {kills}\n")
        (folder / "memory.events.new").replace(folder / "memory.events")
