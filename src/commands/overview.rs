//! `powerdev` alone, on a terminal: the environments, and what one can do next here.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use powerdev_protocol::ExitCode;

use super::ps::{self, Row};
use super::{Context, agree};
use crate::cli::Global;
use crate::config::{Name, yaml};
use crate::diagnostics;
use crate::engine::{Engine, RunState};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::ui::Ui;

/// How long the Engine may take: nobody has asked it for anything yet.
const PATIENCE: Duration = Duration::from_secs(5);
/// The files that `init` writes.
const WRITTEN: [&str; 2] = [yaml::FILE, ".env"];

/// A command, and what it does here.
type Step = (&'static str, &'static str);

/// Shows the environments, and what can be done next.
///
/// # Errors
/// When standard output can't be written. Whatever can't be found out is told, and is no failure: nobody asked for it.
pub async fn run(ui: &Ui) -> anyhow::Result<ExitCode> {
    let context = Context { global: Global::default(), ui };
    let known = tokio::time::timeout(PATIENCE, environments(&context)).await.unwrap_or_else(|_| {
        Err(Failure::new(ExitCode::EngineUnreachable, format!("no answer from the Engine in {PATIENCE:?}")).into())
    });
    let known = known.inspect_err(|error| tell(ui, error)).ok();
    if let Some((_, rows)) = &known {
        ps::show(rows, &context)?;
    }
    match context.identity() {
        Ok((name, dir)) => here(&name, &dir, known, &context).await?,
        Err(error) => tell(ui, &error),
    }
    ui.print("")?;
    ui.print("`powerdev --help` lists all there is")?;
    Ok(ExitCode::Done)
}

async fn environments(context: &Context<'_>) -> anyhow::Result<(Engine, Vec<Row>)> {
    let engine = context.engine().await?;
    let rows = ps::rows(&engine).await?;
    Ok((engine, rows))
}

/// Says what was in the way, in a line.
fn tell(ui: &Ui, error: &anyhow::Error) {
    let diagnosis = diagnostics::diagnose(error);
    ui.notice(diagnosis.message.lines().collect::<Vec<_>>().join(" "));
}

/// What can be done about this folder's environment.
async fn here(name: &Name, dir: &Path, known: Option<(Engine, Vec<Row>)>, context: &Context<'_>) -> anyhow::Result<()> {
    let mut steps = Vec::new();
    if wants_open(context) {
        steps.push(("trust", "look at what this project's files ask for, and agree to it"));
    }
    match known {
        None => steps.push(("doctor", "find out what is in the way")),
        Some((engine, rows)) => {
            let sessions = rows.iter().find(|row| row.name == name.as_str()).and_then(|row| row.sessions);
            match state(name, dir, engine).await {
                Ok(state) => steps.extend(next(state, sessions, dir)),
                Err(error) => tell(context.ui, &error),
            }
        }
    }
    show(format_args!("{} ({name})", dir.display()), &steps, context.ui)
}

/// What its container does. None: there is none.
async fn state(name: &Name, dir: &Path, engine: Engine) -> anyhow::Result<Option<RunState>> {
    let environment = Environment::new(name.clone(), dir)?.on(engine);
    Ok(environment.find().await?.map(|container| container.state))
}

/// Whether the project's files ask for what nobody has agreed to. Files that are wrong are told.
fn wants_open(context: &Context<'_>) -> bool {
    let standing = context.settings().and_then(|settings| agree::standing(&settings));
    let standing = standing.inspect_err(|error| tell(context.ui, error));
    standing.is_ok_and(|standing| !standing.open().is_empty())
}

/// What comes next for an environment in this state.
fn next(state: Option<RunState>, sessions: Option<usize>, dir: &Path) -> Vec<Step> {
    match state {
        None if WRITTEN.iter().any(|file| dir.join(file).exists()) => vec![("up", "make the environment and start it")],
        None => vec![
            ("init", "write a commented .env and powerdev.yaml here"),
            ("up", "make an environment for this folder and start it"),
        ],
        Some(RunState::Running) => vec![
            ("claude", "Claude Code in a session that goes on without you"),
            match sessions {
                Some(0) => ("start", "a shell in a session that goes on without you"),
                _ => ("attach", "enter a session that is open"),
            },
            ("status", "health, services, ports, and usage against limits"),
        ],
        Some(RunState::Paused) => vec![("status", "it is paused: what `docker unpause` lets go on")],
        Some(_) => vec![("up", "start it: what is in it is as you left it")],
    }
}

fn show(heading: impl Display, steps: &[Step], ui: &Ui) -> anyhow::Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    ui.print("")?;
    ui.print(&format!("next in {heading}:"))?;
    steps.iter().try_for_each(|(command, what)| ui.print_lines(&format!("  powerdev {command:<7} {what}")))
}
