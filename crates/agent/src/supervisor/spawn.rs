//! Makes processes. Everything that needs memory is prepared before the fork; [`super::child`] is what runs after it.
//!
//! Making one doesn't wait for it: a program on a dead server may hang in its exec for as long as it likes. How far it
//! has come is read from a pipe that the loop watches.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::io::Errno;

use super::child::{self, LaunchStep, Orders, REPORT};
use super::{shell, sys};

/// A process to be made.
#[derive(Debug)]
pub struct LaunchPlan<'a> {
    /// Program and arguments.
    pub command: &'a [String],
    /// The whole environment.
    pub environment: &'a [(OsString, OsString)],
    pub place: &'a WorkingDirectory,
    /// What become its descriptors 0, 1 and 2.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Descriptor 0 is a terminal, to become its controlling one.
    pub terminal: bool,
    /// A further descriptor, and the number that it is to have.
    pub extra: Option<(BorrowedFd<'a>, RawFd)>,
}

/// Where a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkingDirectory {
    pub directory: PathBuf,
    /// What will do where that can't be entered.
    pub otherwise: Option<PathBuf>,
}

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No such program in PATH.
    #[error("no program `{0}`: it is not in the PATH of its environment")]
    NotFound(String),
    /// The kernel takes no environment as large as this.
    #[error("its environment is too large: {0}, its largest variable, has {1} of {2} bytes")]
    TooLarge(String, usize, usize),
    /// The command or the environment holds a NUL byte.
    #[error("its command or environment holds a NUL byte")]
    Nul,
    /// No process, pipe or memory to be had.
    #[error("no process could be made: {0}")]
    Fork(#[source] io::Error),
    /// Its directory can't be entered.
    #[error("its directory {0} can't be entered: {1}")]
    Directory(PathBuf, #[source] io::Error),
    /// The program can't be run.
    #[error("{0} can't be run: {1}{2}")]
    Exec(String, #[source] io::Error, &'static str),
    /// Something between fork and exec failed.
    #[error("its process could not be set up: {0}")]
    Setup(#[source] io::Error),
    /// Somebody killed it between fork and exec.
    #[error("its process was killed before its program ran")]
    Killed,
}

impl SpawnError {
    /// Whether it failed for want of what may be there again soon: processes, memory, descriptors.
    pub fn is_passing(&self) -> bool {
        let error = match self {
            Self::NotFound(_) | Self::TooLarge(..) | Self::Nul | Self::Killed => return false,
            Self::Fork(error) | Self::Directory(_, error) | Self::Exec(_, error, _) | Self::Setup(error) => error,
        };
        matches!(Errno::from_io_error(error), Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE))
    }

    /// The exit code that a shell would give.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound(_) => 127,
            Self::Exec(_, error, _) if error.kind() == io::ErrorKind::NotFound => 127,
            _ => 126,
        }
    }
}

/// What the child needs, as the kernel wants it.
struct Prepared {
    programs: Vec<CString>,
    /// Where a program may lie that a shell is told to run.
    needed: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    directory: CString,
    otherwise: Option<CString>,
}

/// How far a launch has come.
#[derive(Debug)]
pub enum LaunchProgress {
    /// Its program doesn't run yet.
    Pending,
    /// Its program runs, or has ended since.
    Running,
    /// It never will. What was made of it ends by itself, but for a session's leader.
    Failed(SpawnError),
}

/// A process on its way to its program.
#[derive(Debug)]
pub struct Launch {
    /// Readable when there is news.
    report: OwnedFd,
    process: Option<i32>,
    session: Option<i32>,
    /// For the words of a failure.
    program: String,
    /// What the shell is to run, where that is known.
    needed: Option<String>,
    /// The largest variable, and how many bytes it and all of them have.
    largest: (String, usize, usize),
    directory: PathBuf,
}

