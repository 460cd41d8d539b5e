#!/usr/bin/env bash
# Feeds what reads others' files and messages with inputs that nobody wrote, two targets at once.
#
#   scripts/fuzz.sh [SECONDS] [TARGET…]   every target, or these, for so long each: 60 if not given
#   scripts/fuzz.sh keep [TARGET…]        keep what was found on the way, as few and small inputs as reach all of it
#
# SEED=1 goes the same way each time, so that a change is judged by what it changed.
#
# A target is a folder of fuzz/corpus. What it finds is left in target/fuzz, and told: mend it, and keep the input.
set -euo pipefail

cd "$(dirname "$0")/.."
readonly TARGET_DIR=${CARGO_TARGET_DIR:-target}
readonly FOUND=$TARGET_DIR/fuzz
readonly BINARY=$TARGET_DIR/debug/powerdev-fuzz

build() {
    RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/fuzz-rustc.sh" cargo build --quiet --locked --package powerdev-fuzz --features libfuzzer
}

# The kept inputs are read and never changed; new ones go into a folder of the target's own.
run() { # TARGET SECONDS
    local log="$FOUND/$1.log"
    mkdir -p "$FOUND/$1" "$FOUND/$1-found"
    if POWERDEV_FUZZ_TARGET=$1 "$BINARY" -max_total_time="$2" -timeout=10 ${SEED:+-seed="$SEED"} -rss_limit_mb=1024 -max_len=4096 \
        -artifact_prefix="$FOUND/$1-found/" -print_final_stats=1 "$FOUND/$1" "fuzz/corpus/$1" >"$log" 2>&1; then
        awk -v name="$1" '/ cov: / { cov = $4 } /number_of_executed_units/ { runs = $2 }
            END { printf "fuzz: %-14s %9d inputs, %5d places reached\n", name, runs, cov }' "$log"
    else
        grep -v '^#' "$log" | tail -n 25 >&2
        printf 'fuzz: %s broke; the input is the last in %s\n' "$1" "$FOUND/$1-found" >&2
        printf 'hint: mend it, copy the input to fuzz/corpus/%s, and run this again\n' "$1" >&2
        return 1
    fi
}

keep() { # TARGET
    mkdir -p "$FOUND/$1"
    POWERDEV_FUZZ_TARGET=$1 "$BINARY" -set_cover_merge=1 -max_len=512 "fuzz/corpus/$1" "$FOUND/$1" >"$FOUND/$1.log" 2>&1
    printf 'fuzz: %-14s %d inputs kept\n' "$1" "$(find "fuzz/corpus/$1" -type f | wc -l)"
}

case ${1:-60} in
run) run "$2" "$3" ;;
keep)
    shift
    build
    [ $# -gt 0 ] || set -- fuzz/corpus/*
    for target in "$@"; do keep "${target##*/}"; done
    ;;
*)
    seconds=${1:-60}
    shift || true
    build
    [ $# -gt 0 ] || set -- fuzz/corpus/*
    printf '%s\n' "${@##*/}" | xargs -P 2 -I '{}' "$0" run '{}' "$seconds"
    ;;
esac
