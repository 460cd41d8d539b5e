//! What several commands tell a person of an environment.

use std::path::Path;

use crate::engine::Endpoint;
use crate::lifecycle::report::PortReport;
use crate::plan::Difference;
use crate::ui::Ui;
use crate::watch::Quarantine;

/// Tells the addresses, one a line.
pub fn addresses(ui: &Ui, ports: &[PortReport]) {
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
pub fn tunnel(ui: &Ui, endpoint: &Endpoint, tunnel: Option<&str>) {
    if let Some(tunnel) = tunnel {
        ui.notice(format_args!(
            "these ports are on the machine of the Engine {}; this brings them here:",
            endpoint.url
        ));
        ui.status(format_args!("  {tunnel}"));
    }
}

/// Tells that the watcher has given it up, and how to go on.
pub fn quarantine(ui: &Ui, quarantine: Option<&Quarantine>) {
    if let Some(quarantine) = quarantine {
        ui.notice(format_args!("{quarantine}; {}", Quarantine::REMEDY));
    }
}

/// Tells from whose state folder it was started, where that is another one than this user's.
pub fn started_from(ui: &Ui, folder: Option<&Path>) {
    if let Some(folder) = folder {
        ui.notice(format_args!(
            "it was started from another home folder, which has its state in {}: changed services and secrets are \
             applied from there",
            folder.display()
        ));
    }
}

/// Tells in which settings a container differs from what the configuration asks for now.
pub fn drift(ui: &Ui, drift: &[Difference]) {
    if drift.is_empty() {
        return;
    }
    ui.notice("the configuration has changed since this container was made; `powerdev up --recreate` applies it:");
    for difference in drift {
        ui.status(format_args!("  {}: {} -> {}", difference.setting, difference.was, difference.is));
    }
}
