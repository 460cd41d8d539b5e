//! The plain variables of every service and shell. Anyone who may use the Engine can read them: no secret is here.

use std::collections::BTreeMap;

use crate::config::{Settings, SshAccess, layout};
use crate::host::HostFacts;
use crate::spec::Gpus;

/// The names of the services that run, in the order of their start, with spaces between.
pub(super) const SERVICES: &str = "POWERDEV_SERVICES";

/// The settings that go inside and the project's own variables, which win over what the machine suggests.
pub(super) fn plain(settings: &Settings, host: &HostFacts, ssh_relay: bool, gpus: &Gpus) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        ("POWERDEV_PROJECT".to_owned(), settings.name.to_string()),
        ("npm_config_cache".to_owned(), format!("{}/npm", layout::CACHE)),
    ]);
    if let Some(timezone) = &host.timezone {
        all.insert("TZ".into(), timezone.clone());
    }
    if ssh_relay && settings.ssh != SshAccess::None {
        all.insert("SSH_AUTH_SOCK".into(), format!("{}/{}", layout::SSH_AGENT_DIR, layout::SSH_SOCKET));
    }
    if *gpus != Gpus::None {
        // The default hands out computing alone; Blender and the browser draw as well.
        all.insert("NVIDIA_DRIVER_CAPABILITIES".into(), "compute,utility,graphics,video".into());
    }
    all.extend(settings.environment.clone());
    all
}
