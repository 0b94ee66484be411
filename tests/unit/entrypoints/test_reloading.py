"""An edited configuration file: taken whole or refused whole, said once, and never half."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from dagy_control.config import ConfigText, References, Settings, Unresolved, load_with_sources, read_bytes
from dagy_control.config.references import Resolved
from dagy_control.entrypoints.config_sources import POLL_S, SETTLE_LOOKS_MAX, SETTLE_S, FileSource, Source
from dagy_control.entrypoints.reloading import ConfigMetrics, Reloader
from dagy_control.errors import Permanent
from dagy_control.kernel.clock import Clock, SystemClock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.tasks import background
from tests.fakes.clock import VirtualClock

GOOD = "[launching]\ninterval_s = 1\n"


class Process:
    """What follows the configuration here: it remembers the settings that were put into effect."""

    def __init__(self) -> None:
        self.taken: list[Settings] = []
        self.refusal: Exception | None = None

    def accept(self, settings: Settings) -> Callable[[], None]:
        if self.refusal is not None:
            raise self.refusal
        return lambda: self.taken.append(settings)


class Bench:
    """A file, a process that follows it, and a clock."""

    def __init__(
        self, folder: Path, source: Callable[[FileSource], Source] = lambda file: file, clock: Clock | None = None
    ) -> None:
        self.path = folder / "dagy.toml"
        self.write(GOOD)
        self.values: dict[str, str | Unresolved] = {}
        self.asked_afresh: list[bool] = []
        self.clock = VirtualClock()
        self.process = Process()
        self.registry = CollectorRegistry()
        metrics = ConfigMetrics(self.registry)
        read = read_bytes(self.path)
        loaded = load_with_sources(read, {})
        metrics.taken(loaded.settings, self.clock.now())
        file = FileSource(self.path, self.clock)
        self.reloader = Reloader(
            source(file), self.resolve, {}, (loaded, read), self.process.accept, metrics, clock or self.clock
        )

    async def resolve(self, references: References, *, afresh: bool) -> Resolved:
        self.asked_afresh.append(afresh)
        missing = Unresolved("there is no such parameter")
        return {each.text: self.values.get(each.text, missing) for each in references.each}

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")

    async def look(self) -> None:
        await self.clock.run(self.reloader.look())

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    @property
    def counts(self) -> tuple[float | None, ...]:
        results = ("taken", "unchanged", "refused")
        return tuple(self.value("dagy_config_reloads_total", result=result) for result in results)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_an_edit_is_taken_and_told_with_what_it_changes(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    before = bench.value("dagy_config_hash")
    bench.write("[launching]\ninterval_s = 2.5\n")
    await bench.look()
    assert [settings.launching.interval_s for settings in bench.process.taken] == [2.5]
    assert bench.counts == (1, 0, 0)
    assert bench.value("dagy_config_hash") != before
    assert bench.value("dagy_config_last_reload_success_timestamp_seconds") == bench.clock.now().timestamp()
    assert "launching.interval_s: 1.0 -> 2.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[launching\n", "not valid TOML"),
        ("[launching]\ninterval_s = 'fast'\n", "must be a valid number"),
        ("[launching]\ninterval_s = -1\n", "must be greater than 0"),
        ("[launching]\nintervall_s = 1\n", "did you mean launching.interval_s?"),
        ("[aws]\nread_timeout_s = 50\n", "must be above aws.read_timeout_s"),
        ("[leases]\nlease_s = 60\n", "restart the service"),
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("\x00", "not valid TOML"),
        ("\ufeff\n", "is empty"),
        ("[launching]\ninterval_s = " + "9" * 5000, "too long to be read"),
        ("x = " + "[" * 5000, "nested too deeply"),
        (".".join(["a"] * 3000) + " = 1", "deep"),
    ],
    ids=[
        "syntax",
        "type",
        "range",
        "unknown key",
        "a rule between settings",
        "needs a restart",
        "empty",
        "blank",
        "NUL",
        "a byte order mark alone",
        "a number that Python does not read",
        "brackets without end",
        "a key without end",
    ],
)
async def test_a_bad_edit_leaves_the_old_configuration_running(
    bench: Bench, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.write(text)
    await bench.look()
    assert bench.process.taken == []
    assert bench.reloader.settings.launching.interval_s == 1.0
    assert bench.value("dagy_config_last_reload_successful") == 0
    assert said in bench.reloader.state()
    assert said in capsys.readouterr().out


async def test_an_edit_that_the_process_could_not_work_under_is_refused(bench: Bench) -> None:
    bench.process.refusal = Permanent("launching needs settings that are not set")
    bench.write("[launching]\ninterval_s = 2\n")
    await bench.look()
    assert bench.reloader.settings.launching.interval_s == 1.0
    assert "launching needs settings" in bench.reloader.state()


async def test_what_nobody_thought_of_is_refused_by_its_place_and_never_ends_the_daemon(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.process.refusal = ZeroDivisionError("the canary that was divided")
    bench.write("[launching]\ninterval_s = 2\n")
    for _ in range(2):
        await bench.look()
    assert bench.counts == (0, 0, 1)
    assert "by a bug: ZeroDivisionError, test_reloading.py:" in bench.reloader.state()
    assert "canary" not in bench.reloader.state() + capsys.readouterr().out
    bench.process.refusal = None
    bench.reloader.request()
    await bench.look()
    assert bench.counts == (1, 0, 1)


async def test_a_bad_edit_is_said_once_and_a_mended_one_clears_it(bench: Bench) -> None:
    bench.write("[launching\n")
    for _ in range(3):
        await bench.look()
    assert bench.counts == (0, 0, 1)
    bench.write(GOOD)
    await bench.look()
    assert bench.counts == (0, 1, 1)
    assert bench.value("dagy_config_last_reload_successful") == 1
    assert bench.reloader.state() == str(bench.path)


async def test_one_setting_that_needs_a_restart_refuses_the_whole_edit(bench: Bench) -> None:
    bench.write("[launching]\ninterval_s = 2\n[api]\nport = 1\n[leases]\nlease_s = 60\n")
    await bench.look()
    assert bench.process.taken == []
    assert "leases.lease_s" in bench.reloader.state()


async def test_a_removed_file_is_refused_until_it_is_back(bench: Bench) -> None:
    bench.path.unlink()
    await bench.look()
    assert "does not exist" in bench.reloader.state()
    bench.write("[launching]\ninterval_s = 3\n")
    await bench.look()
    assert bench.reloader.settings.launching.interval_s == 3.0


async def test_a_file_that_is_still_being_written_is_waited_for(bench: Bench) -> None:
    """The half that stands there for a while is valid TOML, and would switch launching on."""
    bench.write("[launching]\n")
    looking = asyncio.ensure_future(bench.reloader.look())  # noqa: TID251 - a test's own task, awaited below
    await bench.clock.advance(0.9 * SETTLE_S)
    bench.write("[launching]\nenabled = false\n")
    await bench.clock.advance(3 * SETTLE_S)
    await looking
    assert [settings.launching.enabled for settings in bench.process.taken] == [False]


async def test_a_file_that_never_stands_still_is_never_taken(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    looking = asyncio.ensure_future(bench.reloader.look())  # noqa: TID251 - a test's own task, awaited below
    for number in range(2 * SETTLE_LOOKS_MAX):
        bench.write(f"[launching]\ninterval_s = {number + 1}\n")
        await bench.clock.advance(SETTLE_S / 2)
    await bench.clock.advance(SETTLE_S)
    await looking
    assert (bench.process.taken, bench.counts) == ([], (0, 0, 0))
    assert "is being written" in capsys.readouterr().out
    await bench.look()
    assert len(bench.process.taken) == 1


async def test_a_request_tells_of_an_unchanged_file_too(bench: Bench) -> None:
    await bench.look()
    assert bench.counts == (0, 0, 0)
    bench.reloader.request()
    await bench.look()
    assert bench.counts == (0, 1, 0)


async def test_sighup_looks_up_every_reference_again(bench: Bench) -> None:
    await bench.look()
    bench.reloader.request()
    await bench.look()
    await bench.look()
    assert bench.asked_afresh == [False, True, False]


async def test_the_hash_does_not_depend_on_the_order_in_which_a_table_is_written(bench: Bench) -> None:
    hashes = set()
    for text in ("FARGATE = 30\nFARGATE_SPOT = 70\n", "FARGATE_SPOT = 70\nFARGATE = 30\n"):
        bench.write(f"{GOOD}[ecs.capacity_providers]\n{text}")
        await bench.look()
        hashes.add(bench.value("dagy_config_hash"))
    assert len(hashes) == 1


async def test_an_edit_is_taken_on_a_hint_long_before_the_poll(tmp_path: Path) -> None:
    """On a real file system and clock; edited again and again, because nobody knows when the watch has begun."""
    clock = SystemClock()
    bench = Bench(tmp_path, lambda file: replace(file, clock=clock, poll_s=3600), clock=clock)
    drain = Drain()
    async with background(bench.reloader.run(drain), name="reloader"):
        for number in range(20):
            bench.write(f"{GOOD}# {number}\n")
            bench.write("[launching]\ninterval_s = 6\n")
            await clock.sleep(0.2 + SETTLE_S * (number > 3))
            if bench.process.taken:
                break
        drain.begin()
    assert [settings.launching.interval_s for settings in bench.process.taken] == [6.0]


class Silent:
    """A source whose file system gives no hints."""

    def __init__(self, source: FileSource) -> None:
        self._source = source

        self.poll_s = source.poll_s

    @property
    def name(self) -> str:
        return self._source.name

    async def read(self) -> ConfigText:
        return await self._source.read()

    async def hints(self) -> AsyncIterator[None]:
        raise OSError("too many watches")
        yield


async def test_without_hints_an_edit_is_found_by_polling(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Silent)
    drain = Drain()
    running = asyncio.ensure_future(bench.reloader.run(drain))  # noqa: TID251 - a test's own task, awaited below
    await bench.clock.advance(1)
    bench.write("[launching]\ninterval_s = 5\n")
    await bench.clock.advance(POLL_S + 2 * SETTLE_S)
    assert bench.reloader.settings.launching.interval_s == 5.0
    drain.begin()
    await bench.clock.advance(1)
    await running


async def test_a_reference_is_resolved_and_its_value_never_shown(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.values["ssm:/dagy/limit"] = "77"
    bench.write('[launching]\nmax_concurrent_tasks = "ssm:/dagy/limit"\n')
    await bench.look()
    assert bench.reloader.settings.launching.max_concurrent_tasks == 77
    said = capsys.readouterr().out
    assert "launching.max_concurrent_tasks: (by reference) -> (by reference)" in said
    assert "77" not in said.replace("timestamp", "")


async def test_a_rotated_token_is_taken_without_an_edit_and_holds_up_no_other(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    token = '[api]\ntoken = "secret:dagy#token"\n'
    bench.values["secret:dagy#token"] = "canary-of-sixteen"
    bench.write(token)
    await bench.look()
    bench.values["secret:dagy#token"] = "canary-after-rotation"
    await bench.look()
    bench.write(token + "[launching]\nenabled = false\n")
    await bench.look()
    assert [(each.api.token, each.launching.enabled) for each in bench.process.taken] == [
        ("canary-of-sixteen", True),
        ("canary-after-rotation", True),
        ("canary-after-rotation", False),
    ]
    assert "canary" not in capsys.readouterr().out


async def test_while_a_reference_cannot_be_asked_for_nothing_is_refused_and_nothing_taken(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.values["ssm:/limit"] = Unresolved("no answer", passing=True)
    bench.write('[launching]\ninterval_s = 9\nmax_concurrent_tasks = "ssm:/limit"\n')
    bench.reloader.request()
    await bench.look()
    assert (bench.process.taken, bench.counts) == ([], (0, 0, 0))
    assert bench.value("dagy_config_last_reload_successful") == 1
    assert "ssm:/limit cannot be resolved now" in capsys.readouterr().out
    bench.values["ssm:/limit"] = "77"
    await bench.look()
    assert bench.counts == (1, 0, 0)
    assert bench.asked_afresh == [True, True], "what SIGHUP asked for was still owed"


async def test_a_value_that_changes_behind_its_reference_is_taken_without_an_edit(bench: Bench) -> None:
    bench.values["secret:limits#tasks"] = "77"
    bench.write('[launching]\nmax_concurrent_tasks = "secret:limits#tasks"\n')
    await bench.look()
    bench.values["secret:limits#tasks"] = "78"
    await bench.look()
    assert [settings.launching.max_concurrent_tasks for settings in bench.process.taken] == [77, 78]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "ssm:/dagy/nothing",
            "launching.max_concurrent_tasks = ssm:/dagy/nothing cannot be resolved: there is no such",
        ),
        ("ssm:", "is no reference that can be read"),
        ("ssm:/dagy#key", "names a key, which only secrets have"),
        ("secret:canary", "launching.max_concurrent_tasks = secret:canary must be a valid integer"),
    ],
    ids=["dangling", "empty", "a key of a parameter", "a value of the wrong kind"],
)
async def test_a_bad_reference_names_itself_and_the_place_and_changes_nothing(
    bench: Bench, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.values["secret:canary"] = "tweet-tweet"
    bench.write(f'[launching]\nmax_concurrent_tasks = "{value}"\n')
    await bench.look()
    assert bench.process.taken == []
    assert said in bench.reloader.state()
    assert f"{bench.path}:2" in bench.reloader.state()
    assert "tweet" not in capsys.readouterr().out
