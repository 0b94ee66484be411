"""What must be denied, and what no statement may say at all. What must be permitted is in test_deployed.py: every call of a real run."""

import pytest

from tests.deploy.policies import Access, decide
from tests.deploy.synthesis import Template

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(300)]

CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/dagy"
OTHER_CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/payments"
HERE, ELSEWHERE = {"ecs:cluster": CLUSTER}, {"ecs:cluster": OTHER_CLUSTER}
DEFINITION = "arn:aws:ecs:us-east-1:123456789012:task-definition"
TASK = "arn:aws:ecs:us-east-1:123456789012:task"
TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table"
BUCKET, TRACES = "arn:aws:s3:::{artifacts}", "arn:aws:s3:::{traces}"
SSM = "arn:aws:ssm:us-east-1:123456789012:parameter"
SECRETS = "arn:aws:secretsmanager:us-east-1:123456789012:secret"
TO_TASKS = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
RUN = "4d5e/1/task.json"

NOBODY = {
    "a task on another cluster": Access("ecs:RunTask", f"{DEFINITION}/dagy-worker-medium:1", ELSEWHERE),
    "a task of another family": Access("ecs:RunTask", f"{DEFINITION}/payments:7", HERE),
    "a task of the daemon's own family": Access("ecs:RunTask", f"{DEFINITION}/dagy-control:1", HERE),
    "a family that begins like ours": Access("ecs:RunTask", f"{DEFINITION}/dagy-worker-medium-evil:1", HERE),
    "a new revision": Access("ecs:RegisterTaskDefinition", "*"),
    "the end of a revision": Access("ecs:DeregisterTaskDefinition", "*"),
    "another desired count": Access(
        "ecs:UpdateService", "arn:aws:ecs:us-east-1:123456789012:service/dagy/dagy-control", HERE
    ),
    "a shell in a worker": Access("ecs:ExecuteCommand", f"{TASK}/dagy/1", HERE),
    "the stop of a task elsewhere": Access("ecs:StopTask", f"{TASK}/payments/1", ELSEWHERE),
    "the stop of a task elsewhere, said to be here": Access("ecs:StopTask", f"{TASK}/payments/1", HERE),
    "a look at tasks elsewhere": Access("ecs:DescribeTasks", f"{TASK}/payments/1", ELSEWHERE),
    "a list of tasks elsewhere": Access("ecs:ListTasks", "*", ELSEWHERE),
    "tags on a task that runs already": Access(
        "ecs:TagResource", f"{TASK}/dagy/1", {"ecs:CreateAction": "TagResource"}
    ),
    "the end of the cluster": Access("ecs:DeleteCluster", CLUSTER),
    "another role for a task": Access("iam:PassRole", "arn:aws:iam::123456789012:role/admin", TO_TASKS),
    "our role for another service": Access(
        "iam:PassRole", "{worker_role}", {"iam:PassedToService": "lambda.amazonaws.com"}
    ),
    "the daemon's own role for a task": Access("iam:PassRole", "{daemon_role}", TO_TASKS),
    "more permissions for itself": Access("iam:PutRolePolicy", "{daemon_role}"),
    "a new user": Access("iam:CreateUser", "arn:aws:iam::123456789012:user/x"),
    "another role": Access("sts:AssumeRole", "arn:aws:iam::123456789012:role/admin"),
    "the end of a table": Access("dynamodb:DeleteTable", f"{TABLE}/DAGY_RUNS"),
    "a new table": Access("dynamodb:CreateTable", f"{TABLE}/DAGY_RUNS"),
    "another table's settings": Access("dynamodb:UpdateTable", f"{TABLE}/DAGY_RUNS"),
    "the end of the backups": Access("dynamodb:UpdateContinuousBackups", f"{TABLE}/DAGY_RUNS"),
    "the end of a run's record": Access("dynamodb:DeleteItem", f"{TABLE}/DAGY_RUNS"),
    "all runs at once": Access("dynamodb:Scan", f"{TABLE}/DAGY_RUNS"),
    "another's table": Access("dynamodb:GetItem", f"{TABLE}/payments"),
    "a write into a state table": Access("dynamodb:UpdateItem", f"{TABLE}/retraining-state"),
    "statements in SQL": Access("dynamodb:PartiQLUpdate", f"{TABLE}/DAGY_RUNS"),
    "an object outside of every prefix": Access("s3:PutObject", f"{BUCKET}/elsewhere/x"),
    "another bucket": Access("s3:GetObject", "arn:aws:s3:::payments/artifacts/x"),
    "the end of an artifact": Access("s3:DeleteObject", f"{BUCKET}/artifacts/a.zip"),
    "the end of an artifact's old version": Access("s3:DeleteObjectVersion", f"{BUCKET}/artifacts/a.zip"),
    "another policy for the bucket": Access("s3:PutBucketPolicy", BUCKET),
    "an open bucket": Access("s3:PutBucketPublicAccessBlock", BUCKET),
    "an empty queue": Access("sqs:PurgeQueue", "arn:aws:sqs:us-east-1:123456789012:dagy-task-state"),
    "another queue": Access("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:payments"),
    "another topic": Access("sns:Publish", "arn:aws:sns:us-east-1:123456789012:payments"),
    "a mail to oneself": Access("sns:Subscribe", "arn:aws:sns:us-east-1:123456789012:dagy-alerts"),
    "another's parameter": Access("ssm:GetParameter", f"{SSM}/payments/password"),
    "a path that begins like ours": Access("ssm:GetParameter", f"{SSM}/dagy-secrets/password"),
    "another configuration": Access("ssm:PutParameter", f"{SSM}/dagy/config.toml"),
    "another's secret": Access("secretsmanager:GetSecretValue", f"{SECRETS}:payments/password-AbCdEf"),
    "a secret whose name goes on": Access(
        "secretsmanager:GetSecretValue", f"{SECRETS}:dagy/api-token-of-another-AbCdEf"
    ),
    "a secret's new value": Access("secretsmanager:PutSecretValue", f"{SECRETS}:dagy/api-token-AbCdEf"),
    "the images": Access("ecr:PutImage", "arn:aws:ecr:us-east-1:123456789012:repository/dagy-worker"),
    "the end of the logs": Access(
        "logs:DeleteLogGroup", "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/dagy-worker:*"
    ),
}
"""Neither the daemon nor a worker nor an operator, nor ECS on their behalf."""

