//! `powerdev-agent`: what runs inside of a powerdev container. One binary, several roles:
//!
//! - `init` is PID 1: it supervises the services ([`supervisor`]).
//! - `health`, `ctl`, `attach` and `exec` are clients of its control socket ([`client`]).

mod client;
mod environment;
mod supervisor;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

const USAGE: &str = "\
usage: powerdev-agent init [--services FILE] [--secrets FILE] [--run-dir DIR] [--log-dir DIR]
       powerdev-agent health | ctl | attach | exec …
       powerdev-agent version
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    match verb.to_str() {
        Some("init") => supervisor::run(rest),
        Some("health") => client::health(rest),
        Some("ctl") => client::ctl(rest),
        Some("attach") => client::attach(rest),
        Some("exec") => client::exec(rest),
        Some("version" | "--version" | "-V") => say(&format!("powerdev-agent {}\n", env!("CARGO_PKG_VERSION"))),
        Some("help" | "--help" | "-h") => say(USAGE),
        _ => {
            rustix::io::write(rustix::stdio::stderr(), USAGE.as_bytes()).ok(); // Nobody may be there to read it.
            powerdev_protocol::ExitCode::Usage.into()
        }
    }
}

fn say(text: &str) -> ExitCode {
    match rustix::io::write(rustix::stdio::stdout(), text.as_bytes()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
