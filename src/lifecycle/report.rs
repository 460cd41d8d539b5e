//! What the commands say about an environment: documents for machines, lines for people.

use std::collections::BTreeMap;

use powerdev_protocol::{AgentStatus, ServiceState, ServiceStatus};
use serde::Serialize;

use crate::config::Settings;
use crate::spec::Published;

/// A published port, as documents show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortReport {
    /// The port inside.
    pub container: u16,
    /// On the host.
    pub host: u16,
    /// Address on the host.
    pub address: String,
    /// The service that listens there, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// The published ports with the services that listen there.
pub fn published(ports: &[Published], services: &BTreeMap<u16, String>) -> Vec<PortReport> {
    ports
        .iter()
        .map(|port| PortReport {
            container: port.container,
            host: port.host,
            address: port.address.to_string(),
            service: services.get(&port.container).cloned(),
        })
        .collect()
}

/// Which service listens on which port.
pub fn services_by_port(settings: &Settings) -> BTreeMap<u16, String> {
    let ports = |(name, service): (&String, &powerdev_protocol::Service)| {
        service.ports.iter().map(|port| (*port, name.clone())).collect::<Vec<_>>()
    };
    settings.services.iter().filter(|(_, service)| service.enabled).flat_map(ports).collect()
}

/// The services that aren't well, one line each.
pub fn troubles(status: &AgentStatus) -> Vec<String> {
    status
        .services
        .iter()
        .filter(|service| !service.ready && service.state != ServiceState::Stopped)
        .map(trouble)
        .collect()
}

fn trouble(service: &ServiceStatus) -> String {
    let mut line = format!("{}: {}", service.name, service.state);
    if let Some(exit) = &service.last_exit {
        line.push_str(&format!(", {}", exit.reason));
    }
    if let Some(probe) = &service.probe {
        line.push_str(&format!(", probe: {}", probe.trim()));
    }
    if let Some(last) = &service.last_line {
        line.push_str(&format!(", its last line: {last}"));
    }
    line
}
