"""The deployments table in memory."""

from collections.abc import Sequence

from dagy_control.model.deployments import Deployment
from tests.fakes.faults import Faulty, lost


class FakeDeployments(Faulty):
    """`ports.Deployments` in memory; `records` by (org_id, deployment_name)."""

    def __init__(self, *deployments: Deployment) -> None:
        super().__init__()
        self.records = {(each.org_id, each.deployment_name): each for each in deployments}

    async def get(self, org_id: str, deployment_name: str) -> Deployment | None:
        lost(await self._begin("get"))
        return self.records.get((org_id, deployment_name))

    async def put(self, deployment: Deployment) -> None:
        after = await self._begin("put")
        self.records[deployment.org_id, deployment.deployment_name] = deployment
        lost(after)

    async def delete(self, org_id: str, deployment_name: str) -> None:
        after = await self._begin("delete")
        self.records.pop((org_id, deployment_name), None)
        lost(after)

    async def of_org(self, org_id: str) -> Sequence[Deployment]:
        lost(await self._begin("of_org"))
        return [each for key, each in sorted(self.records.items()) if key[0] == org_id]
