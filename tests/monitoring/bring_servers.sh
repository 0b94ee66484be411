#!/usr/bin/env bash
# Debian's Prometheus and Alertmanager into the folder $1, unpacked and not installed: no root, and no service is started by it.
set -euo pipefail
folder=$1
missing() { ! { command -v prometheus && command -v promtool && command -v prometheus-alertmanager && command -v amtool; } >/dev/null; }
missing || exit 0
cannot() {
    echo "make monitoring needs prometheus, promtool, prometheus-alertmanager and amtool, and $1." >&2
    echo "Put them on the PATH: Debian's packages prometheus and prometheus-alertmanager have them, or those of the projects do." >&2
    exit 1
}
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || cannot "this is no Debian"
mkdir -p "$folder"
cd "$folder"
fetch() { apt-get download -q prometheus prometheus-alertmanager; }
fetch || { apt-get update -q && fetch; } || cannot "apt-get cannot download them (if its lists are old: apt-get update, as root)"
for package in *.deb; do dpkg-deb -x "$package" .; done
rm -- *.deb
