"""The demo: the main job, on real processes, with everything going wrong that usually does."""

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from dagy_control.adapters.ecs_admin import EcsAdmin
from dagy_control.entrypoints.command import console
from dagy_control.entrypoints.demo_flows import register_demo_flows
from dagy_control.entrypoints.demo_view import DemoView, Row, result_table
from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import Daemon, LocalStack, end_process
from dagy_control.entrypoints.wiring import open_ports
from dagy_control.errors import DagyError
from dagy_control.kernel.clock import Clock
from dagy_control.model.runs import FailureClass, Run, RunStatus

ORGS = ("acme", "globex")
BATCH = "demo-batch"
GHOST_FAMILY = "sleeper"
DAY = "2026-11-21"
MAX_TASKS = 6
"""Tasks at once: as many worker processes as a laptop bears."""

PLAN: Sequence[tuple[str, str, dict[str, object]]] = (
    ("sales", "acme", {}),
    ("killed", "globex", {"mode": "wait", "seconds": 8.0}),
    ("hog", "acme", {"mode": "hog"}),
    ("sales", "globex", {}),
    ("failing", "acme", {"mode": "fail"}),
    ("quick", "globex", {}),
    ("slow", "acme", {"mode": "wait", "seconds": 5.0}),
    ("slow", "globex", {"mode": "wait", "seconds": 5.0}),
    ("sales", "acme", {}),
    ("quick", "globex", {}),
    ("quick", "acme", {}),
    ("quick", "globex", {}),
)
"""The batch of 12: role, organisation, parameters."""


@dataclass(slots=True)
class Cast:
    """Who plays which part: run ids by role, and the ghost task."""

    by_role: dict[str, list[str]] = field(default_factory=dict)
    stuck: str = ""
    crashed: str = ""
    ghost: str = ""

    def add(self, role: str, run: Run) -> None:
        """One more run of the batch."""
        self.by_role.setdefault(role, []).append(run.run_id)

    def one(self, role: str) -> str:
        """The run of a part that only one plays."""
        return self.by_role[role][0]

    @property
    def batch(self) -> list[str]:
        """All runs of the batch."""
        return [run_id for ids in self.by_role.values() for run_id in ids]

    @property
    def everyone(self) -> list[str]:
        """All runs that there are."""
        return [*self.batch, *filter(None, (self.stuck, self.crashed))]


async def run_demo(workdir: Path, *, worker_image: str | None = None, as_json: bool) -> int:
    """Run the demo and print its table; 0 only if every row holds. `worker_image`: workers are containers of it."""
    view = DemoView(console(), quiet=as_json)
    rows: list[Row] = []  # filled as the demo goes on: what held is shown even if a later act fails
    failure = ""
    try:
        local = LocalStack(workdir, max_tasks=MAX_TASKS, worker_image=worker_image)
        async with local as stack, aiohttp.ClientSession() as session:
            await register_demo_flows(stack.settings(), ORGS)
            async with open_ports(stack.settings()) as ports:
                with view:
                    await Demo(DemoWorld(stack, ports, session), view, ports.clock, rows).play()
    except DagyError as error:
        failure = str(error)
    held = bool(rows) and not failure and all(row.ok for row in rows)
    if as_json:
        print(json.dumps({"ok": held, "failure": failure, "rows": [row.as_dict() for row in rows]}, indent=2))
        return 0 if held else 1
    out = console()
    if rows:
        out.print(result_table(rows))
    if failure:
        out.print(f"the demo failed: {failure}", style="red")
    out.print(
        f"all {len(rows)} rows hold" if held else "not every row holds", style=f"bold {'green' if held else 'red'}"
    )
    out.print(f"logs: {workdir.resolve() / 'logs'}")
    return 0 if held else 1


