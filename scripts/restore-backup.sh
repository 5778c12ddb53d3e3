#!/usr/bin/env bash
# Puts back what ./scripts/backup.sh saved: ./scripts/restore-backup.sh YYYYMMDD --yes [--directory FOLDER] [--files]
#
# Both databases become what they were at the backup, each in one transaction, and everything in them since is gone:
# stop the services first. Started again, they read from the brokers what came after, as long as the topics still hold it
# (`bus.kafka.inbox_hours` and `facts_hours`); users and keys that were changed since have to be changed again.
#
#   --files   put the keys, the audit log's files and its checkpoints back too, where there are none (a new machine)
#
# Where the databases are: see scripts/lib/databases.sh. Exit code 0: restored, 1: nothing was changed, or it says what was.
set -euo pipefail
# shellcheck source=scripts/lib/databases.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/databases.sh"

folder="$BACKUPS" day="" sure=false files=false
while (($#)); do
    case "$1" in
    --directory) folder="${2:?--directory needs a folder}" && shift 2 ;;
    --yes) sure=true && shift ;;
    --files) files=true && shift ;;
    -h | --help)
        sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    [0-9]*) day="$1" && shift ;;
    *) fail "unknown option $1; see ./scripts/restore-backup.sh --help" ;;
    esac
done
[[ "$day" =~ ^[0-9]{8}$ ]] || fail "name the day of the backup, such as 20241201"
archive="$folder/$day.tar.gz"
[[ -f "$archive" ]] || fail "there is no backup $archive"
$sure || fail "this replaces both databases by what they were on $day; say --yes, with the services stopped"

need_databases psql
umask 077
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
tar -C "$work" -xzf "$archive"
for name in orders compliance; do
    tail -n 20 "$work/$day/$name.sql" | grep -q 'dump complete' || fail "$archive holds no complete dump of $name"
done

data="${POLARIS_DATA_DIRECTORY:-${XDG_DATA_HOME:-$HOME/.local/share}/polaris-synapse}"
if $files; then
    [[ -n "$(url_of orders)" ]] || fail "--files is for a data directory on this machine; in containers use docker compose cp"
    for one in keys audit audit-checkpoints; do
        [[ ! -e "$data/$one" ]] || fail "$data/$one exists; --files puts files only where there are none"
    done
fi

for name in orders compliance; do
    in_database "$name" psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --single-transaction --output /dev/null \
        <"$work/$day/$name.sql" || fail "the database of $name was not changed; those named before are restored"
    say "Restored the database of $name."
done
if $files; then
    mkdir -p "$data"
    tar -C "$data" -xf "$work/$day/files.tar"
    say "Put the keys and the audit log's files back into $data."
fi
say "Start the services; they read from the brokers what came after the backup."
