#!/usr/bin/env bash
# netns.sh COMMAND...: runs COMMAND in a network namespace with loopback and cubic congestion control.
#
# Some machines default to BBR, which paces even on loopback: large messages cost 40 % more and
# scatter. Server and generator must share the namespace; it is made once and kept. Needs root.
set -euo pipefail
namespace=wsfast-floor
if ! ip netns list | grep -qw "$namespace"; then
  ip netns add "$namespace"
  ip netns exec "$namespace" sh -ec '
    ip link set lo up
    for net in 127.0.0.0/8 127.0.0.1; do
      ip route change table local local $net dev lo proto kernel scope host src 127.0.0.1 congctl cubic
    done'
fi
exec ip netns exec "$namespace" "$@"
