//! What is known of a build that runs: its steps, their last lines, and, if it fails, what the user needs to know.

use std::collections::{HashMap, VecDeque};

use powerdev_protocol::ExitCode;

use super::dockerfile::Dockerfile;
use crate::engine::{BuildEvent, BuildStep, Hidden, StepState};
use crate::failure::Failure;
use crate::reporter::{Outcome, Progress, Reporter, Work};

/// Lines of a failed step that are shown.
const TAIL: usize = 20;

/// A build that runs.
#[derive(Debug)]
pub struct BuildProgress<'a> {
    reporter: &'a dyn Reporter,
    /// Steps that came from the build cache.
    cached: usize,
    steps: HashMap<String, StepProgress>,
    hidden: Hidden,
    /// The image's ID, once it is there.
    pub image: Option<String>,
}

#[derive(Debug)]
struct StepProgress {
    name: String,
    state: StepState,
    tail: Tail,
}

impl<'a> BuildProgress<'a> {
    /// Nothing is known yet. What is `hidden` shows nowhere, even if a step prints it.
    pub fn new(reporter: &'a dyn Reporter, hidden: Hidden) -> Self {
        Self { reporter, cached: 0, steps: HashMap::new(), hidden, image: None }
    }

    /// How many steps came from the build cache.
    pub fn cached(&self) -> usize {
        self.cached
    }

    /// Takes an event in. True when the build has failed.
    pub fn take(&mut self, event: &BuildEvent) -> bool {
        match event {
            BuildEvent::Step(step) => self.step(step),
            BuildEvent::Output { step, bytes } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.tail.push(&String::from_utf8_lossy(bytes));
                }
                self.say_last(step);
            }
            BuildEvent::Transfer { step, what, current, total } => {
                let line = match total {
                    0 => what.clone(),
                    total => format!("{what} {}%", current.saturating_mul(100) / total),
                };
                self.reporter.report(Progress::Output { task: step, line: &line });
            }
            BuildEvent::Image(id) => self.image = Some(id.clone()),
            BuildEvent::Failed(_) => return true,
        }
        false
    }

    fn step(&mut self, told: &BuildStep) {
        let step = self.steps.entry(told.id.clone()).or_insert_with(|| StepProgress {
            name: told.name.clone(),
            state: StepState::Waiting,
            tail: Tail::default(),
        });
        // BuildKit tells the end of a step more than once.
        if step.state == told.state || !matches!(step.state, StepState::Waiting | StepState::Running) {
            return;
        }
        step.state = told.state.clone();
        // What BuildKit does for itself is of no interest unless it goes on for long, and then it shows by its name.
        let internal = told.name.starts_with("[internal]");
        match &step.state {
            StepState::Waiting => {}
            StepState::Running if internal || told.name.starts_with("copy /context") => {}
            StepState::Running => {
                self.reporter.report(Progress::Began { task: &told.id, name: &told.name, work: Work::Step });
            }
            StepState::Cached if told.name.starts_with('[') && !internal => {
                self.cached += 1;
                end(self.reporter, told, Outcome::Cached);
            }
            StepState::Done(_) if internal || told.name.starts_with("copy /context") => {}
            StepState::Done(time) => end(self.reporter, told, Outcome::Done(*time)),
            StepState::Failed(why) if is_cancelled(why) => end(self.reporter, told, Outcome::Cancelled),
            StepState::Failed(_) => end(self.reporter, told, Outcome::Failed),
            StepState::Cached => {}
        }
    }

    fn say_last(&self, id: &str) {
        if let Some(line) = self.steps.get(id).and_then(|step| step.tail.last()) {
            self.reporter.report(Progress::Output { task: id, line: &self.hidden.redact(line) });
        }
    }

    /// Why the build failed: the step, its last lines, the Dockerfile's line.
    pub fn failure(&self, why: &str, dockerfile: &Dockerfile, path: &str) -> Failure {
        let failed =
            self.steps.values().find(|step| matches!(&step.state, StepState::Failed(why) if !is_cancelled(why)));
        let mut message = format!("can't build the image: {}", short_reason(&self.hidden.redact(why)));
        let mut output = String::new();
        if let Some(step) = failed {
            match dockerfile.place_of(&step.name) {
                Some(place) => message.push_str(&format!("\n  {path}:{}: {}", place.line, shortened(&place.text))),
                None => message.push_str(&format!("\n  in {}", step.name)),
            }
            for line in step.tail.lines() {
                output.push_str("\n  | ");
                output.push_str(&self.hidden.redact(line));
            }
        }
        message.push_str(&output);
        let hint = hint(why, &output);
        Failure { hint: hint.map(str::to_owned), ..Failure::new(ExitCode::BuildFailed, message) }
    }
}

/// A build that is called off leaves no step behind that seems to run.
impl Drop for BuildProgress<'_> {
    fn drop(&mut self) {
        for (id, step) in self.steps.iter().filter(|(_, step)| step.state == StepState::Running) {
            self.reporter.report(Progress::Ended { task: id, name: &step.name, outcome: Outcome::Cancelled });
        }
    }
}

fn end(reporter: &dyn Reporter, step: &BuildStep, outcome: Outcome) {
    reporter.report(Progress::Ended { task: &step.id, name: &step.name, outcome });
}

/// Others are called off when one fails.
fn is_cancelled(why: &str) -> bool {
    why.contains("context canceled")
}