impl Launch {
    /// Makes the process, and returns without waiting for its program.
    pub fn start(plan: &LaunchPlan<'_>) -> Result<Self, SpawnError> {
        let prepared = prepare(plan)?;
        let pointers = |strings: &[CString]| {
            strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<*const libc::c_char>>()
        };
        let [programs, needed, arguments, environment] =
            [&prepared.programs, &prepared.needed, &prepared.arguments, &prepared.environment]
                .map(|strings| pointers(strings));
        let (report, report_to) = error_pipe(plan).map_err(|error| SpawnError::Fork(error.into()))?;
        let orders = Orders {
            programs: programs.as_ptr(),
            needed: needed.as_ptr(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            directory: prepared.directory.as_ptr(),
            otherwise: prepared.otherwise.as_ref().map_or(std::ptr::null(), |path| path.as_ptr()),
            stdio: plan.stdio.map(|fd| fd.as_raw_fd()),
            terminal: plan.terminal,
            extra: plan.extra.map(|(from, to)| (from.as_raw_fd(), to)),
            report: report_to.as_raw_fd(),
            last: sys::last_descriptor(),
        };
        // SAFETY: this process has one thread, so no lock is held across the fork. The pointers are those of strings
        // that live until the end of this function.
        let child = unsafe {
            match libc::fork() {
                0 => child::run(&orders),
                pid => pid,
            }
        };
        if child < 0 {
            return Err(SpawnError::Fork(io::Error::last_os_error()));
        }
        let (process, session) = if plan.terminal { (None, Some(child)) } else { (Some(child), None) };
        let program = plan.command.first().cloned().unwrap_or_default();
        let needed = shell::program(plan.command).map(str::to_owned);
        let directory = plan.place.directory.clone();
        Ok(Self { report, process, session, program, needed, largest: largest(plan.environment), directory })
    }

    /// The process itself, once it is known. It leads a process group, and a session unless something else does.
    pub fn process(&self) -> Option<i32> {
        self.process
    }

    /// What leads its terminal's session, to be killed when nothing else of it is left.
    pub fn session(&self) -> Option<i32> {
        self.session
    }

    /// What leads the session was reaped: its number may soon be another's.
    pub fn session_ended(&mut self) {
        self.session = None;
    }

    /// Reads the news.
    pub fn read(&mut self) -> LaunchProgress {
        loop {
            let mut message = [0; REPORT];
            match rustix::io::read(&self.report, &mut message) {
                Ok(REPORT) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return LaunchProgress::Pending,
                // Exec closed the last copy of the pipe's other end, or a death did.
                Ok(_) | Err(_) if self.process.is_some() => return LaunchProgress::Running,
                Ok(_) | Err(_) => return LaunchProgress::Failed(SpawnError::Killed),
            }
            let [step, number @ ..] = message;
            let number = i32::from_ne_bytes(number);
            if step == LaunchStep::Process as u8 {
                self.process = Some(number);
            } else {
                return LaunchProgress::Failed(self.explain(step, number));
            }
        }
    }

    /// Gives it up: nothing of it is left running.
    pub fn kill(&self) {
        for pid in self.process.into_iter().chain(self.session) {
            sys::kill(pid, libc::SIGKILL).ok(); // Gone already is as good.
        }
    }

    fn explain(&self, step: u8, errno: i32) -> SpawnError {
        let error = io::Error::from_raw_os_error(errno);
        if step == LaunchStep::Directory as u8 {
            return SpawnError::Directory(self.directory.clone(), error);
        }
        if step == LaunchStep::Setup as u8 {
            return SpawnError::Setup(error);
        }
        if let (true, Some(needed)) = (step == LaunchStep::Needed as u8, &self.needed) {
            return SpawnError::NotFound(needed.clone());
        }
        if errno == libc::E2BIG {
            let (name, bytes, all) = self.largest.clone();
            return SpawnError::TooLarge(name, bytes, all);
        }
        if step == LaunchStep::Exec as u8 && errno == libc::ENOENT && !self.program.contains('/') {
            return SpawnError::NotFound(self.program.clone());
        }
        let hint = match errno {
            libc::ENOEXEC => " (a script needs `#!` and its interpreter in the first line)",
            _ if step == LaunchStep::Loader as u8 => " (the interpreter or loader that it names is missing)",
            _ => "",
        };
        SpawnError::Exec(self.program.clone(), error, hint)
    }
}

impl AsFd for Launch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

fn prepare(plan: &LaunchPlan<'_>) -> Result<Prepared, SpawnError> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| SpawnError::Nul);
    let mut environment = Vec::with_capacity(plan.environment.len());
    for (name, value) in plan.environment {
        environment.push(text(&[name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    let paths = |name| -> Result<Vec<CString>, SpawnError> {
        candidates(plan, name).iter().map(|path| text(path.as_os_str().as_bytes())).collect()
    };
    Ok(Prepared {
        programs: paths(plan.command.first().map_or("", String::as_str))?,
        needed: shell::program(plan.command).map_or(Ok(Vec::new()), paths)?,
        arguments: plan.command.iter().map(|word| text(word.as_bytes())).collect::<Result<_, _>>()?,
        environment,
        directory: text(plan.place.directory.as_os_str().as_bytes())?,
        otherwise: plan.place.otherwise.as_ref().map(|path| text(path.as_os_str().as_bytes())).transpose()?,
    })
}

/// Where the program may lie: in the process's own PATH, as `execvp` would have it in the caller's. Not looked at
/// here; what is relative is so to the process's directory.
fn candidates(plan: &LaunchPlan<'_>, name: &str) -> Vec<PathBuf> {
    if name.contains('/') {
        return vec![name.into()];
    }
    let path = plan.environment.iter().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_os_str());
    let path = path.unwrap_or(OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    std::env::split_paths(path).map(|folder| folder.join(name)).collect()
}

/// The name of the largest variable, its bytes, those of all.
fn largest(environment: &[(OsString, OsString)]) -> (String, usize, usize) {
    let bytes = |(name, value): &(OsString, OsString)| name.len() + value.len() + 2;
    let name = environment.iter().max_by_key(|variable| bytes(variable));
    let all = environment.iter().map(bytes).sum();
    name.map_or_else(Default::default, |largest| (largest.0.to_string_lossy().into_owned(), bytes(largest), all))
}

/// The pipe on which the child tells what failed; exec closes it. Its end in the child lies above all numbers that
/// the child's own descriptors get.
fn error_pipe(plan: &LaunchPlan<'_>) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    let above = plan.extra.map_or(3, |(_, number)| number.saturating_add(1).max(3));
    let write = rustix::io::fcntl_dupfd_cloexec(&write, above)?;
    Ok((read, write))
}

/// `/dev/null`, for who needs no input.
pub fn null() -> Result<OwnedFd, SpawnError> {
    use rustix::fs::{Mode, OFlags};
    let fd = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    fd.map_err(|error| SpawnError::Setup(error.into()))
}

/// Opens `/dev/null` in place of each of 0, 1 and 2 that is closed, so that no other file lands there.
pub fn fill_stdio() {
    while let Ok(fd) = null() {
        if fd.as_fd().as_raw_fd() > 2 {
            break;
        }
        std::mem::forget(fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_launch(command: &[&str], directory: &str) -> Result<(), SpawnError> {
        let null = null().expect("/dev/null");
        let command: Vec<String> = command.iter().map(ToString::to_string).collect();
        let environment = [("PATH".into(), "/no/such/folder:/etc/passwd:/usr/bin:/bin".into())];
        let mut launch = Launch::start(&LaunchPlan {
            command: &command,
            environment: &environment,
            place: &WorkingDirectory { directory: directory.into(), otherwise: None },
            stdio: [null.as_fd(); 3],
            terminal: false,
            extra: None,
        })?;
        let mut news = [rustix::event::PollFd::new(&launch, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut news, None).expect("it ends or runs");
        match launch.read() {
            LaunchProgress::Failed(error) => Err(error),
            LaunchProgress::Running => Ok(()),
            LaunchProgress::Pending => panic!("there was news"),
        }
    }

    #[test]
    fn what_cannot_be_run_is_told_with_its_reason() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/no/such/interpreter\n").expect("writes");
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
        let script = script.to_str().expect("UTF-8");
        for (command, directory, code, part) in [
            (&["no-such-program"][..], "/", 127, "no program `no-such-program`"),
            (&["/bin/sh", "-c", "exec no-such-program --port 3"], "/", 127, "no program `no-such-program`"),
            (&["/no/such/program"], "/", 127, "/no/such/program can't be run: No such file"),
            (&["/etc/passwd"], "/", 126, "Permission denied"),
            (&[script], "/", 127, "interpreter or loader that it names is missing"),
            (&["true"], "/no/such/folder", 126, "its directory /no/such/folder can't be entered"),
            (&["/bin/a\0b"], "/", 126, "NUL"),
        ] {
            let error = try_launch(command, directory).expect_err(part);
            assert!(error.to_string().contains(part), "{command:?}: {error}");
            assert_eq!(error.exit_code(), code, "{error}");
            assert!(!error.is_passing());
        }
    }

    #[test]
    fn a_program_is_found_in_the_path_and_in_the_directory() {
        try_launch(&["true"], "/").expect("it is in one of the folders");
        try_launch(&["./bin/true"], "/usr").expect("relative to the directory");
        try_launch(&["/bin/sh", "-c", "true x"], "/").expect("what a shell is to run is there");
        try_launch(&["/bin/sh", "-c", "no-such-program || true"], "/").expect("the shell may do without");
    }

    #[test]
    fn an_environment_that_is_too_large_is_told_by_its_largest_variable() {
        let null = null().expect("/dev/null");
        let environment = [("PATH".into(), "/bin".into()), ("TOKEN".into(), "x".repeat(200_000).into())];
        let mut launch = Launch::start(&LaunchPlan {
            command: &["true".into()],
            environment: &environment,
            place: &WorkingDirectory { directory: "/".into(), otherwise: None },
            stdio: [null.as_fd(); 3],
            terminal: false,
            extra: None,
        })
        .expect("it is the exec that fails");
        let mut news = [rustix::event::PollFd::new(&launch, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut news, None).expect("it ends");
        let LaunchProgress::Failed(error) = launch.read() else { panic!("the kernel takes it") };
        assert!(error.to_string().contains("TOKEN, its largest variable, has 200007 of 200017 bytes"), "{error}");
    }
}
