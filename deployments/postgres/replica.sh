#!/usr/bin/env bash
# Starts a standby: copies the primary the first time, then follows it by streaming from a slot of its own.
#
# PRIMARY_HOST, REPLICATION_USER and REPLICATION_PASSWORD_FILE say whom to follow.
set -euo pipefail

: "${PRIMARY_HOST:?}" "${REPLICATION_USER:?}" "${REPLICATION_PASSWORD_FILE:?}" "${PGDATA:?}"

if [[ ! -s "$PGDATA/PG_VERSION" ]]; then
    slot="replica_$(tr -c 'a-z0-9\n' _ <<<"${HOSTNAME,,}")"
    password="$(<"$REPLICATION_PASSWORD_FILE")"
    export PGPASSWORD="$password"
    install -d -m 0700 "$PGDATA"
    until pg_isready --quiet --host "$PRIMARY_HOST"; do sleep 1; done
    # A first try that was cut off leaves its slot behind.
    slot_option=(--create-slot)
    if [[ "$(psql --no-psqlrc -tA --host "$PRIMARY_HOST" --username "$REPLICATION_USER" --dbname "replication=database dbname=postgres" \
        --command "READ_REPLICATION_SLOT $slot" 2>/dev/null | cut -d '|' -f 1)" == physical ]]; then
        slot_option=()
    fi
    pg_basebackup --host "$PRIMARY_HOST" --username "$REPLICATION_USER" --pgdata "$PGDATA" --write-recovery-conf \
        --wal-method stream --checkpoint fast --slot "$slot" "${slot_option[@]}"
fi
exec postgres -c hot_standby=on -c hot_standby_feedback=on "$@"
