//! Where the Engine answers, found as the docker CLI finds it: `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context
//! of `~/.docker/config.json`, the default socket; and where that one isn't there or isn't ours, a rootless one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::docker_config;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Where an Engine answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// As the docker CLI writes it: `unix:///var/run/docker.sock`, `tcp://build:2376`, `ssh://me@build`.
    pub url: String,
    /// Who said so: `DOCKER_HOST`, `context build`, `default socket`, `rootless socket`.
    pub origin: String,
    /// It answers at a Unix socket: containers can mount folders of this machine. Whatever is reached otherwise counts
    /// as elsewhere: nobody can tell a TCP port of this machine from a tunnel's end.
    pub local: bool,
    pub(super) address: Address,
}

/// An endpoint's URL, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// A socket on this machine.
    Unix(PathBuf),
    /// TCP, with TLS or without.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        port: u16,
        tls: Option<TlsFiles>,
    },
    /// A shell account on the Engine's machine.
    Ssh {
        /// `user@host` or `host`, for ssh's command line.
        destination: String,
        port: Option<u16>,
        /// The Engine's socket there, if not the default one.
        socket: Option<String>,
    },
}

/// How to do TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    /// Trusted besides nothing else; None: what this machine trusts.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether the server must show that it is who it is.
    pub verify: bool,
}

/// Why no endpoint could be made of what the user gave.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A URL that isn't one.
    #[error("{origin} is `{url}`, which is no Engine's address")]
    Url {
        /// Who said so.
        origin: String,
        /// What.
        url: String,
    },
    /// A context that isn't there.
    #[error("there is no docker context named `{name}` ({origin})")]
    NoSuchContext {
        /// The name.
        name: String,
        /// Who asked for it.
        origin: String,
    },
    /// A file of the docker CLI that can't be read.
    #[error("can't read {file}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of the docker CLI that makes no sense.
    #[error("{file} makes no sense: {reason}")]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

impl EndpointError {
    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Url { .. } => "give unix:///path, tcp://host:port or ssh://user@host",
            Self::NoSuchContext { .. } => {
                "`docker context ls` lists them; DOCKER_CONTEXT=default is the Engine on this machine"
            }
            Self::Unreadable { .. } | Self::Malformed { .. } => {
                "mend or remove that file, or point DOCKER_HOST at an Engine"
            }
        }
    }
}

impl Endpoint {
    /// Looks around.
    ///
    /// # Errors
    /// When the variables, the docker CLI's configuration or the context make no sense.
    pub fn find() -> Result<Self, EndpointError> {
        Surroundings::here().endpoint()
    }

    /// An address as the docker CLI writes it, without TLS; `origin` tells who gave it.
    ///
    /// # Errors
    /// When it is no address.
    pub fn parse(url: &str, origin: &str) -> Result<Self, EndpointError> {
        Self::with_tls(url, origin, None)
    }

    /// What `ssh` is to be told for a shell on the Engine's machine, as far as the address tells: `me@build`, or
    /// `-p 2222 me@build`. None on this machine, and at the end of what may be a tunnel.
    pub fn ssh(&self) -> Option<String> {
        match &self.address {
            Address::Unix(_) => None,
            Address::Tcp { host, .. } => {
                let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
                (!here).then(|| host.clone())
            }
            Address::Ssh { destination, port: Some(port), .. } => Some(format!("-p {port} {destination}")),
            Address::Ssh { destination, .. } => Some(destination.clone()),
        }
    }

    fn with_tls(url: &str, origin: &str, tls: Option<TlsFiles>) -> Result<Self, EndpointError> {
        let address =
            Address::parse(url, tls).ok_or_else(|| EndpointError::Url { origin: origin.into(), url: url.into() })?;
        let local = matches!(address, Address::Unix(_));
        Ok(Self { url: url.to_owned(), origin: origin.to_owned(), local, address })
    }
}

impl Address {
    fn parse(url: &str, tls: Option<TlsFiles>) -> Option<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("tcp", url));
        match scheme {
            "unix" => rest.starts_with('/').then(|| Self::Unix(rest.into())),
            "tcp" | "http" | "https" => {
                let tls = match scheme {
                    "https" => Some(tls.unwrap_or(TlsFiles { verify: true, ..TlsFiles::default() })),
                    _ => tls,
                };
                let authority = rest.split('/').next().unwrap_or_default();
                let (host, port) = host_and_port(authority)?;
                let port = port.unwrap_or(if tls.is_some() { 2376 } else { 2375 });
                let host = if host.is_empty() { "localhost" } else { host };
                Some(Self::Tcp { host: host.to_owned(), port, tls })
            }
            "ssh" => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let (user, machine) = match authority.rsplit_once('@') {
                    Some((user, machine)) => (Some(user), machine),
                    None => (None, authority),
                };
                let (host, port) = host_and_port(machine)?;
                // A leading dash would be an option of ssh.
                if host.is_empty() || host.starts_with('-') || user.is_some_and(|u| u.is_empty() || u.starts_with('-'))
                {
                    return None;
                }
                let destination = user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"));
                let socket = (!path.is_empty()).then(|| format!("/{path}"));
                Some(Self::Ssh { destination, port, socket })
            }
            _ => None,
        }
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}

