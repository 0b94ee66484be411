"""The embedded cloud whose workers are containers of the worker's image."""

import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from dagy_control.entrypoints.demo_flows import register_demo_flows
from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import LocalStack
from dagy_control.entrypoints.wiring import open_ports
from tests.images.containers import WORKER


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DemoWorld]:
    before = dict(os.environ)
    workdir = tmp_path_factory.mktemp("cloud")
    try:
        async with LocalStack(workdir, max_tasks=4, worker_image=WORKER) as stack, aiohttp.ClientSession() as session:
            await register_demo_flows(stack.settings(), ["acme", "globex"])
            async with open_ports(stack.settings()) as ports:
                yield DemoWorld(stack, ports, session)
    finally:
        os.environ.clear()
        os.environ.update(before)
