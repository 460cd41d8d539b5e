//! `powerdev logs`: the container's log, in which the agent writes every service's lines as `service | text`.

mod line;
pub(super) mod since;

use std::collections::VecDeque;
use std::pin::pin;

use futures_util::{StreamExt, TryStreamExt};
use powerdev_protocol::{ExitCode, ServiceSet};
use regex::Regex;

use self::line::{Assembler, LogLine};
use super::Context;
use crate::config::did_you_mean;
use crate::control::Patience;
use crate::engine::{Engine, EngineError, EngineEvent, EngineEventKind, LogOptions, RunState};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::files;
use crate::ui::Ui;

/// Show what the services write, and go on showing it
///
/// Goes on when the environment is restarted; ends with Ctrl-C, or with code 0 when the environment is removed.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// These services alone; `powerdev` is the supervisor itself
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// From then on: 90s, 10m, 2h, 1d, a date and time (RFC 3339), or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = since::parse)]
    since: Option<i64>,
    /// The last so many lines of what is there already
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<u64>,
    /// Only lines whose text matches this regular expression
    #[arg(long, value_name = "REGEX")]
    grep: Option<Regex>,
    /// Show what is there and end
    #[arg(long)]
    no_follow: bool,
    /// Nothing: as with docker, and so by itself
    #[arg(long = "follow", short = 'f', hide = true, conflicts_with = "no_follow")]
    _follow: bool,
    /// Begin each line with its time
    #[arg(long, short = 't')]
    timestamps: bool,
    /// Lines as they were written, with all that a terminal does at their word; without, they have colours at most
    #[arg(long)]
    raw: bool,
}

/// Runs `powerdev logs`.
///
/// # Errors
/// When the environment or the service isn't there, or the Engine goes away.
pub async fn run(args: LogsArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let environment = context.environment()?;
    let (name, engine) = (environment.name(), environment.engine().await?);
    let container = environment.require().await?;
    if !args.services.is_empty() {
        check_services(&environment, &args.services).await?;
    }
    let mut reader = Reader { last_ns: args.since, args: &args, ui: context.ui };
    if args.no_follow {
        reader.history(engine, &container.name).await?;
        return Ok(ExitCode::Done);
    }
    // Asked for before the log is, so that nothing that happens in between is missed.
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let mut events = pin!(engine.events(Some(now)));
    if reader.history(engine, &container.name).await? == Reading::NobodyReads {
        return Ok(ExitCode::Done);
    }
    if container.state != RunState::Running {
        context.ui.status(format_args!("{name} isn't running; waiting for its start (Ctrl-C ends this)"));
    }
    loop {
        // Engines end a log that is followed a moment before they have what was written last: look once more.
        for follow in [true, false] {
            if reader.go_on(engine, &container.name, follow).await? == Reading::NobodyReads {
                return Ok(ExitCode::Done);
            }
        }
        if !wait_for_start(&mut events, &container.id).await? {
            context.ui.status(format_args!("{name} was removed"));
            return Ok(ExitCode::Done);
        }
    }
}

