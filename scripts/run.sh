#!/usr/bin/env bash
# Runs a command as a new log-in would: with Rust on the PATH, and in the group that may use the Engine.
set -euo pipefail

export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
socket=/var/run/docker.sock
if [ -z "${DOCKER_HOST:-}" ] && [ -S "$socket" ] && [ ! -w "$socket" ] && id -nG "$(id -un)" | grep -qw docker; then
    # Twice, since sg makes the group the main one: whatever is made must belong to the user's own.
    printf -v command '%q ' "$@"
    printf -v command '%q ' exec sg "$(id -gn)" -c "$command"
    exec sg docker -c "$command"
fi
exec "$@"
