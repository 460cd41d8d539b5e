//! How a process ended, in numbers and in words.

use powerdev_protocol::LastExit;
use powerdev_protocol::signal::signal_name;
use rustix::process::WaitStatus;

use super::spawn::SpawnError;

/// Of a process that was reaped. `oom`: the kernel's out-of-memory killer was at work.
pub fn of_status(status: WaitStatus, oom: bool, at_ms: u64) -> LastExit {
    let (code, signal) = (status.exit_status(), status.terminating_signal());
    let oom = oom && signal == Some(libc::SIGKILL);
    let reason = match (code, signal) {
        (Some(127), _) => "exited with 127: a program that it runs isn't there".into(),
        (Some(126), _) => "exited with 126: a program that it runs can't be run".into(),
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) if oom => format!("killed by {} (out of memory)", signal_name(signal)),
        (None, Some(signal)) => format!("killed by {}", signal_name(signal)),
        (None, None) => "ended".into(),
    };
    LastExit { code, signal, oom, at_ms, reason }
}

/// Of a process that could not be made.
pub fn of_failure(error: &SpawnError, at_ms: u64) -> LastExit {
    LastExit { code: Some(error.exit_code()), signal: None, oom: false, at_ms, reason: error.to_string() }
}

/// Of a service that wasn't tried, since one that it depends on failed.
pub fn of_dependency(dependency: &str, at_ms: u64) -> LastExit {
    let reason = format!("`{dependency}`, which it depends on, failed");
    LastExit { code: None, signal: None, oom: false, at_ms, reason }
}

/// The code that PID 1 exits with after this one, as a shell would tell it. Never 0: it is that of a failure.
pub fn exit_code(exit: Option<&LastExit>) -> u8 {
    let code = match exit.map(|exit| (exit.code, exit.signal)) {
        Some((Some(code), _)) => code,
        Some((None, Some(signal))) => 128 + signal,
        _ => 1,
    };
    u8::try_from(code).ok().filter(|code| *code != 0).unwrap_or(1)
}
