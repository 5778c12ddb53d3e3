#!/usr/bin/env bash
# Sourced by the scripts beside it. Finds a Python, gets uv, and keeps .venv equal to uv.lock.
#
# `prepare runtime` or `prepare dev` does all of it; when nothing has changed since the last time it costs a few
# milliseconds and needs no network. A dev environment serves both, so starting the desk never takes the test
# tools away.
set -euo pipefail

POLARIS_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)"
POLARIS_VENV="$POLARIS_ROOT/.venv"
POLARIS_TOOLS="$POLARIS_ROOT/.tools"

readonly PYTHON_RANGE="3.11, 3.12 or 3.13"
# What uv fetches by itself where the machine has no Python in that range.
readonly PYTHON_TO_FETCH="3.13"
# pyproject.toml holds the same lower bound, in [tool.uv].
readonly UV_MINOR_MIN=9
readonly UV_REQUIREMENT="uv>=0.9,<1"

say() { printf '%s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs the interpreter instead of trusting its name: version managers leave commands that only print an error.
python_is_usable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

# Prints the path of a Python in the range, or nothing.
find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3 python; do
        if command -v "$name" >/dev/null && python_is_usable "$name"; then
            command -v "$name"
            return
        fi
    done
}

uv_is_usable() {
    local version
    version="$("$1" --version 2>/dev/null)" || return 1
    [[ "$version" =~ ^uv\ ([0-9]+)\.([0-9]+) ]] || return 1
    ((BASH_REMATCH[1] > 0 || BASH_REMATCH[2] >= UV_MINOR_MIN))
}

# Installs the Debian package that lets the Python $1 make virtual environments. Fails where it may not.
install_venv_package() {
    local -a as_root=()
    local versioned
    command -v apt-get >/dev/null || return 1
    if [[ "$(id -u)" != 0 ]]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    versioned="$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    say "Installing python3-venv with apt-get"
    "${as_root[@]}" apt-get update -qq >&2 || true
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$versioned" >&2 ||
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >&2
}

# Puts uv into .tools with whatever Python 3 there is; uv itself runs on older ones too.
install_uv() {
    local python="$1"
    say "Installing uv into .tools"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        if "$python" -m pip --version >/dev/null 2>&1; then
            PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --upgrade --target "$POLARIS_TOOLS" "$UV_REQUIREMENT" >&2 ||
                fail "uv could not be installed with pip; see its message above."
            return
        fi
        install_venv_package "$python" ||
            fail "this Python cannot make virtual environments; run: sudo apt-get install python3-venv"
    fi
    "$python" -m venv --clear "$POLARIS_TOOLS" >&2 ||
        fail "this Python cannot make virtual environments; run: sudo apt-get install python3-venv"
    "$POLARIS_TOOLS/bin/python" -m pip install --quiet "$UV_REQUIREMENT" >&2 ||
        fail "uv could not be installed with pip; see its message above."
}

# Prints the path of a uv that reads the lock file, after installing one where there is none.
find_uv() {
    local python
    if command -v uv >/dev/null && uv_is_usable uv; then
        command -v uv
        return
    fi
    if ! uv_is_usable "$POLARIS_TOOLS/bin/uv"; then
        python="$(find_python)"
        if [[ -z "$python" ]]; then
            python="$(command -v python3)" ||
                fail "Python is missing; install Python $PYTHON_RANGE, for example: sudo apt-get install python3 python3-venv"
        fi
        install_uv "$python"
    fi
    printf '%s\n' "$POLARIS_TOOLS/bin/uv"
}

