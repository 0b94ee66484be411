"""A thousand queued runs at the rate that AWS allows, in virtual time: the shipped loop, adapter and limiter on the ECS model.

The model counts in AWS's documented buckets (ECS API Reference, "Request throttling"; Fargate service quotas).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from dagy_control.adapters.ecs_tasks import EcsTasks
from dagy_control.errors import Transient
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.leases import KeptLease, LeaseHolder, LeaseMetrics
from dagy_control.kernel.limiter import AWS_BUCKETS, Bucket, Limiter
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.tasks import background, end_tasks, start_task
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
from tests.fakes.leases import FakeLeases
from tests.fakes.runs import FakeRuns
from tests.simulation.ports import SimCalls, translated
from tests.simulation.scenario import worker_definition

RUNS = 1000
ROUND_TRIP_S = 0.08
LEASE_S = 30.0
LEASE_MIN_S = 1.0  # the least that the configuration allows: hand-overs of a fraction of a second
SPOT_AND_ON_DEMAND = {"FARGATE_SPOT": 70, "FARGATE": 30}


def buckets_own_time_s(runs: int, *, rate_taken_per_s: float = 0.0) -> float:
    """How long the slowest of RunTask's buckets needs for so many launches, from full, at the least."""
    limit = AWS_BUCKETS[Bucket.RUN_TASK]
    return (runs - limit.burst) / (limit.rate_per_s - rate_taken_per_s)


class Account:
    """One AWS account: ECS behind a network, one or more daemons, and somebody else who launches too."""

    def __init__(self, runs: int, *, replicas: int = 1, leases: bool = False, lease_s: float = LEASE_S) -> None:
        self.clock = VirtualClock()
        self.model = EcsModel()
        self.model.registry.create_cluster(CLUSTER)
        self.model.registry.register(worker_definition(), self.clock.now())
        self.runs = FakeRuns(*(a_run(run_id=f"run-{number:04}", version=1) for number in range(runs)), page_size=1000)
        self.leases = FakeLeases() if leases else None
        self.lease_s = lease_s
        self.launched_by: dict[str, str] = {}
        self.throttles: Counter[str] = Counter()
        self.replicas = [
            Replica(self, f"daemon-{number}", share=1.0 if leases else 1 / replicas) for number in range(replicas)
        ]

    async def compete(self, rate_per_s: float) -> None:
        """Another program of the same account, which launches tasks of its own and repeats nothing."""
        client = Client(self, "competitor")
        for number in count():
            request = {"cluster": CLUSTER, "taskDefinition": "dagy-worker", "launchType": "FARGATE", "count": 1}
            request["networkConfiguration"] = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
            with suppress(Transient):
                await client.run_task(**request, clientToken=f"competitor-{number}", startedBy="somebody-else")
            await self.clock.sleep(1 / rate_per_s - ROUND_TRIP_S)

    async def launch_all(
        self, *, limit_s: float, then: Mapping[float, Callable[[], Awaitable[None]]] | None = None
    ) -> float:
        """Seconds until every run has its task. `then`: what is done when so many seconds have passed."""
        began, then = self.clock.monotonic(), dict(then or {})
        for each in self.replicas:
            each.start()
        while any(run.status is not RunStatus.RUNNING for run in self.runs.records.values()):
            passed_s = self.clock.monotonic() - began
            assert passed_s < limit_s, self.statuses()
            for due_s in [each for each in then if each <= passed_s]:
                await then.pop(due_s)()
            await self.clock.advance(0.1)
        took_s = self.clock.monotonic() - began
        for each in self.replicas:
            await each.kill()
        return took_s

    @property
    def holder(self) -> "Replica":
        """Who launches."""
        return next(each for each in self.replicas if each.lease is not None and each.lease.held)

    def statuses(self) -> Counter[RunStatus]:
        return Counter(run.status for run in self.runs.records.values())

    def tasks_made(self) -> Counter[str]:
        """How many tasks each of our runs has."""
        identities = [TaskIdentity.parse(task.started_by) for task in self.model.tasks.values()]
        return Counter(each.run_id for each in identities if each is not None and each.installation == INSTALLATION)


