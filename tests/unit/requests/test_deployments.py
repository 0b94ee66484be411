"""Deployments: what a launch takes from one, what the order's own word is worth, and what cannot be set."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dagy_control.model.dep_packages import DepPackage
from dagy_control.model.deployments import Deployment
from dagy_control.model.flows import FlowStatus, ParameterSpec
from dagy_control.model.runs import RunStatus
from dagy_control.requests.batch import launch_batch
from dagy_control.requests.deployments import delete_deployment, set_deployment
from dagy_control.requests.orders import LaunchOrder, differences
from dagy_control.requests.refusals import RequestRefused
from dagy_control.requests.retry import retry
from tests.builders import NOW
from tests.requesting import Requesting, a_flow


def a_deployment(**values: Any) -> Deployment:
    defaults: dict[str, Any] = {
        "org_id": "acme",
        "deployment_name": "nightly",
        "flow_name": "etl",
        "flow_version": "1",
        "parameters": {"day": "monday", "table": "sales"},
        "workload_profile": "small",
        "ephemeral_storage_gib": 50,
        "environment": {"STAGE": "production", "ECS_CAPACITY_PROVIDER": "FARGATE"},
        "priority": 5,
        "max_attempts": 3,
        "updated_at": NOW,
    }
    return Deployment(**{**defaults, **values})


class Deployed(Requesting):
    """Two versions of the flow `etl`, the newer one being 2, and a deployment of it."""

    def __init__(self, deployment: Deployment | None = None, *flows: Any) -> None:
        newer = replace(a_flow(version="2"), registered_at=NOW + timedelta(days=1))
        super().__init__(*(flows or (a_flow(), newer)))
        deployment = deployment or a_deployment()
        self.deployments.records[deployment.org_id, deployment.deployment_name] = deployment
        for slug in ("pandas-2", "acme/own", "globex/own"):
            self.packages.records[slug] = DepPackage(slug=slug, package_s3_uri="s3://b/k", sha256="0" * 64, size=1)

    async def launch(self, **order: Any) -> Any:
        return await super().launch(**{"deployment_name": "nightly", **order})

    async def set_refused(self, deployment: Deployment) -> RequestRefused:
        before = dict(self.deployments.records)
        with pytest.raises(RequestRefused) as refused:
            await self.done(set_deployment(self.launcher, self.packages, deployment))
        assert self.deployments.records == before
        return refused.value


async def test_a_launch_takes_what_the_deployment_says() -> None:
    run = await Deployed().launch()
    assert (run.deployment_name, run.flow_name, run.flow_version) == ("nightly", "etl", "1")
    assert json.loads(run.parameters) == {"day": "monday", "table": "sales"}
    assert (run.workload_profile, run.cpu, run.memory, run.ephemeral_storage_gib) == ("small", 256, 512, 50)
    assert run.environment == {"STAGE": "production", "ECS_CAPACITY_PROVIDER": "FARGATE"}
    assert (run.priority, run.max_attempts, run.status) == (5, 3, RunStatus.QUEUED)


async def test_a_deployment_that_says_little_leaves_the_launchs_own_defaults() -> None:
    little = Deployment(org_id="acme", deployment_name="nightly", flow_name="etl", updated_at=NOW)
    run = await Deployed(little).launch()
    assert (run.flow_version, run.cpu, run.memory, run.priority, run.max_attempts) == ("2", 1024, 2048, 0, 1)
    assert (run.parameters, run.environment) == ("{}", {})


@pytest.mark.parametrize(
    ("order", "seen"),
    [
        pytest.param({"flow_version": "2"}, {"flow_version": "2"}, id="version"),
        pytest.param({"parameters": {"day": None}}, {"parameters": '{"day": null, "table": "sales"}'}, id="parameters"),
        pytest.param({"workload_profile": "medium"}, {"cpu": 1024, "memory": 2048}, id="profile"),
        pytest.param({"memory": 1024}, {"cpu": 256, "memory": 1024, "workload_profile": "small"}, id="memory"),
        pytest.param({"cpu": 1024, "memory": 8192}, {"cpu": 1024, "memory": 8192}, id="cpu and memory"),
        pytest.param({"ephemeral_storage_gib": 21}, {"ephemeral_storage_gib": 21}, id="storage"),
        pytest.param(
            {"extra_env_vars": {"STAGE": "test"}},
            {"environment": {"STAGE": "test", "ECS_CAPACITY_PROVIDER": "FARGATE"}},
            id="environment",
        ),
        pytest.param({"priority": 0}, {"priority": 0}, id="priority, none at all"),
        pytest.param({"max_attempts": 1}, {"max_attempts": 1}, id="attempts"),
    ],
)
async def test_the_orders_own_values_win(order: Mapping[str, Any], seen: Mapping[str, Any]) -> None:
    run = await Deployed().launch(**order)
    assert {name: getattr(run, name) for name in seen} == seen


async def test_an_orders_profile_replaces_the_deployments_numbers() -> None:
    numbers = a_deployment(workload_profile=None, cpu=1024, memory=8192)
    assert (await Deployed(numbers).launch()).memory == 8192
    run = await Deployed(numbers).launch(workload_profile="small")
    assert (run.cpu, run.memory) == (256, 512)


@pytest.mark.parametrize(
    ("order", "field", "told"),
    [
        pytest.param({"flow_name": "etl"}, "deployment_name", "a flow or a deployment, not both", id="both"),
        pytest.param({"deployment_name": "nigthly"}, "deployment_name", "did you mean 'nightly'?", id="mistyped"),
        pytest.param({"deployment_name": "zzz"}, "deployment_name", "see `deployments list`", id="unknown"),
        pytest.param({"org_id": "emca"}, "deployment_name", "has no deployment 'nightly'; set", id="another's"),
        pytest.param({"flow_version": "9"}, "flow_version", "registered: 1, 2", id="no such version"),
        pytest.param({"parameters": {"dya": 1}}, "parameters", "did you mean 'day'?", id="unknown parameter"),
        pytest.param({"memory": 16384}, "memory", "nearest valid ones are", id="memory that does not fit the profile"),
    ],
)
async def test_what_cannot_be_launched_is_refused_by_its_field(order: Mapping[str, Any], field: str, told: str) -> None:
    refused = await Deployed().refusal(**{"deployment_name": "nightly", **order})
    assert (refused.field, told in str(refused)) == (field, True), str(refused)


async def test_neither_flow_nor_deployment_is_refused() -> None:
    with pytest.raises(RequestRefused, match="name a flow or a deployment"):
        await Requesting().launch(flow_name=None)


async def test_a_run_keeps_the_packages_that_its_deployment_named_at_its_launch() -> None:
    world = Deployed(a_deployment(dep_package_slugs=("pandas-2", "acme/own")))
    first = await world.launch()
    assert first.dep_package_slugs == ("pandas-2", "acme/own")
    world.deployments.records["acme", "nightly"] = a_deployment(dep_package_slugs=("other",))
    world.runs.seed(replace(first, status=RunStatus.FAILED, active_since=None))
    again = await world.done(retry(world.launcher, first.run_id))
    assert again.dep_package_slugs == first.dep_package_slugs
    assert (await world.launch()).dep_package_slugs == ("other",)


async def test_a_run_of_a_bare_flow_has_no_packages() -> None:
    assert (await Requesting().launch()).dep_package_slugs == ()


async def test_a_deployment_of_a_version_that_was_retired_since_is_refused() -> None:
    world = Deployed(None, a_flow(status=FlowStatus.RETIRED))
    assert (await world.refusal(deployment_name="nightly")).field == "flow_version"


async def test_a_retry_takes_what_the_run_had_and_not_what_the_deployment_says_now() -> None:
    world = Deployed()
    first = await world.launch()
    world.deployments.records.clear()
    world.runs.seed(replace(first, status=RunStatus.FAILED, active_since=None))
    again = await world.done(retry(world.launcher, first.run_id))
    assert (again.deployment_name, again.parameters, again.memory) == ("nightly", first.parameters, 512)


async def test_a_batch_may_name_deployments_and_reads_each_once() -> None:
    world = Deployed()
    items = [{"org_id": "acme", "deployment_name": "nightly", "parameters": {"day": day}} for day in range(100)]
    outcome = await world.done(launch_batch(world.launcher, items, parent_correlation_id="b"))
    assert list(outcome.failures) == []
    assert {run.deployment_name for run in outcome.runs.values()} == {"nightly"}
    assert len(world.deployments.calls) <= 16


@pytest.mark.parametrize(
    ("order", "answered"),
    [
        pytest.param({"deployment_name": "nightly"}, True, id="the same"),
        pytest.param({"deployment_name": "nightly", "parameters": {"day": "monday"}}, True, id="its own parameter"),
        pytest.param({"deployment_name": "nightly", "parameters": {"day": "friday"}}, False, id="another value"),
        pytest.param({"deployment_name": "nightly", "parameters": {"x": 1}}, False, id="another parameter"),
        pytest.param({"deployment_name": "weekly"}, False, id="another deployment"),
        pytest.param({"flow_name": "etl", "parameters": {"day": "monday", "table": "sales"}}, False, id="the flow"),
    ],
)
async def test_whether_a_run_is_what_was_asked_for(order: Mapping[str, Any], answered: bool) -> None:
    run = await Deployed().launch()
    assert (not differences(LaunchOrder(org_id="acme", **order), run)) is answered


# Set and deleted.


async def test_a_deployment_is_set_whole_with_the_time_of_setting() -> None:
    world = Deployed()
    await world.clock.advance(60)
    new = a_deployment(parameters={}, priority=None)
    written = await world.done(set_deployment(world.launcher, world.packages, new))
    assert written == replace(new, updated_at=NOW + timedelta(seconds=60))
    assert world.deployments.records == {("acme", "nightly"): written}


async def test_a_parameter_that_the_flow_needs_may_be_left_to_the_orders() -> None:
    flow = a_flow()
    needy = replace(flow, spec=replace(flow.spec, parameters=(ParameterSpec("day"), ParameterSpec("table"))))
    world = Deployed(None, needy)
    await world.done(set_deployment(world.launcher, world.packages, a_deployment(parameters={"table": "sales"})))
    with pytest.raises(RequestRefused, match="needs the parameter 'day'"):
        await world.launch()
    assert (await world.launch(parameters={"day": 1})).parameters == '{"table": "sales", "day": 1}'


@pytest.mark.parametrize(
    ("values", "field", "told"),
    [
        pytest.param(
            {"deployment_name": "a#b"}, "deployment_name", "128 of the characters", id="a name that forges a key"
        ),
        pytest.param({"deployment_name": ""}, "deployment_name", "128 of the characters", id="no name"),
        pytest.param({"org_id": "a#b"}, "org_id", "must have 1 to 64", id="an organisation that forges a key"),
        pytest.param({"flow_name": "elt"}, "flow_name", "did you mean 'etl'?", id="unknown flow"),
        pytest.param({"flow_version": "9"}, "flow_version", "registered: 1, 2", id="unknown version"),
        pytest.param({"parameters": {"dya": 1}}, "parameters", "did you mean 'day'?", id="unknown parameter"),
        pytest.param({"parameters": {"day": "x" * 100_001}}, "parameters", "100,000", id="endless parameters"),
        pytest.param({"workload_profile": "huge"}, "workload_profile", "medium, small", id="unknown profile"),
        pytest.param({"memory": 999}, "memory", "nearest valid", id="no such size"),
        pytest.param({"ephemeral_storage_gib": 1}, "ephemeral_storage_gib", "21 to 200", id="no such storage"),
        pytest.param({"environment": {"DAGY_X": "1"}}, "extra_env_vars", "DAGY_X", id="a variable of ours"),
        pytest.param({"max_attempts": 0}, "max_attempts", "1 to 20", id="no attempt"),
        pytest.param({"priority": 10**9}, "priority", "1000000", id="a priority beyond all"),
        pytest.param(
            {"dep_package_slugs": ("pandas-3",)}, "dep_package_slugs", "did you mean 'pandas-2'?", id="unknown package"
        ),
        pytest.param(
            {"dep_package_slugs": ("zzz",)}, "dep_package_slugs", "see `packages list`", id="no package like it"
        ),
        pytest.param({"dep_package_slugs": ("pandas-2",) * 2}, "dep_package_slugs", "twice", id="a package twice"),
        pytest.param(
            {"dep_package_slugs": ("globex/own",)},
            "dep_package_slugs",
            "belongs to organisation 'globex'",
            id="another's",
        ),
        pytest.param(
            {"dep_package_slugs": ("../x",)}, "dep_package_slugs", "must be a name", id="a slug that is a path"
        ),
        pytest.param({"dep_package_slugs": ("x",) * 21}, "dep_package_slugs", "more than 20", id="too many packages"),
    ],
)
async def test_what_no_order_could_launch_cannot_be_set(values: Mapping[str, Any], field: str, told: str) -> None:
    refused = await Deployed().set_refused(a_deployment(**values))
    assert (refused.field, told in str(refused)) == (field, True), str(refused)


async def test_a_deleted_deployment_is_gone_and_its_runs_stay() -> None:
    world = Deployed()
    run = await world.launch()
    gone = await world.done(delete_deployment(world.launcher, "acme", "nightly"))
    assert (gone, world.deployments.records) == (a_deployment(), {})
    assert world.runs.records == {run.run_id: run}
    with pytest.raises(RequestRefused, match="has no deployment 'nightly'"):
        await world.done(delete_deployment(world.launcher, "acme", "nightly"))
