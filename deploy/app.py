"""The CDK app. `DAGY_STACK` names the configuration, a TOML file; `deploy/installation.example.toml` unless said.

Run by `deploy/synth.sh`, which the CDK's command line runs in its turn (cdk.json): the templates then lie in `deploy/cdk.out`.
"""

import os
import sys
from pathlib import Path

import aws_cdk
import cdk_nag

from deploy.stack.acknowledged import acknowledge
from deploy.stack.config import StackConfig, StackConfigError, load
from deploy.stack.installation import InstallationStack
from deploy.stack.registry import RegistryStack

EXAMPLE = Path(__file__).parent / "installation.example.toml"


def build(app: aws_cdk.App, config: StackConfig) -> None:
    """Both stacks, and the rules that they are held against at each synthesis."""

    def props(about: str) -> aws_cdk.StackProps:
        synthesizer = aws_cdk.DefaultStackSynthesizer(generate_bootstrap_version_rule=False)
        return aws_cdk.StackProps(
            synthesizer=synthesizer, description=f"dagy_control, installation {config.installation}: {about}"
        )

    RegistryStack(
        app, f"{config.installation}-registry", installation=config.installation, props=props("image repositories")
    )
    installation = InstallationStack(app, config.installation, config=config, props=props("the service"))
    acknowledge(installation, config)
    aws_cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks())


def main() -> None:
    """Synthesize. Ends with the problems of a configuration that is refused."""
    try:
        config = load(Path(os.environ.get("DAGY_STACK") or EXAMPLE))
    except StackConfigError as error:
        sys.exit(str(error))
    app = aws_cdk.App(analytics_reporting=False)
    build(app, config)
    app.synth()


if __name__ == "__main__":
    main()
