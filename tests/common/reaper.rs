//! A second process that removes what a run left, whatever ended the run: the last test, Ctrl-C, a crash, `kill -9`.
//!
//! It is this very test binary again, told to run [`reap`] alone. It holds the reading end of a pipe whose writing end
//! we hold: the kernel closes that with us. In a session of its own, no Ctrl-C reaches it.

use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use super::engine::{self, Leftover};
use super::project::{run_dir, run_id};

/// Set for the reaper alone: the run to clean up after.
const VARIABLE: &str = "POWERDEV_TEST_REAP";

/// Starts the reaper of this run, once.
pub fn start() -> &'static Mutex<Child> {
    static REAPER: OnceLock<Mutex<Child>> = OnceLock::new();
    REAPER.get_or_init(|| {
        assert!(std::env::var_os(VARIABLE).is_none(), "the reaper makes nothing");
        let mut command = Command::new(std::env::current_exe().expect("we know our own path"));
        command
            .args(["common::reaper::reap", "--exact", "--nocapture"])
            .env(VARIABLE, run_id())
            .env("POWERDEV_TEST_REAP_DIR", run_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        // Sound: nothing but one system call happens between fork and exec.
        unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
        Mutex::new(command.spawn().expect("our own binary can be started"))
    })
}

/// Also removes this image's tag when the run has ended. For images whose tag doesn't hold the run's name.
pub fn image(tag: &str) {
    restore_image(tag, None);
}

/// Gives a tag back to the image that had it when the run has ended, or removes it if none had.
pub fn restore_image(tag: &str, before: Option<&str>) {
    let mut reaper = start().lock().expect("nobody panics while talking to the reaper");
    let pipe = reaper.stdin.as_mut().expect("standard input is piped");
    writeln!(pipe, "{tag} {}", before.unwrap_or_default()).expect("the reaper listens");
}

/// When this process was started as a reaper: waits for the end of the run, cleans up after it, gives true. For the
/// main function of what has no test harness.
pub fn reap_if_told() -> bool {
    let Ok(run) = std::env::var(VARIABLE) else {
        return false;
    };
    let images: Vec<String> = std::io::stdin().lock().lines().map_while(Result::ok).collect();
    engine::purge(&run);
    for (tag, before) in images.iter().filter_map(|line| line.split_once(' ')) {
        match before {
            "" => Leftover::Image(tag.to_owned()).remove(),
            id => engine::tag(id, tag),
        }
    }
    // What was under way when the run ended may have come into being since.
    engine::purge(&run);
    std::fs::remove_dir_all(std::env::var_os("POWERDEV_TEST_REAP_DIR").expect("given with the run")).ok();
    true
}

/// The reaper itself; in a usual run, a test that it starts.
#[test]
fn reap() {
    if !reap_if_told() {
        drop(start().lock().expect("nobody panics while talking to the reaper"));
    }
}
