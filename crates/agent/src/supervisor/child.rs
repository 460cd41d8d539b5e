//! The child's side of [`super::spawn`]: between fork and exec. Nothing here may allocate, lock or panic; it is system
//! calls on what was prepared before. Whatever looks at a file is done here and not by the supervisor: a file system
//! that hangs must hang nobody else.
//!
//! A service with a terminal gets two processes. The first leads the terminal's session and does nothing else for as
//! long as anything of the service lives; the second, a child of the supervisor as well, becomes the service. Were
//! the service itself the session's leader, its end would hang the terminal up, and with it (HUP) all of its
//! children that are still at their orderly end.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use super::sys::LAST_SIGNAL;

/// Bytes of a report: what it is about, and a number.
pub const REPORT: usize = 5;

/// What a report is about. Its number is the error, or for `Process` the service's process ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LaunchStep {
    /// Session, terminal, descriptors.
    Setup = 1,
    /// The working directory.
    Directory = 2,
    Exec = 3,
    /// No failure: the process behind a terminal's session leader.
    Process = 4,
    /// The program is there; the interpreter or loader that it names isn't.
    Loader = 5,
    /// The shell is there; the program that it is to run isn't.
    Needed = 6,
}

/// What the child is to become. The pointers are those of NUL-terminated strings and lists of them.
#[derive(Debug)]
pub struct Orders {
    /// The paths at which the program may lie. The first that can be run is.
    pub programs: *const *const libc::c_char,
    /// The paths at which another program may lie without which there is no use in running it. Empty: there is none.
    pub needed: *const *const libc::c_char,
    pub arguments: *const *const libc::c_char,
    pub environment: *const *const libc::c_char,
    /// Its working directory.
    pub directory: *const libc::c_char,
    /// Where it runs if that directory can't be entered; null: nowhere.
    pub otherwise: *const libc::c_char,
    /// Open descriptors, all above 2.
    pub stdio: [RawFd; 3],
    /// Those are a terminal.
    pub terminal: bool,
    /// A further descriptor and its number there.
    pub extra: Option<(RawFd, RawFd)>,
    /// Where to report to; closed by exec.
    pub report: RawFd,
    /// The highest descriptor that is open.
    pub last: RawFd,
}

/// Becomes what the orders say, or reports why not and ends.
///
/// # Safety
/// Only in the child of a fork of a process with one thread, with valid pointers.
pub unsafe fn run(orders: &Orders) -> ! {
    // SAFETY: the caller's promise is passed on; the rest are system calls on integers.
    unsafe {
        let entered = if orders.terminal { enter_terminal(orders) } else { check(libc::setsid()) };
        let failed = match entered.and_then(|()| prepare(orders)) {
            Ok(()) if is_missing(orders.needed) => LaunchStep::Needed,
            Ok(()) => execute(orders),
            Err(step) => step,
        };
        report(orders.report, failed, *libc::__errno_location());
        libc::_exit(127)
    }
}

/// Runs the first program that can be run, as `execvp` would. Returns why none can, with errno set.
unsafe fn execute(orders: &Orders) -> LaunchStep {
    // SAFETY: the caller's promise: lists of NUL-terminated strings that end with a null pointer.
    unsafe {
        let mut kept = libc::ENOENT;
        let mut at = orders.programs;
        while !(*at).is_null() {
            libc::execve(*at, orders.arguments, orders.environment);
            let error = *libc::__errno_location();
            match error {
                libc::ENOENT if libc::access(*at, libc::F_OK) == 0 => {
                    *libc::__errno_location() = error;
                    return LaunchStep::Loader;
                }
                libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ESTALE | libc::ETIMEDOUT => {}
                libc::EACCES => kept = error,
                _ => return LaunchStep::Exec,
            }
            at = at.add(1);
        }
        *libc::__errno_location() = kept;
        LaunchStep::Exec
    }
}