/// All that an endpoint is found by, so that tests can give their own.
struct Surroundings {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
    uid: u32,
    default_socket: PathBuf,
}

#[derive(Deserialize, Default)]
struct CliConfig {
    #[serde(rename = "currentContext", default)]
    current_context: String,
}

#[derive(Deserialize)]
struct ContextMeta {
    #[serde(rename = "Endpoints", default)]
    endpoints: BTreeMap<String, ContextEndpoint>,
}

#[derive(Deserialize, Clone)]
struct ContextEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

impl Surroundings {
    fn here() -> Self {
        let names = [
            "DOCKER_HOST",
            "DOCKER_CONTEXT",
            "DOCKER_CONFIG",
            "DOCKER_TLS",
            "DOCKER_TLS_VERIFY",
            "DOCKER_CERT_PATH",
            "XDG_RUNTIME_DIR",
        ];
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            variables: names.iter().filter_map(|name| Some((name.to_string(), set(name)?))).collect(),
            home: std::env::home_dir(),
            uid: rustix::process::getuid().as_raw(),
            default_socket: DEFAULT_SOCKET.into(),
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The docker CLI's folder.
    fn config_dir(&self) -> Option<PathBuf> {
        match self.variable("DOCKER_CONFIG") {
            Some(dir) => Some(dir.into()),
            None => Some(self.home.as_ref()?.join(".docker")),
        }
    }

    fn endpoint(&self) -> Result<Endpoint, EndpointError> {
        if let Some(url) = self.variable("DOCKER_HOST") {
            return Endpoint::with_tls(url.trim(), "DOCKER_HOST", self.variables_tls());
        }
        let (name, origin) = match self.variable("DOCKER_CONTEXT") {
            Some(name) => (name.to_owned(), "DOCKER_CONTEXT".to_owned()),
            None => self.current_context()?,
        };
        match name.as_str() {
            "" | "default" => Ok(self.socket()),
            name => self.context(name, &origin),
        }
    }

    /// TLS as `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` say.
    fn variables_tls(&self) -> Option<TlsFiles> {
        let verify = self.variable("DOCKER_TLS_VERIFY").is_some();
        if !verify && self.variable("DOCKER_TLS").is_none() {
            return None;
        }
        let dir = self.variable("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| self.config_dir());
        Some(dir.map_or_else(TlsFiles::default, |dir| TlsFiles::of(&dir, verify)))
    }

    fn current_context(&self) -> Result<(String, String), EndpointError> {
        let Some(folder) = self.config_dir() else { return Ok(Default::default()) };
        let config: CliConfig = docker_config::read(&folder)?;
        Ok((config.current_context, format!("currentContext in {}", folder.join("config.json").display())))
    }

    fn context(&self, name: &str, origin: &str) -> Result<Endpoint, EndpointError> {
        let missing = || EndpointError::NoSuchContext { name: name.into(), origin: origin.into() };
        let contexts = self.config_dir().ok_or_else(missing)?.join("contexts");
        let id: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let file = contexts.join("meta").join(&id).join("meta.json");
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
            Err(source) => return Err(EndpointError::Unreadable { file, source }),
        };
        let meta: ContextMeta = docker_config::parse(&file, &text)?;
        let Some(docker) = meta.endpoints.get("docker").filter(|docker| !docker.host.is_empty()) else {
            return Err(EndpointError::Malformed { file, reason: "it names no Docker Engine".into() });
        };
        let tls_dir = contexts.join("tls").join(&id).join("docker");
        let tls = (tls_dir.is_dir() || docker.skip_tls_verify)
            .then(|| TlsFiles::of(&tls_dir, !docker.skip_tls_verify))
            .filter(|_| !docker.host.starts_with("unix:") && !docker.host.starts_with("ssh:"));
        Endpoint::with_tls(&docker.host, &format!("context {name}"), tls)
    }

    /// The default socket, or a rootless one where the default isn't there or isn't ours to use.
    fn socket(&self) -> Endpoint {
        let runtime = self.variable("XDG_RUNTIME_DIR").map(PathBuf::from);
        let runtime = runtime.unwrap_or_else(|| format!("/run/user/{}", self.uid).into());
        let mut rootless = vec![runtime.join("docker.sock")];
        rootless.extend(self.home.as_ref().map(|home| home.join(".docker/run/docker.sock")));
        let usable = |path: &PathBuf| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
        let (path, origin) = match rootless.into_iter().find(usable) {
            Some(path) if !usable(&self.default_socket) => (path, "rootless socket"),
            _ => (self.default_socket.clone(), "default socket"),
        };
        Endpoint {
            url: format!("unix://{}", path.display()),
            origin: origin.into(),
            local: true,
            address: Address::Unix(path),
        }
    }
}

impl TlsFiles {
    /// `ca.pem`, `cert.pem` and `key.pem` of this folder, as far as they are there.
    fn of(dir: &Path, verify: bool) -> Self {
        let file = |name: &str| Some(dir.join(name)).filter(|path| path.exists());
        Self { ca: file("ca.pem"), identity: file("cert.pem").zip(file("key.pem")), verify }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A home folder of its own, with nothing of this machine.
    struct Home {
        dir: tempfile::TempDir,
        variables: BTreeMap<String, String>,
    }

    impl Home {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let variables =
                BTreeMap::from([("XDG_RUNTIME_DIR".to_owned(), dir.path().join("run").display().to_string())]);
            Self { dir, variables }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        fn set(mut self, name: &str, value: &str) -> Self {
            self.variables.insert(name.into(), value.into());
            self
        }

        fn write(self, path: &str, text: &str) -> Self {
            let file = self.path(path);
            std::fs::create_dir_all(file.parent().expect("a file has a folder")).expect("a folder");
            std::fs::write(file, text).expect("a file");
            self
        }

        /// `docker context create <name> --docker host=<host>`
        fn context(self, name: &str, host: &str, skip_verify: bool) -> Self {
            let meta = serde_json::json!({
                "Name": name,
                "Metadata": {},
                "Endpoints": { "docker": { "Host": host, "SkipTLSVerify": skip_verify } },
            });
            self.write(&format!(".docker/contexts/meta/{}/meta.json", id(name)), &meta.to_string())
        }

        fn listen(&self, path: &str) -> UnixListener {
            std::fs::create_dir_all(self.path(path).parent().expect("a socket has a folder")).expect("a folder");
            UnixListener::bind(self.path(path)).expect("a socket")
        }

        fn find(&self) -> Result<Endpoint, EndpointError> {
            let surroundings = Surroundings {
                variables: self.variables.clone(),
                home: Some(self.dir.path().into()),
                uid: 1000,
                default_socket: self.path("default.sock"),
            };
            surroundings.endpoint()
        }
    }

    fn id(name: &str) -> String {
        Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_docker_clis_order() {
        let home = Home::new()
            .context("one", "tcp://one:2375", false)
            .context("two", "ssh://me@two:2222", false)
            .write(".docker/config.json", r#"{"auths":{},"currentContext":"one"}"#);
        let found = home.find().expect("the current context");
        assert_eq!((found.url.as_str(), found.origin.as_str(), found.local), ("tcp://one:2375", "context one", false));

        let home = home.set("DOCKER_CONTEXT", "two");
        let found = home.find().expect("the context of the variable");
        assert_eq!((found.url.as_str(), found.origin.as_str()), ("ssh://me@two:2222", "context two"));
        let destination = Address::Ssh { destination: "me@two".into(), port: Some(2222), socket: None };
        assert_eq!(found.address, destination);

        let home = home.set("DOCKER_HOST", "unix:///elsewhere.sock");
        let found = home.find().expect("the host of the variable");
        assert_eq!((found.origin.as_str(), found.address), ("DOCKER_HOST", Address::Unix("/elsewhere.sock".into())));
    }

    #[test]
    fn default_context_is_the_default_socket() {
        let home = Home::new()
            .context("one", "tcp://one:2375", false)
            .write(".docker/config.json", r#"{"currentContext":"one"}"#)
            .set("DOCKER_CONTEXT", "default");
        let found = home.find().expect("the default");
        assert_eq!((found.origin.as_str(), found.local), ("default socket", true));
    }

    #[test]
    fn docker_config_moves_the_folder() {
        let home = Home::new().context("one", "tcp://one", false).write("cfg/config.json", "{}");
        let config = home.path("cfg").display().to_string();
        let home = home.set("DOCKER_CONFIG", &config);
        assert_eq!(home.find().expect("no context there").origin, "default socket");
        assert!(matches!(home.set("DOCKER_CONTEXT", "one").find(), Err(EndpointError::NoSuchContext { .. })));
    }

    #[test]
    fn a_rootless_socket_where_the_default_is_missing() {
        let home = Home::new();
        assert_eq!(home.find().expect("nothing there").origin, "default socket");
        let _desktop = home.listen(".docker/run/docker.sock");
        assert_eq!(
            home.find().expect("one socket").url,
            format!("unix://{}", home.path(".docker/run/docker.sock").display())
        );
        let _rootless = home.listen("run/docker.sock");
        let found = home.find().expect("two sockets");
        assert_eq!(
            (found.origin.as_str(), found.address),
            ("rootless socket", Address::Unix(home.path("run/docker.sock")))
        );
        let _default = home.listen("default.sock");
        assert_eq!(home.find().expect("three sockets").origin, "default socket");
    }

    #[test]
    fn tls_of_contexts_and_of_variables() {
        let dir = format!(".docker/contexts/tls/{}/docker", id("safe"));
        let home = Home::new()
            .context("safe", "tcp://safe:2376", false)
            .write(&format!("{dir}/ca.pem"), "")
            .write(&format!("{dir}/cert.pem"), "")
            .write(&format!("{dir}/key.pem"), "")
            .set("DOCKER_CONTEXT", "safe");
        let path = |file: &str| home.path(&format!("{dir}/{file}"));
        let tls =
            TlsFiles { ca: Some(path("ca.pem")), identity: Some((path("cert.pem"), path("key.pem"))), verify: true };
        let expected = Address::Tcp { host: "safe".into(), port: 2376, tls: Some(tls) };
        assert_eq!(home.find().expect("the context").address, expected);

        let home = Home::new().context("lax", "tcp://lax", true).set("DOCKER_CONTEXT", "lax");
        let Address::Tcp { port, tls: Some(tls), .. } = home.find().expect("the context").address else {
            panic!("TLS without a check is still TLS")
        };
        assert_eq!((port, tls.verify), (2376, false));

        let home =
            Home::new().set("DOCKER_HOST", "tcp://host").set("DOCKER_TLS_VERIFY", "1").write(".docker/ca.pem", "");
        let Address::Tcp { port, tls: Some(tls), .. } = home.find().expect("the host").address else { panic!("TLS") };
        assert_eq!((port, tls.verify, tls.ca), (2376, true, Some(home.path(".docker/ca.pem"))));
    }

    #[test]
    fn addresses_of_every_kind() {
        let tcp = |host: &str, port| Some(Address::Tcp { host: host.into(), port, tls: None });
        let ssh = |destination: &str, port, socket: Option<&str>| {
            Some(Address::Ssh { destination: destination.into(), port, socket: socket.map(str::to_owned) })
        };
        for (url, expected) in [
            ("tcp://", tcp("localhost", 2375)),
            ("build:2375", tcp("build", 2375)),
            ("tcp://[::1]:99", tcp("::1", 99)),
            ("tcp://[::1]", tcp("::1", 2375)),
            ("http://build/", tcp("build", 2375)),
            ("ssh://build", ssh("build", None, None)),
            (
                "ssh://me@build:22/run/user/1000/docker.sock",
                ssh("me@build", Some(22), Some("/run/user/1000/docker.sock")),
            ),
            ("ssh://-oProxyCommand=evil", None),
            ("ssh://", None),
            ("unix://relative", None),
            ("tcp://host:port", None),
            ("npipe:////./pipe/docker_engine", None),
            ("ftp://host", None),
        ] {
            assert_eq!(Address::parse(url, None), expected, "{url}");
        }
    }

    #[test]
    fn only_a_socket_shares_this_machines_folders() {
        for (url, local, ssh) in [
            ("unix:///run/docker.sock", true, None),
            ("tcp://127.0.0.1:2375", false, None),
            ("tcp://localhost", false, None),
            ("tcp://build:2375", false, Some("build")),
            ("ssh://me@build", false, Some("me@build")),
            ("ssh://build:2222", false, Some("-p 2222 build")),
        ] {
            let found = Endpoint::parse(url, "test").expect("an address");
            assert_eq!((found.local, found.ssh().as_deref()), (local, ssh), "{url}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_file() {
        let error = Home::new().write(".docker/config.json", "{").find().expect_err("half a document");
        assert!(matches!(&error, EndpointError::Malformed { file, .. } if file.ends_with("config.json")), "{error}");
        let error = Home::new().set("DOCKER_CONTEXT", "gone").find().expect_err("no such context");
        assert_eq!(error.to_string(), "there is no docker context named `gone` (DOCKER_CONTEXT)");
        let error = Home::new().set("DOCKER_HOST", "carrier-pigeon://x").find().expect_err("no such scheme");
        assert_eq!(error.to_string(), "DOCKER_HOST is `carrier-pigeon://x`, which is no Engine's address");
    }
}
