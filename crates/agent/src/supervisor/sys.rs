//! The system calls that rustix has no safe wrapper for. Every `unsafe` of the supervisor but fork and exec is here.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The highest signal number of Linux.
pub const LAST_SIGNAL: i32 = 64;

/// The highest number of an open descriptor.
pub fn last_descriptor() -> i32 {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max().unwrap_or(1024)
}

/// Nobody may attach a debugger to this process from now on, nor read its memory, variables and descriptors, though it
/// runs as `dev` does. It itself still may. What is started from it is a process like any other: exec sees to that.
pub fn close_to_debuggers() {
    // SAFETY: this prctl takes integers only. With this one it has no way to fail.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// Keeps what this process was given beside 0, 1 and 2 from its children.
pub fn keep_descriptors() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    for fd in open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter(|fd| *fd > 2) {
        // SAFETY: sets a flag of a descriptor, and fails on one that isn't open.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Has large buffers returned to the kernel when they are dropped, whatever was allocated meanwhile: by itself the
/// allocator keeps what is like the largest that it has seen.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator's.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024)
    };
}

/// Blocks every signal that can be blocked and returns a descriptor that they are read from. From now on no signal
/// but KILL and STOP can end this process, nor a fault that isn't its own.
pub fn take_signals() -> io::Result<OwnedFd> {
    // Not through libc: some versions keep 32 and 33 to themselves and leave them as they were, which is deadly.
    let all = u64::MAX;
    let size = size_of_val(&all);
    // SAFETY: system calls that read a set of the kernel's size and write nothing.
    let fd = unsafe {
        if libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, std::ptr::null::<u64>(), size)
            != 0
        {
            return Err(io::Error::last_os_error());
        }
        libc::syscall(libc::SYS_signalfd4, -1, &raw const all, size, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The next pending signal's number, if there is one.
pub fn next_signal(signals: &OwnedFd) -> Option<i32> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is `size` bytes long, and any bytes make a valid signalfd_siginfo.
    unsafe {
        let n = libc::read(signals.as_raw_fd(), info.as_mut_ptr().cast(), size);
        (n == size as isize).then(|| info.assume_init().ssi_signo as i32)
    }
}

/// Sends a signal to a process, or with a negative `pid` to a process group.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two integers and touches no memory.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Orphans below this process become its children, as they would of PID 1.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: this prctl takes integers only.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The process that connected to a Unix socket. None where it is outside of this PID namespace.
pub fn peer(socket: &OwnedFd) -> Option<i32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    let place = (&raw mut credentials).cast();
    // SAFETY: the kernel writes `size` bytes at most to `credentials`, which is that large.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &mut size) };
    (result == 0 && credentials.pid > 0).then_some(credentials.pid)
}
