#!/usr/bin/env bash
# Runs every check that CI runs: ./scripts/test.sh [--quick] [options of pytest]
#
#   --quick    the tests alone, without linters and type checks
#
# As root it first installs the servers that the tests start on loopback (PostgreSQL, Redis, nginx, promtool) where they
# are missing; scripts/lib/servers.sh says how to keep it from doing so.
#
# All steps run even when one fails; the exit code is 1 if any did. The tests run in two processes: give `-n 0` for
# one process (a debugger needs that), or set POLARIS_TEST_WORKERS.
set -euo pipefail
# shellcheck source=scripts/lib/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/environment.sh"
# shellcheck source=scripts/lib/servers.sh
source "$POLARIS_ROOT/scripts/lib/servers.sh"

failed=()

# step NAME COMMAND...: run one check, and remember it if it failed.
step() {
    local name="$1" begin=$SECONDS
    shift
    printf '\n=== %s ===\n' "$name"
    if "$@"; then
        printf '=== %s: passed (%d s)\n' "$name" $((SECONDS - begin))
    else
        failed+=("$name")
        printf '=== %s: FAILED (%d s)\n' "$name" $((SECONDS - begin))
    fi
}

check_shell_scripts() {
    find . \( -name .git -o -name .venv -o -name .tools -o -name node_modules \) -prune -o \
        \( -name '*.sh' -o -path ./.ci/run \) -print0 | xargs -0 .venv/bin/shellcheck --external-sources
}

quick=false
if [[ "${1:-}" == --quick ]]; then
    quick=true
    shift
fi

cd "$POLARIS_ROOT"
prepare dev
prepare_servers

if ! $quick; then
    step "ruff check" .venv/bin/ruff check
    step "ruff format" .venv/bin/ruff format --check
    step "mypy" .venv/bin/mypy
    step "lint-imports" .venv/bin/lint-imports
    step "shellcheck" check_shell_scripts
fi
# CI takes one order of the tests, so that a change is only ever blamed for what it did; people get a new order each time,
# which is how tests that lean on each other are found.
order=()
[[ -z "${CI:-}" ]] || order=(--randomly-seed=23096649)
# By file: a desk, a database or a cluster that the tests of a file share is then started once and not in every process.
step "pytest" .venv/bin/pytest -n "${POLARIS_TEST_WORKERS:-2}" --dist loadfile ${order[@]+"${order[@]}"} "$@"

if ((${#failed[@]})); then
    printf '\nFAILED: %s\n' "$(
        IFS=,
        printf '%s' "${failed[*]}"
    )"
    exit 1
fi
printf '\nEverything passed.\n'
