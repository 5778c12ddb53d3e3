#!/usr/bin/env bash
# Sourced by scripts/test.sh, after environment.sh. Puts the servers that the tests start into place:
#
#   prepare_servers    installs the Debian packages that are missing, where this is root and apt-get is here
#
# Tests find or start their servers themselves (see docs/how-to/databases.md). Where a server stays missing its tests
# are skipped with a sentence, or fail where CI is set. POLARIS_TEST_INSTALL=never leaves the machine as it is.
set -euo pipefail

# A program of each server, and the package of Debian that has it.
readonly SERVER_PACKAGES=(
    "/usr/lib/postgresql/15/bin/postgres postgresql-15"
    "redis-server redis-server"
    "redis-sentinel redis-sentinel"
    "nginx nginx-light"
    "promtool prometheus"
    "amtool prometheus-alertmanager"
    "java openjdk-17-jre-headless"
    "mvn maven"
)
# Both steps of apt-get together stay below ten minutes; a minute is usual.
readonly APT_UPDATE_SECONDS_MAX=120
readonly APT_INSTALL_SECONDS_MAX=450

# Prints the packages whose program is not here, one a line.
missing_server_packages() {
    local entry program
    for entry in "${SERVER_PACKAGES[@]}"; do
        program="${entry%% *}"
        PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$program" >/dev/null || printf '%s\n' "${entry#* }"
    done
}

prepare_servers() {
    local begin=$SECONDS
    local -a missing
    mapfile -t missing < <(missing_server_packages)
    ((${#missing[@]})) || return 0
    if [[ "${POLARIS_TEST_INSTALL:-}" == never ]] || ! command -v apt-get >/dev/null || [[ "$(id -u)" != 0 ]]; then
        say "Servers that the tests use are missing; get them with: sudo apt-get install --no-install-recommends ${missing[*]}"
        return 0
    fi
    say "Installing servers for the tests with apt-get: ${missing[*]}"
    timeout "$APT_UPDATE_SECONDS_MAX" apt-get update -qq >&2 || say "apt-get update failed; going on with what is known"
    # RUNLEVEL keeps the packages from starting anything: tests start their own, on loopback.
    if RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive timeout "$APT_INSTALL_SECONDS_MAX" \
        apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" >/dev/null; then
        say "Installed in $((SECONDS - begin)) s"
    else
        say "apt-get could not install them; tests that need these servers will say so"
    fi
}
