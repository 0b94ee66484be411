"""What befalls a world every few minutes: daemons, tasks, workers, capacity, and others on the same cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dagy_control.launching.request import run_task_request
from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_faults import Fault, FaultKind
from dagy_control.local.ecs_state import Capacity, Status
from dagy_control.model.runs import Run, launch_token
from dagy_control.model.tasks import TaskIdentity
from tests.simulation.clients import NETWORK
from tests.simulation.faults import Weather
from tests.simulation.scenario import CLUSTER, INSTALLATION, LEASE_S, TARGET
from tests.simulation.sim_loop import Host

if TYPE_CHECKING:
    from tests.simulation.world import World

SAME_TOKEN_SHARE = 0.03
AMNESIA_S = 900.0

ACTS = (
    "crash_daemon",
    "stall_daemon",
    "drain_daemon",
    "break_task",
    "spot_burst",
    "no_capacity",
    "no_capacity",
    "kill_worker",
    "meddle",
    "ghost",
    "neighbour",
    "surplus",
    "surplus",
)
"""What may happen by chance. By order: `strangers`, `amnesia`, `no_room`, `retire`, what befalls the holder of a lease."""


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
            if self.world.is_calm():
                return
            self._act(ACTS[int(self.world.plan.draw("chaos", step) * len(ACTS))], step)

    async def act_out(self, acts: Sequence[tuple[float, str]]) -> None:
        """What a scenario has ordered, each at its time."""
        for step, (at_s, name) in enumerate(sorted(acts), start=1000):
            await asyncio.sleep(max(0.0, at_s - self.world.loop.time()))  # noqa: TID251 - on the simulation's own loop
            self._act(name, step)

    def _act(self, name: str, step: int) -> None:
        """Counted only if it has done something."""
        if getattr(self, f"_{name}")(step) is not False:
            self.world.plan.injected[name] += 1

    def _replica(self, step: int) -> int:
        return int(self.world.plan.draw("who", step) * self.world.scenario.replicas)

    def _crash_holder(self, step: int) -> bool:
        """The daemon that holds the lease of launching."""
        return self._crash(self.world.fleet.hosts[self._holder(step)])

    def _drain_holder(self, step: int) -> None:
        self.world.fleet.replace(self._holder(step))

    def _stall_holder(self, step: int) -> None:
        self._stall(self.world.fleet.hosts[self._holder(step)], 2 * LEASE_S)

    def _holder(self, step: int) -> int:
        lease = self.world.fleet.leases.get(f"{CLUSTER}/launching")
        holders = (number for number, host in self.world.fleet.hosts.items() if lease and lease.holder == host.name)
        return next(holders, self._replica(step))

    def _crash_daemon(self, step: int) -> bool:
        return self._crash(self.world.fleet.hosts[self._replica(step)])

    def _crash(self, host: Host) -> bool:
        if host.alive:
            self.world.net.say(f"{host.name} crashes")
            self.world.fleet.crash(host)
            return True
        return False

    def _stall_daemon(self, step: int) -> None:
        """Its event loop stands still: some seconds, or for longer than a lease lasts."""
        host = self.world.fleet.hosts[self._replica(step)]
        self._stall(host, 1 + 5 * LEASE_S * self.world.plan.draw("stall", step) ** 3)

    def _stall(self, host: Host, seconds: float) -> None:
        self.world.net.say(f"{host.name} stalls for {seconds:.0f} s")
        held = any(lease.holder == host.name for lease in self.world.fleet.leases.values())
        if seconds > LEASE_S and held and host.alive:
            self.world.plan.injected["stall longer than a lease"] += 1
        self.world.loop.stall(host, seconds)

    def _drain_daemon(self, step: int) -> bool:
        replica = self._replica(step)
        if not self.world.fleet.hosts[replica].alive:
            return False
        self.world.fleet.replace(replica)
        return True

    def _break_task(self, step: int) -> bool:
        now = self.world.clock.now()
        live = [arn for arn, task in self.world.model.tasks.items() if task.last_status is Status.RUNNING]
        if not live:
            return False
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
        return True

    def _retire(self, step: int) -> None:
        """ECS needs the host of every task of ours."""
        del step
        for arn, task in self.world.model.tasks.items():
            if task.last_status is Status.RUNNING:
                self.world.model.retire(arn, self.world.clock.now())
        self.world.woken.set()

    def _spot_burst(self, step: int) -> bool:
        """Spot takes everything back at once."""
        del step
        spot = [
            arn
            for arn, task in self.world.model.tasks.items()
            if task.last_status is Status.RUNNING and task.capacity is Capacity.FARGATE_SPOT
        ]
        self.world.net.say(f"Spot reclaims all its {len(spot)} tasks")
        for arn in spot:
            self.world.model.interrupt_spot(arn, self.world.clock.now())
        self.world.woken.set()
        return bool(spot)

    def _no_capacity(self, step: int) -> None:
        kind = FaultKind.LAUNCH_FAILURE if self.world.plan.draw("body", step) < 0.5 else FaultKind.START_FAILURE
        self.world.model.faults.add(Fault(kind=kind, calls=2))

    def _no_room(self, step: int) -> None:
        """No capacity for the next launches, said in the answer."""
        self.world.model.faults.add(Fault(kind=FaultKind.LAUNCH_FAILURE, calls=4))

    def _surplus(self, step: int) -> bool:
        """Somebody else, an older version of ours say, launches an attempt that we launch too: with a token of its own."""
        runs = [run for run in self.world.table.records.values() if not run.status.is_terminal]
        if not runs:
            return False
        run = runs[int(self.world.plan.draw("surplus", step) * len(runs))]
        return self._start_surplus(run, f"older-{step}")

    def late_surplus(self, run: Run, attempt: int) -> None:
        """A task that nobody has on record comes up only now: of the attempt before, or of one that waits for another try."""
        share = 0.6 if self.world.plan.weather is Weather.LAUNCHES else 0.1
        if self.world.is_calm() or self.world.plan.draw("late", run.run_id, run.version) >= share:
            return
        if self._start_surplus(replace(run, attempt=attempt), f"late-{run.run_id}-{run.version}"):
            self.world.plan.injected["late surplus"] += 1

    def same_token(self, run: Run) -> None:
        """Another version has sent this very token with a request of its own: ours is then answered with a conflict."""
        if self.world.is_calm() or self.world.plan.draw("same token", run.run_id, run.attempt) >= SAME_TOKEN_SHARE:
            return
        if self._start_surplus(run, launch_token(run.run_id, run.attempt, run.launch_try)):
            self.world.plan.injected["same token, other request"] += 1

    def _start_surplus(self, run: Run, token: str) -> bool:
        request = run_task_request(run, "FARGATE", TARGET)
        request = {**request, "clientToken": token[:64], "enableExecuteCommand": True}
        with contextlib.suppress(EcsError):
            answer = self.world.model.handle("RunTask", request, self.world.clock.now())
            self.world.woken.set()
            return bool(answer["tasks"])
        return False

    def _ghost(self, step: int) -> bool:
        """A task under our name of a run that nobody knows."""
        return self._start_foreign(TaskIdentity(INSTALLATION, f"ghost-{step}", 1)) is not None

    def _neighbour(self, step: int) -> bool:
        """A task of another installation, that is none of our business."""
        return self._start_foreign(TaskIdentity("other", f"run-{step}", 1)) is not None

    def _strangers(self, step: int) -> None:
        """Another control plane was given our name: all its tasks look like orphans, and are none."""
        self.world.loop.start(self.world.world_host, self._start_strangers(step), "strangers")

    async def _start_strangers(self, step: int) -> None:
        for number in range(self.world.scenario.strangers):
            arn = self._start_foreign(TaskIdentity(INSTALLATION, f"stranger-{step}-{number}", 1))
            self.world.strangers.update([arn] if arn else [])
            await asyncio.sleep(0.1)  # noqa: TID251 - on the simulation's own loop

    def _start_foreign(self, identity: TaskIdentity) -> str | None:
        request = {
            "cluster": CLUSTER,
            "taskDefinition": "dagy-worker",
            "launchType": "FARGATE",
            "networkConfiguration": NETWORK,
            "startedBy": identity.started_by(),
        }
        with contextlib.suppress(EcsError):
            answer = self.world.model.handle("RunTask", request, self.world.clock.now())
            self.world.woken.set()
            return answer["tasks"][0]["taskArn"] if answer["tasks"] else None
        return None

    def _meddle(self, step: int) -> bool:
        """Somebody calls StopTask by hand."""
        live = [arn for arn in self.world.model.tasks if self.world.truth.container_alive(arn)]
        if not live:
            return False
        arn = live[int(self.world.plan.draw("meddle", step) * len(live))]
        request = {"cluster": CLUSTER, "task": arn, "reason": "I felt like it"}
        with contextlib.suppress(EcsError):
            self.world.model.handle("StopTask", request, self.world.clock.now())
            self.world.woken.set()
        return True

    def _amnesia(self, step: int) -> None:
        """Somebody has set the wrong region: ECS answers, and knows none of our tasks."""
        self.world.net.say("ECS is looked for in the wrong region")
        self.world.past.blind_until_s = self.world.loop.time() + AMNESIA_S

    def _kill_worker(self, step: int) -> bool:
        live = [container for container in self.world.agent.containers.values() if container.host.alive]
        if not live:
            return False
        self.world.agent.kill(live[int(self.world.plan.draw("victim", step) * len(live))].host)
        self.world.woken.set()
        return True
