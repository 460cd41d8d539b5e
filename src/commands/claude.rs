//! `powerdev claude`: the session in which claude runs.

use std::collections::BTreeMap;
use std::process::ExitCode;

use powerdev_protocol::{OpenSession, SessionName, paths};

use super::Context;
use super::attach::{enter, refuse_json};
use crate::config::Settings;
use crate::control::Patience;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::sessions;

/// The session's name, and the program's.
const NAME: &str = "claude";

/// Enter the session `claude`, or make it: claude with CLAUDE_CODE_FLAGS, in the project's folder
///
/// It goes on when you leave it by Ctrl-P Ctrl-Q, lose the connection or close the terminal; the same command enters it
/// again. The folder is the one that matches yours, in /workspace/ext; ~/workspace where EXTERNAL_DIR is none.
#[derive(Debug, clap::Args)]
pub struct ClaudeArgs {
    /// Further arguments of claude, for a session that is made now
    #[arg(value_name = "ARG", last = true)]
    arguments: Vec<String>,
}

/// Runs `powerdev claude`.
///
/// # Errors
/// When the environment doesn't run, claude can't be run in it, or there is no terminal.
pub async fn run(args: ClaudeArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    refuse_json("claude", context)?;
    sessions::need_terminal("claude", "`powerdev exec -- claude -p PROMPT` asks it without one")?;
    let settings = context.settings()?;
    let environment = context.environment()?;
    let name: SessionName = NAME.parse()?;
    let (sessions, _) = environment.agent(Patience::Answer).await?.sessions().await?;
    if !sessions.iter().any(|session| session.name == name) {
        let session = OpenSession {
            name: Some(name.clone()),
            command: command(&settings, args.arguments)?,
            environment: begin(&environment).await,
            ..OpenSession::default()
        };
        sessions::open(&environment, session).await?;
    } else if !args.arguments.is_empty() {
        context.ui.notice("claude runs already: the arguments are for one that is made anew");
    }
    enter(&environment, &name, context).await
}

/// claude with the flags of the settings, as a shell would split them, and then those of the command line.
fn command(settings: &Settings, arguments: Vec<String>) -> Result<Vec<String>, Failure> {
    let flags = settings.environment.get("CLAUDE_CODE_FLAGS").map(String::as_str).unwrap_or_default();
    let flags = shlex::split(flags).ok_or_else(|| {
        Failure::usage(format!("CLAUDE_CODE_FLAGS can't be split into words: {flags}"))
            .hint("see whether each quote is closed")
    })?;
    Ok([NAME.to_owned()].into_iter().chain(flags).chain(arguments).collect())
}

/// Where it begins: its work is in the workspace where nothing of the project is inside.
async fn begin(environment: &Environment) -> BTreeMap<String, String> {
    let folder = environment.begin_in().await.unwrap_or_else(|| format!("{}/workspace", paths::HOME));
    BTreeMap::from([(paths::BEGIN_VARIABLE.to_owned(), folder)])
}
