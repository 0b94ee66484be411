"""The replicas of the daemon: each a host with the real loops, effects, limiter and leases over the ports of the simulation."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from dagy_control.kernel.ticker import Loop, Tick
from dagy_control.model.leases import Lease
from dagy_control.model.tasks import TaskIdentity
from tests.simulation import scenario as played
from tests.simulation.faults import Fate
from tests.simulation.network import SimClock
from tests.simulation.ports import SimCalls, SimEcsClient, SimEvents, SimLeases, SimRuns, SimStores
from tests.simulation.purposes import who
from tests.simulation.sim_loop import Host
from tests.simulation.versions import BEFORE, NOW, Product, product

if TYPE_CHECKING:
    from tests.simulation.world import World

REPLACED_AFTER_S = 30.0
"""ECS's default stopTimeout: SIGKILL comes so long after SIGTERM."""

ASKED_BEFORE = frozenset(
    {
        "launching: UpdateItem claim",
        "launching: UpdateItem renewal",
        "reconciling: UpdateItem stop cause",
        "orphans: BatchWriteItem orphans",
    }
)
"""The effects with which the work on a run begins. What comes after is finished, whoever holds the lease by then."""

LEASED = ("launching", "reconciling", "orphans")


class Fleet:
    """Who runs now. A restarted daemon is a new host."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.hosts: dict[int, Host] = {}
        self.leases: dict[str, Lease] = {}
        self._drains: dict[int, Any] = {}
        self._versions = {
            number: BEFORE if world.scenario.with_earlier_version and number % 2 == 0 else NOW
            for number in range(world.scenario.replicas)
        }
        self._disturbances = 0
        self._generations: Counter[int] = Counter()
        self._tokens: set[str] = set()
        self._metrics_of: dict[tuple[str, str], Any] = {}
        for package in (NOW, BEFORE) if world.scenario.with_earlier_version else (NOW,):
            product(package)  # before anybody listens to what its modules log

    def held(self) -> dict[str, tuple[str, int]]:
        """By each lease its holder, and for which time it was taken."""
        return {name: (lease.holder, lease.epoch) for name, lease in sorted(self.leases.items())}

    def start(self, replica: int) -> None:
        """A new process for this replica."""
        world = self._world
        self._generations[replica] += 1
        host = self.hosts[replica] = Host(f"daemon-{replica}.{self._generations[replica]}")
        version = product(self._versions[replica])
        drain = self._drains[replica] = version.get("kernel.drain", "Drain")()
        world.net.say(f"{host.name} starts, {version.package}")
        rates = world.scenario.clock_rates
        clock = SimClock(
            world.loop, world.scenario.skew_s * (world.plan.draw("skew", replica) - 0.5), rates[replica % len(rates)]
        )
        limiter = self._limiter(version, clock)
        keeper = self._keeper(version, host, clock, limiter) if world.scenario.with_leases else None
        running = []
        for loop in self._loops(version, host, clock, limiter, drain):
            policy = version.get("kernel.ticker", "TickPolicy")(
                interval_s=played.INTERVALS_S[loop.name], deadline_s=3600
            )
            lease_name = f"{played.CLUSTER}/{loop.name}"
            lease = keeper.keep(lease_name) if keeper is not None and loop.name in LEASED else None
            watched = _Watched(loop, world, host, lease_name if lease is not None else None)
            metrics = self._metrics(version, "kernel.telemetry", "LoopMetrics")
            ticker = version.get("kernel.ticker", "Ticker")(
                watched, policy, clock, metrics, seed=host.name, permit=lease
            )
            running.append(world.loop.start(host, ticker.run(drain), loop.name))
        if keeper is not None:
            loops_ended = version.get("kernel.drain", "Drain")()
            world.loop.start(host, keeper.run(loops_ended), "leases")
            world.loop.start(host, _begin_after(running, loops_ended), "drain by stages")

    def crash(self, host: Host) -> None:
        """The power cut, and ECS starts a new task for the service some time later."""
        replica = next(number for number, daemon in self.hosts.items() if daemon is host)
        self._world.loop.crash(host)
        self._disturbances += 1
        if held := [name for name, lease in self.leases.items() if lease.holder == host.name and not lease.released]:
            self._world.loop.start(self._world.world_host, self._see_taken(held, host.name), "hand-over")
        down_s = 5 + 60 * self._world.plan.draw("down", host.name)
        self._world.loop.start(self._world.world_host, self._restart(replica, down_s), "restart")

    def is_current(self, host: Host) -> bool:
        """Whether the host is the present process of a replica, not one that was replaced."""
        return any(daemon is host for daemon in self.hosts.values())

    def replace(self, replica: int) -> None:
        """A deployment: the new daemon starts while the old one still drains; ECS kills the old one at last.

        Where an earlier version is about, it is replaced by the present one, or, as a rollback, the other way round.
        """
        old = self.hosts[replica]
        self._disturbances += 1
        if self._world.scenario.with_earlier_version:
            self._versions[replica] = NOW if self._versions[replica] == BEFORE else BEFORE
            self._world.plan.injected["version changed"] += 1
        self._world.net.say(f"{old.name} is told to drain")
        self._drains[replica].begin()
        self.start(replica)
        self._world.loop.start(self._world.world_host, self._kill(old), "kill")

    async def _restart(self, replica: int, after_s: float) -> None:
        await asyncio.sleep(after_s)  # noqa: TID251 - on the simulation's own loop
        self.start(replica)

    async def _see_taken(self, held: Sequence[str], by: str) -> None:
        """Within two leases others have those of a host that has died, if nothing else befalls the daemons and the leases."""
        world, before = self._world, self._disturbed()
        stalled = any(host.stalled_until > world.loop.time() for host in self.hosts.values())
        await asyncio.sleep(2 * played.LEASE_S)  # noqa: TID251 - on the simulation's own loop
        if stalled or self._disturbed() != before:
            return
        world.sometimes["leases taken over within two leases"] += 1
        left = [name for name in held if self.leases[name].holder == by]
        world.guarded(lambda: world.invariants.on_hand_over(left, by))

    def _disturbed(self) -> tuple[int, int, int]:
        """How often by now daemons have been stopped, or have stalled, and calls for leases have gone wrong."""
        plan = self._world.plan
        failed = sum(
            count
            for cell, count in plan.cells.items()
            if cell.row.startswith("leases:") and (cell.fate is not Fate.GOOD or cell.phase is not None)
        )
        return self._disturbances, plan.injected["stall_daemon"] + plan.injected["stall_holder"], failed

    async def _kill(self, old: Host) -> None:
        await asyncio.sleep(REPLACED_AFTER_S)  # noqa: TID251 - on the simulation's own loop
        if old.alive:
            self._world.loop.crash(old)

    def _metrics(self, version: Product, module: str, name: str) -> Any:
        """The metrics of a version, the same for all its processes: nothing that is played reads them, and to make them costs time."""
        key = (version.package, name)
        if key not in self._metrics_of:
            self._metrics_of[key] = version.get(module, name)(CollectorRegistry())
        return self._metrics_of[key]

    def _limiter(self, version: Product, clock: SimClock) -> Any:
        """The whole budget under leases, else a replica's part of it (decision 0019); the earlier version knew of parts only."""
        whole = self._world.scenario.with_leases and version.package == NOW
        return version.get("kernel.limiter", "Limiter")(
            clock, share=1.0 if whole else 1 / self._world.scenario.replicas
        )

    def _keeper(self, version: Product, host: Host, clock: SimClock, limiter: Any) -> Any:
        numbers = iter(range(1_000_000))
        taking = {"on_taken": limiter.empty} if version.package == NOW else {}
        holder = version.get("kernel.leases", "LeaseHolder")(
            name=host.name, lease_s=played.LEASE_S, new_nonce=lambda: f"{host.name}-lease-{next(numbers)}", **taking
        )
        leases = version.port(SimLeases(self._world.net, host, self.leases))
        metrics = self._metrics(version, "kernel.leases", "LeaseMetrics")
        return version.get("kernel.leases", "LeaseKeeper")(leases, clock, holder, metrics)

    def _loops(self, version: Product, host: Host, clock: SimClock, limiter: Any, drain: Any) -> list[Loop]:
        world, scenario, get = self._world, self._world.scenario, version.get
        watched = version.package == NOW  # the earlier version asks less often
        on_effect = partial(self._begins_effect, host, drain) if watched else _ignored
        runs = version.port(SimRuns(world.net, host, world.table, on_effect=on_effect))
        stores = version.port(SimStores(world.net, host, world.stores, on_effect))
        client = version.port(
            SimEcsClient(
                world.net,
                host,
                world.model,
                world.clock,
                world.past,
                self._tokens,
                self._applied,
                version.package == NOW,
            )
        )
        tasks = get("adapters.ecs_tasks", "EcsTasks")(client, SimCalls(), limiter)
        numbers = iter(range(1_000_000))
        writer = get("kernel.record_writer", "RecordWriter")(runs, clock, lambda: f"{host.name}-{next(numbers)}")
        loops: list[Loop] = [
            get("launching.loop", "LaunchingLoop")(
                version.own(played.LAUNCHING),
                get("launching.effects", "LaunchingEffects")(runs, tasks, writer, clock),
                self._metrics(version, "launching.metrics", "LaunchingMetrics"),
            ),
            get("reconciling.loop", "ReconcilingLoop")(
                version.own(played.RECONCILING),
                get("reconciling.effects", "ReconcilingEffects")(runs, tasks, stores, writer, clock),
                self._metrics(version, "reconciling.metrics", "ReconcilingMetrics"),
                clock,
            ),
            get("orphans.loop", "OrphanLoop")(
                version.own(scenario.orphan_policy()),
                get("orphans.effects", "OrphanEffects")(runs, tasks, stores, stores, writer, clock),
                self._metrics(version, "orphans.metrics", "OrphanMetrics"),
                clock,
            ),
        ]
        if scenario.with_events:
            events = version.port(SimEvents(world.net, host, world.queue, clock, world.truth.told_of))
            effects = get("events.effects", "EventEffects")(runs, events, stores, writer, clock)
            metrics = self._metrics(version, "events.metrics", "EventMetrics")
            loops.append(get("events.loop", "EventLoop")("events", version.own(played.EVENTS), effects, metrics))
        return [loop for loop in loops if loop.name not in scenario.without]

    def _begins_effect(self, host: Host, drain: Any, what: str) -> None:
        """A write is about to be sent. Some are of those before which a loop asks, in the same instant, whether it may act."""
        effect = f"{who(host)}: {what}"
        if effect not in ASKED_BEFORE:
            return
        world = self._world
        lease = self.leases.get(f"{played.CLUSTER}/{who(host)}")
        holds = not world.scenario.with_leases or (lease is not None and lease.holder == host.name)
        world.guarded(
            lambda: world.invariants.on_effect(effect, host.name, may_act=holds and not drain.begun, why=str(lease))
        )

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


def _ignored(_: str) -> None:
    """Nobody looks."""


async def _begin_after(running: Sequence[asyncio.Task[Any]], drain: Any) -> None:
    """The next stage of a drain, as the supervisor has it: a lease is given back when its loop has ended."""
    await asyncio.wait(running)
    drain.begin()


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
