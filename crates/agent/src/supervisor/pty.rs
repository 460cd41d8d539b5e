//! Pseudo-terminals.

use std::os::fd::{AsFd, OwnedFd};

use powerdev_protocol::control::TerminalSize;
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// What a terminal measures until somebody attaches.
pub const DEFAULT_SIZE: TerminalSize = TerminalSize { rows: 40, cols: 120 };

/// A new terminal: the master (non-blocking) and the side that a process gets.
pub fn open(size: TerminalSize) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    resize(&master, size);
    Ok((master, slave))
}

/// Sets a terminal's size; its foreground processes get WINCH if it changed.
pub fn resize(master: impl AsFd, size: TerminalSize) {
    let size = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(master, size).ok(); // A terminal always takes a size.
}
