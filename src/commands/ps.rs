//! `powerdev ps`: every environment on this Engine.

use powerdev_protocol::{AgentStatus, ExitCode, HealthState};
use serde::Serialize;

use super::Context;
use crate::clock::{now_ms, span};
use crate::control::Patience;
use crate::engine::{Container, Engine, RunState};
use crate::environment::Environment;
use crate::lifecycle::report::{self, PortReport};
use crate::spec::label;
use crate::state::StateDir;
use crate::ui::table::Table;
use crate::watch::{self, Quarantine};

/// List every environment on this Engine
#[derive(Debug, clap::Args)]
pub struct PsArgs {
    /// Nothing: those that don't run are listed by themselves
    #[arg(long = "all", short = 'a', hide = true)]
    _all: bool,
}

#[derive(Debug, Serialize)]
struct PsDocument {
    environments: Vec<Row>,
}

/// One environment.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    dir: String,
    container: String,
    image: String,
    state: &'static str,
    health: Option<HealthState>,
    /// Why the watcher has given it up, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantine: Option<Quarantine>,
    uptime_ms: Option<u64>,
    /// Open sessions; none where the agent can't be asked.
    pub(super) sessions: Option<usize>,
    ports: Vec<PortReport>,
}

/// Runs `powerdev ps`.
///
/// # Errors
/// When the Engine doesn't answer.
pub async fn run(_: PsArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let engine = context.engine().await?;
    let rows = rows(&engine).await?;
    if context.ui.json() {
        context.ui.document(&PsDocument { environments: rows })?;
    } else if context.ui.quiet() {
        rows.iter().try_for_each(|row| context.ui.print(&row.name))?;
    } else {
        show(&rows, context)?;
    }
    Ok(ExitCode::Done)
}

/// Every environment on this Engine.
///
/// # Errors
/// What the Engine says.
pub(super) async fn rows(engine: &Engine) -> anyhow::Result<Vec<Row>> {
    let containers = engine.environments().await?;
    Ok(futures_util::future::join_all(containers.iter().map(|container| row(engine, container))).await)
}

/// Shows them to people.
///
/// # Errors
/// When standard output can't be written.
pub(super) fn show(rows: &[Row], context: &Context<'_>) -> anyhow::Result<()> {
    if rows.is_empty() {
        context.ui.status("no environments on this Engine; `powerdev up` makes one");
        return Ok(());
    }
    context.ui.print_table(&table(rows))?;
    for row in rows {
        if let Some(quarantine) = &row.quarantine {
            context.ui.notice(format_args!("{}: {quarantine}; {}", row.name, Quarantine::REMEDY));
        }
    }
    Ok(())
}

async fn row(engine: &Engine, container: &Container) -> Row {
    let name = container.project().unwrap_or_default().to_owned();
    let running = container.state == RunState::Running;
    let status = if running { status(engine, container).await } else { None };
    let stopped = (!running).then_some(HealthState::Stopped);
    let started_ms = status.as_ref().map(|status| status.started_ms);
    let quarantine = state(&name).and_then(|state| watch::quarantine(&state, started_ms));
    Row {
        quarantine,
        health: status.as_ref().map(|status| status.health.state).or(stopped),
        sessions: status.as_ref().map(|status| status.sessions),
        uptime_ms: status.map(|status| now_ms().saturating_sub(status.started_ms)),
        name,
        dir: container.labels.get(label::DIR).cloned().unwrap_or_default(),
        container: container.name.clone(),
        image: container.image.clone(),
        state: container.state.as_str(),
        ports: report::published(&container.ports, &Default::default()),
    }
}

fn state(name: &str) -> Option<StateDir> {
    StateDir::of(&name.parse().ok()?).ok()
}

/// What its agent says; None when that can't be had from here.
async fn status(engine: &Engine, container: &Container) -> Option<AgentStatus> {
    let environment = Environment::named(container.project()?.parse().ok()?, engine.clone()).ok()?;
    environment.agent(Patience::Answer).await.ok()?.status().await.ok()
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "HEALTH", "UP", "SESSIONS", "PORTS", "FOLDER"]);
    for row in rows {
        let ports: Vec<String> = row.ports.iter().map(|port| format!("{}->{}", port.host, port.container)).collect();
        table.row([
            row.name.clone(),
            if row.quarantine.is_some() { "quarantined".to_owned() } else { row.state.to_owned() },
            row.health.map_or("?".to_owned(), |health| health.to_string()),
            row.uptime_ms.map_or("-".to_owned(), span),
            row.sessions.map_or("-".to_owned(), |count| count.to_string()),
            if ports.is_empty() { "-".to_owned() } else { ports.join(",") },
            row.dir.clone(),
        ]);
    }
    table
}
