//! powerdev: a GPU-ready, hardened container in which AI coding agents work for days.
//!
//! Dependencies point one way: `tests/architecture.rs` says which module may import which, and `docs/architecture.md` why.

mod agent_mount;
mod backup;
mod cleanup;
pub mod cli;
mod clock;
mod commands;
pub mod completion;
pub mod config;
pub mod control;
pub mod delivery;
mod deployment;
mod diagnostics;
mod doctor;
pub mod engine;
mod environment;
mod execution;
pub mod failure;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod host;
mod image;
mod interrupt;
mod lifecycle;
mod logging;
mod plan;
pub mod reference;
mod reporter;
mod repository;
mod sessions;
mod site;
pub mod spec;
mod ssh;
mod state;
mod trust;
mod ui;
pub mod units;
mod watch;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

/// Parses the command line, runs the command, renders what went wrong. Nothing but `powerdev`, typed at a terminal, shows
/// what there is.
pub fn main() -> ExitCode {
    completion::answer();
    if let Some(code) = ssh::relay::answer() {
        return code;
    }
    let cli = match cli::Cli::try_parse_from(commands::reflex::translated(std::env::args_os())) {
        Ok(cli) => Some(cli),
        // A person who typed nothing else.
        Err(_) if std::env::args_os().len() <= 1 && std::io::stdout().is_terminal() => None,
        Err(error) => return refused(&error),
    };
    let cli::Global { json, quiet, verbose, .. } = cli.as_ref().map(|cli| cli.global.clone()).unwrap_or_default();
    let ui = ui::Ui::new(json, quiet);
    if let Err(failure) = logging::start(verbose, ui.color()) {
        return failed(&ui, &failure.into());
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&ui, &anyhow::Error::new(error).context("can't start the async runtime")),
    };
    let ended = runtime.block_on(async {
        match cli {
            Some(cli) => commands::run(cli, &ui).await,
            None => commands::overview::run(&ui).await.map(Into::into),
        }
    });
    let code = ended.unwrap_or_else(|error| failed(&ui, &error));
    // A thread may still wait for standard input; the process needn't wait for it.
    runtime.shutdown_background();
    code
}

/// A command line that clap doesn't take, or that asks for help. Who asked for JSON gets a document here, too.
fn refused(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if let Some(meant) = commands::reflex::meant(error) {
        return failed(&ui::Ui::new(json, false), &meant.into());
    }
    if error.use_stderr() && json {
        return failed(&ui::Ui::new(true, false), &refusal(&error.render().to_string()).into());
    }
    // Help that can't be written has nobody to read it.
    error.print().ok();
    u8::try_from(error.exit_code()).unwrap_or(2).into()
}

/// What clap says of a command line, as an error and a hint: which argument, what it may be, what was meant.
fn refusal(text: &str) -> failure::Failure {
    let body = text.split("\n\nUsage:").next().unwrap_or(text);
    let body = body.split("\n\nFor more information").next().unwrap_or(body);
    let (message, tips) = body.split_once("\n\n").unwrap_or((body, ""));
    let one_line =
        |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let tips = one_line(tips).trim_start_matches("tip: ").replace(" tip: ", "; ");
    let hint = if tips.is_empty() { "`powerdev --help` lists what there is".to_owned() } else { tips };
    failure::Failure::usage(one_line(message).trim_start_matches("error: ")).hint(hint)
}

/// Renders an error, once, and gives the code that the process ends with.
fn failed(ui: &ui::Ui, error: &anyhow::Error) -> ExitCode {
    let diagnosis = diagnostics::diagnose(error);
    ui.failed(&diagnosis);
    diagnosis.code.into()
}
