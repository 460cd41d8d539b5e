//! The whole plan as snapshots, for a table of configurations. `cargo insta review`, or `INSTA_UPDATE=always cargo
//! test plan`, takes a change that is meant.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::{ExternalDir, Mount, Port};
use crate::failure::Failure;
use crate::host::Gpu;
use crate::units::User;

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
        user: User { uid: 1000, gid: 1000 },
        gpus: Vec::new(),
        home: Some("/home/me".into()),
        ssh_dir: Some("/home/me/.ssh".into()),
        ssh_agent: Some("/run/user/1000/ssh.sock".into()),
        name: Some("box".into()),
        timezone: Some("Europe/Zurich".into()),
    }
}

fn place() -> PlaceFacts {
    let state = Path::new("/home/me/.local/state/powerdev/demo");
    PlaceFacts {
        share: AgentShare::Folders { agent: state.join("agent"), run: state.join("run"), empty: state.join("empty") },
        gpus: Some(Vec::new()),
        repositories: Vec::new(),
        project_owner: None,
        ssh_relay: Some(state.join("ssh")),
        gpu_runtime: false,
        cpus: 8,
        memory: 32 * GIB,
        limits_cpus: true,
        limits_memory: true,
        names_host: true,
    }
}

fn with_gpus() -> PlaceFacts {
    let gpu = |index: u32| Gpu { index, uuid: format!("GPU-{index}{index}"), name: "RTX".into(), memory: 24 * GIB };
    PlaceFacts { gpus: Some(vec![gpu(0), gpu(1)]), ..place() }
}

fn selection() -> Selection {
    Selection { image: "powerdev/core:0123456789ab".into(), ports: BTreeMap::new() }
}

fn planned(settings: &Settings, host: &HostFacts, place: &PlaceFacts) -> Plan {
    plan(settings, host, place, &selection()).expect("it can be planned")
}

/// The plan as it is compared. The release isn't part of it: a new one must not change every snapshot.
fn shown(settings: &Settings, host: &HostFacts, place: &PlaceFacts, selection: &Selection) -> String {
    let plan = plan(settings, host, place, selection).expect("it can be planned");
    let json = serde_json::to_string_pretty(&plan).expect("JSON");
    json.replace(concat!("\"", env!("CARGO_PKG_VERSION"), "\""), "\"VERSION\"")
}

macro_rules! snapshot {
    ($name:literal, $settings:expr, $host:expr, $place:expr) => {
        snapshot!($name, $settings, $host, $place, selection());
    };
    ($name:literal, $settings:expr, $host:expr, $place:expr, $selection:expr) => {
        insta::assert_snapshot!($name, shown(&$settings, &$host, &$place, &$selection));
    };
}

