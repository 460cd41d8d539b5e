//! The table of settings. `env_template`, the reference, `powerdev config`, "did you mean" and the layers are all
//! derived from it: a setting that isn't here doesn't exist.

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An environment's name.
    Name,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A number of CPUs, or `auto`.
    Cpus,
    /// An amount of bytes.
    Size,
    /// An amount of bytes, or `auto`.
    SizeOrAuto,
    /// A whole number.
    Count,
    /// `auto`, `all`, `none`, or ids.
    Gpu,
    /// An IP address.
    Address,
    /// A folder of this machine.
    Folder,
    /// A reference to an image.
    Image,
    /// `auto`, `none`, or a PEM file.
    CaBundle,
    /// Any text.
    Text,
}

impl Kind {
    /// In words, for the reference.
    pub fn describe(self) -> String {
        match self {
            Self::Name => "a name".into(),
            Self::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
            Self::Cpus => "a number, or `auto`".into(),
            Self::Size => "a size such as `512m`".into(),
            Self::SizeOrAuto => "a size such as `16g`, or `auto`".into(),
            Self::Count => "a whole number".into(),
            Self::Gpu => "`auto`, `all`, `none`, or ids such as `0,1`".into(),
            Self::Address => "an IP address".into(),
            Self::Folder => "a folder".into(),
            Self::Image => "an image".into(),
            Self::CaBundle => "`auto`, `none`, or a PEM file".into(),
            Self::Text => "text".into(),
        }
    }
}

/// Who gets to see a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// powerdev alone.
    Host,
    /// Every service and shell.
    Container,
    /// Every service and shell of the profile `full`; of other profiles only where it is set.
    Full,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name in `.env`.
    pub name: &'static str,
    /// Its key in `powerdev.yaml`; None: a key of `environment` there.
    pub yaml: Option<&'static str>,
    /// What it takes.
    pub kind: Kind,
    /// Its default; empty: what [`Setting::unset`] says.
    pub default: &'static str,
    /// What happens when it isn't set and has no default.
    pub unset: &'static str,
    /// What it is for.
    pub why: &'static str,
    /// A variable of its bare name in powerdev's own environment sets it too. Not so where the name commonly means
    /// something else there.
    pub ambient: bool,
    /// Who sees it.
    pub scope: Scope,
    /// The heading that it stands under.
    pub group: &'static str,
}

impl Setting {
    /// The variable of powerdev's own environment that always sets it.
    pub fn variable(&self) -> String {
        if self.name.starts_with(PREFIX) { self.name.to_owned() } else { format!("{PREFIX}{}", self.name) }
    }

    /// The default in words.
    pub fn default_text(&self) -> &'static str {
        if self.default.is_empty() { self.unset } else { self.default }
    }
}

/// What the names of powerdev's own variables start with.
pub const PREFIX: &str = "POWERDEV_";

const IMAGE: &str = "The image";
const MACHINE: &str = "The machine";
const AGENTS: &str = "The agents";
const BLENDER: &str = "Blender (profile full)";

const HOST: Setting = Setting {
    name: "",
    yaml: None,
    kind: Kind::Text,
    default: "",
    unset: "",
    why: "",
    ambient: true,
    scope: Scope::Host,
    group: MACHINE,
};
const INSIDE: Setting = Setting { scope: Scope::Container, group: AGENTS, ..HOST };

