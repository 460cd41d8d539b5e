//! Runs of the real binary, each with a deadline, its output captured.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::terminal::Terminal;

/// Long enough for everything on tiny images on a busy machine; what builds an image asks for more.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a run inherits from the tests' own environment: the way to the Engine and the network.
const INHERITED: &[&str] = &[
    "PATH",
    "DOCKER_HOST",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "TMPDIR",
    "LLVM_PROFILE_FILE",
    "RUST_BACKTRACE",
];

/// One run to be.
#[derive(Debug)]
pub struct Invocation {
    command: Command,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
}

impl Invocation {
    /// The real binary in `dir`, with `home` as its home.
    pub fn powerdev(dir: &Path, home: &Path) -> Self {
        Self::program(env!("CARGO_BIN_EXE_powerdev"), dir).env("HOME", home)
    }

    /// Any program in `dir`, in an equally clean environment.
    pub fn program(program: impl AsRef<OsStr>, dir: &Path) -> Self {
        let mut command = Command::new(program);
        command.env_clear().current_dir(dir).env("TERM", "dumb").env("LANG", "C.UTF-8");
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Self { command, stdin: None, deadline: DEADLINE }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes a variable away.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs it elsewhere.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives it this on standard input, then end of file.
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(input.into());
        self
    }

    /// Sets how long it may take: a minute, if not said.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When the deadline passes first: it is killed, and what it said until then is told.
    pub fn run(mut self) -> Output {
        let input = self.stdin.take();
        let deadline = self.deadline;
        self.command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut running = self.start();
        if let Some(input) = input {
            let mut stdin = running.stdin.take().expect("standard input is piped");
            // A program that doesn't read its input to the end is no failure of ours.
            std::thread::spawn(move || stdin.write_all(&input).ok());
        }
        running.wait(deadline)
    }

    /// Starts it and lets it go on. Its standard input is a pipe, [`Running::stdin`].
    pub fn spawn(mut self) -> Running {
        self.command.stdin(Stdio::piped());
        self.start()
    }

    /// Starts it on a terminal of this size.
    pub fn terminal(mut self, rows: u16, cols: u16) -> Terminal {
        self.command.env("TERM", "xterm-256color");
        Terminal::start(self.command, rows, cols, self.deadline)
    }

    /// As a line that a shell runs as this would, on the terminal that it has.
    pub fn shell_line(&self) -> String {
        let quote = |word: &OsStr| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"));
        let dir = self.command.get_current_dir().expect("each has a folder");
        let variables = self.command.get_envs().filter(|(name, _)| *name != "TERM");
        let variables = variables.filter_map(|(name, value)| Some(format!("{}={}", name.display(), quote(value?))));
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args()).map(quote);
        let all: Vec<String> = variables.chain(words).collect();
        format!("cd {} && env -i TERM=$TERM {}", quote(dir.as_os_str()), all.join(" "))
    }

    fn start(mut self) -> Running {
        let shown = show(&self.command);
        die_with_us(&mut self.command);
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        let stdin = child.stdin.take();
        let out = Capture::of(child.stdout.take().expect("standard output is piped"));
        let err = Capture::of(child.stderr.take().expect("standard error is piped"));
        let pid = child.id();
        Running { shown, pid, stdin, out, err, seen: 0, end: watch_end(child), ended: None, deadline: self.deadline }
    }
}

/// The command line, for messages.
pub(super) fn show(command: &Command) -> String {
    let mut shown = command.get_program().to_string_lossy().rsplit('/').next().unwrap_or_default().to_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}

/// Has the kernel kill the child when the thread that starts it is gone, however that came.
pub(super) fn die_with_us(command: &mut Command) {
    // Sound: nothing but one system call happens between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)
        })
    };
}

/// Waits for the child on a thread of its own, so that waiting can have a deadline.
pub(super) fn watch_end(mut child: Child) -> mpsc::Receiver<ExitStatus> {
    let (tell, end) = mpsc::channel();
    std::thread::spawn(move || {
        let status = child.wait().expect("a child can be waited for");
        // Nobody may wait any more.
        tell.send(status).ok();
    });
    end
}

/// What a stream has said so far, filled by a thread of its own.
#[derive(Debug, Clone, Default)]
struct Capture(Arc<(Mutex<Captured>, Condvar)>);

#[derive(Debug, Default)]
struct Captured {
    bytes: Vec<u8>,
    closed: bool,
}

