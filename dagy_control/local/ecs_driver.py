"""Drives the ECS model on real time: calls in, effects to the agent, events to whoever takes them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import end_tasks, start_task, within
from dagy_control.local.agent import Agent, AgentPolicy
from dagy_control.local.ecs_model import EcsModel, Reply
from dagy_control.local.ecs_requests import Request
from dagy_control.local.ecs_state import Task
from dagy_control.local.process_agent import ProcessAgent

Publish = Callable[[dict[str, Any]], Awaitable[None]]

_EVENTS_MAX = 10_000

logger = structlog.get_logger(__name__)


class EcsDriver:
    """One model, one agent, one clock. `publish` may be set at any time; without it events go nowhere."""

    def __init__(
        self, model: EcsModel, *, clock: Clock, policy: AgentPolicy, make_agent: type[Agent] = ProcessAgent
    ) -> None:
        self.model = model
        self.agent: Agent = make_agent(policy, clock=clock, reports=self)
        self.publish: Publish | None = None
        self._clock = clock
        self._woken = asyncio.Event()
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_EVENTS_MAX)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to move time and to publish."""
        self.agent.start()
        self._tasks = [
            start_task(self._advance_for_ever(), name="embedded ECS: advance"),
            start_task(self._publish_for_ever(), name="embedded ECS: publish events"),
        ]

    async def stop(self) -> None:
        """Kill every container, then stop. Idempotent."""
        await end_tasks(*self._tasks)  # first, so that no step starts another container
        self._tasks = []
        await self.agent.stop()

    def call(self, operation: str, request: Request) -> Reply:
        """One API call, now."""
        reply = self.model.call(operation, request, self._clock.now())
        self._woken.set()
        return reply

    def tasks(self) -> Mapping[str, Task]:
        """Every task ever made, by ARN, as of now."""
        self.model.advance(self._clock.now())
        return self.model.tasks

    def container_started(self, task_arn: str) -> None:
        """The agent reports a running process."""
        self.model.container_started(task_arn, self._clock.now())
        self._woken.set()

    def container_failed_to_start(self, task_arn: str, reason: str) -> None:
        """The agent reports a process that could not be started."""
        self.model.container_failed_to_start(task_arn, reason, self._clock.now())
        self._woken.set()

    def container_exited(self, task_arn: str, exit_code: int, reason: str) -> None:
        """The agent reports the end of a process."""
        self.model.container_exited(task_arn, exit_code, reason, self._clock.now())
        self._woken.set()

    def interrupt_spot(self, task_arn: str) -> None:
        """Reclaim a Spot task, two minutes ahead."""
        self.model.interrupt_spot(task_arn, self._clock.now())
        self._woken.set()

    def fail_host(self, task_arn: str) -> None:
        """Lose a task's host."""
        self.model.fail_host(task_arn, self._clock.now())
        self._woken.set()

    def retire(self, task_arn: str) -> None:
        """Retire a task's platform."""
        self.model.retire(task_arn, self._clock.now())
        self._woken.set()

    async def _advance_for_ever(self) -> None:
        while True:
            self._woken.clear()
            now = self._clock.now()
            self.model.advance(now)
            for effect in self.model.drain_effects():
                self.agent.apply(effect)
            for event in self.model.drain_events(now):
                self._offer(event)
            due = self.model.next_due()
            if due is None:
                await self._woken.wait()
                continue
            wait_s = max(0.0, (due - self._clock.now()).total_seconds())
            try:
                await within(self._clock, wait_s, self._woken.wait(), name="embedded ECS: next step")
            except TimeoutError:
                continue  # the step has fallen due

    def _offer(self, event: dict[str, Any]) -> None:
        if self._events.full():
            logger.warning("dropped a task-state event: nobody takes them fast enough", events=_EVENTS_MAX)
            return
        self._events.put_nowait(event)

    async def _publish_for_ever(self) -> None:
        while True:
            event = await self._events.get()
            if self.publish is None:
                continue
            try:
                await self.publish(event)
            except Exception:  # noqa: BLE001 - a stranger's callable; events are hints, the next one must still go out
                logger.warning("a task-state event could not be published", exc_info=True)
