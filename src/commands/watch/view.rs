//! The live view: what happens scrolls by, and below it stands how each environment is now, redrawn in place.

use anstyle::AnsiColor;
use console::{Alignment, Term, measure_text_width, pad_str, truncate_str};
use powerdev_protocol::{AgentStatus, Usage};

use super::line::{When, line};
use crate::clock::{now_ms, span};
use crate::ui::{LiveArea, Ui};
use crate::units::{ByteSize, counted};
use crate::watch::{Audience, Glance, Report};

/// The narrowest screen that lines are made for.
const NARROW: usize = 40;

/// A live view on standard error.
#[derive(Debug)]
pub struct View<'a> {
    ui: &'a Ui,
    area: LiveArea,
    shown: String,
    /// One environment: its name need not stand on every line.
    single: bool,
}

impl<'a> View<'a> {
    /// A view that is drawn there.
    pub fn new(ui: &'a Ui, single: bool) -> Self {
        Self { ui, area: ui.live_area(), shown: String::new(), single }
    }
}

impl Audience for View<'_> {
    fn report(&mut self, report: &Report) -> anyhow::Result<()> {
        self.area.above(&line(report, When::Time, self.single, |color, text| self.ui.paint_stderr(color, text)));
        Ok(())
    }

    fn notice(&mut self, line: String) {
        self.area.above(&format!("{} {line}", self.ui.paint_stderr(AnsiColor::Yellow, "notice:")));
    }

    fn shown(&mut self, glances: &[Glance<'_>]) {
        let width = usize::from(Term::stderr().size().1).max(NARROW);
        let mut lines: Vec<String> = glances.iter().flat_map(|glance| block(glance, self.single)).collect();
        if glances.is_empty() {
            lines.push("no environments on this Engine".to_owned());
        }
        let lines: Vec<_> = lines.iter().map(|line| cut(line, width)).collect();
        // A line between what scrolls and what stays.
        let picture = format!("\n{}", lines.join("\n"));
        if picture != self.shown {
            self.area.show(&picture);
            self.shown = picture;
        }
    }

    fn live(&self) -> bool {
        true
    }
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
                restarts => format!(", {}", counted(restarts.into(), "restart")),
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

    #[test]
    fn lines_fit_and_carry_no_control_characters() {
        let line = cut(&format!("demo  \x1b[2J{}", "x".repeat(100)), 80);
        assert!(measure_text_width(&line) < 80 && !line.contains('\x1b'), "{line}");
        assert!(measure_text_width(&cut(&"漢".repeat(100), 80)) < 80, "two columns each");
    }
}
