"""What every command shares: the configuration option, settings or a clear refusal, and errors as sentences."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from dagy_control.config import ConfigError, Settings, config_location
from dagy_control.entrypoints.configuration import read_configuration
from dagy_control.entrypoints.wiring import COMMAND_SHARE, Ports, open_ports
from dagy_control.errors import DagyError, Transient
from dagy_control.kernel.telemetry import configure_logging
from dagy_control.requests.queue_bound import QueueFull

T = TypeVar("T")

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The TOML file (or ssm:/path, s3://bucket/key); default: the one that DAGY_CONFIG names.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

EXIT_REFUSED = 1
EXIT_UNAVAILABLE = 3
"""Nothing is wrong with the request: the same command may work later."""


def console() -> Console:
    """Where people read. It takes no text for markup: much of what it shows is a user's, or another system's."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 140)


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """End the command with a sentence on standard error instead of a traceback: exit 1 for a refusal, 3 for "try later"."""
    try:
        yield
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        raise typer.Exit(EXIT_REFUSED) from None
    except Transient as error:
        print(f"error: {error}; nothing is wrong with the request, try again", file=sys.stderr)
        raise typer.Exit(exit_code_of(error)) from None
    except DagyError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(exit_code_of(error)) from None


def read_settings(config: str | None) -> Settings:
    """The settings of the file, or of the one that DAGY_CONFIG names, under the environment."""
    return read_configuration(config or config_location(os.environ), os.environ)[0].settings


def with_ports(config: str | None, work: Callable[[Ports], Awaitable[T]]) -> T:
    """Run a command's work with everything outside at hand; its errors become sentences."""
    with errors_as_sentences():
        return run_with_ports(read_settings(config), work)


def run_with_ports(settings: Settings, work: Callable[[Ports], Awaitable[T]]) -> T:
    """The same for a command that tells of its errors itself; quiet logs, a small share of the account's API budget."""

    async def run() -> T:
        async with open_ports(settings, share=COMMAND_SHARE) as ports:
            return await work(ports)

    quiet_logs()
    return asyncio.run(run())


def quiet_logs() -> None:
    """Errors only, for a person, on standard error: standard output is for the command's answer."""
    with redirect_stdout(sys.stderr):  # where the handler then writes
        configure_logging(level="ERROR", json=False)


def exit_code_of(error: DagyError) -> int:
    """Whether the same command may work later."""
    return EXIT_UNAVAILABLE if isinstance(error, Transient | QueueFull) else EXIT_REFUSED
