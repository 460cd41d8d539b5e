//! `powerdev completions`: the script that makes a shell complete powerdev.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use powerdev_protocol::ExitCode;
use serde::Serialize;

use super::Context;
use crate::completion::Shell;
use crate::failure::Failure;
use crate::state::{base_folder, replace};

/// Print the script that makes a shell complete commands, services and environments
#[derive(Debug, clap::Args)]
#[command(after_help = "\
powerdev completions --install writes the script of your shell to where it looks for it:
bash: ~/.local/share/bash-completion/completions/powerdev
zsh:  ~/.zfunc/_powerdev, with `fpath=(~/.zfunc $fpath)` before compinit in ~/.zshrc
fish: ~/.config/fish/completions/powerdev.fish")]
pub struct CompletionsArgs {
    /// Which shell [default with --install: the one that $SHELL names]
    #[arg(value_enum, required_unless_present = "install")]
    shell: Option<Shell>,
    /// Write the script to where the shell looks for it, in place of printing it
    #[arg(long)]
    install: bool,
}

#[derive(Debug, Serialize)]
struct CompletionsDocument {
    shell: &'static str,
    script: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    installed: Option<PathBuf>,
}

/// Runs `powerdev completions`.
///
/// # Errors
/// When the script can't be written, or nobody says for which shell.
pub async fn run(args: CompletionsArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let shell = args.shell.map_or_else(own_shell, Ok)?;
    let script = shell.script()?;
    let installed = if args.install { Some(install(shell, &script)?) } else { None };
    if context.ui.json() {
        context.ui.document(&CompletionsDocument { shell: shell.name(), script, installed })?;
    } else if let Some(path) = installed {
        context.ui.status(format_args!("Wrote {}; a new {} completes powerdev", path.display(), shell.name()));
        if shell == Shell::Zsh {
            context.ui.status("if it isn't there yet, put this before compinit in ~/.zshrc: fpath=(~/.zfunc $fpath)");
        }
    } else {
        context.ui.print_lines(script.trim_end())?;
    }
    Ok(ExitCode::Done)
}

/// The shell that the user logs in with.
fn own_shell() -> Result<Shell, Failure> {
    let shell = std::env::var("SHELL").unwrap_or_default();
    let name = Path::new(&shell).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let names: Vec<&str> = Shell::ALL.iter().map(|shell| shell.name()).collect();
    Shell::from_str(name, true).map_err(|_| {
        Failure::usage(format!("there are no completions for the shell that SHELL={shell} names"))
            .hint(format!("say for which: {}", names.join(", ")))
    })
}

/// Writes the script to where the shell looks for it, with the folders above it.
fn install(shell: Shell, script: &str) -> anyhow::Result<PathBuf> {
    let (folder, below, file) = match shell {
        Shell::Bash => (base_folder("XDG_DATA_HOME", ".local/share"), "bash-completion/completions", "powerdev"),
        Shell::Zsh => (base_folder("ZDOTDIR", ""), ".zfunc", "_powerdev"),
        Shell::Fish => (base_folder("XDG_CONFIG_HOME", ".config"), "fish/completions", "powerdev.fish"),
    };
    let home = || Failure::usage("can't tell where your home folder is").hint("set HOME to it");
    let folder = folder.ok_or_else(home)?.join(below);
    std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    let path = folder.join(file);
    replace(&path, script.as_bytes(), 0o644, None)?;
    Ok(path)
}
