//! What a container finds at [`paths::AGENT_DIR`]: the agent, its services, the secrets; as an archive where that is a
//! volume.
//!
//! In a volume a mark tells which agent is there, so that the same one isn't sent twice. It is emptied before the executable
//! is written and filled in after: a bundle that was lost on its way is sent again.

use std::collections::BTreeMap;
use std::io::{self, Read};

use powerdev_protocol::{ServiceSet, paths};
use secrecy::{ExposeSecret, SecretSlice};

use super::{BINARY, SHA256, git};
use crate::units::User;

/// Folder of the configuration, inside of a bundle.
const CONFIG: &str = "opt/powerdev/config";
const MARK: &str = "agent.sha256";
const SERVICES: &str = "services.json";
const SECRETS: &str = "secrets.json";
/// The most that is read of one file that is there: the container's root could have written it.
const MOST: u64 = 4 << 20;

/// Services and secrets of one environment, and this powerdev's agent.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub(super) services: Vec<u8>,
    pub(super) secrets: SecretSlice<u8>,
    /// The configuration for Git. None: what is there stays.
    pub(super) git: Option<Vec<u8>>,
    /// The container's user.
    pub(super) owner: User,
}

/// What a container finds there already; nothing, where nothing was delivered.
#[derive(Debug, Clone, Default)]
pub struct Installed {
    /// This powerdev's agent is there.
    pub(super) agent: bool,
    pub(super) services: Vec<u8>,
    pub(super) secrets: SecretSlice<u8>,
    pub(super) git: Vec<u8>,
}

impl Bundle {
    /// Packs them. `owner` is the container's user: the secrets are readable by it alone.
    ///
    /// # Errors
    /// When they are no JSON, which they are.
    pub fn new(services: &ServiceSet, secrets: &BTreeMap<String, String>, owner: User) -> serde_json::Result<Self> {
        let (services, secrets) = (serde_json::to_vec_pretty(services)?, serde_json::to_vec(secrets)?.into());
        Ok(Self { services, secrets, git: None, owner })
    }

    /// With a configuration for Git besides. It never waits for a restart: Git reads it each time.
    pub fn with_git(self, config: Vec<u8>) -> Self {
        Self { git: Some(config), ..self }
    }

    /// Packs services and secrets as they are there.
    pub fn again(installed: &Installed, owner: User) -> Self {
        Self { services: installed.services.clone(), secrets: installed.secrets.clone(), git: None, owner }
    }

    /// Puts what isn't there yet into an archive of the root folder. False: nothing is missing.
    pub fn pack(&self, tar: &mut tar::Builder<Vec<u8>>, installed: &Installed) -> bool {
        let pending = self.pending(installed);
        if pending.contains(&"agent") {
            let mark = |tar: &mut _, content: &[u8]| file(tar, &format!("{CONFIG}/{MARK}"), content, 0o644, User::ROOT);
            folder(tar, "opt/powerdev/bin", 0o755, User::ROOT);
            folder(tar, CONFIG, 0o755, User::ROOT);
            mark(tar, b"");
            file(tar, paths::AGENT_BIN.trim_start_matches('/'), BINARY, 0o755, User::ROOT);
            mark(tar, SHA256.as_bytes());
        }
        if pending.contains(&"services") {
            file(tar, &format!("{CONFIG}/{SERVICES}"), &self.services, 0o644, User::ROOT);
        }
        if pending.contains(&"secrets") {
            file(tar, &format!("{CONFIG}/{SECRETS}"), self.secrets.expose_secret(), 0o600, self.owner);
        }
        let git = self.git.as_ref().filter(|config| **config != installed.git);
        if let Some(config) = git {
            file(tar, &format!("{CONFIG}/{}", git::FILE), config, 0o644, User::ROOT);
        }
        !pending.is_empty() || git.is_some()
    }

    /// What of it isn't there yet: `agent`, `services`, `secrets`.
    pub fn pending(&self, installed: &Installed) -> Vec<&'static str> {
        let compared = [
            ("agent", installed.agent),
            ("services", installed.services == self.services),
            ("secrets", installed.secrets.expose_secret() == self.secrets.expose_secret()),
        ];
        compared.into_iter().filter(|(_, same)| !same).map(|(what, _)| what).collect()
    }
}

