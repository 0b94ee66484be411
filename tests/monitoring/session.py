"""A session with a real daemon, written down: an edit taken and one refused, an alert and its end, a run explained, the dashboard.

    python -m tests.monitoring.session

Everything is as in `test_alerting`: the embedded cloud, Debian's Prometheus and Alertmanager, and what deploy/ ships, with the minutes
of `for` shortened to seconds. Needs chromium on the PATH for the pictures. Writes docs/recorded-session.md and docs/images/.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from asyncio import create_subprocess_exec
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from dagy_control.entrypoints.demo_flows import register_demo_flows
from dagy_control.entrypoints.demo_world import DemoFailed, DemoWorld
from dagy_control.entrypoints.local_stack import Daemon, LocalStack
from dagy_control.entrypoints.wiring import open_ports
from dagy_control.kernel.tasks import background
from dagy_control.kernel.telemetry import configure_logging
from dagy_control.model.runs import Run
from dagy_control.requests.orders import LaunchOrder
from tests.acceptance.looking import SOON_S, all_ended, at_work, ended
from tests.monitoring.drawing import Series, Span, legend_of, page, size
from tests.monitoring.servers import Monitoring, monitoring
from tests.monitoring.shipped import DASHBOARD, ROOT

PAGE = ROOT / "docs" / "recorded-session.md"
IMAGES = ROOT / "docs" / "images"
PICTURES = {"dashboard-1.png": (0, 49), "dashboard-2.png": (49, 1000)}
"""Rows of the dashboard's grid: from, and up to."""
LEAD_S, REST_S = 45.0, 20.0
LAUNCH_EVERY_S = 6.0
BURST = 12
RATE_INTERVAL = "15s"
CHROMIUM = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
INTRODUCTION = """# A recorded session

Written by `python -m tests.monitoring.session`: a real daemon on the embedded cloud, watched by Prometheus and Alertmanager with what
`deploy/monitoring` ships. The minutes of the alerts' `for` are seconds here; paths and ports are shortened. The same is tested: edits
in `tests/acceptance/test_live_configuration.py`, the alert in `tests/monitoring/test_alerting.py`, the story in
`tests/acceptance/test_explain.py`.
"""


