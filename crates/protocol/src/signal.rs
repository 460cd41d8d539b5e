//! Signals by Linux's numbers, where the commands run that they are for: the host's own may be others.

/// SIGHUP: the terminal is gone.
pub const HANG_UP: i32 = 1;
/// SIGINT: Ctrl-C.
pub const INTERRUPT: i32 = 2;
/// SIGQUIT: Ctrl-Backslash.
pub const QUIT: i32 = 3;
/// SIGUSR1: whatever the program makes of it.
pub const USER_1: i32 = 10;
/// SIGUSR2: whatever the program makes of it.
pub const USER_2: i32 = 12;
/// SIGPIPE: nobody reads what is written.
pub const BROKEN_PIPE: i32 = 13;
/// SIGTERM: a request to end.
pub const TERMINATE: i32 = 15;
/// SIGWINCH: the terminal has another size.
pub const RESIZE: i32 = 28;

/// Linux's number of a signal's name, with or without `SIG`.
pub fn signal_number(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// A signal's name with `SIG`, or its bare number.
pub fn signal_name(number: i32) -> String {
    match SIGNALS.iter().find(|(_, n)| *n == number) {
        Some((name, _)) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

/// Every signal's name, without `SIG`.
#[cfg(feature = "schema")]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SIGNALS.iter().map(|(name, _)| *name)
}

/// Linux on x86-64 and arm64, which agree.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name() {
        assert_eq!(signal_number("SIGTERM"), Some(15));
        assert_eq!(signal_number("KILL"), Some(9));
        assert_eq!(signal_name(9), "SIGKILL");
        assert_eq!(signal_name(40), "signal 40");
    }
}
