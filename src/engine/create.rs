//! A [`ContainerSpec`] in the Engine's words: the body of `POST /containers/create`.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, DeviceRequest, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};

use super::spec::{ContainerSpec, Gpus, HealthSpec, MountSource, MountSpec, PortSpec, label};

const NANOSECONDS: i64 = 1_000_000;

/// What is not said here is left to the Engine on purpose: the working directory and the image's own variables.
pub(super) fn body(spec: &ContainerSpec) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        hostname: Some(spec.hostname.clone()),
        user: Some(spec.user.clone()),
        entrypoint: Some(spec.entrypoint.clone()),
        env: Some(spec.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(labels(spec)),
        exposed_ports: Some(spec.ports.iter().map(|port| port_key(*port)).collect()),
        healthcheck: Some(health(&spec.health)),
        stop_signal: Some("SIGTERM".into()),
        stop_timeout: Some(spec.stop_timeout),
        open_stdin: Some(false),
        tty: Some(false),
        host_config: Some(host_config(spec)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ContainerSpec) -> HostConfig {
    HostConfig {
        mounts: Some(spec.mounts.iter().map(mount).collect()),
        tmpfs: Some(hash_map(&spec.tmpfs)),
        port_bindings: Some(port_bindings(&spec.ports)),
        network_mode: Some(spec.network.clone()),
        cap_drop: Some(spec.cap_drop.clone()),
        cap_add: Some(spec.cap_add.clone()),
        security_opt: Some(spec.security_opt.clone()),
        readonly_rootfs: Some(spec.read_only_root),
        nano_cpus: Some(spec.nano_cpus),
        memory: Some(spec.memory),
        // No swap besides: a container that thrashes is worse than one that is killed and restarted.
        memory_swap: Some(spec.memory),
        pids_limit: Some(spec.pids_limit),
        shm_size: Some(spec.shm_size),
        device_requests: device_requests(&spec.gpus),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([
                ("max-size".into(), spec.log_max_size.clone()),
                ("max-file".into(), spec.log_max_files.to_string()),
            ])),
        }),
        // `powerdev watch` owns the budget of restarts.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        // The agent is PID 1, even where the Engine's own default says otherwise.
        init: Some(false),
        ..HostConfig::default()
    }
}

fn labels(spec: &ContainerSpec) -> HashMap<String, String> {
    let mut labels = hash_map(&spec.labels);
    labels.insert(label::CONFIG.into(), spec.hash());
    labels.insert(label::SPEC.into(), spec.to_json());
    labels
}

fn hash_map(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn mount(spec: &MountSpec) -> Mount {
    let (typ, source, volume_options) = match &spec.source {
        MountSource::Bind(source) => (MountType::BIND, source, None),
        MountSource::Volume { name, labels } => {
            (MountType::VOLUME, name, Some(MountVolumeOptions { labels: Some(hash_map(labels)), ..Default::default() }))
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

fn port_key(port: PortSpec) -> String {
    format!("{}/tcp", port.container)
}

fn port_bindings(ports: &[PortSpec]) -> PortMap {
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

fn health(spec: &HealthSpec) -> HealthConfig {
    let mut test = vec!["CMD".to_owned()];
    test.extend(spec.command.iter().cloned());
    HealthConfig {
        test: Some(test),
        interval: Some(spec.interval_ms * NANOSECONDS),
        timeout: Some(spec.timeout_ms * NANOSECONDS),
        start_period: Some(spec.start_period_ms * NANOSECONDS),
        retries: Some(spec.retries),
        // Only API 1.44 and up know it.
        start_interval: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ContainerSpec {
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect::<BTreeMap<_, _>>()
        };
        ContainerSpec {
            name: "powerdev-demo".into(),
            image: "powerdev/core:latest".into(),
            hostname: "demo".into(),
            user: "1000:1000".into(),
            entrypoint: vec!["/opt/powerdev/bin/powerdev-agent".into(), "init".into()],
            environment: labels(&[("LANG", "C.UTF-8"), ("TZ", "Europe/Zurich")]),
            labels: labels(&[(label::PROJECT, "demo"), (label::VERSION, "0.1.0")]),
            mounts: vec![
                MountSpec {
                    target: "/home/dev".into(),
                    source: MountSource::Volume {
                        name: "powerdev-demo-home".into(),
                        labels: labels(&[(label::PROJECT, "demo"), (label::KIND, "state")]),
                    },
                    read_only: false,
                },
                MountSpec {
                    target: "/opt/powerdev".into(),
                    source: MountSource::Bind("/home/me/.local/state/powerdev/demo/agent".into()),
                    read_only: true,
                },
            ],
            tmpfs: labels(&[("/tmp", "rw,nosuid,nodev,mode=1777")]),
            ports: vec![
                PortSpec { container: 3000, host: 3000, address: [127, 0, 0, 1].into() },
                PortSpec { container: 3001, host: 33001, address: "::1".parse().expect("an address") },
            ],
            network: "powerdev-demo".into(),
            cap_drop: vec!["ALL".into()],
            cap_add: vec!["SYS_PTRACE".into()],
            security_opt: vec!["seccomp=unconfined".into(), "apparmor=unconfined".into()],
            read_only_root: true,
            nano_cpus: 4_000_000_000,
            memory: 16 << 30,
            pids_limit: 4096,
            shm_size: 2 << 30,
            gpus: Gpus::All,
            health: HealthSpec {
                command: vec!["/opt/powerdev/bin/powerdev-agent".into(), "health".into()],
                interval_ms: 30_000,
                timeout_ms: 5_000,
                start_period_ms: 120_000,
                retries: 3,
            },
            log_max_size: "10m".into(),
            log_max_files: 3,
            stop_timeout: 30,
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
        assert_ne!(labels[label::CONFIG], ContainerSpec { pids_limit: 1, ..spec() }.hash());
    }
}
