//! `powerdev sessions`: the terminals that the environment keeps, whoever looks at them.

use std::process::ExitCode;

use powerdev_protocol::{OpenSession, SessionName, SessionStatus};
use serde::Serialize;

use super::Context;
use super::exec::assignment;
use crate::clock::{now_ms, span};
use crate::control::Patience;
use crate::environment::Environment;
use crate::sessions;
use crate::ui::table::Table;

/// List the sessions, or make, end or rename one
///
/// A session is a terminal inside with a program on it. It goes on whether somebody looks at it or not: `powerdev attach`
/// enters it. MAX_SESSIONS says how many there may be.
#[derive(Debug, clap::Args)]
pub struct SessionsArgs {
    #[command(subcommand)]
    verb: Option<SessionsVerb>,
}

#[derive(Debug, clap::Subcommand)]
enum SessionsVerb {
    /// List them with their command, age and viewers [default]
    List,
    /// Make one, and leave it running: a command, or a login shell
    New(New),
    /// End one with all of its processes: HUP and TERM, 5 seconds, KILL
    Kill(Kill),
    /// Give one another name
    Rename(Rename),
}

#[derive(Debug, clap::Args)]
struct New {
    /// Its name [default: the program's]
    #[arg(value_name = "NAME")]
    name: Option<SessionName>,
    /// Begin in this folder of the environment [default: the one that matches yours]
    #[arg(long, short = 'w', value_name = "DIR")]
    workdir: Option<String>,
    /// Set a variable
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE", value_parser = assignment)]
    variables: Vec<String>,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Kill {
    /// The session's name
    #[arg(value_name = "SESSION")]
    name: SessionName,
}

#[derive(Debug, clap::Args)]
struct Rename {
    /// The name that it has
    #[arg(value_name = "SESSION")]
    name: SessionName,
    /// The name that it is to have
    #[arg(value_name = "NEW")]
    to: SessionName,
}

#[derive(Debug, Serialize)]
struct SessionList<'a> {
    name: &'a str,
    limit: usize,
    sessions: &'a [SessionStatus],
}

#[derive(Debug, Serialize)]
struct SessionMade<'a> {
    name: &'a str,
    session: &'a SessionStatus,
}

#[derive(Debug, Serialize)]
struct SessionDone<'a> {
    name: &'a str,
    action: &'static str,
    session: &'a SessionName,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a SessionName>,
}

/// Runs `powerdev sessions`.
///
/// # Errors
/// When the environment isn't running, there is no such session, or the agent refuses.
pub async fn run(args: SessionsArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let environment = context.environment()?;
    match args.verb.unwrap_or(SessionsVerb::List) {
        SessionsVerb::List => list(&environment, context).await?,
        SessionsVerb::New(new) => make(&environment, new, context).await?,
        SessionsVerb::Kill(Kill { name }) => {
            environment.agent(Patience::Unlimited).await?.kill_session(name.clone()).await?;
            let document = SessionDone { name: environment.name().as_str(), action: "kill", session: &name, to: None };
            done(&document, &format!("{name} is gone"), context)?;
        }
        SessionsVerb::Rename(Rename { name, to }) => {
            environment.agent(Patience::Answer).await?.rename_session(name.clone(), to.clone()).await?;
            let document =
                SessionDone { name: environment.name().as_str(), action: "rename", session: &name, to: Some(&to) };
            done(&document, &format!("{name} is {to} now"), context)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn done(document: &SessionDone<'_>, words: &str, context: &Context<'_>) -> anyhow::Result<()> {
    if context.ui.json() {
        return context.ui.document(document);
    }
    context.ui.status(words);
    Ok(())
}

async fn list(environment: &Environment, context: &Context<'_>) -> anyhow::Result<()> {
    let (sessions, limit) = environment.agent(Patience::Answer).await?.sessions().await?;
    if context.ui.json() {
        context.ui.document(&SessionList { name: environment.name().as_str(), limit, sessions: &sessions })
    } else if sessions.is_empty() {
        context.ui.status("no sessions: `powerdev start`, `powerdev claude` and `powerdev sessions new` make one");
        Ok(())
    } else {
        context.ui.print_table(&table(&sessions))
    }
}

async fn make(environment: &Environment, new: New, context: &Context<'_>) -> anyhow::Result<()> {
    let variables = new.variables.iter().filter_map(|variable| variable.split_once('='));
    let session = OpenSession {
        name: new.name,
        command: new.command,
        environment: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        directory: new.workdir,
        size: None,
    };
    let session = sessions::open(environment, session).await?;
    if context.ui.json() {
        return context.ui.document(&SessionMade { name: environment.name().as_str(), session: &session });
    }
    context.ui.print(session.name.as_str())?;
    context.ui.status(format_args!("`powerdev attach {}` enters it", session.name));
    Ok(())
}

fn table(sessions: &[SessionStatus]) -> Table {
    let mut table = Table::new(&["SESSION", "AGE", "VIEWERS", "SIZE", "PID", "FOLDER", "COMMAND"]);
    let now = now_ms();
    for session in sessions {
        table.row([
            session.name.to_string(),
            span(now.saturating_sub(session.created_ms)),
            session.viewers.to_string(),
            format!("{}x{}", session.size.cols, session.size.rows),
            session.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            session.directory.escape_debug().to_string(),
            session.command.join(" ").escape_debug().to_string(),
        ]);
    }
    table
}
