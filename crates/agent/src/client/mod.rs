//! The agent's other face: commands that run beside it in the container and talk to it over its control socket.
//!
//! `health` is the Engine's health check, `exec` turns an Engine exec into a shell or command with the project's
//! environment, `attach` shows a service's terminal, `tmux` shows them all, `variables` brings a shell up
//! to date, `ctl` asks and commands, `connect` is the way
//! to the socket for a host that shares no folder with the container.

mod attach;
mod connect;
mod connection;
mod ctl;
mod exec;
mod health;
mod signals;
mod tmux;
mod variables;

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;

use powerdev_protocol::ExitCode as Code;
use powerdev_protocol::causes::chain;

use connection::{Connection, ConnectionError};
use lexopt::ValueExt as _;

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
  variables sh|fish                         for a shell to evaluate: the project's variables where it has older ones
  tmux                                      a tmux server in the foreground, one session a service";

/// Runs one of these commands. None when `command` is none of them.
pub fn run(command: &OsStr, arguments: Vec<OsString>) -> Option<ExitCode> {
    let arguments = lexopt::Parser::from_args(arguments);
    let outcome = match command.to_str()? {
        "health" => health::run(arguments),
        "ctl" => ctl::run(arguments),
        "attach" => attach::run(arguments),
        "connect" => connect::run(arguments),
        "exec" => exec::run(arguments),
        "tmux" => tmux::run(arguments),
        "variables" => variables::run(arguments),
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

impl From<lexopt::Error> for ClientError {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// A command line of flags, which may stand anywhere, and words.
#[derive(Debug)]
struct Line {
    flags: BTreeSet<String>,
    words: VecDeque<String>,
}

impl Line {
    /// Reads one. Every other flag than those that are known is refused.
    fn read(mut arguments: lexopt::Parser, known: &[&str]) -> Result<Self, ClientError> {
        let mut line = Self { flags: BTreeSet::new(), words: VecDeque::new() };
        while let Some(argument) = arguments.next()? {
            match argument {
                lexopt::Arg::Long(flag) if known.contains(&flag) => drop(line.flags.insert(flag.to_owned())),
                lexopt::Arg::Value(word) => line.words.push_back(word.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(line)
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    /// Takes the next word.
    fn word(&mut self, what: &str) -> Result<String, ClientError> {
        self.words.pop_front().ok_or_else(|| ClientError::Usage(format!("{what} is missing")))
    }

    /// Nothing may be left.
    fn end(mut self) -> Result<(), ClientError> {
        match self.words.pop_front() {
            None => Ok(()),
            Some(word) => Err(ClientError::Usage(format!("don't know what to do with {word}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(list: &[&str]) -> Result<Line, ClientError> {
        Line::read(lexopt::Parser::from_args(list), &["json", "wait"])
    }

    #[test]
    fn flags_stand_anywhere_and_words_in_their_order() {
        let mut line = line(&["start", "--json", "web"]).expect("right");
        assert!(line.has("json") && !line.has("wait"));
        assert_eq!(line.word("a verb").expect("is there"), "start");
        assert_eq!(line.word("a service").expect("is there"), "web");
        line.end().expect("nothing is left");
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        let said = line(&["-x"]).expect_err("no such flag").to_string();
        assert!(said.starts_with("invalid option '-x'"), "{said}");
        let said = line(&["--json=yes"]).expect_err("it takes no value").to_string();
        assert!(said.contains("--json"), "{said}");
        let said = line(&["extra"]).expect("a word").end().expect_err("a word is left").to_string();
        assert!(said.contains("extra"), "{said}");
        let said = line(&[]).expect("empty").word("a service").expect_err("none is there").to_string();
        assert!(said.starts_with("a service is missing"), "{said}");
    }
}
