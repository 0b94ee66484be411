"""Deployments: set after checking all that a launch would refuse, and what an order takes from one."""

import json
import re
from dataclasses import replace

from dagy_control.model.deployments import Deployment
from dagy_control.model.flows import resolve_parameters
from dagy_control.ports.dep_packages import DepPackages
from dagy_control.requests.launch import Launcher
from dagy_control.requests.orders import PARAMETERS_MAX_CHARACTERS, LaunchOrder, check_order, over_deployment
from dagy_control.requests.packages import check_slugs
from dagy_control.requests.refusals import RequestRefused

DEPLOYMENT_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


async def set_deployment(launcher: Launcher, packages: DepPackages, deployment: Deployment) -> Deployment:
    """Write the deployment whole, in the place of an earlier one. Parameters that the flow needs may be left to the orders.

    Raises `RequestRefused`, having written nothing, for what no order could launch.
    """
    if not DEPLOYMENT_NAME.fullmatch(deployment.deployment_name):
        raise RequestRefused(
            "deployment_name",
            f"the deployment {deployment.deployment_name!r} must have 1 to 128 of the characters A-Z a-z 0-9 _ -",
        )
    await check_slugs(packages, deployment.org_id, deployment.dep_package_slugs)
    order = over_deployment(LaunchOrder(org_id=deployment.org_id), deployment)
    check_order(order, launcher.policy.providers)
    launcher.size_of(order)
    flow = await launcher.flow_of(order)
    left_open = {parameter.name: None for parameter in flow.spec.parameters if parameter.required}
    if problems := resolve_parameters(flow.spec, {**left_open, **deployment.parameters}).problems:
        raise RequestRefused("parameters", "; ".join(problems))
    if len(json.dumps(dict(deployment.parameters))) > PARAMETERS_MAX_CHARACTERS:
        raise RequestRefused("parameters", f"parameters over {PARAMETERS_MAX_CHARACTERS:,} characters")
    deployment = replace(deployment, updated_at=launcher.ports.clock.now())
    await launcher.ports.deployments.put(deployment)
    return deployment


async def delete_deployment(launcher: Launcher, org_id: str, deployment_name: str) -> Deployment:
    """The deployment that was, now deleted; runs that came from it stay. Raises `RequestRefused` when there is none."""
    deployment = await launcher.deployment(org_id, deployment_name)
    await launcher.ports.deployments.delete(org_id, deployment_name)
    return deployment
