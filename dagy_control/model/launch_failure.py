"""A RunTask that made no task: what it allows, which part of the launch was refused, and what a person can do."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dagy_control.model.failures import CLASSES
from dagy_control.model.runs import FailureClass


class LaunchFailureKind(StrEnum):
    """What a refused RunTask allows: the same try again, another try, or nothing.

    HELD: it would be final, but the fault is known not to be the run's own (`launching/breaker.py`): back to the queue.
    """

    THROTTLED = "throttled"
    HELD = "held"
    RETRYABLE = "retryable"
    PERMANENT = "permanent"


class LaunchCause(StrEnum):
    """Which part of a launch ECS refuses for good. All but RUN concern every run that is launched to the same target."""

    PERMISSION = "permission"
    ACCOUNT = "account"
    CLUSTER = "cluster"
    TASK_DEFINITION = "task_definition"
    NETWORK = "network"
    UNKNOWN = "unknown"
    RUN = "run"


REMEDIES: Mapping[LaunchCause, str] = {
    LaunchCause.PERMISSION: CLASSES[FailureClass.LAUNCH_PERMISSION].remedy,
    LaunchCause.ACCOUNT: "AWS has blocked the account or refuses it this service: ask AWS Support.",
    LaunchCause.CLUSTER: (
        "Check ecs.cluster_arn and aws.region: the cluster must exist, be ACTIVE and have the capacity providers "
        "(aws ecs describe-clusters)."
    ),
    LaunchCause.TASK_DEFINITION: (
        "Check ecs.task_definition and ecs.container_name: an active revision must exist, be made for Fargate, and have "
        "that container."
    ),
    LaunchCause.NETWORK: (
        "Check ecs.subnets and ecs.security_groups: they must exist, be of one VPC, and allow outbound HTTPS "
        "(aws ec2 describe-subnets, describe-security-groups)."
    ),
    LaunchCause.UNKNOWN: CLASSES[FailureClass.LAUNCH_CONFIGURATION].remedy,
    LaunchCause.RUN: (
        "Ask for a size that Fargate has (256 CPU only supports 512, 1024 or 2048 MiB; more CPU, more memory) and pass "
        "less in the environment."
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFailure:
    """A RunTask that made no task. `message` is ECS's own text; `cause` is known of permanent refusals only.

    `settles_token`: the failure is the token's answer, not that of one send. A repeated token answers the task of its first call,
    if that made one ("Ensuring idempotency", ECS API Reference); an answer with failures instead says that no send has.
    """

    kind: LaunchFailureKind
    failure_class: FailureClass
    message: str
    retry_after_s: float = 0.0
    settles_token: bool = False
    cause: LaunchCause | None = None

    @property
    def is_of_the_target(self) -> bool:
        """Whether other runs would be refused too."""
        return self.cause not in (None, LaunchCause.RUN)

    @property
    def text(self) -> str:
        """In the words of the runbook."""
        return f"ECS launch failed: {self.message}"

    @property
    def remedy(self) -> str:
        """What a person can do, in a sentence."""
        return CLASSES[self.failure_class].remedy if self.cause is None else REMEDIES[self.cause]
