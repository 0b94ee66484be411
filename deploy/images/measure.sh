#!/usr/bin/env bash
# Print the size of both images, and what a start takes: seconds from `podman run` to the exit (median of five), and of CPU.
set -euo pipefail
tag=${1:-local}
size() { podman image inspect --format '{{.Size}}' "$1" | awk '{ printf "%.0f MB", $1 / 1000000 }'; }
started() { podman run --rm --no-healthcheck --read-only --read-only-tmpfs=false "$@"; }
seconds() {
    for _ in 1 2 3 4 5; do
        began=$(date +%s%N)
        started "$@" >/dev/null 2>&1 || true # the worker, which has nothing to run, says 75
        echo $((($(date +%s%N) - began) / 1000000))
    done | sort -n | awk 'NR == 3 { printf "%.1f s", $1 / 1000 }'
}
cpu() { # the children's times of a shell, both in the container
    started --entrypoint sh "$1" -c '"$@" >/dev/null; times' sh "${@:2}" |
        awk 'END { split($1 "m" $2, t, /[ms]+/); printf "%.1f s of CPU", t[1] * 60 + t[2] + t[3] * 60 + t[4] }'
}
daemon=localhost/dagy-control:$tag worker=localhost/dagy-worker:$tag
echo "base image      $(size "${BASE_IMAGE:-docker.io/library/python:3.12-slim-bookworm}")"
echo "dagy-control    $(size "$daemon"); a start with --version: $(seconds "$daemon" --version), $(cpu "$daemon" dagy-control --version)"
echo "dagy-worker     $(size "$worker"); a start without a run: $(seconds "$worker"), $(cpu "$worker" dagy-worker)"
echo "a container of nothing: $(seconds --entrypoint true "$daemon")"
