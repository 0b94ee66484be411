"""Secrets are planted wherever one can come in; then everything that is told anywhere is searched for them."""

import json
import os
import signal
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from dagy_control.adapters.session import CONFIG_SERVICES, AwsClients, ClientPolicy
from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.flows_commands import build
from dagy_control.entrypoints.local_stack import Daemon, end_process
from dagy_control.model.runs import Run, RunStatus
from dagy_control.requests.orders import LaunchOrder
from dagy_control.requests.registration import register_flow
from tests.acceptance.looking import LONG_S, SOON_S, at_work, ended

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(900),
]

SECRETS = {
    "a secret": "canary-secret-7f3a91",
    "another key of the secret": "canary-otherkey-19c2aa",
    "a parameter of SSM": "canary-parameter-c04e77",
    "a name in a table of SSM": "canary-table-7d10aa",
    "an event's environment": "canary-event-3be802",
    "AWS's secret key": "canary-accesskey-5518de",
    "AWS's session token": "canary-session-e2b0f4",
    "a flow's environment": "canary-environment-60ad3b",
    "a flow's parameter": "canary-argument-b8817c",
    "a signature": "canary5167signature9a0c",
    "a signed link's session": "canary83session20e1",
    "a mistaken file": "canary-file-d92f06",
    "a variable": "canary-variable-44b1c9",
    "a caller's token": "canary-caller-0be86d",
}
SIGNED = "X-Amz-Security-Token={}&X-Amz-Signature={}".format(SECRETS["a signed link's session"], SECRETS["a signature"])
LINK = f"https://bucket.s3.amazonaws.com/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&{SIGNED}"
API = '[api]\ntoken = "secret:canary-api#token"\n'
FILE, ENVIRONMENT, PARAMETER = (
    SECRETS[name] for name in ("a mistaken file", "a flow's environment", "a flow's parameter")
)
STATE_TABLES = [
    {
        "name": "models",
        "terminal_statuses": ["over"],
        **dict.fromkeys(("key_attribute", "task_tag"), SECRETS["a parameter of SSM"]),
    }
]
PROFILES = {SECRETS["a name in a table of SSM"]: {"cpu": 256, "memory": 512}}
VARIABLE = {"name": "DB_PASSWORD", "value": SECRETS["an event's environment"]}
UNREADABLE = {"detail": {"overrides": {"containerOverrides": [{"name": "dagy-worker", "environment": [VARIABLE]}]}}}
"""As an event of ECS, wrapped by something that leaves out the task's ARN."""
AWS = "aws-server.log"
"""What AWS itself would log is none of ours."""

MISTAKES = {
    "a wrong value beside it": ("[api]\n", f'[api]\ninterval = 3\nhost = 7\ntoken = "{FILE}"\n'),
    "a wrong type of its own": ("[api]\n", f'[api]\ntoken = ["{FILE}"]\n'),
    "a line that is no TOML": ("[api]\n", f'[api]\ntoken = "{FILE}\n'),
    "a name misspelt": ("[api]\n", f'[api]\ntokn = "{FILE}"\n'),
    "a name and its section misspelt": ("[api]\n", f'[apii]\ntokn = "{FILE}"\n[api]\n'),
    "a name in the wrong section": ("[launching]\n", f'[launching]\ntoken = "{FILE}"\n'),
    "a table in its place": ("[api]\n", f'[api]\ntoken = {{ value = "{FILE}" }}\n'),
    "a name twice": ("[api]\n", f'[api]\ntoken = "{FILE}"\ntoken = "{FILE}"\n'),
    "a reference that is no number": ("[launching]\n", '[launching]\nmax_claims_per_tick = "ssm:/canary/parameter"\n'),
    "a table without the profile that is named": ("[ecs]\n", '[ecs]\nprofiles = "ssm:/canary/profiles"\n'),
    "a key that the secret has not": ("[api]\n", '[api]\ntoken = "secret:canary-api#nosuch"\n'),
    "an edit that needs a restart": ("[api]\n", f'[telemetry]\ncloudwatch_metrics = true\n[api]\ntoken = "{FILE}"\n'),
}

BEFORE_A_TERMINAL = (
    "a name and its section misspelt",
    "a table without the profile that is named",
    "an edit that needs a restart",
)


