//! The live view: how each environment is now, and what happened last. Plain lines, redrawn in place.

use std::collections::VecDeque;

use console::{Alignment, Term, measure_text_width, pad_str, truncate_str};
use powerdev_protocol::{AgentStatus, Usage};

use crate::clock::{now_ms, span};
use crate::ui::LiveArea;
use crate::units::ByteSize;
use crate::watch::{Audience, Glance, Report, What};

/// Events that stay on the screen.
const RECENT: usize = 8;
/// The narrowest screen that lines are made for.
const NARROW: usize = 40;

/// A live view on standard error.
#[derive(Debug)]
pub struct View {
    area: LiveArea,
    recent: VecDeque<String>,
    shown: String,
    /// One environment: its name need not stand on every line.
    single: bool,
}

impl View {
    /// A view that is drawn there.
    pub fn new(area: LiveArea, single: bool) -> Self {
        Self { area, recent: VecDeque::new(), shown: String::new(), single }
    }

    /// Keeps a line on the screen, for as long as it is one of the last.
    fn remember(&mut self, line: String) {
        self.recent.push_back(line);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }
}

impl Audience for View {
    fn report(&mut self, report: &Report) -> anyhow::Result<()> {
        self.remember(line(report, self.single));
        Ok(())
    }

    fn notice(&mut self, line: String) {
        self.remember(format!("notice: {line}"));
    }

    fn shown(&mut self, glances: &[Glance<'_>]) {
        let width = usize::from(Term::stderr().size().1).max(NARROW);
        let mut lines: Vec<String> = glances.iter().flat_map(|glance| block(glance, self.single)).collect();
        if glances.is_empty() {
            lines.push("no environments on this Engine".to_owned());
        }
        lines.push(String::new());
        lines.extend(self.recent.iter().cloned());
        let lines: Vec<_> = lines.iter().map(|line| cut(line, width)).collect();
        let picture = lines.join("\n");
        if picture != self.shown {
            self.area.show(&picture);
            self.shown = picture;
        }
    }

    fn live(&self) -> bool {
        true
    }
}

/// A report as a line for people: time, name unless there is only one, what.
pub fn line(report: &Report, single: bool) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(report.at_ms).unwrap_or(i64::MAX)).unwrap_or_default();
    let at = at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string();
    let mark = match &report.what {
        What::Down { .. } | What::Unhealthy { .. } | What::RestartFailed { .. } | What::EngineLost { .. } => "! ",
        What::Quarantined { .. } | What::Removed => "!!",
        _ => "  ",
    };
    let name = if single { String::new() } else { format!("{}: ", report.name) };
    format!("{at} {mark} {name}{}", report.what)
}

fn block(glance: &Glance<'_>, single: bool) -> Vec<String> {
    let health = glance.health.map_or_else(String::new, |health| format!(", {health}"));
    let since = glance
        .status
        .map_or_else(String::new, |status| format!(" for {}", span(now_ms().saturating_sub(status.started_ms))));
    let left = glance.restarts_left;
    let mut lines = vec![format!("{}  {}{since}{health}  (restarts left: {left})", glance.name, glance.state)];
    if let Some(status) = glance.status {
        lines.push(format!("  {}", usage(&status.usage)));
        lines.extend(services(status, single));
    }
    lines
}

fn usage(usage: &Usage) -> String {
    let of = |limit: Option<String>| limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    let cpu = usage.cpu_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.0} %"));
    let memory = ByteSize(usage.memory_bytes);
    let memory_limit = of(usage.memory_limit_bytes.map(|bytes| ByteSize(bytes).to_string()));
    let tasks_limit = of(usage.pids_limit.map(|pids| pids.to_string()));
    format!("cpu {cpu}   memory {memory}{memory_limit}   tasks {}{tasks_limit}", usage.pids)
}

/// One line a service for one environment; for many, only those that aren't well.
fn services(status: &AgentStatus, single: bool) -> Vec<String> {
    let width = status.services.iter().map(|service| measure_text_width(&service.name)).max().unwrap_or(0);
    let wanted = status.services.iter().filter(|service| single || !service.ready);
    wanted
        .map(|service| {
            let restarts = match service.restarts {
                0 => String::new(),
                restarts => format!(", {restarts} restarts"),
            };
            let exit = service.last_exit.as_ref().filter(|_| !service.ready);
            let why = exit.map_or_else(String::new, |exit| format!(" ({})", exit.reason));
            format!("  {}  {}{restarts}{why}", pad_str(&service.name, width, Alignment::Left, None), service.state)
        })
        .collect()
}

/// Lines of the container are not trusted with the terminal, and none may wrap: that would tear the picture.
fn cut(line: &str, width: usize) -> String {
    let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    truncate_str(&plain, width.saturating_sub(1), "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Cause;

    #[test]
    fn lines_fit_and_carry_no_control_characters() {
        let report = Report {
            at_ms: 0,
            name: "demo".into(),
            what: What::Down {
                cause: Cause::Oom,
                detail: format!("\x1b[2J{}", "x".repeat(100)),
                restart_in_ms: 2000,
                restarts_left: 3,
            },
        };
        let line = cut(&line(&report, false), 80);
        assert!(measure_text_width(&line) < 80 && !line.contains('\x1b'), "{line}");
        assert!(line.contains("demo: out of memory"), "{line}");
        assert!(measure_text_width(&cut(&"漢".repeat(100), 80)) < 80, "two columns each");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut view = View::new(crate::ui::Ui::new(false, true).live_area(), true);
        (0..3 * RECENT).for_each(|number| view.notice(format!("line {number}")));
        assert_eq!(view.recent.len(), RECENT);
        assert_eq!(view.recent.back().map(String::as_str), Some("notice: line 23"));
    }
}
