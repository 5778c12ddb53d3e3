#!/usr/bin/env bash
# Puts a running paper desk under load: ./scripts/stress-test.sh [--concurrent=100] [--duration=300] [--json] [...]
#
# Each connection places an order, waits for risk's verdict, and cancels what rests, for the given seconds. Reported are
# p50, p99 and p99.9 of both, errors by reason, and a verdict: --p99-ms-max=250 and --error-ratio-max=0.001 say what is
# allowed. Where to find the desk and the exit codes are those of test-integration.sh.
set -euo pipefail
# shellcheck source=scripts/lib/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/environment.sh"
# Whatever environment there is will do: a check must not rebuild what a desk may be running from.
[[ -x "$POLARIS_VENV/bin/python" ]] || prepare runtime
exec "$POLARIS_VENV/bin/python" -m polaris_synapse.testing.deployment stress "$@"