/// Every setting, in the order of `env_template`.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "POWERDEV_NAME",
        yaml: Some("name"),
        kind: Kind::Name,
        unset: "the folder's name and a hash of its path",
        why: "What the environment is called; container and network are powerdev-<name>.",
        group: IMAGE,
        ..HOST
    },
    Setting {
        name: "PROFILE",
        yaml: Some("profile"),
        kind: Kind::Choice(&["core", "full"]),
        default: "core",
        why: "Which stage of the Dockerfile: agents and build tools, or everything with CUDA and Blender.",
        ambient: false,
        group: IMAGE,
        ..HOST
    },
    Setting {
        name: "IMAGE",
        yaml: Some("image"),
        kind: Kind::Image,
        unset: "powerdev's own, built here",
        why: "An image of your own to run instead; the built-in services are off in it unless you enable them.",
        ambient: false,
        group: IMAGE,
        ..HOST
    },
    Setting {
        name: "BASE_IMAGE",
        yaml: Some("base_image"),
        kind: Kind::Image,
        unset: "Debian trixie, pulled, or bootstrapped where it can't be",
        why: "What powerdev's own image is built on.",
        group: IMAGE,
        ..HOST
    },
    Setting {
        name: "CA_BUNDLE",
        yaml: Some("ca_bundle"),
        kind: Kind::CaBundle,
        default: "auto",
        why: "Extra CA certificates for the image; auto takes those that this machine trusts and Debian doesn't ship.",
        group: IMAGE,
        ..HOST
    },
    Setting {
        name: "SECURITY",
        yaml: Some("security"),
        kind: Kind::Choice(&["dev", "strict"]),
        default: "dev",
        why: "dev allows debuggers and nested containers; strict allows no capability and no writable root.",
        ambient: false,
        ..HOST
    },
    Setting {
        name: "DOCKER_CPUS",
        yaml: Some("cpus"),
        kind: Kind::Cpus,
        default: "auto",
        why: "CPUs that the container may use; auto: all of them, up to 24.",
        ..HOST
    },
    Setting {
        name: "DOCKER_MEMORY",
        yaml: Some("memory"),
        kind: Kind::SizeOrAuto,
        default: "auto",
        why: "Memory that the container may use; auto: all but an eighth (1 to 8 GiB) left to the machine.",
        ..HOST
    },
    Setting {
        name: "DOCKER_SHM",
        yaml: Some("shm"),
        kind: Kind::Size,
        default: "1g",
        why: "Size of /dev/shm, which browsers and data loaders use.",
        ..HOST
    },
    Setting {
        name: "DOCKER_PIDS",
        yaml: Some("pids"),
        kind: Kind::Count,
        default: "4096",
        why: "Processes and threads that the container may have at once.",
        ..HOST
    },
    Setting {
        name: "GPU",
        yaml: Some("gpu"),
        kind: Kind::Gpu,
        default: "auto",
        why: "Which GPUs the container gets; auto: all that machine and Engine offer.",
        ..HOST
    },
    Setting {
        name: "BIND_ADDRESS",
        yaml: Some("bind_address"),
        kind: Kind::Address,
        default: "127.0.0.1",
        why: "Where published ports listen; 0.0.0.0 opens them to your network, without a password.",
        ..HOST
    },
    Setting {
        name: "EXTERNAL_DIR",
        yaml: Some("external_dir"),
        kind: Kind::Folder,
        unset: ".agent-mount/ext",
        why: "A folder of this machine that appears at /workspace/ext.",
        ..HOST
    },
    Setting {
        name: "CLAUDE_CODE_FLAGS",
        default: "--dangerously-skip-permissions",
        why: "Flags that claude is started with.",
        ..INSIDE
    },
    Setting { name: "CLAUDE_FLOW_MODE", default: "production", why: "claude-flow's mode.", ..INSIDE },
    Setting {
        name: "NODE_ENV",
        default: "development",
        why: "Node's mode; with production npm leaves development dependencies out.",
        ambient: false,
        ..INSIDE
    },
    Setting { name: "LOG_LEVEL", default: "info", why: "How much the services log.", ambient: false, ..INSIDE },
    Setting {
        name: "MAX_SESSIONS",
        kind: Kind::Count,
        default: "10",
        why: "Terminals and agent sessions at once.",
        ..INSIDE
    },
    Setting {
        name: "BLENDER_VERSION",
        default: "4.5",
        why: "Which Blender.",
        scope: Scope::Full,
        group: BLENDER,
        ..HOST
    },
    Setting {
        name: "BLENDER_PATH",
        default: "/usr/local/blender",
        why: "Where Blender lies inside.",
        scope: Scope::Full,
        group: BLENDER,
        ..HOST
    },
    Setting {
        name: "DISPLAY",
        default: ":99",
        why: "The virtual display that Blender draws on.",
        ambient: false,
        scope: Scope::Full,
        group: BLENDER,
        ..HOST
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

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_whole_and_there_once() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert!(!setting.why.is_empty() && !setting.default_text().is_empty(), "{}", setting.name);
            assert!(setting.why.ends_with('.'), "{}", setting.name);
            assert!(SETTINGS[..index].iter().all(|other| other.name != setting.name), "{} twice", setting.name);
            assert!(SECRETS.iter().all(|(secret, _)| *secret != setting.name), "{} is a secret too", setting.name);
            assert_eq!(setting.scope == Scope::Host, setting.yaml.is_some(), "{}", setting.name);
        }
    }

    #[test]
    fn variables_have_the_prefix_once() {
        assert_eq!(find("GPU").map(Setting::variable).as_deref(), Some("POWERDEV_GPU"));
        assert_eq!(find("POWERDEV_NAME").map(Setting::variable).as_deref(), Some("POWERDEV_NAME"));
    }
}
