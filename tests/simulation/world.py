"""Everything together: services, an ECS, one to three replicas of the daemon, a client, chaos; one seed, one story."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from dagy_control.adapters.ecs_reading import ShownTask, seen_tasks
from dagy_control.local.ecs_lifecycle import SignalContainer, StartContainer
from dagy_control.local.ecs_model import EcsModel
from dagy_control.local.ecs_state import Lifetimes
from dagy_control.model.runs import TERMINAL, Run, RunChange, RunStatus
from tests.simulation import scenario as played
from tests.simulation.budgets import Budgets
from tests.simulation.chaos import Chaos
from tests.simulation.clients import Client, Trainer
from tests.simulation.fleet import Fleet
from tests.simulation.hearing import branches, heard
from tests.simulation.hunting import Hunt
from tests.simulation.invariants import Invariants
from tests.simulation.network import Network, SimClock
from tests.simulation.replay import ENDINGS, Altered, frames, told
from tests.simulation.scenario import CLUSTER, Report, Scenario, a_run, worker_definition
from tests.simulation.servers import EventQueue, RunsTable, SmallStores, TaskHistory
from tests.simulation.sim_loop import HOST, Host, SimLoop
from tests.simulation.truth import Truth
from tests.simulation.violation import Violation
from tests.simulation.workers import SimAgent


class World:
    """One scenario, running."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.plan = scenario.fault_plan()
        self.loop = SimLoop(scenario.seed, shuffled=scenario.shuffled)
        self.loop.on_failure = self._failed
        self.loop.set_exception_handler(self._callback_failed)
        self.clock = SimClock(self.loop)
        self.net = Network(self.loop, self.plan, self.crash, self._throttled)
        self.model = EcsModel(
            lifetimes=Lifetimes(visible_after_s=150 * self.plan.draw("visible") ** 2), seed=f"sim-{scenario.seed}"
        )
        self.model.registry.create_cluster(CLUSTER)
        self.model.registry.register(worker_definition(), self.clock.now())
        self.past = TaskHistory(self.loop.time)
        self.stores = SmallStores()
        self.queue = EventQueue(self.loop.time)
        self.over_at: dict[str, datetime] = {}
        self.table = RunsTable(self._on_write, self.loop.time, self._on_self_conflict)
        self.agent = SimAgent(self)
        self.truth = Truth(self)
        limits = scenario.limits()
        budgets = Budgets(
            retry=played.RETRY,
            launch_retry=played.LAUNCHING.retry,
            clocks_differ_s=limits.clocks_differ_s,
            claims_wait=not scenario.with_earlier_version,
        )
        self.invariants = Invariants(self.truth, budgets, limits)
        self.sometimes: Counter[str] = Counter()
        self.woken = asyncio.Event()
        self.world_host = Host("world")
        self.fleet = Fleet(self)
        self.client = Client(self)
        self.trainer = Trainer(self)
        self.chaos = Chaos(self)
        self.strangers: set[str] = set()
        self._violation: Violation | None = None
        self._violated_at: int | None = None
        self._calls_when_quiet = 0
        self._over = False

    def is_calm(self) -> bool:
        """Whether faults have ceased."""
        return self.loop.time() >= self.scenario.calm_from_s

    # The story

    def play(self) -> Report:
        """Run to the end. Raises `Violation`, whatever goes wrong, with the last of the trace and the command that replays it."""
        asyncio.set_event_loop(None)
        try:
            with heard(self._hear):
                main = self.loop.start(self.world_host, self._story(), "story")
                self.loop.run_until_complete(main)
        except ENDINGS as error:
            raise told(self._violation or error, self.scenario, self.net.trace[: self._violated_at]) from None
        finally:
            self._over = True
            self.loop.bury()
            self.loop.close()
        return Report(
            seed=self.scenario.seed,
            replicas=self.scenario.replicas,
            simulated_s=self.loop.virtual_s,
            calls=self.net.calls,
            calls_when_quiet=self._calls_when_quiet,
            moments=self.net.moments,
            injected=self.plan.injected,
            cells=self.plan.cells,
            statuses=Counter(run.status.value for run in self.table.records.values()),
            organisations=len({run.org_id for run in self.table.records.values()}),
            sometimes=self.sometimes,
            trace=self.net.trace,
        )

    async def _story(self) -> None:
        start = self.loop.start
        if self.scenario.burst:
            for number in range(self.scenario.runs):
                self.table.create(a_run(number, self.plan, self.clock), "burst")
        start(self.world_host, self._move_ecs(), "ecs")
        for replica in range(self.scenario.replicas):
            self.fleet.start(replica)
        self.client.start()
        if self.scenario.with_trainer:
            start(Host("trainer"), self.trainer.work(), "trainer")
        if self.scenario.chaos:
            start(self.world_host, self.chaos.run(), "chaos")
        start(self.world_host, self.chaos.act_out(self.scenario.acts), "acts")
        start(self.world_host, self._look_for_orphans(), "orphans looked for")
        await self._until_quiet()

    async def _until_quiet(self) -> None:
        """Liveness: once faults cease, within a bound every run is terminal and nothing is left running or queued."""
        await asyncio.sleep(self.scenario.calm_from_s)  # noqa: TID251 - on the simulation's own loop
        self.model.faults.clear()  # a lack of capacity that no launch has met yet is over too
        give_up_s = self.scenario.give_up_s or self.scenario.calm_from_s + played.QUIET_WITHIN_S
        while True:
            self.woken.set()  # what ECS has still to tell, it tells now
            await asyncio.sleep(1)  # noqa: TID251 - on the simulation's own loop
            self._raise_violation()
            unfinished = [run for run in self.table.records.values() if not run.status.is_terminal]
            alive = [arn for arn in self.model.tasks if not self.truth.has_ended(arn)]
            if self.client.done and not unfinished and not alive and not self.queue.messages:
                break
            if self.loop.time() > give_up_s:
                stuck = [f"{run.run_id} {run.status} attempt {run.attempt}" for run in unfinished]
                raise Violation(f"liveness: after {give_up_s:g} s there are runs {stuck}, tasks {alive}")
            await asyncio.sleep(59)  # noqa: TID251 - on the simulation's own loop
        self._calls_when_quiet = self.net.calls
        self.invariants.at_the_end(self.table.records, self.scenario.runs)
        self._check_ends()
        before, held = self._at_rest(), self.fleet.held()
        await asyncio.sleep(self.scenario.rest_s)  # noqa: TID251 - on the simulation's own loop
        self._raise_violation()
        if (now := self._at_rest()) != before:
            raise Violation(f"liveness: something is written or launched at rest: {before}, then {now}")
        living = {host.name for host in self.fleet.hosts.values() if host.alive}
        kept = {lease: whose for lease, whose in held.items() if whose[0] in living}
        if not kept.items() <= (later := self.fleet.held()).items():
            raise Violation(f"liveness: a lease is handed over at rest, and its holder lives: {kept}, then {later}")

    def _at_rest(self) -> tuple[object, ...]:
        """What does not change at rest: the writes of runs and all else, and the tasks."""
        return self.table.writes, self.stores.writes, len(self.model.tasks)

    def _check_ends(self) -> None:
        """What the scenario expects of the ends of its runs."""
        runs = self.table.records.values()
        ends = Counter(run.status.value for run in runs) + Counter(run.failure_class or "" for run in runs)
        for end, most in self.scenario.at_most:
            if ends[end] > most:
                raise Violation(f"expected: at most {most} runs are {end}, not {ends[end]}")

    async def _look_for_orphans(self) -> None:
        """Liveness: once nothing goes wrong, no task runs for long that nobody needs."""
        since: dict[str, float] = {}
        from_s = self.scenario.orphans_gone_from_s
        await asyncio.sleep(self.scenario.calm_from_s if from_s is None else from_s)  # noqa: TID251 - on the simulation's own loop
        while True:
            now_s = self.loop.time()
            found = {} if any(map(self.truth.container_alive, self.strangers)) else dict(self._orphans(now_s))
            since = {arn: since.get(arn, now_s) for arn in found}
            old = next((arn for arn, seen_s in since.items() if now_s - seen_s > played.ORPHAN_LIFE_S), None)
            if old is not None:
                raise Violation(f"liveness: {old} has run for {now_s - since[old]:.0f} s though {found[old]}")
            await asyncio.sleep(60)  # noqa: TID251 - on the simulation's own loop

    def _orphans(self, now_s: float) -> Iterator[tuple[str, str]]:
        """The tasks that nobody needs, and why."""
        for arn in filter(self.truth.container_alive, self.model.tasks):
            run_s = now_s - self.agent.running_since_s(arn)
            of = self.truth.identity_of(arn)
            ours = of is not None and of.installation == played.INSTALLATION
            run = self.table.get(of.run_id) if of is not None else None
            if arn in self.trainer.made and not self.truth.is_rightful(arn):
                yield arn, "its model has gone on without it"
            elif not ours:
                continue
            elif of is None or run is None:
                yield arn, "nobody knows its run"
            elif run.status.is_terminal:
                yield arn, "its run is over"
            elif run.attempt != of.attempt or run.external_id not in (None, arn):
                yield arn, "its run goes on in another task"
            elif run_s > self.scenario.max_runtime_hours * played.HOUR_S:
                yield arn, "it has run for too long"

    def _raise_violation(self) -> None:
        if self._violation is not None:
            raise self._violation

    # What is seen

    def guarded(self, check: Callable[[], None]) -> None:
        """A violation must not be swallowed by whoever made the call: keep it, and end the story."""
        try:
            check()
        except Violation as violation:
            self.net.say(f"VIOLATION {violation}")
            if self._violation is None:
                self._violation, self._violated_at = violation, len(self.net.trace)

    def _on_write(self, before: Run | None, after: Run, change: RunChange | None) -> None:
        if after.status in TERMINAL:
            self.over_at.setdefault(after.run_id, self.net.sent_at())
        self.guarded(lambda: self.invariants.on_write(before, after, change))
        if before is None or before.status is after.status:
            return
        self.net.say(f"    {after.run_id[-4:]} {before.status} -> {after.status} (attempt {after.attempt})")
        self.sometimes[f"{before.status}->{after.status}"] += 1
        if after.failure_class is not None:
            self.sometimes[after.failure_class] += 1
        if self.scenario.chaos and after.status is RunStatus.LAUNCHING and after.attempt > 1:
            self.chaos.late_surplus(after, after.attempt - 1)
        if self.scenario.chaos and after.status is RunStatus.LAUNCHING:
            self.chaos.same_token(after)
        if self.scenario.chaos and after.status is RunStatus.QUEUED:
            self.chaos.late_surplus(after, after.attempt)

    def _on_self_conflict(self, change: RunChange) -> None:
        self.guarded(lambda: self.invariants.on_self_conflict(change))

    def _hear(self, level: str, event: str, fields: dict[str, Any]) -> None:
        del level
        if self._over:
            return  # what is buried may still cry out
        for branch in branches(event, fields):
            self.sometimes[branch] += 1
        if event == "Loop failed by a bug":
            self.guarded(lambda: self.invariants.on_bug(fields["loop"], fields["error"]))

    def _failed(self, host: Host, error: BaseException) -> None:
        def told() -> None:
            if isinstance(error, Violation):
                raise error
            self.invariants.on_bug(host.name, f"{type(error).__name__}: {error}\n{frames(error)}")

        self.guarded(told)

    def _callback_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The error of a callback: asyncio would log it, and nobody would know."""
        if "handle" in context:
            self._failed(context["handle"]._context.get(HOST) or self.world_host, context["exception"])
        else:
            loop.default_exception_handler(context)

    def _throttled(self, host: Host, call: str) -> None:
        self.guarded(lambda: self.invariants.on_throttle(host.name, call))

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
        self.past.keep(event["detail"])
        if not self.scenario.with_events:
            return
        fraction = self.plan.draw("event", self.queue.sent, event["detail"]["taskArn"], event["detail"]["version"])
        (task,) = seen_tasks([msgspec.convert(event["detail"], ShownTask, strict=False)])
        calm = self.is_calm() or self.scenario.events_kept
        if not calm and fraction < 0.05:
            self.plan.injected["event lost"] += 1
            return
        delay_s = 0.1 if calm else 30 * fraction**6
        if not calm and self.plan.draw("much later", self.queue.sent) < 0.02:
            delay_s = (self.scenario.calm_from_s - self.loop.time()) * fraction
        if delay_s > 5:
            self.plan.injected["event late, behind later ones"] += 1
        self.queue.send(task, delay_s)
        if not calm and fraction > 0.95:
            self.plan.injected["event duplicated"] += 1
            self.queue.send(task, 200 * (fraction - 0.95))

    # Crashes

    def crash(self, host: Host) -> None:
        """The power cut, in the middle of a call say: a daemon and the client come back, a worker does not."""
        if host.kind == "daemon":
            if self.fleet.is_current(host):
                self.fleet.crash(host)
            else:
                self.loop.crash(host)  # it was being replaced
        elif host.kind == "worker":
            self.agent.kill(host)
        else:
            self.client.crash(host)


def outcome(seed: int | Hunt | Altered) -> Report | Violation:
    """The story of a seed, its own, one that hunts or one with options, or what it violates."""
    try:
        report = play(seed) if isinstance(seed, int) else play(seed.seed, **seed.options)
    except Violation as violation:
        return violation
    report.moments.clear()  # only crash points need them, and they are many
    return report


def play(seed: int, **options: Any) -> Report:
    """The story of a seed: one to three replicas, some without any event, some with leases, unless said otherwise."""
    return tell(replace(played.mixed(seed), **{"replay": "", **options}))


def tell(scenario: Scenario) -> Report:
    """The story of a scenario. Raises `Violation` with all that it takes to play it again, even if it cannot begin."""
    try:
        world = World(scenario)
    except ENDINGS as error:
        raise told(error, scenario, ()) from None
    return world.play()
