//! `powerdev start`: starts, then a login shell in your terminal.

use powerdev_protocol::ExitCode;

use super::Context;
use super::up::{BringArgs, Running, bring_up};
use crate::lifecycle::{self, Build, Done, LOCK_PATIENCE};
use crate::session::{self, End};

/// Start in the foreground, with a login shell in this terminal
///
/// Leaving the shell stops the environment if this `start` began it; Ctrl-P Ctrl-Q leaves it running. With --json
/// no shell is opened, and the environment is left running.
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
        return Ok(ExitCode::Done);
    };
    if context.ui.json() {
        return Ok(ExitCode::Done);
    }
    let environment = &deployment.environment;
    let end = session::shell(environment, context.ui).await;
    if matches!(end, Ok(End::Detached)) {
        let name = environment.name();
        context.ui.status(format_args!("Left {name} running; `powerdev exec` opens another shell"));
        return Ok(ExitCode::Done);
    }
    // However the shell ended, what this start began doesn't stay behind.
    if done != Done::Adopted {
        let _lock = environment.state().lock(LOCK_PATIENCE).await?;
        if let Some(found) = environment.find().await? {
            context.ui.status(format_args!("Stopping {}", found.name));
            environment.state().set_stop_requested(true)?;
            lifecycle::stop(&deployment.engine, &found, None).await?;
        }
    }
    end.map(|_| ExitCode::Done)
}
