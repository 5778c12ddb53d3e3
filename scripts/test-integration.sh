#!/usr/bin/env bash
# Checks a running deployment: ./scripts/test-integration.sh [quick|load] [--url URL] [--key-file FILE] [--json] [...]
#
#   (nothing)   every service, the audit log, and the life of an order on a paper account made for it
#   quick       reads only: places nothing and makes no account
#   load        all of it, and fifteen seconds of orders over ten connections
#
# Without --url it takes POLARIS_URL, or the desk that runs on this machine; it starts nothing. The key needs the role
# ADMIN: --key-file, POLARIS_KEY_FILE, or the one the desk made for this machine. Afterwards the account's orders are
# cancelled, the account is blocked, and its users are removed. Exit code 0: passed, 1: failed, 2: wrong options, 3: there
# is nothing to check.
set -euo pipefail
# shellcheck source=scripts/lib/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/environment.sh"
# Whatever environment there is will do: a check must not rebuild what a desk may be running from.
[[ -x "$POLARIS_VENV/bin/python" ]] || prepare runtime
exec "$POLARIS_VENV/bin/python" -m polaris_synapse.testing.deployment integration "$@"
