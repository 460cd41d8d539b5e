//! What powerdev remembers on the host about one environment: `~/.local/state/powerdev/<name>/`.
//!
//! ```text
//! lock            held while something changes the environment: two `up` at once take turns
//! ports.json      host ports that were found once: the same after `rm` and `start`
//! watch.json      the watcher's budget
//! agent/          mounted read-only at /opt/powerdev: bin/powerdev-agent, config/{services,secrets}.json
//! run/            mounted at /run/powerdev: the control socket
//! ```
