"""Every real shape of a task, through the real reading: outcome, class, retry, sentence and remedy; and the page made of them."""

from collections import Counter
from dataclasses import replace

import pytest

from dagy_control.model.failures import RetryPolicy, next_budget
from dagy_control.model.lifecycle import end_attempt
from dagy_control.model.outcomes import MISSING_RULES, TASK_RULES, judge
from dagy_control.model.runs import FailureClass, applied
from dagy_control.model.stop_kinds import END_KINDS, EXIT_KINDS, START_KINDS, kind_of, remedy_of
from dagy_control.model.stop_words import text_of
from tests.builders import NOW, WORKER
from tests.unit.model import outcomes_page
from tests.unit.model.task_shapes import Expected, Shape, load_shapes

SHAPES = load_shapes()
RETRIES_NOTHING = RetryPolicy(max_infra_failures=0)


def concluded(shape: Shape) -> Expected:
    """What the product makes of a shape; the remedy as people find it later, on the ended run's record."""
    outcome = judge(shape.sighting)
    failure_class = outcome.failure_class
    last = replace(shape.run, max_attempts=1)
    task = shape.sighting.task
    change = end_attempt(last, outcome, RETRIES_NOTHING, task=task, container_name=WORKER, now=NOW, by="test")
    return Expected(
        rule=outcome.rule,
        ending=outcome.ending,
        failure_class=failure_class,
        retry=next_budget(shape.run, failure_class, RetryPolicy()) if failure_class else "",
        sentence=outcome.message,
        remedy=remedy_of(applied(last, change, "op")) if change else "",
    )


@pytest.mark.parametrize("shape", [pytest.param(each, id=each.name) for each in SHAPES])
def test_a_real_shape_is_judged_retried_explained_and_remedied(shape: Shape) -> None:
    assert concluded(shape) == shape.expected


def test_every_rule_has_three_shapes_and_every_shape_a_name_of_its_own_and_a_source() -> None:
    rows = Counter(shape.expected.rule for shape in SHAPES)
    assert set(rows) == {name for name, _ in (*TASK_RULES, *MISSING_RULES)}
    assert min(rows.values()) >= 3
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)
    assert all(shape.source for shape in SHAPES)


def test_every_kind_of_stop_has_a_shape() -> None:
    tasks = [shape.sighting.task for shape in SHAPES if shape.sighting.task is not None]
    starts = {kind_of(text_of(task), START_KINDS) for task in tasks}
    ends = {kind_of(f"{task.stop_code} {text_of(task)}", END_KINDS) for task in tasks}
    assert {kind.name for kind in START_KINDS} <= {kind.name for kind in starts if kind}
    assert {kind.name for kind in END_KINDS} <= {kind.name for kind in ends if kind}


def test_a_remedy_of_an_exit_code_is_not_given_to_a_flow_that_told_its_own_failure() -> None:
    own = next(shape for shape in SHAPES if shape.name == "a committed failure of the flow")
    assert "fix the flow" in remedy_of(replace(own.run, failure_class=own.run.result_class, exit_code=137))
    assert 137 in EXIT_KINDS


def test_a_run_that_has_not_failed_needs_no_remedy() -> None:
    assert remedy_of(SHAPES[0].run) == ""


def test_the_words_of_an_earlier_task_do_not_remedy_a_launch_that_failed_later() -> None:
    denied = next(shape for shape in SHAPES if shape.name == "image: access denied")
    assert denied.run.external_id is not None
    evidence = {
        "task_arn": denied.run.external_id,
        "containers": [{"reason": "CannotPullContainerError: 403 Forbidden"}],
    }
    failed = replace(denied.run, failure_class=FailureClass.IMAGE_PULL, evidence=evidence)
    assert remedy_of(failed) == denied.expected.remedy
    assert remedy_of(replace(failed, external_id=None)) != denied.expected.remedy


def test_the_page_shows_the_shapes_as_they_are() -> None:
    """When it fails: `python -m tests.unit.model.outcomes_page`."""
    assert outcomes_page.written() == outcomes_page.expected()
