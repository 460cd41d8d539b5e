//! `powerdev events`: what watchers have seen and done, from the history that they keep.

use std::time::Duration;

use powerdev_protocol::ExitCode;

use super::Context;
use super::logs::since;
use super::watch::{When, line};
use crate::clock::now_ms;
use crate::config::Name;
use crate::failure::Failure;
use crate::state::StateDir;
use crate::watch::{HistoryReader, Report, at_ms};

/// How often a history that is followed is looked at: it is a file on this machine.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Show what `powerdev watch` has seen and done: restarts and their causes, quarantines, failed services
///
/// A watcher writes it down, bounded, so that a night can be read in the morning. Without one nothing is written.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    /// Of these environments, by name [default: the project's]
    #[arg(value_name = "ENVIRONMENT")]
    names: Vec<Name>,
    /// Of every environment that this user has had here
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// From then on: 90s, 10m, 2h, 1d, a date and time (RFC 3339), or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = since::parse)]
    since: Option<i64>,
    /// Go on showing what comes
    #[arg(long, short = 'f')]
    follow: bool,
}

/// Runs `powerdev events`.
///
/// # Errors
/// When there is no such environment, or what was written can't be read.
pub async fn run(args: EventsArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let names = match (args.all, args.names) {
        (true, _) => StateDir::all().into_keys().collect(),
        (false, names) if names.is_empty() => vec![context.identity()?.0],
        (false, names) => names,
    };
    let since_ms = args.since.map_or(0, |ns| u64::try_from(ns / 1_000_000).unwrap_or(0));
    let mut readers = Vec::new();
    for name in &names {
        let state = StateDir::of(name)?;
        if !state.root().is_dir() {
            return Err(absent(name).into());
        }
        readers.push(HistoryReader::new(&state));
    }
    let mut shown = 0;
    loop {
        let mut events = Vec::new();
        for reader in &mut readers {
            events.extend(reader.read(since_ms)?);
        }
        events.sort_by_key(at_ms);
        shown += events.len();
        for event in events {
            if !show(event, names.len() == 1, context)? {
                return Ok(ExitCode::Done);
            }
        }
        if !args.follow {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    if shown == 0 && !context.ui.json() {
        context.ui.status("nothing is written down: `powerdev watch` does that while it runs");
    }
    Ok(ExitCode::Done)
}

/// Shows one; false once nobody reads any more.
fn show(event: serde_json::Value, single: bool, context: &Context<'_>) -> anyhow::Result<bool> {
    let ui = context.ui;
    if ui.json() {
        return ui.document_while_read(&event);
    }
    let (at_ms, name) = (at_ms(&event), event["name"].as_str().unwrap_or_default().to_owned());
    let word = event["event"].as_str().unwrap_or_default().to_owned();
    let text = match serde_json::from_value::<Report>(event) {
        Ok(report) => line(&report, When::Date, single, |color, text| ui.paint_stdout(color, text)),
        // Of a release that knows more kinds than this one.
        Err(_) => format!("{name}: {word} ({} ago)", crate::clock::span(now_ms().saturating_sub(at_ms))),
    };
    ui.print_while_read(&text)
}

fn absent(name: &Name) -> Failure {
    Failure::not_running(format!("nothing is known of an environment {name} here"))
        .hint("`powerdev ps` lists the environments; another user's watcher keeps its history for itself")
}
