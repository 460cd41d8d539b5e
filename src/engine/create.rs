//! A [`ContainerSpec`] in the Engine's words: the body of `POST /containers/create`.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceRequest, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig,
    Mount, MountType, MountVolumeOptions, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};

use crate::spec::{
    Confinement, ContainerSpec, Gpus, HealthCheck, MountSource, MountSpec, Published, ScratchSpec, label,
};
use crate::units::ByteSize;

/// In a millisecond; likewise billionths in a thousandth of a CPU.
const NANOSECONDS: i64 = 1_000_000;

/// The name that Docker's desktops give the machine outside, for the address that reaches it.
const HOST: &str = "host.docker.internal:host-gateway";

/// What is not said here is left to the Engine on purpose: the working directory and the image's own variables.
pub(super) fn body(spec: &ContainerSpec) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        hostname: Some(spec.hostname.clone()),
        user: Some(spec.user.to_string()),
        entrypoint: Some(spec.entrypoint.clone()),
        env: Some(spec.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(container_labels(spec)),
        exposed_ports: Some(spec.ports.iter().map(|port| port_key(*port)).collect()),
        healthcheck: Some(health(&spec.health)),
        stop_signal: Some("SIGTERM".into()),
        stop_timeout: Some(spec.stop_timeout_s.into()),
        open_stdin: Some(false),
        tty: Some(false),
        host_config: Some(host_config(spec)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ContainerSpec) -> HostConfig {
    let memory = bytes(spec.memory);
    HostConfig {
        mounts: Some(spec.mounts.iter().map(|mount_spec| mount(spec, mount_spec)).collect()),
        tmpfs: Some(spec.scratch.iter().map(|folder| (folder.target.clone(), tmpfs_options(folder))).collect()),
        port_bindings: Some(port_bindings(&spec.ports)),
        network_mode: Some(spec.network.clone().unwrap_or_else(|| "none".into())),
        extra_hosts: (spec.names_host && spec.network.is_some()).then(|| vec![HOST.into()]),
        cap_drop: Some(vec!["ALL".into()]),
        cap_add: Some(spec.confinement.capabilities.clone()),
        security_opt: Some(security_options(&spec.confinement)),
        // With version 1 of cgroups the Engine's own default shows the host's hierarchy. A kernel without this namespace
        // is warned of, and the container made all the same.
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        readonly_rootfs: Some(spec.confinement.read_only_root),
        // 0 is no limit.
        nano_cpus: Some(spec.cpus.map_or(0, |cpus| i64::from(cpus.0) * NANOSECONDS)),
        memory: Some(memory),
        // No swap besides: a container that thrashes is worse than one that is killed and restarted.
        memory_swap: Some(memory),
        pids_limit: Some(spec.pids.into()),
        shm_size: Some(bytes(spec.shm)),
        device_requests: device_requests(&spec.gpus),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([
                ("max-size".into(), spec.log.max_size.0.to_string()),
                ("max-file".into(), spec.log.max_files.to_string()),
            ])),
        }),
        // `powerdev watch` owns the budget of restarts.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        // The agent is PID 1, even where the Engine's own default says otherwise.
        init: Some(false),
        ..HostConfig::default()
    }
}

fn container_labels(spec: &ContainerSpec) -> HashMap<String, String> {
    let mut labels = own_labels(&spec.project, &spec.version);
    labels.extend([
        (label::ROLE.into(), spec.role.as_str().into()),
        (label::DIR.into(), spec.project_dir.clone()),
        (label::CONFIG.into(), spec.hash()),
        (label::SPEC.into(), spec.to_json()),
    ]);
    labels
}

/// What is on everything that belongs to an environment.
pub(super) fn own_labels(project: &str, version: &str) -> HashMap<String, String> {
    HashMap::from([(label::PROJECT.into(), project.to_owned()), (label::VERSION.into(), version.to_owned())])
}

fn bytes(size: ByteSize) -> i64 {
    i64::try_from(size.0).unwrap_or(i64::MAX)
}

fn tmpfs_options(folder: &ScratchSpec) -> String {
    let exec = if folder.exec { "exec" } else { "noexec" };
    let owner = folder.owner.map(|owner| format!(",uid={},gid={}", owner.uid, owner.gid)).unwrap_or_default();
    format!("rw,{exec},nosuid,nodev,mode={:04o}{owner}", folder.mode)
}

fn security_options(confinement: &Confinement) -> Vec<String> {
    let mut options = Vec::new();
    if confinement.unconfined {
        options.extend(["seccomp=unconfined".to_owned(), "apparmor=unconfined".to_owned()]);
    }
    if confinement.no_new_privileges {
        options.push("no-new-privileges:true".to_owned());
    }
    options
}

fn mount(container: &ContainerSpec, spec: &MountSpec) -> Mount {
    let (typ, source, volume_options) = match &spec.source {
        MountSource::Folder(source) => (MountType::BIND, source, None),
        MountSource::Volume { name, kind } => {
            let mut labels = own_labels(&container.project, &container.version);
            labels.insert(label::KIND.into(), kind.as_str().into());
            labels.insert(label::DIR.into(), container.project_dir.clone());
            (MountType::VOLUME, name, Some(MountVolumeOptions { labels: Some(labels), ..Default::default() }))
        }
    };
    Mount {
        typ: Some(typ),
        source: Some(source.clone()),
        target: Some(spec.target.clone()),
        read_only: Some(spec.read_only),
        volume_options,
        ..Mount::default()
    }
}

