//! `powerdev backups`: what backups there are, and whether they are right.

use std::sync::Arc;

use powerdev_protocol::ExitCode;
use serde::Serialize;

use super::Context;
use crate::backup::verify::Finding;
use crate::backup::{Backup, BackupError, Job, Store};
use crate::host;
use crate::ui::table::Table;
use crate::units::ByteSize;

/// List the backups, oldest first.
#[derive(Debug, clap::Args)]
pub struct BackupsArgs {
    /// Read every file of them again and compare with the checksums
    #[arg(long)]
    pub verify: bool,
    /// Only these [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct BackupsDocument {
    backups: Vec<BackupLine>,
}

#[derive(Serialize)]
struct BackupLine {
    #[serde(flatten)]
    backup: Backup,
    complete: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damage: Vec<Finding>,
}

/// Lists, and verifies where asked to.
///
/// # Errors
/// A [`Failure`] when a name isn't there. Damage is told in the list, and by the exit code.
pub async fn run(args: BackupsArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let (_, dir) = context.identity()?;
    let mut lines = Vec::new();
    if let Some(store) = Store::look(&dir)? {
        for backup in chosen(&store, &args.names)? {
            lines.push(BackupLine { complete: backup.complete(), backup, damage: Vec::new() });
        }
        if args.verify {
            drop(store);
            verify(context, &dir, &mut lines).await?;
        }
    } else if let Some(name) = args.names.first() {
        return Err(BackupError::NotFound(name.clone()).into());
    }
    let damaged = lines.iter().any(|line| line.backup.problem.is_some() || !line.damage.is_empty());
    show(context, lines)?;
    Ok(if damaged && args.verify { ExitCode::Damaged } else { ExitCode::Done })
}

fn chosen(store: &Store, names: &[String]) -> Result<Vec<Backup>, BackupError> {
    if names.is_empty() {
        return store.list();
    }
    names.iter().map(|name| store.find(Some(name))).collect()
}

async fn verify(context: &Context<'_>, dir: &std::path::Path, lines: &mut [BackupLine]) -> anyhow::Result<()> {
    let store = Arc::new(Store::open_shared(dir, host::container_user(Some(dir)))?);
    for line in lines {
        let total = line.backup.end.as_ref().map_or(0, |end| end.bytes);
        let bar = context.ui.bytes_bar(total, &line.backup.name);
        let counted = bar.clone();
        let job = Job::new(move |bytes| counted.inc(bytes));
        let (work, store, name) = (job.clone(), store.clone(), line.backup.name.clone());
        let (findings, backup) = job
            .run(move || {
                let findings = match store.verify(&name, &work) {
                    Ok(_) => Vec::new(),
                    Err(BackupError::Damaged { findings, .. }) => findings,
                    Err(error) => return Err(error),
                };
                Ok((findings, store.find(Some(&name))?))
            })
            .await?;
        bar.finish_and_clear();
        (line.damage, line.backup) = (findings, backup);
    }
    Ok(())
}

fn show(context: &Context<'_>, lines: Vec<BackupLine>) -> anyhow::Result<()> {
    let ui = context.ui;
    if ui.json() {
        return ui.document(&BackupsDocument { backups: lines });
    }
    if lines.is_empty() {
        ui.status("No backups yet. `powerdev persist` makes one.");
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "MADE", "FILES", "SIZE", "STATE"]);
    for line in &lines {
        let backup = &line.backup;
        let made = backup.header.as_ref().map_or_else(|| "?".to_owned(), |header| moment(header.created_ms));
        let files = backup.end.as_ref().map_or_else(|| "?".to_owned(), |end| end.files.to_string());
        let size = backup.end.as_ref().map_or_else(|| "?".to_owned(), |end| ByteSize(end.bytes).to_string());
        table.row([backup.name.clone(), made, files, size, state(line)]);
    }
    ui.print_table(&table)?;
    for line in &lines {
        for finding in &line.damage {
            ui.notice(format_args!("{}: {finding}", line.backup.name));
        }
    }
    Ok(())
}

fn state(line: &BackupLine) -> String {
    match (&line.backup.problem, line.backup.verified_ms) {
        (Some(problem), _) => format!("damaged: {problem}"),
        _ if !line.damage.is_empty() => format!("damaged: {} differ", line.damage.len()),
        _ if !line.complete => "incomplete".to_owned(),
        (None, Some(at)) => format!("verified {}", moment(at)),
        (None, None) => "not verified".to_owned(),
    }
}

/// A moment in the user's time zone, to the second.
pub(super) fn moment(at_ms: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at_ms).unwrap_or(i64::MAX)).unwrap_or_default();
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
