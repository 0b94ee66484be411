"""What the template says of each resource: what moto drops silently is asserted here, and what strangers must be able to rely on."""

import json
import re
from pathlib import Path

import pytest

from dagy_control.config.cloud import EcsSettings
from dagy_control.kernel.emf import Figure
from dagy_control.model.tables import TABLES, Projection, TableSpec
from tests.deploy.synthesis import ROOT, Json, Template

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(300)]

WORLD = "0.0.0.0/0"


@pytest.mark.parametrize("spec", TABLES, ids=lambda spec: spec.setting)
def test_a_table_is_what_tables_create_makes(spec: TableSpec, example: Template) -> None:
    (table,) = [
        each
        for each in example.of_type("AWS::DynamoDB::Table").values()
        if each["TableName"] == f"DAGY_{spec.setting.upper()}"
    ]
    assert {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]} == dict.fromkeys(
        spec.key_attributes, "S"
    )
    assert table["KeySchema"] == _schema(spec.hash_key, spec.range_key)
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["DeletionProtectionEnabled"] is True
    ttl = {"AttributeName": spec.ttl_attribute, "Enabled": True} if spec.ttl_attribute else None
    assert table.get("TimeToLiveSpecification") == ttl
    indexes = {each["IndexName"]: each for each in table.get("GlobalSecondaryIndexes", ())}
    assert set(indexes) == {each.name for each in spec.indexes}
    for index in spec.indexes:
        assert indexes[index.name]["KeySchema"] == _schema(index.hash_key, index.range_key)
        projection = indexes[index.name]["Projection"]
        assert projection["ProjectionType"] == index.projection
        assert set(projection.get("NonKeyAttributes", ())) == set(index.included)
        assert (index.projection is Projection.INCLUDE) == bool(index.included)


def test_tables_and_buckets_outlive_the_stack_unless_said_otherwise(example: Template, existing: Template) -> None:
    kept = ("AWS::DynamoDB::Table", "AWS::S3::Bucket")
    for template, policy in ((example, "Retain"), (existing, "Delete")):
        policies = {each["DeletionPolicy"] for each in template.body["Resources"].values() if each["Type"] in kept}
        assert policies == {policy}


