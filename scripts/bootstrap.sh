#!/usr/bin/env bash
# Installs what powerdev needs and this machine lacks, and says so: a C compiler, Rust, a running Docker Engine.
# For Debian and Ubuntu, with root or sudo. Changes nothing, and asks nothing, where nothing is missing.
#
#   scripts/bootstrap.sh         what `make up` needs
#   scripts/bootstrap.sh test    and what `make test` needs
#   scripts/bootstrap.sh bench   and what `make bench` compares with
#   scripts/bootstrap.sh lint    what `make lint` needs: no Engine
#   scripts/bootstrap.sh fuzz    what `make fuzz` needs: no Engine
set -euo pipefail

cd "$(dirname "$0")/.."
export DEBIAN_FRONTEND=noninteractive
PATH="$PATH:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin"

readonly SOCKET=/var/run/docker.sock
readonly ENGINE_LOG=/var/log/dockerd.log
readonly ENGINE_DEADLINE=60

say() { printf 'bootstrap: %s\n' "$*" >&2; }

# What happened, then what to do.
die() {
    printf 'bootstrap: %s\n' "$1" >&2
    printf 'hint: %s\n' "$2" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo --preserve-env=DEBIAN_FRONTEND,http_proxy,https_proxy,no_proxy "$@"
    else
        die "this needs root: $*" "run it as root once, or install sudo"
    fi
}

# ---------------------------------------------------------------------------------------------------- packages

apt_updated=
apt_update() {
    [ -z "$apt_updated" ] || return 0
    have apt-get || die "packages are missing, and there is no apt-get: ${1:-}" \
        "on other systems install Docker Engine, Rust and a C compiler yourself, then \`cargo install --path .\`"
    quietly as_root apt-get update -qq || say "apt-get update failed; trying with the lists that are here"
    apt_updated=1
}

# Runs something talkative: what it says is shown only if it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" </dev/null >"$log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || tail -n 20 "$log" >&2
    rm -f "$log"
    return "$status"
}

apt_install() {
    apt_update "$*"
    say "installing $*"
    quietly as_root apt-get install -y -q --no-install-recommends "$@" ||
        die "apt-get could not install: $*" "see its messages above; \`apt-get update\` and a working mirror often help"
}

# Installs packages unless the command that stands before the colon is there: `need cc:gcc`.
need() {
    local pair missing=()
    for pair in "$@"; do
        have "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

# ---------------------------------------------------------------------------------------------------- Rust

# Whether version $1 is at least $2.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

rust_wanted() { sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml; }

rust_found() { rustc --version 2>/dev/null | cut -d ' ' -f 2; }

# The newest version that the distribution has, as `version compiler-package cargo-package`.
rust_packaged() {
    local name version
    for name in rustc $(apt-cache search --names-only '^rustc-1\.[0-9]+$' | cut -d ' ' -f 1); do
        version=$(apt-cache show --no-all-versions "$name" 2>/dev/null | sed -n 's/^Version: \([0-9.]*\).*/\1/p')
        [ -z "$version" ] || echo "$version $name ${name/rustc/cargo}"
    done | sort -V | tail -n 1
}

rust() {
    local wanted version compiler cargo
    wanted=$(rust_wanted)
    if have cargo && at_least "$(rust_found)" "$wanted"; then
        return
    fi
    say "Rust $wanted or newer is needed, found: $(rust_found || echo none)"
    if have rustup; then
        rustup toolchain install stable --profile minimal -c clippy,rustfmt >&2 && return
    else
        need curl:curl update-ca-certificates:ca-certificates
        say "installing Rust with rustup into ${CARGO_HOME:-$HOME/.cargo}"
        local installer
        installer=$(mktemp)
        if curl --proto '=https' --tlsv1.2 -fsSL --max-time 60 https://sh.rustup.rs -o "$installer" &&
            sh "$installer" -y --profile minimal -c clippy,rustfmt --no-modify-path </dev/null >&2; then
            rm -f "$installer"
            return
        fi
        rm -f "$installer"
        say "rustup could not be had; looking at the distribution's packages"
        apt_update
        read -r version compiler cargo <<<"$(rust_packaged)"
        if [ -n "${version:-}" ] && at_least "$version" "$wanted"; then
            apt_install "$compiler" "$cargo"
            at_least "$(rust_found)" "$wanted" && return
        fi
    fi
    die "no Rust $wanted or newer can be had here: rustup isn't reachable, the distribution has ${version:-none}" \
        "put cargo $wanted or newer on the PATH (https://rustup.rs), then run this again"
}

rust_lints() {
    have cargo-fmt && have cargo-clippy && return
    if have rustup; then
        rustup component add rustfmt clippy >&2
    else
        apt_install rustfmt rust-clippy
    fi
}

# Compiled here, which takes minutes, once.
rust_deny() {
    have cargo-deny && return
    say "installing cargo-deny from its source"
    scripts/run.sh cargo install --quiet --locked cargo-deny >&2
}

# ---------------------------------------------------------------------------------------------------- Engine

engine_answers() {
    if have docker; then
        # As `make` will use it: perhaps in a group that this log-in doesn't know yet.
        scripts/run.sh docker version --format '{{.Server.Version}}' >/dev/null 2>&1
    elif have curl; then
        curl -fs --max-time 5 --unix-socket "$SOCKET" http://engine/_ping >/dev/null 2>&1
    else
        return 1
    fi
}

# The Engine answers root, but not yet this user: the group's list may need a new log-in, or the user isn't in it.
engine_group() {
    [ "$(id -u)" -ne 0 ] && [ -S "$SOCKET" ] && [ ! -w "$SOCKET" ] || return 0
    local user
    user=$(id -un)
    if ! getent group docker | cut -d : -f 4 | tr , '\n' | grep -qx "$user"; then
        say "adding $user to the group docker, whose members control the Engine and with it this machine"
        as_root usermod -aG docker "$user"
        say "log in again to use powerdev without \`make\`"
    fi
}

cgroups() {
    grep -q ' /sys/fs/cgroup' /proc/mounts && return
    say "mounting the control groups, which nobody did"
    as_root mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null && return
    need cgroupfs-mount:cgroupfs-mount
    as_root cgroupfs-mount || die "no control groups can be mounted here" "a container needs --privileged for this"
}

# A killed Engine leaves the file of its number, and refuses to start while any process has that number: a stranger, or
# its own dead body that nobody has reaped.
forget_dead() { # FILE NAME
    local state
    [ -f "$1" ] || return 0
    state=$(awk '$1 == "Name:" { name = $2 } $1 == "State:" { print name, $2 }' "/proc/$(cat "$1")/status" 2>/dev/null || true)
    case "$state" in
        "$2 Z" | "$2 X") as_root rm -f "$1" ;;
        "$2 "*) ;;
        *) as_root rm -f "$1" ;;
    esac
}

