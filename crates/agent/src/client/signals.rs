//! SignalQueue, for a command that waits for other things as well.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};

/// SignalQueue as a file descriptor that can be polled.
#[derive(Debug)]
pub struct SignalQueue(File);

impl SignalQueue {
    /// Blocks these signals and collects them instead.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn collect(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: the set is initialised by sigemptyset before it is read; both calls only read it afterwards, and
        // the descriptor that signalfd returns is owned by nobody else.
        unsafe {
            let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            let mut set = set.assume_init();
            for signal in signals {
                libc::sigaddset(&mut set, *signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self(File::from_raw_fd(fd))),
            }
        }
    }

    /// The next signal that came, if any.
    pub fn next(&mut self) -> Option<i32> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        self.0.read_exact(&mut record).ok()?;
        // The record begins with the signal's number.
        Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]]))
    }
}

impl AsFd for SignalQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
