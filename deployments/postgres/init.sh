#!/usr/bin/env bash
# Run once by the PostgreSQL image, in an empty data folder: makes the user that the desk connects as. The tables belong
# to the owner (POSTGRES_USER), who makes them with `polaris database migrate`; the desk may not change or drop them.
# Standbys copy everything; REPLICATION_USER is who they connect as.
set -euo pipefail

: "${APPLICATION_USER:?}" "${APPLICATION_PASSWORD_FILE:?}"

psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    -v user="$APPLICATION_USER" -v password="$(<"$APPLICATION_PASSWORD_FILE")" -v database="$POSTGRES_DB" <<'SQL'
CREATE ROLE :"user" LOGIN PASSWORD :'password';
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"user";
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
SQL

if [[ -n "${REPLICATION_USER:-}" ]]; then
    psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
        -v user="$REPLICATION_USER" -v password="$(<"${REPLICATION_PASSWORD_FILE:?}")" <<'SQL'
CREATE ROLE :"user" LOGIN REPLICATION PASSWORD :'password';
SQL
    printf 'host replication %s all scram-sha-256\n' "$REPLICATION_USER" >>"$PGDATA/pg_hba.conf"
fi