engine_start() {
    if [ -d /run/systemd/system ]; then
        say "starting the Docker Engine by systemd"
        as_root systemctl enable --now docker >&2 ||
            die "systemd could not start the Docker Engine" "look at \`journalctl -u docker\`"
    else
        say "starting the Docker Engine by hand, since no service manager runs; its log: $ENGINE_LOG"
        cgroups
        forget_dead /var/run/docker.pid dockerd
        forget_dead /var/run/docker/containerd/containerd.pid containerd
        as_root sh -c "setsid dockerd >>$ENGINE_LOG 2>&1 </dev/null &"
    fi
}

engine_wait() {
    local end=$((SECONDS + ENGINE_DEADLINE))
    until [ -S "$SOCKET" ] && { engine_answers || { [ "$(id -u)" -ne 0 ] && as_root docker version >/dev/null 2>&1; }; }; do
        if [ "$SECONDS" -ge "$end" ]; then
            [ ! -r "$ENGINE_LOG" ] || tail -n 15 "$ENGINE_LOG" >&2
            die "the Docker Engine doesn't answer after ${ENGINE_DEADLINE} s" "its last lines are above; \`dockerd\` says more"
        fi
        sleep 0.2
    done
}

engine() {
    engine_answers && return
    if [ -n "${DOCKER_HOST:-}" ]; then
        die "no Docker Engine answers at DOCKER_HOST=$DOCKER_HOST" "unset DOCKER_HOST to have one installed here"
    fi
    if ! have dockerd; then
        local packages=(docker.io iptables)
        apt_update
        # Newer releases have the command line in a package of its own.
        apt-cache show docker-cli >/dev/null 2>&1 && packages+=(docker-cli)
        apt_install "${packages[@]}"
    fi
    if ! as_root docker version >/dev/null 2>&1; then
        engine_start
        engine_wait
    fi
    engine_group
}

# ---------------------------------------------------------------------------------------------------- base image

# A machine that can pull, pulls. One that can't makes its base image from the distribution's mirror. A user who isn't root
# needs newuidmap for that: the image's files belong to more than one user.
base_image() {
    local packages=(mmdebstrap debian-archive-keyring)
    [ "$(id -u)" -eq 0 ] || packages+=(uidmap)
    have mmdebstrap && { [ "$(id -u)" -eq 0 ] || have newuidmap; } && return
    [ -z "$(scripts/run.sh docker image ls -q --filter 'reference=powerdev*/*' --filter 'reference=powerdev-base' 2>/dev/null)" ] || return 0
    need curl:curl
    # 401 is the registry's greeting to those who haven't logged in.
    case $(curl -s -o /dev/null -w '%{http_code}' --max-time 5 https://registry-1.docker.io/v2/ || true) in
    200 | 401) return ;;
    esac
    say "no image registry can be reached: the base image will come from Debian's mirror"
    apt_install "${packages[@]}"
}

# ---------------------------------------------------------------------------------------------------- servers

# The tests start a registry and an ssh server of their own. The packages would also run them as services, open to the
# network: where the package isn't there yet, its service is kept from running.
need_without_service() { # COMMAND:PACKAGE SERVICE
    have "${1%%:*}" && return
    if [ -d /run/systemd/system ]; then
        as_root systemctl mask "$2.service" "$2.socket" >/dev/null 2>&1 || true
        apt_install "${1#*:}"
    else
        apt_install "${1#*:}"
        as_root update-rc.d "$2" disable >/dev/null 2>&1 || true
        as_root "/etc/init.d/$2" stop >/dev/null 2>&1 || true
    fi
}

# ---------------------------------------------------------------------------------------------------- all of it

need cc:build-essential
rust
if [ "${1:-}" = lint ]; then
    rust_lints
    rust_deny
    need shellcheck:shellcheck
    exit
fi
if [ "${1:-}" = fuzz ]; then
    need c++:g++
    exit
fi
engine
base_image
case ${1:-} in
test)
    rust_lints
    need c++:g++
    need docker:docker.io ip:iproute2 python3:python3 shellcheck:shellcheck tmux:tmux zsh:zsh fish:fish ps:procps
    as_root true # A few tests need it. Where sudo wants a password, it asks now.
    need_without_service docker-registry:docker-registry docker-registry
    need_without_service sshd:openssh-server ssh
    dpkg-query -W busybox-static >/dev/null 2>&1 || apt_install busybox-static
    ;;
bench)
    need docker:docker.io tini:tini supervisord:supervisor
    dpkg-query -W busybox-static >/dev/null 2>&1 || apt_install busybox-static
    ;;
esac
