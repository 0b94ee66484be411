"""The templates, as `deploy/synth.sh` writes them, and the answers that CloudFormation would give to what they leave open."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REGION, ACCOUNT = "us-east-1", "123456789012"
PSEUDO = {
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "dagy",
}
PHYSICAL_NAMES = (
    "TableName",
    "QueueName",
    "ClusterName",
    "TopicName",
    "RoleName",
    "LogGroupName",
    "BucketName",
    "ServiceName",
    "Name",
)
ARNS = {
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:{region}:{account}:table/{name}",
    "AWS::SQS::Queue": "arn:aws:sqs:{region}:{account}:{name}",
    "AWS::SNS::Topic": "arn:aws:sns:{region}:{account}:{name}",
    "AWS::ECS::Cluster": "arn:aws:ecs:{region}:{account}:cluster/{name}",
    "AWS::IAM::Role": "arn:aws:iam::{account}:role/{name}",
    "AWS::Logs::LogGroup": "arn:aws:logs:{region}:{account}:log-group:{name}:*",
    "AWS::KMS::Key": "arn:aws:kms:{region}:{account}:key/{name}",
    "AWS::Events::Rule": "arn:aws:events:{region}:{account}:rule/{name}",
}

Json = dict[str, Any]


class SynthesisRefused(Exception):
    """The app ended with a refusal; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Template:
    """One template. `physical`: names that are known from a deployment, by logical id; the others are made up."""

    body: Json
    physical: Mapping[str, str]

    def of_type(self, kind: str) -> dict[str, Json]:
        """The properties of each resource of a type, by logical id; intrinsic functions as they are."""
        return {
            name: each.get("Properties", {}) for name, each in self.body["Resources"].items() if each["Type"] == kind
        }

    def named(self, prefix: str, kind: str) -> Json:
        """The properties of the only resource of a type whose logical id begins so, resolved."""
        (found,) = [properties for name, properties in self.of_type(kind).items() if name.startswith(prefix)]
        resolved: Json = self.resolve(found)
        return resolved

    def statements(self, prefix: str) -> list[Json]:
        """The statements of a role, or of a managed policy, resolved."""
        kind = "AWS::IAM::ManagedPolicy" if prefix.endswith("Policy") else "AWS::IAM::Role"
        properties = self.named(prefix, kind)
        documents = [each["PolicyDocument"] for each in properties.get("Policies", ())] or [
            properties["PolicyDocument"]
        ]
        return [statement for document in documents for statement in document["Statement"]]

    def resolve(self, value: Any) -> Any:
        """The value with every intrinsic function answered."""
        if isinstance(value, list):
            return [self.resolve(each) for each in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, arguments),) = value.items()
            if function == "Ref":
                return PSEUDO[arguments] if arguments in PSEUDO else self._ref(arguments)
            if function == "Fn::GetAtt":
                return self._attribute(*arguments)
            if function == "Fn::Join":
                return arguments[0].join(str(self.resolve(each)) for each in arguments[1])
            if function == "Fn::Select":
                return self.resolve(arguments[1])[int(arguments[0])]
            if function == "Fn::GetAZs":
                return [f"{REGION}{letter}" for letter in "abc"]
            if function.startswith("Fn::"):
                raise NotImplementedError(function)
        return {name: self.resolve(each) for name, each in value.items()}

    def name(self, logical: str) -> str:
        """The name of a resource."""
        if logical in self.physical:
            return (
                self.physical[logical].rpartition("/")[2] if "://" in self.physical[logical] else self.physical[logical]
            )
        properties = self.body["Resources"][logical].get("Properties", {})
        given = next((properties[key] for key in PHYSICAL_NAMES if isinstance(properties.get(key), str)), None)
        return given or logical.lower()

    def _ref(self, logical: str) -> str:
        kind = self.body["Resources"][logical]["Type"]
        if kind == "AWS::SQS::Queue":
            return self.physical.get(logical) or f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{self.name(logical)}"
        if kind == "AWS::SNS::Topic":
            return self._arn(logical)
        if kind == "AWS::EC2::Subnet" and logical not in self.physical:
            return f"subnet-{logical.lower()}"
        return self.name(logical)

    def _attribute(self, logical: str, attribute: str) -> str:
        if attribute in ("Arn", "TopicArn"):
            return self._arn(logical)
        if attribute == "GroupId":
            return self.physical.get(logical) or f"sg-{logical.lower()}"
        if attribute.endswith("Name"):
            return self.name(logical)
        return f"{logical}.{attribute}"

    def _arn(self, logical: str) -> str:
        name = self.name(logical)
        if name.startswith("arn:"):
            return name
        kind = self.body["Resources"][logical]["Type"]
        return ARNS.get(kind, "arn:aws:other:::{name}").format(name=name, region=REGION, account=ACCOUNT)


def synthesize(folder: Path, configuration: str | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """The folder of the templates of a configuration (TOML; None: the example). Raises `SynthesisRefused`."""
    out = folder / "cdk.out"
    variables = {**os.environ, "CDK_OUTDIR": str(out), **(environment or {})}
    if configuration is not None:
        file = folder / "installation.toml"
        file.write_text(configuration)
        variables["DAGY_STACK"] = str(file)
    done = subprocess.run([ROOT / "deploy" / "synth.sh"], env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SynthesisRefused(f"{done.stdout}\n{done.stderr}")
    return out


def read_template(path: Path, physical: Mapping[str, str] | None = None) -> Template:
    """The template in a file."""
    return Template(json.loads(path.read_text()), physical or {})
