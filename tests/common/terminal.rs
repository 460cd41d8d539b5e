//! A run on a terminal: a PTY of its own, as its controlling terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::process::{die_with_us, kill, show, watch_end};

/// A program on a terminal. Killed when dropped.
#[derive(Debug)]
pub struct Terminal {
    shown: String,
    pid: u32,
    master: File,
    output: mpsc::Receiver<Vec<u8>>,
    screen: Vec<u8>,
    seen: usize,
    end: mpsc::Receiver<ExitStatus>,
    deadline: Duration,
}

impl Terminal {
    /// Starts `command` on a new terminal.
    pub fn start(mut command: Command, rows: u16, cols: u16, deadline: Duration) -> Self {
        let shown = show(&command);
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).expect("there are free terminals");
        rustix::pty::grantpt(&master).expect("the terminal is ours");
        rustix::pty::unlockpt(&master).expect("the terminal is ours");
        let path = rustix::pty::ptsname(&master, Vec::new()).expect("the terminal has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = File::from(rustix::fs::open(&path, flags, Mode::empty()).expect("the terminal is ours"));
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).expect("a terminal has a size");
        let stream = || Stdio::from(slave.try_clone().expect("descriptors are left"));
        command.stdin(stream()).stdout(stream()).stderr(stream());
        die_with_us(&mut command);
        // Sound: nothing but system calls happens between fork and exec.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            })
        };
        let child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        // The command holds the terminal open, too.
        drop((command, slave));
        let master = File::from(master);
        let output = read_all(master.try_clone().expect("descriptors are left"));
        let pid = child.id();
        Self { shown, pid, master, output, screen: Vec::new(), seen: 0, end: watch_end(child), deadline }
    }

    /// Types.
    pub fn send(&mut self, keys: impl AsRef<[u8]>) {
        self.master.write_all(keys.as_ref()).expect("the terminal takes what is typed");
    }

    /// Resizes.
    pub fn resize(&self, rows: u16, cols: u16) {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.master, size).expect("a terminal has a size");
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal);
    }

    /// Waits until `text` has been written since the last call, and gives what was written up to its end.
    ///
    /// # Panics
    /// When the deadline of the invocation passes first, or the program ends.
    pub fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + self.deadline;
        loop {
            let fresh = &self.screen[self.seen..];
            if let Some(at) = fresh.windows(text.len()).position(|window| window == text.as_bytes()) {
                let found = String::from_utf8_lossy(&fresh[..at + text.len()]).into_owned();
                self.seen += at + text.len();
                return found;
            }
            match self.output.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.screen.extend(bytes),
                Err(_) => panic!("`{}` never wrote {text:?}; it wrote\n{}", self.shown, self.screen()),
            }
        }
    }

    /// Waits for the end; gives the exit code (128 and the number for a signal) and all that was written.
    ///
    /// # Panics
    /// When the deadline of the invocation passes first.
    pub fn wait(mut self) -> (i32, String) {
        let Ok(status) = self.end.recv_timeout(self.deadline) else {
            panic!("`{}` still runs after {:?}; it wrote\n{}", self.shown, self.deadline, self.screen());
        };
        // The reader ends with the last process that holds the terminal.
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_secs(1)) {
            self.screen.extend(bytes);
        }
        (status.code().unwrap_or_else(|| 128 + status.signal().expect("no code, so a signal")), self.screen())
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.end.try_recv(), Err(mpsc::TryRecvError::Empty)) {
            kill(self.pid, Signal::KILL);
        }
    }
}

/// Reads until nobody holds the terminal any more.
fn read_all(mut master: File) -> mpsc::Receiver<Vec<u8>> {
    let (tell, output) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            if tell.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    output
}
