"""The ECS calls beside tasks: whether the cluster is there, and a task definition's next revision."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.calls import AwsCalls
from dagy_control.errors import Permanent

if TYPE_CHECKING:
    from types_aiobotocore_ecs import ECSClient


class EcsAdmin:
    """For readiness, deployment and local provisioning; never for the loops (RegisterTaskDefinition is limited to 1 a second)."""

    def __init__(self, client: "ECSClient", calls: AwsCalls) -> None:
        self._client = client
        self._call = calls.of("ecs")

    async def cluster_exists(self, cluster: str) -> bool:
        """Whether the cluster, named or by ARN, is there and ACTIVE. A deleted one stays visible for a while as INACTIVE."""
        with self._call("DescribeClusters"):
            answer = await self._client.describe_clusters(clusters=[cluster])
        return any(each.get("status") == "ACTIVE" for each in answer["clusters"])

    async def create_cluster(self, cluster: str) -> str:
        """Make the cluster, with both Fargate capacity providers; gives its ARN. Safe to repeat: an existing one is returned."""
        with self._call("CreateCluster"):
            answer = await self._client.create_cluster(
                clusterName=cluster, capacityProviders=["FARGATE", "FARGATE_SPOT"]
            )
        return answer["cluster"]["clusterArn"]

    async def register_task_definition(self, definition: Mapping[str, Any]) -> str:
        """Register `definition` (RegisterTaskDefinition's own parameters) as a new revision; gives its ARN.

        Not idempotent: each call makes a revision.
        """
        with self._call("RegisterTaskDefinition"):
            answer: Any = await self._client.register_task_definition(**definition)
        arn: str = answer["taskDefinition"]["taskDefinitionArn"]
        return arn

    async def task_definition(self, name: str) -> Mapping[str, Any] | None:
        """The task definition called `family` (its newest active revision) or `family:revision`; None when there is none."""
        try:
            with self._call("DescribeTaskDefinition"):
                answer: Any = await self._client.describe_task_definition(taskDefinition=name)
        except Permanent as error:
            if error.code == "ClientException" and "unable to describe" in str(error).lower():
                return None
            raise
        found: Mapping[str, Any] = answer["taskDefinition"]
        return found
