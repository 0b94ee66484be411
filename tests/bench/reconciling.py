"""How much cheaper a reconciling pass and an event are than with plain aiobotocore, in the same run. Ratios, and bounds on memory.

Ours is the shipped loop with the shipped adapters, limiter, metrics and log lines; plain is what one writes first: botocore's answers,
dicts, eight calls at a time, and the same writes. AWS is `canned_aws`, in a process of its own. Each measurement has a process of its
own too, so that its CPU and memory are its own.

    python -m tests.bench.reconciling
"""

import asyncio
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from time import perf_counter, process_time, thread_time
from typing import Any

import psutil
import uvloop
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from prometheus_client import CollectorRegistry

from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.dynamo_runs import DynamoRuns
from dagy_control.adapters.ecs_tasks import EcsTasks
from dagy_control.adapters.run_update import update_request
from dagy_control.adapters.session import AwsClients, ClientPolicy, Service
from dagy_control.adapters.sqs_events import SqsTaskEvents
from dagy_control.events.decide import EventPolicy
from dagy_control.events.effects import EventEffects
from dagy_control.events.loop import EventLoop
from dagy_control.events.metrics import EventMetrics
from dagy_control.kernel.call_metrics import ApiCallMetrics
from dagy_control.kernel.clock import SystemClock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.limiter import Limiter
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.telemetry import RunEndMetrics, configure_logging, set_log_level
from dagy_control.kernel.ticker import Tick
from dagy_control.model.runs import Run, RunStatus, active_keys
from dagy_control.reconciling.decide import ReconcilePolicy
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.loop import ReconcilingLoop
from dagy_control.reconciling.metrics import ReconcilingMetrics
from dagy_control.reconciling.pacing import PacePolicy
from tests.bench.canned_aws import CLUSTER_ARN, ENDED_EVERY, the_end
from tests.fakes.flows import FakeResults

RUNS = 100_000
PLAIN_RUNS = 3_000
MESSAGES, PLAIN_MESSAGES = 4_200, 2_100
AT_ONCE = 8
REPEATS = 3
TELEMETRY_RUNS, TELEMETRY_PAIRS = 3_000, 300
"""Short passes, one of each kind at a time: what else the machine does falls on both of a pair alike."""
MB = 1024 * 1024


@dataclass(frozen=True)
class Aws:
    """The clients and what is made of them, as `entrypoints/wiring.py` does it."""

    url: str
    clients: AwsClients
    clock: SystemClock
    calls: AwsCalls
    registry: CollectorRegistry
    on_end: Callable[[Run], None] | None

    def runs(self, size: int) -> DynamoRuns:
        return DynamoRuns(self.clients.dynamodb, self.calls, self.clock, table=f"runs-{size}")

    def reconciling(self, size: int) -> ReconcilingLoop:
        runs, ids = self.runs(size), count()
        tasks = EcsTasks(self.clients.ecs, self.calls, Limiter(self.clock, scale=1e6))
        writer = RecordWriter(runs, self.clock, lambda: f"op-{next(ids)}", on_end=self.on_end)
        effects = ReconcilingEffects(runs, tasks, FakeResults(), writer, self.clock)
        policy = ReconcilePolicy(
            container_name="dagy-worker", default_cluster=CLUSTER_ARN, pace=PacePolicy(burst_calls=RUNS)
        )
        return ReconcilingLoop(policy, effects, ReconcilingMetrics(CollectorRegistry()), self.clock)

    def events(self) -> EventLoop:
        runs, ids = self.runs(0), count()
        writer = RecordWriter(runs, self.clock, lambda: f"op-{next(ids)}", on_end=self.on_end)
        queue = SqsTaskEvents(self.clients.sqs, self.calls, queue_url=f"{self.url}/queue")
        effects = EventEffects(runs, queue, FakeResults(), writer, self.clock)
        policy = EventPolicy(installation="dagy", container_name="dagy-worker")
        return EventLoop("events", policy, effects, EventMetrics(CollectorRegistry()))

    def tick(self) -> Tick:
        return Tick(self.clock.now(), Drain())


