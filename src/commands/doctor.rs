//! `powerdev doctor`: looks at everything that an environment needs.

use anstyle::AnsiColor;
use powerdev_protocol::ExitCode;
use serde::Serialize;

use super::Context;
use crate::doctor::{self, Check, CheckStatus};

/// Look at Engine, machine and project, and say what is wrong and how to mend it
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Take what the project's Git repository runs as known, and tell only what comes after
    #[arg(long)]
    seen: bool,
}

#[derive(Debug, Serialize)]
struct DoctorDocument {
    ok: bool,
    checks: Vec<Check>,
}

/// Runs `powerdev doctor`. Ends with 1 when a check failed.
///
/// # Errors
/// When standard output can't be written.
pub async fn run(args: DoctorArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let ui = context.ui;
    let checks = doctor::examine(context.project().as_deref(), context.global.env_file.as_deref(), args.seen).await;
    let ok = checks.iter().all(|check| check.verdict != CheckStatus::Fail);
    let code = if ok { ExitCode::Done } else { ExitCode::Failed };
    if ui.json() {
        ui.document(&DoctorDocument { ok, checks })?;
        return Ok(code);
    }
    for check in &checks {
        let verdict = match check.verdict {
            CheckStatus::Ok => ui.paint_stdout(AnsiColor::Green, "ok  "),
            CheckStatus::Warn => ui.paint_stdout(AnsiColor::Yellow, "warn"),
            CheckStatus::Fail => ui.paint_stdout(AnsiColor::Red, "FAIL"),
            CheckStatus::Skip => "skip".to_owned(),
        };
        ui.print(&format!("{verdict}  {:<13}  {}", check.name, check.detail))?;
        if let Some(fix) = check.fix.as_ref().filter(|_| check.verdict != CheckStatus::Ok) {
            ui.print(&format!("      {:<13}  -> {fix}", ""))?;
        }
    }
    Ok(code)
}
