//! The services on their way up: a line each on a terminal, a line a change elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use powerdev_protocol::ServiceState;

use super::Ui;

/// Shows the services' states as they change.
#[derive(Debug)]
pub struct ServicesProgress<'a> {
    ui: &'a Ui,
    since: Instant,
    bars: MultiProgress,
    lines: BTreeMap<String, (ServiceState, ProgressBar)>,
}

impl<'a> ServicesProgress<'a> {
    /// Shows nothing yet.
    pub fn new(ui: &'a Ui) -> Self {
        Self { ui, since: Instant::now(), bars: MultiProgress::new(), lines: BTreeMap::new() }
    }

    /// A service is in this state now.
    pub fn update(&mut self, name: &str, state: ServiceState) {
        let known = self.lines.get(name).map(|(state, _)| *state);
        if known == Some(state) {
            return;
        }
        let text = format!("{name:<16} {state} ({:.1} s)", self.since.elapsed().as_secs_f64());
        if !self.ui.live() {
            self.lines.insert(name.to_owned(), (state, ProgressBar::hidden()));
            // Steps on the way say little in a log: what counts is how it came out.
            if known.is_some() && !matches!(state, ServiceState::Waiting | ServiceState::Starting) {
                self.ui.status(format_args!("  {text}"));
            }
            return;
        }
        let (last, bar) =
            self.lines.entry(name.to_owned()).or_insert_with(|| (state, self.bars.add(ProgressBar::new_spinner())));
        *last = state;
        bar.set_message(text);
        match state {
            ServiceState::Ready | ServiceState::Completed => bar.finish(),
            ServiceState::Failed => bar.abandon(),
            _ => {
                bar.set_style(ProgressStyle::default_spinner());
                bar.enable_steady_tick(Duration::from_millis(100));
            }
        }
    }
}

impl Drop for ServicesProgress<'_> {
    fn drop(&mut self) {
        for (_, bar) in self.lines.values() {
            if !bar.is_finished() {
                bar.abandon();
            }
        }
    }
}
