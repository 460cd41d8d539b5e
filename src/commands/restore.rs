//! `powerdev restore`: puts a backup's folders back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use powerdev_protocol::ExitCode;

use super::Context;
use super::backups::moment;
use crate::backup::restore::{Restored, folders, restore};
use crate::backup::{Backup, BackupError, Folder, Job, Store};
use crate::environment::Environment;
use crate::failure::{Diagnostic as _, Failure};
use crate::host;
use crate::state::StateDir;
use crate::units::{ByteSize, counted};

/// How long another powerdev may be at work on this environment before we give up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Put a backup's folders back. What they replace is saved as a backup first.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// Which backup; `latest` is the newest that `persist` made
    #[arg(value_name = "NAME", default_value = "latest")]
    pub name: String,
    /// Only these folders
    #[arg(long, value_name = "FOLDER", value_delimiter = ',')]
    pub only: Vec<Folder>,
    /// Don't ask
    #[arg(long, short)]
    pub yes: bool,
    /// Restore although the environment runs, or no Engine can tell: what runs goes on with the old files until it
    /// is restarted
    #[arg(long)]
    pub running: bool,
}

/// Checks the backup, saves what is there, and swaps the folders.
///
/// # Errors
/// A [`Failure`] that tells why nothing was changed.
pub async fn run(args: RestoreArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let (name, dir) = context.identity()?;
    context.refuse_elsewhere(
        "restore",
        "put it back from inside: `powerdev exec -T tar -C /home/dev -xf - <backup.tar`",
    )?;
    let backup = find(&dir, &args.name)?;
    let _lock = StateDir::of(&name)?.lock(PATIENCE).await?;
    if !args.running {
        refuse_if_running(&Environment::new(name.clone(), &dir)?).await?;
    }
    let store = Arc::new(Store::open(&dir, host::container_user(Some(&dir)))?);
    let manifest = {
        let (store, name) = (store.clone(), backup.name.clone());
        let total = backup.end.as_ref().map_or(0, |end| end.bytes);
        barred(context, total, "checking", move |job| store.verify(&name, job)).await?
    };
    let wanted = if args.only.is_empty() { Folder::ALL.to_vec() } else { args.only };
    let folders = folders(&manifest, &wanted);
    if folders.is_empty() {
        let message = format!("backup {} holds none of these folders", backup.name);
        return Err(Failure::not_running(message).hint("leave --only away to restore what it holds").into());
    }
    if !args.yes && !context.ui.confirm(&question(&backup, &folders, &dir), "--yes")? {
        context.ui.status("Nothing was changed.");
        return Ok(ExitCode::Interrupted);
    }
    let restored = {
        let (backup, project) = (backup.name.clone(), name.to_string());
        let work = move |job: &Job| restore(&store, &backup, &folders, &project, job);
        barred(context, manifest.end.bytes, "restoring", work).await?
    };
    report(context, &restored)
}

fn find(dir: &Path, name: &str) -> Result<Backup, BackupError> {
    let store = Store::look(dir)?.ok_or_else(|| BackupError::Empty(dir.join(".agent-mount/backups")))?;
    store.find(Some(name))
}

/// The container's mounts stay on the old folders for as long as it runs: it would go on writing to what is removed.
async fn refuse_if_running(environment: &Environment) -> anyhow::Result<()> {
    let hint = "`powerdev stop` first, or give --running to restore all the same";
    let name = environment.name();
    let engine = match environment.engine().await {
        Ok(engine) => engine,
        Err(error) => {
            let message = format!("can't tell whether {name} runs: {error}");
            return Err(Failure::new(error.exit_code(), message).hint("give --running if it doesn't").into());
        }
    };
    match engine.container(&name.container()).await? {
        Some(container) if container.is_up() => Err(Failure::conflict(format!("{name} runs")).hint(hint).into()),
        _ => Ok(()),
    }
}

async fn barred<T: Send + 'static>(
    context: &Context<'_>,
    total: u64,
    label: &str,
    work: impl FnOnce(&Job) -> Result<T, BackupError> + Send + 'static,
) -> anyhow::Result<T> {
    let bar = context.ui.bytes_bar(total, label);
    let counted = bar.clone();
    let job = Job::new(move |bytes| counted.inc(bytes));
    let inner = job.clone();
    let outcome = job.run(move || work(&inner)).await;
    bar.finish_and_clear();
    outcome
}

fn question(backup: &Backup, folders: &[Folder], dir: &Path) -> String {
    let made = backup.header.as_ref().map_or_else(String::new, |header| format!(" of {}", moment(header.created_ms)));
    let names: Vec<_> = folders.iter().map(|folder| folder.name().to_string_lossy()).collect();
    format!("Replace {} in {} by the backup{made}? What is there is saved first.", names.join(", "), dir.display())
}

fn report(context: &Context<'_>, restored: &Restored) -> anyhow::Result<ExitCode> {
    let ui = context.ui;
    ui.status(format_args!("Restored {}, {}", counted(restored.files, "file"), ByteSize(restored.bytes)));
    if let Some(saved) = &restored.saved_as {
        ui.status(format_args!("What was there is backup {saved}; `powerdev restore {saved}` brings it back"));
    }
    if ui.json() {
        ui.document(restored)?;
    }
    Ok(ExitCode::Done)
}
