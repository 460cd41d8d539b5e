//! Makes processes. Everything that needs memory is prepared before the fork; [`super::child`] is what runs after it.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::child::{self, Orders, REPORT, Step};
use super::sys;

/// How long the exec itself may take before it is taken to have worked: a folder on a server that hangs must not
/// hang PID 1.
const EXEC_LIMIT: Duration = Duration::from_secs(2);

/// A process to be made.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Program and arguments.
    pub command: &'a [String],
    /// The whole environment.
    pub environment: &'a [(OsString, OsString)],
    /// Working directory.
    pub directory: &'a Path,
    /// What become its descriptors 0, 1 and 2.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Descriptor 0 is a terminal, to become its controlling one.
    pub terminal: bool,
    /// A further descriptor, and the number that it is to have.
    pub extra: Option<(BorrowedFd<'a>, RawFd)>,
}

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No such program in PATH.
    #[error("`{0}` is not in the PATH of its environment")]
    NotFound(String),
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
}

impl SpawnError {
    /// Whether it failed for want of what may be there again soon: processes, memory, descriptors.
    pub fn is_passing(&self) -> bool {
        let error = match self {
            Self::NotFound(_) | Self::Nul => return false,
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
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    directory: CString,
}

/// A process that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spawned {
    /// Its ID. It leads a process group, and a session unless something else leads that.
    pub pid: i32,
    /// The process that leads its terminal's session, to be killed when nothing else of it is left.
    pub session: Option<i32>,
}

/// Makes the process, and returns once its program runs.
pub fn spawn(plan: &Plan<'_>) -> Result<Spawned, SpawnError> {
    let prepared = prepare(plan)?;
    let pointers = |strings: &[CString]| {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<*const libc::c_char>>()
    };
    let (arguments, environment) = (pointers(&prepared.arguments), pointers(&prepared.environment));
    let (report, report_to) = error_pipe(plan).map_err(|error| SpawnError::Fork(error.into()))?;
    let orders = Orders {
        program: prepared.program.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        directory: prepared.directory.as_ptr(),
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
    drop(report_to);
    let (second, failure) = read_reports(&report);
    let spawned = match second {
        Some(pid) => Spawned { pid, session: Some(child) },
        None => Spawned { pid: child, session: None },
    };
    let failure = match failure {
        Some((step, errno)) => explain(step, errno, plan, &prepared),
        // A leader that hasn't said yet whom it leads: no service can be matched to its process.
        None if plan.terminal && second.is_none() => SpawnError::Setup(io::ErrorKind::TimedOut.into()),
        None => return Ok(spawned),
    };
    [Some(spawned.pid), spawned.session].into_iter().flatten().for_each(sys::kill_and_reap);
    Err(failure)
}

fn prepare(plan: &Plan<'_>) -> Result<Prepared, SpawnError> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| SpawnError::Nul);
    let program = find_program(plan)?;
    let mut environment = Vec::with_capacity(plan.environment.len());
    for (name, value) in plan.environment {
        environment.push(text(&[name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    Ok(Prepared {
        program: text(program.as_os_str().as_bytes())?,
        arguments: plan.command.iter().map(|word| text(word.as_bytes())).collect::<Result<_, _>>()?,
        environment,
        directory: text(plan.directory.as_os_str().as_bytes())?,
    })
}

/// As `execvp` would, but in the process's own PATH.
fn find_program(plan: &Plan<'_>) -> Result<PathBuf, SpawnError> {
    let name = plan.command.first().map_or("", String::as_str);
    if name.contains('/') {
        return Ok(name.into());
    }
    let path = plan.environment.iter().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_os_str());
    let path = path.unwrap_or(OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    let is_program =
        |candidate: &PathBuf| candidate.is_file() && rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok();
    std::env::split_paths(path)
        .map(|folder| plan.directory.join(folder).join(name))
        .find(is_program)
        .ok_or_else(|| SpawnError::NotFound(name.into()))
}

/// The pipe on which the child tells what failed; exec closes it. Its end in the child lies above all numbers that
/// the child's own descriptors get.
fn error_pipe(plan: &Plan<'_>) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let above = plan.extra.map_or(3, |(_, number)| number.saturating_add(1).max(3));
    let write = rustix::io::fcntl_dupfd_cloexec(&write, above)?;
    Ok((read, write))
}

/// Reads what the child reports until its program runs: the process behind a session leader, and a failure.
fn read_reports(report: &OwnedFd) -> (Option<i32>, Option<(u8, i32)>) {
    let (mut process, mut failure) = (None, None);
    let end = Instant::now() + EXEC_LIMIT;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut wanted = [PollFd::new(report, PollFlags::IN)];
        let mut message = [0; REPORT];
        if rustix::event::poll(&mut wanted, Some(&left)) != Ok(1)
            || rustix::io::read(report, &mut message) != Ok(REPORT)
        {
            return (process, failure);
        }
        let [step, number @ ..] = message;
        let number = i32::from_ne_bytes(number);
        if step == Step::Process as u8 {
            process = Some(number);
        } else {
            failure = Some((step, number));
        }
    }
}

fn explain(step: u8, errno: i32, plan: &Plan<'_>, prepared: &Prepared) -> SpawnError {
    let error = io::Error::from_raw_os_error(errno);
    if step == Step::Directory as u8 {
        return SpawnError::Directory(plan.directory.into(), error);
    }
    if step == Step::Setup as u8 {
        return SpawnError::Setup(error);
    }
    let program = PathBuf::from(OsString::from_vec(prepared.program.as_bytes().to_vec()));
    let hint = match errno {
        libc::ENOEXEC => " (a script needs `#!` and its interpreter in the first line)",
        libc::ENOENT if plan.directory.join(&program).exists() => {
            " (the interpreter or loader that it names is missing)"
        }
        _ => "",
    };
    SpawnError::Exec(program.display().to_string(), error, hint)
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

    fn try_spawn(command: &[&str], directory: &str) -> Result<Spawned, SpawnError> {
        let null = null().expect("/dev/null");
        let command: Vec<String> = command.iter().map(ToString::to_string).collect();
        let environment = [("PATH".into(), "/usr/bin:/bin".into())];
        spawn(&Plan {
            command: &command,
            environment: &environment,
            directory: Path::new(directory),
            stdio: [null.as_fd(); 3],
            terminal: false,
            extra: None,
        })
    }

    #[test]
    fn what_cannot_be_run_is_told_with_its_reason() {
        let script = tempfile::tempdir().expect("a temporary folder");
        let script = script.path().join("script");
        std::fs::write(&script, "#!/no/such/interpreter\n").expect("writes");
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
        let script = script.to_str().expect("UTF-8");
        for (command, directory, code, part) in [
            (&["no-such-program"][..], "/", 127, "`no-such-program` is not in the PATH"),
            (&["/no/such/program"], "/", 127, "/no/such/program can't be run: No such file"),
            (&["/etc/passwd"], "/", 126, "Permission denied"),
            (&[script], "/", 127, "interpreter or loader that it names is missing"),
            (&["true"], "/no/such/folder", 126, "its directory /no/such/folder can't be entered"),
            (&["/bin/a\0b"], "/", 126, "NUL"),
        ] {
            let error = try_spawn(command, directory).expect_err(part);
            assert!(error.to_string().contains(part), "{command:?}: {error}");
            assert_eq!(error.exit_code(), code, "{error}");
            assert!(!error.is_passing());
        }
    }
}
