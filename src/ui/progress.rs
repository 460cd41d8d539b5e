//! What the core tells, as it is shown: on a terminal a spinner or a bar for each task that runs and a line for each
//! service, elsewhere a line for what is worth one.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anstyle::AnsiColor;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use powerdev_protocol::ServiceState;

use super::{Ui, clean};
use crate::reporter::{Outcome, Progress, Reporter, Work};

/// How many columns a step's name gets where nothing else limits it.
const NAME: usize = 100;
/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// What is on the screen now.
#[derive(Debug, Default)]
pub(super) struct Shown(RefCell<Screen>);

#[derive(Debug, Default)]
struct Screen {
    bars: MultiProgress,
    tasks: HashMap<String, (Work, ProgressBar)>,
    services: BTreeMap<String, ShownService>,
    /// When the first service was told of.
    services_since: Option<Instant>,
}

/// A service, as it was told of.
#[derive(Debug)]
struct ShownService {
    state: ServiceState,
    bar: ProgressBar,
    /// The states that have a line of their own, where nothing is drawn over.
    told: Vec<ServiceState>,
    /// Changes since then that were one of these again.
    again: u32,
}

impl Reporter for Ui {
    fn report(&self, progress: Progress<'_>) {
        let mut screen = self.shown.0.borrow_mut();
        match progress {
            Progress::Status(line) => self.status(line),
            Progress::Notice(line) => self.notice(line),
            Progress::Began { task, name, work } => self.begin(&mut screen, task, name, work),
            Progress::Output { task, line } => {
                if let Some((_, bar)) = screen.tasks.get(task) {
                    bar.set_message(clean::line(line));
                }
            }
            Progress::Advanced { task, done, total, doing, milestone } => {
                if let Some((_, bar)) = screen.tasks.get(task) {
                    if total > 0 {
                        bar.set_style(bytes_style());
                    }
                    bar.set_length(total);
                    bar.set_position(done);
                    bar.set_message(clean::line(doing));
                }
                if let Some(milestone) = milestone.filter(|_| !self.live) {
                    self.status(format_args!("  {milestone}"));
                }
            }
            Progress::Ended { task, name, outcome } => self.end(&mut screen, task, name, outcome),
            Progress::Service { name, state, why } => self.service(&mut screen, name, state, why),
            Progress::ServicesLeft => self.leave_services(&mut screen),
        }
    }
}

impl Ui {
    fn begin(&self, screen: &mut Screen, task: &str, name: &str, work: Work) {
        if screen.tasks.contains_key(task) {
            return;
        }
        let bar = match work {
            _ if !self.live => {
                if work == Work::Step {
                    self.status(format_args!("  {}", short(name)));
                }
                ProgressBar::hidden()
            }
            Work::Step => {
                let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed:.dim}\n  {wide_msg:.dim}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
                screen.bars.add(ProgressBar::new_spinner()).with_style(style).with_prefix(short(name))
            }
            Work::Wait | Work::Transfer => screen.bars.add(ProgressBar::new_spinner()).with_message(clean::line(name)),
        };
        if self.live {
            bar.enable_steady_tick(TICK);
        }
        screen.tasks.insert(task.to_owned(), (work, bar));
    }

    fn end(&self, screen: &mut Screen, task: &str, name: &str, outcome: Outcome) {
        let ended = screen.tasks.remove(task);
        if let Some((_, bar)) = &ended {
            bar.finish_and_clear();
            screen.bars.remove(bar);
        }
        let line = match outcome {
            Outcome::Done(time) => {
                format!("{} {} {:.1} s", self.paint_stderr(AnsiColor::Green, "done"), short(name), time.as_secs_f64())
            }
            Outcome::Failed => format!("{} {}", self.paint_stderr(AnsiColor::Red, "failed"), short(name)),
            Outcome::Cached | Outcome::Cancelled => return,
        };
        if self.live {
            // Standard error gone is no reason to stop working.
            screen.bars.println(clean::line(&line)).ok();
        } else {
            self.status(line);
        }
    }

    fn service(&self, screen: &mut Screen, name: &str, state: ServiceState, why: Option<&str>) {
        let since = screen.services_since.get_or_insert_with(Instant::now).elapsed();
        let known = screen.services.get(name).map(|shown| shown.state);
        let bars = &screen.bars;
        let new = || {
            let bar = if self.live { bars.add(ProgressBar::new_spinner()) } else { ProgressBar::hidden() };
            ShownService { state, bar, told: Vec::new(), again: 0 }
        };
        let shown = screen.services.entry(name.to_owned()).or_insert_with(new);
        shown.state = state;
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let text = format!("{name:<16} {state} ({:.1} s){why}", since.as_secs_f64());
        if self.live {
            shown.draw(&text, name, &why);
        } else if known.is_some_and(|known| known != state) && shown.is_news() {
            self.status(format_args!("  {text}"));
        }
    }

    /// The last picture of the services stays; the next that are told of are shown anew.
    fn leave_services(&self, screen: &mut Screen) {
        for (name, shown) in std::mem::take(&mut screen.services) {
            if !shown.bar.is_finished() {
                shown.bar.abandon();
            }
            if shown.again > 0 {
                let changes = if shown.again == 1 { "change" } else { "changes" };
                self.status(format_args!("  {name:<16} {}, after {} more {changes}", shown.state, shown.again));
            }
        }
        screen.services_since = None;
    }
}

