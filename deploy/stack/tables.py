"""The DynamoDB tables, as `dagy-control tables create` makes them: both read `dagy_control.model.tables`."""

from collections.abc import Mapping

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms

from dagy_control.model.tables import TABLES, IndexSpec, Projection, TableSpec
from deploy.stack.config import StackConfig

PROJECTIONS = {
    Projection.ALL: dynamodb.ProjectionType.ALL,
    Projection.KEYS_ONLY: dynamodb.ProjectionType.KEYS_ONLY,
    Projection.INCLUDE: dynamodb.ProjectionType.INCLUDE,
}


def make_tables(stack: Stack, config: StackConfig, key: kms.IKey | None) -> Mapping[str, dynamodb.Table]:
    """Every table of the program, by its field in `settings.tables`."""
    return {spec.setting: _table(stack, config, key, spec) for spec in TABLES}


def table_name(config: StackConfig, setting: str) -> str:
    """`DAGY_RUNS` for `runs` of the installation `dagy`."""
    return config.table_prefix + setting.upper()


def construct_name(spec: TableSpec) -> str:
    """`TaskRunsTable`: what the table is called within the stack. Another name would be another table."""
    return "".join(word.capitalize() for word in spec.setting.split("_")) + "Table"


def _table(stack: Stack, config: StackConfig, key: kms.IKey | None, spec: TableSpec) -> dynamodb.Table:
    table = dynamodb.Table(
        stack,
        construct_name(spec),
        table_name=table_name(config, spec.setting),
        partition_key=_key(spec.hash_key),
        sort_key=_key(spec.range_key) if spec.range_key is not None else None,
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        time_to_live_attribute=spec.ttl_attribute,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=config.point_in_time_recovery
        ),
        deletion_protection=config.deletion_protection,
        removal_policy=RemovalPolicy.RETAIN if config.deletion_protection else RemovalPolicy.DESTROY,
        encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if key is not None else dynamodb.TableEncryption.DEFAULT,
        encryption_key=key,
    )
    for index in spec.indexes:
        _add_index(table, index)
    return table


def _add_index(table: dynamodb.Table, index: IndexSpec) -> None:
    table.add_global_secondary_index(
        index_name=index.name,
        partition_key=_key(index.hash_key),
        sort_key=_key(index.range_key),
        projection_type=PROJECTIONS[index.projection],
        non_key_attributes=list(index.included) or None,
    )


def _key(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
