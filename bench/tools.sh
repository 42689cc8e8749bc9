#!/bin/sh
# Installs the programs that bench/meter compares with, on Debian as root. The benchmarks run without them and say what is missing.
set -eu
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends gcc libc6-dev procps sysstat util-linux prometheus-process-exporter
# Debian starts a second exporter as a service at once; a scrape needs none.
if command -v systemctl > /dev/null; then systemctl disable --now prometheus-process-exporter 2> /dev/null || true; fi
