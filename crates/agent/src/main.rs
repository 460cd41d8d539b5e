//! `powerdev-agent`: what runs inside of a powerdev container. One binary, several roles:
//!
//! - `init` is PID 1: it supervises the services ([`supervisor`]).
//! - `health`, `ctl`, `attach`, `connect`, `exec` and `tmux` are clients of its control socket ([`client`]).
//! - `guard` keeps the web pages of others away from a service ([`guard`]).

mod client;
mod environment;
mod guard;
mod supervisor;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

const USAGE: &str = "\
usage: powerdev-agent COMMAND

  init [--services FILE] [--secrets FILE] [--run-dir DIR] [--log-dir DIR]
                                            PID 1: supervise the services";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let usage = || format!("{USAGE}\n{}\n{}\n  version\n", client::USAGE, guard::USAGE);
    match verb.to_str() {
        Some("init") => supervisor::run(rest),
        Some("guard") => guard::run(rest),
        Some("version" | "--version" | "-V") => say(&format!("powerdev-agent {}\n", env!("CARGO_PKG_VERSION"))),
        Some("help" | "--help" | "-h") => say(&usage()),
        _ => client::run(&verb, rest).unwrap_or_else(|| {
            rustix::io::write(rustix::stdio::stderr(), usage().as_bytes()).ok(); // Nobody may be there to read it.
            powerdev_protocol::ExitCode::Usage.into()
        }),
    }
}

fn say(text: &str) -> ExitCode {
    match rustix::io::write(rustix::stdio::stdout(), text.as_bytes()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