# What an up-to-date environment was made from: the lock, the project, the Python, the sources that are compiled, and the
# place (a moved checkout needs a new one, since the commands in .venv/bin name their interpreter by its full path).
environment_hash() {
    {
        printf '%s\n' "$POLARIS_ROOT" "${POLARIS_PURE_PYTHON:-}"
        cat "$POLARIS_ROOT/hatch_build.py" "$POLARIS_ROOT"/src/polaris_synapse/matching/core/native/*.p?[dx]
        cat "$POLARIS_ROOT"/src/polaris_synapse/{compiled,domain,domain/messages,*/core,bus,order_gateway}/*.py
        cat "$POLARIS_ROOT/uv.lock" "$POLARIS_ROOT/pyproject.toml" "$POLARIS_VENV/pyvenv.cfg"
    } | sha256sum | cut -d ' ' -f 1
}

# Whether .venv already serves $1 (runtime or dev).
environment_is_current() {
    local stamp
    [[ -x "$POLARIS_VENV/bin/python" && -f "$POLARIS_VENV/.polaris" ]] || return 1
    stamp="$(<"$POLARIS_VENV/.polaris")"
    [[ "$stamp" == "dev $(environment_hash)" || "$stamp" == "$1 $(environment_hash)" ]]
}

# prepare runtime|dev: make .venv what uv.lock says.
prepare() {
    local kind="$1" uv python
    local blame="the packages could not be installed; the message above says why (the first time needs the network)."
    # Compiled now rather than at the first start, and also where Python may not write beside its modules.
    local -a options=(--frozen --compile-bytecode)
    environment_is_current "$kind" && return
    uv="$(find_uv)"
    if ! python_is_usable "$POLARIS_VENV/bin/python"; then
        python="$(find_python)"
        if [[ -z "$python" ]]; then
            say "This machine has no Python $PYTHON_RANGE; uv fetches $PYTHON_TO_FETCH"
            python="$PYTHON_TO_FETCH"
            blame="there is no Python $PYTHON_RANGE here and fetching one failed, as said above; install one of them."
        fi
        options+=(--python "$python")
    fi
    if [[ "$kind" == dev ]]; then
        options+=(--all-extras)
    else
        # Inexact: packages that somebody added for development or an extra stay.
        options+=(--no-dev --inexact --extra llm --extra mcp)
    fi
    # The bars and the list of packages are for a person who waits.
    [[ -t 2 ]] || options+=(--quiet)
    rm -f "$POLARIS_VENV/.polaris"
    if [[ -n "${POLARIS_PURE_PYTHON:-}" ]]; then
        say "Preparing .venv: packages"
    else
        say "Preparing .venv: packages, and a minute of compiling (only after a change of uv.lock, pyproject.toml or a compiled source)"
    fi
    env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT="$POLARIS_VENV" "$uv" sync --project "$POLARIS_ROOT" "${options[@]}" >&2 ||
        fail "$blame"
    printf '%s %s\n' "$kind" "$(environment_hash)" >"$POLARIS_VENV/.polaris"
}

# The pid of the process that compiles beside a running desk, where one does.
compiling_pid() {
    local pid
    [[ -f "$POLARIS_VENV/.compiling" ]] || return 1
    pid="$(<"$POLARIS_VENV/.compiling")"
    [[ -n "$pid" ]] && kill -0 "$pid" 2>/dev/null && printf '%s\n' "$pid"
}

# Like `prepare runtime`, but the very first time nobody waits for the compiler: the desk starts as plain Python, and is
# compiled beside it for the next start.
prepare_start() {
    if compiling_pid >/dev/null && [[ -x "$POLARIS_VENV/bin/polaris" ]]; then
        say "The order path is still being compiled; until the next start it runs as plain Python, which is slower."
        return
    fi
    if [[ -f "$POLARIS_VENV/.polaris" || -n "${POLARIS_PURE_PYTHON:-}" ]] || ! command -v "${CC:-cc}" >/dev/null; then
        prepare runtime
        return
    fi
    POLARIS_PURE_PYTHON=1 prepare runtime
    say "The order path is being compiled for the next start; until then it runs as plain Python, which is slower."
    # In a subshell that ends, so that the desk, which takes this shell's place, gets no child that is not its own.
    (
        # shellcheck disable=SC2016  # the other shell takes the place of $0
        nohup nice -n 19 bash -c 'source "$0" && prepare runtime' "$POLARIS_ROOT/scripts/lib/environment.sh" \
            >"$POLARIS_VENV/compiling.log" 2>&1 </dev/null &
        printf '%s\n' "$!" >"$POLARIS_VENV/.compiling"
    )
}
