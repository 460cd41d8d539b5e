//! The agent's other face: commands that run beside it in the container and talk to it over its control socket.
//!
//! `health` is the Engine's health check, `exec` turns an Engine exec into a shell or command with the project's
//! environment, `attach` shows a service's terminal, `tmux` shows them all, `ctl` asks and commands, `connect` is the way
//! to the socket for a host that shares no folder with the container.

mod attach;
mod connect;
mod connection;
mod ctl;
mod exec;
mod health;
mod signals;
mod tmux;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;

use powerdev_protocol::ExitCode as Code;
use powerdev_protocol::causes::chain;

use connection::{Connection, ConnectionError};

use crate::environment::FileError;

/// What `powerdev-agent --help` says about these commands.
pub const USAGE: &str = "\
  health                                    one line on the environment's health; exit code 0 when healthy
  ctl status|services|events [--json]       ask the agent
  ctl start|stop|restart NAME [--wait]      command one service
  ctl reload [--json]                       go over to changed services and secrets
  attach [--stay] NAME                      a session's or service's terminal; Ctrl-P Ctrl-Q leaves it
  exec [--directory DIR] [--env N=V] [-- COMMAND...]
                                            a command, or a login shell, in the project's environment
  connect                                   the control socket on standard input and output, for the host
  tmux                                      a tmux server in the foreground, one session a service";

/// Runs one of these commands. None when `command` is none of them.
pub fn run(command: &OsStr, arguments: Vec<OsString>) -> Option<ExitCode> {
    let words = ArgumentList(arguments.into());
    let outcome = match command.to_str()? {
        "health" => health::run(words),
        "ctl" => ctl::run(words),
        "attach" => attach::run(words),
        "connect" => connect::run(words),
        "exec" => exec::run(words),
        "tmux" => tmux::run(words),
        _ => return None,
    };
    Some(match outcome {
        Ok(code) => code,
        Err(error) => {
            // If standard error is gone the exit code still tells.
            writeln!(std::io::stderr(), "powerdev-agent: {}", chain(&error)).ok();
            error.exit_code()
        }
    })
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    /// The command line is wrong.
    #[error("{0}; `powerdev-agent --help` lists the commands")]
    Usage(String),
    /// The agent can't be talked to.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The agent said no.
    #[error("{0}")]
    Refused(String),
    /// What was asked about isn't there.
    #[error("{0}")]
    Absent(String),
    /// A file that the host wrote can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A program can't be run.
    #[error("can't run {program}: {reason}")]
    NotRun {
        /// Its name, as given.
        program: String,
        reason: String,
        /// 127: there is no such program; 126: it can't be run.
        code: u8,
    },
    /// The terminal, a pipe or a file failed.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl ClientError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        |source| Self::Io { what: what.into(), source }
    }

    /// What an agent's [`powerdev_protocol::Response::Error`] is.
    fn of_answer(message: String, absent: bool) -> Self {
        if absent { Self::Absent(message) } else { Self::Refused(message) }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => Code::Usage.into(),
            Self::Connection(_) | Self::Absent(_) => Code::NotRunning.into(),
            Self::NotRun { code, .. } => (*code).into(),
            Self::Refused(_) | Self::File(_) | Self::Io { .. } => Code::Failed.into(),
        }
    }
}

/// The words of a command line that haven't been looked at yet.
struct ArgumentList(VecDeque<OsString>);

impl ArgumentList {
    /// Takes the next word if it is this flag.
    fn flag(&mut self, name: &str) -> bool {
        let found = self.0.front().is_some_and(|word| word == name);
        if found {
            self.0.pop_front();
        }
        found
    }

    /// Takes `name VALUE` if they come next.
    fn option(&mut self, name: &str) -> Result<Option<OsString>, ClientError> {
        if !self.flag(name) {
            return Ok(None);
        }
        let value = self.0.pop_front().ok_or_else(|| ClientError::Usage(format!("{name} needs a value")))?;
        Ok(Some(value))
    }

    /// Takes the next word, which isn't a flag.
    fn text(&mut self, what: &str) -> Result<String, ClientError> {
        match self.0.pop_front().map(OsString::into_string) {
            Some(Ok(word)) if !word.starts_with('-') => Ok(word),
            Some(Ok(word)) => Err(ClientError::Usage(format!("{what} expected in place of {word}"))),
            Some(Err(word)) => Err(ClientError::Usage(format!("{what} expected in place of {}", word.display()))),
            None => Err(ClientError::Usage(format!("{what} is missing"))),
        }
    }

    /// Nothing may be left.
    fn end(self) -> Result<(), ClientError> {
        match self.0.front() {
            None => Ok(()),
            Some(word) => Err(ClientError::Usage(format!("don't know what to do with {}", word.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> ArgumentList {
        ArgumentList(list.iter().map(OsString::from).collect())
    }

    #[test]
    fn words_are_taken_in_order() {
        let mut line = words(&["--json", "--token", "abc", "web"]);
        assert!(!line.flag("--wait"));
        assert!(line.flag("--json"));
        assert_eq!(line.option("--token").expect("has a value"), Some("abc".into()));
        assert_eq!(line.text("a service").expect("is there"), "web");
        line.end().expect("nothing is left");
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        assert!(words(&["--token"]).option("--token").is_err());
        let said = words(&["-x"]).text("a service").expect_err("a flag isn't a service").to_string();
        assert!(said.starts_with("a service expected in place of -x;"), "{said}");
        let said = words(&["extra"]).end().expect_err("a word is left").to_string();
        assert!(said.contains("extra"), "{said}");
    }
}
