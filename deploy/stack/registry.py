"""Where the images are pushed to. A stack of its own: it must be there before the first image, and the images before the rest."""

from aws_cdk import CfnOutput, RemovalPolicy, Stack, StackProps
from aws_cdk import aws_ecr as ecr
from constructs import Construct

IMAGES_KEPT = 30
"""Older ones expire. A task definition that names one of them cannot start any more: roll back no further."""


class RegistryStack(Stack):
    """Two repositories, whose tags cannot be moved."""

    def __init__(self, scope: Construct, name: str, *, installation: str, props: StackProps) -> None:
        super().__init__(scope, name, synthesizer=props.synthesizer, description=props.description)
        for image in ("control", "worker"):
            repository = ecr.Repository(
                self,
                image.capitalize(),
                repository_name=f"{installation}-{image}",
                image_tag_mutability=ecr.TagMutability.IMMUTABLE,
                image_scan_on_push=True,
                lifecycle_rules=[ecr.LifecycleRule(max_image_count=IMAGES_KEPT)],
                removal_policy=RemovalPolicy.RETAIN,
            )
            CfnOutput(self, f"{image.capitalize()}Repository", value=repository.repository_uri)
