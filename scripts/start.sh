#!/usr/bin/env bash
# Starts the desk: ./scripts/start.sh [options of `polaris up`]
#
# The first start installs what it needs into .venv, and has the order path compiled beside the running desk; later ones
# need no network. Paths in options are taken from the checkout, where .env is looked for too.
set -euo pipefail
# shellcheck source=scripts/lib/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/environment.sh"

cd "$POLARIS_ROOT"
prepare_start
exec .venv/bin/polaris up "$@"
