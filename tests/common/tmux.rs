//! A terminal with a screen: a tmux server of our own, so that a test sees what a user sees.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::process::Invocation;
use super::{run_id, wait};

const SOON: Duration = Duration::from_secs(30);

/// A tmux server with one terminal. Killed when dropped.
#[derive(Debug)]
pub struct Tmux {
    socket: String,
}

impl Tmux {
    /// A shell on a new terminal, on which `before` was written and this was called.
    pub fn start(invocation: &Invocation, cols: u16, rows: u16) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let socket = format!("{}-tmux-{}", run_id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let tmux = Self { socket };
        let (cols, rows) = (cols.to_string(), rows.to_string());
        tmux.call(&["-f", "/dev/null", "new-session", "-d", "-x", &cols, "-y", &rows, "sh"]);
        tmux.keys(&["echo before", "Enter"]);
        tmux.run(invocation);
        tmux
    }

    /// Types a command line that calls this.
    pub fn run(&self, invocation: &Invocation) {
        self.keys(&["-l", &invocation.shell_line()]);
        self.keys(&["Enter"]);
    }

    /// Types, as `tmux send-keys` takes it.
    pub fn keys(&self, keys: &[&str]) {
        self.call(&[&["send-keys"], keys].concat());
    }

    /// Waits until the screen shows this, and gives all that it shows.
    pub fn expect(&self, text: &str) -> String {
        self.expect_within(text, SOON)
    }

    /// Likewise, for what may take longer.
    pub fn expect_within(&self, text: &str, patience: Duration) -> String {
        wait::until(&format!("the screen shows {text:?}"), patience, || {
            let screen = String::from_utf8_lossy(&self.call(&["capture-pane", "-p"]).stdout).into_owned();
            screen.contains(text).then_some(screen)
        })
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.env_remove("TMUX").env_remove("TMUX_PANE").args(["-L", &self.socket]).args(arguments);
        command.output().expect("tmux is installed: `make test` does that")
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.call(&["kill-server"]);
    }
}
