"""A thousand queued runs at the rate that AWS allows, in virtual time: the shipped loop, adapter and limiter on the ECS model.

The model counts in AWS's documented buckets (ECS API Reference, "Request throttling"; Fargate service quotas).
"""

from collections import Counter
from contextlib import suppress
from itertools import count
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from dagy_control.adapters.ecs_tasks import EcsTasks
from dagy_control.errors import Transient
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.limiter import AWS_BUCKETS, Bucket, Limiter
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.tasks import background
from dagy_control.kernel.telemetry import LoopMetrics
from dagy_control.kernel.ticker import Ticker, TickPolicy
from dagy_control.launching.decide import LaunchPolicy
from dagy_control.launching.effects import LaunchingEffects
from dagy_control.launching.loop import LaunchingLoop
from dagy_control.launching.metrics import LaunchingMetrics
from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_model import EcsModel
from dagy_control.model.hashing import hashed_fraction
from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.tasks import TaskIdentity
from tests.builders import CLUSTER, INSTALLATION, a_run, target
from tests.fakes.clock import VirtualClock
from tests.fakes.runs import FakeRuns
from tests.simulation.ports import SimCalls, translated
from tests.simulation.scenario import worker_definition

RUNS = 1000
ROUND_TRIP_S = 0.08
SPOT_AND_ON_DEMAND = {"FARGATE_SPOT": 70, "FARGATE": 30}


def buckets_own_time_s(runs: int, *, rate_taken_per_s: float = 0.0) -> float:
    """How long the slowest of RunTask's buckets needs for so many launches, from full, at the least."""
    limit = AWS_BUCKETS[Bucket.RUN_TASK]
    return (runs - limit.burst) / (limit.rate_per_s - rate_taken_per_s)


class Account:
    """One AWS account: ECS behind a network, one or more daemons, and somebody else who launches too."""

    def __init__(self, runs: int, *, replicas: int = 1) -> None:
        self.clock = VirtualClock()
        self.model = EcsModel()
        self.model.registry.create_cluster(CLUSTER)
        self.model.registry.register(worker_definition(), self.clock.now())
        self.runs = FakeRuns(*(a_run(run_id=f"run-{number:04}", version=1) for number in range(runs)), page_size=1000)
        self.throttles: Counter[str] = Counter()
        self.replicas = [self._replica(f"daemon-{number}", 1 / replicas) for number in range(replicas)]

    def _replica(self, name: str, share: float) -> Ticker:
        client = cast("Any", Client(self, name))
        tasks = EcsTasks(client, cast("Any", SimCalls()), Limiter(self.clock, share=share))
        policy = LaunchPolicy(target=target(task_definition="dagy-worker", provider_weights=SPOT_AND_ON_DEMAND))
        numbers = count(1)
        writer = RecordWriter(self.runs, self.clock, lambda: f"{name}-{next(numbers)}")
        effects = LaunchingEffects(self.runs, tasks, writer, self.clock)
        loop = LaunchingLoop(policy, effects, LaunchingMetrics(CollectorRegistry()))
        return Ticker(
            loop, TickPolicy(interval_s=1.0), self.clock, LoopMetrics(CollectorRegistry()), seed=f"{name}-{share}"
        )

    async def compete(self, rate_per_s: float) -> None:
        """Another program of the same account, which launches tasks of its own and repeats nothing."""
        client = Client(self, "competitor")
        for number in count():
            request = {"cluster": CLUSTER, "taskDefinition": "dagy-worker", "launchType": "FARGATE", "count": 1}
            request["networkConfiguration"] = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
            with suppress(Transient):
                await client.run_task(**request, clientToken=f"competitor-{number}", startedBy="somebody-else")
            await self.clock.sleep(1 / rate_per_s - ROUND_TRIP_S)

    async def launch_all(self, *, limit_s: float) -> float:
        """Seconds until every run has its task."""
        drain, began = Drain(), self.clock.monotonic()
        services = [background(each.run(drain), name="launching") for each in self.replicas]
        for service in services:
            await service.__aenter__()
        while any(run.status is not RunStatus.RUNNING for run in self.runs.records.values()):
            assert self.clock.monotonic() - began < limit_s, self.statuses()
            await self.clock.advance(0.1)
        took_s = self.clock.monotonic() - began
        for service in services:
            await service.__aexit__(None, None, None)
        return took_s

    def statuses(self) -> Counter[RunStatus]:
        return Counter(run.status for run in self.runs.records.values())

    def tasks_made(self) -> Counter[str]:
        """How many tasks each of our runs has."""
        identities = [TaskIdentity.parse(task.started_by) for task in self.model.tasks.values()]
        return Counter(each.run_id for each in identities if each is not None and each.installation == INSTALLATION)


class Client:
    """What the shipped adapter takes for aiobotocore's client."""

    def __init__(self, account: Account, name: str) -> None:
        self._account = account
        self._name = name
        self._calls = 0

    async def run_task(self, **request: Any) -> dict[str, Any]:
        account, self._calls = self._account, self._calls + 1
        out_s = ROUND_TRIP_S * hashed_fraction(self._name, self._calls)
        await account.clock.sleep(out_s)
        try:
            return account.model.handle("RunTask", request, account.clock.now())
        except EcsError as error:
            account.throttles[self._name] += error.code == "ThrottlingException"
            raise translated("RunTask", error) from error
        finally:
            await account.clock.sleep(ROUND_TRIP_S - out_s)


def first_try(run: Run) -> bool:
    return (run.attempt, run.launch_try, run.launch_sends) == (1, 1, 1)


@pytest.mark.parametrize(
    ("replicas", "times"),
    [
        pytest.param(1, 1.1, id="one launches, as with leases"),
        pytest.param(2, 1.6, id="two without leases want the same runs, each with half the budget"),
        pytest.param(3, 2.0, id="three"),
    ],
)
async def test_a_thousand_runs_are_launched_in_the_buckets_own_time_without_a_throttle(
    replicas: int, times: float
) -> None:
    account = Account(RUNS, replicas=replicas)
    took_s = await account.launch_all(limit_s=300)
    assert took_s <= times * buckets_own_time_s(RUNS)
    assert account.throttles.total() == 0
    assert account.tasks_made() == dict.fromkeys(account.runs.records, 1)
    assert all(map(first_try, account.runs.records.values()))


async def test_with_a_competitor_for_half_of_the_account_none_fails_and_none_is_made_twice() -> None:
    account = Account(RUNS)
    async with background(account.compete(10), name="competitor"):
        took_s = await account.launch_all(limit_s=600)
    assert account.throttles["daemon-0"] > 0, "it is felt"
    assert took_s <= 2 * buckets_own_time_s(RUNS, rate_taken_per_s=10)
    assert account.tasks_made() == dict.fromkeys(account.runs.records, 1)
    assert all(run.launch_try == 1 for run in account.runs.records.values()), "a throttle is not counted"
