"""Who else there is: the person who launches and cancels runs, and another system on the same cluster."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from dagy_control.errors import Conflict, DagyError
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.local.ecs_errors import EcsError
from dagy_control.model.runs import Run
from dagy_control.requests.cancel import cancel
from tests.simulation.ports import SimRuns
from tests.simulation.scenario import CLUSTER, TRAINING, a_run
from tests.simulation.sim_loop import Host

if TYPE_CHECKING:
    from tests.simulation.world import World

NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}


class Client:
    """Asks for runs and cancels some. One that crashes comes back, and asks again for what was not acknowledged."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._next = 0
        self._processes = 0
        self.done = False

    def start(self) -> None:
        """A new process."""
        self._processes += 1
        host = Host(f"client-{self._processes}")
        self._world.loop.start(host, self._work(host), "client")

    def crash(self, host: Host) -> None:
        """The power cut; the person starts the program again."""
        self._world.loop.crash(host)
        self.start()

    async def _work(self, host: Host) -> None:
        world, scenario, clock = self._world, self._world.scenario, self._world.clock
        runs = SimRuns(world.net, host, world.table)
        numbers = iter(range(1_000_000))
        writer = RecordWriter(runs, clock, lambda: f"{host.name}-{next(numbers)}")
        while self._next < scenario.runs:
            await clock.sleep(self._due_s(self._next) - world.loop.time())
            run = a_run(self._next, world.plan, clock)
            await self._launch(run, writer)
            self._next += 1
            if world.plan.draw("cancel", run.run_id) < scenario.cancels:
                world.loop.start(host, self._cancel(run.run_id, runs, writer), "cancel")
        self.done = True

    def _due_s(self, number: int) -> float:
        """When the run is asked for: all at once in a burst, else spread over the first three quarters of the troubled time."""
        world = self._world
        part = 0.0 if world.scenario.burst else (number + world.plan.draw("gap", number)) / world.scenario.runs
        return 0.75 * world.scenario.calm_from_s * part

    async def _launch(self, run: Run, writer: RecordWriter) -> None:
        """Ask until it is acknowledged; that the run exists already is an acknowledgement too."""
        world = self._world
        while True:
            try:
                with contextlib.suppress(Conflict):
                    await writer.create(run)
            except DagyError:
                await world.clock.sleep(30)
            else:
                world.guarded(lambda: world.invariants.on_launch_acknowledged(run.run_id, world.table.get(run.run_id)))
                return

    async def _cancel(self, run_id: str, runs: SimRuns, writer: RecordWriter) -> None:
        world = self._world
        await world.clock.sleep(600 * world.plan.draw("cancel after", run_id) ** 2)
        try:
            await cancel(runs, writer, world.clock, run_id)
        except DagyError:
            world.sometimes["cancel not acknowledged"] += 1
        else:
            world.sometimes["cancel acknowledged"] += 1
            world.guarded(lambda: world.invariants.on_cancel_acknowledged(run_id, world.table.get(run_id)))


class Trainer:
    """Retraining jobs that write down their task's ARN late: what the second scan of the orphan scanner is for.

    Some are over, by their record, while their task runs on; in the end all of them. `made`: every task of its own.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.current: dict[str, str] = {}
        self.made: set[str] = set()

    async def work(self) -> None:
        """Up to eight jobs of two models, while there is trouble."""
        world = self._world
        for number in range(8):
            await world.clock.sleep(world.scenario.calm_from_s / 10)
            if world.is_calm():
                break
            model_name = f"model-{number % 2}"
            request: dict[str, Any] = {
                "cluster": CLUSTER,
                "taskDefinition": "dagy-worker",
                "launchType": "FARGATE",
                "networkConfiguration": NETWORK,
                "tags": [{"key": "model_name", "value": model_name}],
            }
            try:
                answer = world.model.handle("RunTask", request, world.clock.now())
            except EcsError:
                continue
            if not answer["tasks"]:
                continue
            arn = self.current[model_name] = answer["tasks"][0]["taskArn"]
            self.made.add(arn)
            world.woken.set()
            await world.clock.sleep(world.scenario.records_within_s * world.plan.draw("record", number))
            record = {"model_name": model_name, "status": "running", "task_arn": arn}
            world.stores.states.setdefault(TRAINING.table, {})[model_name] = record
            # The earlier version takes a record that is over for that of whatever task of the model comes next.
            if world.plan.draw("completes", number) < 0.3 and not world.scenario.with_earlier_version:
                self._complete(model_name)
        for model_name in sorted(self.current):
            self._complete(model_name)

    def _complete(self, model_name: str) -> None:
        record = {"model_name": model_name, "status": "completed", "task_arn": self.current.pop(model_name)}
        self._world.stores.states.setdefault(TRAINING.table, {})[model_name] = record
