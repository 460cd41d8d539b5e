//! `powerdev trust`: what a project's files ask for beyond its folder, and the user's word on it.

use std::path::Path;

use powerdev_protocol::ExitCode;
use serde::Serialize;

use super::{Context, agree};
use crate::config::{Want, WantKind};
use crate::trust::{self, Standing};

/// Show what this project's files ask for beyond its folder, and agree to it
///
/// A project's powerdev.yaml, .env and Dockerfile may have been written by somebody else, or by what runs inside. What
/// they ask for that reaches beyond the project's folder or weakens the wall around it is done only once you have
/// agreed: here, at the question of `up`, or by its --trust. It is remembered on this machine, and asked again when
/// more is asked for.
#[derive(Debug, clap::Args)]
pub struct TrustArgs {
    /// Agree to all of it without being asked
    #[arg(long, short, conflicts_with = "revoke")]
    yes: bool,
    /// Forget what was agreed to
    #[arg(long)]
    revoke: bool,
}

#[derive(Debug, Serialize)]
struct TrustDocument<'a> {
    dir: &'a Path,
    /// Nothing that has an effect now is open.
    trusted: bool,
    wants: Vec<WantReport<'a>>,
}

#[derive(Debug, Serialize)]
struct WantReport<'a> {
    kind: WantKind,
    says: &'a str,
    file: &'a Path,
    line: Option<usize>,
    /// It would have an effect now.
    active: bool,
    agreed: bool,
}

/// Runs `powerdev trust`.
///
/// # Errors
/// When the settings are wrong; when what was agreed to can't be written.
pub async fn run(args: TrustArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    if args.revoke {
        let what = if trust::revoke(&settings.dir)? { "forgot what was agreed to" } else { "nothing was agreed to" };
        context.ui.status(format_args!("{what} for {}", settings.dir.display()));
    }
    let standing = agree::standing(&settings)?;
    if args.yes {
        standing.agree()?;
    }
    // What was just agreed to counts.
    let standing = agree::standing(&settings)?;
    if context.ui.json() {
        document(&standing, &settings.dir, context)?;
    } else {
        show(&standing, &settings.dir, context)?;
        if !args.revoke && !standing.open().is_empty() && context.ui.can_ask() {
            agree::ask(&standing, context)?;
            return Ok(ExitCode::Done);
        }
    }
    Ok(if args.revoke || standing.open().is_empty() { ExitCode::Done } else { ExitCode::Usage })
}

fn document(standing: &Standing, dir: &Path, context: &Context<'_>) -> anyhow::Result<()> {
    let report = |want| {
        let agreed = standing.is_agreed(want);
        let Want { kind, says, file, line, active, .. } = want;
        WantReport { kind: *kind, says, file, line: *line, active: *active, agreed }
    };
    let wants = standing.wants().iter().map(report).collect();
    context.ui.document(&TrustDocument { dir, trusted: standing.open().is_empty(), wants })
}

fn show(standing: &Standing, dir: &Path, context: &Context<'_>) -> anyhow::Result<()> {
    if standing.wants().is_empty() {
        context.ui.status(format_args!("{} asks for nothing beyond its folder", dir.display()));
    }
    for want in standing.wants() {
        let word = match (standing.is_agreed(want), want.active) {
            (true, _) => "agreed",
            (false, true) => "open",
            (false, false) => "unset",
        };
        context.ui.print(&format!("{word:<7} {}", want.told(dir)))?;
    }
    Ok(())
}