#[test]
fn plans_of_a_table_of_configurations() {
    let default = || settings("", "");
    let runtime = PlaceFacts { gpu_runtime: true, ..with_gpus() };
    snapshot!("default", default(), host(), place());
    snapshot!("strict", settings("security: strict\n", ""), host(), place());
    snapshot!("trusted", settings("security: trusted\n", ""), host(), place());
    snapshot!("full_profile", settings("profile: full\n", ""), host(), place());
    snapshot!("ssh_keys", settings("ssh: keys\n", ""), host(), place());
    snapshot!("ssh_none", settings("", "SSH=none\n"), host(), place());
    snapshot!("gpu_auto_found", default(), host(), runtime);
    snapshot!("gpu_auto_without_runtime", default(), host(), with_gpus());
    snapshot!("gpu_none", settings("gpu: none\n", ""), host(), runtime);
    snapshot!("gpu_ids", settings("gpu: [1]\n", ""), host(), runtime);
    snapshot!("limits_set", settings("cpus: 2.5\nmemory: 4g\nshm: 256m\npids: 512\n", ""), host(), place());
    snapshot!("limits_clamped", settings("", "DOCKER_CPUS=64\nDOCKER_MEMORY=1t\n"), host(), place());
    snapshot!("large_machine", default(), host(), PlaceFacts { cpus: 96, memory: 512 * GIB, ..place() });
    let own = "image: mine:1\nservices: {web: {command: serve, ports: [80], stop: {grace: 2.5}}}\n";
    let mine = Selection { image: "mine:1".into(), ..selection() };
    snapshot!("image_of_ones_own", settings(own, ""), host(), place(), mine);
    let ports = settings("ports: [8080, \"3333:3000\"]\nbind_address: 0.0.0.0\n", "");
    let found = Selection { ports: BTreeMap::from([(8080, 40_000)]), ..selection() };
    snapshot!("ports_moved_and_replaced", ports, host(), place(), found);
    let mounts = vec![
        Mount { source: "/srv/data".into(), target: "/data".into(), read_only: true },
        Mount { source: "/srv/repo".into(), target: "/home/dev/workspace/repo".into(), read_only: false },
    ];
    let external = Settings { mounts, external_dir: ExternalDir::Folder("/srv/project".into()), ..default() };
    snapshot!("mounts_and_external_folder", external.clone(), host(), place());
    // One repository that is mounted twice, writable once; one that is seen through a folder above it; one elsewhere.
    let repositories = ["/srv/data", "/srv/project/below", "/srv/repo", "/srv/other"].map(PathBuf::from).to_vec();
    snapshot!("hooks_of_repositories", external, host(), PlaceFacts { repositories, ..place() });
    let above = vec![Mount { source: "/home/me".into(), target: "/above".into(), read_only: true }];
    let hidden_files = vec!["/home/me/demo/.env".into(), "/srv/keys.env".into()];
    snapshot!("project_seen_twice", Settings { mounts: above, hidden_files, ..default() }, host(), place());
    let bare = HostFacts { ssh_dir: None, ssh_agent: None, timezone: None, user: User { uid: 501, gid: 20 }, ..host() };
    snapshot!("no_ssh_no_time_zone", default(), bare, PlaceFacts { ssh_relay: None, ..place() });
    let elsewhere = PlaceFacts { share: AgentShare::Volumes, gpus: None, ssh_relay: None, ..runtime };
    snapshot!("engine_elsewhere", default(), host(), elsewhere);
}

#[test]
fn a_folder_that_holds_more_than_a_project_is_not_mounted_unless_it_is_named() {
    let mounted = |settings: &Settings| {
        let plan = planned(settings, &host(), &place());
        let folder = plan.environment().folder_at("/workspace/ext").map(Path::to_path_buf);
        (folder.expect("a folder"), plan.notices)
    };
    for dir in ["/", "/home", "/home/me", "/home/me/.local/state/powerdev", "/tmp"] {
        let settings = Settings { dir: dir.into(), ..settings("", "") };
        let (folder, notices) = mounted(&settings);
        assert_eq!(folder, Path::new(dir).join(".agent-mount/ext"));
        assert!(notices.iter().any(|notice| notice.contains("holds more than a project")), "{dir}: {notices:?}");
        let named = Settings { external_dir: ExternalDir::Folder(dir.into()), ..settings };
        assert_eq!(mounted(&named).0, Path::new(dir));
    }
    let (folder, notices) = mounted(&settings("", ""));
    assert_eq!((folder.as_path(), notices.len()), (Path::new("/home/me/demo"), 0), "{notices:?}");
    let none = Settings { external_dir: ExternalDir::None, ..settings("", "") };
    assert_eq!(mounted(&none).0, Path::new("/home/me/demo/.agent-mount/ext"));
}

#[test]
fn an_engine_that_cannot_limit_gets_no_limit_that_it_would_refuse() {
    let place = PlaceFacts { limits_cpus: false, limits_memory: false, ..place() };
    let plan = planned(&settings("cpus: 2\n", ""), &host(), &place);
    assert_eq!(plan.environment().cpus, None);
    for what in ["the Engine can't limit CPUs", "the Engine can't limit memory"] {
        assert!(plan.notices.iter().any(|notice| notice.contains(what)), "{:?}", plan.notices);
    }
}

