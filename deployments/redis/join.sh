#!/usr/bin/env bash
# Makes a cluster of the given nodes, unless they are one already. A node is a name that the network knows.
set -euo pipefail

REDISCLI_AUTH="$(cat /run/secrets/REDIS_PASSWORD)"
export REDISCLI_AUTH

if redis-cli -h "$1" cluster info | grep -q 'cluster_state:ok'; then
    echo "The cluster stands already."
    exit 0
fi
addresses=""
for node in "$@"; do
    address="$(getent hosts "$node" | cut -d ' ' -f 1)"
    [ -n "$address" ] || {
        echo "the name $node is not known here" >&2
        exit 1
    }
    addresses="$addresses $address:6379"
done
# shellcheck disable=SC2086  # a list of addresses
redis-cli --cluster create $addresses --cluster-replicas 1 --cluster-yes
