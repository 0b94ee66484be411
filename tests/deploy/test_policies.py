"""The evaluator that the permission tests rest on."""

import pytest

from tests.deploy.policies import Access, UnknownElement, decide

CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/dagy"
TASK = "arn:aws:ecs:us-east-1:123456789012:task/dagy/1"
STOP = {
    "Sid": "Stop",
    "Effect": "Allow",
    "Action": ["ecs:StopTask", "ecs:DescribeTasks"],
    "Resource": "arn:aws:ecs:us-east-1:123456789012:task/dagy/*",
    "Condition": {"ArnEquals": {"ecs:cluster": CLUSTER}},
}
READ = {"Sid": "Read", "Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::b/a/*"}
PASS = {
    "Sid": "Pass",
    "Effect": "Allow",
    "Action": "iam:PassRole",
    "Resource": ["arn:aws:iam::123456789012:role/w"],
    "Condition": {"StringEquals": {"iam:PassedToService": ["ecs-tasks.amazonaws.com"]}},
}
NO_SECRETS = {"Sid": "NoSecrets", "Effect": "Deny", "Action": "*", "Resource": "arn:aws:s3:::b/a/secret/*"}
STATEMENTS = [STOP, READ, PASS, NO_SECRETS]
IN_CLUSTER = {"ecs:cluster": CLUSTER}


@pytest.mark.parametrize(
    ("access", "allowed", "sid"),
    [
        pytest.param(Access("ecs:StopTask", TASK, IN_CLUSTER), True, "Stop", id="all that a statement asks for"),
        pytest.param(
            Access("ECS:stoptask", TASK, {"ECS:Cluster": CLUSTER}), True, "Stop", id="actions and keys have no case"
        ),
        pytest.param(Access("ecs:RunTask", TASK, IN_CLUSTER), False, "", id="another action"),
        pytest.param(
            Access("ecs:StopTask", TASK.replace("/dagy/", "/other/"), IN_CLUSTER), False, "", id="another resource"
        ),
        pytest.param(
            Access("ecs:StopTask", TASK, {"ecs:cluster": CLUSTER + "2"}), False, "", id="a condition that is not met"
        ),
        pytest.param(Access("ecs:StopTask", TASK), False, "", id="a condition key that the request has not"),
        pytest.param(
            Access("s3:GetObject", "arn:aws:s3:::b/a/x/y"), True, "Read", id="a wildcard in the last part takes slashes"
        ),
        pytest.param(Access("s3:PutObject", "arn:aws:s3:::b/a/x"), False, "", id="a wildcard of the action"),
        pytest.param(Access("s3:GetObject", "arn:aws:s3:::b/a/secret/x"), False, "NoSecrets", id="a denial wins"),
        pytest.param(
            Access(
                "iam:PassRole", "arn:aws:iam::123456789012:role/w", {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
            ),
            True,
            "Pass",
            id="one of several values",
        ),
        pytest.param(
            Access("iam:PassRole", "arn:aws:iam::123456789012:role/w", {"iam:PassedToService": "ec2.amazonaws.com"}),
            False,
            "",
            id="none of several values",
        ),
        pytest.param(
            Access("ecs:StopTask", "arn:aws:ecs:us-east-1:999:x:123456789012:task/dagy/1", IN_CLUSTER),
            False,
            "",
            id="a wildcard does not reach over a part of an ARN",
        ),
    ],
)
def test_a_request_is_judged_as_iam_does(access: Access, allowed: bool, sid: str) -> None:
    decision = decide(STATEMENTS, access)
    assert (decision.allowed, decision.sid) == (allowed, sid)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param({**READ, "NotAction": "s3:*"}, id="an element"),
        pytest.param({**READ, "Condition": {"NumericLessThan": {"s3:max-keys": "9"}}}, id="an operator"),
        pytest.param({**READ, "Effect": "allow"}, id="an effect"),
    ],
)
def test_what_is_not_understood_is_refused_and_not_taken_for_a_permission(statement: dict[str, object]) -> None:
    with pytest.raises(UnknownElement):
        decide([statement], Access("s3:GetObject", "arn:aws:s3:::b/a/x"))


def test_a_bracket_in_a_pattern_is_a_bracket() -> None:
    statement = {**READ, "Resource": "arn:aws:s3:::b/[ab]/*"}
    assert not decide([statement], Access("s3:GetObject", "arn:aws:s3:::b/a/x")).allowed
    assert decide([statement], Access("s3:GetObject", "arn:aws:s3:::b/[ab]/x")).allowed