WORKER = {
    "a task": Access("ecs:RunTask", f"{DEFINITION}/dagy-worker-medium:1", HERE),
    "the stop of another's task": Access("ecs:StopTask", f"{TASK}/dagy/1", HERE),
    "a look at other tasks": Access("ecs:DescribeTasks", f"{TASK}/dagy/1", HERE),
    "a role": Access("iam:PassRole", "{worker_role}", TO_TASKS),
    "a new run": Access("dynamodb:PutItem", f"{TABLE}/DAGY_RUNS"),
    "a list of an organisation's runs": Access("dynamodb:Query", f"{TABLE}/DAGY_RUNS/index/by_org"),
    "a lease": Access("dynamodb:PutItem", f"{TABLE}/DAGY_LEASES"),
    "another flow": Access("dynamodb:UpdateItem", f"{TABLE}/DAGY_FLOWS"),
    "another package": Access("dynamodb:PutItem", f"{TABLE}/DAGY_DEP_PACKAGES"),
    "a deployment": Access("dynamodb:GetItem", f"{TABLE}/DAGY_DEPLOYMENTS"),
    "another artifact": Access("s3:PutObject", f"{BUCKET}/artifacts/acme/etl.zip"),
    "another package's content": Access("s3:PutObject", f"{BUCKET}/dep-packages/numpy.zip"),
    "somebody's result": Access("s3:GetObject", f"{BUCKET}/results/{RUN}"),
    "somebody's traces": Access("s3:GetObject", f"{TRACES}/traces/4d5e/x.txt"),
    "a list of artifacts": Access("s3:ListBucket", BUCKET),
    "an event": Access("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:dagy-task-state"),
    "an alert": Access("sns:Publish", "arn:aws:sns:us-east-1:123456789012:dagy-alerts"),
    "the daemon's configuration": Access("ssm:GetParameter", f"{SSM}/dagy/config.toml"),
    "the API's token": Access("secretsmanager:GetSecretValue", f"{SECRETS}:dagy/api-token-AbCdEf"),
}
"""User code can read the worker's credentials: this is what they are no good for."""

DAEMON = {
    "a new run": Access("dynamodb:PutItem", f"{TABLE}/DAGY_RUNS"),
    "a flow": Access("dynamodb:UpdateItem", f"{TABLE}/DAGY_FLOWS"),
    "code": Access("s3:GetObject", f"{BUCKET}/artifacts/acme/etl.zip"),
    "other code": Access("s3:PutObject", f"{BUCKET}/artifacts/acme/etl.zip"),
    "a result": Access("s3:PutObject", f"{BUCKET}/results/{RUN}"),
    "a new event": Access("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:dagy-task-state"),
}
OPERATOR = {
    "a task past the daemon": Access("ecs:RunTask", f"{DEFINITION}/dagy-worker-medium:1", HERE),
    "a role": Access("iam:PassRole", "{worker_role}", TO_TASKS),
    "a lease": Access("dynamodb:PutItem", f"{TABLE}/DAGY_LEASES"),
    "a result": Access("s3:PutObject", f"{BUCKET}/results/{RUN}"),
}
DANGERS = [
    *(
        (role, name, access)
        for name, access in NOBODY.items()
        for role in ("DaemonRole", "WorkerRole", "OperatorPolicy")
    ),
    *(
        (role, name, access)
        for name, access in NOBODY.items()
        for role in ("DaemonExecutionRole", "WorkerExecutionRole")
    ),
    *(("WorkerRole", name, access) for name, access in WORKER.items()),
    *(("DaemonRole", name, access) for name, access in DAEMON.items()),
    *(("OperatorPolicy", name, access) for name, access in OPERATOR.items()),
]
ROLES = ("DaemonRole", "WorkerRole", "OperatorPolicy", "DaemonExecutionRole", "WorkerExecutionRole")
ANY_RESOURCE = {"ecs:ListTasks", "ecr:GetAuthorizationToken"}
"""Actions that know no resource that we could name (Service Authorization Reference)."""


