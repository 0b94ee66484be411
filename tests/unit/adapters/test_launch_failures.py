"""What each refusal of RunTask means for the launch."""

from typing import Any

import pytest

from dagy_control.adapters.launch_failures import judge_failures, judge_refusal
from dagy_control.errors import Permanent
from dagy_control.model.launch_failure import REMEDIES, LaunchCause, LaunchFailureKind
from dagy_control.model.runs import FailureClass

PERMANENT, RETRYABLE = LaunchFailureKind.PERMANENT, LaunchFailureKind.RETRYABLE


@pytest.mark.parametrize(
    ("code", "message", "cause"),
    [
        ("AccessDeniedException", "User: x is not authorized to perform: ecs:RunTask", "permission"),
        ("AccessDeniedException", "…is not authorized to perform: iam:PassRole", "permission"),
        ("ClientException", "ECS was unable to assume the role 'arn:…'", "permission"),
        ("ClientException", "Role is not valid", "permission"),
        ("InvalidParameterException", "Unable to assume the service linked role.", "permission"),
        ("BlockedException", "Your AWS account was blocked.", "account"),
        ("UnsupportedFeatureException", "The specified task isn't supported in this region.", "account"),
        ("ClusterNotFoundException", "Cluster not found.", "cluster"),
        ("InvalidParameterException", "The referenced cluster was inactive.", "cluster"),
        ("InvalidParameterException", "The specified capacity provider 'FARGATE_SPOT' was not found.", "cluster"),
        ("ClientException", "TaskDefinition not found.", "task_definition"),
        ("ClientException", "TaskDefinition is inactive", "task_definition"),
        ("InvalidParameterException", "Override for container named w is not a container in the TaskDefinition.", "task_definition"),
        ("PlatformUnknownException", "unknown", "task_definition"),
        ("InvalidParameterException", "The subnet ID 'subnet-1' does not exist", "network"),
        ("InvalidParameterException", "The security group 'sg-1' does not exist", "network"),
        ("InvalidParameterException", "Network Configuration must be provided when networkMode 'awsvpc' is specified.", "network"),
        ("ClientException", "No Fargate configuration exists for given values.", "run"),
        ("ClientException", "Invalid 'cpu' setting for task.", "run"),
        ("InvalidParameterException", "Container Overrides length must be at most 8192", "run"),
        ("InvalidParameterException", "The number of tags exceeds the limit of 50.", "run"),
        ("ParamValidationError", "Unknown parameter in input", "unknown"),
        ("NeverSeenBefore", "?", "unknown"),
    ],
)  # fmt: skip
def test_a_refusal_for_good_has_its_cause_its_class_and_a_remedy(code: str, message: str, cause: str) -> None:
    failure = judge_refusal(Permanent(message, code=code))
    assert (failure.kind, failure.cause, failure.message) == (PERMANENT, cause, message)
    permission = failure.cause in (LaunchCause.PERMISSION, LaunchCause.ACCOUNT)
    assert failure.failure_class == ("LAUNCH_PERMISSION" if permission else "LAUNCH_CONFIGURATION")
    assert failure.remedy.endswith(".")
    assert not failure.settles_token


@pytest.mark.parametrize(
    ("code", "message", "failure_class"),
    [
        ("ClientException", "Capacity is unavailable at this time.", "CAPACITY"),
        ("ClientException", "You've reached the limit on the number of vCPUs", "CAPACITY"),
        ("InvalidParameterException", "There are insufficient free addresses in the subnet", "CAPACITY"),
        ("LimitExceededException", "The limit for the resource was exceeded.", "CAPACITY"),
        ("ClientException", "CannotPullContainerError: manifest unknown", "IMAGE_PULL"),
    ],
)
def test_a_refusal_that_passes_is_for_another_try(code: str, message: str, failure_class: str) -> None:
    failure = judge_refusal(Permanent(message, code=code))
    assert (failure.kind, failure.cause, failure.failure_class) == (RETRYABLE, None, failure_class)
    assert not failure.settles_token


def test_every_cause_has_a_remedy_of_its_own() -> None:
    assert set(REMEDIES) == set(LaunchCause)
    assert len(set(REMEDIES.values())) == len(LaunchCause)


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
        ([{"reason": "CannotPullContainerError: x"}], FailureClass.IMAGE_PULL, "CannotPullContainerError: x"),
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
