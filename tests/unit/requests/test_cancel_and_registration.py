"""Cancelling a run, and registering a flow: both may be repeated without harm."""

import hashlib
from dataclasses import replace

import pytest

from dagy_control.errors import Transient
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.flows import FlowRecord, FlowSpec, FlowStatus, TaskSpec
from dagy_control.model.lifecycle import commit_result
from dagy_control.model.runs import Run, RunChange, RunStatus, applied
from dagy_control.requests.cancel import cancel
from dagy_control.requests.refusals import RequestRefused
from dagy_control.requests.registration import register_flow
from tests.builders import ARN, NOW, a_run, ago, launching, result, running, writer_of
from tests.fakes.clock import VirtualClock
from tests.fakes.flows import FakeArtifacts, FakeFlows
from tests.fakes.runs import FakeRuns

DOWN = Transient("the table is down")
SPEC = FlowSpec(name="etl", version="1", import_path="etl:etl", tasks=(TaskSpec("load", "load", "etl:load"),))


class Cancelling:
    """One run, and whoever cancels it."""

    def __init__(self, *runs: Run) -> None:
        self.clock = VirtualClock()
        self.runs = FakeRuns(*runs)
        self.writer = writer_of(self.runs, self.clock)

    async def cancel(self) -> Run:
        return await self.clock.run(cancel(self.runs, self.writer, self.clock, "r1"), limit_s=60)


async def test_a_queued_run_ends_at_once() -> None:
    world = Cancelling(a_run())
    run = await world.cancel()
    assert run == world.runs.records["r1"]
    assert (run.status, run.cancel_requested_at, run.completed_at) == (RunStatus.CANCELLED, NOW, NOW)
    assert run.active_since is None
    assert run.transitions[-1].by == "request"


@pytest.mark.parametrize("run", [launching(), running()], ids=["launching", "running"])
async def test_a_run_with_a_task_keeps_its_status_with_the_cancel_on_record(run: Run) -> None:
    world = Cancelling(run)
    after = await world.cancel()
    assert (after.status, after.cancel_requested_at) == (run.status, NOW)
    assert after == world.runs.records["r1"]


@pytest.mark.parametrize("run", [a_run(), launching(), running()], ids=["queued", "launching", "running"])
async def test_a_repeated_cancel_is_harmless_and_writes_once(run: Run) -> None:
    world = Cancelling(run)
    first = await world.cancel()
    await world.clock.advance(60)
    assert await world.cancel() == first
    assert len(world.runs.writes) == 1


@pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED])
async def test_a_run_that_is_over_stays_as_it_is(status: RunStatus) -> None:
    run = a_run(status)
    world = Cancelling(run)
    assert await world.cancel() == run
    assert world.runs.writes == []


async def test_a_run_that_does_not_exist_is_refused_by_its_id() -> None:
    with pytest.raises(RequestRefused, match="there is no run r1") as refused:
        await Cancelling().cancel()
    assert refused.value.field == "run_id"


async def test_a_lost_reply_is_acknowledged_as_the_write_that_it_was() -> None:
    world = Cancelling(running())
    world.runs.next_error("change", DOWN, applied=True)
    assert (await world.cancel()).cancel_requested_at == NOW
    assert len(world.runs.writes) == 1


async def test_a_cancel_that_could_not_be_written_is_not_acknowledged() -> None:
    world = Cancelling(running())
    world.runs.next_error("change", DOWN, times=99)
    with pytest.raises(Transient):
        await world.cancel()
    assert world.runs.records["r1"].cancel_requested_at is None