class Session:
    """What is done, and the page on which it is written down."""

    def __init__(self, world: DemoWorld, daemon: Daemon, watch: Monitoring) -> None:
        self.world = world
        self.daemon = daemon
        self.watch = watch
        self.text = [INTRODUCTION]

    def heading(self, title: str, words: str) -> None:
        self.text.append(f"\n## {title}\n\n{words}\n")

    def block(self, text: str, kind: str = "") -> None:
        """Something that a program said."""
        for old, new in {
            str(self.world.stack.workdir): ".dagy/local",
            self.daemon.url: "http://127.0.0.1:9464",
        }.items():
            text = text.replace(old, new)
        self.text.append(f"\n```{kind}\n{text.strip()}\n```\n")

    async def command(self, *arguments: str) -> None:
        """A command, and what it prints."""
        process = await create_subprocess_exec(
            *(sys.executable, "-m", "dagy_control.entrypoints.cli", *arguments), stdout=PIPE, env=os.environ
        )
        out, _ = await process.communicate()
        printed = "\n".join(line.rstrip() for line in out.decode().splitlines())
        self.block(f"$ dagy-control {' '.join(arguments)}\n{printed}")

    async def metrics(self, *names: str) -> None:
        """What the daemon's metrics say."""
        async with self.watch.session.get(f"{self.daemon.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        said = "\n".join(line for line in lines if line.startswith(names))
        self.block(f"$ curl -s http://127.0.0.1:9464/metrics | grep -E '^({'|'.join(names)})'\n{said}")

    def line(self, event_type: str, word: str = "") -> str | None:
        """The daemon's last log line of this kind that has this word in it."""
        told = self.daemon.log.read_text().splitlines()
        lines = [line for line in told if f'"{event_type}"' in line and word in line]
        return lines[-1] if lines else None

    async def edit(self, old: str, new: str, event_type: str) -> None:
        """Change the file; the line with which the daemon answers."""
        config, before = self.world.stack.config, self.line(event_type)
        config.write_text(config.read_text().replace(old, new))
        self.block(
            "\n".join([*(f"- {each}" for each in old.splitlines()), *(f"+ {each}" for each in new.splitlines())]),
            "diff",
        )

        async def answered() -> str | None:
            line = self.line(event_type)
            return None if line == before else line

        self.block(await self.world.until(f"an answer to the edit: {event_type}", answered, timeout_s=SOON_S), "json")

    async def told(self, status: str) -> None:
        """What the webhook is told of the reconciler."""

        async def look() -> dict[str, Any] | None:
            told = self.watch.webhook.told(status, alertname="DagyLoopStalled", loop="reconciling")
            return told[0] if told else None

        notice = await self.world.until(f"the alert {status}", look, timeout_s=SOON_S)
        kept = {name: notice[name] for name in ("status", "labels", "annotations", "startsAt", "endsAt")}
        self.block(json.dumps(kept, indent=2), "json")


async def launch_on_and_on(world: DemoWorld) -> None:
    """Work of all kinds, until cancelled."""
    for number in count():
        order = LaunchOrder(
            org_id=("acme", "globex")[number % 2],
            flow_name="probe",
            workload_profile="small",
            parent_correlation_id="session",
            parameters={"seconds": 1.0 + number % 5, **({"mode": "fail"} if number % 6 == 5 else {})},
            extra_env_vars={"ECS_CAPACITY_PROVIDER": ("FARGATE", "FARGATE_SPOT")[number % 3 == 2]},
        )
        await world.ports.launcher().submit(order)
        await world.ports.clock.sleep(LAUNCH_EVERY_S)


async def edits(session: Session) -> None:
    session.heading("An edit is taken", "The file is saved; nothing is restarted. The daemon says what changes:")
    names = 'labelled_orgs = ["acme"]\nlabelled_flows = ["acme/probe"]\n'
    await session.edit("max_concurrent_tasks = 8\n", f"max_concurrent_tasks = 6\n{names}", "CONFIG_TAKEN")
    await session.metrics("dagy_config_last_reload_successful", "dagy_config_hash", "dagy_config_reloads_total")
    session.heading(
        "An edit is refused",
        "A name is misspelt. The daemon goes on with what it has, and says where, what, and what instead:",
    )
    await session.edit("[launching]\n", "[lauching]\n", "CONFIG_REFUSED")
    await session.metrics("dagy_config_last_reload_successful", "dagy_config_hash", "dagy_config_reloads_total")
    session.text.append("\nMended:\n")
    await session.edit("[lauching]\n", "[launching]\n", "CONFIG_TAKEN")


async def an_alert(session: Session) -> None:
    world = session.world
    run = await at_work(world, await world.launch("probe", "acme", "watched", seconds=60.0))
    words = (
        "ECS answers every DescribeTasks and ListTasks with an error: no pass succeeds. Alertmanager tells the webhook:"
    )
    session.heading("An alert fires, and ends", words)
    for operation in ("DescribeTasks", "ListTasks"):
        await suffer(session, "error_not_applied", operation, 1_000_000)
    await session.told("firing")
    session.text.append("\nThe log says of the loop, and of the call, with AWS's request id:\n")
    for event_type in ("LOOP_ERROR", "AWS_CALL_FAILED"):
        session.block(session.line(event_type, "DescribeTasks") or "", "json")
    await world.clear_faults()
    session.text.append("\nECS answers again:\n")
    await session.told("resolved")
    await world.command("runs", "cancel", run.run_id, "--json")


async def suffer(session: Session, kind: str, operation: str, calls: int) -> None:
    """ECS will do this to the operation's next calls."""
    order = {"kind": kind, "operation": operation, "calls": calls}
    url = f"{session.world.stack.cloud.ecs_url}/_local/faults"
    async with session.watch.session.post(url, json=order) as response:
        response.raise_for_status()


async def a_story(session: Session) -> None:
    world = session.world
    order = LaunchOrder(
        org_id="acme",
        flow_name="probe",
        workload_profile="small",
        parameters={"seconds": 6.0},
        parent_correlation_id="nightly",
        extra_env_vars={"ECS_CAPACITY_PROVIDER": "FARGATE_SPOT"},
    )
    run = await at_work(world, await world.ports.launcher().submit(order))
    world.stack.cloud.driver.interrupt_spot(run.external_id or "")
    done = await ended(world, run)
    session.heading(
        "A run that Spot took back",
        "Its task was reclaimed while it worked; a second attempt did it. From the record alone:",
    )
    await session.command("runs", "explain", done.run_id)
    session.text.append("\nThe daemon's own lines about it; its workers' carry the same keys:\n")
    session.block("\n".join(lines_about(session.daemon.log, done)), "json")


def lines_about(log: Path, run: Run) -> list[str]:
    """The log's lines that carry the run's id."""
    return [line for line in log.read_text().splitlines() if f'"run_id": "{run.run_id}"' in line]


async def data(watch: Monitoring, dashboard: dict[str, Any], span: Span) -> dict[int, list[Series]]:
    """What Prometheus has for every panel."""
    found: dict[int, list[Series]] = {}
    for panel in dashboard["panels"]:
        found[panel["id"]] = [
            Series(
                legend_of(target["legendFormat"], each["metric"]),
                [(float(at), float(value)) for at, value in each["values"] if value != "NaN"],
            )
            for target in panel.get("targets", ())
            for each in await watch.range(filled_in(target["expr"]), span.start, span.end)
        ]
    return found


def filled_in(expression: str) -> str:
    """What Grafana puts in the place of its variables."""
    return expression.replace("$job", "dagy").replace("$__rate_interval", RATE_INTERVAL)


async def draw(text: str, picture: Path) -> None:
    """The page as chromium shows it."""
    width, height = size(text)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "page.html")
        source.write_text(text, encoding="utf-8")
        options = (f"--user-data-dir={folder}/profile", f"--window-size={width},{height}", f"--screenshot={picture}")
        process = await create_subprocess_exec(*CHROMIUM, *options, source.as_uri(), stdout=DEVNULL, stderr=DEVNULL)
        if await process.wait():
            raise DemoFailed("chromium did not draw the page")


