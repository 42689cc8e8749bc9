#!/bin/sh
# Installs the programs that the benchmarks compare with, on Debian as root. They run without these and say what is missing.
set -eu
apt-get update -q
install() { DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"; }
# bench/meter
install gcc libc6-dev procps sysstat util-linux prometheus-process-exporter
# bench/unary: the load, the floor, and gRPC in C++
install nghttp2-client nghttp2-server openssl g++ libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
# bench/fanout
install etcd-server nats-server redis-server
# Debian starts each of these as a service at once; the benchmarks start their own.
if command -v systemctl > /dev/null; then
    for service in prometheus-process-exporter etcd nats-server redis-server; do systemctl disable --now "$service" 2> /dev/null || true; done
fi
