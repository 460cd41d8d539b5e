//! `powerdev exec`: a command or a login shell inside of the environment.

use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

use super::Context;
use crate::execution::{ExecCommand, Execution};
use crate::failure::Failure;
use crate::ui::terminal;

/// What `--json` keeps of each stream, in bytes.
const KEPT: usize = 16 << 20;

/// Run a command in the environment, with its variables and secrets; without one, a login shell
///
/// On a terminal the command gets one, otherwise its streams are plain pipes, byte for byte, and the end of the input
/// is passed on. Signals are passed on as well. The exit code is the command's own; 127 when there is no such command,
/// 126 when it can't be run; powerdev's own codes when the environment isn't running (4) or no Engine answers (3).
#[derive(Debug, clap::Args)]
pub struct ExecArgs {
    /// No terminal, even where there is one
    #[arg(long, short = 'T')]
    no_tty: bool,
    /// Nothing: as with docker, and so by itself
    #[arg(long = "interactive", short = 'i', hide = true)]
    _interactive: bool,
    /// Nothing: as with docker, and so by itself on a terminal
    #[arg(long = "tty", short = 't', hide = true, overrides_with = "no_tty")]
    _tty: bool,
    /// Run it in this folder of the environment [default: the one that matches yours]
    #[arg(long, short = 'w', value_name = "DIR")]
    workdir: Option<String>,
    /// Run it as this user instead of dev: a name, an ID or uid:gid
    #[arg(long, short = 'u', value_name = "USER")]
    user: Option<String>,
    /// Set a variable; not for secrets, which `docker inspect` would show: those belong into .env
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE", value_parser = assignment)]
    variables: Vec<String>,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(super) fn assignment(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("give NAME=VALUE".to_owned()),
    }
}

#[derive(Serialize)]
struct ExecDocument<'a> {
    name: &'a str,
    command: &'a [String],
    exit_code: u8,
    stdout: &'a str,
    stderr: &'a str,
    truncated: bool,
    duration_ms: u64,
}

/// Runs it.
///
/// # Errors
/// When the environment doesn't run, or the Engine goes away.
pub async fn run(args: ExecArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let environment = context.environment()?;
    let tty = !args.no_tty && !context.ui.json() && terminal::is_interactive();
    let command =
        ExecCommand { words: args.command, tty, user: args.user, directory: args.workdir, variables: args.variables };
    if context.ui.json() && command.words.is_empty() {
        return Err(Failure::usage("a login shell has no JSON").hint("give a command, or leave out --json").into());
    }
    let execution = Execution::open(&environment).await?;
    if !context.ui.json() {
        return Ok(execution.run(&command, context.ui).await?.into());
    }
    let started = Instant::now();
    let (exit_code, captured) = execution.capture(&command, KEPT, context.ui).await?;
    context.ui.document(&ExecDocument {
        name: environment.name().as_str(),
        command: &command.words,
        exit_code,
        stdout: &String::from_utf8_lossy(&captured.stdout),
        stderr: &String::from_utf8_lossy(&captured.stderr),
        truncated: captured.truncated,
        duration_ms: started.elapsed().as_millis() as u64,
    })?;
    Ok(exit_code.into())
}
