//! The terminal of this process.

use std::io;

use powerdev_protocol::control::TerminalSize;
use rustix::termios::{self, OptionalActions, Termios};

/// Whether standard input is a terminal.
pub fn has_terminal() -> bool {
    termios::isatty(rustix::stdio::stdin())
}

/// The size of the terminal on standard output, or else of the one on standard input. None when there is none, or it
/// doesn't know.
pub fn size() -> Option<TerminalSize> {
    let of = |fd| {
        let size = termios::tcgetwinsize(fd).ok()?;
        (size.ws_row > 0 && size.ws_col > 0).then_some(TerminalSize { rows: size.ws_row, cols: size.ws_col })
    };
    of(rustix::stdio::stdout()).or_else(|| of(rustix::stdio::stdin()))
}

/// The terminal of standard input in raw mode: every key is passed on, Ctrl-C too. Put back when dropped, on a panic as
/// well.
///
/// Who holds one must also catch the signals that would end the process without dropping it.
#[derive(Debug)]
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches it over.
    ///
    /// # Errors
    /// When it isn't a terminal.
    pub fn enter() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        let before = termios::tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to put back.
        termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before).ok();
    }
}