class Replica:
    """One daemon's launching: its own limiter, and its lease where there are leases."""

    def __init__(self, account: Account, name: str, *, share: float) -> None:
        self._account = account
        self.limiter = Limiter(account.clock, share=share)
        tasks = EcsTasks(cast("Any", Client(account, name)), cast("Any", SimCalls()), self.limiter)
        policy = LaunchPolicy(target=target(task_definition="dagy-worker", provider_weights=SPOT_AND_ON_DEMAND))
        numbers = count(1)
        writer = RecordWriter(account.runs, account.clock, lambda: f"{name}-{next(numbers)}")
        effects = LaunchingEffects(account.runs, tasks, writer, account.clock)
        loop = LaunchingLoop(policy, effects, LaunchingMetrics(CollectorRegistry()))
        self.lease: KeptLease | None = None
        if account.leases is not None:
            holder = LeaseHolder(
                name=name,
                lease_s=account.lease_s,
                new_nonce=lambda: f"{name}-nonce-{next(numbers)}",
                on_taken=self.limiter.empty,
            )
            metrics = LeaseMetrics(CollectorRegistry())
            self.lease = KeptLease("launching", account.leases, account.clock, holder, metrics)
        self._ticker = Ticker(
            loop,
            TickPolicy(interval_s=1.0),
            account.clock,
            LoopMetrics(CollectorRegistry()),
            seed=f"{name}-{share}",
            permit=self.lease,
        )
        self._drain, self._lease_drain = Drain(), Drain()
        self._services: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._services = [start_task(self._ticker.run(self._drain), name="launching")]
        if self.lease is not None:
            self._services.append(start_task(self.lease.keep(self._lease_drain), name="lease"))

    async def drain(self) -> None:
        """SIGTERM: the loop ends between two effects, then the lease is given back."""
        for drain, service in zip((self._drain, self._lease_drain), self._services, strict=False):
            drain.begin()
            await self._account.clock.run(service)

    async def kill(self) -> None:
        """SIGKILL: nothing is given back."""
        await end_tasks(*self._services)


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
            answer = account.model.handle("RunTask", request, account.clock.now())
        except EcsError as error:
            account.throttles[self._name] += error.code == "ThrottlingException"
            raise translated("RunTask", error) from error
        else:
            account.launched_by[request["startedBy"]] = self._name
            return answer
        finally:
            await account.clock.sleep(ROUND_TRIP_S - out_s)


def first_try(run: Run) -> bool:
    return (run.attempt, run.launch_try, run.launch_sends) == (1, 1, 1)


@pytest.mark.parametrize(
    ("replicas", "leases", "times"),
    [
        pytest.param(1, False, 1.1, id="one alone"),
        pytest.param(2, True, 1.1, id="two with leases: one launches, with all of the budget"),
        pytest.param(3, True, 1.1, id="three with leases"),
        pytest.param(2, False, 1.7, id="two without leases want the same runs, each with half the budget"),
        pytest.param(3, False, 2.3, id="three without leases"),
    ],
)
async def test_a_thousand_runs_are_launched_in_the_buckets_own_time_without_a_throttle(
    replicas: int, times: float, *, leases: bool
) -> None:
    account = Account(RUNS, replicas=replicas, leases=leases)
    took_s = await account.launch_all(limit_s=300)
    assert took_s <= times * buckets_own_time_s(RUNS)
    assert account.throttles.total() == 0
    assert account.tasks_made() == dict.fromkeys(account.runs.records, 1)
    assert all(map(first_try, account.runs.records.values()))


@pytest.mark.parametrize("lease_s", [LEASE_S, LEASE_MIN_S], ids=["the usual lease", "the shortest lease"])
@pytest.mark.parametrize("after_s", [1.0, 20.0])
@pytest.mark.parametrize("how", [Replica.drain, Replica.kill], ids=["drained", "killed"])
async def test_a_hand_over_in_the_middle_of_a_thousand_runs_is_answered_by_no_throttle(
    how: Callable[[Replica], Awaitable[None]], after_s: float, lease_s: float
) -> None:
    """What the account's buckets hold may just have been spent by the one before: the next one begins with none of it."""
    account = Account(RUNS, replicas=2, leases=True, lease_s=lease_s)

    async def hand_over() -> None:
        await how(account.holder)

    took_s = await account.launch_all(limit_s=300, then={after_s: hand_over})
    settled_s = LaunchPolicy(target=target()).reply_timeout_s if how is Replica.kill else 0.0
    assert took_s <= 1.1 * buckets_own_time_s(RUNS) + lease_s + settled_s
    assert account.throttles.total() == 0
    assert len(set(account.launched_by.values())) == 2, "both have launched"
    assert account.tasks_made() == dict.fromkeys(account.runs.records, 1)
    assert all(run.launch_try == 1 for run in account.runs.records.values())


async def test_with_a_competitor_for_half_of_the_account_none_fails_and_none_is_made_twice() -> None:
    account = Account(RUNS)
    async with background(account.compete(10), name="competitor"):
        took_s = await account.launch_all(limit_s=600)
    assert account.throttles["daemon-0"] > 0, "it is felt"
    assert took_s <= 2 * buckets_own_time_s(RUNS, rate_taken_per_s=10)
    assert account.tasks_made() == dict.fromkeys(account.runs.records, 1)
    assert all(run.launch_try == 1 for run in account.runs.records.values()), "a throttle is not counted"


async def test_a_run_queued_in_the_middle_of_anothers_burst_waits_for_one_count_of_the_queue_and_one_pass() -> None:
    """Not for the burst: three thousand runs take two and a half minutes."""
    account = Account(3 * RUNS)
    (replica,) = account.replicas
    replica.start()
    await account.clock.advance(12.5)  # in the middle of a pass
    queued_at = account.clock.now()
    account.runs.seed(a_run(run_id="late", org_id="other", active_since=queued_at, version=1))
    policy = LaunchPolicy(target=target())
    one_pass_s = policy.limits.max_admitted / (0.95 * AWS_BUCKETS[Bucket.RUN_TASK].rate_per_s)
    await account.clock.advance(policy.census_interval_s + one_pass_s + 1)
    await replica.kill()
    assert account.runs.records["late"].status is RunStatus.RUNNING
    assert policy.census_interval_s + one_pass_s < 16
    assert account.statuses()[RunStatus.QUEUED] > 2 * RUNS
