#!/usr/bin/env bash
# buildah and podman, with storage and settings of their own in the folder $1, so that nobody else's images or containers are touched.
# Whoever sources $1/env uses them; `make images` does, and `dagy-control local --containers` may.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
needed=(buildah podman runc)
missing() { for each in "${needed[@]}"; do command -v "$each" >/dev/null || return 0; done; return 1; }
cannot() {
    echo "make images needs ${needed[*]}, and $1." >&2
    echo "Put them on the PATH: Debian's packages of these names have them." >&2
    exit 1
}
install() { apt-get install -q -y --no-install-recommends "${needed[@]}" >/dev/null; }
if missing; then
    command -v apt-get >/dev/null || cannot "this is no Debian"
    [ "$(id -u)" = 0 ] || cannot "only root can install them (apt-get install ${needed[*]})"
    install || { apt-get update -q >/dev/null && install; } || cannot "apt-get cannot install them"
fi

# No network of its own for a container: the embedded cloud listens on loopback. cgroupfs and the file of events: no systemd needed.
# Locks and state in this folder: by default all storages of a user share them, and the reset of one disturbs the others.
cat >"$folder/containers.conf" <<CONF
[containers]
netns = "host"
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "$folder/tmp"
CONF
cat >"$folder/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$folder/root"
runroot = "$folder/run"
CONF
cat >"$folder/env" <<CONF
export CONTAINERS_CONF=$(printf %q "$folder/containers.conf")
export CONTAINERS_STORAGE_CONF=$(printf %q "$folder/storage.conf")
CONF
. "$folder/env"
told=$(podman info 2>&1 >/dev/null) || cannot "podman does not work here: $told"