async def test_a_result_committed_before_the_request_stands() -> None:
    """The worker commits between the request's read and its write."""
    before = running()
    change = commit_result(before, result(), RetryPolicy(), task_arn=ARN, now=ago(0))
    assert isinstance(change, RunChange)
    world = Cancelling(applied(before, change, "op-worker"))
    read = world.runs.get
    world.runs.seed(before)

    async def get_then_lose_the_race(run_id: str) -> Run | None:
        seen = await read(run_id)
        world.runs.seed(applied(before, change, "op-worker"))
        return seen

    world.runs.get = get_then_lose_the_race  # type: ignore[method-assign]  # the race, at the only place where it can be
    after = await world.cancel()
    assert (after.status, after.cancel_requested_at) == (RunStatus.SUCCEEDED, None)


# Registration.


class Registering:
    """The flows table and the artifact store."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.flows = FakeFlows()
        self.artifacts = FakeArtifacts()

    async def register(self, spec: FlowSpec = SPEC, artifact: bytes = b"zip", org_id: str = "acme") -> FlowRecord:
        work = register_flow(
            self.flows, self.artifacts, self.clock, org_id=org_id, spec=spec, artifact=artifact, prefix="artifacts/"
        )
        return await self.clock.run(work, limit_s=60)


async def test_a_registered_flow_can_be_found_with_its_artifact() -> None:
    world = Registering()
    record = await world.register()
    digest = hashlib.sha256(b"zip").hexdigest()
    assert await world.flows.get("acme", "etl") == record
    assert record.artifact_s3_uri == f"s3://dagy-artifacts/artifacts/acme/etl/1/{digest}.zip"
    assert (record.artifact_sha256, record.artifact_size_bytes, record.status) == (digest, 3, FlowStatus.ACTIVE)
    assert world.artifacts.objects == {record.artifact_s3_uri: b"zip"}


async def test_the_same_artifact_again_is_fine_and_keeps_the_time_of_the_first() -> None:
    world = Registering()
    first = await world.register()
    await world.clock.advance(3600)
    again = await world.register()
    assert await world.flows.get("acme", "etl") == first
    assert len(world.artifacts.objects) == 1
    assert again == first, "what is told is what is on record"


async def test_another_artifact_under_the_same_version_is_refused_and_the_first_stays() -> None:
    world = Registering()
    first = await world.register()
    with pytest.raises(RequestRefused, match="give the flow a new version") as refused:
        await world.register(artifact=b"other")
    assert refused.value.field == "flow_version"
    assert await world.flows.get("acme", "etl") == first
    assert world.artifacts.objects[first.artifact_s3_uri] == b"zip", "runs of the first still need it"


async def test_a_new_version_stands_beside_the_old_one() -> None:
    world = Registering()
    await world.register()
    await world.clock.advance(1)
    await world.register(replace(SPEC, version="2"), b"other")
    newest = await world.flows.get("acme", "etl")
    assert newest is not None
    assert newest.flow_version == "2"
    assert [each.flow_version for each in await world.flows.of_org("acme")] == ["1", "2"]


@pytest.mark.parametrize(
    ("spec", "org_id", "field"),
    [
        pytest.param(SPEC, "a/b", "org_id", id="an organisation that leaves its prefix"),
        pytest.param(SPEC, "", "org_id", id="no organisation"),
        pytest.param(replace(SPEC, name="../etl"), "acme", "flow", id="a flow that leaves its prefix"),
        pytest.param(replace(SPEC, version=""), "acme", "flow", id="no version"),
        pytest.param(replace(SPEC, tasks=(TaskSpec("a", "a", "nowhere"),)), "acme", "flow", id="a bad import path"),
    ],
)
async def test_a_bad_registration_is_refused_and_nothing_is_stored(spec: FlowSpec, org_id: str, field: str) -> None:
    world = Registering()
    with pytest.raises(RequestRefused) as refused:
        await world.register(spec, org_id=org_id)
    assert refused.value.field == field
    assert world.artifacts.objects == {}
    assert world.flows.records == {}


async def test_a_lost_upload_leaves_no_record() -> None:
    world = Registering()
    world.artifacts.next_error("upload", DOWN)
    with pytest.raises(Transient):
        await world.register()
    assert world.flows.records == {}
