#!/usr/bin/env bash
# Sourced by backup.sh and restore-backup.sh: where the two databases are, and how to speak to them.
#
# With POLARIS_DATABASES__ORDERS_OWNER_URL and POLARIS_DATABASES__COMPLIANCE_OWNER_URL (or the URLs without OWNER) the
# PostgreSQL client programs of this machine; else those in the containers of docker-compose.yml.
set -euo pipefail
# shellcheck source=scripts/lib/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

BACKUPS="${POLARIS_BACKUPS:-/backups}"
export BACKUPS
readonly BACKUPS

# Prints the URL of a database, orders or compliance, as its owner where that is known; nothing for the containers.
url_of() {
    local name="${1^^}"
    local owner="POLARIS_DATABASES__${name}_OWNER_URL" url="POLARIS_DATABASES__${name}_URL"
    printf '%s' "${!owner:-${!url:-}}"
}

# Prints the password of that URL's user as `polaris database migrate` would take it: from the URL, or the environment.
password_of() {
    local name="${1^^}" inside
    inside="$(url_of "$1" | sed -nE 's|^[a-z+]+://[^:@/]*:([^@/]*)@.*|\1|p')"
    local owner="POLARIS_DATABASES__${name}_OWNER_URL" plain="DB_PASSWORD"
    [[ "$1" == orders ]] || plain="COMPLIANCE_DB_PASSWORD"
    [[ -z "${!owner:-}" ]] || plain="DB_OWNER_PASSWORD"
    if [[ -n "$inside" ]]; then
        printf '%b' "${inside//%/\\x}"
    else
        printf '%s' "${!plain:-}"
    fi
}

# need_databases PROGRAM: fails in a sentence where there is nothing that could be spoken to with pg_dump or psql.
need_databases() {
    local name
    for name in orders compliance; do
        if [[ -n "$(url_of "$name")" ]]; then
            command -v "$1" >/dev/null || fail "$1 is missing; install it: sudo apt-get install postgresql-client"
        elif ! docker compose version >/dev/null 2>&1; then
            fail "no PostgreSQL is named and no containers run here: set POLARIS_DATABASES__${name^^}_URL; a desk without" \
                "PostgreSQL is one directory, see Backups in docs/operations.md"
        elif [[ -z "$(cd "$POLARIS_ROOT" && docker compose ps --status running --quiet postgres 2>/dev/null)" ]]; then
            fail "the containers do not run: docker compose up -d postgres postgres-compliance"
        fi
    done
}

# in_database orders|compliance PROGRAM [OPTION...]: run pg_dump or psql there.
in_database() {
    local name="$1" program="$2" url
    shift 2
    url="$(url_of "$name")"
    if [[ -n "$url" ]]; then
        # No password among the arguments, which everybody on the machine can see.
        url="$(sed -E 's|^([a-z+]+://[^:@/]*):[^@/]*@|\1@|; s|^postgresql\+[a-z]+:|postgresql:|' <<<"$url")"
        PGPASSWORD="$(password_of "$name")" "$program" --dbname "$url" "$@"
    else
        local container=postgres database=orderdb
        [[ "$name" == orders ]] || container=postgres-compliance database=compliancedb
        (cd "$POLARIS_ROOT" && docker compose exec -T "$container" "$program" --username polaris_owner --dbname "$database" "$@")
    fi
}
