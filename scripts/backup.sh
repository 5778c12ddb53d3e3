#!/usr/bin/env bash
# Backs up a desk that runs on PostgreSQL: ./scripts/backup.sh [--directory FOLDER]
#
# Writes FOLDER/YYYYMMDD.tar.gz (FOLDER: $POLARIS_BACKUPS, or /backups): both databases as SQL, each as it was at one
# moment, and the keys, the audit log's files and its checkpoints. The desk may run meanwhile. What a second run on the
# same day finds it replaces. Brokers are not backed up: their replicas are; see docs/operations.md.
#
# Where the databases are: see scripts/lib/databases.sh. Keep backups from others: they hold hashes of passwords and keys.
set -euo pipefail
# shellcheck source=scripts/lib/databases.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/databases.sh"

folder="$BACKUPS"
while (($#)); do
    case "$1" in
    --directory) folder="${2:?--directory needs a folder}" && shift 2 ;;
    -h | --help)
        sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) fail "unknown option $1; see ./scripts/backup.sh --help" ;;
    esac
done

# tar ends with 1 where a file was written to meanwhile: the audit log of a desk that runs grows at its end.
has_grown() { [[ "$1" == 1 ]] || fail "the files could not be copied"; }

need_databases pg_dump
umask 077
day="$(date +%Y%m%d)"
mkdir -p "$folder"
work="$(mktemp -d "$folder/.$day.XXXXXX")"
trap 'rm -rf "$work"' EXIT
mkdir "$work/$day"

for name in orders compliance; do
    in_database "$name" pg_dump --clean --if-exists --no-owner >"$work/$day/$name.sql"
    # pg_dump says at its end that it is complete.
    tail -n 20 "$work/$day/$name.sql" | grep -q 'dump complete' || fail "the dump of $name is not complete"
done

kept=(keys audit audit-checkpoints)
data="${POLARIS_DATA_DIRECTORY:-${XDG_DATA_HOME:-$HOME/.local/share}/polaris-synapse}"
if [[ -n "$(url_of orders)" ]]; then
    found=()
    for one in "${kept[@]}"; do [[ ! -d "$data/$one" ]] || found+=("$one"); done
    ((${#found[@]})) || say "No keys and no audit log in $data: the backup has the databases only."
    tar -C "$data" -cf "$work/$day/files.tar" "${found[@]}" --files-from /dev/null || has_grown $?
else
    (cd "$POLARIS_ROOT" && docker compose exec -T compliance-gateway tar -C /var/lib/polaris-synapse -cf - "${kept[@]}") \
        >"$work/$day/files.tar" || has_grown $?
fi

tar -C "$work" -czf "$work/backup.tar.gz" "$day"
mv "$work/backup.tar.gz" "$folder/$day.tar.gz"
printf '%s\n' "$folder/$day.tar.gz"
