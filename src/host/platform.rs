//! Which architectures' programs run here.

use std::path::Path;

/// Where the kernel lists the interpreters of foreign programs, such as QEMU.
const INTERPRETERS: &str = "/proc/sys/fs/binfmt_misc";

/// Whether this machine runs programs of this architecture, in an Engine's words (`amd64`, `arm64`): its own, or one
/// that an emulator is registered for. In doubt it does.
pub fn runs(arch: &str) -> bool {
    runs_on(std::env::consts::ARCH, arch) || is_emulated(INTERPRETERS.as_ref(), arch)
}

/// The kernel's release, by which an Engine on this very machine is told from one in a virtual machine.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn runs_on(machine: &str, arch: &str) -> bool {
    match machine {
        "x86_64" => ["amd64", "386", ""].contains(&arch),
        "aarch64" => ["arm64", "arm", ""].contains(&arch),
        _ => true,
    }
}

fn is_emulated(interpreters: &Path, arch: &str) -> bool {
    let name = match arch {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" => "i386",
        other => other,
    };
    let enabled =
        |name: String| std::fs::read_to_string(interpreters.join(name)).is_ok_and(|text| text.starts_with("enabled"));
    enabled(format!("qemu-{name}")) || (arch == "amd64" && enabled("rosetta".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_programs_need_an_emulator() {
        assert!(runs_on("x86_64", "amd64") && runs_on("x86_64", "386") && runs_on("aarch64", "arm64"));
        assert!(!runs_on("x86_64", "arm64") && !runs_on("aarch64", "amd64") && !runs_on("x86_64", "s390x"));
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!is_emulated(folder.path(), "arm64"));
        std::fs::write(folder.path().join("qemu-aarch64"), "enabled\ninterpreter /usr/bin/qemu").expect("a file");
        std::fs::write(folder.path().join("qemu-s390x"), "disabled\n").expect("a file");
        assert!(is_emulated(folder.path(), "arm64") && !is_emulated(folder.path(), "s390x"));
    }
}
