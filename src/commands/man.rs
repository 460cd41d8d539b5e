//! `powerdev man`: the manual page.

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use powerdev_protocol::ExitCode;
use serde::Serialize;

use super::Context;
use crate::cli::Cli;
use crate::config::{settings, suggest};
use crate::failure::Failure;

/// Print the manual page, as roff: `powerdev man | man -l -`
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The page of this command alone
    command: Option<String>,
}

#[derive(Debug, Serialize)]
struct ManDocument {
    page: String,
}

/// Runs `powerdev man`.
///
/// # Errors
/// A usage [`Failure`] when there is no such command.
pub async fn run(args: ManArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let page = page(args.command.as_deref())?;
    if context.ui.json() {
        context.ui.document(&ManDocument { page })?;
    } else {
        context.ui.print_lines(page.trim_end())?;
    }
    Ok(ExitCode::Done)
}

/// The page of powerdev, or of one of its commands.
///
/// # Errors
/// A usage [`Failure`] when there is no such command.
pub fn page(name: Option<&str>) -> anyhow::Result<String> {
    let mut cli = Cli::command();
    cli.build();
    let command = match name {
        None => cli,
        Some(name) => cli.find_subcommand(name).cloned().ok_or_else(|| {
            let known = suggest::did_you_mean(name, cli.get_subcommands().map(clap::Command::get_name));
            Failure::usage(format!("there is no command `{name}`"))
                .hint(known.unwrap_or_else(|| "`powerdev --help` lists the commands".into()))
        })?,
    };
    let mut roff = Vec::new();
    let whole = name.is_none();
    let title = command.get_display_name().unwrap_or("powerdev").to_uppercase();
    let man = Man::new(command).title(title).manual("powerdev");
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if whole {
        man.render_subcommands_section(&mut roff)?;
        setting_section().to_writer(&mut roff)?;
    }
    exit_codes().to_writer(&mut roff)?;
    if whole {
        files().to_writer(&mut roff)?;
    }
    Ok(String::from_utf8_lossy(&roff).into_owned())
}

fn entry(roff: &mut Roff, head: &str, text: &str) {
    roff.control("TP", []).text([clap_mangen::roff::bold(head)]).text([roman(text)]);
}

fn setting_section() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SETTINGS"]);
    roff.text([roman("In .env, as variables of the environment (POWERDEV_ before the name), or in powerdev.yaml.")]);
    for setting in settings::all() {
        let head = format!("{} [{}]", setting.name, setting.default_text());
        entry(&mut roff, &head, setting.why);
    }
    roff
}

fn exit_codes() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in ExitCode::ALL {
        entry(&mut roff, &(*code as u8).to_string(), meaning);
    }
    roff.control("PP", []).text([roman("exec ends with the code of the command that it ran.")]);
    roff
}

fn files() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    entry(&mut roff, "powerdev.yaml", "What powerdev should do for the project.");
    entry(&mut roff, ".env", "Settings, and secrets: every key that is no setting.");
    entry(&mut roff, ".agent-mount/", "The project's data: workspace, data, analysis, logs, output.");
    entry(&mut roff, "~/.local/state/powerdev/", "What powerdev remembers about each environment.");
    roff
}
