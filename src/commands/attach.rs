//! `powerdev attach`: a session in this terminal.

use std::process::ExitCode;

use powerdev_protocol::SessionName;

use super::Context;
use crate::control::Patience;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::sessions::{self, ViewEnd};

/// Enter a session in this terminal; Ctrl-P Ctrl-Q leaves it running
///
/// Several terminals may look at one session: it is as large as the smallest of them. What it showed before is shown
/// again. The exit code is that of the session's program, if it ends meanwhile.
#[derive(Debug, clap::Args)]
pub struct AttachArgs {
    /// The session [default: the only one there is, else you are asked]
    #[arg(value_name = "SESSION")]
    name: Option<SessionName>,
}

/// Runs `powerdev attach`.
///
/// # Errors
/// When there is no such session, the environment doesn't run, or there is no terminal.
pub async fn run(args: AttachArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    refuse_json("attach", context)?;
    sessions::need_terminal("attach", "`powerdev exec -- COMMAND` runs a command without one")?;
    let environment = context.environment()?;
    let name = match args.name {
        Some(name) => name,
        None => choose(&environment, context).await?,
    };
    enter(&environment, &name, context).await
}

/// Refuses `--json` where a terminal is what is asked for.
pub(super) fn refuse_json(what: &str, context: &Context<'_>) -> Result<(), Failure> {
    if !context.ui.json() {
        return Ok(());
    }
    Err(Failure::usage(format!("{what} has no JSON")).hint("`powerdev sessions --json` lists the sessions"))
}

async fn choose(environment: &Environment, context: &Context<'_>) -> anyhow::Result<SessionName> {
    let (sessions, _) = environment.agent(Patience::Answer).await?.sessions().await?;
    let mut names: Vec<SessionName> = sessions.into_iter().map(|session| session.name).collect();
    match names.len() {
        0 => Err(Failure::not_running("there are no sessions")
            .hint(
                "`powerdev start` opens a shell in one, `powerdev claude` claude, `powerdev sessions new` any command",
            )
            .into()),
        1 => Ok(names.remove(0)),
        _ => {
            let choices: Vec<&str> = names.iter().map(SessionName::as_str).collect();
            let chosen = context.ui.choose("Which session?", &choices)?;
            Ok(names.remove(chosen))
        }
    }
}

/// Looks at a session, and says how to come back to it.
pub(super) async fn enter(
    environment: &Environment,
    name: &SessionName,
    context: &Context<'_>,
) -> anyhow::Result<ExitCode> {
    Ok(match sessions::attach(environment, name).await? {
        ViewEnd::Ended(exit) => {
            context.ui.status(format_args!("The session {name} has ended: {}", exit.reason));
            exit.shell_code().into()
        }
        ViewEnd::Left => {
            context.ui.status(format_args!("Left {name}, which goes on; `powerdev attach {name}` enters it again"));
            ExitCode::SUCCESS
        }
        ViewEnd::Signal(signal) => ((128 + signal) as u8).into(),
    })
}
