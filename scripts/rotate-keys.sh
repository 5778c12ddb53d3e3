#!/usr/bin/env bash
# Makes successors of programs' keys before these end: ./scripts/rotate-keys.sh [--within DAYS] [--out FOLDER] [KEY]...
#
#   KEY          which; without one every key that ends within --within days (14)
#   --out        where the new private keys go (rotated-keys); only you can read them
#   --days       how long the new ones hold (90)
#
# A successor may do what its key may. Both hold until you void the old one, once its program has been given the new
# one: polaris user revoke KEY. Which desk: POLARIS_DATA_DIRECTORY, POLARIS_CONFIG and the settings' variables.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
polaris=".venv/bin/polaris"
[[ -x "$polaris" ]] || polaris="$(command -v polaris)" || {
    printf 'error: polaris is not installed here; run ./scripts/setup-dev.sh\n' >&2
    exit 1
}
within=14 out=rotated-keys days=90 keys=()
while (($#)); do
    case "$1" in
    --within) within="${2:?--within needs a number of days}" && shift 2 ;;
    --out) out="${2:?--out needs a folder}" && shift 2 ;;
    --days) days="${2:?--days needs a number}" && shift 2 ;;
    -h | --help)
        sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    -*)
        printf 'error: unknown option %s; see ./scripts/rotate-keys.sh --help\n' "$1" >&2
        exit 1
        ;;
    *) keys+=("$1") && shift ;;
    esac
done

if ((${#keys[@]} == 0)); then
    listed="$("$polaris" user list --json)"
    mapfile -t keys < <(python3 -c '
import json, sys, time
now_ns = time.time_ns()
until_ns = now_ns + int(sys.argv[1]) * 86_400 * 10**9
for row in json.load(sys.stdin):
    if row["kind"] == "key" and not row["state"] and now_ns < row["expires_time_ns"] < until_ns:
        print(row["name"])
' "$within" <<<"$listed")
fi
if ((${#keys[@]} == 0)); then
    printf 'No key ends within %s days.\n' "$within"
    exit 0
fi
umask 077
mkdir -p "$out"
for key in "${keys[@]}"; do
    "$polaris" user rotate "$key" --days "$days" --out "$out/$key.successor.key.json"
done
