//! `powerdev completions`: the script that makes a shell complete powerdev.

use powerdev_protocol::ExitCode;
use serde::Serialize;

use super::Context;
use crate::completion::Shell;

/// Print the script that makes a shell complete commands, services and environments
#[derive(Debug, clap::Args)]
#[command(after_help = "\
bash: powerdev completions bash >~/.local/share/bash-completion/completions/powerdev
zsh:  powerdev completions zsh >_powerdev, in a folder of $fpath
fish: powerdev completions fish >~/.config/fish/completions/powerdev.fish")]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Serialize)]
struct CompletionsDocument {
    shell: &'static str,
    script: String,
}

/// Runs `powerdev completions`.
///
/// # Errors
/// When standard output can't be written.
pub async fn run(args: CompletionsArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let script = args.shell.script()?;
    if context.ui.json() {
        context.ui.document(&CompletionsDocument { shell: args.shell.name(), script })?;
    } else {
        context.ui.print_lines(script.trim_end())?;
    }
    Ok(ExitCode::Done)
}
