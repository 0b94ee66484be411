"""Scans over HTTP, past the door: input, leave to stop, one at a time, failures."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from dagy_control.api.scans import ScanAnswer
from dagy_control.entrypoints.orphan_scans import HttpScans, environment_of
from dagy_control.errors import Permanent, Transient
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.tasks import background
from dagy_control.model.tasks import SeenTask
from dagy_control.ports.tasks import Described
from tests.builders import ago, running, task_of, tick_at
from tests.fakes.tasks import FakeTasks
from tests.unit.orphans.world import World, over


class Http:
    """Requests to a scanner; the token has been looked at already."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.drain = Drain()
        self.scans = HttpScans(world.loop, world.clock, self.drain, token=lambda: None)

    async def post(self, body: Any, *, authorized: bool = False) -> ScanAnswer:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.world.clock.run(self.scans.scan(text, authorized))


def found(*, dry_run: bool = True) -> World:
    return World(over(), tasks=[task_of(over())], dry_run=dry_run)


async def test_a_dry_run_needs_no_leave_and_rings_nobody() -> None:
    world = found()
    answer = await Http(world).post({"dry_run": True})
    assert (answer.status, answer.document["data"]["summary"]["orphans_found"]) == (200, 1)
    assert (world.stopped, world.alerts.sent) == ([], [])


@pytest.mark.parametrize(
    ("body", "configured"),
    [pytest.param({"dry_run": False}, True, id="asked for"), pytest.param({}, False, id="as configured")],
)
async def test_stopping_without_leave_is_forbidden_and_says_how_to_get_it(
    body: dict[str, Any], configured: bool
) -> None:
    world = found(dry_run=configured)
    answer = await Http(world).post(body)
    assert answer.status == 403
    assert answer.document["success"] is False
    assert "DAGY_API__TOKEN" in answer.document["error"]
    assert (world.stopped, world.tasks.calls) == ([], [])


async def test_with_leave_orphans_are_stopped_and_told() -> None:
    world = found()
    answer = await Http(world).post({"dry_run": False}, authorized=True)
    assert answer.document["data"]["summary"]["tasks_stopped"] == 1
    assert (len(world.stopped), len(world.alerts.sent)) == (1, 1)


async def test_the_loops_own_settings_stay_as_they_are() -> None:
    world = found()
    before = world.loop.policy
    await Http(world).post({"dry_run": False, "max_runtime_hours": 0.5}, authorized=True)
    assert world.loop.policy == before


async def test_another_runtime_can_be_asked_for() -> None:
    world = World(running(), tasks=[task_of(running(), started_at=ago(3 * 3600))], dry_run=True)
    assert (await Http(world).post(b"")).document["data"]["orphans"] == []
    (orphan,) = (await Http(world).post({"max_runtime_hours": "2"})).document["data"]["orphans"]
    assert orphan["reason"] == "Exceeded max runtime (3.0h > 2h)"


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 3000, [], {"dryrun": True}, {"max_runtime_hours": 0}])
async def test_bad_input_is_told_in_the_documented_form(body: Any) -> None:
    answer = await Http(found()).post(body)
    assert answer.status == 400
    assert list(answer.document) == ["success", "error", "environment"]
    assert (answer.document["success"], answer.document["environment"]) == (False, "dev")


@pytest.mark.parametrize(("error", "status"), [(Transient("no"), 503), (Permanent("AccessDenied"), 502)])
async def test_a_scan_that_fails_is_told_in_the_documented_form(error: Exception, status: int) -> None:
    world = found()
    world.tasks.next_error("list_running", error)
    answer = await Http(world).post({})
    assert (answer.status, answer.document["success"], answer.document["error"]) == (status, False, str(error))


async def test_what_the_loop_has_found_by_itself_can_be_seen_until_a_tick_fails() -> None:
    world = found()
    http = Http(world)
    assert http.scans.last().status == 404
    await world.clock.run(world.loop.tick(tick_at(world.clock)))
    seen = http.scans.last()
    assert (seen.status, seen.document["data"]["summary"]["orphans_found"]) == (200, 1)
    await http.post({"max_runtime_hours": 1})
    assert http.scans.last() == seen
    world.tasks.next_error("list_running", Transient("no"))
    with pytest.raises(Transient):
        await world.clock.run(world.loop.tick(tick_at(world.clock)))
    assert (http.scans.last().status, http.scans.last().document["success"]) == (404, False)


class Slow(FakeTasks):
    """Takes its time to describe tasks."""

    def __init__(self, world: World, *tasks: SeenTask) -> None:
        super().__init__(*tasks)
        self.world = world

    async def describe(self, cluster: str, arns: Sequence[str], **options: Any) -> Described:
        await self.world.clock.sleep(50)
        return await super().describe(cluster, arns, **options)


def slow() -> Http:
    world = found()
    world.tasks = Slow(world, task_of(over()))
    world.restarted()
    return Http(world)


async def test_one_scan_at_a_time() -> None:
    http = slow()

    async def scan() -> None:
        await http.scans.scan(b"{}", False)

    async with background(scan(), name="the first"):
        await http.world.clock.settle()
        answer = await http.scans.scan(b"{}", False)
    assert answer.status == 409
    assert "under way" in answer.document["error"]


async def test_a_scan_that_does_not_see_all_in_its_time_is_no_success() -> None:
    answer = await slow().post({})
    assert (answer.status, answer.document["success"]) == (503, False)


async def test_a_drain_does_not_wait_for_a_scan() -> None:
    http = slow()
    http.drain.begin()
    answer = await http.post({})
    assert (answer.status, http.world.clock.now()) == (503, ago(0))


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "dev"),
        ({"ENVIRONMENT": "prod"}, "prod"),
        ({"ENVIRONMENT": "prod", "DAGY_ENVIRONMENT": "staging"}, "staging"),
        ({"ENVIRONMENT": ""}, "dev"),
    ],
)
def test_the_environment_is_told_even_before_there_are_settings(environ: dict[str, str], name: str) -> None:
    assert environment_of(environ) == name
