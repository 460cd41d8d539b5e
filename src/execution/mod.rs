//! A command or a shell inside of a running environment, on the user's terminal or on pipes.
//!
//! It runs as an Engine exec of `powerdev-agent exec`, which gives it the environment of a login shell, secrets
//! included, and registers it with PID 1, so that signals reach it. Bytes go through unchanged both ways, input can
//! end while output goes on, and the command's exit code comes back.

mod pump;
mod signals;

use std::time::Duration;

use anyhow::Context as _;
use powerdev_protocol::{paths, signal};
use powerdev_terminal::RawMode;

use crate::engine::{Container, Engine, Exec, ExecSpec};
use crate::environment::{self, Environment};
use crate::failure::Failure;
use crate::ssh;
use crate::ui::Ui;
use crate::ui::terminal;

pub use pump::Captured;
use pump::{Sink, StreamPump};
use signals::{SignalForwarder, SignalVerdict};

/// The agent's executable, in its folder.
const AGENT: &str = "bin/powerdev-agent";
/// How long a program on a terminal gets to end after its terminal has hung up.
const HANG_UP_GRACE: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecCommand {
    /// Program and arguments; empty: the user's login shell.
    pub words: Vec<String>,
    /// On a terminal: powerdev's own, which must be one then.
    pub tty: bool,
    /// As this user; None: `dev`.
    pub user: Option<String>,
    /// In this folder; None: the one that matches the caller's, else the image's, or home.
    pub directory: Option<String>,
    /// Variables besides those of the environment, `NAME=value`. Not for secrets: the Engine shows them.
    pub variables: Vec<String>,
}

/// A running environment in which commands can be run.
#[derive(Debug)]
pub struct Execution {
    engine: Engine,
    container: Container,
    environment: Environment,
}

impl Execution {
    /// Looks whether the environment runs.
    ///
    /// # Errors
    /// A [`Failure`] with [`powerdev_protocol::ExitCode::NotRunning`] when it doesn't, or isn't there; with
    /// [`powerdev_protocol::ExitCode::Conflict`] when its name is somebody else's.
    pub async fn open(environment: &Environment) -> anyhow::Result<Self> {
        let container = environment.running().await?;
        ssh::keep(environment).await; // A command runs without, too; `up` and `restart` tell.
        Ok(Self { engine: environment.engine().await?.clone(), container, environment: environment.clone() })
    }

    /// Runs a command on powerdev's own standard streams.
    ///
    /// Afterwards the terminal is as before. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 go to the command
    /// while it runs; powerdev doesn't die of them afterwards either, so a caller that goes on must look for them.
    ///
    /// # Errors
    /// Among others: the Engine went away, or the environment was stopped meanwhile.
    pub async fn run(&self, command: &ExecCommand, ui: &Ui) -> anyhow::Result<u8> {
        let token = token()?;
        let mut signals = SignalForwarder::catch(command.tty, self.environment.clone(), token.clone())?;
        let exec = self.start(command, &token, ui).await?;
        let raw = command.tty.then(RawMode::enter).transpose().context("can't use the terminal")?;
        if command.tty {
            size_terminal(self.engine.clone(), exec.id.clone());
        }
        let id = exec.id.clone();
        let mut pump = StreamPump::start(exec, Sink::Inherit, command.tty)?;
        let end = loop {
            tokio::select! {
                finished = pump.finished() => break self.finish(&id, finished?, &mut signals).await?,
                verdict = signals.pass_on() => match verdict {
                    SignalVerdict::Passed => {}
                    SignalVerdict::Resized if command.tty => size_terminal(self.engine.clone(), id.clone()),
                    SignalVerdict::Resized => {}
                    SignalVerdict::HangUp(code) => {
                        tokio::time::timeout(HANG_UP_GRACE, pump.finished()).await.ok();
                        break code;
                    }
                    SignalVerdict::GiveUp { code, why } => {
                        drop(raw);
                        ui.notice(format_args!("{why}; the command may go on in the environment"));
                        return Ok(code);
                    }
                },
            }
        };
        drop(raw);
        Ok(end)
    }

    /// Runs a command, never on a terminal, and keeps what it writes: up to `limit` bytes of each stream. The rest is
    /// read and dropped. Standard input goes to it.
    ///
    /// # Errors
    /// As [`Execution::run`].
    pub async fn capture(&self, command: &ExecCommand, limit: usize, ui: &Ui) -> anyhow::Result<(u8, Captured)> {
        let token = token()?;
        let mut signals = SignalForwarder::catch(false, self.environment.clone(), token.clone())?;
        let exec = self.start(command, &token, ui).await?;
        let id = exec.id.clone();
        let mut pump = StreamPump::start(exec, Sink::Capture(limit), false)?;
        let code = loop {
            tokio::select! {
                finished = pump.finished() => break self.finish(&id, finished?, &mut signals).await?,
                verdict = signals.pass_on() => match verdict {
                    SignalVerdict::Passed | SignalVerdict::Resized => {}
                    SignalVerdict::HangUp(code) | SignalVerdict::GiveUp { code, .. } => break code,
                },
            }
        };
        let captured = pump.captured();
        // Engines tell with these codes that there is no such user, and on standard output, too.
        let is_refusal = matches!(code, 126 | 127) && captured.stderr.is_empty() && !captured.stdout.is_empty();
        if is_refusal && !self.engine.exec_has_begun(&id).await? {
            let words = String::from_utf8_lossy(&captured.stdout);
            let failure = Failure::usage(format!("the Engine can't run it: {}", words.trim()));
            return Err(failure.hint("-u takes a user of the environment: a name, an ID or uid:gid").into());
        }
        Ok((code, captured))
    }

