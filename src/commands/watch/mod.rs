//! `powerdev watch`: restarts what ends by accident, within a budget.

mod line;
mod view;

use std::io::IsTerminal;

use powerdev_protocol::ExitCode;

pub(super) use self::line::{When, line};
use self::view::View;
use super::Context;
use crate::clock::Seconds;
use crate::environment::Environment;
use crate::ui::Ui;
use crate::watch::{self, Audience, Ended, Report, RestartLimits, WatchOptions, WatchScope};

/// Watch the environment and restart it when it ends by accident or stays unhealthy
///
/// What it sees and does is written down: `powerdev events` shows it later.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Watch every environment on this Engine
    #[arg(long)]
    all: bool,
    /// End as soon as nothing is under way: 0 it runs well, 4 it doesn't run, 5 it is quarantined
    #[arg(long)]
    once: bool,
    /// Forget past restarts and end a quarantine first
    #[arg(long)]
    clear: bool,
    /// Restarts allowed within the window; then it is quarantined
    #[arg(long, value_name = "N", default_value_t = 5)]
    max_restarts: u32,
    /// The window, in seconds
    #[arg(long, value_name = "SECS", default_value_t = Seconds::whole(600))]
    window: Seconds,
    /// The wait before the second restart, in seconds; it doubles with each further one
    #[arg(long, value_name = "SECS", default_value_t = Seconds::whole(1))]
    backoff: Seconds,
    /// The longest wait, in seconds
    #[arg(long, value_name = "SECS", default_value_t = Seconds::whole(60))]
    max_backoff: Seconds,
    /// How long it may be unhealthy, in seconds
    #[arg(long, value_name = "SECS", default_value_t = Seconds::whole(60))]
    unhealthy_after: Seconds,
}

/// Runs `powerdev watch`.
///
/// # Errors
/// When no Engine answers at the start, a foreign container has our name, or the environment is watched already.
pub async fn run(args: WatchArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let scope = if args.all { None } else { Some(context.identity()?) };
    let engine = context.engine().await?;
    if let Some((name, dir)) = &scope {
        Environment::new(name.clone(), dir)?.on(engine.clone()).find().await?;
    }
    let single = scope.is_some();
    let scope = scope.map_or(WatchScope::All, |(name, _)| WatchScope::One(name.to_string()));
    let options = WatchOptions { scope, limits: limits(&args), once: args.once, clear: args.clear };
    let live = context.ui.live() && !context.ui.json() && std::io::stdout().is_terminal();
    let ended = if live {
        let mut view = View::new(context.ui, single);
        watch::watch(engine, options, &mut view).await?
    } else {
        watch::watch(engine, options, &mut EventLines { ui: context.ui, single }).await?
    };
    Ok(match ended {
        Ended::Interrupted => ExitCode::Interrupted,
        Ended::Terminated | Ended::Well => ExitCode::Done,
        Ended::Unwell => ExitCode::Unhealthy,
        Ended::Down => ExitCode::NotRunning,
    })
}

fn limits(args: &WatchArgs) -> RestartLimits {
    RestartLimits {
        restarts: args.max_restarts,
        window_ms: args.window.milliseconds(),
        backoff_ms: args.backoff.milliseconds(),
        max_backoff_ms: args.max_backoff.milliseconds(),
        unhealthy_ms: args.unhealthy_after.milliseconds(),
        jitter: fastrand::f64,
    }
}

/// One line an event: JSON, or text.
struct EventLines<'a> {
    ui: &'a Ui,
    single: bool,
}

impl Audience for EventLines<'_> {
    fn report(&mut self, report: &Report) -> anyhow::Result<()> {
        if self.ui.json() {
            return self.ui.document(report);
        }
        let paint = |color, text: &str| self.ui.paint_stdout(color, text);
        self.ui.print(&line(report, When::Time, self.single, paint))
    }

    fn notice(&mut self, line: String) {
        self.ui.notice(line);
    }
}
