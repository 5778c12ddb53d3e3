#!/usr/bin/env bash
# Builds the image of all services: ./scripts/build.sh [--push] [--tag TAG]... [--base IMAGE] [--engine docker|podman|buildah]
#
#   --tag TAG      another tag beside the version and `latest`; may be repeated
#   --push         push every tag afterwards, to wherever the image's name points
#   --base IMAGE   what it is built on, instead of the Dockerfile's own choice
#   --engine NAME  what builds, instead of the first of docker, podman and buildah that works here
#
# The image is called $DESK_IMAGE, or polaris-synapse. Its version is the package's; a checkout with changes that are
# not committed is marked as such in the label of its revision. Where deployments/nginx/ssl has no certificate, a
# self-signed one for this machine is made, which a deployment for others must replace.
set -euo pipefail

POLARIS_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
readonly POLARIS_ROOT
readonly IMAGE="${DESK_IMAGE:-polaris-synapse}"
readonly CERTIFICATE_DAYS=365

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Prints the first builder that works: Docker's client alone, without its engine, does not.
find_engine() {
    if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
        printf 'docker\n'
    elif command -v podman >/dev/null; then
        printf 'podman\n'
    elif command -v buildah >/dev/null; then
        printf 'buildah\n'
    else
        fail "nothing here can build an image; install Docker, podman or buildah"
    fi
}

version() {
    sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$POLARIS_ROOT/src/polaris_synapse/__init__.py"
}

revision() {
    local commit
    commit="$(git -C "$POLARIS_ROOT" rev-parse --short=12 HEAD 2>/dev/null)" || {
        printf 'unknown\n'
        return
    }
    [[ -z "$(git -C "$POLARIS_ROOT" status --porcelain 2>/dev/null)" ]] || commit+="-modified"
    printf '%s\n' "$commit"
}

make_certificate() {
    local folder="$POLARIS_ROOT/deployments/nginx/ssl"
    [[ -e "$folder/polaris-synapse.crt" || -e "$folder/polaris-synapse.key" ]] && return
    command -v openssl >/dev/null || {
        printf 'No certificate for nginx yet, and no openssl to make one; see docs/how-to/docker.md.\n' >&2
        return
    }
    (
        umask 077
        openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days "$CERTIFICATE_DAYS" \
            -subj "/CN=localhost" -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \
            -keyout "$folder/polaris-synapse.key" -out "$folder/polaris-synapse.crt" 2>/dev/null
    )
    printf 'Made a self-signed certificate for localhost in deployments/nginx/ssl.\n' >&2
}

tags=()
push=false
base=""
engine=""
while (($#)); do
    case "$1" in
    --tag) tags+=("${2:?--tag needs a tag}") && shift 2 ;;
    --base) base="${2:?--base needs an image}" && shift 2 ;;
    --engine) engine="${2:?--engine needs docker, podman or buildah}" && shift 2 ;;
    --push) push=true && shift ;;
    -h | --help)
        sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) fail "unknown option $1; see ./scripts/build.sh --help" ;;
    esac
done
[[ -n "$engine" ]] || engine="$(find_engine)"
[[ "$engine" =~ ^(docker|podman|buildah)$ ]] || fail "--engine is docker, podman or buildah, not $engine"

number="$(version)"
[[ -n "$number" ]] || fail "src/polaris_synapse/__init__.py names no version"
tags=("$number" latest "${tags[@]}")
options=(--file "$POLARIS_ROOT/Dockerfile" --build-arg "VERSION=$number" --build-arg "REVISION=$(revision)")
[[ -z "$base" ]] || options+=(--build-arg "BASE=$base")
for tag in "${tags[@]}"; do options+=(--tag "$IMAGE:$tag"); done
# Docker's own format keeps the health check, which the other one has no place for.
[[ "$engine" == docker ]] || options+=(--format docker)

make_certificate
"$engine" build "${options[@]}" "$POLARIS_ROOT"
if $push; then
    for tag in "${tags[@]}"; do "$engine" push "$IMAGE:$tag"; done
fi
printf 'Built %s as %s.\n' "$IMAGE" "$(
    IFS=' '
    printf '%s' "${tags[*]}"
)"
