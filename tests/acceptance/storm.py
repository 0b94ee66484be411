"""A minute in which everything goes wrong at once: a stream of launches, two daemons that are killed again and again, faults of ECS.

Choices come from the seed; what they meet is a matter of real time.
"""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random

from dagy_control.entrypoints.demo_world import DemoFailed, DemoWorld
from dagy_control.entrypoints.local_stack import Daemon, end_process, tail
from dagy_control.local.ecs_faults import Fault, FaultKind
from dagy_control.model.runs import Run
from dagy_control.requests.cancel import cancel
from tests.acceptance.evidence import Attempt, Ledger, contested, launched_as_heir, launched_without_lease, log_lines
from tests.acceptance.looking import LONG_S, SOON_S

ORGS = ("acme", "globex")
SEATS = 2
CROWD = 12
"""Most runs under way: a slow machine launches fewer, so that what is left after the storm ends in time anywhere."""

DOUBLED_PART = 0.5
"""Of the runs: as many get a surplus task, whose claim must be refused, or the other's. All of them, until one was."""

QUICK_START_S = 1.5
"""Where daemons take longer to start, they live as much longer: otherwise most would die before they do anything."""

INHERIT_S = 4.0
"""How much longer they live with leases: for as long a successor waits for a dead one's lease (3 s) and takes it over."""

POLL_S = 0.1
VICTIM_S = 90.0
"""A worker that is to be killed waits so long for it."""

AMBUSH = "both, while an answer of RunTask was held back"

MENU: tuple[Fault, ...] = (
    Fault(FaultKind.THROTTLE),
    Fault(FaultKind.ERROR_NOT_APPLIED),
    Fault(FaultKind.ERROR_APPLIED),
    Fault(FaultKind.ERROR_APPLIED),
    Fault(FaultKind.DROP_REPLY),
    Fault(FaultKind.DROP_REPLY),
    Fault(FaultKind.LAUNCH_FAILURE),
    Fault(FaultKind.START_FAILURE, reason="CannotPullContainerError: pull image manifest has been retried 5 time(s)"),
    Fault(FaultKind.THROTTLE, "DescribeTasks"),
    Fault(FaultKind.ERROR_NOT_APPLIED, "DescribeTasks"),
    Fault(FaultKind.ERROR_NOT_APPLIED, "ListTasks"),
    Fault(FaultKind.ERROR_APPLIED, "StopTask"),
    Fault(FaultKind.DROP_REPLY, "StopTask"),
    Fault(FaultKind.DROP_EVENT, calls=3),
    Fault(FaultKind.DUPLICATE_EVENT, calls=3),
    Fault(FaultKind.DELAY_EVENT, calls=3, delay_s=3.0),
)


