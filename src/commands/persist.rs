//! `powerdev persist`: a backup of what the agents made.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt;
use powerdev_protocol::{AgentStatus, ExitCode};
use serde::Serialize;

use super::Context;
use crate::backup::manifest::Reason;
use crate::backup::{Draft, Folder, Job, LOG, Made, STATE, Store};
use crate::control::Patience;
use crate::engine::{Container, Engine, EngineHealth, LogOptions, RunState};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::host;
use crate::spec::Published;
use crate::units::{ByteSize, counted};

/// How long the Engine may be silent before the backup goes on without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Back up analysis, output, data and logs, with the container's log and state.
#[derive(Debug, clap::Args)]
pub struct PersistArgs {
    /// Read the backup again once it is written, and compare
    #[arg(long)]
    pub verify: bool,
    /// Keep the newest N backups, remove the older ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct PersistDocument {
    #[serde(flatten)]
    made: Made,
    path: std::path::PathBuf,
    log: bool,
    verified: bool,
    retired: Vec<String>,
    notices: Vec<String>,
}

/// Makes the backup.
///
/// # Errors
/// A [`Failure`] that tells why there is none; none is half made.
pub async fn run(args: PersistArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let (name, dir) = context.identity()?;
    let environment = Environment::new(name.clone(), &dir)?;
    context.refuse_elsewhere(
        "persist",
        "back up from inside: `powerdev exec -T tar -C /home/dev -cf - workspace data analysis output logs >backup.tar`",
    )?;
    if !dir.join(".agent-mount").exists() {
        let message = format!("there is nothing to back up: no .agent-mount in {}", dir.display());
        return Err(Failure::not_running(message).hint("give the project's folder with --project").into());
    }
    let store = Arc::new(Store::open(&dir, host::container_user(Some(&dir)))?);
    let mut draft = Draft::begin(&store, name.as_str(), Reason::Persist)?;
    let mut notices = Vec::new();
    let log = describe(&environment, &mut draft, &mut notices).await?;
    let made = copy(context, draft).await?;
    let verified = args.verify;
    if verified {
        verify(context, &store, &made).await?;
    }
    let keep = args.keep.filter(|_| made.complete);
    let retired = keep.map_or(Ok(Vec::new()), |keep| store.retire(keep as usize))?;
    notices.extend(notices_about(&made));
    report(context, PersistDocument { path: store.path().join(&made.name), made, log, verified, retired, notices })
}

/// The container's log and state, as far as Engine and agent answer. Tells whether there is a log.
async fn describe(environment: &Environment, draft: &mut Draft, notices: &mut Vec<String>) -> anyhow::Result<bool> {
    let container_name = environment.name().container();
    let mut log = false;
    let mut container = None;
    match environment.engine().await {
        Err(error) => notices.push(format!("the backup has no container log: {error}")),
        Ok(engine) => match engine.container(&container_name).await {
            Ok(Some(found)) => {
                write_log(engine, &found.name, draft, notices).await?;
                log = true;
                container = Some(State::of(found));
            }
            Ok(None) => {
                notices.push(format!("the backup has no container log: there is no container {container_name}"))
            }
            Err(error) => notices.push(format!("the backup has no container log: {error}")),
        },
    }
    let state = StateFile { container, agent: ask_agent(environment).await };
    let state = serde_json::to_vec_pretty(&state)?;
    draft.add(STATE, &state, &Job::default())?;
    Ok(log)
}

async fn ask_agent(environment: &Environment) -> Option<AgentStatus> {
    // The environment may well be stopped: then there is nobody to ask.
    environment.agent(Patience::Answer).await.ok()?.status().await.ok()
}

async fn write_log(
    engine: &Engine,
    container: &str,
    draft: &mut Draft,
    notices: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut file = draft.file(LOG)?;
    let options = LogOptions { timestamps: true, ..LogOptions::default() };
    let mut chunks = std::pin::pin!(engine.logs(container, &options));
    loop {
        match tokio::time::timeout(PATIENCE, chunks.next()).await {
            Ok(Some(Ok(chunk))) => file.write_all(&chunk.bytes).context("can't write the container's log")?,
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                notices.push(format!("the container's log is cut short: {error}"));
                break;
            }
            Err(_) => {
                notices.push("the container's log is cut short: the Engine fell silent".to_owned());
                break;
            }
        }
    }
    Ok(draft.record(LOG, &Job::default())?)
}