@dataclass
class Told:
    """All that was told, by who told it."""

    texts: dict[str, str] = field(default_factory=dict)

    async def by(self, *arguments: str, **environment: str) -> str:
        """All that a command prints, whatever its exit code."""
        process = await create_subprocess_exec(
            *(sys.executable, "-m", "dagy_control.entrypoints.cli", *arguments),
            stdout=PIPE,
            stderr=PIPE,
            env={**os.environ, **environment},
        )
        text = b"\n".join(await process.communicate()).decode()
        self.texts[" ".join((*arguments, *environment))] = text
        return text

    def leaks(self) -> list[str]:
        return [
            f"{what} in {who}" for who, text in self.texts.items() for what, each in SECRETS.items() if each in text
        ]


@pytest_asyncio.fixture(loop_scope="module")
async def daemon(world: DemoWorld) -> AsyncIterator[Daemon]:
    async with AwsClients(ClientPolicy(region="us-east-1"), services=CONFIG_SERVICES) as clients:
        for name, value in (("parameter", STATE_TABLES), ("profiles", PROFILES)):
            await clients.ssm.put_parameter(Name=f"/canary/{name}", Value=json.dumps(value), Type="SecureString")
        secret = {"token": SECRETS["a secret"], "other": SECRETS["another key of the secret"]}
        await clients.secrets.create_secret(Name="canary-api", SecretString=json.dumps(secret))
    text = 'log_level = "DEBUG"\n' + world.stack.config.read_text()
    planted = text.replace("[orphans]\n", '[orphans]\nstate_tables = "ssm:/canary/parameter"\n')
    world.stack.config.write_text(planted.replace("[api]\n", API))
    world.stack.environment |= {
        "AWS_SECRET_ACCESS_KEY": SECRETS["AWS's secret key"],
        "AWS_SESSION_TOKEN": SECRETS["AWS's session token"],
    }
    daemon = await world.stack.start_daemon()
    yield daemon
    await end_process(daemon.process, signal.SIGTERM)


async def ask_pages(url: str, told: Told) -> None:
    """Every page, asked also by somebody who shows a token that is none."""
    caller = SECRETS["a caller's token"]
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {caller}"}) as session:
        for path in ("/", "/metrics", "/healthz", "/readyz", f"/metrics?token={caller}", "/orphans/scan"):
            async with session.get(url + path) as response:
                told.texts[f"GET {path.partition('?')[0]}"] = await response.text()
        async with session.post(f"{url}/orphans/scan", json={"token": caller}) as response:
            told.texts["POST /orphans/scan"] = await response.text()


async def fail_loudly(world: DemoWorld) -> Run:
    artifact = build("loud:loud", Path(__file__).parent / "loud_flow")
    ports = world.ports
    prefix = ports.settings.storage.artifact_prefix
    spec, data = artifact.spec, artifact.data
    await register_flow(
        ports.flows, ports.artifacts, ports.clock, org_id="acme", spec=spec, artifact=data, prefix=prefix
    )
    order = LaunchOrder(
        org_id="acme",
        flow_name="loud",
        workload_profile="small",
        parameters={"credentials": {"api_token": PARAMETER}, "link": LINK},
        extra_env_vars={"DB_PASSWORD": ENVIRONMENT},
    )
    return await ended(world, await ports.launcher().submit(order))


async def stop_with_a_signed_reason(world: DemoWorld) -> Run:
    run = await at_work(world, await world.launch("probe", "acme", "signed", seconds=60.0))
    await world.ports.tasks.stop(
        world.stack.cloud.cluster, run.external_id or "", reason=f"CannotPull: Get {LINK}: 403"
    )
    return await ended(world, run)


async def refused(world: DemoWorld, daemon: Daemon, text: str) -> None:
    line = 'dagy_config_reloads_total{result="refused"}'
    before = await world.metric(daemon.url, line)
    world.stack.config.write_text(text)

    async def look() -> bool:
        return await world.metric(daemon.url, line) > before

    await world.until("the edit's refusal", look, timeout_s=SOON_S)


async def set_aside(world: DemoWorld, log: Path) -> None:
    """An event that nobody can use, five times; there is no queue for such, so that it ends in the log."""
    await world.ports.events(str(world.ports.settings.events.queue_url)).send(json.dumps(UNREADABLE))
    await said(world, log, "EVENT_SET_ASIDE")


async def said(world: DemoWorld, log: Path, words: str, times: int = 1) -> None:
    async def look() -> bool:
        return log.read_text(errors="replace").count(words) >= times

    await world.until(f"{words} in the log", look, timeout_s=LONG_S)


