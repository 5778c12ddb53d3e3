#!/usr/bin/env bash
# Starts Redis with the password from its secret file, which must stand neither on the command line nor in a file that
# is under version control. Arguments go to redis-server.
set -euo pipefail

password="$(cat /run/secrets/REDIS_PASSWORD)"
[ -n "$password" ] || {
    echo "REDIS_PASSWORD is empty: put one into .env" >&2
    exit 1
}
umask 077
{
    printf 'requirepass "%s"\nmasterauth "%s"\n' "$password" "$password"
    # What is here may be lost: prices, rate counters, fan-out. Revocations are asked for again at the gateways' store.
    printf 'maxmemory %s\nmaxmemory-policy noeviction\n' "${REDIS_MEMORY_MAX:-512mb}"
} >/tmp/redis.conf
exec redis-server /tmp/redis.conf --dir /data --appendonly yes "$@"
