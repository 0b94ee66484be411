"""Failure classes and the budgets that pay for a retry."""

import pytest

from dagy_control.model.failures import CLASSES, Budget, RetryPolicy, next_budget
from dagy_control.model.runs import FailureClass
from tests.builders import running

POLICY = RetryPolicy(max_infra_failures=3)
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