@asynccontextmanager
async def shipped(url: str) -> AsyncIterator[Aws]:
    clock, registry = SystemClock(), CollectorRegistry()
    services = (Service.DYNAMODB, Service.ECS, Service.SQS)
    async with AwsClients(ClientPolicy(region="us-east-1"), services=services) as clients:
        gc.collect()
        gc.freeze()  # as the daemon does once it has started
        calls = AwsCalls(clock, ApiCallMetrics(registry))
        yield Aws(url, clients, clock, calls, registry, RunEndMetrics(registry).record)


async def our_pass(url: str) -> dict[str, float]:
    """Runs per CPU-second of a whole pass."""
    async with shipped(url) as aws:
        await aws.reconciling(1000).reconcile(aws.tick())
        loop = aws.reconciling(RUNS)
        began = process_time()
        summary = await loop.reconcile(aws.tick())
        took_s = process_time() - began
    assert (summary.checked, summary.updated) == (RUNS, RUNS // ENDED_EVERY), summary
    return {"rate": RUNS / took_s}


async def our_telemetry(url: str) -> dict[str, float]:
    """The share of a pass's CPU that metrics and log lines take: of pairs of passes, with them and with nobody told, the median."""
    async with shipped(url) as told:
        worlds = {"INFO": told, "CRITICAL": replace(told, calls=AwsCalls(told.clock), on_end=None)}
        await told.reconciling(1000).reconcile(told.tick())
        took_s: dict[str, list[float]] = {level: [] for level in worlds}
        for pair in range(TELEMETRY_PAIRS):
            for level in sorted(worlds, reverse=pair % 2 == 1):
                set_log_level(level)
                loop = worlds[level].reconciling(TELEMETRY_RUNS)
                began = process_time()
                await loop.reconcile(told.tick())
                took_s[level].append(process_time() - began)
    pairs = zip(took_s["CRITICAL"], took_s["INFO"], strict=True)
    percent = statistics.median(100 * (1 - silent / whole) for silent, whole in pairs)
    return {"percent": percent, "pass_ms": statistics.median(took_s["INFO"]) * 1000}


async def our_memory(url: str) -> dict[str, float]:
    """Growth of the peak over what is there after imports, clients and an empty pass; and the calls of the pass."""
    async with shipped(url) as aws:
        await aws.reconciling(0).reconcile(aws.tick())
        gc.collect()
        before = psutil.Process().memory_info().rss
        calls_before = calls_of(aws)
        async with stalls() as worst:
            await aws.reconciling(RUNS).reconcile(aws.tick())
        calls = calls_of(aws)
        calls.subtract(calls_before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"growth_mb": (peak - before) / MB, "before_mb": before / MB, "stall_ms": worst() * 1000, **calls}


async def plain_pass(url: str) -> dict[str, float]:
    """The same work as one writes it first, over an index that projects whole records, as it does unless one says otherwise."""
    return await plain_pass_over("whole", url)


async def plain_pass_over_our_index(url: str) -> dict[str, float]:
    """The same again, over the narrow index that is ours."""
    return await plain_pass_over("runs", url)


async def plain_pass_over(table: str, url: str) -> dict[str, float]:
    async with plain("dynamodb", url) as dynamodb, plain("ecs", url) as ecs:
        turn = asyncio.Semaphore(AT_ONCE)

        async def look_at(items: list[Any]) -> None:
            async with turn:
                arns = [item["external_id"]["S"] for item in items]
                tasks = (await ecs.describe_tasks(cluster=CLUSTER_ARN, tasks=arns))["tasks"]
            runs = {item["external_id"]["S"]: item for item in items}
            for task in tasks:
                if task["lastStatus"] == "STOPPED":
                    await end(dynamodb, turn, runs[task["taskArn"]]["run_id"]["S"])

        async def whole(size: int) -> None:
            async with asyncio.TaskGroup() as group:
                waiting: list[Any] = []
                async for item in entries(dynamodb, f"{table}-{size}"):
                    waiting.append(item)
                    if len(waiting) == 100:
                        group.create_task(look_at(waiting))
                        waiting = []
                if waiting:
                    group.create_task(look_at(waiting))

        await whole(1000)
        began = process_time()
        await whole(PLAIN_RUNS)
    return {"rate": PLAIN_RUNS / (process_time() - began)}


async def entries(dynamodb: Any, table: str) -> AsyncIterator[Any]:
    for key in active_keys("ecs", RunStatus.RUNNING):
        request: dict[str, Any] = {
            "TableName": table,
            "IndexName": "active",
            "KeyConditionExpression": "active_key = :key",
            "ExpressionAttributeValues": {":key": {"S": key}},
        }
        while True:
            page = await dynamodb.query(**request)
            for item in page["Items"]:
                yield item
            if "LastEvaluatedKey" not in page:
                break
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


END = update_request(the_end(0), "op", executor="ecs")
"""What the first writer is given for nothing: the request that we make of the decision."""


async def end(dynamodb: Any, turn: asyncio.Semaphore, run_id: str) -> None:
    async with turn:
        await dynamodb.update_item(TableName="runs", **{**END, "Key": {"run_id": {"S": run_id}}})


async def our_events(url: str) -> dict[str, float]:
    """Messages per CPU-second: one of seven says STOPPED and ends its run."""
    async with shipped(url) as aws:
        loop = aws.events()
        for _ in range(10):
            await loop.tick(aws.tick())
        began = process_time()
        for _ in range(MESSAGES // 10):
            await loop.tick(aws.tick())
        return {"rate": MESSAGES / (process_time() - began)}


async def plain_events(url: str) -> dict[str, float]:
    """The same work as one writes it first."""
    async with plain("dynamodb", url) as dynamodb, plain("sqs", url) as sqs:
        turn = asyncio.Semaphore(AT_ONCE)

        async def handle(message: Any) -> None:
            detail = json.loads(message["Body"])["detail"]
            if detail["lastStatus"] == "STOPPED":
                run_id = detail["startedBy"].split("/")[1]
                async with turn:
                    await dynamodb.get_item(TableName="runs", Key={"run_id": {"S": run_id}}, ConsistentRead=True)
                await end(dynamodb, turn, run_id)

        async def receive() -> None:
            queue = f"{url}/queue"
            answer = await sqs.receive_message(
                QueueUrl=queue,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=10,
                AttributeNames=["ApproximateReceiveCount"],
            )
            await asyncio.gather(*map(handle, answer["Messages"]))
            receipts = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(answer["Messages"])
            ]
            await sqs.delete_message_batch(QueueUrl=queue, Entries=receipts)

        for _ in range(10):
            await receive()
        began = process_time()
        for _ in range(PLAIN_MESSAGES // 10):
            await receive()
        return {"rate": PLAIN_MESSAGES / (process_time() - began)}


def plain(service: str, url: str) -> Any:
    create: Callable[..., Any] = get_session().create_client
    return create(service, region_name="us-east-1", endpoint_url=url, config=AioConfig(max_pool_connections=50))


def calls_of(aws: Aws) -> Counter[str]:
    """The shipped clients' calls so far, by operation: from the metrics that the daemon shows."""
    counted: Counter[str] = Counter()
    for each in (sample for metric in aws.registry.collect() for sample in metric.samples):
        if each.name == "dagy_aws_calls_total":  # a series for each outcome
            counted[each.labels["operation"]] += int(each.value)
    return counted


@asynccontextmanager
async def stalls() -> AsyncIterator[Callable[[], float]]:
    """Gives the longest that the loop let a timer wait, in seconds of this thread's CPU: other processes' time is not ours."""
    worst, over = 0.0, asyncio.Event()

    async def watch() -> None:
        nonlocal worst
        while not over.is_set():
            wall, cpu = perf_counter(), thread_time()
            await asyncio.sleep(0.001)  # noqa: TID251 - what is measured is how late this ends
            worst = max(worst, min(perf_counter() - wall - 0.001, thread_time() - cpu))

    watching = asyncio.create_task(watch())  # noqa: TID251 - ends below
    try:
        yield lambda: worst
    finally:
        over.set()
        await watching


MEASUREMENTS: dict[str, Callable[[str], Awaitable[dict[str, float]]]] = {
    each.__name__: each
    for each in (our_pass, our_memory, our_telemetry, plain_pass, plain_pass_over_our_index, our_events, plain_events)
}


def measured(name: str, url: str) -> dict[str, float]:
    """One measurement, in a process of its own."""
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", __spec__.name, name, url]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


@contextmanager
def canned_aws() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.bench.canned_aws"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()


def compared(ours: str, plain: str, url: str) -> tuple[float, str]:
    """How many times the plain rate ours is: the median of pairs measured one after the other; and the rates in words."""
    pairs = [(measured(ours, url)["rate"], measured(plain, url)["rate"]) for _ in range(REPEATS)]
    rates = [f"{statistics.median(each):,.0f}" for each in zip(*pairs, strict=True)]
    return statistics.median(our / theirs for our, theirs in pairs), f"{rates[0]} a CPU-second, plain {rates[1]}"


def compare(url: str) -> bool:
    """Print the table; whether every goal is reached."""
    runs, run_rates = compared("our_pass", "plain_pass", url)
    narrow, narrow_rates = compared("our_pass", "plain_pass_over_our_index", url)
    events, event_rates = compared("our_events", "plain_events", url)
    once = measured("our_memory", url)
    telemetry = measured("our_telemetry", url)
    expected = {"DescribeTasks": RUNS / 100, "UpdateItem": RUNS / ENDED_EVERY}
    reached = [
        line("runs per CPU-second, to plain", runs, at_least=15.0),
        line("messages per CPU-second, to plain", events, at_least=3.0),
        line("peak memory over an empty pass, MB", once["growth_mb"], at_most=25.0),
        line("longest stall of the loop, ms of CPU", once["stall_ms"], at_most=100.0),
        line("metrics and log lines, % of a pass", telemetry["percent"], at_most=5.0),
        *(line(f"{name} calls", once[name], at_least=goal, at_most=goal) for name, goal in expected.items()),
    ]
    say(
        f"  runs {run_rates}; were the plain index as narrow as ours, plain {narrow_rates.rpartition(' ')[2]}: {narrow:.1f} times"
    )
    say(f"  messages {event_rates}")
    say(
        f"  metrics and log lines: {TELEMETRY_PAIRS} pairs of passes over {TELEMETRY_RUNS} runs, {telemetry['pass_ms']:.0f} ms of CPU each"
    )
    say(f"  index pages {once['Query']:.0f}; {once['before_mb']:.0f} MB before the pass")
    return all(reached)


def line(what: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> bool:
    reached = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    goals = [f"{word} {goal:g}" for word, goal in (("at least", at_least), ("at most", at_most)) if goal is not None]
    say(f"{what:<40} {value:>9.1f}  {', '.join(goals):<26} {'reached' if reached else 'MISSED'}")
    return reached


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Everything, or one measurement of a server that somebody else has started."""
    if len(sys.argv) == 3:
        configure_logging(level="INFO")
        say(json.dumps(uvloop.run(MEASUREMENTS[sys.argv[1]](sys.argv[2]))))  # type: ignore[arg-type] # each is a coroutine function
        return 0
    say(f"a pass over {RUNS} running runs and tasks of which 1 in {ENDED_EVERY} has ended; medians of {REPEATS} pairs")
    with canned_aws() as url:
        return 0 if compare(url) else 1


if __name__ == "__main__":
    sys.exit(main())
