//! The clients of PID 1's control socket: one function a subcommand.

use std::ffi::OsString;
use std::process::ExitCode;

/// `health`: asks for the environment's health.
pub fn health(_arguments: Vec<OsString>) -> ExitCode {
    ExitCode::FAILURE
}

/// `ctl`: asks for status, events, or an action on a service.
pub fn ctl(_arguments: Vec<OsString>) -> ExitCode {
    ExitCode::FAILURE
}

/// `attach`: joins a service's terminal.
pub fn attach(_arguments: Vec<OsString>) -> ExitCode {
    ExitCode::FAILURE
}

/// `exec`: becomes a command in the services' environment.
pub fn exec(_arguments: Vec<OsString>) -> ExitCode {
    ExitCode::FAILURE
}
