//! The whole plan as snapshots, for a table of configurations. `cargo insta review`, or `INSTA_UPDATE=always cargo
//! test plan`, takes a change that is meant.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::{Mount, Port};
use crate::failure::Failure;
use crate::host::Gpu;

const GIB: u64 = 1 << 30;

/// Settings from files in a folder of their own, then with a folder and a name that every machine has.
fn settings(yaml: &str, env: &str) -> Settings {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("powerdev.yaml"), yaml).expect("written");
    std::fs::write(dir.path().join(".env"), env).expect("written");
    let settings = crate::config::load_alone(dir.path()).expect("right");
    Settings { name: "demo".parse().expect("a name"), dir: PathBuf::from("/home/me/demo"), ..settings }
}

fn host() -> HostFacts {
    HostFacts {
        cpus: 8,
        memory: 32 * GIB,
        uid: 1000,
        gid: 1000,
        gpus: Vec::new(),
        ssh_dir: Some("/home/me/.ssh".into()),
        ssh_agent: Some("/run/user/1000/ssh.sock".into()),
        timezone: Some("Europe/Zurich".into()),
    }
}

fn with_gpus() -> HostFacts {
    let gpu = |index: u32| Gpu { index, uuid: format!("GPU-{index}{index}"), name: "RTX".into(), memory: 24 * GIB };
    HostFacts { gpus: vec![gpu(0), gpu(1)], ..host() }
}

fn image() -> ImageFacts {
    let state = Path::new("/home/me/.local/state/powerdev/demo");
    ImageFacts {
        tag: "powerdev/core:0123456789ab".into(),
        share: AgentShare::Folders { agent: state.join("agent"), run: state.join("run") },
        gpu_runtime: false,
        ports: BTreeMap::new(),
        engine_cpus: 8,
        engine_memory: 32 * GIB,
        limits_cpus: true,
        limits_memory: true,
    }
}

/// The plan as it is compared. The release isn't part of it: a new one must not change every snapshot.
fn shown(settings: &Settings, host: &HostFacts, image: &ImageFacts) -> String {
    let plan = plan(settings, host, image).expect("it can be planned");
    let json = serde_json::to_string_pretty(&plan).expect("JSON");
    json.replace(concat!("\"", env!("CARGO_PKG_VERSION"), "\""), "\"VERSION\"")
}

macro_rules! snapshot {
    ($name:literal, $settings:expr, $host:expr, $image:expr) => {
        insta::assert_snapshot!($name, shown(&$settings, &$host, &$image));
    };
}

#[test]
fn plans_of_a_table_of_configurations() {
    let default = || settings("", "");
    let gpus = ImageFacts { gpu_runtime: true, ..image() };
    snapshot!("default", default(), host(), image());
    snapshot!("strict", settings("security: strict\n", ""), host(), image());
    snapshot!("full_profile", settings("profile: full\n", ""), host(), image());
    snapshot!("gpu_auto_found", default(), with_gpus(), gpus);
    snapshot!("gpu_auto_without_runtime", default(), with_gpus(), image());
    snapshot!("gpu_none", settings("gpu: none\n", ""), with_gpus(), gpus);
    snapshot!("gpu_ids", settings("gpu: [1]\n", ""), with_gpus(), gpus);
    snapshot!("limits_set", settings("cpus: 2.5\nmemory: 4g\nshm: 256m\npids: 512\n", ""), host(), image());
    snapshot!("limits_clamped", settings("", "DOCKER_CPUS=64\nDOCKER_MEMORY=1t\n"), host(), image());
    let large = ImageFacts { engine_cpus: 96, engine_memory: 512 * GIB, ..image() };
    snapshot!("large_machine", default(), host(), large);
    let own = "image: mine:1\nservices: {web: {command: serve, ports: [80], stop: {grace: 2.5}}}\n";
    snapshot!("image_of_ones_own", settings(own, ""), host(), ImageFacts { tag: "mine:1".into(), ..image() });
    let ports = settings("ports: [8080, \"3333:3000\"]\nbind_address: 0.0.0.0\n", "");
    let found = ImageFacts { ports: BTreeMap::from([(8080, 40_000)]), ..image() };
    snapshot!("ports_moved_and_replaced", ports, host(), found);
    let mounts = vec![
        Mount { source: "/srv/data".into(), target: "/data".into(), read_only: true },
        Mount { source: "/srv/repo".into(), target: "/home/dev/workspace/repo".into(), read_only: false },
    ];
    let external = Settings { mounts, external_dir: Some("/srv/project".into()), ..default() };
    snapshot!("mounts_and_external_folder", external, host(), image());
    let bare = HostFacts { ssh_dir: None, ssh_agent: None, timezone: None, uid: 501, gid: 20, ..host() };
    snapshot!("no_ssh_no_time_zone", default(), bare, image());
    snapshot!("engine_elsewhere", default(), host(), ImageFacts { share: AgentShare::Volumes, ..gpus });
}

