"""Installations that the tests synthesize, beside the example."""

SECRET = "dagy/api-token"
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"

DEPLOYED = f"""\
daemon_image = "{REGISTRY}/dagy-control:v1.2.3"
worker_image = "{REGISTRY}/dagy-worker@sha256:{"0" * 64}"
nat_gateways = 0
interface_endpoints = true
daemon_replicas = 2
daemon_architecture = "ARM64"
worker_architecture = "ARM64"
daemon_stop_timeout_s = 60
alarm_email = "dagy@example.com"
api_token_secret = "{SECRET}"
retraining_state_table = "retraining-state"
trading_state_table = "trading-state"
"""

EXISTING = """\
daemon_image = "ghcr.io/example/dagy-control:v1.2.3"
worker_image = "ghcr.io/example/dagy-worker:v1.2.3"
installation = "trading-desk"
environment = "staging"
vpc_id = "vpc-0123456789abcdef0"
availability_zones = ["us-east-1a", "us-east-1b"]
private_subnet_ids = ["subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb"]
private_route_table_ids = ["rtb-0aaaaaaaaaaaaaaaa", "rtb-0bbbbbbbbbbbbbbbb"]
prometheus_security_group_id = "sg-0123456789abcdef0"
customer_key = true
deletion_protection = false
point_in_time_recovery = false
daemon_cpu = 512
daemon_memory = 1024
discovery_namespace = "desk.internal"
orphans_dry_run = false

[settings]
log_level = "WARNING"

[settings.launching]
max_per_org = 5
max_per_flow = 2
"""

CANARIES = {
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-deployer",
    "AWS_SESSION_TOKEN": "canary-of-the-session",
    "DAGY_API__TOKEN": "canary-of-the-api",
    "GITHUB_TOKEN": "canary-of-the-ci",
}
"""What may stand in the environment of whoever synthesizes, and must not come into a template."""
