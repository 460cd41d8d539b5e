//! What the processes of a container may do, by security profile.

use crate::config::SecurityProfile;
use crate::spec::Confinement;

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

/// What a security profile lets the processes of a container do.
pub(super) fn confinement(profile: SecurityProfile) -> Confinement {
    match profile {
        SecurityProfile::Dev => Confinement {
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            unconfined: true,
            no_new_privileges: false,
            read_only_root: false,
        },
        SecurityProfile::Strict => {
            Confinement { capabilities: Vec::new(), unconfined: false, no_new_privileges: true, read_only_root: true }
        }
    }
}
