"""An ECS model with a cluster, a task definition and a clock that only the test moves."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dagy_control.local.ecs_lifecycle import Effect, StartContainer
from dagy_control.local.ecs_model import EcsModel
from dagy_control.local.ecs_state import Lifetimes

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CLUSTER = "dagy-test"
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
DEFINITION: dict[str, Any] = {
    "family": "dagy-worker",
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "cpu": "1024",
    "memory": "2048",
    "containerDefinitions": [
        {
            "name": "worker",
            "image": "dagy/worker:1",
            "entryPoint": ["dagy-worker"],
            "command": ["--default"],
            "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
        }
    ],
}


class EcsWorld:
    """The model, and `now`, which `later` moves on."""

    def __init__(self, **options: Any) -> None:
        lifetimes = options.pop("lifetimes", Lifetimes())
        self.model = EcsModel(lifetimes=lifetimes, **options)
        self.model.registry.create_cluster(CLUSTER)
        self.model.registry.register(DEFINITION, START)
        self.now = START
        self.events: list[dict[str, Any]] = []
        self.effects: list[Effect] = []

    def later(self, seconds: float) -> None:
        """Let time pass; effects and events gather in the lists."""
        self.now += timedelta(seconds=seconds)
        self.model.advance(self.now)
        self.gather()

    def gather(self) -> None:
        self.effects += self.model.drain_effects()
        self.events += self.model.drain_events(self.now)

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """One call to the test's cluster, as botocore's keyword arguments."""
        answer = self.model.handle(operation, {"cluster": CLUSTER, **request}, self.now)
        self.gather()
        return answer

    def run(self, **request: Any) -> dict[str, Any]:
        """RunTask with what it cannot do without."""
        sized: dict[str, Any] = {"taskDefinition": "dagy-worker", "networkConfiguration": NETWORK}
        if "capacityProviderStrategy" not in request:
            sized["launchType"] = "FARGATE"
        return self.call("RunTask", **{**sized, **request})

    def run_one(self, **request: Any) -> str:
        """The ARN of a new task."""
        return str(self.run(**request)["tasks"][0]["taskArn"])

    def run_until_running(self, **request: Any) -> str:
        """The ARN of a task that is RUNNING."""
        arn = self.run_one(**request)
        self.later(31)
        self.model.container_started(arn, self.now)
        self.later(2)
        return arn

    def finish(self, arn: str, exit_code: int = 0, reason: str = "") -> None:
        """Let a task's container exit and the task reach STOPPED."""
        self.model.container_exited(arn, exit_code, reason, self.now)
        self.later(15)

    def task(self, arn: str) -> dict[str, Any]:
        """One task as DescribeTasks shows it, without tags."""
        return dict(self.call("DescribeTasks", tasks=[arn])["tasks"][0])

    def started(self) -> list[StartContainer]:
        """The containers that an agent was asked to start."""
        return [effect for effect in self.effects if isinstance(effect, StartContainer)]
