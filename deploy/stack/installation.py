"""The stack: every part of one installation, in the order in which they need each other."""

from aws_cdk import Stack, StackProps, Tags
from constructs import Construct

from deploy.stack.alarms import make_alarms
from deploy.stack.cluster import make_cluster, make_log_groups
from deploy.stack.config import StackConfig
from deploy.stack.daemon import make_daemon
from deploy.stack.iam import Resources, make_operator_policy, make_roles
from deploy.stack.messaging import make_messaging
from deploy.stack.network import make_network
from deploy.stack.outputs import make_outputs
from deploy.stack.parameters import Facts, make_parameters
from deploy.stack.storage import make_key, make_storage
from deploy.stack.tables import make_tables
from deploy.stack.worker import make_worker_definitions


class InstallationStack(Stack):
    """One installation of dagy_control, in one account and region."""

    def __init__(self, scope: Construct, name: str, *, config: StackConfig, props: StackProps) -> None:
        super().__init__(scope, name, synthesizer=props.synthesizer, description=props.description)
        network = make_network(self, config)
        key = make_key(self, config)
        tables = make_tables(self, config, key)
        storage = make_storage(self, config, key)
        cluster = make_cluster(self, config, network.vpc)
        log_groups = make_log_groups(self, config)
        messaging = make_messaging(self, config, cluster)
        resources = Resources(
            cluster=cluster,
            tables=tables,
            storage=storage,
            messaging=messaging,
            key=key,
            worker_logs=log_groups.worker,
            daemon_logs=log_groups.daemon,
        )
        roles = make_roles(self, config, resources)
        make_worker_definitions(
            self,
            config,
            task_role=roles.worker.without_policy_updates(),
            execution_role=roles.worker_execution.without_policy_updates(),
            log_group=log_groups.worker,
        )
        facts = Facts(
            cluster_arn=cluster.cluster_arn,
            network=network,
            storage=storage,
            messaging=messaging,
            worker=roles.worker,
            worker_execution=roles.worker_execution,
        )
        parameters = make_parameters(self, config, facts)
        daemon = make_daemon(
            self,
            config,
            cluster=cluster,
            network=network,
            roles=roles,
            log_group=log_groups.daemon,
            parameters=parameters,
        )
        make_alarms(self, config, messaging)
        make_outputs(self, config, facts, daemon, make_operator_policy(self, config, resources))
        Tags.of(self).add("installation", config.installation)
        Tags.of(self).add("environment", config.environment)
