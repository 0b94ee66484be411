"""One launching loop over stateful fakes, on virtual time."""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from prometheus_client import CollectorRegistry

from dagy_control.kernel.drain import Drain
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.launching.decide import LaunchPolicy
from dagy_control.launching.effects import LaunchingEffects
from dagy_control.launching.loop import LaunchingLoop
from dagy_control.launching.metrics import LaunchingMetrics
from dagy_control.model.launch_failure import LaunchFailure
from dagy_control.model.lifecycle import LaunchRetryPolicy, request_cancel
from dagy_control.model.runs import Run, RunChange, applied
from dagy_control.ports.tasks import Started
from tests.builders import target, tick_at
from tests.fakes.clock import VirtualClock
from tests.fakes.runs import FakeRuns
from tests.fakes.tasks import FakeTasks


class SlowTasks(FakeTasks):
    """Lets a test do something while a call is under way."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock
        self.limiter_wait_s = 0.0
        self.while_sending: Callable[[str], None] = lambda _arn: None

    async def reserve_run_task(self, provider: str) -> None:
        await self.clock.sleep(self.limiter_wait_s)
        await super().reserve_run_task(provider)

    async def run_task(self, request: Mapping[str, Any]) -> Started | LaunchFailure:
        reply = await super().run_task(request)
        self.while_sending(reply.task_arn if isinstance(reply, Started) else "")
        return reply


class LaunchBed:
    """One launching loop; `restarted` is a new process that remembers nothing, or another replica."""

    def __init__(self, *runs: Run, where: Mapping[str, Any] | None = None, **policy: Any) -> None:
        self.clock = VirtualClock()
        self.runs = FakeRuns(*runs)
        self.tasks = SlowTasks(self.clock)
        self._numbers = count(1)  # of all processes: no two writes have one id
        policy.setdefault("retry", LaunchRetryPolicy(max_launch_tries=3))
        self.policy = LaunchPolicy(target=target(**(where or {})), **policy)
        self.loop = self.restarted()

    def restarted(self) -> LaunchingLoop:
        writer = RecordWriter(self.runs, self.clock, lambda: f"op-{next(self._numbers)}")
        effects = LaunchingEffects(self.runs, self.tasks, writer, self.clock)
        self.metrics = CollectorRegistry()
        self.loop = LaunchingLoop(self.policy, effects, LaunchingMetrics(self.metrics))
        return self.loop

    async def tick(self, drain: Drain | None = None) -> None:
        await self.clock.run(self.loop.tick(tick_at(self.clock, drain)))

    async def ticks(self, count: int, *, every_s: float = 60) -> None:
        for _ in range(count):
            await self.tick()
            await self.clock.advance(every_s)

    @property
    def run(self) -> Run:
        return self.runs.records["r1"]

    def write(self, change: object, op_id: str = "somebody") -> None:
        """Another writer is faster."""
        assert isinstance(change, RunChange)
        self.runs.seed(applied(self.runs.records[change.run_id], change, op_id))

    def cancel(self) -> None:
        self.write(request_cancel(self.run, now=self.clock.now(), by="test"))

    @property
    def tokens(self) -> list[str]:
        return [str(request["clientToken"]) for request in self.tasks.requests]