/// Whether both are there and one file, links followed.
fn is_same_file(one: &CStr, other: &CStr) -> bool {
    let identity = |path: &CStr| {
        let mut stat = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the path is NUL-terminated, and what was written is read only where the call says that it was.
        unsafe {
            let stat = (libc::stat(path.as_ptr(), stat.as_mut_ptr()) == 0).then(|| stat.assume_init());
            stat.map(|stat| (stat.st_dev, stat.st_ino))
        }
    };
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Whether paths are given and nothing lies at any of them. A busybox that is the shell has programs of its own.
unsafe fn is_missing(mut at: *const *const libc::c_char) -> bool {
    // SAFETY: the caller's promise: a list of NUL-terminated strings that ends with a null pointer.
    unsafe {
        if (*at).is_null() || is_same_file(c"/bin/sh", c"/bin/busybox") {
            return false;
        }
        while !(*at).is_null() {
            if libc::access(*at, libc::F_OK) == 0 {
                return false;
            }
            at = at.add(1);
        }
        true
    }
}

/// Becomes the leader of the terminal's session. Returns in a second process only, which is in the foreground.
unsafe fn enter_terminal(orders: &Orders) -> Result<(), LaunchStep> {
    let terminal = orders.stdio[0];
    // SAFETY: system calls on integers; the clone is a fork but for the new process's parent.
    unsafe {
        check(libc::setsid())?;
        check(libc::ioctl(terminal, libc::TIOCSCTTY, 0))?;
        let flags = libc::CLONE_PARENT | libc::SIGCHLD;
        match libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0usize, 0usize, 0usize, 0usize) {
            0 => {
                // Told by itself and first of all: whoever reaps it must know of it, however soon it ends.
                report(orders.report, LaunchStep::Process, libc::getpid());
                check(libc::setpgid(0, 0))?;
                // Every signal is still blocked, or this would stop it.
                check(libc::tcsetpgrp(terminal, libc::getpid()))
            }
            pid if pid > 0 => lead(orders.last),
            _ => Err(LaunchStep::Setup),
        }
    }
}

/// Leads the session until it is killed. All signals are blocked, and no descriptor is kept from being closed.
unsafe fn lead(last: RawFd) -> ! {
    // SAFETY: system calls on integers; the name is NUL-terminated and short enough.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"terminal".as_ptr());
        // Nobody else would: a supervisor that isn't PID 1 doesn't take all else along.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        for fd in 0..=last {
            libc::close(fd);
        }
        loop {
            libc::pause();
        }
    }
}

/// Descriptors, signals, working directory.
unsafe fn prepare(orders: &Orders) -> Result<(), LaunchStep> {
    // SAFETY: system calls on integers and on what the caller promised; the set is initialised before it is read.
    unsafe {
        for (number, fd) in (0..).zip(orders.stdio) {
            check(libc::dup2(fd, number))?;
        }
        match orders.extra {
            Some((from, to)) if from == to => check(libc::fcntl(from, libc::F_SETFD, 0))?,
            Some((from, to)) => check(libc::dup2(from, to))?,
            None => {}
        }
        // Not through libc, which keeps 32 and 33 to itself. All zero is the kernel's default action.
        let default = [0u64; 4];
        for signal in 1..=LAST_SIGNAL {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8usize);
        }
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        check(libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()))?;
        let enter = |directory: *const libc::c_char| !directory.is_null() && libc::chdir(directory) == 0;
        let entered = enter(orders.directory) || enter(orders.otherwise);
        if entered { Ok(()) } else { Err(LaunchStep::Directory) }
    }
}

unsafe fn report(to: RawFd, step: LaunchStep, number: i32) {
    let [a, b, c, d] = number.to_ne_bytes();
    let message: [u8; REPORT] = [step as u8, a, b, c, d];
    // SAFETY: writes the bytes of a local array.
    unsafe { libc::write(to, message.as_ptr().cast(), message.len()) };
}

fn check(result: i32) -> Result<(), LaunchStep> {
    if result < 0 { Err(LaunchStep::Setup) } else { Ok(()) }
}