impl Capture {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let capture = Self::default();
        let filled = capture.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let count = stream.read(&mut buffer).unwrap_or(0);
                let (captured, changed) = &*filled.0;
                let mut captured = captured.lock().expect("no reader panics");
                captured.bytes.extend_from_slice(&buffer[..count]);
                captured.closed = count == 0;
                changed.notify_all();
                if captured.closed {
                    return;
                }
            }
        });
        capture
    }

    /// What was said, once the stream is closed or `end` has come.
    fn all(&self, end: Instant) -> Vec<u8> {
        let (captured, changed) = &*self.0;
        let captured = captured.lock().expect("no reader panics");
        let left = end.saturating_duration_since(Instant::now());
        let (captured, _) = changed.wait_timeout_while(captured, left, |c| !c.closed).expect("no reader panics");
        captured.bytes.clone()
    }

    /// The next whole line after `from`, and where the one after it starts.
    fn line(&self, from: usize, end: Instant) -> Option<(String, usize)> {
        let (captured, changed) = &*self.0;
        let captured = captured.lock().expect("no reader panics");
        let left = end.saturating_duration_since(Instant::now());
        let missing = |c: &mut Captured| !c.closed && !c.bytes[from..].contains(&b'\n');
        let (captured, _) = changed.wait_timeout_while(captured, left, missing).expect("no reader panics");
        let rest = &captured.bytes[from..];
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        Some((String::from_utf8_lossy(&rest[..length]).into_owned(), from + length + 1))
    }
}

/// A run that goes on. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    shown: String,
    pid: u32,
    /// Its standard input, unless taken or closed.
    pub stdin: Option<ChildStdin>,
    out: Capture,
    err: Capture,
    seen: usize,
    end: mpsc::Receiver<ExitStatus>,
    ended: Option<ExitStatus>,
    deadline: Duration,
}

impl Running {
    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal);
    }

    /// The next line of standard output that `wanted` takes; those before are passed over.
    ///
    /// # Panics
    /// When the deadline of the invocation passes first, or standard output ends.
    pub fn wait_line(&mut self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
        let end = Instant::now() + self.deadline;
        while let Some((line, next)) = self.out.line(self.seen, end) {
            self.seen = next;
            if wanted(&line) {
                return line;
            }
        }
        panic!("`{}` never said {what}\n{}", self.shown, self.said());
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When `deadline` passes first: it is killed, and what it said until then is told.
    pub fn wait(mut self, deadline: Duration) -> Output {
        let end = Instant::now() + deadline;
        let Ok(status) = self.end.recv_timeout(deadline) else {
            panic!("`{}` still runs after {deadline:?}\n{}", self.shown, self.said());
        };
        self.ended = Some(status);
        // A grandchild may keep the streams open; what it says after the end is not waited for.
        let end = end.max(Instant::now() + Duration::from_secs(5));
        Output {
            code: status.code().unwrap_or_else(|| 128 + status.signal().expect("no code, so a signal")),
            stdout: self.out.all(end),
            stderr: self.err.all(end),
            shown: std::mem::take(&mut self.shown),
        }
    }

    fn said(&self) -> String {
        let now = Instant::now();
        let [out, err] = [&self.out, &self.err].map(|c| String::from_utf8_lossy(&c.all(now)).into_owned());
        format!("--- stdout\n{out}\n--- stderr\n{err}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() && self.end.try_recv().is_err() {
            kill(self.pid, Signal::KILL);
        }
    }
}

/// Sends a signal to a child of ours. One that is gone is fine.
pub(super) fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process ID isn't 0");
    rustix::process::kill_process(pid, signal).ok();
}

/// How a run ended and what it said.
#[derive(Debug)]
pub struct Output {
    /// Exit code; 128 and the number for a signal.
    pub code: i32,
    /// Standard output, byte for byte.
    pub stdout: Vec<u8>,
    /// Standard error, byte for byte.
    pub stderr: Vec<u8>,
    shown: String,
}

impl Output {
    /// Demands exit code 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Demands this exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "`{}` ended with {}, not {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.shown,
            self.code,
            String::from_utf8_lossy(&self.stdout),
            self.err()
        );
        self
    }

    /// Standard output as text.
    #[track_caller]
    pub fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|_| panic!("`{}`: standard output is no text", self.shown))
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The one JSON document on standard output: one line, an object with `schema_version`.
    #[track_caller]
    pub fn json(&self) -> Value {
        let mut documents = self.json_lines();
        assert_eq!(documents.len(), 1, "`{}` printed other than one document:\n{}", self.shown, self.out());
        documents.remove(0)
    }

    /// Every line of standard output as a JSON document, an object with `schema_version`.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| -> Value {
            let document: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("`{}` printed what is no JSON: {error}: {line}", self.shown));
            assert!(document["schema_version"].is_u64(), "`{}`: no schema_version: {line}", self.shown);
            document
        };
        self.out().lines().map(parse).collect()
    }
}