#[test]
fn gpus_that_are_not_there_are_refused() {
    let runtime = |place: PlaceFacts| PlaceFacts { gpu_runtime: true, ..place };
    for (gpu, place, message) in [
        ("all", runtime(place()), "GPU=all: this machine shows no NVIDIA GPU"),
        ("all", with_gpus(), "GPU=all: the Engine can't hand out GPUs"),
        ("0,7", runtime(with_gpus()), "GPU=0,7: this machine has no GPU 7"),
        ("GPU-zz", runtime(with_gpus()), "GPU=GPU-zz: this machine has no GPU GPU-zz"),
    ] {
        let error = plan(&settings("", &format!("GPU={gpu}\n")), &host(), &place, &selection()).expect_err(gpu);
        let failure = error.downcast_ref::<Failure>().expect("a Failure");
        assert_eq!(failure.message, message);
        assert_eq!(failure.code, powerdev_protocol::ExitCode::Usage);
        assert!(failure.hint.is_some());
    }
}

#[test]
fn secrets_are_in_no_plan() {
    let settings = settings("", "MY_KEY=canary-in-a-coal-mine\nHF_TOKEN=canary-too\n");
    let plan = planned(&settings, &host(), &place());
    let set = service_set(&settings, &host(), false, &plan.environment().gpus);
    for text in [serde_json::to_string(&plan), serde_json::to_string(&set)] {
        assert!(!text.expect("JSON").contains("canary"));
    }
}

#[test]
fn the_agent_gets_every_service_and_their_order() {
    let yaml = "services:\n  a: {command: x, depends_on: {b: ready}}\n  b: {command: x}\n  off: {command: x, enabled: false}\nimage: mine:1\n";
    let set = service_set(&settings(yaml, ""), &host(), false, &Gpus::None);
    assert_eq!(set.environment["POWERDEV_SERVICES"], "b a");
    assert_eq!(set.environment["LOG_LEVEL"], "info");
    assert!(!set.services["off"].enabled);
    assert!(!set.environment.contains_key("HOME"));
}

#[test]
fn stopping_takes_as_long_as_the_longest_chain() {
    let yaml = "image: mine:1\nservices:\n  a: {command: x, stop: {grace: 7}}\n  b: {command: x, stop: {grace: 3.2}, depends_on: {a: ready}}\n  c: {command: x, stop: {grace: 10}}\n";
    let plan = planned(&settings(yaml, ""), &host(), &place());
    assert_eq!(plan.environment().stop_timeout_s, 16, "7 + 3.2 for the chain, 5 for the agent, in whole seconds");
}

#[test]
fn times_along_a_chain_never_overflow_the_engine() {
    let longest = "command: x, ready: {tcp: 80, deadline: 31536000}, stop: {grace: 31536000}";
    let yaml = format!("image: mine:1\nservices:\n  a: {{{longest}}}\n  b: {{{longest}, depends_on: {{a: ready}}}}\n");
    let plan = planned(&settings(&yaml, ""), &host(), &place());
    assert_eq!(plan.environment().health.start_period_ms, 31_536_000_000);
    assert_eq!(plan.environment().stop_timeout_s, 31_536_005);
}

#[test]
fn a_container_differs_in_what_was_changed_and_in_nothing_else() {
    let before = planned(&settings("", ""), &host(), &place()).environment().clone();
    assert_eq!(differences(&before, &before), []);
    let anew = HostFacts { ssh_agent: Some("/tmp/ssh-2/agent.2".into()), ..host() };
    let mut later = planned(&settings("", ""), &anew, &place()).environment().clone();
    later.version = "9.9.9".into();
    assert_eq!(differences(&before, &later), [], "a new login or a new release is no drift");

    let mut changed = settings("cpus: 2\nshm: 2g\nsecurity: strict\nenvironment: {TEAM: a}\n", "");
    changed.ports.push(Port { container: 8080, host: 8081 });
    let after = planned(&changed, &host(), &place()).environment().clone();
    let told: BTreeMap<String, (String, String)> =
        differences(&before, &after).into_iter().map(|d| (d.setting, (d.was, d.is))).collect();
    for (setting, was, is) in [
        ("DOCKER_CPUS", "8", "2"),
        ("DOCKER_SHM", "1 GiB", "2 GiB"),
        ("port 8080", "none", "127.0.0.1:8081"),
        ("variable TEAM", "none", "a"),
        ("SECURITY", "dev", "strict"),
        ("read-only root", "no", "yes"),
    ] {
        assert_eq!(told.get(setting), Some(&(was.to_owned(), is.to_owned())), "{setting}: {told:?}");
    }
    assert!(!told.contains_key("DOCKER_MEMORY"), "{told:?}");
}
