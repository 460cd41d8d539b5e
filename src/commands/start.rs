//! `powerdev start`: starts, then a login shell in your terminal.

use std::process::ExitCode;

use powerdev_protocol::OpenSession;

use super::Context;
use super::up::{BringArgs, Running, bring_up};
use crate::control::AgentError;
use crate::control::Patience;
use crate::deployment::Deployment;
use crate::environment::Environment;
use crate::execution;
use crate::lifecycle::{self, Build, Done, LOCK_PATIENCE};
use crate::sessions::{self, ViewEnd};
use crate::ui::Ui;
use crate::ui::terminal;

/// Start in the foreground, with a login shell in this terminal
///
/// The shell is a session: Ctrl-P Ctrl-Q leaves it running, as the loss of the terminal does, and `powerdev attach` enters
/// it again. Its end stops the environment if this `start` began it and no other session is open. Without a terminal the
/// shell reads commands from standard input. With --json no shell is opened, and the environment is left running.
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    #[command(flatten)]
    bring: BringArgs,
}

/// Runs `powerdev start`.
///
/// # Errors
/// As `up`; when the shell can't be opened.
pub async fn run(args: StartArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let Running { deployment, done: Some(done) } = bring_up(&args.bring, Build::IfMissing, context).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    if context.ui.json() {
        return Ok(ExitCode::SUCCESS);
    }
    let end = shell(&deployment.environment, context.ui).await;
    if let Ok(ShellEnd::GoesOn(code)) = end {
        return Ok(code);
    }
    // However the shell ended, what this start began doesn't stay behind, unless it is of use to others.
    if done != Done::Adopted && !is_in_use(&deployment.environment).await {
        stop(&deployment, context.ui).await?;
    }
    end.map(|_| ExitCode::SUCCESS)
}

/// What became of the shell.
enum ShellEnd {
    Ended,
    /// powerdev ends, with this code.
    GoesOn(ExitCode),
}

async fn shell(environment: &Environment, ui: &Ui) -> anyhow::Result<ShellEnd> {
    if !terminal::is_interactive() {
        execution::shell(environment, ui).await?;
        return Ok(ShellEnd::Ended);
    }
    let session = match sessions::open(environment, OpenSession::default()).await {
        Ok(session) => session,
        // One of before sessions, that still runs: its shell ends with its terminal.
        Err(error) if matches!(error.downcast_ref(), Some(AgentError::OtherRelease(_))) => {
            execution::shell(environment, ui).await?;
            return Ok(ShellEnd::Ended);
        }
        Err(error) => return Err(error),
    };
    Ok(match sessions::attach(environment, &session.name).await? {
        ViewEnd::Ended(_) => ShellEnd::Ended,
        ViewEnd::Left => {
            let name = environment.name();
            ui.status(format_args!("Left {name} running; `powerdev attach {}` enters its shell again", session.name));
            ShellEnd::GoesOn(ExitCode::SUCCESS)
        }
        ViewEnd::Signal(signal) => ShellEnd::GoesOn(((128 + signal) as u8).into()),
    })
}

/// Whether other sessions are open. An agent that can't be asked has none.
async fn is_in_use(environment: &Environment) -> bool {
    let asked = async { anyhow::Ok(environment.agent(Patience::Answer).await?.sessions().await?) };
    asked.await.is_ok_and(|(sessions, _)| !sessions.is_empty())
}

async fn stop(deployment: &Deployment, ui: &Ui) -> anyhow::Result<()> {
    let environment = &deployment.environment;
    let _lock = environment.state().lock(LOCK_PATIENCE).await?;
    if let Some(found) = environment.find().await? {
        ui.status(format_args!("Stopping {}", found.name));
        environment.state().set_stop_requested(true)?;
        lifecycle::stop(&deployment.engine, &found, None).await?;
    }
    Ok(())
}
