"""The agent of the simulated ECS: each container a host of its own, that claims, works, commits, or misbehaves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dagy_control.errors import DagyError
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.local.ecs_lifecycle import SignalContainer, StartContainer, StopSignal
from dagy_control.model.lifecycle import Refused
from dagy_control.model.outcomes import EXIT_CLAIM_REFUSED, SHUTDOWN_MESSAGE
from dagy_control.model.runs import FailureClass, ResultStatus, Run, WorkerResult
from dagy_control.worker.claim import claim
from dagy_control.worker.result import commit
from tests.simulation.conduct import GREEDY_MIB, LATE_S, Conduct
from tests.simulation.faults import Weather
from tests.simulation.ports import SimRuns, SimStores
from tests.simulation.scenario import INSTALLATION
from tests.simulation.sim_loop import Host

if TYPE_CHECKING:
    from tests.simulation.world import World

FOR_EVER_S = 1_000_000.0
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"


@dataclass(eq=False)
class _Container:
    host: Host
    conduct: Conduct
    since_s: float
    terminated: asyncio.Event = field(default_factory=asyncio.Event)


class SimAgent:
    """Starts and signals containers as the model says. The seed decides how each behaves."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.net = world.net
        self.model = world.model
        self.clock = world.clock
        self.stores = world.stores
        self.containers: dict[str, _Container] = {}
        self.conduct_at_end: dict[str, Conduct] = {}

    def alive(self, arn: str) -> bool:
        """Whether the task's container runs."""
        container = self.containers.get(arn)
        return container is not None and container.host.alive

    def running_since_s(self, arn: str) -> float:
        """When the task's container was started."""
        return self.containers[arn].since_s

    def start(self, effect: StartContainer) -> None:
        """Start a container, or fail to."""
        arn = effect.task_arn
        conduct = self._conduct(arn)
        self._world.sometimes[f"worker: {conduct}"] += 1
        if conduct is Conduct.NEVER_START:
            self.model.container_failed_to_start(arn, "CannotPullContainerError: pull image manifest", self.clock.now())
            return
        host = Host(f"worker-{arn.rsplit('/', 1)[1][:6]}")
        container = self.containers[arn] = _Container(host, conduct, self.net.loop.time())
        self.model.container_started(arn, self.clock.now())
        ours = "DAGY_RUN_ID" in effect.environment
        self.net.loop.start(host, self._work(effect, container) if ours else self._strange(container, arn), "main")

    def signal(self, effect: SignalContainer) -> None:
        """SIGTERM asks; SIGKILL does not."""
        container = self.containers.get(effect.task_arn)
        if container is None or not container.host.alive:
            return
        if effect.signal is StopSignal.KILL:
            self._exit(effect.task_arn, container, 137)
        else:
            container.terminated.set()

    def kill(self, host: Host) -> None:
        """A worker's host crashes: its process is gone."""
        arn = next(arn for arn, container in self.containers.items() if container.host is host)
        self._exit(arn, self.containers[arn], 137)

    def _conduct(self, arn: str) -> Conduct:
        if self._world.is_calm():
            return Conduct.SUCCEED
        fraction = self.net.plan.draw("conduct", arn)
        return next(conduct for bound, conduct in self._world.scenario.conducts if fraction < bound)

    def _exit(self, arn: str, container: _Container, code: int, reason: str = "") -> None:
        self.net.say(f"{container.host.name} exits with {code} {reason}".rstrip())
        self.net.loop.crash(container.host)
        self.model.container_exited(arn, code, reason, self.clock.now())
        self._world.woken.set()

    async def _work(self, effect: StartContainer, container: _Container) -> None:
        arn = effect.task_arn
        code, reason = await self._run(effect, container)
        self._exit(arn, container, code, reason)

    async def _strange(self, container: _Container, arn: str) -> None:
        """A task of somebody else: works for a while, and obeys SIGTERM."""
        await self._until_terminated(container, self._idle_s(arn))
        self._exit(arn, container, 0)

    def _idle_s(self, arn: str) -> float:
        """How long a task goes on of which no work of a run is to be expected."""
        world = self._world
        of = world.truth.identity_of(arn)
        known = arn in world.trainer.made or (of is not None and of.installation == INSTALLATION)
        return (
            FOR_EVER_S if world.scenario.endless and known and arn not in world.strangers else world.scenario.strange_s
        )

    async def _run(self, effect: StartContainer, container: _Container) -> tuple[int, str]:
        """One worker's life: its exit code and, when the platform has one, the reason."""
        plan, arn, host = self.net.plan, effect.task_arn, container.host
        share = 0.3 if plan.weather is Weather.LAUNCHES else 0.08
        slowly = plan.draw("boots slowly", arn) < share and self._world.scenario.chaos and not self._world.is_calm()
        slow_s = 4000 * plan.draw("slow boot", arn) if slowly else LATE_S * (container.conduct is Conduct.LATE)
        await self.clock.sleep(1 + 10 * plan.draw("boot", arn) + slow_s)
        if container.conduct is Conduct.STUCK:
            await self._until_terminated(container, self._idle_s(arn))
            return 143, ""
        runs = SimRuns(self.net, host, self._world.table, on_access=lambda run_id: self._accessed(arn, run_id))
        numbers = iter(range(1_000_000))
        writer = RecordWriter(runs, self.clock, lambda: f"{host.name}-{next(numbers)}")
        run_id, attempt = effect.environment["DAGY_RUN_ID"], int(effect.environment["DAGY_ATTEMPT"])
        try:
            claimed = await claim(runs, writer, self.clock, run_id=run_id, attempt=attempt, task_arn=arn)
        except DagyError:
            return EXIT_CLAIM_REFUSED, ""
        if isinstance(claimed, Refused):
            return EXIT_CLAIM_REFUSED, ""
        self._world.guarded(lambda: self._world.invariants.on_past_claim(arn, run_id, attempt))
        work_s = 3000.0 if container.conduct is Conduct.SLOW else 20 + 600 * plan.draw("work", arn) ** 2
        if container.conduct is Conduct.HANG:
            await self.clock.sleep(1_000_000)
        if await self._until_terminated(container, work_s):
            await self._commit(claimed, writer, host, ResultStatus.FAILED, FailureClass.SHUTDOWN, SHUTDOWN_MESSAGE)
            return 143, ""
        conduct = container.conduct
        if conduct is Conduct.GREEDY:
            conduct = Conduct.SUCCEED if effect.memory_mib >= GREEDY_MIB else Conduct.OUT_OF_MEMORY
        return await self._end(conduct, claimed, writer, host)

    def _accessed(self, arn: str, run_id: str) -> None:
        self._world.guarded(lambda: self._world.invariants.on_worker_access(arn, run_id))

    async def _end(self, conduct: Conduct, run: Run, writer: RecordWriter, host: Host) -> tuple[int, str]:
        self.conduct_at_end[run.external_id or ""] = conduct
        match conduct:
            case Conduct.DIE:
                return 137, ""
            case Conduct.OUT_OF_MEMORY:
                return 137, OUT_OF_MEMORY
            case Conduct.NO_RESULT:
                return 0, ""
            case Conduct.FAIL:
                await self._commit(run, writer, host, ResultStatus.FAILED, FailureClass.USER_ERROR, "the flow failed")
                return 1, ""
            case Conduct.FAIL_AND_LINGER:
                await self._commit(run, writer, host, ResultStatus.FAILED, FailureClass.USER_ERROR, "the flow failed")
                await self.clock.sleep(1_000_000)
            case Conduct.LINGER:
                await self._commit(run, writer, host, ResultStatus.SUCCEEDED, None, "")
                await self.clock.sleep(1_000_000)
        await self._commit(run, writer, host, ResultStatus.SUCCEEDED, None, "")
        return 0, ""

    async def _until_terminated(self, container: _Container, seconds: float) -> bool:
        """Work; whether SIGTERM came first."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, container.terminated.set)
        before = loop.time()
        await container.terminated.wait()
        timer.cancel()
        return loop.time() - before < seconds - 1e-6

    async def _commit(
        self,
        run: Run,
        writer: RecordWriter,
        host: Host,
        status: ResultStatus,
        failure_class: FailureClass | None,
        message: str,
    ) -> None:
        result = WorkerResult(status=status, attempt=run.attempt, failure_class=failure_class, message=message)
        results = SimStores(self.net, host, self.stores)
        try:
            await commit(run, result, writer=writer, results=results, clock=self.clock, timeout_s=30)
        except DagyError:
            self.net.say(f"{host.name} could write its result nowhere")
