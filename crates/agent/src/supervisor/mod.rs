//! PID 1: starts the services, reaps every child, restarts what dies, answers for it all, and stops in order.

use std::ffi::OsString;
use std::process::ExitCode;

/// `init`: runs until told to stop.
pub fn run(_arguments: Vec<OsString>) -> ExitCode {
    ExitCode::FAILURE
}
