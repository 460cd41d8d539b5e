//! What the processes of a container may do, by security profile.

use serde::{Deserialize, Serialize};

use crate::config::SecurityProfile;

/// The capabilities of the profile `dev`: debuggers, package managers, nested containers.
const CAPABILITIES: [&str; 15] = [
    "SYS_ADMIN",
    "SYS_PTRACE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
];

/// What the processes of a container may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Linux capabilities that root inside has, without `CAP_`. All others are dropped.
    pub capabilities: Vec<String>,
    /// Neither seccomp nor AppArmor.
    pub unconfined: bool,
    /// No program gains privileges by being set-user-ID.
    pub no_new_privileges: bool,
    /// The root file system can't be written to.
    pub read_only_root: bool,
}

impl From<SecurityProfile> for Confinement {
    fn from(profile: SecurityProfile) -> Self {
        match profile {
            SecurityProfile::Dev => Self {
                capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
                unconfined: true,
                no_new_privileges: false,
                read_only_root: false,
            },
            SecurityProfile::Strict => {
                Self { capabilities: Vec::new(), unconfined: false, no_new_privileges: true, read_only_root: true }
            }
        }
    }
}
