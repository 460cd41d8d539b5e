//! `exec`: becomes a command, or a login shell, with the project's environment and secrets.
//!
//! The host starts it through an Engine exec, so that no secret has to travel through the Engine's API, where
//! `docker inspect` would show it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use lexopt::ValueExt as _;
use powerdev_protocol::{Request, paths};

use super::{ClientError, Connection};
use crate::environment::{self, FileError};

/// Registering is a courtesy: an agent that is slower than this doesn't keep the command waiting.
const DEADLINE: Duration = Duration::from_millis(300);

/// Shells' convention: there is no such program.
const NOT_FOUND: u8 = 127;
/// Shells' convention: it is there and can't be run.
const NOT_RUNNABLE: u8 = 126;

#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    token: Option<String>,
    directory: Option<PathBuf>,
    variables: Vec<(OsString, OsString)>,
    command: Vec<OsString>,
}

/// Returns only when the command can't be run.
pub fn run(arguments: lexopt::Parser) -> Result<ExitCode, ClientError> {
    let arguments = parse(arguments)?;
    let services = environment::read_services(Path::new(paths::SERVICES_FILE))?;
    let secrets = secrets()?;
    let mut variables = environment::compose(&services, &secrets, None);
    variables.extend(arguments.variables);
    let begin = environment::take(&mut variables, paths::BEGIN_VARIABLE);
    enter(arguments.directory.as_deref(), begin.as_deref().map(Path::new))?;
    if let Some(token) = arguments.token {
        // Without it only the passing on of signals is lost.
        Connection::open(DEADLINE).and_then(|mut agent| agent.ask(&Request::Register { token })).ok();
    }
    let command = if arguments.command.is_empty() { login_shell(&variables) } else { arguments.command };
    let error = Command::new(&command[0]).args(&command[1..]).env_clear().envs(variables.iter().cloned()).exec();
    Err(not_run(&command[0], &variables, &error))
}

/// The project's secrets. Another user than the services', root without its powers among them, goes without.
fn secrets() -> Result<BTreeMap<String, String>, ClientError> {
    match environment::read_secrets(Path::new(paths::SECRETS_FILE)) {
        Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            let line = "powerdev-agent: this user can't read the project's secrets: going on without them";
            writeln!(io::stderr(), "{line}").ok(); // The command matters more than who hears of it.
            Ok(BTreeMap::new())
        }
        other => Ok(other?),
    }
}

/// The first word that is no option of ours begins the command; what follows is the command's, whatever it looks like.
fn parse(mut parser: lexopt::Parser) -> Result<Arguments, ClientError> {
    let mut arguments = Arguments::default();
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("token") => arguments.token = Some(parser.value()?.string()?),
            lexopt::Arg::Long("directory") => arguments.directory = Some(parser.value()?.into()),
            lexopt::Arg::Long("env") => arguments.variables.push(assignment(&parser.value()?)?),
            lexopt::Arg::Value(program) => {
                arguments.command.push(program);
                arguments.command.extend(parser.raw_args()?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(arguments)
}

fn assignment(variable: &OsStr) -> Result<(OsString, OsString), ClientError> {
    let bytes = variable.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if at > 0 => Ok((OsStr::from_bytes(&bytes[..at]).into(), OsStr::from_bytes(&bytes[at + 1..]).into())),
        _ => Err(ClientError::Usage(format!("--env needs NAME=VALUE in place of {}", variable.display()))),
    }
}

/// Goes where the command is to run. Without a wish: to `begin`, if it can be entered; else where the Engine put us, which
/// is the image's working directory; home if that is the root.
fn enter(directory: Option<&Path>, begin: Option<&Path>) -> Result<(), ClientError> {
    if directory.is_none() && begin.is_some_and(|begin| std::env::set_current_dir(begin).is_ok()) {
        return Ok(());
    }
    let wished = directory.map(Path::to_path_buf);
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let home = Path::new(paths::HOME);
    let target = wished.or_else(|| (here == Path::new("/") && home.is_dir()).then(|| home.into()));
    let Some(target) = target else { return Ok(()) };
    std::env::set_current_dir(&target).map_err(|error| ClientError::NotRun {
        program: "the command".into(),
        reason: format!("can't enter {}: {}", target.display(), reason(&error)),
        code: NOT_RUNNABLE,
    })
}

fn login_shell(variables: &[(OsString, OsString)]) -> Vec<OsString> {
    let shell = environment::find(variables, "SHELL").unwrap_or(OsStr::new("/bin/sh"));
    vec![shell.into(), "-l".into()]
}

fn not_run(program: &OsStr, variables: &[(OsString, OsString)], error: &io::Error) -> ClientError {
    let program_text = program.display().to_string();
    let (code, reason) = match error.kind() {
        io::ErrorKind::NotFound if is_on_path(program, variables) => {
            (NOT_FOUND, "the interpreter or loader that it asks for isn't there".into())
        }
        io::ErrorKind::NotFound => (NOT_FOUND, "there is no such program".into()),
        _ => (NOT_RUNNABLE, reason(error)),
    };
    ClientError::NotRun { program: program_text, reason, code }
}

/// Whether the program is there as a file: then what is missing is what it needs.
fn is_on_path(program: &OsStr, variables: &[(OsString, OsString)]) -> bool {
    if program.as_bytes().contains(&b'/') {
        return Path::new(program).exists();
    }
    let path = environment::find(variables, "PATH").unwrap_or_default();
    std::env::split_paths(path).any(|folder| folder.join(program).is_file())
}

/// The system's words for an error, without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    plain.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(list: &[&str]) -> Result<Arguments, ClientError> {
        parse(lexopt::Parser::from_args(list))
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let arguments = parsed(&["--token", "t", "--directory", "/w", "--env", "TERM=x=y", "--", "ls", "--token", "q"]);
        let expected = Arguments {
            token: Some("t".into()),
            directory: Some("/w".into()),
            variables: vec![("TERM".into(), "x=y".into())],
            command: vec!["ls".into(), "--token".into(), "q".into()],
        };
        assert_eq!(arguments.expect("right"), expected);
        assert_eq!(parsed(&["ls", "-l"]).expect("right").command, ["ls", "-l"]);
        assert_eq!(parsed(&["--", "--odd"]).expect("right").command, ["--odd"]);
        assert_eq!(parsed(&[]).expect("right"), Arguments::default());
    }

    #[test]
    fn unknown_options_and_bad_assignments_are_refused() {
        assert!(parsed(&["--bogus", "ls"]).is_err());
        assert!(parsed(&["--env", "=x"]).is_err());
        assert!(parsed(&["--env", "NAME"]).is_err());
        assert!(parsed(&["--directory"]).is_err());
    }

    #[test]
    fn failures_have_the_shells_codes() {
        let path = vec![("PATH".into(), "/bin:/usr/bin".into())];
        let failed = |program: &str, kind: io::ErrorKind| not_run(OsStr::new(program), &path, &kind.into());
        let cases = [
            ("no-such-program", io::ErrorKind::NotFound, 127, "no such program"),
            ("sh", io::ErrorKind::NotFound, 127, "interpreter"),
            ("/etc/passwd", io::ErrorKind::PermissionDenied, 126, "permission denied"),
        ];
        for (program, kind, expected, part) in cases {
            let error = failed(program, kind);
            assert!(error.to_string().contains(part), "{error}");
            assert!(matches!(error, ClientError::NotRun { code, .. } if code == expected), "{error:?}");
        }
    }
}
