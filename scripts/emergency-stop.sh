#!/usr/bin/env bash
# Stops all trading at once: ./scripts/emergency-stop.sh [reason]
#
# Sets the kill switch to "cancel all", reads the open orders back until none is left, and says what was cancelled.
# Where the desk does not take that, it trips the circuit breaker, which needs no credentials from this machine.
# Trading goes on only when a person says: polaris resume
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
reason="${*:-emergency stop}"
polaris=".venv/bin/polaris"
[[ -x "$polaris" ]] || polaris="$(command -v polaris || true)"

if [[ -n "$polaris" ]]; then
    status=0
    "$polaris" halt --level cancel-all --note "$reason" || status=$?
    [[ "$status" == 0 ]] && exit 0
    if [[ "$status" == 3 ]]; then
        printf 'No desk runs here, so there is nothing to stop. A desk elsewhere: set POLARIS_URL and try again.\n' >&2
        exit 3
    fi
fi

port="${POLARIS_PORTS__RISK:-8083}"
printf 'The kill switch did not answer; tripping the circuit breaker on port %s.\n' "$port" >&2
if curl --silent --show-error --fail --max-time 5 --request POST "http://127.0.0.1:$port/circuit-breaker/activate"; then
    printf '\nNew orders are blocked. Open orders may still be working: check with polaris orders.\n' >&2
    exit 1
fi
printf 'error: neither the kill switch nor the circuit breaker answered; stop the process itself: polaris up is its name.\n' >&2
exit 1
