"""Everything together: services, an ECS, one to three replicas of the daemon, a client, chaos; one seed, one story."""

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry

from dagy_control.adapters.ecs_reading import seen_task
from dagy_control.adapters.ecs_tasks import EcsTasks
from dagy_control.errors import Conflict, DagyError, Transient
from dagy_control.events.effects import EventEffects
from dagy_control.events.loop import EventLoop
from dagy_control.events.metrics import EventMetrics
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.leases import LeaseHolder, LeaseKeeper, LeaseMetrics
from dagy_control.kernel.limiter import Limiter
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.telemetry import LoopMetrics
from dagy_control.kernel.ticker import Loop, Ticker, TickPolicy
from dagy_control.launching.effects import LaunchingEffects
from dagy_control.launching.loop import LaunchingLoop
from dagy_control.launching.metrics import LaunchingMetrics
from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_lifecycle import SignalContainer, StartContainer
from dagy_control.local.ecs_model import EcsModel
from dagy_control.local.ecs_state import Lifetimes, Status, StopCode
from dagy_control.model.leases import Lease
from dagy_control.model.runs import ResultStatus, Run, RunStatus
from dagy_control.model.tasks import TaskIdentity
from dagy_control.orphans.effects import OrphanEffects
from dagy_control.orphans.loop import OrphanLoop
from dagy_control.orphans.metrics import OrphanMetrics
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.loop import ReconcilingLoop
from dagy_control.reconciling.metrics import ReconcilingMetrics
from dagy_control.requests.cancel import cancel
from tests.simulation.chaos import Chaos
from tests.simulation.invariants import Invariants, Violation
from tests.simulation.network import Network, SimClock
from tests.simulation.ports import SimCalls, SimEcsClient, SimEvents, SimLeases, SimRuns, SimStores
from tests.simulation.scenario import (
    CLUSTER,
    EVENTS,
    INTERVALS_S,
    LAUNCHING,
    LEASE_S,
    ORPHANS,
    RECONCILING,
    TRAINING,
    Report,
    Scenario,
    a_run,
    worker_definition,
)
from tests.simulation.servers import EventQueue, RunsTable, SmallStores
from tests.simulation.sim_loop import Host, SimLoop
from tests.simulation.workers import SimAgent


