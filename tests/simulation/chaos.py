"""What befalls a world every few minutes: daemons, tasks, workers, capacity, and others on the same cluster."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from dagy_control.launching.request import run_task_request
from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_faults import Fault, FaultKind
from dagy_control.local.ecs_state import Capacity, Status
from dagy_control.model.runs import Run
from dagy_control.model.tasks import TaskIdentity
from tests.simulation.faults import Weather
from tests.simulation.scenario import CLUSTER, INSTALLATION, TARGET
from tests.simulation.sim_loop import Host

if TYPE_CHECKING:
    from tests.simulation.world import World


class Chaos:
    """The acts. Each is named in the report."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def run(self) -> None:
        """Something every few minutes, until it is calm."""
        step = 0
        while True:
            step += 1
            await asyncio.sleep(60 + 600 * self.world.plan.draw("chaos gap", step))  # noqa: TID251 - on the simulation's own loop
            if self.world._is_calm():
                return
            acts = (
                self._crash_daemon,
                self._stall_daemon,
                self._drain_daemon,
                self._break_task,
                self._no_capacity,
                self._kill_worker,
                self._ghost,
                self._surplus,
                self._surplus,
            )
            act = acts[int(self.world.plan.draw("chaos", step) * len(acts))]
            self.world.plan.injected[act.__name__.strip("_")] += 1
            act(step)

    def _replica(self, step: int) -> int:
        return int(self.world.plan.draw("who", step) * self.world.scenario.replicas)

    def _crash_daemon(self, step: int) -> None:
        replica = self._replica(step)
        if self.world.daemons[replica].alive:
            self.world.net.say(f"{self.world.daemons[replica].name} crashes")
            self.world._crashed(self.world.daemons[replica])

    def _stall_daemon(self, step: int) -> None:
        host = self.world.daemons[self._replica(step)]
        seconds = 1 + 120 * self.world.plan.draw("stall", step)
        self.world.net.say(f"{host.name} stalls for {seconds:.0f} s")
        self.world.loop.stall(host, seconds)

    def _drain_daemon(self, step: int) -> None:
        replica = self._replica(step)
        if self.world.daemons[replica].alive:
            self.world.net.say(f"{self.world.daemons[replica].name} is told to drain")
            self.world.drains[replica].begin()
            self.world.loop.start(self.world.world_host, self._replace(replica, self.world.daemons[replica]), "replace")

    async def _replace(self, replica: int, old: Host) -> None:
        """A deployment: the new daemon starts while the old one still drains; ECS kills the old one at last."""
        self.world._start_daemon(replica)
        await asyncio.sleep(30)  # noqa: TID251 - on the simulation's own loop
        if old.alive:
            self.world.loop.crash(old)

    def _break_task(self, step: int) -> None:
        now = self.world.clock.now()
        live = [arn for arn, task in self.world.model.tasks.items() if task.last_status is Status.RUNNING]
        if not live:
            return
        arn = live[int(self.world.plan.draw("task", step) * len(live))]
        fraction = self.world.plan.draw("how", step)
        if fraction < 0.5 and self.world.model.task(arn).capacity is Capacity.FARGATE_SPOT:
            self.world.net.say(f"Spot reclaims {arn[-6:]}")
            self.world.model.interrupt_spot(arn, now)
        elif fraction < 0.75:
            self.world.net.say(f"the host of {arn[-6:]} fails")
            self.world.model.fail_host(arn, now)
            if arn in self.world.agent.containers:
                self.world.loop.crash(self.world.agent.containers[arn].host)
        else:
            self.world.model.retire(arn, now)
        self.world.woken.set()

    def _no_capacity(self, step: int) -> None:
        kind = FaultKind.LAUNCH_FAILURE if self.world.plan.draw("body", step) < 0.5 else FaultKind.START_FAILURE
        self.world.model.faults.add(Fault(kind=kind, calls=2))

    def _surplus(self, step: int) -> None:
        """Somebody else, an older version of ours say, launches an attempt that we launch too: with a token of its own."""
        runs = [run for run in self.world.table.records.values() if not run.status.is_terminal]
        if not runs:
            return
        run = runs[int(self.world.plan.draw("surplus", step) * len(runs))]
        self._start_surplus(run, f"older-{step}")

    def late_surplus(self, run: Run, attempt: int) -> None:
        """A task that nobody has on record comes up only now: of the attempt before, or of one that waits for another try."""
        share = 0.6 if self.world.plan.weather is Weather.LAUNCHES else 0.1
        if not self.world._is_calm() and self.world.plan.draw("late", run.run_id, run.version) < share:
            self.world.plan.injected["late surplus"] += 1
            self._start_surplus(replace(run, attempt=attempt), f"late-{run.run_id}-{run.version}")

    def _start_surplus(self, run: Run, token: str) -> None:
        request = run_task_request(run, "FARGATE", TARGET)
        with contextlib.suppress(EcsError):
            self.world.model.handle("RunTask", {**request, "clientToken": token[:64]}, self.world.clock.now())
            self.world.woken.set()

    def _ghost(self, step: int) -> None:
        """A task under our name of a run that nobody knows."""
        identity = TaskIdentity(INSTALLATION, f"ghost-{step}", 1)
        network = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
        request = {"cluster": CLUSTER, "taskDefinition": "dagy-worker", "launchType": "FARGATE"}
        with contextlib.suppress(EcsError):
            self.world.model.handle(
                "RunTask",
                {**request, "networkConfiguration": network, "startedBy": identity.started_by()},
                self.world.clock.now(),
            )
            self.world.woken.set()

    def _kill_worker(self, step: int) -> None:
        live = [container for container in self.world.agent.containers.values() if container.host.alive]
        if live:
            self.world.agent.kill(live[int(self.world.plan.draw("victim", step) * len(live))].host)
            self.world.woken.set()
