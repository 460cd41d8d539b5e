//! What an Engine is and can do.

use std::collections::BTreeMap;

use serde::Serialize;

use super::redact::without_passwords;
use super::{ApiVersion, Engine, EngineError, Operation};

/// What an Engine is and can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EngineInfo {
    /// Its release: `20.10.24+dfsg1`.
    pub version: String,
    /// Its API's version.
    pub api_version: String,
    /// CPUs of its machine; 0 where it doesn't tell.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory: u64,
    /// Operating system, in words: `Debian GNU/Linux 13 (trixie)`.
    pub os: String,
    /// Architecture: `x86_64`, `aarch64`.
    pub arch: String,
    /// Its kernel's release: `6.1.0-18-amd64`.
    pub kernel: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// It can limit CPUs; else it refuses a container with such a limit.
    pub limits_cpus: bool,
    /// It can limit memory; else it leaves such a limit out.
    pub limits_memory: bool,
    /// It can tell a container the address of its machine.
    pub names_host: bool,
    /// It runs without root.
    pub rootless: bool,
    /// Where it keeps its data, on its machine.
    pub root_dir: String,
    /// How it stores images: `overlay2`.
    pub storage_driver: String,
    /// `apparmor`, `seccomp`, `rootless`, `userns`, …
    pub security_options: Vec<String>,
    /// The OCI runtimes that it knows: `runc`, `nvidia`.
    pub runtimes: Vec<String>,
    /// It can hand out GPUs: NVIDIA's runtime or a CDI device is there.
    pub gpu: bool,
    /// Mirrors of Docker Hub that it asks first. Without passwords.
    pub mirrors: Vec<String>,
    /// Its own proxies, by the variable's name in capitals. Without passwords.
    pub proxies: BTreeMap<String, String>,
    /// Its machine's name.
    pub name: String,
    /// What it warns of itself.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Asks the Engine about itself. Takes some 10 ms.
    ///
    /// # Errors
    /// As every call.
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        let info = self.call(Operation::Info, self.docker.info()).await?;
        let security = info.security_options.unwrap_or_default();
        // `name=seccomp,profile=default`
        let names = security.iter().filter_map(|option| {
            option.split(',').find_map(|part| part.strip_prefix("name=")).or(Some(option.as_str()))
        });
        let security_options: Vec<String> = names.map(str::to_owned).collect();
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        let cdi = info
            .discovered_devices
            .unwrap_or_default()
            .iter()
            .any(|device| device.id.as_deref().is_some_and(|id| id.starts_with("nvidia.com/gpu")));
        let proxies = [("HTTP_PROXY", info.http_proxy), ("HTTPS_PROXY", info.https_proxy), ("NO_PROXY", info.no_proxy)];
        let proxies = proxies.into_iter().filter_map(|(name, value)| {
            Some((name.to_owned(), without_passwords(&value.filter(|value| !value.is_empty())?)))
        });
        let ApiVersion(major, minor) = self.api_version;
        Ok(EngineInfo {
            version: info.server_version.unwrap_or_default(),
            api_version: format!("{major}.{minor}"),
            cpus: info.ncpu.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1),
            memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default(),
            os: info.operating_system.unwrap_or_default(),
            arch: info.architecture.unwrap_or_default(),
            kernel: info.kernel_version.unwrap_or_default(),
            cgroup_version: info.cgroup_version.map_or_else(|| "1".into(), |version| version.to_string()),
            limits_cpus: info.cpu_cfs_quota.unwrap_or(true),
            limits_memory: info.memory_limit.unwrap_or(true),
            // Since Engine 20.10; an older one refuses a container that asks for it.
            names_host: (major, minor) >= (1, 41),
            rootless: security_options.iter().any(|option| option == "rootless"),
            root_dir: info.docker_root_dir.unwrap_or_default(),
            storage_driver: info.driver.unwrap_or_default(),
            mirrors: info
                .registry_config
                .and_then(|config| config.mirrors)
                .unwrap_or_default()
                .iter()
                .map(|mirror| without_passwords(mirror))
                .collect(),
            proxies: proxies.collect(),
            gpu: cdi || runtimes.iter().any(|runtime| runtime == "nvidia"),
            security_options,
            runtimes,
            name: info.name.unwrap_or_default(),
            warnings: info.warnings.unwrap_or_default(),
        })
    }
}