impl ShownService {
    /// Draws it over what was there. What isn't over yet counts its time up.
    fn draw(&self, text: &str, name: &str, why: &str) {
        match self.state {
            ServiceState::Ready | ServiceState::Completed | ServiceState::Failed => {
                self.bar.set_style(ProgressStyle::default_spinner());
                self.bar.set_message(clean::line(text));
                self.bar.abandon();
            }
            state => {
                if self.bar.is_finished() {
                    self.bar.reset();
                }
                let style = ProgressStyle::with_template("{spinner} {prefix} ({elapsed}){wide_msg}");
                self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                self.bar.set_prefix(clean::line(&format!("{name:<16} {state}")));
                self.bar.set_message(clean::line(why));
                self.bar.enable_steady_tick(TICK);
            }
        }
    }

    /// Whether its state is worth a line where lines stay: steps on the way say little, and of one that goes round and
    /// round each state is told once.
    fn is_news(&mut self) -> bool {
        if matches!(self.state, ServiceState::Waiting | ServiceState::Starting) {
            return false;
        }
        if self.told.contains(&self.state) {
            self.again += 1;
            return false;
        }
        self.told.push(self.state);
        true
    }
}

/// The look of a bar over a known number of bytes.
pub(super) fn bytes_style() -> ProgressStyle {
    ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// On one line, and no longer than a line.
fn short(name: &str) -> String {
    let line = clean::line(name).split_whitespace().collect::<Vec<_>>().join(" ");
    console::truncate_str(&line, NAME, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_round_and_round_is_told_once() {
        use ServiceState::{Backoff, Ready, Starting};
        let bar = ProgressBar::hidden();
        let mut shown = ShownService { state: Starting, bar, told: Vec::new(), again: 0 };
        let states = [Starting, Ready, Backoff, Starting, Ready, Backoff, Starting, Ready];
        let news = states.map(|state| {
            shown.state = state;
            shown.is_news()
        });
        assert_eq!(news, [false, true, true, false, false, false, false, false]);
        assert_eq!(shown.again, 3);
    }

    #[test]
    fn names_fit_on_a_line() {
        assert_eq!(short("RUN a \n  b"), "RUN a b");
        let long = short(&"ä".repeat(300));
        assert_eq!(console::measure_text_width(&long), NAME);
        assert!(long.ends_with('…'));
        assert!(console::measure_text_width(&short(&"漢".repeat(300))) <= NAME, "two columns each");
    }
}
