//! Whether the Engine runs on this machine, and all that follows from that. Nobody else asks: what this machine and
//! the Engine's share or don't is told by a [`Site`], so that a place that shares something else has one file to change.

use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::engine::{Endpoint, EngineInfo};
use crate::failure::Failure;
use crate::host::{self, Gpu, HostFacts};
use crate::plan::{AgentShare, PlaceFacts};
use crate::spec::Published;
use crate::state::StateDir;

/// What says that a machine reaches the world through a proxy.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// Where an Engine runs, as seen from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// On this machine: it mounts folders of it, publishes ports on it, and has its disks and GPUs.
    Here,
    /// On another one, or at the end of what may be a tunnel: nothing is shared.
    Elsewhere,
}

impl Site {
    /// That of the Engine at this endpoint.
    pub fn of(endpoint: &Endpoint) -> Self {
        if endpoint.local { Self::Here } else { Self::Elsewhere }
    }

    /// That of the Engine that the docker CLI would use. None: it can't be told, which is the business of who needs it.
    pub fn find() -> Option<Self> {
        Endpoint::find().ok().map(|endpoint| Self::of(&endpoint))
    }

    /// The folder in which a container's control socket can be connected to from here.
    pub fn socket_folder(self, state: &StateDir) -> Option<PathBuf> {
        // Beside anything but Linux the Engine runs in a machine of its own: folders cross over, sockets don't.
        (self == Self::Here && cfg!(target_os = "linux")).then(|| state.run_dir())
    }

    /// The folder in which a container reaches the relay of the SSH agent. Sockets cross over where the control socket does.
    pub fn ssh_relay(self, state: &StateDir) -> Option<PathBuf> {
        self.socket_folder(state).map(|_| state.ssh_dir())
    }

    /// What a plan needs to know about the place.
    pub fn facts(self, host: &HostFacts, info: &EngineInfo, state: &StateDir) -> PlaceFacts {
        let (share, gpus) = match self {
            Self::Here => {
                let share =
                    AgentShare::Folders { agent: state.agent_dir(), run: state.run_dir(), empty: state.empty_file() };
                (share, Some(host.gpus.clone()))
            }
            Self::Elsewhere => (AgentShare::Volumes, None),
        };
        PlaceFacts {
            share,
            repositories: Vec::new(),
            project_owner: None,
            gpus,
            ssh_relay: self.ssh_relay(state),
            gpu_runtime: info.gpu,
            cpus: info.cpus,
            memory: info.memory,
            limits_cpus: info.limits_cpus,
            limits_memory: info.limits_memory,
            names_host: info.names_host,
        }
    }

    /// Whether nothing listens there now. A privileged port that we may not bind ourselves counts as free: the Engine
    /// may. So does every port of another machine: its Engine says so when it is too late, and is asked again.
    pub fn is_port_free(self, address: IpAddr, port: u16) -> bool {
        match self {
            Self::Here => match TcpListener::bind((address, port)) {
                Ok(_) => true,
                Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
            },
            Self::Elsewhere => true,
        }
    }

    /// Which of these ports something listens on already. None: that can't be seen from here.
    pub fn busy_ports(self, address: IpAddr, ports: &[u16]) -> Option<Vec<u16>> {
        let busy = || ports.iter().copied().filter(|port| !self.is_port_free(address, *port)).collect();
        (self == Self::Here).then(busy)
    }

    /// The path on this machine of what the Engine calls so. None: it is on another machine.
    pub fn path(self, path: &Path) -> Option<&Path> {
        (self == Self::Here).then_some(path)
    }

    /// The GPUs that a container can be given. None: they can't be seen from here.
    pub fn visible_gpus(self, host: &HostFacts) -> Option<&[Gpu]> {
        (self == Self::Here).then_some(&host.gpus)
    }