impl Installed {
    /// The folder whose archive [`Installed::read`] takes.
    pub const FOLDER: &str = "/opt/powerdev/config";

    /// Reads the archive of [`Installed::FOLDER`]. What can't be read counts as not there.
    pub fn read(archive: &[u8]) -> Self {
        Self::unpack(archive).unwrap_or_default()
    }

    fn unpack(archive: &[u8]) -> io::Result<Self> {
        let mut found = Self::default();
        for entry in tar::Archive::new(archive).entries()? {
            let entry = entry?;
            let name = entry.path()?.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let mut content = Vec::new();
            entry.take(MOST).read_to_end(&mut content)?;
            match name.as_str() {
                MARK => found.agent = content == SHA256.as_bytes(),
                SERVICES => found.services = content,
                SECRETS => found.secrets = content.into(),
                git::FILE => found.git = content,
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Adds a folder to an archive. `path` is relative to the root.
pub fn folder(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, owner: User) {
    add(tar, tar::EntryType::Directory, &format!("{path}/"), &[], mode, owner);
}

fn file(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32, owner: User) {
    add(tar, tar::EntryType::Regular, path, content, mode, owner);
}

fn add(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, content: &[u8], mode: u32, owner: User) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.uid.into());
    header.set_gid(owner.gid.into());
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).expect("writing to memory doesn't fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(secret: &str) -> Bundle {
        let secrets = BTreeMap::from([("KEY".to_owned(), secret.to_owned())]);
        Bundle::new(&ServiceSet::default(), &secrets, User { uid: 1000, gid: 1001 }).expect("plain data")
    }

    fn packed(bundle: &Bundle, installed: &Installed) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        bundle.pack(&mut tar, installed);
        tar.into_inner().expect("memory")
    }

    #[test]
    fn what_was_delivered_is_not_sent_again() {
        let whole = packed(&bundle("one"), &Installed::default());
        let installed = Installed::read(&whole);
        assert!(bundle("one").pending(&installed).is_empty(), "{installed:?}");
        assert_eq!(bundle("two").pending(&installed), ["secrets"]);
        let named = bundle("one").with_git(b"[user]".to_vec());
        assert!(named.pending(&installed).is_empty(), "Git reads it without a restart");
        let installed = Installed { git: Installed::read(&packed(&named, &installed)).git, ..installed };
        assert_eq!(installed.git, b"[user]");
        assert!(!named.pack(&mut tar::Builder::new(Vec::new()), &installed), "nothing is missing");
        assert!(packed(&bundle("two"), &installed).len() < BINARY.len(), "the agent stays where it is");
        assert_eq!(bundle("one").pending(&Installed::read(b"no archive")), ["agent", "services", "secrets"]);
    }

    #[test]
    fn a_bundle_lost_on_its_way_is_sent_again() {
        let whole = packed(&bundle("one"), &Installed::default());
        let broken = &whole[..BINARY.len() / 2];
        let mut archive = tar::Archive::new(broken);
        let marks = archive.entries().expect("an archive").filter_map(Result::ok);
        let marks = marks.filter(|entry| entry.path().is_ok_and(|path| path.ends_with(MARK)));
        assert!(marks.map(|entry| entry.size()).eq([0]), "emptied first, and not yet filled in");
    }

    #[test]
    fn no_debug_output_holds_a_secret() {
        let bundle = bundle("hush");
        let installed = Installed::read(&packed(&bundle, &Installed::default()));
        assert!(installed.secrets.expose_secret().windows(4).any(|bytes| bytes == b"hush"));
        let shown = format!("{bundle:?} {installed:?}");
        // Bytes are shown as numbers: the whole of what `hush` would look like.
        assert!(!shown.contains("hush") && !shown.contains("104, 117, 115, 104"), "{shown}");
    }

    #[test]
    fn the_secrets_are_the_users_alone() {
        let whole = packed(&bundle("one"), &Installed::default());
        let mut archive = tar::Archive::new(whole.as_slice());
        let entries = archive.entries().expect("an archive").filter_map(Result::ok);
        let mut secrets = entries.filter(|entry| entry.path().is_ok_and(|path| path.ends_with(SECRETS)));
        let header = secrets.next().expect("there").header().clone();
        assert_eq!((header.mode().ok(), header.uid().ok(), header.gid().ok()), (Some(0o600), Some(1000), Some(1001)));
    }
}
