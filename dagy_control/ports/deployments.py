"""Where deployments are recorded."""

from collections.abc import Sequence
from typing import Protocol

from dagy_control.model.deployments import Deployment


class Deployments(Protocol):
    """The deployments table. A deployment is written whole; the last write counts."""

    async def get(self, org_id: str, deployment_name: str) -> Deployment | None:
        """The deployment as it is now (a consistent read); None when there is none."""
        ...

    async def put(self, deployment: Deployment) -> None:
        """Write it, in the place of an earlier one of that name. Safe to repeat."""
        ...

    async def delete(self, org_id: str, deployment_name: str) -> None:
        """There is no such deployment afterwards. Safe to repeat; one that is not there is a success."""
        ...

    async def of_org(self, org_id: str) -> Sequence[Deployment]:
        """Every deployment of an organisation, by name. Eventually consistent."""
        ...
