"""The two buckets: artifacts, packages and fallback results in one; exception traces, which expire, in the other. And the key."""

from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from deploy.stack.config import StackConfig

INCOMPLETE_UPLOAD_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The buckets."""

    artifacts: s3.Bucket
    traces: s3.Bucket


def make_key(stack: Stack, config: StackConfig) -> kms.Key | None:
    """The customer's key, where one is wanted."""
    if not config.customer_key:
        return None
    return kms.Key(
        stack,
        "Key",
        description=f"Tables and buckets of the dagy_control installation {config.installation}",
        enable_key_rotation=True,
        removal_policy=RemovalPolicy.RETAIN,  # what it encrypted is lost with it
    )


def make_storage(stack: Stack, config: StackConfig, key: kms.IKey | None) -> Storage:
    """Both buckets: private, by TLS only, encrypted. Artifacts are versioned, so that an overwritten one can be had again."""
    kept = s3.LifecycleRule(
        id="old-versions",
        noncurrent_version_expiration=Duration.days(config.artifact_noncurrent_days),
        abort_incomplete_multipart_upload_after=Duration.days(INCOMPLETE_UPLOAD_DAYS),
    )
    expiring = s3.LifecycleRule(id="traces", expiration=Duration.days(config.trace_days))
    return Storage(
        artifacts=_bucket(stack, config, key, "ArtifactBucket", kept, versioned=True),
        traces=_bucket(stack, config, key, "TraceBucket", expiring, versioned=False),
    )


def _bucket(
    stack: Stack, config: StackConfig, key: kms.IKey | None, name: str, rule: s3.LifecycleRule, *, versioned: bool
) -> s3.Bucket:
    return s3.Bucket(
        stack,
        name,
        versioned=versioned,
        lifecycle_rules=[rule],
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        encryption=s3.BucketEncryption.KMS if key is not None else s3.BucketEncryption.S3_MANAGED,
        encryption_key=key,
        bucket_key_enabled=True if key is not None else None,
        removal_policy=RemovalPolicy.RETAIN if config.deletion_protection else RemovalPolicy.DESTROY,
    )