def filled(access: Access, template: Template) -> Access:
    """With the names that CloudFormation gives."""
    buckets = {
        name: template.name(_logical(template, "AWS::S3::Bucket", prefix))
        for name, prefix in (("artifacts", "Art"), ("traces", "Trace"))
    }
    roles = {
        name: template.resolve({"Fn::GetAtt": [_logical(template, "AWS::IAM::Role", prefix), "Arn"]})
        for name, prefix in (("worker_role", "WorkerRole"), ("daemon_role", "DaemonRole"))
    }
    return Access(access.action, access.resource.format(**buckets, **roles), access.context)


@pytest.mark.parametrize(
    ("role", "danger", "access"), DANGERS, ids=[f"{role} may not have {name}" for role, name, _ in DANGERS]
)
def test_what_is_dangerous_is_denied(role: str, danger: str, access: Access, deployed: Template) -> None:
    decision = decide(deployed.statements(role), filled(access, deployed))
    assert not decision.allowed, f"{danger}: permitted by {decision.sid}"


@pytest.mark.parametrize(
    ("role", "access"),
    [
        pytest.param(
            "DaemonRole", Access("iam:PassRole", "{worker_role}", TO_TASKS), id="the worker's role for a task"
        ),
        pytest.param("DaemonRole", Access("s3:GetObject", f"{BUCKET}/results/{RUN}"), id="a result"),
        pytest.param(
            "DaemonRole",
            Access("secretsmanager:GetSecretValue", f"{SECRETS}:dagy/api-token-AbCdEf"),
            id="its own secret",
        ),
        pytest.param("DaemonRole", Access("ssm:GetParameter", f"{SSM}/dagy/values/token"), id="a value below its path"),
        pytest.param("DaemonRole", Access("dynamodb:BatchGetItem", f"{TABLE}/trading-state"), id="a state table"),
        pytest.param("WorkerRole", Access("s3:PutObject", f"{TRACES}/traces/4d5e/x.txt"), id="a trace"),
        pytest.param("WorkerRole", Access("s3:PutObject", f"{BUCKET}/results/{RUN}"), id="its fallback result"),
    ],
)
def test_the_dangers_are_denied_for_what_they_are_and_not_for_their_spelling(
    role: str, access: Access, deployed: Template
) -> None:
    """The neighbour of each danger, which is permitted: the names above are those that CloudFormation would give."""
    assert decide(deployed.statements(role), filled(access, deployed)).allowed


@pytest.mark.parametrize("role", ROLES)
def test_no_statement_has_a_wildcard_for_actions_or_for_all_resources(
    role: str, deployed: Template, example: Template, existing: Template
) -> None:
    for template in (deployed, example, existing):
        for statement in template.statements(role):
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            assert [action for action in actions if "*" in action or "?" in action] == []
            resources = [statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"]
            assert "*" not in resources or set(actions) <= ANY_RESOURCE, statement["Sid"]
            assert set(actions) != {"ecs:ListTasks"} or "Condition" in statement


@pytest.mark.parametrize("role", [role for role in ROLES if role.endswith("Role")])
def test_a_role_is_for_tasks_of_this_account_only(role: str, deployed: Template) -> None:
    (statement,) = deployed.named(role, "AWS::IAM::Role")["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}


def test_a_customers_key_is_of_use_through_dynamodb_and_s3_only(existing: Template) -> None:
    (key,) = existing.of_type("AWS::KMS::Key")
    arn = existing.resolve({"Fn::GetAtt": [key, "Arn"]})
    for role in ("DaemonRole", "WorkerRole", "OperatorPolicy"):
        through = decide(
            existing.statements(role), Access("kms:Decrypt", arn, {"kms:ViaService": "s3.us-east-1.amazonaws.com"})
        )
        alone = decide(existing.statements(role), Access("kms:Decrypt", arn))
        assert (through.allowed, alone.allowed) == (True, False)


def test_what_ecs_pulls_and_writes_is_named(deployed: Template, existing: Template) -> None:
    repository = "arn:aws:ecr:us-east-1:123456789012:repository"
    statements = deployed.statements("WorkerExecutionRole")
    assert decide(statements, Access("ecr:BatchGetImage", f"{repository}/dagy-worker")).allowed
    assert not decide(statements, Access("ecr:BatchGetImage", f"{repository}/dagy-control")).allowed
    log = "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/dagy-{}:*"
    assert decide(statements, Access("logs:PutLogEvents", log.format("worker"))).allowed
    assert not decide(statements, Access("logs:PutLogEvents", log.format("control"))).allowed
    public = {
        action
        for each in existing.statements("WorkerExecutionRole")
        for action in [each["Action"]]
        if isinstance(action, str)
    }
    assert not any(action.startswith("ecr:") for action in public), (
        "an image that is not in ECR needs no permission of ECR"
    )


def _logical(template: Template, kind: str, prefix: str) -> str:
    return next(name for name in template.of_type(kind) if name.startswith(prefix))