class World:
    """One scenario, running."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.loop = SimLoop()
        self.plan = scenario.fault_plan()
        self.clock = SimClock(self.loop)
        self.net = Network(self.loop, self.plan, self._crashed)
        self.model = EcsModel(
            lifetimes=Lifetimes(visible_after_s=150 * self.plan.draw("visible") ** 2), seed=f"sim-{scenario.seed}"
        )
        self.model.registry.create_cluster(CLUSTER)
        self.model.registry.register(worker_definition(), self.clock.now())
        self.stores = SmallStores()
        self.queue = EventQueue(self.loop.time)
        self.violation: Violation | None = None
        self.violated_at: int | None = None
        self.table = RunsTable(self._on_write, self.loop.time)
        self.agent = SimAgent(self.net, self.model, self.clock, self.table, self.stores, calm=self._is_calm)
        self.invariants = Invariants(self, RECONCILING.retry.max_infra_failures, LAUNCHING.retry.max_launch_tries)
        self.sometimes: Counter[str] = Counter()
        self.daemons: dict[int, Host] = {}
        self.drains: dict[int, Drain] = {}
        self.generations: Counter[int] = Counter()
        self.woken = asyncio.Event()
        self.world_host = Host("world")
        self.trainings: dict[str, str] = {}
        self.told_of: set[str] = set()
        self.leases: dict[str, Lease] = {}
        self.chaos = Chaos(self)
        self.client_done = False
        self.client_host = Host("client")

    # The truth

    def now(self) -> datetime:
        """The true time."""
        return self.clock.now()

    def container_alive(self, arn: str) -> bool:
        """Whether the task's container runs."""
        return self.agent.alive(arn)

    def is_known(self, arn: str) -> bool:
        """Whether ECS still shows the task."""
        self.model.advance(self.clock.now())
        task = self.model.tasks.get(arn)
        return task is not None and task.last_status is not Status.DELETED

    def was_told_of(self, arn: str) -> bool:
        """Whether an event has told of the task's end."""
        return arn in self.told_of

    def was_reclaimed(self, arn: str) -> bool:
        """Whether Spot took the task away."""
        return self.model.task(arn).stop_code is StopCode.SPOT_INTERRUPTION

    def attempt_of(self, arn: str) -> int:
        """The attempt for which the task was started."""
        identity = TaskIdentity.parse(self.model.task(arn).started_by)
        return identity.attempt if identity else 0

    def left_success(self, run: Run) -> bool:
        """Whether the worker of this attempt has left a success in S3."""
        left = self.stores.results.get((run.run_id, run.attempt, run.external_id or ""))
        return left is not None and left.status is ResultStatus.SUCCEEDED

    def is_rightful(self, arn: str) -> bool:
        """Whether the task is the current one of its model, in the other system's own eyes."""
        return arn in self.trainings.values()

    # The story

    def play(self) -> Report:
        """Run to the end. Raises `Violation` with the last of the trace."""
        asyncio.set_event_loop(None)
        try:
            main = self.loop.start(self.world_host, self._story(), "story")
            self.loop.run_until_complete(main)
        except Violation as violation:
            raise self._with_trace(violation) from None
        finally:
            self.loop.bury()
            self.loop.close()
        return Report(
            seed=self.scenario.seed,
            simulated_s=self.loop.virtual_s,
            calls=self.net.calls,
            injected=self.plan.injected,
            cells=self.plan.cells,
            statuses=Counter(run.status.value for run in self.table.records.values()),
            sometimes=self.sometimes,
            trace=self.net.trace,
        )

    def _with_trace(self, violation: Violation) -> Violation:
        last = "\n".join(self.net.trace[: self.violated_at][-40:])
        return Violation(
            f"{violation}\nseed {self.scenario.seed}; the last events:\n{last}\n"
            f"replay: python -m tests.simulation --seed {self.scenario.seed} --trace"
        )

    async def _story(self) -> None:
        start = self.loop.start
        start(self.world_host, self._move_ecs(), "ecs")
        for replica in range(self.scenario.replicas):
            self._start_daemon(replica)
        start(self.client_host, self._client(self.client_host), "client")
        start(Host("trainer"), self._train(), "trainer")
        if self.scenario.chaos:
            start(self.world_host, self.chaos.run(), "chaos")
        await self._until_quiet()

    async def _until_quiet(self) -> None:
        """Liveness: once faults cease, within a bound every run is terminal and nothing is left running or queued."""
        await asyncio.sleep(self.scenario.calm_from_s)  # noqa: TID251 - on the simulation's own loop
        while True:
            self._raise_violation()
            unfinished = [run for run in self.table.records.values() if not run.status.is_terminal]
            alive = [
                arn
                for arn, task in self.model.tasks.items()
                if task.last_status not in (Status.STOPPED, Status.DELETED)
            ]
            if self.client_done and not unfinished and not alive and not self.queue.messages:
                break
            if self.loop.time() > self.scenario.give_up_s:
                stuck = [f"{run.run_id} {run.status} attempt {run.attempt}" for run in unfinished]
                raise Violation(f"liveness: after {self.scenario.give_up_s:g} s there are runs {stuck}, tasks {alive}")
            await asyncio.sleep(60)  # noqa: TID251 - on the simulation's own loop
        for run in self.table.records.values():
            self.invariants.at_the_end(run)
        before = self.table.writes
        await asyncio.sleep(700)  # noqa: TID251 - on the simulation's own loop
        self._raise_violation()
        if self.table.writes != before:
            raise Violation("liveness: something is written at rest")

    def _raise_violation(self) -> None:
        if self.violation is not None:
            raise self.violation

    def _is_calm(self) -> bool:
        return self.loop.time() >= self.scenario.calm_from_s

    # What is seen

    def _on_write(self, before: Run | None, after: Run, change: Any) -> None:
        self._guarded(lambda: self.invariants.on_write(before, after, change))
        if before is not None and before.status is not after.status:
            self.net.say(f"    {after.run_id[-4:]} {before.status} -> {after.status} (attempt {after.attempt})")
            self.sometimes[f"{before.status}->{after.status}"] += 1
            if after.failure_class is not None:
                self.sometimes[after.failure_class] += 1
            if after.status is RunStatus.LAUNCHING and after.attempt > 1:
                self.chaos.late_surplus(after, after.attempt - 1)
            if after.status is RunStatus.QUEUED:
                self.chaos.late_surplus(after, after.attempt)

    def _on_ecs(self, operation: str, request: dict[str, Any], answer: dict[str, Any]) -> None:
        self.woken.set()
        if operation == "RunTask":
            identity = TaskIdentity.parse(request["startedBy"])
            run = self.table.get(identity.run_id) if identity else None
            self._guarded(lambda: self.invariants.on_task(run, answer))

    def _guarded(self, check: Any) -> None:
        """A violation must not be swallowed by whoever made the call: keep it, and end the story."""
        try:
            check()
        except Violation as violation:
            self.net.say(f"VIOLATION {violation}")
            if self.violation is None:
                self.violation, self.violated_at = violation, len(self.net.trace)

    # ECS

    async def _move_ecs(self) -> None:
        while True:
            self.woken.clear()
            now = self.clock.now()
            self.model.advance(now)
            for effect in self.model.drain_effects():
                if isinstance(effect, StartContainer):
                    self.agent.start(effect)
                elif isinstance(effect, SignalContainer):
                    self.agent.signal(effect)
            for event in self.model.drain_events(now):
                self._deliver(event)
            due = self.model.next_due()
            wait_s = 3600.0 if due is None else max(0.0, (due - self.clock.now()).total_seconds())
            timer = self.loop.call_later(wait_s, self.woken.set)
            await self.woken.wait()
            timer.cancel()

    def _deliver(self, event: dict[str, Any]) -> None:
        if not self.scenario.with_events:
            return
        fraction = self.plan.draw("event", self.queue.sent, event["detail"]["taskArn"], event["detail"]["version"])
        task = seen_task(event["detail"])
        calm = self._is_calm()
        if not calm and fraction < 0.05:
            self.plan.injected["event lost"] += 1
            return
        if task.has_ended:
            self.told_of.add(task.arn)
        self.queue.send(task, 0.1 if calm else 30 * fraction**6)
        if not calm and fraction > 0.95:
            self.plan.injected["event duplicated"] += 1
            self.queue.send(task, 200 * (fraction - 0.95))

    # Daemons

    def _start_daemon(self, replica: int) -> None:
        self.generations[replica] += 1
        host = Host(f"daemon-{replica}.{self.generations[replica]}")
        self.daemons[replica] = host
        self.drains[replica] = Drain()
        skew_s = 10 * self.plan.draw("skew", replica) - 5
        self.net.say(f"{host.name} starts")
        clock = SimClock(self.loop, skew_s)
        keeper = self._keeper(host, clock) if self.scenario.with_leases else None
        for loop in self._loops(host, clock):
            policy = TickPolicy(interval_s=INTERVALS_S[loop.name], deadline_s=3600)
            lease = keeper.keep(f"{CLUSTER}/{loop.name}") if keeper is not None and loop.name != "events" else None
            metrics = LoopMetrics(CollectorRegistry())
            ticker = Ticker(loop, policy, clock, metrics, seed=host.name, permit=lease)
            self.loop.start(host, ticker.run(self.drains[replica]), loop.name)
        if keeper is not None:
            self.loop.start(host, keeper.run(self.drains[replica]), "leases")

    def _keeper(self, host: Host, clock: SimClock) -> LeaseKeeper:
        numbers = iter(range(1_000_000))
        holder = LeaseHolder(name=host.name, lease_s=LEASE_S, new_nonce=lambda: f"{host.name}-lease-{next(numbers)}")
        leases = SimLeases(self.net, host, self.leases)
        return LeaseKeeper(leases, clock, holder, LeaseMetrics(CollectorRegistry()))

    def _loops(self, host: Host, clock: SimClock) -> list[Loop]:
        runs = SimRuns(self.net, host, self.table)
        stores = SimStores(self.net, host, self.stores)
        client: Any = SimEcsClient(self.net, host, self.model, self.clock, self._on_ecs)
        calls: Any = SimCalls()
        tasks = WatchedTasks(client, calls, Limiter(clock, share=1 / self.scenario.replicas), self)
        numbers = iter(range(1_000_000))
        writer = RecordWriter(runs, clock, lambda: f"{host.name}-{next(numbers)}")
        registry = CollectorRegistry()
        loops: list[Loop] = [
            LaunchingLoop(LAUNCHING, LaunchingEffects(runs, tasks, writer, clock), LaunchingMetrics(registry)),
            ReconcilingLoop(
                RECONCILING,
                ReconcilingEffects(runs, tasks, stores, writer, clock),
                ReconcilingMetrics(registry),
                clock,
            ),
            OrphanLoop(
                ORPHANS, OrphanEffects(runs, tasks, stores, stores, writer, clock), OrphanMetrics(registry), clock
            ),
        ]
        if self.scenario.with_events:
            events = SimEvents(self.net, host, self.queue, clock)
            loops.append(
                EventLoop("events", EVENTS, EventEffects(runs, events, stores, writer, clock), EventMetrics(registry))
            )
        return loops

    def _crashed(self, host: Host) -> None:
        """The plan crashes a host in the middle of a call: a daemon comes back, a worker does not."""
        replica = next((number for number, daemon in self.daemons.items() if daemon is host), None)
        if replica is not None:
            self.loop.crash(host)
            self.loop.start(
                self.world_host, self._restart(replica, 5 + 60 * self.plan.draw("down", host.name)), "restart"
            )
        elif host.name.startswith("worker"):
            self.agent.kill(host)
        else:
            self.loop.crash(host)  # the client is gone; what it has asked for goes on
            self.client_done = True

    async def _restart(self, replica: int, after_s: float) -> None:
        await asyncio.sleep(after_s)  # noqa: TID251 - on the simulation's own loop
        self._start_daemon(replica)

    # The client

    async def _client(self, host: Host) -> None:
        clock = self.clock
        runs = SimRuns(self.net, host, self.table)
        numbers = iter(range(1_000_000))
        writer = RecordWriter(runs, clock, lambda: f"client-{next(numbers)}")
        for number in range(self.scenario.runs):
            gap_s = 0.75 * self.scenario.calm_from_s / self.scenario.runs
            await clock.sleep(2 * gap_s * self.plan.draw("gap", number))
            run = a_run(number, self.plan, clock)
            await self._launch(run, writer)
            if self.plan.draw("cancel", number) < self.scenario.cancels:
                self.loop.start(host, self._cancel(run.run_id, runs, writer), "cancel")
        self.client_done = True

    async def _launch(self, run: Run, writer: RecordWriter) -> None:
        """Ask until it is acknowledged; that the run exists already is an acknowledgement too."""
        while True:
            with contextlib.suppress(Transient):
                with contextlib.suppress(Conflict):
                    await writer.create(run)
                return
            await self.clock.sleep(30)

    async def _cancel(self, run_id: str, runs: SimRuns, writer: RecordWriter) -> None:
        await self.clock.sleep(600 * self.plan.draw("cancel after", run_id) ** 2)
        try:
            await cancel(runs, writer, self.clock, run_id)
            self.sometimes["cancel acknowledged"] += 1
        except DagyError:
            self.sometimes["cancel not acknowledged"] += 1

    # Another system on the same cluster

    async def _train(self) -> None:
        """Retraining jobs that write down their task's ARN late: what the second scan of the orphan scanner is for."""
        for number in range(8):
            await self.clock.sleep(self.scenario.calm_from_s / 10)
            model_name = f"model-{number % 2}"
            definition = {"cluster": CLUSTER, "taskDefinition": "dagy-worker", "launchType": "FARGATE"}
            network = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
            tags = [{"key": "model_name", "value": model_name}]
            try:
                answer = self.model.handle(
                    "RunTask", {**definition, "networkConfiguration": network, "tags": tags}, self.clock.now()
                )
            except EcsError:
                continue
            if not answer["tasks"]:
                continue
            arn = self.trainings[model_name] = answer["tasks"][0]["taskArn"]
            self.woken.set()
            await self.clock.sleep(600 * self.plan.draw("record", number))
            record = {"model_name": model_name, "status": "running", "task_arn": arn}
            self.stores.states.setdefault(TRAINING.table, {})[model_name] = record


class WatchedTasks(EcsTasks):
    """The shipped adapter, whose StopTask is looked at before it is sent: invariant 3 is about the moment of its effect."""

    def __init__(self, client: Any, calls: Any, limiter: Limiter, world: World) -> None:
        super().__init__(client, calls, limiter)
        client.applied = self._applied
        self._world = world

    def _applied(self, operation: str, request: dict[str, Any], answer: dict[str, Any]) -> None:
        world = self._world
        if operation == "StopTask":
            arn = request["task"]
            identity = TaskIdentity.parse(world.model.task(arn).started_by)
            run = world.table.get(identity.run_id) if identity else None
            world._guarded(lambda: world.invariants.on_stop(arn, run, identity))
            world.sometimes["StopTask"] += 1
        world._on_ecs(operation, request, answer)


def play(seed: int, **options: Any) -> Report:
    """The story of a seed: one to three replicas, some without any event, unless said otherwise."""
    scenario = Scenario(
        seed=seed, replicas=1 + seed % 3, with_events=seed % 4 != 3 and seed % 10 != 5, with_leases=seed % 4 == 2
    )
    return World(replace(scenario, **options)).play()