#[test]
fn an_engine_that_cannot_limit_gets_no_limit_that_it_would_refuse() {
    let image = ImageFacts { limits_cpus: false, limits_memory: false, ..image() };
    let plan = plan(&settings("cpus: 2\n", ""), &host(), &image).expect("it can be planned");
    assert_eq!(plan.container.nano_cpus, 0);
    for what in ["the Engine can't limit CPUs", "the Engine can't limit memory"] {
        assert!(plan.notices.iter().any(|notice| notice.contains(what)), "{:?}", plan.notices);
    }
}

#[test]
fn gpus_that_are_not_there_are_refused() {
    let runtime = ImageFacts { gpu_runtime: true, ..image() };
    for (gpu, host, image, message) in [
        ("all", host(), &runtime, "GPU=all: this machine shows no NVIDIA GPU"),
        ("all", with_gpus(), &image(), "GPU=all: the Engine can't hand out GPUs"),
        ("0,7", with_gpus(), &runtime, "GPU=0,7: this machine has no GPU 7"),
        ("GPU-zz", with_gpus(), &runtime, "GPU=GPU-zz: this machine has no GPU GPU-zz"),
    ] {
        let error = plan(&settings("", &format!("GPU={gpu}\n")), &host, image).expect_err(gpu);
        let failure = error.downcast_ref::<Failure>().expect("a Failure");
        assert_eq!(failure.message, message);
        assert_eq!(failure.code, powerdev_protocol::ExitCode::Usage);
        assert!(failure.hint.is_some());
    }
}

#[test]
fn secrets_are_in_no_plan() {
    let settings = settings("", "MY_KEY=canary-in-a-coal-mine\nHF_TOKEN=canary-too\n");
    let plan = plan(&settings, &host(), &image()).expect("it can be planned");
    let set = service_set(&settings, &host(), &plan.container.gpus, &image().share);
    for text in [serde_json::to_string(&plan), serde_json::to_string(&set)] {
        assert!(!text.expect("JSON").contains("canary"));
    }
}

#[test]
fn the_agent_gets_every_service_and_their_order() {
    let yaml = "services:\n  a: {command: x, depends_on: {b: ready}}\n  b: {command: x}\n  off: {command: x, enabled: false}\nimage: mine:1\n";
    let set = service_set(&settings(yaml, ""), &host(), &Gpus::None, &image().share);
    assert_eq!(set.environment["POWERDEV_SERVICES"], "b a");
    assert_eq!(set.environment["LOG_LEVEL"], "info");
    assert!(!set.services["off"].enabled);
    assert!(!set.environment.contains_key("HOME"));
}

#[test]
fn stopping_takes_as_long_as_the_longest_chain() {
    let yaml = "image: mine:1\nservices:\n  a: {command: x, stop: {grace: 7}}\n  b: {command: x, stop: {grace: 3.2}, depends_on: {a: ready}}\n  c: {command: x, stop: {grace: 10}}\n";
    let plan = plan(&settings(yaml, ""), &host(), &image()).expect("it can be planned");
    assert_eq!(plan.container.stop_timeout, 16, "7 + 3.2 for the chain, 5 for the agent, in whole seconds");
}

#[test]
fn a_container_differs_in_what_was_changed_and_in_nothing_else() {
    let before = plan(&settings("", ""), &host(), &image()).expect("it can be planned").container;
    assert_eq!(differences(&before, &before), []);
    let anew = HostFacts { ssh_agent: Some("/tmp/ssh-2/agent.2".into()), ..host() };
    let mut later = plan(&settings("", ""), &anew, &image()).expect("it can be planned").container;
    later.labels.insert(label::VERSION.into(), "9.9.9".into());
    assert_eq!(differences(&before, &later), [], "a new login or a new release is no drift");

    let mut changed = settings("cpus: 2\nshm: 2g\nsecurity: strict\nenvironment: {TEAM: a}\n", "");
    changed.ports.push(Port { container: 8080, host: 8081 });
    let after = plan(&changed, &host(), &image()).expect("it can be planned").container;
    let told: BTreeMap<String, (String, String)> =
        differences(&before, &after).into_iter().map(|d| (d.setting, (d.was, d.is))).collect();
    for (setting, was, is) in [
        ("DOCKER_CPUS", "8", "2"),
        ("DOCKER_SHM", "1 GiB", "2 GiB"),
        ("port 8080", "none", "127.0.0.1:8081"),
        ("variable TEAM", "none", "a"),
        ("read-only root", "no", "yes"),
    ] {
        assert_eq!(told.get(setting), Some(&(was.to_owned(), is.to_owned())), "{setting}: {told:?}");
    }
    assert!(!told.contains_key("DOCKER_MEMORY"), "{told:?}");
}
