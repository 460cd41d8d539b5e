//! powerdev's own Dockerfile with its context, in the binary: `powerdev` builds from anywhere.

use std::path::Path;

use crate::files;

/// powerdev's own Dockerfile, whose stages are the profiles.
pub const DOCKERFILE: &str = include_str!("../../Dockerfile");

/// The files of its context: path, mode, content.
pub const FILES: &[(&str, u32, &[u8])] = &[
    ("Dockerfile", 0o644, DOCKERFILE.as_bytes()),
    ("templates/image/ca/README.md", 0o644, include_bytes!("../../templates/image/ca/README.md")),
    ("templates/image/npm/package-lock.json", 0o644, include_bytes!("../../templates/image/npm/package-lock.json")),
    ("templates/image/npm/package.json", 0o644, include_bytes!("../../templates/image/npm/package.json")),
    ("templates/image/pip/requirements.txt", 0o644, include_bytes!("../../templates/image/pip/requirements.txt")),
    (
        "templates/image/root/etc/fish/conf.d/powerdev.fish",
        0o644,
        include_bytes!("../../templates/image/root/etc/fish/conf.d/powerdev.fish"),
    ),
    (
        "templates/image/root/etc/profile.d/powerdev.sh",
        0o644,
        include_bytes!("../../templates/image/root/etc/profile.d/powerdev.sh"),
    ),
    ("templates/image/root/etc/skel/.bashrc", 0o644, include_bytes!("../../templates/image/root/etc/skel/.bashrc")),
    (
        "templates/image/root/etc/skel/.claude.json",
        0o644,
        include_bytes!("../../templates/image/root/etc/skel/.claude.json"),
    ),
    (
        "templates/image/root/etc/skel/.config/fish/config.fish",
        0o644,
        include_bytes!("../../templates/image/root/etc/skel/.config/fish/config.fish"),
    ),
    ("templates/image/root/etc/skel/.profile", 0o644, include_bytes!("../../templates/image/root/etc/skel/.profile")),
    (
        "templates/image/root/etc/skel/.tmux.conf",
        0o644,
        include_bytes!("../../templates/image/root/etc/skel/.tmux.conf"),
    ),
    ("templates/image/root/etc/skel/.zshrc", 0o644, include_bytes!("../../templates/image/root/etc/skel/.zshrc")),
    (
        "templates/image/root/etc/ssh/ssh_config.d/powerdev.conf",
        0o644,
        include_bytes!("../../templates/image/root/etc/ssh/ssh_config.d/powerdev.conf"),
    ),
    (
        "templates/image/root/usr/local/bin/ruv-swarm",
        0o755,
        include_bytes!("../../templates/image/root/usr/local/bin/ruv-swarm"),
    ),
    (
        "templates/image/root/usr/local/lib/powerdev/bin/claude",
        0o755,
        include_bytes!("../../templates/image/root/usr/local/lib/powerdev/bin/claude"),
    ),
    (
        "templates/image/root/usr/local/lib/powerdev/unref.cjs",
        0o644,
        include_bytes!("../../templates/image/root/usr/local/lib/powerdev/unref.cjs"),
    ),
];

/// Whether the same files lie in this folder: a checkout of this very release.
pub fn is_at(dir: &Path) -> bool {
    FILES.iter().all(|(path, _, content)| files::read(&dir.join(path)).is_ok_and(|found| found == *content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_context_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut on_disk: Vec<String> = walkdir::WalkDir::new(root.join("templates/image"))
            .into_iter()
            .map(|entry| entry.expect("readable"))
            .filter(|entry| entry.file_type().is_file() && entry.path().extension().is_none_or(|e| e != "crt"))
            .map(|entry| entry.path().strip_prefix(root).expect("below").to_string_lossy().into_owned())
            .chain(["Dockerfile".to_owned()])
            .collect();
        on_disk.sort_unstable();
        let embedded: Vec<&str> = FILES.iter().map(|(path, ..)| *path).collect();
        assert_eq!(embedded, on_disk);
    }
}