class Part(StrEnum):
    """What is to become of a run."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    WORKER_KILLED = "its worker is killed"
    HOST_LOST = "its host is lost"
    CANCELLED = "is cancelled"
    CANCELLED_AT_WORK = "is cancelled just before its end"


WEIGHTS = {
    Part.SUCCEEDS: 6,
    Part.FAILS: 3,
    Part.WORKER_KILLED: 3,
    Part.HOST_LOST: 1,
    Part.CANCELLED: 3,
    Part.CANCELLED_AT_WORK: 3,
}


@dataclass(slots=True)
class Story:
    """One run of the stream.

    `due_s`: when to cancel it. `doubled`: whether a second task of its attempt is started, by nobody that the daemons know.
    `cancelled`: its record as the acknowledged cancel gave it; `end`: as it was when first seen at its end.
    """

    part: Part
    run: Run
    due_s: float
    doubled: bool
    befallen: bool = False
    cancelled: Run | None = None
    end: Run | None = None


@dataclass(slots=True)
class Storm:
    """`rage`, then `calm`. `close` at the end, whatever happens: it leaves no daemon.

    `contested` and `heirs_runs`: as far as they were seen while it raged, the attempts for which two workers went, and the runs
    launched under a lease that was taken over.
    """

    world: DemoWorld
    ledger: Ledger
    seed: int
    seconds: float
    stories: list[Story] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    doubles: set[str] = field(default_factory=set)
    contested: set[Attempt] = field(default_factory=set)
    heirs_runs: set[str] = field(default_factory=set)
    logs: list[Path] = field(default_factory=list)
    _living: dict[int, Daemon] = field(default_factory=dict)
    _until_s: float = 0.0
    _start_s: float = 0.0
    _inherit_s: float = 0.0

    async def rage(self) -> None:
        """The whole storm. Leases are off in its first half: both daemons do everything at once.

        In the second one does a loop's work, and when it is killed its lease passes on: daemons live longer then. A half goes on
        until a run was launched in it.
        """
        self._until_s = self.world.ports.clock.monotonic() + self.seconds
        async with asyncio.TaskGroup() as group:
            for number in range(SEATS):
                group.create_task(self._seat(number), name=f"seat {number}")
            for work in (self._without_leases, self._launch, self._trouble, self._ambush, self._watch_until_over):
                group.create_task(work(), name=work.__name__)

    async def calm(self) -> Daemon:
        """No more faults, both daemons killed once more, one started: every run comes to its end. Gives the living daemon."""
        await self.world.clear_faults()
        for number in list(self._living):
            await self._kill(number, "at the end")
        daemon = await self._start(0)

        async def over() -> bool:
            await self._watch()
            return all(story.end is not None for story in self.stories)

        try:
            await self.world.until("the end of every run", over, timeout_s=LONG_S)
        except DemoFailed as error:
            raise AssertionError(f"{error}: {await self._unfinished()}") from error
        return daemon

    async def _unfinished(self) -> str:
        runs = [await self.world.run(story.run.run_id) for story in self.stories if story.end is None]
        return "\n".join(f"{run.run_id} {run.status} {run.transitions[-1]}, {run.launch_sends} sends" for run in runs)

    async def close(self) -> None:
        """Kill what still lives."""
        for daemon in self._living.values():
            await end_process(daemon.process, signal.SIGKILL)

    @property
    def _over(self) -> bool:
        """Not before the rare things have happened once, or it would show little; but some time it must be."""
        now = self.world.ports.clock.monotonic()
        enough = bool(self.contested and self.heirs_runs) and self.kills[AMBUSH] > 0
        return now >= self._until_s + (0 if enough else LONG_S)

    async def _pause(self, seconds: float, until: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Wait so long, or until the storm is over, or `until` something."""
        clock = self.world.ports.clock
        deadline = clock.monotonic() + seconds
        while clock.monotonic() < deadline and not self._over:
            if until is not None and await until():
                return
            await clock.sleep(POLL_S)

    # The daemons.

    async def _seat(self, number: int) -> None:
        """One daemon after another: each is killed at a moment of its own."""
        random = Random(f"{self.seed}/seat {number}")
        while not self._over:
            daemon = await self._start(number)

            async def dead(daemon: Daemon = daemon) -> bool:
                return daemon.process.returncode is not None

            await self._pause(self._life_s(min(0.3 + random.expovariate(1 / 2.0), 5.0)), until=dead)
            if not self._over:
                await self._kill(number, "alone")

    async def _start(self, number: int) -> Daemon:
        clock = self.world.ports.clock
        began = clock.monotonic()
        self._living[number] = daemon = await self.world.stack.start_daemon()
        self._start_s = clock.monotonic() - began
        self.logs.append(daemon.log)
        return daemon

    def _life_s(self, drawn_s: float) -> float:
        return drawn_s * max(1.0, self._start_s / QUICK_START_S) + self._inherit_s

    async def _kill(self, number: int, how: str) -> None:
        daemon = self._living[number]
        self.kills[how] += daemon.process.returncode is None
        code = await end_process(daemon.process, signal.SIGKILL)
        assert code == -signal.SIGKILL, f"a daemon ended by itself with {code}:\n{tail(daemon.log)}"

    async def _without_leases(self) -> None:
        async def launched() -> bool:
            return any(launched_without_lease(log_lines(log)) for log in self.logs)

        # By a variable, not in the file: daemons that live follow the file, and refuse what needs a restart.
        self.world.stack.environment["DAGY_LEASES__ENABLED"] = "false"
        await self._pause(self.seconds / 2)
        await self._pause(SOON_S, until=launched)
        del self.world.stack.environment["DAGY_LEASES__ENABLED"]
        self._inherit_s = INHERIT_S
        self._until_s = self.world.ports.clock.monotonic() + self.seconds / 2

    async def _ambush(self) -> None:
        """Now and then both die at a moment when ECS has carried out a RunTask and nobody has heard of it."""
        random = Random(f"{self.seed}/ambush")

        async def held() -> bool:
            return await self.world.held_replies() > 0

        while not self._over:
            await self._pause(self._life_s(random.uniform(2, 6)))
            self._switch_on(Fault(FaultKind.HOLD_REPLY))
            await self._pause(SOON_S, until=held)
            if not self._over:
                for number in list(self._living):
                    await self._kill(number, AMBUSH)

    # What goes wrong with ECS.

    async def _trouble(self) -> None:
        random = Random(f"{self.seed}/trouble")
        while not self._over:
            self._switch_on(random.choice(MENU))
            await self._pause(random.uniform(0.5, 2.5))

    def _switch_on(self, fault: Fault) -> None:
        about_events = fault.kind in (FaultKind.DROP_EVENT, FaultKind.DUPLICATE_EVENT, FaultKind.DELAY_EVENT)
        self.faults[fault.kind if about_events else f"{fault.operation} {fault.kind}"] += fault.calls
        self.world.stack.cloud.driver.model.faults.add(fault)

    # The runs.

    async def _launch(self) -> None:
        random = Random(f"{self.seed}/launch")
        while not self._over:
            if sum(story.end is None for story in self.stories) < CROWD:
                (part,) = random.choices(list(WEIGHTS), list(WEIGHTS.values()))
                run = await self.world.launch(
                    "witness",
                    random.choice(ORGS),
                    "storm",
                    max_attempts=2 if part is Part.WORKER_KILLED else random.randint(1, 2),
                    ledger=str(self.ledger.path),
                    fail=part is Part.FAILS,
                    seconds=random.uniform(0.0, 5.0 if part is Part.CANCELLED else 1.5),
                    first_seconds=VICTIM_S if part in (Part.WORKER_KILLED, Part.HOST_LOST) else 0.0,
                )
                due_s = self.world.ports.clock.monotonic() + random.uniform(0.0, 8.0)
                doubled = random.random() < DOUBLED_PART or not self.contested
                self.stories.append(Story(part, run, due_s, doubled=doubled))
            await self._pause(random.uniform(0.3, 1.5))

    async def _watch_until_over(self) -> None:
        while not self._over:
            await self._watch()
            self._look_for_the_rare()
            await self._pause(POLL_S)

    def _look_for_the_rare(self) -> None:
        if not self.contested:
            self.contested = contested(self.world.stack.cloud.driver.tasks().values(), self.ledger.lines())
        if not self.heirs_runs:
            self.heirs_runs = {
                run for daemon in self._living.values() for run in launched_as_heir(log_lines(daemon.log))
            }

    async def _watch(self) -> None:
        """Look at every run under way, note its end, and let happen to it what is its part."""
        for story in [each for each in self.stories if each.end is None]:
            run = await self.world.run(story.run.run_id)
            if run.status.is_terminal:
                story.end = run
                continue
            if story.doubled and not self._over and run.launch_request and run.started_at is None:
                story.doubled = False
                self._double(run)
            if not story.befallen:
                await self._befall(story, run)

    def _double(self, run: Run) -> None:
        """Start the attempt's task once more under a token of nobody's: what a daemon would do that had lost its mind.

        Past the faults that wait for the daemons' calls; the harmless second call wakes the driver.
        """
        driver = self.world.stack.cloud.driver
        request = {**json.loads(run.launch_request or "{}"), "clientToken": self.world.ports.new_id()}
        answer = driver.model.handle("RunTask", request, self.world.ports.clock.now())
        driver.call("DescribeClusters", {})
        self.doubles |= {task["taskArn"] for task in answer["tasks"]}

    async def _befall(self, story: Story, run: Run) -> None:
        at_work = self.ledger.has_begun(run.run_id)
        due = self.world.ports.clock.monotonic() >= story.due_s
        if (story.part is Part.CANCELLED and due) or (story.part is Part.CANCELLED_AT_WORK and at_work):
            story.befallen = True
            ports = self.world.ports
            story.cancelled = await cancel(ports.runs, ports.writer, ports.clock, run.run_id)
        elif story.part is Part.WORKER_KILLED and at_work and run.external_id:
            story.befallen = await self.world.kill_worker(run.external_id)
        elif story.part is Part.HOST_LOST and at_work and run.external_id:
            story.befallen = True
            self.world.stack.cloud.driver.fail_host(run.external_id)