/// BuildKit repeats the whole command before it says what happened.
fn short_reason(why: &str) -> &str {
    let why = why.strip_prefix("failed to solve: ").unwrap_or(why);
    let command = if why.starts_with("executor failed running [") {
        "]: "
    } else if why.starts_with("process \"") {
        "successfully: "
    } else {
        return why;
    };
    why.rsplit_once(command).map_or(why, |(_, reason)| reason)
}

/// A long command is recognised by its beginning.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 160;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

fn hint(why: &str, output: &str) -> Option<&'static str> {
    let says = |parts: &[&str]| parts.iter().any(|part| output.contains(part) || why.contains(part));
    if says(&["no space left on device", "No space left on device"]) {
        return Some("make room: `powerdev cleanup --dry-run` shows what could go");
    }
    if says(&["no basic auth credentials", "pull access denied", "authorization failed", "401 Unauthorized"]) {
        return Some(
            "log in where the image comes from: `docker login REGISTRY`; `powerdev doctor` tells which logins are used",
        );
    }
    if says(&["certificate verify failed", "self-signed certificate", "SELF_SIGNED_CERT", "unable to get local issuer"])
    {
        return Some("a proxy seems to re-sign HTTPS: name its CA certificate with CA_BUNDLE=/path/to/ca.pem");
    }
    if says(&["Temporary failure resolving", "Could not resolve", "EAI_AGAIN", "ENOTFOUND", "Network is unreachable"]) {
        return Some("a build needs the network: check the connection, or set HTTPS_PROXY if there is a proxy");
    }
    None
}

/// The last lines of an output.
#[derive(Debug, Default)]
struct Tail {
    whole: VecDeque<String>,
    /// A line that isn't finished.
    rest: String,
}

impl Tail {
    fn push(&mut self, text: &str) {
        self.rest.push_str(text);
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            self.keep(&line);
        }
    }

    fn keep(&mut self, line: &str) {
        // A progress bar draws over itself: what was drawn last counts.
        let line = line.trim_end().rsplit('\r').next().unwrap_or_default();
        if line.trim().is_empty() {
            return;
        }
        if self.whole.len() == TAIL {
            self.whole.pop_front();
        }
        self.whole.push_back(line.to_owned());
    }

    fn last(&self) -> Option<&str> {
        self.whole.back().map(String::as_str)
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        let rest = self.rest.trim();
        self.whole.iter().map(String::as_str).chain((!rest.is_empty()).then_some(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was told of steps, a line each.
    #[derive(Debug, Default)]
    struct Told(std::cell::RefCell<Vec<String>>);

    impl Reporter for Told {
        fn report(&self, progress: Progress<'_>) {
            self.0.borrow_mut().push(match progress {
                Progress::Began { name, .. } => format!("began {name}"),
                Progress::Ended { name, outcome, .. } => format!("{outcome:?} {name}"),
                _ => return,
            });
        }
    }

    fn step(name: &str, state: StepState) -> BuildEvent {
        BuildEvent::Step(BuildStep { id: name.into(), name: name.into(), state })
    }

    #[test]
    fn a_failure_names_the_step_its_line_and_its_last_words() {
        let told = Told::default();
        let mut progress = BuildProgress::new(&told, Hidden::default());
        let run = "[core 2/2] RUN make && false";
        progress.take(&step(run, StepState::Running));
        progress.take(&step("[other 2/2] RUN x", StepState::Running));
        for n in 0..30 {
            progress.take(&BuildEvent::Output { step: run.into(), bytes: format!("line {n}\nha").into() });
            progress.take(&BuildEvent::Output { step: run.into(), bytes: "lf\r\n".into() });
        }
        progress.take(&BuildEvent::Output { step: run.into(), bytes: "unfinished".into() });
        progress.take(&step("[other 2/2] RUN x", StepState::Failed("context canceled".into())));
        let why = "executor failed running [/bin/sh -c make && false]: exit code: 2";
        progress.take(&step(run, StepState::Failed(why.into())));
        assert!(progress.take(&BuildEvent::Failed(why.into())));

        let dockerfile = Dockerfile::parse("FROM debian AS core\n\nRUN make && \\\n  false\n");
        let failure = progress.failure(why, &dockerfile, "Dockerfile");
        assert_eq!(failure.code, ExitCode::BuildFailed);
        let lines: Vec<&str> = failure.message.lines().collect();
        assert_eq!(lines[..2], ["can't build the image: exit code: 2", "  Dockerfile:3: RUN make && false"]);
        assert_eq!(lines.len(), 2 + TAIL + 1);
        assert_eq!(lines[lines.len() - 2..], ["  | half", "  | unfinished"]);
    }

    #[test]
    fn what_can_be_done_is_told() {
        let failure = |why: &str| {
            BuildProgress::new(&Told::default(), Hidden::default()).failure(why, &Dockerfile::default(), "Dockerfile")
        };
        assert!(failure("write /x: no space left on device").hint.is_some_and(|hint| hint.contains("cleanup")));
        assert!(failure("SELF_SIGNED_CERT_IN_CHAIN").hint.is_some_and(|hint| hint.contains("CA_BUNDLE")));
        assert_eq!(failure("failed to solve: nope: not found").message, "can't build the image: nope: not found");
    }

    #[test]
    fn a_newer_engines_words_are_shortened_too() {
        let why = "failed to solve: process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3";
        assert_eq!(short_reason(why), "exit code: 3");
        assert_eq!(
            short_reason("executor failed running [sh -c a [1]: b]: network bridge not found"),
            "network bridge not found"
        );
    }
}
