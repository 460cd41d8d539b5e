//! What the processes of a container may do, by security profile.

use crate::config::settings::SECURITY;
use crate::config::{Choice, SecurityProfile};
use crate::spec::Confinement;

/// The capabilities of the profile `dev`: what root inside needs to install packages and to be other users, and nothing
/// that leads out. What fails in the core image without each:
///
/// - SETUID, SETGID: `sudo`, and all that follows from it.
/// - CHOWN: `apt-get install` of packages with files of other users; DAC_OVERRIDE: `apt-get update`, too.
/// - FOWNER, FSETID: `chmod` of what other users own; set-group-ID bits on it, which are lost without a word.
/// - SETFCAP: `setcap`, which packages of servers run.
/// - KILL: `sudo kill` of a process of `dev`'s.
/// - NET_BIND_SERVICE: nothing, where the Engine opens all ports to everybody (20.10 and newer do); the programs that
///   carry this capability as a file's.
///
/// Not needed, as was seen there: NET_RAW (`ping` asks for no raw socket), SYS_PTRACE (gdb and strace of one's own
/// processes), MKNOD, and AUDIT_WRITE (`sudo` is told in the image not to write to the host's audit log). SYS_CHROOT is
/// what an SSH server needs.
const DEV: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETFCAP", "NET_BIND_SERVICE"];

/// What `trusted` has besides: debuggers of foreign processes, mounts, nested containers. SYS_ADMIN is the way out.
const TRUSTED: [&str; 6] = ["SYS_ADMIN", "SYS_PTRACE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE"];

/// What a security profile lets the processes of a container do.
pub fn confinement(profile: SecurityProfile) -> Confinement {
    match profile {
        SecurityProfile::Dev => Confinement {
            capabilities: DEV.map(str::to_owned).to_vec(),
            unconfined: false,
            no_new_privileges: false,
            read_only_root: false,
        },
        SecurityProfile::Strict => {
            Confinement { capabilities: Vec::new(), unconfined: false, no_new_privileges: true, read_only_root: true }
        }
        SecurityProfile::Trusted => Confinement {
            capabilities: TRUSTED.iter().chain(&DEV).map(|name| (*name).to_owned()).collect(),
            unconfined: true,
            no_new_privileges: false,
            read_only_root: false,
        },
    }
}

/// The profile that a container was given, by its word. One that no profile gives is `other`.
pub(super) fn profile(confinement_of: &Confinement) -> String {
    let same = |profile: &&SecurityProfile| {
        let mut expected = confinement(**profile);
        let mut given = confinement_of.clone();
        expected.capabilities.sort_unstable();
        given.capabilities.sort_unstable();
        expected == given
    };
    let profiles: &[SecurityProfile] = clap::ValueEnum::value_variants();
    profiles.iter().find(same).map_or_else(|| "other".to_owned(), Choice::word)
}

/// What has to be known of a container that is confined like this, where the configuration asks for `wanted`. None:
/// root inside is kept inside.
pub fn openness(confinement: &Confinement, wanted: SecurityProfile) -> Option<String> {
    if !confinement.unconfined {
        return None;
    }
    let trusted = SecurityProfile::Trusted;
    let name = SECURITY.name;
    Some(if wanted == trusted {
        format!("{name}={}: {MEANING}", trusted.word())
    } else {
        format!(
            "this container is as open as {name}={}, which is what older releases called `dev`: {MEANING}; \
             `powerdev up --recreate` closes it, {name}={} keeps it as it is",
            trusted.word(),
            trusted.word()
        )
    })
}

/// What being unconfined comes to.
const MEANING: &str = "root inside, which whoever is `dev` can be by `sudo`, is close to root outside";

#[cfg(test)]
mod tests {
    use super::*;

    /// What a container of an older release was given as `dev`, in its order.
    const FORMER: [&str; 15] = [
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

    #[test]
    fn a_container_of_an_older_release_is_called_what_it_is() {
        let former =
            Confinement { capabilities: FORMER.map(str::to_owned).to_vec(), ..confinement(SecurityProfile::Trusted) };
        assert_eq!(profile(&former), "trusted");
        let told = openness(&former, SecurityProfile::Dev).expect("it is open");
        assert!(told.contains("older releases called `dev`") && told.contains("SECURITY=trusted keeps"), "{told}");
        let told = openness(&former, SecurityProfile::Trusted).expect("it is open");
        assert!(told.starts_with("SECURITY=trusted: root inside"), "{told}");
        let odd = Confinement { read_only_root: true, ..former };
        assert_eq!(profile(&odd), "other");
    }

    #[test]
    fn what_leads_out_is_trusted_with_alone() {
        for (word, closed) in [("dev", SecurityProfile::Dev), ("strict", SecurityProfile::Strict)] {
            let confinement = confinement(closed);
            assert_eq!(profile(&confinement), word);
            assert_eq!(openness(&confinement, closed), None);
            let leads_out = ["SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "SYS_RAWIO", "MKNOD", "DAC_READ_SEARCH", "BPF"];
            assert!(!confinement.capabilities.iter().any(|name| leads_out.contains(&name.as_str())), "{word}");
        }
    }
}
