//! What the commands say about an environment: documents for machines, lines for people.

use std::collections::BTreeMap;

use powerdev_protocol::{AgentStatus, ServiceState, ServiceStatus};
use serde::Serialize;

use crate::config::Settings;
use crate::engine::Endpoint;
use crate::plan::Difference;
use crate::spec::Published;
use crate::ui::Ui;

/// A published port, as documents show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortReport {
    /// Inside.
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

/// Tells the addresses, one a line.
pub fn tell_addresses(ui: &Ui, ports: &[PortReport]) {
    let width = ports.iter().filter_map(|port| port.service.as_ref()).map(String::len).max().unwrap_or(4);
    for port in ports {
        let name = port.service.as_deref().unwrap_or("port");
        let address = if port.address.contains(':') { format!("[{}]", port.address) } else { port.address.clone() };
        let inside =
            if port.host == port.container { String::new() } else { format!("  (inside: {})", port.container) };
        ui.status(format_args!("  {name:width$}  http://{address}:{}{inside}", port.host));
    }
}

/// Tells how the ports are reached where they are published on another machine.
pub fn tell_tunnel(ui: &Ui, endpoint: &Endpoint, tunnel: Option<&str>) {
    if let Some(tunnel) = tunnel {
        ui.notice(format_args!(
            "these ports are on the machine of the Engine {}; this brings them here:",
            endpoint.url
        ));
        ui.status(format_args!("  {tunnel}"));
    }
}

/// Tells in which settings a container differs from what the configuration asks for now.
pub fn tell_drift(ui: &Ui, drift: &[Difference]) {
    if drift.is_empty() {
        return;
    }
    ui.notice("the configuration has changed since this container was made; `powerdev up --recreate` applies it:");
    for difference in drift {
        ui.status(format_args!("  {}: {} -> {}", difference.setting, difference.was, difference.is));
    }
}

/// A span of time for people: `3 s`, `12 min`, `5 h 20 min`, `3 d 4 h`.
pub fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
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
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_for_people() {
        for (milliseconds, text) in
            [(0, "0 s"), (119_000, "119 s"), (120_000, "2 min"), (19_200_000, "5 h 20 min"), (273_600_000, "3 d 4 h")]
        {
            assert_eq!(span(milliseconds), text);
        }
    }
}
