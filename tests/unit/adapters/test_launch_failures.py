"""What each refusal of RunTask means for the launch."""

from typing import Any

import pytest

from dagy_control.adapters.launch_failures import judge_failures, judge_refusal
from dagy_control.errors import Permanent
from dagy_control.model.lifecycle import LaunchFailureKind
from dagy_control.model.runs import FailureClass

PERMANENT, RETRYABLE = LaunchFailureKind.PERMANENT, LaunchFailureKind.RETRYABLE


@pytest.mark.parametrize(
    ("code", "message", "kind", "failure_class"),
    [
        ("AccessDeniedException", "User: x is not authorized to perform: ecs:RunTask", PERMANENT, "LAUNCH_PERMISSION"),
        ("AccessDeniedException", "…is not authorized to perform: iam:PassRole", PERMANENT, "LAUNCH_PERMISSION"),
        ("ClientException", "ECS was unable to assume the role 'arn:…'", PERMANENT, "LAUNCH_PERMISSION"),
        ("InvalidParameterException", "Unable to assume the service linked role.", PERMANENT, "LAUNCH_PERMISSION"),
        ("BlockedException", "Your AWS account was blocked.", PERMANENT, "LAUNCH_PERMISSION"),
        ("ClientException", "Capacity is unavailable at this time.", RETRYABLE, "CAPACITY"),
        ("ClientException", "You've reached the limit on the number of vCPUs", RETRYABLE, "CAPACITY"),
        ("LimitExceededException", "The limit for the resource was exceeded.", RETRYABLE, "CAPACITY"),
        ("ClientException", "TaskDefinition not found.", PERMANENT, "LAUNCH_CONFIGURATION"),
        ("ClientException", "No Fargate configuration exists for given values.", PERMANENT, "LAUNCH_CONFIGURATION"),
        ("InvalidParameterException", "The subnet ID 'subnet-1' does not exist", PERMANENT, "LAUNCH_CONFIGURATION"),
        ("ClusterNotFoundException", "Cluster not found.", PERMANENT, "LAUNCH_CONFIGURATION"),
        ("PlatformUnknownException", "unknown", PERMANENT, "LAUNCH_CONFIGURATION"),
        ("ParamValidationError", "Unknown parameter in input", PERMANENT, "LAUNCH_CONFIGURATION"),
        ("NeverSeenBefore", "?", PERMANENT, "LAUNCH_CONFIGURATION"),
    ],
)
def test_a_refusal_has_a_kind_and_a_class(code: str, message: str, kind: LaunchFailureKind, failure_class: str) -> None:
    failure = judge_refusal(Permanent(message, code=code))
    assert (failure.kind, failure.failure_class, failure.message) == (kind, FailureClass(failure_class), message)
    assert not failure.settles_token


@pytest.mark.parametrize(
    ("failures", "failure_class", "message"),
    [
        ([{"arn": "a", "reason": "RESOURCE:CPU"}], FailureClass.CAPACITY, "RESOURCE:CPU"),
        ([{"reason": "RESOURCE:ENI", "detail": "none free"}], FailureClass.CAPACITY, "RESOURCE:ENI: none free"),
        (
            [{"reason": "Capacity is unavailable at this time."}],
            FailureClass.CAPACITY,
            "Capacity is unavailable at this time.",
        ),
        ([{"reason": "AGENT"}], FailureClass.INFRASTRUCTURE, "AGENT"),
        ([{"reason": "Rate exceeded"}], FailureClass.INFRASTRUCTURE, "Rate exceeded"),
        ([{}], FailureClass.INFRASTRUCTURE, "no reason given"),
    ],
    ids=str,
)
def test_a_failure_in_the_body_is_the_tokens_answer_and_always_for_another_try(
    failures: list[dict[str, Any]], failure_class: FailureClass, message: str
) -> None:
    failure = judge_failures(failures)
    assert (failure.kind, failure.failure_class, failure.message) == (RETRYABLE, failure_class, message)
    assert failure.settles_token
