"""The embedded cloud that several of these files share: one for each file, with the demo's flows registered."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from dagy_control.entrypoints.demo_flows import register_demo_flows
from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import LocalStack
from dagy_control.entrypoints.wiring import open_ports


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DemoWorld]:
    before = dict(os.environ)
    workdir: Path = tmp_path_factory.mktemp("cloud")
    try:
        async with LocalStack(workdir, max_tasks=6) as stack, aiohttp.ClientSession() as session:
            await register_demo_flows(stack.settings(), ["acme", "globex"])
            async with open_ports(stack.settings()) as ports:
                yield DemoWorld(stack, ports, session)
    finally:
        os.environ.clear()
        os.environ.update(before)