def test_artifacts_are_versioned_and_old_versions_expire_after_90_days(example: Template) -> None:
    bucket = example.named("ArtifactBucket", "AWS::S3::Bucket")
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["NoncurrentVersionExpiration"]) == ("Enabled", {"NoncurrentDays": 90})
    (rule,) = example.named("TraceBucket", "AWS::S3::Bucket")["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 30)


@pytest.mark.parametrize("name", ["ArtifactBucket", "TraceBucket"])
def test_a_bucket_is_private_encrypted_and_spoken_to_by_tls_only(name: str, example: Template) -> None:
    bucket = example.named(name, "AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    policies = [example.resolve(each) for each in example.of_type("AWS::S3::BucketPolicy").values()]
    statements = [
        s
        for each in policies
        if each["Bucket"] == example.resolve({"Ref": _logical(example, name)})
        for s in each["PolicyDocument"]["Statement"]
    ]
    assert {"Bool": {"aws:SecureTransport": "false"}} in [
        each["Condition"] for each in statements if each["Effect"] == "Deny"
    ]
    assert [each for each in statements if each["Effect"] == "Allow"] == []


def test_a_customers_key_encrypts_tables_and_buckets_and_is_rotated(existing: Template) -> None:
    (key,) = existing.of_type("AWS::KMS::Key").values()
    assert key["EnableKeyRotation"] is True
    for table in existing.of_type("AWS::DynamoDB::Table").values():
        assert table["SSESpecification"]["SSEType"] == "KMS"
    for bucket in existing.of_type("AWS::S3::Bucket").values():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert (rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"], rule["BucketKeyEnabled"]) == ("aws:kms", True)


def test_only_events_of_this_cluster_reach_the_queue_and_only_eventbridge_may_send_them(example: Template) -> None:
    (rule,) = [example.resolve(each) for each in example.of_type("AWS::Events::Rule").values()]
    assert rule["EventPattern"] == {
        "source": ["aws.ecs"],
        "detail-type": ["ECS Task State Change"],
        "detail": {"clusterArn": ["arn:aws:ecs:us-east-1:123456789012:cluster/dagy"]},
    }
    queue_policies = [example.resolve(each) for each in example.of_type("AWS::SQS::QueuePolicy").values()]
    statements = [s for each in queue_policies for s in each["PolicyDocument"]["Statement"]]
    allowed = [each for each in statements if each["Effect"] == "Allow"]
    assert [each["Principal"] for each in allowed] == [{"Service": "events.amazonaws.com"}]
    assert all("aws:SourceArn" in each["Condition"]["ArnEquals"] for each in allowed)
    assert sum(each["Effect"] == "Deny" for each in statements) == 2, "both queues refuse what does not come by TLS"


def test_what_nobody_can_use_goes_to_the_dead_letter_queue(example: Template) -> None:
    queue = example.named("TaskStateQueue", "AWS::SQS::Queue")
    dead = example.named("DeadLetterQueue", "AWS::SQS::Queue")
    assert queue["RedrivePolicy"]["deadLetterTargetArn"].endswith(dead["QueueName"])
    assert queue["RedrivePolicy"]["maxReceiveCount"] >= 10, "the advice of events.dead_letter_queue_url"
    assert dead["MessageRetentionPeriod"] == 14 * 86_400
    assert (queue["SqsManagedSseEnabled"], dead["SqsManagedSseEnabled"]) == (True, True)


def test_the_cluster_has_both_providers_and_the_configured_strategy(example: Template) -> None:
    (providers,) = example.of_type("AWS::ECS::ClusterCapacityProviderAssociations").values()
    assert set(providers["CapacityProviders"]) == {"FARGATE", "FARGATE_SPOT"}
    assert providers["DefaultCapacityProviderStrategy"] == [
        {"CapacityProvider": "FARGATE", "Weight": 30},
        {"CapacityProvider": "FARGATE_SPOT", "Weight": 70},
    ]


def test_logs_are_kept_for_the_configured_days(example: Template) -> None:
    groups = {each["LogGroupName"]: each["RetentionInDays"] for each in example.of_type("AWS::Logs::LogGroup").values()}
    assert groups == {"/ecs/dagy-worker": 30, "/ecs/dagy-control": 30}


def test_each_profile_of_the_product_has_a_task_definition_of_its_size(example: Template) -> None:
    definitions = {
        each["Family"]: each for each in map(example.resolve, example.of_type("AWS::ECS::TaskDefinition").values())
    }
    for name, profile in EcsSettings().profiles.items():
        definition = definitions.pop(f"dagy-worker-{name}")
        assert (definition["Cpu"], definition["Memory"]) == (str(profile.cpu), str(profile.memory))
        (container,) = definition["ContainerDefinitions"]
        assert (container["Name"], container["StopTimeout"], container["ReadonlyRootFilesystem"]) == (
            "dagy-worker",
            30,
            True,
        )
        assert container["MountPoints"] == [{"ContainerPath": "/tmp", "ReadOnly": False, "SourceVolume": "scratch"}]  # noqa: S108
        assert container["LogConfiguration"]["Options"]["awslogs-group"] == "/ecs/dagy-worker"
        assert container["LogConfiguration"]["Options"]["mode"] == "non-blocking"
        assert "Environment" not in container
        assert "Secrets" not in container
    assert list(definitions) == ["dagy-control"]


def test_the_daemons_container_agrees_with_its_image(example: Template) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    check = re.search(
        r"HEALTHCHECK --interval=(\d+)s --timeout=(\d+)s --start-period=(\d+)s --retries=(\d+) CMD (\[.*\])", dockerfile
    )
    assert check is not None
    interval, timeout, start, retries = (int(number) for number in check.groups()[:4])
    definition = example.named("DaemonDefinition", "AWS::ECS::TaskDefinition")
    (container,) = definition["ContainerDefinitions"]
    assert container["HealthCheck"] == {
        "Command": ["CMD", *json.loads(check[5])],
        "Interval": interval,
        "Timeout": timeout,
        "StartPeriod": start,
        "Retries": retries,
    }
    assert [each["ContainerPort"] for each in container["PortMappings"]] == [9464]
    assert "EXPOSE 9464" in dockerfile
    assert container["ReadonlyRootFilesystem"] is True
    assert (definition["Cpu"], definition["Memory"]) == ("256", "512")
    assert container["Environment"] == [{"Name": "DAGY_CONFIG", "Value": "ssm:/dagy/config.toml"}]
    worker = (ROOT / "Dockerfile.worker").read_text()
    assert 'VOLUME ["/tmp"]' in worker, "without it the volume that the worker writes to would be root's alone"


def test_the_daemon_is_replaced_by_rolling_and_rolled_back_when_it_does_not_come_up(
    example: Template, deployed: Template
) -> None:
    service = example.named("DaemonService", "AWS::ECS::Service")
    assert service["DeploymentConfiguration"]["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert (
        service["DeploymentConfiguration"]["MinimumHealthyPercent"],
        service["DeploymentConfiguration"]["MaximumPercent"],
    ) == (100, 200)
    assert service["CapacityProviderStrategy"] == [{"CapacityProvider": "FARGATE", "Weight": 1}]
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    assert (service["DesiredCount"], deployed.named("DaemonService", "AWS::ECS::Service")["DesiredCount"]) == (1, 2)
    assert service.get("EnableExecuteCommand") in (None, False)
    definition = deployed.named("DaemonDefinition", "AWS::ECS::TaskDefinition")
    assert definition["RuntimePlatform"] == {"CpuArchitecture": "ARM64", "OperatingSystemFamily": "LINUX"}
    assert definition["ContainerDefinitions"][0]["StopTimeout"] == 60


def test_every_daemon_has_an_a_record_that_prometheus_finds(example: Template) -> None:
    (found,) = example.of_type("AWS::ServiceDiscovery::Service").values()
    assert (found["Name"], found["DnsConfig"]["DnsRecords"]) == ("dagy-control", [{"TTL": 15, "Type": "A"}])
    (namespace,) = example.of_type("AWS::ServiceDiscovery::PrivateDnsNamespace").values()
    assert namespace["Name"] == "dagy.internal"


def test_nobody_reaches_a_worker_and_prometheus_alone_the_daemon(example: Template, existing: Template) -> None:
    for template in (example, existing):
        for name, group in template.of_type("AWS::EC2::SecurityGroup").items():
            assert group.get("SecurityGroupIngress", []) == [], name
            assert [(each["CidrIp"], each["FromPort"], each["ToPort"]) for each in group["SecurityGroupEgress"]] == [
                (WORLD, 443, 443)
            ]
    assert example.of_type("AWS::EC2::SecurityGroupIngress") == {}
    (rule,) = existing.of_type("AWS::EC2::SecurityGroupIngress").values()
    assert (rule["SourceSecurityGroupId"], rule["FromPort"], rule["ToPort"]) == ("sg-0123456789abcdef0", 9464, 9464)


def test_s3_and_dynamodb_are_reached_by_gateways_and_without_nat_the_rest_by_interfaces(
    example: Template, deployed: Template
) -> None:
    def endpoints(template: Template) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {"Gateway": [], "Interface": []}
        for each in map(template.resolve, template.of_type("AWS::EC2::VPCEndpoint").values()):
            found[each["VpcEndpointType"]].append(each["ServiceName"].removeprefix("com.amazonaws.us-east-1."))
        return {kind: sorted(names) for kind, names in found.items()}

    assert endpoints(example) == {"Gateway": ["dynamodb", "s3"], "Interface": []}
    assert len(example.of_type("AWS::EC2::NatGateway")) == 1
    private = endpoints(deployed)
    assert private["Gateway"] == ["dynamodb", "s3"]
    assert private["Interface"] == ["ecr.api", "ecr.dkr", "ecs", "logs", "secretsmanager", "sns", "sqs", "ssm"]
    assert deployed.of_type("AWS::EC2::NatGateway") == {}
    assert deployed.of_type("AWS::EC2::InternetGateway") == {}


def test_an_existing_vpc_is_used_as_it_is(existing: Template) -> None:
    assert existing.of_type("AWS::EC2::VPC") == {}
    assert existing.of_type("AWS::EC2::Subnet") == {}
    service = existing.named("DaemonService", "AWS::ECS::Service")
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["Subnets"] == [
        "subnet-0aaaaaaaaaaaaaaaa",
        "subnet-0bbbbbbbbbbbbbbbb",
    ]


def test_alarms_watch_what_the_program_writes_and_tell_the_topic(example: Template) -> None:
    alarms = {
        each["AlarmName"]: each for each in map(example.resolve, example.of_type("AWS::CloudWatch::Alarm").values())
    }
    assert set(alarms) == {
        f"dagy-{name}" for name in ("RunsFailing", "ReconcileLate", "EventsWait", "DeadLetters", "DaemonAbsent")
    }
    topic = "arn:aws:sns:us-east-1:123456789012:dagy-alerts"
    assert all(each["AlarmActions"] == each["OKActions"] == [topic] for each in alarms.values())
    share = [each["MetricStat"]["Metric"] for each in alarms["dagy-RunsFailing"]["Metrics"] if "MetricStat" in each]
    ours = [*share, alarms["dagy-ReconcileLate"], alarms["dagy-DaemonAbsent"]]
    assert {each["MetricName"] for each in ours} == {figure.value for figure in Figure}
    dimensions = [{"Name": "Environment", "Value": "prod"}, {"Name": "Installation", "Value": "dagy"}]
    assert all((each["Namespace"], sorted(each["Dimensions"], key=str)) == ("Dagy", dimensions) for each in ours)
    assert {
        name: each["TreatMissingData"] for name, each in alarms.items() if each["TreatMissingData"] == "breaching"
    } == {"dagy-DaemonAbsent": "breaching"}


def test_alarms_of_this_account_may_publish_to_the_topic(example: Template) -> None:
    """A topic's own policy replaces the default one, by which they might: a statement that only denies would silence them."""
    (policy,) = map(example.resolve, example.of_type("AWS::SNS::TopicPolicy").values())
    (allowed,) = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Allow"]
    assert (allowed["Principal"], allowed["Action"]) == ({"Service": "cloudwatch.amazonaws.com"}, "sns:Publish")
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def test_the_topic_mails_whom_it_is_told_to(deployed: Template, example: Template) -> None:
    (mail,) = deployed.of_type("AWS::SNS::Subscription").values()
    assert (mail["Protocol"], mail["Endpoint"]) == ("email", "dagy@example.com")
    assert example.of_type("AWS::SNS::Subscription") == {}


def test_image_tags_cannot_be_moved_and_images_are_scanned(example_out: Path) -> None:
    template: Json = json.loads((example_out / "dagy-registry.template.json").read_text())
    repositories = [each for each in template["Resources"].values() if each["Type"] == "AWS::ECR::Repository"]
    assert [each["Properties"]["RepositoryName"] for each in repositories] == ["dagy-control", "dagy-worker"]
    for each in repositories:
        assert each["Properties"]["ImageTagMutability"] == "IMMUTABLE"
        assert each["Properties"]["ImageScanningConfiguration"] == {"ScanOnPush": True}
        assert each["DeletionPolicy"] == "Retain"


def _schema(hash_key: str, range_key: str | None) -> list[dict[str, str]]:
    ranged = [{"AttributeName": range_key, "KeyType": "RANGE"}] if range_key is not None else []
    return [{"AttributeName": hash_key, "KeyType": "HASH"}, *ranged]


def _logical(template: Template, prefix: str) -> str:
    return next(name for name in template.of_type("AWS::S3::Bucket") if name.startswith(prefix))
