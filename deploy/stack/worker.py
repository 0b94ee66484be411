"""The worker's task definitions: one for each workload profile of the product's defaults."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs

from dagy_control.config.cloud import EcsSettings
from deploy.stack.cluster import log_driver
from deploy.stack.config import StackConfig
from deploy.stack.problems import ARM

DEFAULTS = EcsSettings()
PROFILES = DEFAULTS.profiles
CONTAINER = DEFAULTS.container_name
STREAM_PREFIX = "run"
SCRATCH = "/tmp"  # noqa: S108 - a volume of the task's own, mounted there


def family(config: StackConfig, profile: str) -> str:
    """The family of a profile's task definition: `dagy-worker-medium`."""
    return f"{config.installation}-worker-{profile}"


def default_family(config: StackConfig) -> str:
    """The one that the daemon starts, of `ecs.default_profile`; for other sizes RunTask overrides CPU and memory."""
    return family(config, DEFAULTS.default_profile)


def make_worker_definitions(
    stack: Stack, config: StackConfig, *, task_role: iam.IRole, execution_role: iam.IRole, log_group: logs.ILogGroup
) -> None:
    """Every profile's, alike but for the size. The image's own entry point runs; what a worker is told comes with RunTask."""
    for name, profile in PROFILES.items():
        definition = ecs.FargateTaskDefinition(
            stack,
            f"Worker{name.capitalize()}",
            family=family(config, name),
            cpu=profile.cpu,
            memory_limit_mib=profile.memory,
            task_role=task_role,
            execution_role=execution_role,
            runtime_platform=runtime_platform(config.worker_architecture),
            volumes=[ecs.Volume(name="scratch")],
        )
        container = definition.add_container(
            "Worker",
            container_name=CONTAINER,
            image=ecs.ContainerImage.from_registry(config.worker_image),
            essential=True,
            stop_timeout=Duration.seconds(config.worker_stop_timeout_s),
            readonly_root_filesystem=True,
            logging=log_driver(log_group, STREAM_PREFIX),
        )
        container.add_mount_points(ecs.MountPoint(container_path=SCRATCH, source_volume="scratch", read_only=False))


def runtime_platform(architecture: str) -> ecs.RuntimePlatform:
    """Linux on the CPU that the image was built for."""
    cpu = ecs.CpuArchitecture.ARM64 if architecture == ARM else ecs.CpuArchitecture.X86_64
    return ecs.RuntimePlatform(cpu_architecture=cpu, operating_system_family=ecs.OperatingSystemFamily.LINUX)
