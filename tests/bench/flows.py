"""What the engine costs over the bare means that it is made of. Ratios, within one run; the best of several rounds in turn.

Threads: a flow of 10,000 tiny tasks against `ThreadPoolExecutor` over the same callables, in seconds of CPU: validation, graph,
reports and results included. Processes: 200 tiny tasks in seconds of the clock, since a forkserver's children are in nobody's
account: `isolation="process"` against `ProcessPoolExecutor` on a forkserver, and `isolation="fresh"` against a forkserver that
makes a process for each task; the start of zygote and forkserver included. Memory: resident, while results of 256 KiB flow from
1,000 tasks to 1,000 others.

    python -m tests.bench.flows
"""

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time

import uvloop

from dagy_control.flow_engine.execution import EngineOptions, FlowRunner
from dagy_control.flow_engine.reporting import SilentReporter, TaskRunState
from dagy_control.kernel.clock import SystemClock
from dagy_control.model.flow_tasks import Isolation
from dagy_control.model.flows import FlowSpec
from dagy_control.model.runs import ResultStatus
from tests.flows.running import a_flow, a_task
from tests.flows.tasks import add

ROOT = Path(__file__).parents[2]
AT_ONCE = 2
ROUNDS = 7
THREAD_TASKS, THREAD_GOAL = 10_000, 3.0
PROCESS_TASKS, PROCESS_GOAL = 200, 2.0
RESULTS, RESULT_BYTES, GROWTH_MIB_MAX = 1_000, 256 * 1024, 25.0
MEBIBYTE = 1 << 20


class MemoryReporter(SilentReporter):
    """Remembers resident memory (bytes) after the first tenth of the changes, and the most since then."""

    def __init__(self, changes: int) -> None:
        self._warm = changes // 10
        self._seen = 0
        self.first = 0
        self.most = 0

    async def task_changed(self, task: TaskRunState) -> None:
        self._seen += 1
        if self._seen < self._warm or self._seen % 50:
            return
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        self.first = self.first or resident
        self.most = max(self.most, resident)


def tiny(count: int, isolation: Isolation) -> FlowSpec:
    """So many additions."""
    return a_flow(*(a_task(f"t{number}", "add", number, 1, isolation=isolation) for number in range(count)))


def run(spec: FlowSpec, reporter: SilentReporter | None = None) -> None:
    """From the spec to the outcome, on the worker's own loop."""

    async def whole() -> ResultStatus:
        options = EngineOptions(max_concurrency=AT_ONCE)
        runner = FlowRunner(spec, {}, reporter=reporter or SilentReporter(), clock=SystemClock(), options=options)
        return (await runner.run()).status

    assert uvloop.run(whole()) is ResultStatus.SUCCEEDED


def bare_threads() -> None:
    """The same additions in a thread pool."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in [pool.submit(add, number, 1) for number in range(THREAD_TASKS)]:
            future.result()


def bare_forkserver_s(kind: str) -> float:
    """Seconds that the floor took, its interpreter's start left out."""
    command = [sys.executable, "tests/bench/bare_forkserver.py", kind, str(PROCESS_TASKS), str(AT_ONCE)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return float(subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def took(work: Callable[[], None], clock: Callable[[], float]) -> float:
    """Seconds by this clock."""
    gc.collect()
    began = clock()
    work()
    return clock() - began


def threads() -> bool:
    """Whether the goal is met."""
    spec = tiny(THREAD_TASKS, Isolation.THREAD)
    engine, bare = [], []
    for _ in range(ROUNDS):
        engine.append(took(lambda: run(spec), process_time))
        bare.append(took(bare_threads, process_time))
    ratio = min(engine) / min(bare)
    each = f"{min(engine) / THREAD_TASKS * 1e6:.1f} and {min(bare) / THREAD_TASKS * 1e6:.1f} µs of CPU each"
    say(f"{THREAD_TASKS} tiny thread tasks: {ratio:.2f} times a bare thread pool (goal {THREAD_GOAL:g}); {each}")
    return ratio <= THREAD_GOAL


def processes(isolation: Isolation, kind: str, bare_means: str) -> bool:
    """Whether the goal is met against this kind of bare forkserver."""
    spec = tiny(PROCESS_TASKS, isolation)
    engine, bare = [], []
    for _ in range(ROUNDS):
        engine.append(took(lambda: run(spec), perf_counter))
        bare.append(bare_forkserver_s(kind))
    ratio = min(engine) / min(bare)
    each = f"{min(engine) / PROCESS_TASKS * 1e3:.1f} and {min(bare) / PROCESS_TASKS * 1e3:.1f} ms each"
    say(f"{PROCESS_TASKS} tiny {isolation} tasks: {ratio:.2f} times {bare_means} (goal {PROCESS_GOAL:g}); {each}")
    return ratio <= PROCESS_GOAL


def all_processes() -> bool:
    """Whether both goals are met."""
    reused = processes(Isolation.PROCESS, "pool", "a bare forkserver pool")
    return processes(Isolation.FRESH, "process", "a bare forkserver, a process each") and reused


def memory() -> bool:
    """Whether the goal is met."""
    made = [a_task(f"made-{n}", "make_large", RESULT_BYTES, isolation=Isolation.THREAD) for n in range(RESULTS)]
    taken = [a_task(f"taken-{n}", "size", {"$task": f"made-{n}"}, isolation=Isolation.THREAD) for n in range(RESULTS)]
    reporter = MemoryReporter(4 * RESULTS)
    run(a_flow(*made, *taken), reporter)
    growth = (reporter.most - reporter.first) / MEBIBYTE
    flowed = RESULTS * RESULT_BYTES / MEBIBYTE
    say(f"memory while {flowed:.0f} MiB of results flow: {growth:.1f} MiB more (goal {GROWTH_MIB_MAX:g})")
    return growth <= GROWTH_MIB_MAX


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(0 if all([threads(), all_processes(), memory()]) else 1)
