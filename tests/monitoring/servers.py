"""Debian's Prometheus and Alertmanager on loopback, with what deploy/ ships, in test time."""

import json
import re
import socket
from asyncio import create_subprocess_exec
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from tests.monitoring.shipped import EXAMPLES, RULES

MINUTE_S = 1
"""So many seconds of the test are a minute of the rules' `for`."""

MARGINS = {"+ 300": "+ 5"}
"""What else is shortened, in expressions: the five minutes of DagyLoopStalled."""


def in_test_time(text: str) -> str:
    """The shipped rules with every `for`, and the margins, shortened; nothing else."""
    for shipped, here in MARGINS.items():
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, here)
    minutes = {"m": MINUTE_S, "h": 60 * MINUTE_S}
    return re.sub(r"^( +for: )(\d+)([mh])$", lambda m: f"{m[1]}{int(m[2]) * minutes[m[3]]}s", text, flags=re.MULTILINE)


@dataclass
class Webhook:
    """What Alertmanager has told, in order."""

    alerts: list[dict[str, Any]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.alerts += (await request.json())["alerts"]
        return web.Response()

    def told(self, status: str, **labels: str) -> list[dict[str, Any]]:
        """The alerts with this status and these labels."""
        return [each for each in self.alerts if each["status"] == status and labels.items() <= each["labels"].items()]


@dataclass
class Monitoring:
    """Both servers, and the receiver of what they tell."""

    url: str
    webhook: Webhook
    session: aiohttp.ClientSession

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples that the expression has now. AssertionError with Prometheus's words if it is refused."""
        async with self.session.get(f"{self.url}/api/v1/query", params={"query": expression}) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    async def range(self, expression: str, start: float, end: float, *, step_s: float = 2.0) -> list[dict[str, Any]]:
        """The series that the expression has between two moments, in Unix time: `metric` and `values` each."""
        asked = {"query": expression, "start": str(start), "end": str(end), "step": str(step_s)}
        async with self.session.get(f"{self.url}/api/v1/query_range", params=asked) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    async def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health and its state."""
        async with self.session.get(f"{self.url}/api/v1/rules") as response:
            groups = (await response.json())["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def a_free_port() -> int:
    """A port that nobody has; it may be taken before it is used, and then the server says so."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def prometheus_config(daemon: str, alertmanager: int) -> dict[str, Any]:
    """The shipped example, with addresses and intervals of the test."""
    config: dict[str, Any] = yaml.safe_load((EXAMPLES / "prometheus.example.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [daemon.removeprefix("http://")]}]
    del job["dns_sd_configs"]
    return config


def alertmanager_config(webhook: int) -> dict[str, Any]:
    """The shipped example, with receivers and waits of the test."""
    config: dict[str, Any] = yaml.safe_load((EXAMPLES / "alertmanager.example.yml").read_text())
    config["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    for receiver in config["receivers"]:
        receiver["webhook_configs"][0]["url"] = f"http://127.0.0.1:{webhook}/"
    return config


@asynccontextmanager
async def monitoring(folder: Path, daemon: str) -> AsyncIterator[Monitoring]:
    """Both servers, scraping the daemon at this address; ended at the end."""
    ports = {name: a_free_port() for name in ("prometheus", "alertmanager")}
    webhook, running = Webhook(), list[Process]()
    application = web.Application()
    application.router.add_post("/", webhook.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (folder / "rules").mkdir()
    (folder / "rules" / "dagy.yml").write_text(in_test_time(RULES.read_text()))
    (folder / "prometheus.yml").write_text(json.dumps(prometheus_config(daemon, ports["alertmanager"])))
    (folder / "alertmanager.yml").write_text(json.dumps(alertmanager_config(runner.addresses[0][1])))
    commands = {
        "alertmanager": ["prometheus-alertmanager", f"--storage.path={folder / 'alerts'}", "--cluster.listen-address="],
        "prometheus": ["prometheus", f"--storage.tsdb.path={folder / 'tsdb'}", "--rules.alert.resend-delay=1s"],
    }
    try:
        for name, command in commands.items():
            given = [f"--config.file={folder / name}.yml", f"--web.listen-address=127.0.0.1:{ports[name]}"]
            with (folder / f"{name}.log").open("wb") as log:
                running.append(await create_subprocess_exec(*command, *given, stdout=log, stderr=log))
        async with aiohttp.ClientSession() as session:
            yield Monitoring(f"http://127.0.0.1:{ports['prometheus']}", webhook, session)
    finally:
        for process in running:
            if process.returncode is None:
                process.terminate()
            await process.wait()
        await runner.cleanup()