class Demo:
    """One performance; its claims go into `rows` as they are settled."""

    def __init__(self, world: DemoWorld, view: DemoView, clock: Clock, rows: list[Row]) -> None:
        self._world = world
        self._view = view
        self._clock = clock
        self._began = clock.monotonic()
        self._cast = Cast()
        self._rows = rows

    async def play(self) -> None:
        """The whole demo, act by act. Raises `DemoFailed` when something that must happen does not."""
        daemon = await self._world.stack.start_daemon()
        self._say(f"daemon up at {daemon.url}")
        await self._set_the_stage()
        await self._launch_batch()
        await self._kill_a_worker()
        daemon = await self._drain(daemon)
        daemon = await self._crash(daemon)
        await self._find_and_stop_the_ghost(daemon)
        runs = await self._until_all_ended()
        self._judge(runs)
        await self._judge_tasks()

    async def _set_the_stage(self) -> None:
        world = self._world
        definition = {
            "family": GHOST_FAMILY,
            "requiresCompatibilities": ["FARGATE"],
            "networkMode": "awsvpc",
            "cpu": "256",
            "memory": "512",
            "containerDefinitions": [
                {
                    "name": GHOST_FAMILY,
                    "image": world.stack.worker_image or "local",
                    "essential": True,
                    "entryPoint": ["sleep"],
                    "command": ["600"],
                    "stopTimeout": 2,
                }
            ],
        }
        await EcsAdmin(world.ports.clients.ecs, world.ports.calls).register_task_definition(definition)
        self._cast.ghost = await world.start_ghost(GHOST_FAMILY)
        self._say("a task was started behind the daemon's back")

    async def _launch_batch(self) -> None:
        for role, org_id, parameters in PLAN:
            if role == "sales":
                run = await self._world.launch("daily_sales", org_id, BATCH, day=DAY)
            else:
                attempts = 2 if role == "killed" else 1
                run = await self._world.launch("probe", org_id, BATCH, max_attempts=attempts, **parameters)  # type: ignore[arg-type] # JSON by PLAN
            self._cast.add(role, run)
        self._say(f"{len(PLAN)} runs queued for {' and '.join(ORGS)}")
        stuck = await self._world.write_stuck_run(await self._world.run(self._cast.one("sales")))
        self._cast.stuck = stuck.run_id
        self._say("a record says RUNNING, of a task that does not exist")

    async def _kill_a_worker(self) -> None:
        victim = self._cast.one("killed")

        async def at_work() -> Run | None:
            # Its rows and nothing else: on a busy machine it is over before one has looked round.
            rows = await self._world.ports.task_runs.of_run(victim)
            return await self._world.run(victim) if any(row.status == "RUNNING" for row in rows) else None

        run = await self._world.until("the victim at work", at_work)
        await self._world.kill_worker(run.external_id or "")
        self._say("SIGKILL to a worker, from outside")

    async def _drain(self, daemon: Daemon) -> Daemon:
        async def somebody_works() -> bool | None:
            runs = await self._watch()
            return True if sum(run.status is RunStatus.RUNNING for run in runs) >= 3 else None

        await self._world.until("three runs at work", somebody_works)
        began = self._clock.monotonic()
        code = await end_process(daemon.process, signal.SIGTERM)
        took_s = self._clock.monotonic() - began
        self._say(f"SIGTERM: the daemon drained in {took_s:.1f} s with exit code {code}; workers go on")
        limit_s = self._world.ports.settings.drain_timeout_s
        self._row(
            "daemon drained by SIGTERM in mid-work",
            f"exit 0 within {limit_s:g} s",
            f"exit {code} after {took_s:.1f} s",
            ok=code == 0 and took_s <= limit_s,
        )
        daemon = await self._world.stack.start_daemon()
        self._say("started again")
        return daemon

    async def _crash(self, daemon: Daemon) -> Daemon:
        world = self._world

        async def room() -> bool | None:
            runs = await self._watch()
            waiting = any(run.status in (RunStatus.QUEUED, RunStatus.LAUNCHING) for run in runs)
            return None if waiting else True

        await world.until("an empty queue", room)
        await world.hold_run_task_reply()
        run = await world.launch("probe", ORGS[0], BATCH, mode="wait", seconds=1.0)
        self._cast.crashed = run.run_id

        async def held() -> bool | None:
            return True if await world.held_replies() else None

        await world.until("RunTask carried out, its answer held back", held)
        await end_process(daemon.process, signal.SIGKILL)
        await world.clear_faults()
        self._say("SIGKILL to the daemon between RunTask and the record of the task")
        daemon = await world.stack.start_daemon()
        self._say("started again")
        return daemon

    async def _find_and_stop_the_ghost(self, daemon: Daemon) -> None:
        world = self._world

        async def found() -> float | None:
            return await world.metric(daemon.url, 'dagy_orphans_tasks{verdict="orphan"}') or None

        count = await world.until("the ghost found", found)
        ghost = await world.task(self._cast.ghost)
        self._row(
            "task behind the daemon's back, dry run",
            "found, left running",
            f"{count:g} found, {ghost['last_status']}",
            ok=count == 1 and ghost["last_status"] == "RUNNING",
        )
        self._say("the orphan is found (dry run)")
        report = await world.command("orphans", "scan", "--no-dry-run", "--json")

        async def stopped() -> dict[str, object] | None:
            task = await world.task(self._cast.ghost)
            return task if task["last_status"] == "STOPPED" else None

        task = await world.until("the ghost stopped", stopped)
        stops = report["data"]["summary"]["tasks_stopped"]
        self._row(
            "the same with --no-dry-run",
            "1 stopped, STOPPED",
            f"{stops} stopped, {task['last_status']}: {task['stopped_reason']}",
            ok=stops == 1,
        )
        self._say("and stopped")

    async def _until_all_ended(self) -> dict[str, Run]:
        async def ended() -> list[Run] | None:
            runs = await self._watch()
            return runs if all(run.status.is_terminal for run in runs) else None

        runs = await self._world.until("every run at its end", ended)
        self._say("every run has ended")
        return {run.run_id: run for run in runs}

    def _judge(self, runs: dict[str, Run]) -> None:
        cast = self._cast
        good = [*cast.by_role["sales"], *cast.by_role["quick"], *cast.by_role["slow"]]
        succeeded = sum(runs[run_id].status is RunStatus.SUCCEEDED and runs[run_id].attempt == 1 for run_id in good)
        self._row(
            "runs that nothing befell, across drain and crash",
            f"{len(good)} SUCCEEDED at attempt 1",
            f"{succeeded} SUCCEEDED at attempt 1",
            ok=succeeded == len(good),
        )
        self._expect("flow that fails by its own error", runs[cast.one("failing")], FailureClass.USER_ERROR)
        self._expect("worker killed by its memory limit", runs[cast.one("hog")], FailureClass.OUT_OF_MEMORY)
        self._expect("RUNNING on record, task long gone", runs[cast.stuck], FailureClass.LOST)
        killed = runs[cast.one("killed")]
        self._row(
            "worker SIGKILLed from outside",
            "SUCCEEDED at attempt 2",
            f"{killed.status} at attempt {killed.attempt}",
            ok=killed.status is RunStatus.SUCCEEDED and killed.attempt == 2,
        )
        crashed = runs[cast.crashed]
        self._row(
            "daemon SIGKILLed between RunTask and record",
            "SUCCEEDED at attempt 1",
            f"{crashed.status} at attempt {crashed.attempt}",
            ok=crashed.status is RunStatus.SUCCEEDED and crashed.attempt == 1,
        )

    async def _judge_tasks(self) -> None:
        sales = self._cast.by_role["sales"]
        tries = []
        for run_id in sales:
            rows = await self._world.ports.task_runs.of_run(run_id)
            tries.append({row.task_name: row.attempts for row in rows if row.status == "SUCCEEDED"})
        fine = [each.get("exchange_rate") == 2 and each.get("read_archive") == 2 for each in tries]
        self._row(
            "fan-out, a retry, a timeout inside a flow",
            f"{len(sales)} flows: both at try 2",
            f"{sum(fine)} flows: both at try 2",
            ok=all(fine),
        )
        by_attempt = await self._world.tasks_by_attempt()
        twice = [started_by for started_by, count in by_attempt.items() if count > 1]
        self._row(
            "nothing is launched twice",
            "1 task a run and attempt",
            f"{max(by_attempt.values())} at most, {len(by_attempt)} in all",
            ok=not twice,
        )

        async def none_left() -> bool | None:
            return all(task["last_status"] == "STOPPED" for task in await self._world.tasks()) or None

        await self._world.until("no task left", none_left)
        self._row("nothing is left running", "0 tasks", "0 tasks", ok=True)

    def _expect(self, claim: str, run: Run, failure_class: FailureClass) -> None:
        seen = f"{run.status} {run.failure_class or ''}".strip()
        self._row(
            claim,
            f"FAILED {failure_class}",
            seen,
            ok=run.status is RunStatus.FAILED and run.failure_class is failure_class,
        )

    async def _watch(self) -> list[Run]:
        runs = [await self._world.run(run_id) for run_id in self._cast.everyone]
        self._view.show_runs(runs)
        return runs

    def _row(self, claim: str, expected: str, seen: str, *, ok: bool) -> None:
        self._rows.append(Row(claim, expected, seen, ok))

    def _say(self, text: str) -> None:
        self._view.say(self._clock.monotonic() - self._began, text)
