"""Scans over HTTP: who is let in, and what they get."""

import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from dagy_control.api.scans import BODY_MAX_BYTES, ScanAnswer, ScanDoor
from tests.unit.api.bench import Bench

TOKEN = "a-token-of-sixteen-or-more"


class Scans:
    """The callables that the room is handed; `asked` records what it was given. `token`: the one in effect."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bool]] = []
        self.token: str | None = None

    async def scan(self, body: bytes, authorized: bool) -> ScanAnswer:
        self.asked.append((body, authorized))
        return ScanAnswer(200, {"success": True})

    def last(self) -> ScanAnswer:
        return ScanAnswer(200, {"success": True, "data": "the last"})

    def door(self, token: str | None) -> ScanDoor:
        self.token = token
        return ScanDoor(
            scan=self.scan,
            last=self.last,
            refuse=lambda why: {"success": False, "error": why},
            token=lambda: self.token,
        )


async def post(bench: Bench, body: bytes = b"{}", *, method: str = "POST", **headers: str) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{bench.server.port}/orphans/scan"
    async with aiohttp.ClientSession() as session, session.request(method, url, data=body, headers=headers) as response:
        return response.status, json.loads(await response.text())


async def test_without_a_token_anybody_may_ask_and_is_told_to_the_scan_as_nobody_in_particular() -> None:
    scans = Scans()
    bench = Bench(scans=scans.door(None))
    async with bench.serving():
        assert await post(bench, b'{"dry_run": true}', authorization="Bearer whatever") == (200, {"success": True})
    assert scans.asked == [(b'{"dry_run": true}', False)]


@pytest.mark.parametrize(
    "authorization", ["", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", "Bearer ü"]
)
async def test_where_a_token_is_set_nothing_goes_without_it(authorization: str) -> None:
    scans = Scans()
    bench = Bench(scans=scans.door(TOKEN))
    async with bench.serving():
        status, document = await post(bench, authorization=authorization)
    assert status == 401
    assert document["success"] is False
    assert "api.token" in document["error"]
    assert scans.asked == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_whoever_shows_the_token_is_let_in(scheme: str) -> None:
    scans = Scans()
    bench = Bench(scans=scans.door(TOKEN))
    async with bench.serving():
        status, _ = await post(bench, b"", authorization=f"{scheme} {TOKEN}")
    assert (status, scans.asked) == (200, [(b"", True)])


async def test_a_rotated_token_counts_from_the_next_request_on() -> None:
    scans = Scans()
    bench = Bench(scans=scans.door(TOKEN))
    new = f"{TOKEN}-rotated"
    async with bench.serving():
        scans.token = new
        assert (await post(bench, authorization=f"Bearer {TOKEN}"))[0] == 401
        assert (await post(bench, authorization=f"Bearer {new}"))[0] == 200
        scans.token = None
        assert (await post(bench, authorization=f"Bearer {new}"))[0] == 200
    assert [authorized for _, authorized in scans.asked] == [True, False]


async def test_a_token_that_is_set_while_a_request_is_read_gives_that_request_no_leave() -> None:
    """Whoever was let in without one has not shown it."""
    scans = Scans()
    door = scans.door(None)
    tokens = iter([None, TOKEN, TOKEN])
    bench = Bench(scans=replace(door, token=lambda: next(tokens)))
    async with bench.serving():
        assert (await post(bench, b"{}"))[0] == 200
    assert scans.asked == [(b"{}", False)]


async def test_a_body_beyond_all_reason_is_refused_before_it_is_read_whole() -> None:
    scans = Scans()
    bench = Bench(scans=scans.door(None))
    async with bench.serving():
        status, document = await post(bench, b"x" * (BODY_MAX_BYTES + 1))
    assert (status, document["success"], scans.asked) == (413, False, [])


async def test_the_index_names_the_route_only_where_there_is_one() -> None:
    with_scans, without = Bench(scans=Scans().door(None)), Bench()
    async with with_scans.serving(), without.serving():
        assert "/orphans/scan" in (await with_scans.ask("/")).json["paths"]
        assert "/orphans/scan" not in (await without.ask("/")).json["paths"]
        assert (await without.ask("/orphans/scan", method="POST")).status == 404


async def test_the_last_scan_is_shown_to_whom_a_scan_would_be_made_for() -> None:
    opened, guarded = Bench(scans=Scans().door(None)), Bench(scans=Scans().door(TOKEN))
    async with opened.serving(), guarded.serving():
        assert await post(opened, b"", method="GET") == (200, {"success": True, "data": "the last"})
        assert (await post(guarded, b"", method="GET"))[0] == 401
        assert (await post(guarded, b"", method="GET", authorization=f"Bearer {TOKEN}"))[0] == 200
