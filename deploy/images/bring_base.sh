#!/usr/bin/env bash
# The base image that both Dockerfiles name, or one like it. It is pulled; where no registry can be reached it is made of Debian's
# packages and a CPython of this machine, laid out as in the real one: /usr/local, without tests, Tk, bytecode and static libraries.
set -euo pipefail
base=${1:-docker.io/library/python:3.12-slim-bookworm}
! podman image exists "$base" || exit 0
if timeout 60 podman pull --quiet "$base" >/dev/null 2>&1; then exit 0; fi
echo "$base cannot be pulled; making one like it"

cannot() { echo "no base image: $1" >&2; exit 1; }
if ! command -v mmdebstrap >/dev/null; then
    apt-get install -q -y --no-install-recommends mmdebstrap >/dev/null 2>&1 ||
        { apt-get update -q >/dev/null && apt-get install -q -y --no-install-recommends mmdebstrap >/dev/null; } ||
        cannot "mmdebstrap, Debian's package, makes it, and cannot be installed"
fi
python=""
for each in "$(command -v python3.12 || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12.*/bin/python3.12; do
    case $("$each" -c 'import sys; print(sys.version_info[:2] == (3, 12), sys.base_prefix)' 2>/dev/null) in
    "True /usr") ;; # Debian's own: spread over the system, not a prefix that can be copied
    "True "*) python=$("$each" -c 'import sys; print(sys.base_prefix)') && break ;;
    esac
done
packages=ca-certificates,netbase,tzdata
if [ -n "$python" ]; then
    packages+=,libbz2-1.0,libexpat1,libffi8,libgdbm6,liblzma5,libncursesw6,libreadline8,libsqlite3-0,libssl3,libuuid1,zlib1g
else
    echo "this machine has no CPython 3.12 to copy: the base has Debian's own"
    packages+=,python3,python3-dev,python3-venv,python3-pip
fi
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
mmdebstrap --quiet --variant=minbase --include="$packages" --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt=force-unsafe-io bookworm "$work/root.tar" || cannot "mmdebstrap could not make it (does apt-get reach Debian's packages?)"
podman import --quiet --change 'CMD ["python3"]' \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
    "$work/root.tar" localhost/dagy-base-debian >/dev/null
container=$(buildah from --pull-never localhost/dagy-base-debian)
trap 'buildah rm "$container" >/dev/null; rm -rf -- "$work"' EXIT
run() { buildah run --isolation chroot "$container" -- "$@"; }
if [ -n "$python" ]; then
    unwanted=(__pycache__ site-packages test tests idlelib tkinter '_tkinter*' turtledemo 'config-3*' '*.a')
    tar -C "$python" "${unwanted[@]/#/--exclude=}" --owner=0 --group=0 -cf "$work/python.tar" bin/python3.12 include lib
    buildah add --quiet "$container" "$work/python.tar" /usr/local >/dev/null
    run sh -c 'ldconfig && mkdir -p /usr/local/lib/python3.12/site-packages && ln -sf python3.12 /usr/local/bin/python3 &&
        ln -sf python3 /usr/local/bin/python && PYTHONDONTWRITEBYTECODE=1 PIP_ROOT_USER_ACTION=ignore python3 -m ensurepip >/dev/null && ln -sf pip3 /usr/local/bin/pip'
else
    run sh -c 'ln -s /usr/bin/python3 /usr/local/bin/python && rm -f /usr/lib/python3.*/EXTERNALLY-MANAGED'
fi
buildah commit --quiet --format docker "$container" "$base" >/dev/null
told=$(podman run --rm "$base" python3 -c 'import ctypes, lzma, sqlite3, ssl, venv' 2>&1) || {
    podman rmi "$base" >/dev/null
    cannot "podman cannot run what was made: $told"
}
