"""Making a bucket, for the embedded cloud: in AWS the stack makes it, with its encryption and lifecycle."""

from typing import TYPE_CHECKING

from dagy_control.adapters.calls import AwsCalls
from dagy_control.errors import Permanent

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


async def ensure_bucket(client: "S3Client", calls: AwsCalls, name: str) -> None:
    """Create the bucket unless it is ours already."""
    try:
        with calls.of("s3")("CreateBucket"):
            await client.create_bucket(Bucket=name)
    except Permanent as error:
        if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
