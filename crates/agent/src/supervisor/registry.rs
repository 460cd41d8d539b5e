//! Processes that `powerdev-agent exec` registered, for signals of the host's.

use std::collections::BTreeMap;

use super::{processes, sys};

/// Processes that may be registered at a time.
const LIMIT: usize = 1024;
/// The longest token, in bytes.
const TOKEN: usize = 256;

/// Process ID and start time by token.
#[derive(Debug, Default)]
pub struct ExecRegistry(BTreeMap<String, (i32, u64)>);

impl ExecRegistry {
    /// Remembers a process under a token. An error says why not.
    pub fn add(&mut self, token: String, pid: Option<i32>) -> Result<(), String> {
        if token.is_empty() || token.len() > TOKEN {
            return Err(format!("a token has 1 to {TOKEN} bytes"));
        }
        let pid = pid.ok_or("only a process of this container can register itself")?;
        let started = processes::start_time(pid).ok_or("the process is gone already")?;
        if self.0.len() >= LIMIT {
            self.0.retain(|_, (pid, started)| processes::start_time(*pid) == Some(*started));
        }
        if self.0.len() >= LIMIT {
            return Err(format!("{LIMIT} processes are registered already"));
        }
        self.0.insert(token, (pid, started));
        Ok(())
    }

    /// SignalQueue what was registered: its process group where it leads one, as a terminal would.
    pub fn signal(&mut self, token: &str, signal: i32) -> Result<(), String> {
        let (pid, started) = *self.0.get(token).ok_or("no process is registered under this token")?;
        if processes::start_time(pid) != Some(started) {
            self.0.remove(token);
            return Err("the process has ended".into());
        }
        if !(1..=sys::LAST_SIGNAL).contains(&signal) {
            return Err(format!("{signal} is no signal"));
        }
        let group = sys::kill(-pid, signal);
        group.or_else(|_| sys::kill(pid, signal)).map_err(|error| format!("it can't be signalled: {error}"))
    }
}
