#!/usr/bin/env bash
# The compiler, for cargo's RUSTC_WORKSPACE_WRAPPER: has our own crates count what an input reaches and what it is compared
# with, as libFuzzer reads it. These flags are stable; only cargo-fuzz wants a nightly compiler, for its sanitizers.
set -euo pipefail

case " $* " in
*" --crate-name build_script_"* | *" --crate-name ___ "* | *" -vV "*) exec "$@" ;;
esac
exec "$@" -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares
