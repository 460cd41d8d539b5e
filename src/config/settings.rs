//! Every setting, declared once. The fields of [`Settings`], `env_template`, the commented `powerdev.yaml`, its JSON
//! Schema, the reference, the flags, `powerdev config`, "did you mean" and the layers are all derived from what
//! stands here: a setting that isn't here doesn't exist.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use powerdev_protocol::Service;

use super::hooks::Hooks;
use super::image_reference::ImageReference;
use super::layers::SettingLayers;
use super::packages::Packages;
use super::setting::{Setting, SettingValue, Syntax, Visibility};
use super::types::{
    CaBundle, ExternalDir, GpuRequest, Mount, Name, Port, Profile, Secrets, SecurityProfile, ShownValue, SshAccess,
    Word,
};
use super::wants::Want;
use crate::failure::Failure;
use crate::units::{ByteSize, Cpus};

const THE_IMAGE: &str = "The image";
const THE_MACHINE: &str = "The machine";
const THE_AGENTS: &str = "The agents";
const BLENDER: &str = "Blender (profile full)";

/// What a setting has that says nothing else.
const HOST: Setting = Setting {
    name: "",
    key: None,
    flag: None,
    default: "",
    unset: "",
    example: "",
    range: 0..=u64::MAX,
    why: "",
    syntax: Syntax::of::<String>(),
    ambient: true,
    visibility: Visibility::Host,
    group: THE_MACHINE,
};

/// Makes the struct [`Settings`], the list [`SETTINGS`] and a [`Setting`] by each one's name. A declaration reads
///
/// ```text
/// /// What it is for.
/// key_in_yaml_and_field: Type = NAME_IN_ENV { part of Setting: value, … }
/// ```
macro_rules! settings {
    (
        one value each: $(
            $(#[doc = $why:literal])+
            $field:ident: $type:ty = $name:ident { $($part:ident: $value:expr),+ $(,)? }
        )+
        made of several: $(
            $(#[doc = $doc:literal])+
            $other:ident: $other_type:ty;
        )+
    ) => {
        $(
            $(#[doc = $why])+
            pub static $name: Setting = Setting {
                name: stringify!($name),
                key: Some(stringify!($field)),
                why: concat!($($why),+).trim_ascii(),
                syntax: Syntax::of::<$type>(),
                $($part: $value,)+
                ..HOST
            };
        )+

        /// The settings that powerdev acts on, in the order of `env_template`.
        pub static SETTINGS: &[&Setting] = &[$(&$name),+];

        /// Everything that is settled about one environment before this machine is looked at.
        #[derive(Debug, Clone)]
        pub struct Settings {
            $($(#[doc = $why])+ pub $field: $type,)+
            $($(#[doc = $doc])+ pub $other: $other_type,)+
        }

        impl Settings {
            /// Reads those of one value each; the others are empty.
            ///
            /// # Errors
            /// A usage [`Failure`] for the first value that won't do.
            pub(super) fn read(layers: &SettingLayers<'_>) -> Result<Self, Failure> {
                Ok(Self {
                    $($field: SettingValue::read(&layers.resolve(&$name)?)?,)+
                    $($other: Default::default(),)+
                })
            }
        }
    };
}

settings! {
    one value each:

    /// What the environment is called; container and network are powerdev-<name>.
    name: Name = POWERDEV_NAME {
        unset: "the folder's name and a hash of its path",
        example: "my-project",
        group: THE_IMAGE,
    }
    /// Which stage of the Dockerfile: agents and build tools, or everything with CUDA and Blender.
    profile: Profile = PROFILE { default: "core", flag: Some("profile"), ambient: false, group: THE_IMAGE }
    /// An image of your own to run instead; the built-in services are off in it unless you enable them.
    image: Option<ImageReference> = IMAGE {
        unset: "powerdev's own, built here",
        example: "registry.example/team/dev:1",
        flag: Some("image"),
        ambient: false,
        group: THE_IMAGE,
    }
    /// What powerdev's own image is built on.
    base_image: Option<ImageReference> = BASE_IMAGE {
        unset: "Debian trixie, pulled, or bootstrapped where it can't be",
        example: "debian:trixie",
        flag: Some("base"),
        group: THE_IMAGE,
    }
    /// Extra CA certificates for the image; auto takes those that this machine trusts and Debian doesn't ship.
    ca_bundle: CaBundle = CA_BUNDLE { default: "auto", group: THE_IMAGE }

    /// dev lets root inside work, and not get out; strict has no root inside; trusted has no wall around it.
    security: SecurityProfile = SECURITY { default: "dev", flag: Some("security"), ambient: false }
    /// CPUs that the container may use; auto: all of them, up to 24.
    cpus: Option<Cpus> = DOCKER_CPUS { default: "auto", flag: Some("cpus") }
    /// Memory that the container may use; auto: all but an eighth (1 to 8 GiB) left to the machine.
    memory: Option<ByteSize> = DOCKER_MEMORY { default: "auto", range: 64 << 20..=ByteSize::MAX, flag: Some("memory") }
    /// Size of /dev/shm, which browsers and data loaders use.
    shm: ByteSize = DOCKER_SHM { default: "1g", range: 1 << 20..=ByteSize::MAX }
    /// Processes and threads that the container may have at once.
    pids: u32 = DOCKER_PIDS { default: "4096", range: 16..=4_194_304 }
    /// Which GPUs the container gets; auto: all that machine and Engine offer.
    gpu: GpuRequest = GPU { default: "auto", flag: Some("gpu") }
    /// Where published ports listen; 0.0.0.0 opens them to your network, without a password.
    bind_address: IpAddr = BIND_ADDRESS { default: "127.0.0.1" }
    /// The folder that appears at /workspace/ext; none: an empty one of .agent-mount.
    external_dir: ExternalDir = EXTERNAL_DIR { unset: "the project's folder", example: "~/work" }
    /// What of your SSH is usable inside: nothing; your agent and the hosts you know; or ~/.ssh, too, with its keys.
    ssh: SshAccess = SSH { default: "agent", ambient: false }

    made of several:

    /// The project's folder, absolute and without links.
    dir: PathBuf;
    /// Ports published besides those of the services.
    ports: Vec<Port>;
    /// Folders mounted besides those of powerdev.
    mounts: Vec<Mount>;
    /// Packages that the image has besides powerdev's.
    packages: Packages;
    /// Commands of the project that are run at turning points; they are among the services, too.
    hooks: Hooks;
    /// The services: built-in ones of the profile, overlaid by the project's.
    services: BTreeMap<String, Service>;
    /// Plain variables of every service and shell.
    environment: BTreeMap<String, String>;
    /// Every key of `.env` that is not a setting.
    secrets: Secrets;
    /// The file that they are in, if there is one.
    env_file: Option<PathBuf>;
    /// `.env` and the file in its place, as far as they are there; absolute and without links. No mount shows them.
    hidden_files: Vec<PathBuf>;
    /// What `powerdev config` shows: every setting with its value and where it came from; secrets redacted.
    values: Vec<ShownValue>;
    /// What the project's own files ask for beyond its folder.
    wants: Vec<Want>;
    /// What the user should know, e.g. a value that was clamped.
    notices: Vec<String>;
}

const INSIDE: Setting = Setting { visibility: Visibility::Container, group: THE_AGENTS, ..HOST };
const INSIDE_FULL: Setting = Setting { visibility: Visibility::ProfileFull, group: BLENDER, ..HOST };

/// The settings that powerdev hands to services and shells as they are, in the order of `env_template`.
pub static VARIABLES: &[Setting] = &[
    Setting {
        name: "CLAUDE_CODE_FLAGS",
        default: "--dangerously-skip-permissions",
        why: "Flags that claude is started with.",
        ..INSIDE
    },
    Setting {
        name: "CLAUDE_FLOW_MODE",
        default: "production",
        why: "claude-flow's mode.",
        syntax: Syntax::of::<Word>(),
        ..INSIDE
    },
    Setting {
        name: "NODE_ENV",
        default: "development",
        why: "Node's mode; with production npm leaves development dependencies out.",
        syntax: Syntax::of::<Word>(),
        ambient: false,
        ..INSIDE
    },
    Setting {
        name: "LOG_LEVEL",
        default: "info",
        why: "How much the services log.",
        syntax: Syntax::of::<Word>(),
        ambient: false,
        ..INSIDE
    },
    Setting {
        name: "MAX_SESSIONS",
        default: "10",
        range: 1..=10_000,
        why: "Terminals and agent sessions at once.",
        syntax: Syntax::of::<u32>(),
        ..INSIDE
    },
    Setting {
        name: "BLENDER_VERSION",
        default: "4.5",
        why: "Which Blender.",
        syntax: Syntax::of::<Word>(),
        ..INSIDE_FULL
    },
    Setting { name: "BLENDER_PATH", default: "/usr/local/blender", why: "Where Blender lies inside.", ..INSIDE_FULL },
    Setting {
        name: "DISPLAY",
        default: ":99",
        why: "The virtual display that Blender draws on.",
        ambient: false,
        ..INSIDE_FULL
    },
];

/// Secrets that many projects have, listed in `env_template` with what they are for. Any other key of `.env` that
/// isn't a setting is a secret as well.
pub const SECRETS: &[(&str, &str)] = &[
    ("ANTHROPIC_API_KEY", "Claude, for claude-code and claude-flow"),
    ("OPENAI_API_KEY", "OpenAI"),
    ("GITHUB_TOKEN", "GitHub; builds get it too, as a secret that no layer keeps"),
    ("HF_TOKEN", "Hugging Face"),
];

/// Every setting, in the order of `env_template`.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().copied().chain(VARIABLES)
}

/// The setting of this name in `.env`.
pub fn named(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}

/// The setting of this key in `powerdev.yaml`.
pub fn keyed(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().copied().find(|setting| setting.key == Some(key))
}

/// Whether this is one of [`SECRETS`].
pub fn is_known_secret(name: &str) -> bool {
    SECRETS.iter().any(|(secret, _)| *secret == name)
}

impl Settings {
    /// The container's name.
    pub fn container(&self) -> String {
        self.name.container()
    }

    /// The folder of persistent data.
    pub fn agent_mount(&self) -> PathBuf {
        self.dir.join(super::layout::AGENT_MOUNT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_whole_and_there_once() {
        let mut names = std::collections::BTreeSet::new();
        for setting in all() {
            assert!(!setting.why.is_empty() && !setting.default_text().is_empty(), "{}", setting.name);
            assert!(setting.why.ends_with('.'), "{}", setting.name);
            assert!(names.insert(setting.name), "{} twice", setting.name);
            assert!(!is_known_secret(setting.name), "{} is a secret too", setting.name);
            assert_eq!(setting.visibility == Visibility::Host, setting.key.is_some(), "{}", setting.name);
            let shown = !setting.default.is_empty() || !setting.example.is_empty();
            assert!(setting.key.is_none() || shown, "{} has nothing to show in powerdev.yaml", setting.name);
        }
    }

    #[test]
    fn variables_have_the_prefix_once() {
        assert_eq!(GPU.variable(), "POWERDEV_GPU");
        assert_eq!(POWERDEV_NAME.variable(), "POWERDEV_NAME");
    }
}