async def held(folder: Path) -> None:
    """The whole session."""
    async with LocalStack(folder / "cloud", max_tasks=8) as stack, aiohttp.ClientSession() as client:
        await register_demo_flows(stack.settings(), ["acme", "globex"])
        async with open_ports(stack.settings()) as ports:
            world = DemoWorld(stack, ports, client)
            daemon = await stack.start_daemon()
            (folder / "monitoring").mkdir()
            async with monitoring(folder / "monitoring", daemon.url) as watch:
                await record(Session(world, daemon, watch))


async def record(session: Session) -> None:
    """Play it, write it down, and draw the dashboard."""
    world, clock = session.world, session.world.ports.clock
    began = clock.now().timestamp()
    async with background(launch_on_and_on(world), name="load"):
        burst = [await world.launch("probe", "globex", "burst", seconds=2.0) for _ in range(BURST)]  # some must wait
        await suffer(session, "throttle", "RunTask", 2)
        await clock.sleep(LEAD_S)
        done = await all_ended(world, burst)
        await world.write_stuck_run(done[0])
        await edits(session)
        await a_story(session)
        await world.write_stuck_run(done[0])
        await an_alert(session)
        await clock.sleep(REST_S)
    span = Span(began, clock.now().timestamp())
    dashboard = json.loads(DASHBOARD.read_text())
    series = await data(session.watch, dashboard, span)
    IMAGES.mkdir(exist_ok=True)
    session.heading(
        "The dashboard",
        "The shipped panels over these minutes, drawn by `tests/monitoring/drawing.py` of what Prometheus answers to their expressions.",
    )
    for name, (below, above) in PICTURES.items():
        await draw(page(dashboard, series, span, below=below, above=above), IMAGES / name)
        session.text.append(f"\n![The dashboard's panels](images/{name})\n")
    PAGE.write_text("".join(session.text), encoding="utf-8")


def main() -> None:
    """Everything, in a folder that is gone afterwards."""
    if shutil.which(CHROMIUM[0]) is None:
        raise SystemExit("chromium is needed (Debian: apt-get install chromium)")
    configure_logging(level="ERROR", json=False)
    with tempfile.TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        asyncio.run(held(Path(folder)))


if __name__ == "__main__":
    main()
