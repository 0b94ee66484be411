"""Failure classes and the budgets that pay for a retry."""

from typing import Any

import pytest

from dagy_control.model.failures import (
    CLASSES,
    RETRIED_AS_INFRASTRUCTURE,
    Budget,
    RetryPolicy,
    next_budget,
    next_size,
    retry_delay_s,
    shortages,
)
from dagy_control.model.resources import TaskSize
from dagy_control.model.runs import FailureClass, Transition, active_view
from tests.builders import NOW, running

POLICY = RetryPolicy(max_infra_failures=3)
GROWING = RetryPolicy(max_infra_failures=3, profiles={"small": TaskSize(256, 512), "large": TaskSize(2048, 4096)})
FINAL = {
    FailureClass.ARTIFACT,
    FailureClass.DEPENDENCY,
    FailureClass.IMPORT,
    FailureClass.SHUTDOWN,
    FailureClass.STOPPED,
    FailureClass.LAUNCH_CONFIGURATION,
    FailureClass.LAUNCH_PERMISSION,
    FailureClass.LOST,
}
USER = {FailureClass.USER_ERROR, FailureClass.NO_RESULT, FailureClass.OUT_OF_MEMORY, FailureClass.TIMED_OUT}


@pytest.mark.parametrize("failure_class", FailureClass)
def test_every_class_has_its_budget_and_a_remedy_in_a_sentence(failure_class: FailureClass) -> None:
    policy = CLASSES[failure_class]
    expected = (
        Budget.NONE if failure_class in FINAL else Budget.USER if failure_class in USER else Budget.INFRASTRUCTURE
    )
    assert policy.budget is expected
    assert policy.remedy.endswith(".")


@pytest.mark.parametrize(
    ("failure_class", "attempt", "infra_failures", "max_attempts", "budget"),
    [
        pytest.param("USER_ERROR", 1, 0, 1, "none", id="one attempt, one user failure"),
        pytest.param("USER_ERROR", 1, 0, 2, "user", id="a second attempt is allowed"),
        pytest.param("USER_ERROR", 2, 0, 2, "none", id="and no third"),
        pytest.param("USER_ERROR", 4, 3, 2, "user", id="infrastructure failures use up no attempt of the user"),
        pytest.param("USER_ERROR", 5, 3, 2, "none", id="the second user failure among three of infrastructure"),
        pytest.param("SPOT_INTERRUPTED", 1, 0, 1, "infrastructure", id="a reclaim is retried even with one attempt"),
        pytest.param("SPOT_INTERRUPTED", 3, 2, 1, "infrastructure", id="the third reclaim"),
        pytest.param("SPOT_INTERRUPTED", 4, 3, 1, "none", id="the fourth is one too many"),
        pytest.param("SPOT_INTERRUPTED", 6, 0, 9, "infrastructure", id="user failures use up no reclaim"),
        pytest.param("LOST", 1, 0, 9, "none", id="a lost run is never relaunched blindly"),
        pytest.param("ARTIFACT", 1, 0, 9, "none", id="what fails again unchanged is not retried"),
    ],
)
def test_budgets_are_counted_apart(
    failure_class: str, attempt: int, infra_failures: int, max_attempts: int, budget: str
) -> None:
    run = running(attempt=attempt, infra_failures=infra_failures, max_attempts=max_attempts)
    assert next_budget(run, FailureClass(failure_class), POLICY) == budget


@pytest.mark.parametrize("failure_class", sorted(RETRIED_AS_INFRASTRUCTURE))
def test_a_class_that_the_configuration_leaves_out_is_final(failure_class: FailureClass) -> None:
    without = RetryPolicy(infra_classes=RETRIED_AS_INFRASTRUCTURE - {failure_class})
    assert next_budget(running(), failure_class, POLICY) is Budget.INFRASTRUCTURE
    assert next_budget(running(), failure_class, without) is Budget.NONE


