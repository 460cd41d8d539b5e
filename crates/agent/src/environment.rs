//! The environment of a process: the image's, the services' common one, the secrets, and the service's own.

use std::collections::BTreeMap;
use std::ffi::OsString;

use powerdev_protocol::paths::SERVICE_VARIABLE;
use powerdev_protocol::{Service, ServiceSet};

/// The whole environment of a service's process, or of a shell when `service` is None. Later layers win: the
/// agent's own environment, the set's, the secrets, the service's, and the mark by which its processes are found.
pub fn compose(
    set: &ServiceSet,
    secrets: &BTreeMap<String, String>,
    service: Option<(&str, &Service)>,
) -> Vec<(OsString, OsString)> {
    let mut environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    let own = service.into_iter().flat_map(|(_, service)| &service.environment);
    for (name, value) in set.environment.iter().chain(secrets).chain(own) {
        environment.insert(name.into(), value.into());
    }
    if let Some((name, _)) = service {
        environment.insert(SERVICE_VARIABLE.into(), name.into());
    }
    environment.into_iter().collect()
}
