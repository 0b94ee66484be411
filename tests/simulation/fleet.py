"""The replicas of the daemon: each a host with the real loops, effects, limiter and leases over the ports of the simulation."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from dagy_control.adapters.ecs_tasks import EcsTasks
from dagy_control.events.effects import EventEffects
from dagy_control.events.loop import EventLoop
from dagy_control.events.metrics import EventMetrics
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.leases import LeaseHolder, LeaseKeeper, LeaseMetrics
from dagy_control.kernel.limiter import Limiter
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.telemetry import LoopMetrics
from dagy_control.kernel.ticker import Loop, Tick, Ticker, TickPolicy
from dagy_control.launching.effects import LaunchingEffects
from dagy_control.launching.loop import LaunchingLoop
from dagy_control.launching.metrics import LaunchingMetrics
from dagy_control.model.leases import Lease
from dagy_control.model.tasks import TaskIdentity
from dagy_control.orphans.effects import OrphanEffects
from dagy_control.orphans.loop import OrphanLoop
from dagy_control.orphans.metrics import OrphanMetrics
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.loop import ReconcilingLoop
from dagy_control.reconciling.metrics import ReconcilingMetrics
from tests.simulation import scenario as played
from tests.simulation.network import SimClock
from tests.simulation.ports import SimCalls, SimEcsClient, SimEvents, SimLeases, SimRuns, SimStores
from tests.simulation.sim_loop import Host

if TYPE_CHECKING:
    from tests.simulation.world import World

REPLACED_AFTER_S = 30.0
"""ECS's default stopTimeout: SIGKILL comes so long after SIGTERM."""

LEASED = ("launching", "reconciling", "orphans")