async def tell_a_terminal(world: DemoWorld, good: str) -> str:
    """Some of the mistakes before a daemon that logs for people. Gives the name of its log."""
    log = world.stack.workdir / "logs" / "daemon-console.log"
    environment = {**os.environ, **world.stack.environment, "DAGY_LOG_FORMAT": "console"}
    with log.open("wb") as out:
        serve = (sys.executable, "-m", "dagy_control.entrypoints.cli", "serve")
        process = await create_subprocess_exec(*serve, env=environment, stdout=out, stderr=out)
    try:
        await said(world, log, "STARTED")
        for times, name in enumerate(BEFORE_A_TERMINAL, start=1):
            old, new = MISTAKES[name]
            world.stack.config.write_text(good.replace(API, "[api]\n").replace(old, new))
            await said(world, log, "CONFIG_REFUSED", times)
        await set_aside(world, log)
    finally:
        await end_process(process, signal.SIGTERM)
    return log.name


async def ask_about_runs(told: Told, runs: Sequence[Run]) -> None:
    for run in runs:
        for command in ("show", "explain"):
            await told.by("runs", command, run.run_id)
            await told.by("runs", command, run.run_id, "--json")
    await told.by("runs", "explain", "--correlation-id", runs[0].correlation_id)
    await told.by("runs", "list", "--org", "acme")
    await told.by("runs", "list", "--org", "acme", "--json")


async def ask_about_a_deployment(told: Told) -> None:
    planted = ("-p", f'credentials={{"api_token": "{PARAMETER}"}}', "-e", f"DB_PASSWORD={ENVIRONMENT}")
    setting = await told.by("deployments", "set", "nightly", "--org", "acme", "--flow", "loud", *planted, "--json")
    assert "[redacted]" in setting
    await told.by("deployments", "show", "nightly", "--org", "acme")
    await told.by("deployments", "list", "--org", "acme")
    await told.by("deployments", "list", "--org", "acme", "--json")
    assert "[redacted]" in await told.by("runs", "launch", "--org", "acme", "--deployment", "nightly", "--json")


async def ask_about_the_configuration(told: Told) -> None:
    for command in ("show", "check"):
        await told.by("config", command)
        await told.by("config", command, "--json")
    assert "secret:canary-api#token" in told.texts["config show"]
    variable = SECRETS["a variable"]
    assert "DAGY_API__TOKEN" in await told.by("config", "check", DAGY_API__TOKN=variable)
    assert "is not a setting" in await told.by("config", "check", DAGY_APPI__TKN=variable)
    await told.by("config", "check", "--json", DAGY_API__TOKEN=variable, DAGY_API__PORT="x")


async def test_no_secret_is_told_anywhere(world: DemoWorld, daemon: Daemon) -> None:
    told = Told()
    failed, stopped = await fail_loudly(world), await stop_with_a_signed_reason(world)
    assert (failed.status, stopped.status) == (RunStatus.FAILED, RunStatus.FAILED)
    assert "[redacted DB_PASSWORD]" in (failed.error_message or ""), "it did fail with its secret"
    assert "CannotPull" in (stopped.stopped_reason or ""), "the reason did come through"
    await ask_about_runs(told, [failed, stopped])
    await ask_about_a_deployment(told)
    await ask_about_the_configuration(told)
    good = world.stack.config.read_text()
    for name, (old, new) in MISTAKES.items():
        await refused(world, daemon, good.replace(API, "[api]\n").replace(old, new))
        told.texts[f"check of {name}"] = await told.by("config", "check", "--json")
        await ask_pages(daemon.url, told)
    world.stack.config.write_text(good)
    await set_aside(world, daemon.log)
    await end_process(daemon.process, signal.SIGTERM)
    console = await tell_a_terminal(world, good)
    logs = {path.name: path.read_text(errors="replace") for path in (world.stack.workdir / "logs").glob("*.log")}
    del logs[AWS]
    for log, refusals in ((daemon.log.name, len(MISTAKES)), (console, len(BEFORE_A_TERMINAL))):
        assert logs[log].count("CONFIG_REFUSED") >= refusals
        assert "EVENT_SET_ASIDE" in logs[log]
        assert "DB_PASSWORD" in logs[log], "the name of the variable may be told"
    assert any("Traceback" in log for log in logs.values()), "a worker told where its flow failed"
    assert sum("ConnectionError" in log for log in logs.values()) >= 1, "the workers' logs are among them"
    leaks = Told({**told.texts, **logs}).leaks()
    assert not leaks, "\n".join(leaks)
