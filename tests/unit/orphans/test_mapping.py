"""Whose task a task is, and what its tags ask for."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dagy_control.model.tasks import TaskIdentity
from dagy_control.orphans.criteria import Criteria, RunningTask, RuntimeLimit, StateKey, StateTable
from dagy_control.orphans.mapping import map_task
from tests.builders import INSTALLATION, running, task_of


def table(name: str, tag: str) -> StateTable:
    return StateTable(
        name=name, table=name.upper(), key_attribute="k", task_tag=tag, status_attribute="status",
        terminal_statuses=frozenset({"over"}), arn_attribute="task_arn", check_arn=True,
    )  # fmt: skip


MODELS, STRATEGIES = table("retraining", "model_name"), table("trading", "strategy_id")
CRITERIA = Criteria(
    installation=INSTALLATION,
    state_tables=(MODELS, STRATEGIES),
    families=frozenset({"batch-jobs"}),
    runtime_limits=(
        RuntimeLimit(hours=48, flow="nightly"),
        RuntimeLimit(hours=12, tag="team", value="research"),
        RuntimeLimit(hours=1, tag="team", value="research"),
    ),
)
OURS = TaskIdentity(INSTALLATION, "r1", 1)


def mapped(**values: Any) -> RunningTask:
    return map_task(task_of(running(), **{"started_by": "", **values}), CRITERIA)


@pytest.mark.parametrize(
    ("values", "owner"),
    [
        pytest.param({"started_by": "dagy/r1/1"}, (OURS, (), False), id="started by this installation"),
        pytest.param({"started_by": "staging/r1/1"}, (None, (), False), id="started by another one"),
        pytest.param(
            {"started_by": "dagy/r1/1", "tags": {"model_name": "m"}}, (OURS, (), False), id="startedBy goes before tags"
        ),
        pytest.param({"tags": {"model_name": "m"}}, (None, (StateKey(MODELS, "m"),), False), id="a tag"),
        pytest.param(
            {"tags": {"strategy_id": "s", "model_name": "m"}},
            (None, (StateKey(MODELS, "m"), StateKey(STRATEGIES, "s")), False),
            id="two tags",
        ),
        pytest.param({"tags": {"model_name": ""}}, (None, (), False), id="a tag without a value leads nowhere"),
        pytest.param(
            {"tags": {"run_id": "r1", "attempt": "1", "installation": "dagy"}},
            (None, (), False),
            id="our own tags, copied by a person who ran more like this",
        ),
        pytest.param({"task_definition": "batch-jobs:7"}, (None, (), True), id="a family"),
        pytest.param(
            {"task_definition": "arn:aws:ecs:eu-west-1:123456789012:task-definition/batch-jobs:7"},
            (None, (), True),
            id="a family in an ARN",
        ),
        pytest.param({"task_definition": "batch-jobs-2:7"}, (None, (), False), id="another family"),
        pytest.param(
            {"task_definition": "batch-jobs:7", "started_by": "ecs-svc/123"}, (None, (), False), id="a service of it"
        ),
    ],
)
def test_whose_task_it_is(values: dict[str, Any], owner: Any) -> None:
    task = mapped(**values)
    assert (task.identity, task.states, task.of_family) == owner


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("2026-12-31", datetime(2027, 1, 1, tzinfo=UTC)),
        ("20261231", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2026-12-31T00:00", datetime(2026, 12, 31, tzinfo=UTC)),
        (" 2026-12-31 12:00 ", datetime(2026, 12, 31, 12, tzinfo=UTC)),
        ("2026-12-31T12:00+02:00", datetime(2026, 12, 31, 10, tzinfo=UTC)),
        ("2026-12-31T12:00Z", datetime(2026, 12, 31, 12, tzinfo=UTC)),
        ("9999-12-31", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_keep_tag_holds_until_its_date(text: str, until: datetime) -> None:
    task = mapped(tags={"dagy:keep": text})
    assert (task.keep_until, task.keep_unclear) == (until, False)


@pytest.mark.parametrize("text", ["", "yes", "31.12.2026", "2026-13-01", "tomorrow"])
def test_a_keep_tag_that_is_no_date_keeps_all_the_same(text: str) -> None:
    task = mapped(tags={"dagy:keep": text})
    assert (task.keep_until, task.keep_unclear) == (None, True)


@pytest.mark.parametrize(
    ("values", "hours"),
    [
        pytest.param({}, 6, id="none of its own"),
        pytest.param({"started_by": "dagy/r1/1", "tags": {"flow_name": "nightly"}}, 48, id="a flow"),
        pytest.param({"started_by": "dagy/r1/1", "tags": {"flow_name": "etl"}}, 6, id="another flow"),
        pytest.param({"tags": {"flow_name": "nightly"}}, 6, id="a stranger with the tag of a flow"),
        pytest.param({"tags": {"team": "research"}}, 12, id="a tag: the first limit counts"),
        pytest.param({"tags": {"team": "sales"}}, 6, id="another value"),
        pytest.param(
            {"started_by": "dagy/r1/1", "tags": {"flow_name": "nightly", "team": "research"}}, 48, id="the first of two"
        ),
    ],
)
def test_how_long_it_may_run(values: dict[str, Any], hours: float) -> None:
    assert mapped(**values).max_runtime_hours == hours


def test_a_task_that_somebody_has_stopped_is_stopping() -> None:
    assert mapped(desired_status="STOPPED").stopping
    assert not mapped().stopping
