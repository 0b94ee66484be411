"""The installation that the template describes, as far as it can be had without an account.

moto makes the resources, the ECS emulator runs the template's task definitions, the daemon is started as the template's service would.
"""

import asyncio
import json
import os
import sys
import tomllib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import boto3
from typing_extensions import override

from dagy_control.config import Settings, load_with_sources, references_in
from dagy_control.entrypoints.local_stack import CONFIG, LocalStack
from dagy_control.local.cloud import EmbeddedCloud
from tests.deploy.recorder import Call, Recorder
from tests.deploy.synthesis import REGION, Template, read_template

TEMPO = ("aws", "launching", "reconciling", "events", "orphans", "leases", "worker", "api")
"""Sections of the embedded cloud's own configuration that make things quick; as variables, over the deployed `config.toml`."""

KEY_OF = {name: f"AKIA{name.upper()}" for name in ("daemon", "worker", "operator")}
"""Access keys by principal: no plain words, because logs hide the key wherever it stands."""

API_TOKEN = "canary-api-token"
DROPPED = {"AWS::SSM::Parameter": "Tags", "AWS::ECS::Service": "ServiceRegistries"}
"""What moto's CloudFormation cannot read though CloudFormation can: a map of tags, and service discovery, which it has not."""


class DeployedStack(LocalStack):
    """`LocalStack`, but everything of it comes from the template. Calls are recorded: by `daemon`, `worker` and `operator`."""

    def __init__(self, workdir: Path, template: Path, *, secret: str) -> None:
        super().__init__(workdir, max_tasks=6)
        self.cloud = EmbeddedCloud(self.workdir, clock=self.clock, cluster="dagy")
        self.template = read_template(template)
        self.calls: list[Call] = []
        self._secret = secret

    @override
    def settings(self) -> Settings:
        """The deployed configuration, as the daemon reads it."""
        given = {each.text: API_TOKEN for each in references_in(self.config, os.environ).each}
        return load_with_sources(self.config, os.environ, given).settings

    @property
    def daemon_url(self) -> str:
        """Of the daemon that was started last."""
        assert self._daemon is not None
        return self._daemon.url

    def client(self, service: str) -> Any:
        """One of ours, past the recorder."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.cloud.aws_url,
            aws_access_key_id="setup",
            aws_secret_access_key="setup",
        )

    @override
    async def _provision(self, stack: AsyncExitStack) -> None:
        parameter = await asyncio.to_thread(self._deploy)
        self.config.write_text(parameter)
        self._let_events_flow()
        stack.callback(self.cloud.set_event_sink, None)
        recorders = {}
        for name, url in (("AWS_ENDPOINT_URL", self.cloud.aws_url), ("AWS_ENDPOINT_URL_ECS", self.cloud.ecs_url)):
            recorder = Recorder(url, clock=self.clock)
            recorder.calls = self.calls
            await recorder.start()
            stack.push_async_callback(recorder.stop)
            recorders[name] = recorder.url
        self._register_workers(recorders)
        daemon = self.template.named("DaemonDefinition", "AWS::ECS::TaskDefinition")["ContainerDefinitions"][0]
        service = {each["Name"]: each["Value"] for each in daemon["Environment"]}
        common = {**recorders, **service, **tempo(self._max_tasks)}
        os.environ.update({**common, "AWS_ACCESS_KEY_ID": KEY_OF["operator"]})
        self.environment.update({**common, "AWS_ACCESS_KEY_ID": KEY_OF["daemon"]})

    def _deploy(self) -> str:
        """Create the stack in moto; the `config.toml` that it has written."""
        body = json.loads(json.dumps(self.template.body))
        for resource in body["Resources"].values():
            resource.get("Properties", {}).pop(DROPPED.get(resource["Type"], ""), None)
        self.client("secretsmanager").create_secret(Name=self._secret, SecretString=API_TOKEN)
        formation = self.client("cloudformation")
        formation.create_stack(StackName="dagy", TemplateBody=json.dumps(body), Capabilities=["CAPABILITY_IAM"])
        (made,) = formation.describe_stacks(StackName="dagy")["Stacks"]
        assert made["StackStatus"] == "CREATE_COMPLETE", made
        resources = formation.describe_stack_resources(StackName="dagy")["StackResources"]
        physical = {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in resources
            if {"LogicalResourceId", "PhysicalResourceId"} <= set(each)
        }
        self.template = Template(self.template.body, physical)
        text: str = self.client("ssm").get_parameter(Name="/dagy/config.toml")["Parameter"]["Value"]
        return text

    def _let_events_flow(self) -> None:
        """ECS's events go to EventBridge: it is the template's rule that brings them into the template's queue."""
        bridge = self.client("events")

        async def publish(event: dict[str, Any]) -> None:
            entry = {
                "Source": event["source"],
                "DetailType": event["detail-type"],
                "Detail": json.dumps(event["detail"]),
                "Resources": event["resources"],
            }
            await asyncio.to_thread(bridge.put_events, Entries=[entry])

        self.cloud.set_event_sink(publish)

    def _register_workers(self, endpoints: dict[str, str]) -> None:
        """The template's definitions, as they are; the image is this installation's own worker, and its calls are recorded."""
        told = {**endpoints, "AWS_ACCESS_KEY_ID": KEY_OF["worker"]}
        for logical in self.template.of_type("AWS::ECS::TaskDefinition"):
            definition = lowered(self.template.named(logical, "AWS::ECS::TaskDefinition"))
            (container,) = definition["containerDefinitions"]
            container["entryPoint"] = [sys.executable, "-m", "dagy_control.entrypoints.worker"]
            container["environment"] = [
                *container.get("environment", ()),
                *({"name": name, "value": value} for name, value in told.items()),
            ]
            reply = self.cloud.driver.call("RegisterTaskDefinition", definition)
            assert reply.error is None, reply.error


def lowered(value: Any) -> Any:
    """CloudFormation's names of properties as the ECS API spells them: with a small first letter."""
    if isinstance(value, list):
        return [lowered(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {f"{name[0].lower()}{name[1:]}": lowered(each) for name, each in value.items()}


def tempo(max_tasks: int) -> dict[str, str]:
    """The embedded cloud's short times, as variables."""
    values = tomllib.loads(CONFIG.format(cluster="-", queue_url="-", port=0, max_tasks=max_tasks, start_timeout_s=60))
    variables = {"DAGY_EMBEDDED_CLOUD": "true"}
    for section in TEMPO:
        for name, value in values[section].items():
            if name != "queue_url":
                variables[f"DAGY_{section}__{name}".upper()] = (
                    str(value).lower() if isinstance(value, bool) else str(value)
                )
    return variables