class Fleet:
    """Who runs now. A restarted daemon is a new host."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.hosts: dict[int, Host] = {}
        self.leases: dict[str, Lease] = {}
        self._drains: dict[int, Drain] = {}
        self._generations: Counter[int] = Counter()

    def start(self, replica: int) -> None:
        """A new process for this replica."""
        world = self._world
        self._generations[replica] += 1
        host = self.hosts[replica] = Host(f"daemon-{replica}.{self._generations[replica]}")
        self._drains[replica] = Drain()
        world.net.say(f"{host.name} starts")
        clock = SimClock(world.loop, skew_s=10 * world.plan.draw("skew", replica) - 5)
        keeper = self._keeper(host, clock) if world.scenario.with_leases else None
        for loop in self._loops(host, clock):
            policy = TickPolicy(interval_s=played.INTERVALS_S[loop.name], deadline_s=3600)
            lease_name = f"{played.CLUSTER}/{loop.name}"
            lease = keeper.keep(lease_name) if keeper is not None and loop.name in LEASED else None
            watched = _Watched(loop, world, host, lease_name if lease is not None else None)
            ticker = Ticker(watched, policy, clock, LoopMetrics(CollectorRegistry()), seed=host.name, permit=lease)
            world.loop.start(host, ticker.run(self._drains[replica]), loop.name)
        if keeper is not None:
            world.loop.start(host, keeper.run(self._drains[replica]), "leases")

    def crash(self, host: Host) -> None:
        """The power cut, and ECS starts a new task for the service some time later."""
        replica = next(number for number, daemon in self.hosts.items() if daemon is host)
        self._world.loop.crash(host)
        down_s = 5 + 60 * self._world.plan.draw("down", host.name)
        self._world.loop.start(self._world.world_host, self._restart(replica, down_s), "restart")

    def is_current(self, host: Host) -> bool:
        """Whether the host is the present process of a replica, not one that was replaced."""
        return any(daemon is host for daemon in self.hosts.values())

    def replace(self, replica: int) -> None:
        """A deployment: the new daemon starts while the old one still drains; ECS kills the old one at last."""
        old = self.hosts[replica]
        self._world.net.say(f"{old.name} is told to drain")
        self._drains[replica].begin()
        self.start(replica)
        self._world.loop.start(self._world.world_host, self._kill(old), "kill")

    async def _restart(self, replica: int, after_s: float) -> None:
        await asyncio.sleep(after_s)  # noqa: TID251 - on the simulation's own loop
        self.start(replica)

    async def _kill(self, old: Host) -> None:
        await asyncio.sleep(REPLACED_AFTER_S)  # noqa: TID251 - on the simulation's own loop
        if old.alive:
            self._world.loop.crash(old)

    def _keeper(self, host: Host, clock: SimClock) -> LeaseKeeper:
        numbers = iter(range(1_000_000))
        holder = LeaseHolder(
            name=host.name, lease_s=played.LEASE_S, new_nonce=lambda: f"{host.name}-lease-{next(numbers)}"
        )
        leases = SimLeases(self._world.net, host, self.leases)
        return LeaseKeeper(leases, clock, holder, LeaseMetrics(CollectorRegistry()))

    def _loops(self, host: Host, clock: SimClock) -> list[Loop]:
        world, scenario = self._world, self._world.scenario
        runs = SimRuns(world.net, host, world.table)
        stores = SimStores(world.net, host, world.stores)
        client: Any = SimEcsClient(world.net, host, world.model, world.clock, world.past, self._applied)
        calls: Any = SimCalls()
        tasks = EcsTasks(client, calls, Limiter(clock, share=1 / scenario.replicas))
        numbers = iter(range(1_000_000))
        writer = RecordWriter(runs, clock, lambda: f"{host.name}-{next(numbers)}")
        registry = CollectorRegistry()
        loops: list[Loop] = [
            LaunchingLoop(played.LAUNCHING, LaunchingEffects(runs, tasks, writer, clock), LaunchingMetrics(registry)),
            ReconcilingLoop(
                played.RECONCILING,
                ReconcilingEffects(runs, tasks, stores, writer, clock),
                ReconcilingMetrics(registry),
                clock,
            ),
            OrphanLoop(
                played.ORPHANS,
                OrphanEffects(runs, tasks, stores, stores, writer, clock),
                OrphanMetrics(registry),
                clock,
            ),
        ]
        if scenario.with_events:
            events = SimEvents(world.net, host, world.queue, clock)
            effects = EventEffects(runs, events, stores, writer, clock)
            loops.append(EventLoop("events", played.EVENTS, effects, EventMetrics(registry)))
        return [loop for loop in loops if loop.name not in scenario.without]

    def _applied(self, operation: str, request: dict[str, Any], answer: dict[str, Any]) -> None:
        """A call of a daemon has taken effect: the invariants are about this moment."""
        world = self._world
        world.woken.set()
        if operation == "StopTask":
            arn = request["task"]
            identity = TaskIdentity.parse(world.model.task(arn).started_by)
            run = world.table.get(identity.run_id) if identity else None
            world.guarded(lambda: world.invariants.on_stop(arn, run, identity))
        if operation == "RunTask":
            identity = TaskIdentity.parse(request["startedBy"])
            run = world.table.get(identity.run_id) if identity else None
            world.guarded(lambda: world.invariants.on_task(run, request, answer))


class _Watched:
    """A loop whose ticks are looked at: under a lease, only its holder may begin one."""

    def __init__(self, loop: Loop, world: World, host: Host, lease_name: str | None) -> None:
        self.name = loop.name
        self._loop = loop
        self._world = world
        self._host = host
        self._lease_name = lease_name

    async def tick(self, tick: Tick) -> float | None:
        if self._lease_name is not None:
            lease = self._world.fleet.leases.get(self._lease_name)
            just_stalled = self._host.stalled_until >= self._world.loop.time()
            self._world.guarded(
                lambda: self._world.invariants.on_tick(self.name, self._host.name, lease, just_stalled=just_stalled)
            )
        return await self._loop.tick(tick)
