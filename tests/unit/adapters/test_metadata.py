"""The task metadata endpoint, over loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from dagy_control.adapters.metadata import TRIES, OwnTask, own_task
from tests.fakes.clock import HurriedClock


@asynccontextmanager
async def endpoint(answers: list[web.Response]) -> AsyncIterator[str]:
    """An endpoint that gives these answers in turn, the last one for ever."""

    async def task(_: web.Request) -> web.Response:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)

    app = web.Application()
    app.router.add_get("/v4/abc/task", task)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/v4/abc"
    finally:
        await runner.cleanup()


GOOD = web.json_response({"TaskARN": "arn:aws:ecs:us-east-1:1:task/main/1"})


async def test_the_arn_comes_from_the_endpoint() -> None:
    async with endpoint([GOOD]) as uri:
        assert await own_task(uri, HurriedClock()) == OwnTask("arn:aws:ecs:us-east-1:1:task/main/1")


@pytest.mark.parametrize(
    "first",
    [web.Response(status=500), web.Response(text="no JSON"), web.json_response({}), web.json_response([])],
    ids=["500", "text", "no ARN", "a list"],
)
async def test_a_bad_first_answer_is_asked_again(first: web.Response) -> None:
    clock = HurriedClock()
    async with endpoint([first, GOOD]) as uri:
        assert await own_task(uri, clock) == OwnTask("arn:aws:ecs:us-east-1:1:task/main/1")
    assert len(clock.slept_s) == 1


async def test_an_endpoint_that_never_tells_gives_none_after_a_bounded_number_of_tries() -> None:
    clock = HurriedClock()
    async with endpoint([web.Response(status=404)]) as uri:
        assert await own_task(uri, clock) is None
    assert len(clock.slept_s) == TRIES - 1


async def test_an_endpoint_that_is_not_there_gives_none() -> None:
    async with endpoint([GOOD]) as uri:
        pass
    assert await own_task(uri, HurriedClock()) is None


@pytest.mark.parametrize(
    ("started", "stopped", "seconds"),
    [
        ("2020-10-08T20:09:31.44527186Z", "2020-10-08T20:09:43.945271Z", 12.5),
        (None, "2020-10-08T20:09:43Z", None),
        ("2020-10-08T20:09:31", "2020-10-08T20:09:43", None),
        ("soon", 7, None),
    ],
    ids=["nanoseconds", "no start", "no offset", "no times"],
)
async def test_the_seconds_of_the_pull_come_from_the_endpoint_if_it_tells_them(
    started: str | None, stopped: object, seconds: float | None
) -> None:
    answer = {"TaskARN": "arn:aws:ecs:us-east-1:1:task/main/1", "PullStartedAt": started, "PullStoppedAt": stopped}
    async with endpoint([web.json_response(answer)]) as uri:
        task = await own_task(uri, HurriedClock())
    assert task is not None
    assert task.pull_s == (None if seconds is None else pytest.approx(seconds, abs=1e-5))
