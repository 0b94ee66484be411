"""One asyncio daemon that is the control plane of Dagy runs on ECS Fargate."""

__version__ = "0.1.0"