    async fn start(&self, command: &ExecCommand, token: &str, ui: &Ui) -> anyhow::Result<Exec> {
        let with_agent = self.has_agent();
        if !with_agent {
            ui.notice(format_args!(
                "the agent's folder {} is gone: the command runs without the environment's variables and secrets; \
                 `powerdev restart` mends that",
                self.environment.state().agent_dir().display()
            ));
        }
        let here = std::env::current_dir().ok();
        let begin = self.container.spec.as_ref().and_then(|spec| environment::begin_in(spec, here.as_deref()));
        let spec = ExecSpec {
            command: if with_agent { through_agent(command, token, begin.as_deref()) } else { directly(command) },
            tty: command.tty,
            user: command.user.clone(),
            stdin: true,
            size: powerdev_terminal::size().filter(|_| command.tty),
            // The agent goes there itself: some Engines report a missing folder with a code of their own.
            directory: command.directory.clone().filter(|_| !with_agent),
        };
        Ok(self.engine.exec(&self.container.name, &spec).await?)
    }

    /// Whether the agent's executable can be there: where this machine's folder is mounted, it is a file of ours.
    fn has_agent(&self) -> bool {
        let folder = self.container.spec.as_ref().and_then(|spec| spec.folder_at(paths::AGENT_DIR));
        folder.is_none_or(|folder| folder != self.environment.state().agent_dir() || folder.join(AGENT).exists())
    }

    async fn finish(&self, id: &str, finished: pump::Finished, signals: &mut SignalForwarder) -> anyhow::Result<u8> {
        match finished {
            pump::Finished::HungUp => {
                signals.hang_up().await;
                return Ok(signals::code(signal::HANG_UP));
            }
            // As a program that writes into a pipe that nobody reads.
            pump::Finished::NobodyReads => {
                signals.send(signal::BROKEN_PIPE).await.ok(); // It notices by itself when it writes again.
                return Ok(signals::code(signal::BROKEN_PIPE));
            }
            pump::Finished::OutputEnded => {}
        }
        match self.engine.exec_exit_code(id).await {
            Ok(code) => Ok((code & 0xff) as u8),
            Err(error) if error.is_not_found() || error.is_not_running() => {
                Err(Failure::not_running("the environment was stopped while the command ran").source(error).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a login shell that reads commands from standard input, or from the terminal on it.
///
/// # Errors
/// As [`Execution::open`] and [`Execution::run`].
pub async fn shell(environment: &Environment, ui: &Ui) -> anyhow::Result<u8> {
    let execution = Execution::open(environment).await?;
    execution.run(&ExecCommand { tty: terminal::is_interactive(), ..ExecCommand::default() }, ui).await
}

fn through_agent(command: &ExecCommand, token: &str, begin: Option<&str>) -> Vec<String> {
    let mut words = vec![paths::AGENT_BIN.to_owned(), "exec".into(), "--token".into(), token.to_owned()];
    if let Some(directory) = &command.directory {
        words.extend(["--directory".into(), directory.clone()]);
    }
    let terminal = terminal::variables().filter(|_| command.tty).map(|(name, value)| format!("{name}={value}"));
    let begin = begin.map(|folder| format!("{}={folder}", paths::BEGIN_VARIABLE));
    for variable in terminal.chain(begin).chain(command.variables.iter().cloned()) {
        words.extend(["--env".into(), variable]);
    }
    words.push("--".into());
    words.extend(command.words.iter().cloned());
    words
}

fn directly(command: &ExecCommand) -> Vec<String> {
    let shell = || vec!["/bin/sh".to_owned(), "-l".to_owned()];
    let words = if command.words.is_empty() { shell() } else { command.words.clone() };
    if command.variables.is_empty() {
        return words;
    }
    let mut with_variables = vec!["env".to_owned()];
    with_variables.extend(command.variables.iter().cloned());
    with_variables.extend(words);
    with_variables
}

/// Hard to guess: who knows it can send signals to the command.
fn token() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    Ok(hex::encode(bytes))
}

/// Tells the command's terminal the size of ours. The command may not have its terminal yet: tried again for a while.
fn size_terminal(engine: Engine, id: String) {
    tokio::spawn(async move {
        for _ in 0..10 {
            let Some(size) = powerdev_terminal::size() else { return };
            if engine.exec_resize(&id, size).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_gets_what_it_needs_and_nothing_of_the_command() {
        let command = ExecCommand {
            words: vec!["ls".into(), "--token".into()],
            directory: Some("/tmp".into()),
            variables: vec!["A=b".into()],
            ..ExecCommand::default()
        };
        let words = through_agent(&command, "t", Some("/w"));
        let begin = "POWERDEV_BEGIN=/w";
        let expected =
            ["exec", "--token", "t", "--directory", "/tmp", "--env", begin, "--env", "A=b", "--", "ls", "--token"];
        assert_eq!(words[1..], expected);
        assert_eq!(directly(&command), ["env", "A=b", "ls", "--token"]);
        assert_eq!(directly(&ExecCommand::default()), ["/bin/sh", "-l"]);
    }

    #[test]
    fn tokens_differ() {
        let (one, two) = (token().expect("randomness"), token().expect("randomness"));
        assert_eq!((one.len(), one == two), (32, false));
    }
}