    /// The variable that says that this machine reaches the world through a proxy, where that holds for the Engine, too.
    pub fn proxy_variable(self) -> Option<&'static str> {
        let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        PROXIES.into_iter().find(is_set).filter(|_| self == Self::Here)
    }

    /// Whether images for this architecture run there. None: only the Engine could tell.
    pub fn runs(self, arch: &str) -> Option<bool> {
        match self {
            _ if host::runs(arch) => Some(true),
            Self::Here => Some(false),
            Self::Elsewhere => None,
        }
    }

    /// What stays of an environment whose container is removed.
    pub fn what_stays(self, volumes_removed: bool) -> &'static str {
        match (self, volumes_removed) {
            (Self::Here, true) => ".agent-mount stays",
            (Self::Here, false) => ".agent-mount and the home folder stay",
            (Self::Elsewhere, true) => "nothing of it stays there",
            (Self::Elsewhere, false) => "the home folder, the workspace and the rest stay in volumes there",
        }
    }

    /// What goes with an environment's volumes.
    pub fn what_volumes_hold(self) -> &'static str {
        match self {
            Self::Here => "with logins and histories",
            Self::Elsewhere => "with logins and histories, its workspace and all else there",
        }
    }

    /// For what works on the folders of `.agent-mount`: refuses where environments have volumes on another machine in
    /// their place. `instead` is what the user can do.
    ///
    /// # Errors
    /// A usage [`Failure`].
    pub fn refuse_without_folders(endpoint: &Endpoint, what: &str, instead: &str) -> Result<(), Failure> {
        match Self::of(endpoint) {
            Self::Here => Ok(()),
            Self::Elsewhere => {
                let message = format!(
                    "{what} works on this machine's .agent-mount, and on the Engine {} ({}) environments have volumes instead",
                    endpoint.url, endpoint.origin
                );
                Err(Failure::usage(message).hint(instead))
            }
        }
    }

    /// The command that brings the ports of an Engine elsewhere to this machine. None: they are here, or there are
    /// none that only the Engine's own machine can reach.
    pub fn tunnel(endpoint: &Endpoint, ports: &[Published]) -> Option<String> {
        let closed: Vec<_> = ports.iter().filter(|port| port.address.is_loopback()).collect();
        if Self::of(endpoint) == Self::Here || closed.is_empty() {
            return None;
        }
        let forward = |port: &&Published| match port.address {
            IpAddr::V4(address) => format!(" -L {0}:{address}:{0}", port.host),
            IpAddr::V6(address) => format!(" -L {0}:[{address}]:{0}", port.host),
        };
        let forwards: String = closed.iter().map(forward).collect();
        let machine = endpoint.ssh().unwrap_or_else(|| "USER@MACHINE".to_owned());
        Some(format!("ssh -N{forwards} {machine}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_for_what_only_the_engines_machine_can_reach() {
        let port =
            |host, address: &str| Published { container: 1, host, address: address.parse().expect("an address") };
        let ports = [port(3000, "127.0.0.1"), port(3001, "::1"), port(80, "0.0.0.0")];
        let at = |url: &str| Site::tunnel(&Endpoint::parse(url, "test").expect("an address"), &ports);
        let forwards = "ssh -N -L 3000:127.0.0.1:3000 -L 3001:[::1]:3001";
        assert_eq!(at("ssh://me@box:2222"), Some(format!("{forwards} -p 2222 me@box")));
        assert_eq!(at("tcp://127.0.0.1:2375"), Some(format!("{forwards} USER@MACHINE")));
        assert_eq!(at("unix:///run/docker.sock"), None);
        let open = Endpoint::parse("ssh://box", "test").expect("an address");
        assert_eq!(Site::tunnel(&open, &ports[2..]), None);
    }

    #[test]
    fn a_listening_port_is_not_free() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let address = "127.0.0.1".parse().expect("an address");
        assert!(!Site::Here.is_port_free(address, port));
        assert!(Site::Elsewhere.is_port_free(address, port));
        drop(listener);
        assert!(Site::Here.is_port_free(address, port));
    }
}
