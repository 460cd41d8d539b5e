#!/usr/bin/env bash
# Checks that the host's part compiles for macOS, for each architecture whose standard library is installed here
# (`rustup target add aarch64-apple-darwin`). Nothing is linked, so no Mac is needed, and nothing runs.
set -euo pipefail

cd "$(dirname "$0")/.."
libraries="$(rustc --print sysroot)/lib/rustlib"
# The agent runs inside Linux containers: what is embedded doesn't matter to a check.
POWERDEV_AGENT=$(type -P true)
export POWERDEV_AGENT
for architecture in aarch64 x86_64; do
    target="$architecture-apple-darwin"
    if [ ! -d "$libraries/$target" ]; then
        echo "check-macos: $target is left out: its standard library isn't here" >&2
        continue
    fi
    if [ "$(uname)" != Darwin ]; then
        # A dependency compiles C, which a check doesn't look at: a compiler that makes nothing will do.
        export "CC_${architecture}_apple_darwin=true" "AR_${architecture}_apple_darwin=true"
    fi
    cargo clippy --locked --target "$target" -- -D warnings
done
