"""Each configuration is synthesized once for all tests: that takes a quarter of a minute of CPU."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from rich.console import Console

from dagy_control.entrypoints.demo import ORGS, Demo
from dagy_control.entrypoints.demo_flows import register_demo_flows
from dagy_control.entrypoints.demo_view import DemoView, Row
from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.wiring import open_ports
from tests.deploy.configurations import CANARIES, DEPLOYED, EXISTING, SECRET
from tests.deploy.deployed_stack import DeployedStack
from tests.deploy.performance import Performance, play_the_rest
from tests.deploy.synthesis import Template, read_template, synthesize


@pytest.fixture(scope="session")
def example_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The templates of `deploy/installation.example.toml`."""
    return synthesize(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="session")
def deployed_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an installation with what the example leaves out, synthesized by somebody whose environment holds secrets."""
    return synthesize(tmp_path_factory.mktemp("deployed"), DEPLOYED, CANARIES)


@pytest.fixture(scope="session")
def existing_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one in a VPC that is there already, with a key of the customer's."""
    return synthesize(tmp_path_factory.mktemp("existing"), EXISTING)


@pytest.fixture(scope="session")
def example(example_out: Path) -> Template:
    return read_template(example_out / "dagy.template.json")


@pytest.fixture(scope="session")
def deployed(deployed_out: Path) -> Template:
    return read_template(deployed_out / "dagy.template.json")


@pytest.fixture(scope="session")
def existing(existing_out: Path) -> Template:
    return read_template(existing_out / "trading-desk.template.json")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def performance(deployed_out: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Performance]:
    """The demo on what the template made, with every call to AWS on record."""
    before = dict(os.environ)
    rows: list[Row] = []
    try:
        stack = DeployedStack(tmp_path_factory.mktemp("cloud"), deployed_out / "dagy.template.json", secret=SECRET)
        async with stack, aiohttp.ClientSession() as session:
            await register_demo_flows(stack.settings(), ORGS)
            async with open_ports(stack.settings()) as ports:
                world = DemoWorld(stack, ports, session)
                with DemoView(Console(), quiet=True) as view:
                    await Demo(world, view, ports.clock, rows).play()
                await play_the_rest(world, stack, tmp_path_factory.mktemp("package"))
            yield Performance(stack=stack, rows=rows, calls=list(stack.calls))
    finally:
        os.environ.clear()
        os.environ.update(before)
