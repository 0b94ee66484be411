"""`dagy-control local` and `dagy-control demo`: the whole system on this machine."""

import asyncio
import importlib.util
import shlex
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from dagy_control.entrypoints.command import JsonOption, console, errors_as_sentences
from dagy_control.errors import Permanent
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.tasks import as_task
from dagy_control.kernel.telemetry import configure_logging

Workdir = Annotated[Path, typer.Option(help="Logs and configuration go here.")]
Containers = Annotated[bool, typer.Option("--containers", help="Workers are containers, run by podman, not processes.")]
Image = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="With --containers: the worker's image. Default: what `make images` built."),
]
ORGS = ("acme", "globex")


def local(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the daemon's HTTP server; 0 takes a free one.")
    ] = 9464,
    workdir: Workdir = Path(".dagy/local"),
    containers: Containers = False,
    image: Image = None,
) -> None:
    """Keep the embedded cloud and a daemon up until Ctrl-C, with two example flows registered."""
    _require_local()
    with errors_as_sentences():
        configure_logging(level="ERROR", json=False)
        raise typer.Exit(asyncio.run(_local(workdir, port, _worker_image(containers=containers, image=image))))


def demo(
    workdir: Workdir = Path(".dagy/demo"),
    containers: Containers = False,
    image: Image = None,
    as_json: JsonOption = False,
) -> None:
    """Watch the whole system do its job on real processes: launches, repairs, an orphan, a drain, a crash. Exit 0 if all held."""
    _require_local()
    from dagy_control.entrypoints.demo import run_demo  # noqa: PLC0415 - needs the extra `local`

    with errors_as_sentences():
        configure_logging(level="CRITICAL", json=False)
        worker_image = _worker_image(containers=containers, image=image)
        played = run_demo(workdir, worker_image=worker_image, as_json=as_json)
        raise typer.Exit(asyncio.run(_ended_by_signals(played)))


async def _ended_by_signals(work: Coroutine[Any, Any, int]) -> int:
    """The work's exit code. SIGTERM and a closed terminal end it as Ctrl-C does: it clears up, and leaves no process."""
    ended_by: list[signal.Signals] = []
    task = as_task(work, name="demo")

    def end(number: signal.Signals) -> None:
        if not ended_by:  # a second one must not break into the clearing up
            task.cancel()
        ended_by.append(number)

    for number in _end_signals():
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not ended_by:
            raise
        return 128 + ended_by[0]


def _end_signals() -> list[signal.Signals]:
    """Besides Ctrl-C; not those that our parent told us to ignore, as `nohup` does."""
    return [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]


async def _local(workdir: Path, port: int, worker_image: str | None) -> int:
    from dagy_control.entrypoints.demo_flows import register_demo_flows  # noqa: PLC0415 - needs the extra `local`
    from dagy_control.entrypoints.local_stack import LocalStack, tail  # noqa: PLC0415 - needs the extra `local`

    stop = Drain()
    for number in (signal.SIGINT, *_end_signals()):
        asyncio.get_running_loop().add_signal_handler(number, stop.begin)
    out = console()
    out.print("starting the embedded cloud …")
    async with LocalStack(workdir, port=port, worker_image=worker_image) as stack:
        await register_demo_flows(stack.settings(), ORGS)
        daemon = await stack.start_daemon()
        env_file = stack.workdir / "env"
        path = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH\n"
        env_file.write_text(
            path + "".join(f"export {name}={shlex.quote(value)}\n" for name, value in stack.environment.items())
        )
        out.print(f"daemon   {daemon.url}  (/metrics /healthz /readyz)")
        out.print(f"ECS      {stack.cloud.ecs_url}  (/_local/tasks, /_local/faults)")
        out.print(f"AWS      {stack.cloud.aws_url}  (DynamoDB, SQS, SNS, S3, SSM, Secrets Manager)")
        if worker_image is not None:
            out.print(f"workers  containers of {worker_image}")
        out.print(f"config   {stack.config}")
        out.print(f"logs     {stack.workdir / 'logs'}")
        out.print("\nin another terminal:")
        out.print(f"  source {env_file}")
        out.print("  dagy-control runs launch daily_sales --org acme --param day=2026-11-21")
        out.print("  dagy-control runs list --org acme")
        out.print("\nCtrl-C stops everything.")
        code = await stop.interrupt(daemon.process.wait())
        if code is not None:
            out.print(f"the daemon ended by itself with code {code}:\n{tail(daemon.log)}")
            return 1
        out.print("\nstopping: the daemon drains, then everything else ends …")
    out.print("stopped")
    return 0


def _worker_image(*, containers: bool, image: str | None) -> str | None:
    """The image of the workers; None: they are processes. An image that nobody would use is refused."""
    from dagy_control.local.podman import WORKER_IMAGE  # noqa: PLC0415 - needs the extra `local`

    if image is not None and not containers:
        raise Permanent("--image is of no use without --containers: workers are processes of this installation")
    return (image or WORKER_IMAGE) if containers else None


def _require_local() -> None:
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("psutil") is None:
        with errors_as_sentences():
            raise Permanent("the embedded cloud needs more packages: pip install 'dagy-control[local]'")
