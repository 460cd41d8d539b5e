//! `powerdev cleanup`: frees space.

use powerdev_protocol::ExitCode;
use serde::Serialize;

use super::Context;
use crate::cleanup::{self, CleanupScope, Removal, Target};
use crate::engine::Engine;
use crate::ui::table::Table;
use crate::units::{ByteSize, counted};

/// Remove what powerdev made and nothing uses: superseded images, networks, caches, leftovers on this machine
///
/// On a terminal it lists what would go, and asks.
#[derive(Debug, clap::Args)]
pub struct CleanupArgs {
    /// Only what belongs to this project; so it is by itself where --project names one
    #[arg(long = "this-project", short = 'p', conflicts_with = "all")]
    this_project: bool,
    /// Remove everything unused on this Engine, whoever made it: stopped containers, images, networks, volumes, build
    /// cache
    #[arg(long)]
    all: bool,
    /// Remove the tools' state in volumes that no container has, too: logins, histories, sessions
    #[arg(long)]
    volumes: bool,
    /// List what would go, with sizes, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct CleanupDocument {
    dry_run: bool,
    /// Added up; images that share layers free less.
    bytes: u64,
    items: Vec<RemovalLine>,
}

#[derive(Debug, Serialize)]
struct RemovalLine {
    #[serde(flatten)]
    removal: Removal,
    removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs `powerdev cleanup`.
///
/// # Errors
/// When the Engine doesn't answer, or nobody can be asked and `--yes` isn't given.
pub async fn run(args: CleanupArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let engine = context.engine().await?;
    let scope = CleanupScope { all: args.all, volumes: args.volumes };
    let spinner = context.ui.spinner("looking at what there is");
    let inventory = if args.all { engine.everything().await } else { engine.inventory().await };
    let mut inventory = inventory.inspect_err(|_| spinner.finish_and_clear())?;
    let project = match args.this_project || context.global.project.is_some() {
        true => Some(context.identity()?.0),
        false => None,
    };
    // Held until the end: their locks keep others from bringing these environments back meanwhile.
    let remembered = cleanup::remembered(&inventory, project.as_ref()).await;
    if let Some(project) = &project {
        inventory.retain_project(project.as_str());
    }
    let mut plan = cleanup::plan(&inventory, scope);
    if project.is_none() {
        plan.extend(cleanup::stale_agents());
    }
    plan.extend(remembered.iter().map(|remembered| remembered.removal.clone()));
    spinner.finish_and_clear();
    if !context.ui.json() {
        show(context, &plan)?;
    }
    // Where nobody can be asked, a script means what it says, but for what nobody can make again.
    let asks = args.all || context.ui.can_ask() || plan.iter().any(|removal| is_state(removal, &inventory));
    if !args.dry_run && !plan.is_empty() && asks && !args.yes {
        let question = match plan.len() {
            1 => "Remove this?".to_owned(),
            count => format!("Remove these {count}?"),
        };
        if !context.ui.confirm(&question, "--yes")? {
            context.ui.status("Nothing was removed.");
            return Ok(ExitCode::Interrupted);
        }
    }
    let lines = carry_out(context, &engine, plan, args.dry_run).await;
    report(context, lines, args.dry_run)
}

/// Whether it is a tool's state, which nobody can make again.
fn is_state(removal: &Removal, inventory: &crate::engine::Inventory) -> bool {
    let state = |volume: &crate::engine::Item| volume.kind.as_deref() == Some("state") && volume.name == removal.name;
    removal.target == Target::Volume && inventory.volumes.iter().any(state)
}

async fn carry_out(context: &Context<'_>, engine: &Engine, plan: Vec<Removal>, dry_run: bool) -> Vec<RemovalLine> {
    let mut lines = Vec::new();
    for removal in plan {
        if dry_run {
            lines.push(RemovalLine { removal, removed: false, error: None });
            continue;
        }
        let spinner = context.ui.spinner(&format!("removing {}", removal.name));
        let error = cleanup::remove(engine, &removal).await.err().map(|error| format!("{error:#}"));
        spinner.finish_and_clear();
        lines.push(RemovalLine { removal, removed: error.is_none(), error });
    }
    lines
}

fn show(context: &Context<'_>, plan: &[Removal]) -> anyhow::Result<()> {
    if plan.is_empty() {
        context.ui.status("There is nothing to remove.");
        return Ok(());
    }
    let mut table = Table::new(&["KIND", "NAME", "SIZE", "WHY"]);
    for removal in plan {
        let size = removal.size.map_or_else(|| "-".to_owned(), |size| ByteSize(size).to_string());
        table.row([kind(&removal.target).to_owned(), removal.name.clone(), size, removal.why.to_owned()]);
    }
    context.ui.print_table(&table)
}

fn kind(target: &Target) -> &'static str {
    match target {
        Target::Container => "container",
        Target::Image { .. } => "image",
        Target::Network => "network",
        Target::Volume => "volume",
        Target::BuildCache => "cache",
        Target::Folder { .. } => "folder",
    }
}

fn report(context: &Context<'_>, lines: Vec<RemovalLine>, dry_run: bool) -> anyhow::Result<ExitCode> {
    let ui = context.ui;
    let done = lines.iter().filter(|line| dry_run || line.removed);
    let bytes: u64 = done.clone().filter_map(|line| line.removal.size).sum();
    let count = done.count();
    for line in &lines {
        if let Some(error) = &line.error {
            ui.notice(format_args!("{} {} stays: {error}", kind(&line.removal.target), line.removal.name));
        }
    }
    if !lines.is_empty() {
        let verb = if dry_run { "Would remove" } else { "Removed" };
        ui.status(format_args!("{verb} {}, up to {}", counted(count as u64, "thing"), ByteSize(bytes)));
    }
    let failed = lines.iter().any(|line| line.error.is_some());
    if ui.json() {
        ui.document(&CleanupDocument { dry_run, bytes, items: lines })?;
    }
    Ok(if failed { ExitCode::Failed } else { ExitCode::Done })
}
