#!/usr/bin/env bash
# Build both images from the folder $1 (default: this repository) with the tag $2 (default: local), by buildah and without a daemon.
# BASE_IMAGE names another base. A bundle of certificates that SSL_CERT_FILE names is lent to the build and is in no layer.
set -euo pipefail
cd "$(dirname "$0")/../.."
context=${1:-$PWD} tag=${2:-local}
arguments=(--layers --isolation chroot --pull-never --format docker
    --build-arg "BASE_IMAGE=${BASE_IMAGE:-docker.io/library/python:3.12-slim-bookworm}"
    --build-arg "SOURCE=${SOURCE:-unknown}"
    --build-arg "VERSION=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' dagy_control/__init__.py)"
    --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)")
if [ -f "${SSL_CERT_FILE:-}" ]; then
    arguments+=(--volume "$SSL_CERT_FILE:/etc/ssl/certs/ca-certificates.crt:ro")
fi
log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
build() {
    buildah bud "${arguments[@]}" --file "$1" --tag "localhost/$2:$tag" "$context" >"$log" 2>&1 && return
    tail -n 30 "$log" >&2
    echo "$1 could not be built" >&2
    exit 1
}
build Dockerfile dagy-control
build Dockerfile.worker dagy-worker
