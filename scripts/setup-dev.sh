#!/usr/bin/env bash
# Prepares this checkout for development: ./scripts/setup-dev.sh
set -euo pipefail
# shellcheck source=scripts/lib/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/environment.sh"

prepare dev
cat <<'TEXT'
Ready. The commands:

  ./scripts/start.sh            start the desk
  ./scripts/test.sh             everything that CI runs
  ./scripts/test.sh --quick     the tests alone; further options go to pytest
  .venv/bin/ruff format         lay out the code
  .venv/bin/polaris --help      the command line
TEXT