async fn copy(context: &Context<'_>, draft: Draft) -> anyhow::Result<Made> {
    let counting = Job::default();
    let spinner = context.ui.spinner("looking at what there is");
    let (draft, total) = counting
        .clone()
        .run(move || {
            let total = draft.measure(&Folder::ALL, &counting)?;
            Ok((draft, total))
        })
        .await?;
    spinner.finish_and_clear();
    let bar = context.ui.bytes_bar(total, "copying");
    let counted = bar.clone();
    let job = Job::new(move |bytes| counted.inc(bytes));
    let work = job.clone();
    let made = job
        .run(move || {
            let mut draft = draft;
            draft.copy(&Folder::ALL, total, &work)?;
            draft.commit()
        })
        .await;
    bar.finish_and_clear();
    made
}

async fn verify(context: &Context<'_>, store: &Arc<Store>, made: &Made) -> anyhow::Result<()> {
    let bar = context.ui.bytes_bar(made.bytes, "verifying");
    let counted = bar.clone();
    let job = Job::new(move |bytes| counted.inc(bytes));
    let (work, store, name) = (job.clone(), store.clone(), made.name.clone());
    let verified = job.run(move || store.verify(&name, &work).map(drop)).await;
    bar.finish_and_clear();
    verified
}

/// What the user should know about a backup.
pub(super) fn notices_about(made: &Made) -> Vec<String> {
    let mut notices: Vec<_> =
        made.skipped.iter().map(|skipped| format!("left out {}: {}", skipped.path.0.display(), skipped.why)).collect();
    let changing = made
        .changing
        .iter()
        .map(|path| format!("{} changed whenever it was copied: the backup has a state in between", path.0.display()));
    notices.extend(changing);
    notices
}

fn report(context: &Context<'_>, document: PersistDocument) -> anyhow::Result<ExitCode> {
    let made = &document.made;
    let ui = context.ui;
    document.notices.iter().for_each(|notice| ui.notice(notice));
    for name in &document.retired {
        ui.status(format_args!("Removed backup {name}"));
    }
    let verified = if document.verified { ", verified" } else { "" };
    ui.status(format_args!("Backed up {}, {}{verified}", counted(made.files, "file"), ByteSize(made.bytes)));
    let code = if made.complete { ExitCode::Done } else { ExitCode::Failed };
    if !made.complete {
        ui.notice("some files could not be read: this backup is not complete, and no older one was removed");
    }
    if ui.json() {
        ui.document(&document)?
    } else {
        ui.print(&document.path.display().to_string())?
    }
    Ok(code)
}

/// `state.json`. Labels and the rest of what the Engine shows hold no secret: secrets never get there.
#[derive(Serialize)]
struct StateFile {
    container: Option<State>,
    agent: Option<AgentStatus>,
}

#[derive(Serialize)]
struct State {
    id: String,
    name: String,
    image: String,
    image_id: String,
    state: RunState,
    exit_code: i64,
    oom_killed: bool,
    error: String,
    started_at_ms: Option<u64>,
    finished_at_ms: Option<u64>,
    health: Option<EngineHealth>,
    ports: Vec<Published>,
    labels: std::collections::BTreeMap<String, String>,
}

impl State {
    fn of(container: Container) -> Self {
        Self {
            id: container.id,
            name: container.name,
            image: container.image,
            image_id: container.image_id,
            state: container.state,
            exit_code: container.exit_code,
            oom_killed: container.oom_killed,
            error: container.error,
            started_at_ms: container.started_at_ms,
            finished_at_ms: container.finished_at_ms,
            health: container.health,
            ports: container.ports,
            labels: container.labels,
        }
    }
}