/// False: it never starts again, since it is gone.
async fn wait_for_start(
    events: &mut (impl futures_util::Stream<Item = Result<EngineEvent, EngineError>> + Unpin),
    id: &str,
) -> Result<bool, EngineError> {
    while let Some(event) = events.try_next().await? {
        match event.kind {
            EngineEventKind::Start if event.id == id => return Ok(true),
            EngineEventKind::Destroy if event.id == id => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}

/// A name that no service has would be waited for in vain. Where the services can't be told, any name will do.
async fn check_services(environment: &Environment, wanted: &[String]) -> anyhow::Result<()> {
    let Some(names) = services(environment).await else { return Ok(()) };
    let is_there = |wanted: &&String| *wanted == line::SUPERVISOR || names.contains(wanted);
    let Some(wanted) = wanted.iter().find(|wanted| !is_there(wanted)) else { return Ok(()) };
    let mut failure = Failure::not_running(format!("there is no service `{wanted}`"));
    let hint = did_you_mean(wanted, names.iter().map(String::as_str));
    if let Some(hint) = hint.or_else(|| (!names.is_empty()).then(|| format!("there are {}", names.join(", ")))) {
        failure = failure.hint(hint);
    }
    Err(failure.into())
}

/// The services' names: as they were written for the agent on this machine, or as the agent tells them.
async fn services(environment: &Environment) -> Option<Vec<String>> {
    let file = environment.state().agent_dir().join("config/services.json");
    if let Some(set) = files::read(&file).ok().and_then(|bytes| serde_json::from_slice::<ServiceSet>(&bytes).ok()) {
        return Some(set.services.into_keys().collect());
    }
    let status = environment.agent(Patience::Answer).await.ok()?.status().await.ok()?;
    Some(status.services.into_iter().map(|service| service.name).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// There is no more for now.
    Ended,
    /// Whoever read our output went away.
    NobodyReads,
}

struct Reader<'a> {
    args: &'a LogsArgs,
    ui: &'a Ui,
    /// Lines up to this moment, in nanoseconds since the Unix epoch, have been shown, or were not asked for.
    last_ns: Option<i64>,
}

impl Reader<'_> {
    /// What is there already, as far as it was asked for.
    async fn history(&mut self, engine: &Engine, container: &str) -> anyhow::Result<Reading> {
        let filtered = !self.args.services.is_empty() || self.args.grep.is_some();
        // The Engine counts every line, we only those that are shown.
        let tail = self.args.tail.filter(|_| !filtered);
        let keep = self.args.tail.filter(|_| filtered).map(|lines| usize::try_from(lines).unwrap_or(usize::MAX));
        let options = LogOptions { follow: false, since_ns: self.last_ns, tail, timestamps: true };
        let mut kept = VecDeque::new();
        let mut chunks = pin!(engine.logs(container, &options));
        let mut lines = Assembler::default();
        while let Some(chunk) = chunks.next().await {
            for line in lines.push(&chunk?) {
                self.last_ns = line.at_ns().map(|at| at + 1).or(self.last_ns);
                let Some(keep) = keep else {
                    if self.show(&line)? == Reading::NobodyReads {
                        return Ok(Reading::NobodyReads);
                    }
                    continue;
                };
                if self.wanted(&line) {
                    kept.push_back(line);
                    let surplus = kept.len().saturating_sub(keep);
                    kept.drain(..surplus);
                }
            }
        }
        for line in &kept {
            if self.show(line)? == Reading::NobodyReads {
                return Ok(Reading::NobodyReads);
            }
        }
        Ok(Reading::Ended)
    }

    /// What has come since the last line; with `follow`, and what comes until the container ends.
    async fn go_on(&mut self, engine: &Engine, container: &str, follow: bool) -> anyhow::Result<Reading> {
        let options = LogOptions { follow, since_ns: self.last_ns, tail: None, timestamps: true };
        let mut chunks = pin!(engine.logs(container, &options));
        let mut lines = Assembler::default();
        while let Some(chunk) = chunks.next().await {
            let chunk = match chunk {
                // Removed before we came to look: the events tell.
                Err(error) if error.is_not_found() => break,
                other => other?,
            };
            for line in lines.push(&chunk) {
                self.last_ns = line.at_ns().map(|at| at + 1).or(self.last_ns);
                if self.show(&line)? == Reading::NobodyReads {
                    return Ok(Reading::NobodyReads);
                }
            }
        }
        Ok(Reading::Ended)
    }

    fn wanted(&self, line: &LogLine) -> bool {
        let (services, of) = (&self.args.services, line.service.as_ref());
        (services.is_empty() || of.is_some_and(|of| services.contains(of)))
            && self.args.grep.as_ref().is_none_or(|regex| regex.is_match(&line.line))
    }

    fn show(&self, line: &LogLine) -> anyhow::Result<Reading> {
        if !self.wanted(line) {
            return Ok(Reading::Ended);
        }
        let read = if self.ui.json() {
            self.ui.document_while_read(line)?
        } else {
            self.ui.print_logged(&line.text(self.args.timestamps), self.args.raw)?
        };
        Ok(if read { Reading::Ended } else { Reading::NobodyReads })
    }
}