@pytest.mark.parametrize(
    ("policy", "values", "budget", "memory_mib"),
    [
        pytest.param(GROWING, {}, "infrastructure", 4096, id="the next profile, at the cost of infrastructure"),
        pytest.param(POLICY, {}, "none", None, id="off by default: the user's failure"),
        pytest.param(POLICY, {"max_attempts": 2}, "user", None, id="off by default: with the user's own attempts"),
        pytest.param(GROWING, {"infra_failures": 3, "attempt": 4}, "none", 4096, id="the budget is used up"),
        pytest.param(GROWING, {"infra_failures": 3, "attempt": 4, "max_attempts": 2}, "user", 4096, id="the user pays, and it grows"),
        pytest.param(GROWING, {"workload_profile": "large", "cpu": 2048, "memory": 4096}, "none", None, id="the largest already"),
        pytest.param(GROWING, {"cpu": None}, "none", None, id="a run of unknown size"),
    ],
)  # fmt: skip
def test_out_of_memory(policy: RetryPolicy, values: dict[str, Any], budget: str, memory_mib: int | None) -> None:
    run = running(**{"workload_profile": "small", "cpu": 256, "memory": 512, **values})
    assert next_budget(run, FailureClass.OUT_OF_MEMORY, policy) == budget
    larger = next_size(run, FailureClass.OUT_OF_MEMORY, policy)
    assert (larger and larger[1].memory_mib) == memory_mib


def test_no_other_failure_gets_more_memory_and_an_entry_of_the_index_tells_no_size() -> None:
    run = running(workload_profile="small", cpu=256, memory=512)
    assert next_size(run, FailureClass.USER_ERROR, GROWING) is None
    assert next_size(active_view(run), FailureClass.OUT_OF_MEMORY, GROWING) is None


def test_shortages_are_counted_by_the_class_that_a_transition_names() -> None:
    whys = (
        "launched", "launch try 1 on FARGATE_SPOT", "CAPACITY: ECS launch failed: x", "throttled: CAPACITY",
        "SPOT_INTERRUPTED: Reconciled", "IMAGE_PULL: x", "CAPACITYX: y",
    )  # fmt: skip
    steps = tuple(Transition(at=NOW, from_status="", to_status="QUEUED", attempt=1, by="test", why=why) for why in whys)
    assert shortages(running(transitions=steps)) == 2


@pytest.mark.parametrize(
    ("failure_class", "infra_failures", "delay_s"),
    [
        pytest.param("SPOT_INTERRUPTED", 0, 10, id="a first reclaim comes back quickly"),
        pytest.param("INFRASTRUCTURE", 1, 80, id="a second failure waits longer"),
        pytest.param("RESOURCE_INITIALIZATION", 2, 640, id="a third longer still"),
        pytest.param("CAPACITY", 3, 900, id="never longer than the bound"),
        pytest.param("CAPACITY", 1_000, 900, id="however many there were"),
        pytest.param("USER_ERROR", 2, 10, id="a user's failure does not go away by waiting"),
        pytest.param("OUT_OF_MEMORY", 2, 10, id="a larger attempt, paid by the same budget, neither"),
    ],
)
def test_the_delay_before_a_new_attempt(failure_class: str, infra_failures: int, delay_s: float) -> None:
    run = running(workload_profile="small", cpu=256, memory=512, infra_failures=infra_failures, max_attempts=9)
    policy = RetryPolicy(max_infra_failures=10_000, profiles=GROWING.profiles)
    assert retry_delay_s(run, FailureClass(failure_class), policy) == delay_s


def test_the_default_budget_outlasts_ten_minutes_in_which_every_attempt_fails_at_once() -> None:
    policy = RetryPolicy()
    waits_s = [
        retry_delay_s(running(infra_failures=failures), FailureClass.INFRASTRUCTURE, policy)
        for failures in range(policy.max_infra_failures)
    ]
    assert sum(waits_s) > 600
