//! Signals that powerdev gets while a command runs inside, passed on to that command through the agent.

use std::io;
use std::time::Duration;

use powerdev_protocol::signal::{HANG_UP, INTERRUPT, QUIT, RESIZE, TERMINATE, USER_1, USER_2};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::control::AgentError;
use crate::control::Patience;
use crate::environment::Environment;

/// So many requests to end, and powerdev ends whatever the command does.
const PATIENCE: u32 = 3;
/// How long a command may take from its start until the agent knows it.
const REGISTRATION: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(20);

/// What a shell would say of a process that died of this signal.
pub fn code(signal: i32) -> u8 {
    (128 + signal) as u8
}

/// What came of a signal.
#[derive(Debug, PartialEq, Eq)]
pub enum SignalVerdict {
    /// The command has it.
    Passed,
    /// The terminal has another size.
    Resized,
    /// The terminal is gone, or powerdev was told to end: the command has been told, and powerdev ends soon.
    HangUp(u8),
    /// It can't be passed on, or the command doesn't react: powerdev ends with this code.
    GiveUp {
        /// As if powerdev had died of the signal.
        code: u8,
        /// In a word.
        why: String,
    },
}

/// Catches the signals.
#[derive(Debug)]
pub struct SignalForwarder {
    caught: Vec<(i32, Signal)>,
    tty: bool,
    environment: Environment,
    token: String,
    started: Instant,
    asked_to_end: u32,
}

impl SignalForwarder {
    /// From now on none of them ends powerdev.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch(tty: bool, environment: Environment, token: String) -> io::Result<Self> {
        let numbers = [HANG_UP, INTERRUPT, QUIT, USER_1, USER_2, TERMINATE, RESIZE];
        let caught = numbers.map(|number| {
            let kind = match number {
                HANG_UP => SignalKind::hangup(),
                INTERRUPT => SignalKind::interrupt(),
                QUIT => SignalKind::quit(),
                USER_1 => SignalKind::user_defined1(),
                USER_2 => SignalKind::user_defined2(),
                TERMINATE => SignalKind::terminate(),
                _ => SignalKind::window_change(),
            };
            Ok((number, signal(kind)?))
        });
        Ok(Self {
            caught: caught.into_iter().collect::<io::Result<_>>()?,
            tty,
            environment,
            token,
            started: Instant::now(),
            asked_to_end: 0,
        })
    }

    /// Waits for a signal and passes it on.
    pub async fn pass_on(&mut self) -> SignalVerdict {
        let number = self.next().await;
        if number == RESIZE {
            return SignalVerdict::Resized;
        }
        let ends = !matches!(number, USER_1 | USER_2);
        // A shell on a terminal ignores SIGTERM, as it should; what ends it is the terminal's end.
        if self.tty && matches!(number, TERMINATE | HANG_UP) {
            self.hang_up().await;
            return SignalVerdict::HangUp(code(number));
        }
        self.asked_to_end += u32::from(ends);
        if self.asked_to_end >= PATIENCE {
            return SignalVerdict::GiveUp { code: code(number), why: format!("asked to end {PATIENCE} times") };
        }
        match self.send(number).await {
            Err(error) if ends => {
                let why = format!("can't pass on {}: {error}", powerdev_protocol::signal::signal_name(number));
                SignalVerdict::GiveUp { code: code(number), why }
            }
            _ => SignalVerdict::Passed,
        }
    }

    /// Tells the command that its terminal is gone.
    pub async fn hang_up(&self) {
        self.send(HANG_UP).await.ok(); // There is nobody left to tell.
    }

    /// Sends the command a signal.
    ///
    /// # Errors
    /// When the agent can't be asked, or doesn't know the command.
    pub async fn send(&self, number: i32) -> anyhow::Result<()> {
        loop {
            let mut agent = self.environment.agent(Patience::Brief).await?;
            match agent.signal(&self.token, number).await {
                // The command has only just been started: it registers first thing.
                Err(AgentError::Refused(_)) if self.started.elapsed() < REGISTRATION => {
                    tokio::time::sleep(RETRY).await;
                }
                other => return Ok(other?),
            }
        }
    }

    async fn next(&mut self) -> i32 {
        let waiting = self.caught.iter_mut().map(|(number, signal)| {
            Box::pin(async move {
                signal.recv().await;
                *number
            })
        });
        futures_util::future::select_all(waiting).await.0
    }
}
