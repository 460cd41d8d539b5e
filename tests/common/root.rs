//! What only root may do, by sudo where the tests run as a user.

use std::process::Command;

/// A command that root runs. As a user it needs a sudo that asks nothing.
pub fn command(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

/// Runs a line of shell as root, to its end.
///
/// # Panics
/// If it fails.
pub fn shell(line: &str) {
    let status = command("sh").args(["-c", line]).status().expect("sh, and for a user sudo, is installed");
    assert!(status.success(), "as root, {line}: {status}");
}
