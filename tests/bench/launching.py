"""How near the launching loop comes to the rate of the account's own buckets, over real HTTP. A ratio, within one run.

The embedded ECS runs in a process of its own, with AWS's buckets ten times as fast; here run the shipped loop, adapter, limiter and
aiobotocore. The runs' records are in memory, so that what is measured is RunTask and its rate, not an emulated DynamoDB.

    python -m tests.bench.launching [RUNS]
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from prometheus_client import CollectorRegistry

from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.ecs_tasks import EcsTasks
from dagy_control.kernel.clock import SystemClock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.limiter import AWS_BUCKETS, Bucket, Limiter
from dagy_control.kernel.tasks import background
from dagy_control.kernel.telemetry import LoopMetrics, configure_logging
from dagy_control.kernel.ticker import Ticker, TickPolicy
from dagy_control.launching.decide import LaunchPolicy
from dagy_control.launching.effects import LaunchingEffects
from dagy_control.launching.loop import LaunchingLoop
from dagy_control.launching.metrics import LaunchingMetrics
from dagy_control.local.agent import AgentPolicy
from dagy_control.local.ecs_admin import EcsAdmin
from dagy_control.local.ecs_driver import EcsDriver
from dagy_control.local.ecs_http import HeldCalls, ecs_app
from dagy_control.local.ecs_model import EcsModel
from dagy_control.local.ecs_state import Lifetimes
from dagy_control.local.http_server import LoopbackServer
from dagy_control.model.runs import RunStatus
from tests.builders import CLUSTER, a_run, target, writer_of
from tests.fakes.runs import FakeRuns
from tests.simulation.scenario import worker_definition

SCALE = 10
RUNS = 1000
GOAL = 1.1
GIVE_UP_S = 120.0


async def serve() -> None:
    """The account: an ECS whose tasks never start, so that nothing but RunTask takes its time."""
    clock = SystemClock()
    model = EcsModel(lifetimes=Lifetimes(provisioning_s=3600), throttle_scale=SCALE)
    model.registry.create_cluster(CLUSTER)
    model.registry.register(worker_definition(), clock.now())
    server = LoopbackServer(clock=clock)
    with tempfile.TemporaryDirectory() as workdir:
        policy = AgentPolicy(workdir=Path(workdir), environment={}, metadata_url=f"{server.url}/v4")
        driver, held = EcsDriver(model, clock=clock, policy=policy), HeldCalls()
        driver.start()
        await server.start(ecs_app(driver, held, *EcsAdmin(driver, held).routes()))
        say(server.url)
        await asyncio.to_thread(sys.stdin.read)  # until whoever started this goes away
        await server.stop()
        await driver.stop()


async def measure(url: str, count: int) -> int:
    """Launch so many runs and say the ratio; gives the exit code."""
    clock = SystemClock()
    runs = FakeRuns(*(a_run(run_id=f"run-{number:05}", version=1) for number in range(count)), page_size=1000)
    config = AioConfig(retries={"total_max_attempts": 1}, max_pool_connections=50)
    async with get_session().create_client(
        "ecs",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=config,
    ) as client:
        tasks = EcsTasks(client, AwsCalls(clock), Limiter(clock, scale=SCALE))
        where = target(task_definition="dagy-worker", provider_weights={"FARGATE_SPOT": 70, "FARGATE": 30})
        effects = LaunchingEffects(runs, tasks, writer_of(runs, clock), clock)
        loop = LaunchingLoop(LaunchPolicy(target=where), effects, LaunchingMetrics(CollectorRegistry()))
        ticker = Ticker(loop, TickPolicy(interval_s=1.0, jitter=0), clock, LoopMetrics(CollectorRegistry()))
        began = perf_counter()
        async with background(ticker.run(Drain()), name="launching"):
            while running(runs) < count and perf_counter() - began < GIVE_UP_S:
                await clock.sleep(0.005)
        took_s = perf_counter() - began
    limit = AWS_BUCKETS[Bucket.RUN_TASK]
    own_s = (count - SCALE * limit.burst) / (SCALE * limit.rate_per_s)
    back = sum(step.to_status == RunStatus.QUEUED for run in runs.records.values() for step in run.transitions)
    say(
        f"launching {count} runs over HTTP, buckets {SCALE} times as fast: {took_s / own_s:.3f} of the buckets' own time"
    )
    say(f"  {running(runs)} run, {back} throttled or refused and back in the queue")
    return 0 if took_s <= GOAL * own_s and not back and running(runs) == count else 1


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def running(runs: FakeRuns) -> int:
    return sum(run.status is RunStatus.RUNNING for run in runs.records.values())


def main() -> int:
    """Start the account, measure, end it."""
    configure_logging(level="ERROR")
    if sys.argv[1:] == ["--serve"]:
        asyncio.run(serve())
        return 0
    count = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    command = [sys.executable, "-m", __spec__.name, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as account:
        assert account.stdin is not None
        assert account.stdout is not None
        try:
            return asyncio.run(measure(account.stdout.readline().strip(), count))
        finally:
            account.stdin.close()


if __name__ == "__main__":
    sys.exit(main())
