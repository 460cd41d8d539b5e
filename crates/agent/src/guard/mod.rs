//! `guard`: runs a service's command, and stands between its port and the browsers.
//!
//! What is published on 127.0.0.1 can be reached by every web page that is open in a browser on that machine, and many
//! development servers answer whoever asks: a page of somebody else's could drive them. The guard listens in their
//! place, passes on what the service's own pages and programs send, and refuses what the pages of other sites do
//! ([`Rules`]). It looks at the head of each request and at nothing else, so it works for whatever is HTTP.

mod door;
mod head;
mod relay;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread;

use powerdev_origin::Rules;
use powerdev_protocol::paths::HOST_NAME_VARIABLE;

use crate::environment::PROJECT_VARIABLE;

/// What `powerdev-agent --help` says about it.
pub const USAGE: &str = "\
  guard PORT TARGET -- COMMAND...           a service of HTTP whose TARGET port only its own web pages reach, on PORT";

/// Further origins whose pages may use the service, separated by spaces: `https://box.example`.
const ALLOWED: &str = "POWERDEV_ALLOW_ORIGINS";
/// What a thread needs that copies bytes.
const STACK: usize = 128 * 1024;

/// Runs the command and guards it until it ends. Its exit code is the command's, 128 and the number for a signal.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let Some((port, target, command)) = parse(&arguments) else {
        tell(format_args!("usage: powerdev-agent{}", USAGE.trim_end().replacen("  ", " ", 1)));
        return powerdev_protocol::ExitCode::Usage.into();
    };
    let rules = Rules::new(&std::env::var(ALLOWED).unwrap_or_default(), names());
    let listener = match listen(port) {
        Ok(listener) => listener,
        Err(error) => {
            tell(format_args!("can't listen on port {port}: {error}"));
            return powerdev_protocol::ExitCode::Failed.into();
        }
    };
    let mut child = match Command::new(&command[0]).args(&command[1..]).spawn() {
        Ok(child) => child,
        Err(error) => {
            tell(format_args!("can't run {}: {error}", command[0].display()));
            return if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }.into();
        }
    };
    let accepting = thread::Builder::new().stack_size(STACK);
    if let Err(error) = accepting.spawn(move || serve(&listener, target, &Arc::new(rules))) {
        tell(format_args!("can't guard port {port}: {error}"));
        child.kill().ok(); // Gone already is as good.
    }
    match child.wait() {
        Ok(status) => {
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
            u8::try_from(code).unwrap_or(u8::MAX).into()
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// `PORT TARGET -- COMMAND...`
fn parse(arguments: &[OsString]) -> Option<(u16, u16, &[OsString])> {
    let [port, target, dashes, command @ ..] = arguments else { return None };
    let number = |word: &OsString| word.to_str()?.parse().ok().filter(|port| *port != 0);
    let (port, target) = (number(port)?, number(target)?);
    (dashes == "--" && !command.is_empty() && port != target).then_some((port, target, command))
}

/// On every address, of both families where there are two.
fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .or_else(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers everybody, each on a thread of its own.
fn serve(listener: &TcpListener, target: u16, rules: &Arc<Rules>) {
    door::accept(listener, |client, guest| {
        let rules = Arc::clone(rules);
        // Without a thread to be had it is hung up on.
        let spawned = thread::Builder::new().stack_size(STACK).spawn(move || {
            if let Err(refused) = relay::relay(&client, target, &rules, &guest) {
                tell(format_args!("{refused}"));
            }
        });
        drop(spawned);
    });
}

/// The names that this service is known by: its container's, its environment's, its host's.
fn names() -> Vec<String> {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let variables = [PROJECT_VARIABLE, HOST_NAME_VARIABLE].into_iter().filter_map(|name| std::env::var(name).ok());
    variables.chain([hostname]).collect()
}

/// A line for the service's log.
fn tell(line: std::fmt::Arguments<'_>) {
    writeln!(io::stderr(), "powerdev-agent guard: {line}").ok(); // Nobody may be there to read it.
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<(u16, u16, Vec<String>)> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let (port, target, command) = parse(&words)?;
        Some((port, target, command.iter().map(|word| word.to_string_lossy().into_owned()).collect()))
    }

    #[test]
    fn a_line_is_taken_whole_or_not_at_all() {
        assert_eq!(
            parsed("3000 3080 -- web --port 3080"),
            Some((3000, 3080, vec!["web".into(), "--port".into(), "3080".into()]))
        );
        for wrong in
            ["", "3000", "3000 3080", "3000 3080 --", "3000 3080 web", "0 3080 -- web", "3000 3000 -- web", "x 1 -- y"]
        {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
