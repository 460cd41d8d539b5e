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
