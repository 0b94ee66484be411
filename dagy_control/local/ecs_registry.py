"""Clusters and task definitions of the ECS model: what exists before a task does."""

from datetime import datetime
from typing import Any

from dagy_control.local.ecs_errors import EcsError, client_error
from dagy_control.local.ecs_requests import Request, check_task_definition
from dagy_control.local.ecs_state import Cluster, TaskDefinition


class Registry:
    """The clusters and task definitions of one account and region."""

    def __init__(self, region: str, account: str) -> None:
        self._prefix = f"arn:aws:ecs:{region}:{account}"
        self.clusters: dict[str, Cluster] = {}
        self._definitions: dict[str, list[TaskDefinition]] = {}

    def create_cluster(self, name: str, default_strategy: list[dict[str, Any]] | None = None) -> Cluster:
        """Create a cluster, or find the one of that name: CreateCluster is idempotent."""
        cluster = Cluster(name=name, arn=f"{self._prefix}:cluster/{name}", default_strategy=default_strategy or [])
        return self.clusters.setdefault(name, cluster)

    def find_cluster(self, name_or_arn: str) -> Cluster | None:
        """The cluster of that name or ARN, if any."""
        name = name_or_arn.removeprefix(f"{self._prefix}:cluster/")
        return self.clusters.get(name)

    def find_clusters(self, names: list[str]) -> tuple[list[Cluster], list[str]]:
        """The clusters of these names or ARNs, and the ARNs of those that do not exist."""
        found = {name: self.find_cluster(name) for name in names}
        missing = [name for name, cluster in found.items() if cluster is None]
        return (
            [cluster for cluster in found.values() if cluster is not None],
            [name if name.startswith("arn:") else f"{self._prefix}:cluster/{name}" for name in missing],
        )

    def cluster(self, request: Request) -> Cluster:
        """The request's cluster (`default` when it names none); ClusterNotFoundException otherwise."""
        cluster = self.find_cluster(request.get("cluster", "default"))
        if cluster is None:
            raise EcsError("ClusterNotFoundException", "Cluster not found.")
        return cluster

    def register(self, request: Request, now: datetime) -> TaskDefinition:
        """Register the next revision of a family."""
        checked = check_task_definition(request)
        family = checked["family"]
        revisions = self._definitions.setdefault(family, [])
        revision = len(revisions) + 1
        definition = TaskDefinition(
            arn=f"{self._prefix}:task-definition/{family}:{revision}",
            family=family,
            revision=revision,
            request=checked,
            registered_at=now,
        )
        revisions.append(definition)
        return definition

    def definition(self, name: str, *, missing: str) -> TaskDefinition:
        """The definition of a family (its newest active revision), `family:revision` or ARN; ClientException(`missing`) otherwise."""
        family, _, revision = name.removeprefix(f"{self._prefix}:task-definition/").partition(":")
        revisions = self._definitions.get(family, [])
        if not revision:
            found = next((d for d in reversed(revisions) if d.active), None)
        else:
            found = next((d for d in revisions if str(d.revision) == revision), None)
        if found is None:
            raise client_error(missing)
        return found
