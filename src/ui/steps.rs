//! The steps of something long, such as a build: those that run with a spinner and their last line of output on a
//! terminal, a line a step elsewhere.

use std::collections::HashMap;
use std::time::Duration;

use anstyle::AnsiColor;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Ui;

/// How many columns a step's name gets where nothing else limits it.
const NAME: usize = 100;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done, after so long.
    Done(Duration),
    /// Nothing was to be done.
    Cached,
    /// Failed.
    Failed,
    /// Called off, since another one failed.
    Cancelled,
}

/// Shows steps as they begin and end.
#[derive(Debug)]
pub struct Steps<'a> {
    ui: &'a Ui,
    bars: MultiProgress,
    running: HashMap<String, ProgressBar>,
    cached: usize,
}

impl Ui {
    /// Steps to show, none yet.
    pub fn steps(&self) -> Steps<'_> {
        Steps { ui: self, bars: MultiProgress::new(), running: HashMap::new(), cached: 0 }
    }
}

impl Steps<'_> {
    /// A step runs. Telling it twice is fine.
    pub fn begin(&mut self, id: &str, name: &str) {
        if self.running.contains_key(id) {
            return;
        }
        let bar = if self.ui.live() {
            let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed:.dim}\n  {wide_msg:.dim}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = self.bars.add(ProgressBar::new_spinner()).with_style(style).with_prefix(short(name));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            self.ui.status(format_args!("  {}", short(name)));
            ProgressBar::hidden()
        };
        self.running.insert(id.to_owned(), bar);
    }

    /// What a running step last said.
    pub fn say(&self, id: &str, line: &str) {
        if let Some(bar) = self.running.get(id) {
            bar.set_message(line.to_owned());
        }
    }

    /// A step ended.
    pub fn end(&mut self, id: &str, name: &str, outcome: Outcome) {
        if let Some(bar) = self.running.remove(id) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        let line = match outcome {
            Outcome::Done(time) => {
                format!(
                    "{} {} {:.1} s",
                    self.ui.paint_stderr(AnsiColor::Green, "done"),
                    short(name),
                    time.as_secs_f64()
                )
            }
            Outcome::Cached => {
                self.cached += 1;
                return;
            }
            Outcome::Failed => format!("{} {}", self.ui.paint_stderr(AnsiColor::Red, "failed"), short(name)),
            Outcome::Cancelled => return,
        };
        if self.ui.live() {
            // Standard error gone is no reason to stop working.
            self.bars.println(line).ok();
        } else {
            self.ui.status(line);
        }
    }

    /// How many steps had nothing to do.
    pub fn cached(&self) -> usize {
        self.cached
    }
}

impl Drop for Steps<'_> {
    fn drop(&mut self) {
        for bar in self.running.values() {
            bar.finish_and_clear();
        }
    }
}

/// On one line, and no longer than a line.
fn short(name: &str) -> String {
    let line = name.split_whitespace().collect::<Vec<_>>().join(" ");
    console::truncate_str(&line, NAME, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_on_a_line() {
        assert_eq!(short("RUN a \n  b"), "RUN a b");
        let long = short(&"ä".repeat(300));
        assert_eq!(console::measure_text_width(&long), NAME);
        assert!(long.ends_with('…'));
        assert!(console::measure_text_width(&short(&"漢".repeat(300))) <= NAME, "two columns each");
    }
}
