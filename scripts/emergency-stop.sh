#!/usr/bin/env bash
# Stops all trading at once: ./scripts/emergency-stop.sh [reason]
#
# Sets the kill switch to "cancel all", reads the open orders back until none is left, and says what was cancelled.
# Where the desk does not take that, it trips the circuit breaker, which needs no credentials from this machine, and
# tries once more. It finds the desk that runs here, as one process or as services; another one by POLARIS_URL and
# POLARIS_KEY_FILE. Trading goes on only when a person says: polaris resume
#
# Exit code 0: trading is stopped and no order is open. 1: something is left to do, and it says what. 3: no desk runs here.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
reason="${*:-emergency stop}"
polaris=".venv/bin/polaris"
[[ -x "$polaris" ]] || polaris="$(command -v polaris || true)"
breaker=false

say() { printf '%s\n' "$*" >&2; }

# Pulls the kill switch, and ends this script where it was pulled or where there is nobody to stop.
halt() {
    local status=0
    "$polaris" halt --level cancel-all --note "$reason" || status=$?
    if [[ "$status" == 0 || "$status" == 4 ]] && $breaker; then
        say "The circuit breaker is tripped too: before trading goes on, also close it with polaris breaker reset."
    fi
    case "$status" in
    0) exit 0 ;;
    4)
        say "Trading is stopped. What may still be open has to be cancelled by hand: polaris orders"
        exit 1
        ;;
    3)
        say "No desk runs here, so there is nothing to stop. A desk elsewhere: set POLARIS_URL and try again."
        exit 3
        ;;
    esac
}

trip() {
    if [[ -n "$polaris" ]] && "$polaris" breaker trip --note "$reason"; then
        return
    fi
    curl --silent --show-error --fail --max-time 5 --request POST \
        "http://127.0.0.1:${POLARIS_PORTS__RISK:-8083}/circuit-breaker/activate" && printf '\n'
}

[[ -z "$polaris" ]] || halt
say "The kill switch did not answer; tripping the circuit breaker."
if trip; then
    breaker=true
    say "New orders are blocked."
    [[ -z "$polaris" ]] || halt
    say "Open orders may still be working: check with polaris orders."
    exit 1
fi
say "error: neither the kill switch nor the circuit breaker answered. Stop the processes themselves: polaris up and" \
    "polaris serve are their names. Without risk-manager no new order passes; what is open stays open at its venue."
exit 1
