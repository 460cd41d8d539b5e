//! The environment variables of services and shells. Both get the same, so that what works in a shell works in a
//! service.
//!
//! In layers, later ones win: what the container was created with (the image's own), a few defaults where it says
//! nothing, who the user is, the project's variables, its secrets, the service's own, and the mark that tells a
//! service's processes from others.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use powerdev_protocol::paths::{AGENT_BIN, AGENT_DIR, HOME, SERVICE_VARIABLE};
use powerdev_protocol::{Service, ServiceSet};

/// The variable that holds the project's name, e.g. for a prompt.
pub const PROJECT_VARIABLE: &str = "POWERDEV_PROJECT";

/// The variable that tells which of the project's variables a process was given: a hash of them, then their names.
pub const GIVEN_VARIABLE: &str = "POWERDEV_GIVEN";

/// Where programs are looked for when the image doesn't say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A file that the host wrote for us and that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error("can't read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It doesn't hold what it should.
    #[error("can't understand {}", .path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// Reads the services from [`SERVICES_FILE`](powerdev_protocol::paths::SERVICES_FILE) or wherever they lie. They are
/// not [checked](ServiceSet::check) here.
///
/// # Errors
/// When the file isn't there or isn't a [`ServiceSet`].
pub fn read_services(path: &Path) -> Result<ServiceSet, FileError> {
    let text = std::fs::read(path).map_err(|source| FileError::Read { path: path.into(), source })?;
    serde_json::from_slice(&text).map_err(|source| FileError::Parse { path: path.into(), source })
}

/// Reads the project's secrets, likewise; none when there is no such file.
///
/// # Errors
/// When the file is there and isn't a flat object of strings.
pub fn read_secrets(path: &Path) -> Result<BTreeMap<String, String>, FileError> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|_| FileError::Parse {
            path: path.into(),
            // serde's own message may quote a value.
            source: serde::de::Error::custom("it isn't a flat JSON object of strings"),
        }),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(FileError::Read { path: path.into(), source }),
    }
}

/// The variables of a service, or of a shell when there is none, sorted by name.
pub fn compose(
    set: &ServiceSet,
    secrets: &BTreeMap<String, String>,
    service: Option<(&str, &Service)>,
) -> Vec<(OsString, OsString)> {
    let user = UserEntry::current();
    layer(std::env::vars_os(), &user, set, secrets, service)
}

/// Who the processes run as.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UserEntry {
    name: OsString,
    shell: OsString,
}

impl UserEntry {
    /// From `/etc/passwd`, without NSS, which a static executable can't use.
    fn current() -> Self {
        let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
        let uid = rustix::process::getuid().as_raw();
        let mut user = Self::parse(&passwd, uid);
        if !Path::new(&user.shell).exists() {
            let shells = ["/bin/bash", "/bin/sh"];
            user.shell = shells.into_iter().find(|shell| Path::new(shell).exists()).unwrap_or("/bin/sh").into();
        }
        user
    }

    fn parse(passwd: &[u8], uid: u32) -> Self {
        let uid = uid.to_string();
        passwd
            .split(|byte| *byte == b'\n')
            .map(|line| line.split(|byte| *byte == b':').collect::<Vec<_>>())
            .find(|fields| fields.len() == 7 && fields[2] == uid.as_bytes())
            .map(|fields| Self {
                name: OsString::from_vec(fields[0].to_vec()),
                shell: OsString::from_vec(fields[6].to_vec()),
            })
            .unwrap_or_else(|| Self { name: "dev".into(), shell: OsString::new() })
    }
}

