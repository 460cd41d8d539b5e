#!/usr/bin/env bash
# Runs a command as a new log-in would: with Rust on the PATH, and in the group that may use the Engine.
set -euo pipefail

export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
socket=/var/run/docker.sock
if [ -z "${DOCKER_HOST:-}" ] && [ -S "$socket" ] && [ ! -w "$socket" ] && id -nG "$(id -un)" | grep -qw docker; then
    exec sg docker -c "$(printf '%q ' "$@")"
fi
exec "$@"
