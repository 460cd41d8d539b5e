//! Where the Engine answers, found as the docker CLI finds it: `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context
//! of `~/.docker/config.json`, the default socket; and where that one isn't there or isn't ours, a rootless one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use powerdev_protocol::ExitCode;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::docker_config;
use crate::failure::Diagnostic;
use crate::files::{self, FileError};

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
        /// The address as it was given.
        url: String,
    },
    /// A context that isn't there.
    #[error("there is no docker context named `{name}` ({origin})")]
    NoSuchContext {
        /// The context that was asked for.
        name: String,
        /// Who asked for it.
        origin: String,
    },
    /// A file of the docker CLI that can't be read.
    #[error(transparent)]
    Unreadable(#[from] FileError),
    /// A file of the docker CLI that makes no sense.
    #[error("{file} makes no sense: {reason}")]
    Malformed {
        /// The file that makes no sense.
        file: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
}

impl Diagnostic for EndpointError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Url { .. } => "give unix:///path, tcp://host:port or ssh://user@host",
            Self::NoSuchContext { .. } => {
                "`docker context ls` lists them; DOCKER_CONTEXT=default is the Engine on this machine"
            }
            Self::Unreadable(_) | Self::Malformed { .. } => {
                "mend or remove that file, or point DOCKER_HOST at an Engine"
            }
        };
        Some(hint.to_owned())
    }
}

impl Endpoint {
    /// Looks around.
    ///
    /// # Errors
    /// When the variables, the docker CLI's configuration or the context make no sense.
    pub fn find() -> Result<Self, EndpointError> {
        ClientConfig::here().endpoint()
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
struct ClientConfig {
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

impl ClientConfig {
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
        let id = hex::encode(Sha256::digest(name.as_bytes()));
        let file = contexts.join("meta").join(&id).join("meta.json");
        let text = files::read_if_there(&file)?.ok_or_else(missing)?;
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
#[path = "endpoint_tests.rs"]
mod tests;