fn layer(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    user: &UserEntry,
    set: &ServiceSet,
    secrets: &BTreeMap<String, String>,
    service: Option<(&str, &Service)>,
) -> Vec<(OsString, OsString)> {
    let mut all: BTreeMap<OsString, OsString> =
        [("LANG", "C.UTF-8"), ("PATH", DEFAULT_PATH), ("TERM", "xterm-256color")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
    all.extend(inherited.into_iter().filter(|(_, value)| !value.is_empty()));
    // Meant for PID 1 itself, should the container's creator have set it.
    all.remove(OsStr::new("NOTIFY_SOCKET"));
    all.insert("HOME".into(), HOME.into());
    all.insert("USER".into(), user.name.clone());
    all.insert("LOGNAME".into(), user.name.clone());
    all.insert("SHELL".into(), user.shell.clone());
    if !set.project.is_empty() {
        all.insert(PROJECT_VARIABLE.into(), set.project.clone().into());
    }
    let own = service.map(|(_, service)| &service.environment);
    for (name, value) in [Some(&set.environment), Some(secrets), own].into_iter().flatten().flatten() {
        if can_be_set(name, value) {
            all.insert(name.into(), value.into());
        }
    }
    all.insert(GIVEN_VARIABLE.into(), given(&of_project(set, secrets)).into());
    if let Some((name, _)) = service {
        all.insert(SERVICE_VARIABLE.into(), name.into());
    }
    all.entry("PATH".into()).and_modify(add_agent_folder);
    all.into_iter().collect()
}

/// The project's own among the variables of every shell.
pub fn of_project<'a>(set: &'a ServiceSet, secrets: &'a BTreeMap<String, String>) -> BTreeMap<&'a str, &'a str> {
    let all = set.environment.iter().chain(secrets).filter(|(name, value)| can_be_set(name, value));
    all.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// What [`GIVEN_VARIABLE`] says about them.
pub fn given(variables: &BTreeMap<&str, &str>) -> String {
    let mut hash = DefaultHasher::new();
    variables.hash(&mut hash);
    let names = variables.keys().fold(String::new(), |names, name| names + " " + name);
    format!("{:016x}{names}", hash.finish())
}

/// Puts the agent's folder last on the path, once.
fn add_agent_folder(path: &mut OsString) {
    let folder = Path::new(AGENT_BIN).parent().unwrap_or(Path::new(AGENT_DIR));
    if !std::env::split_paths(path).any(|part| part == folder) {
        path.push(":");
        path.push(folder);
    }
}

/// The names of variables that no process can be given, for people: of the project and, where there is one, a service.
pub fn unusable(set: &ServiceSet, secrets: &BTreeMap<String, String>, service: Option<&Service>) -> Vec<String> {
    let own = service.map(|service| &service.environment);
    let all = [Some(&set.environment), Some(secrets), own].into_iter().flatten().flatten();
    all.filter(|(name, value)| !can_be_set(name, value)).map(|(name, _)| name.escape_debug().to_string()).collect()
}

/// Whether the kernel can pass this on: no empty name, no `=` in it, no NUL anywhere.
fn can_be_set(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

/// Sets one variable among those that [`compose`] made. What the kernel can't pass on is left out.
pub fn set(variables: &mut Vec<(OsString, OsString)>, name: &str, value: &str) {
    if can_be_set(name, value) {
        variables.retain(|(known, _)| known != name);
        variables.push((name.into(), value.into()));
    }
}

/// Takes a variable away from what [`compose`] made.
pub fn take(variables: &mut Vec<(OsString, OsString)>, name: &str) -> Option<OsString> {
    let at = variables.iter().rposition(|(known, _)| known == name)?;
    let (_, value) = variables.remove(at);
    variables.retain(|(known, _)| known != name);
    Some(value)
}

/// A variable's value out of what [`compose`] made.
pub fn find<'a>(variables: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    let at = variables.iter().position(|(n, _)| n.as_bytes() == name.as_bytes())?;
    Some(&variables[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\nbroken\ndev:x:1000:1000::/home/dev:/usr/bin/zsh\n";

    fn user() -> UserEntry {
        UserEntry::parse(PASSWD, 1000)
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn inherited(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn get<'a>(all: &'a [(OsString, OsString)], name: &str) -> Option<&'a str> {
        find(all, name).and_then(OsStr::to_str)
    }

    #[test]
    fn the_user_comes_from_passwd() {
        assert_eq!(user(), UserEntry { name: "dev".into(), shell: "/usr/bin/zsh".into() });
        assert_eq!(UserEntry::parse(PASSWD, 0).name, "root");
        assert_eq!(UserEntry::parse(PASSWD, 4711), UserEntry { name: "dev".into(), shell: "".into() });
        assert_eq!(UserEntry::parse(b"", 0).name, "dev");
    }

    #[test]
    fn later_layers_win() {
        let set = ServiceSet {
            project: "demo".into(),
            environment: map(&[("A", "set"), ("B", "set"), ("C", "set"), ("TZ", "Europe/Zurich")]),
            ..ServiceSet::default()
        };
        let secrets = map(&[("B", "secret"), ("C", "secret")]);
        let service: Service =
            serde_json::from_str(r#"{"command":"x","environment":{"C":"own","POWERDEV_SERVICE":"other"}}"#)
                .expect("a service");
        let base = inherited(&[("A", "image"), ("NODE_OPTIONS", "image"), ("HOME", "/root"), ("HOSTNAME", "box")]);
        let all = layer(base, &user(), &set, &secrets, Some(("web", &service)));
        for (name, value) in [
            ("A", "set"),
            ("B", "secret"),
            ("C", "own"),
            ("NODE_OPTIONS", "image"),
            ("HOME", "/home/dev"),
            ("USER", "dev"),
            ("LOGNAME", "dev"),
            ("SHELL", "/usr/bin/zsh"),
            ("LANG", "C.UTF-8"),
            ("TERM", "xterm-256color"),
            ("TZ", "Europe/Zurich"),
            ("HOSTNAME", "box"),
            ("POWERDEV_PROJECT", "demo"),
            ("POWERDEV_SERVICE", "web"),
        ] {
            assert_eq!(get(&all, name), Some(value), "{name}");
        }
    }

    #[test]
    fn defaults_yield_to_the_image() {
        let base = inherited(&[("LANG", "de_CH.UTF-8"), ("TERM", "xterm"), ("PATH", "/opt/node/bin:/bin")]);
        let all = layer(base, &user(), &ServiceSet::default(), &BTreeMap::new(), None);
        assert_eq!(get(&all, "LANG"), Some("de_CH.UTF-8"));
        assert_eq!(get(&all, "TERM"), Some("xterm"));
        assert_eq!(get(&all, "PATH"), Some("/opt/node/bin:/bin:/opt/powerdev/bin"));
        assert_eq!(get(&all, SERVICE_VARIABLE), None);
        assert_eq!(get(&all, PROJECT_VARIABLE), None);
    }

    #[test]
    fn the_path_always_ends_with_the_agent_once() {
        let set = ServiceSet { environment: map(&[("PATH", "/mine")]), ..ServiceSet::default() };
        let all = layer(inherited(&[("PATH", "/bin")]), &user(), &set, &BTreeMap::new(), None);
        assert_eq!(get(&all, "PATH"), Some("/mine:/opt/powerdev/bin"));
        let again = layer(all, &user(), &ServiceSet::default(), &BTreeMap::new(), None);
        assert_eq!(get(&again, "PATH"), Some("/mine:/opt/powerdev/bin"));
        let none = layer(inherited(&[("PATH", "")]), &user(), &ServiceSet::default(), &BTreeMap::new(), None);
        assert_eq!(get(&none, "PATH"), Some(format!("{DEFAULT_PATH}:/opt/powerdev/bin").as_str()));
    }

    #[test]
    fn what_the_kernel_refuses_is_left_out() {
        let secrets = map(&[("", "x"), ("A=B", "x"), ("NUL", "a\0b"), ("FINE", "a=b c\n"), ("EMPTY", "")]);
        let all = layer(Vec::new(), &user(), &ServiceSet::default(), &secrets, None);
        assert_eq!(get(&all, "FINE"), Some("a=b c\n"));
        assert_eq!(get(&all, "EMPTY"), Some(""));
        assert!(all.iter().all(|(name, _)| !name.is_empty() && name != "A=B" && name != "NUL"));
        assert_eq!(unusable(&ServiceSet::default(), &secrets, None), ["", "A=B", "NUL"], "and told");
    }
}