fn port_key(port: Published) -> String {
    format!("{}/tcp", port.container)
}

fn port_bindings(ports: &[Published]) -> PortMap {
    let mut map = PortMap::new();
    for port in ports {
        let binding = PortBinding { host_ip: Some(port.address.to_string()), host_port: Some(port.host.to_string()) };
        map.entry(port_key(*port)).or_default().get_or_insert_default().push(binding);
    }
    map
}

fn device_requests(gpus: &Gpus) -> Option<Vec<DeviceRequest>> {
    let (count, device_ids) = match gpus {
        Gpus::None => return None,
        Gpus::All => (Some(-1), None),
        Gpus::Ids(ids) => (None, Some(ids.clone())),
    };
    let capabilities = Some(vec![vec!["gpu".to_owned()]]);
    Some(vec![DeviceRequest { driver: Some("nvidia".into()), count, device_ids, capabilities, options: None }])
}

fn health(check: &HealthCheck) -> HealthConfig {
    let mut test = vec!["CMD".to_owned()];
    test.extend(check.command.iter().cloned());
    let nanoseconds = |ms: u64| Some(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(NANOSECONDS));
    HealthConfig {
        test: Some(test),
        interval: nanoseconds(check.interval_ms),
        timeout: nanoseconds(check.timeout_ms),
        start_period: nanoseconds(check.start_period_ms),
        retries: Some(check.retries.into()),
        // Only API 1.44 and up know it.
        start_interval: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::spec::{LogRotation, Role, VolumeKind};
    use crate::units::Cpus;
    use crate::units::User;

    fn spec() -> ContainerSpec {
        let volume = |name: &str, kind| MountSource::Volume { name: name.into(), kind };
        ContainerSpec {
            name: "powerdev-demo".into(),
            role: Role::Environment,
            project: "demo".into(),
            project_dir: "/home/me/demo".into(),
            version: "1.2.3".into(),
            image: "powerdev/core:0123456789ab".into(),
            hostname: "demo".into(),
            user: User { uid: 1000, gid: 1000 },
            entrypoint: vec!["/opt/powerdev/bin/powerdev-agent".into(), "init".into()],
            environment: BTreeMap::from([("NODE_ENV".into(), "development".into())]),
            mounts: vec![
                MountSpec {
                    target: "/home/dev".into(),
                    source: volume("powerdev-demo-home", VolumeKind::State),
                    read_only: false,
                },
                MountSpec {
                    target: "/opt/powerdev".into(),
                    source: MountSource::Folder("/home/me/.local/state/powerdev/demo/agent".into()),
                    read_only: true,
                },
            ],
            scratch: vec![ScratchSpec {
                target: "/run".into(),
                mode: 0o755,
                owner: Some(User { uid: 1000, gid: 1000 }),
                exec: false,
            }],
            ports: vec![
                Published { container: 3000, host: 3010, address: "127.0.0.1".parse().expect("an address") },
                Published { container: 3001, host: 33001, address: "::1".parse().expect("an address") },
            ],
            network: Some("powerdev-demo".into()),
            names_host: true,
            confinement: Confinement {
                capabilities: vec!["SYS_PTRACE".into()],
                unconfined: true,
                no_new_privileges: true,
                read_only_root: true,
            },
            cpus: Some(Cpus(4000)),
            memory: ByteSize(16 << 30),
            pids: 4096,
            shm: ByteSize(2 << 30),
            gpus: Gpus::All,
            health: HealthCheck {
                command: vec!["/opt/powerdev/bin/powerdev-agent".into(), "health".into()],
                interval_ms: 30_000,
                timeout_ms: 5_000,
                start_period_ms: 120_000,
                retries: 3,
            },
            log: LogRotation { max_size: ByteSize(10 << 20), max_files: 3 },
            stop_timeout_s: 30,
        }
    }

    #[test]
    fn the_whole_body() {
        insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!(body(&spec())) });
    }

    #[test]
    fn gpus_by_id_and_none() {
        let ids = body(&ContainerSpec { gpus: Gpus::Ids(vec!["0".into(), "GPU-1".into()]), ..spec() });
        let request = &ids.host_config.and_then(|host| host.device_requests).expect("GPUs are asked for")[0];
        assert_eq!(request.device_ids.as_deref(), Some(["0".to_owned(), "GPU-1".to_owned()].as_slice()));
        assert_eq!(request.count, None, "the Engine refuses a count besides ids");
        let none = body(&ContainerSpec { gpus: Gpus::None, ..spec() });
        assert_eq!(none.host_config.and_then(|host| host.device_requests), None);
    }

    #[test]
    fn the_labels_tell_the_specification_back() {
        let labels = body(&spec()).labels.expect("labels");
        assert_eq!(ContainerSpec::from_json(&labels[label::SPEC]), Some(spec()));
        assert_eq!(labels[label::CONFIG].len(), 64);
        assert_ne!(labels[label::CONFIG], ContainerSpec { pids: 1, ..spec() }.hash());
    }
}
