"""The ECS calls beside tasks: whether the cluster can take them, and a task definition's next revision."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.calls import AwsCalls

if TYPE_CHECKING:
    from types_aiobotocore_ecs import ECSClient


class EcsAdmin:
    """For readiness, deployment and local provisioning; never for the loops (RegisterTaskDefinition is limited to 1 a second)."""

    def __init__(self, client: "ECSClient", calls: AwsCalls) -> None:
        self._client = client
        self._call = calls.of("ecs")

    async def cluster_problem(self, cluster: str, *, providers: Collection[str] = ()) -> str | None:
        """What keeps tasks of these capacity providers from being started in the cluster (its name or ARN); None when nothing does.

        A deleted cluster stays visible for a while as INACTIVE. A provider, those of Fargate too, must be associated with the
        cluster, or RunTask is refused (ECS Developer Guide, "Fargate capacity providers").
        """
        with self._call("DescribeClusters"):
            answer = await self._client.describe_clusters(clusters=[cluster])
        shown = next((each for each in answer["clusters"] if each.get("status") == "ACTIVE"), None)
        if shown is None:
            return f"ECS has no active cluster {cluster!r}"
        lacking = sorted(set(providers) - set(shown.get("capacityProviders", ())))
        if not lacking:
            return None
        return (
            f"cluster {cluster!r} lacks the capacity providers {', '.join(lacking)}: RunTask would be refused; "
            "associate them (PutClusterCapacityProviders), or take them out of ecs.capacity_providers"
        )

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
