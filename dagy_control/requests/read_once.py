"""What a batch reads again and again, read once: its runs then also agree on what is the newest version of a flow."""

from collections.abc import Sequence

from dagy_control.model.deployments import Deployment
from dagy_control.model.flows import FlowRecord
from dagy_control.ports.deployments import Deployments
from dagy_control.ports.flows import Flows


class FlowsReadOnce:
    """`ports.Flows` that remembers what it has read, absence too. For the time of one request only."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows
        self._records: dict[tuple[str, str, str | None], FlowRecord | None] = {}
        self._of_org: dict[str, Sequence[FlowRecord]] = {}

    async def get(self, org_id: str, flow_name: str, flow_version: str | None = None) -> FlowRecord | None:
        """As it was at the first answer."""
        key = (org_id, flow_name, flow_version)
        if key not in self._records:
            found = await self._flows.get(org_id, flow_name, flow_version)
            self._records.setdefault(key, found)  # who asked at the same moment and was first, is right
        return self._records[key]

    async def put(self, record: FlowRecord) -> None:
        """Passed on."""
        await self._flows.put(record)

    async def of_org(self, org_id: str) -> Sequence[FlowRecord]:
        """As it was at the first answer."""
        if org_id not in self._of_org:
            found = await self._flows.of_org(org_id)
            self._of_org.setdefault(org_id, found)
        return self._of_org[org_id]


class DeploymentsReadOnce:
    """`ports.Deployments` that remembers what it has read, absence too. For the time of one request only."""

    def __init__(self, deployments: Deployments) -> None:
        self._deployments = deployments
        self._records: dict[tuple[str, str], Deployment | None] = {}
        self._of_org: dict[str, Sequence[Deployment]] = {}

    async def get(self, org_id: str, deployment_name: str) -> Deployment | None:
        """As it was at the first answer."""
        key = (org_id, deployment_name)
        if key not in self._records:
            found = await self._deployments.get(org_id, deployment_name)
            self._records.setdefault(key, found)
        return self._records[key]

    async def put(self, deployment: Deployment) -> None:
        """Passed on."""
        await self._deployments.put(deployment)

    async def delete(self, org_id: str, deployment_name: str) -> None:
        """Passed on."""
        await self._deployments.delete(org_id, deployment_name)

    async def of_org(self, org_id: str) -> Sequence[Deployment]:
        """As it was at the first answer."""
        if org_id not in self._of_org:
            found = await self._deployments.of_org(org_id)
            self._of_org.setdefault(org_id, found)
        return self._of_org[org_id]
