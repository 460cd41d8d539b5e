//! The Engine as the tests see it: past powerdev, so that what powerdev says can be checked.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, EventMessage, NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters as query;
use futures_util::{Stream, StreamExt};
use serde_json::Value;

use super::project::run_id;

/// The runtime that all of the tests' own calls share.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("the runtime starts")
    })
}

/// Waits for a future of bollard's.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// The Engine. To be asked for outside of [`block_on`].
///
/// # Panics
/// When none answers: these tests need one.
pub fn docker() -> &'static Docker {
    static DOCKER: OnceLock<Docker> = OnceLock::new();
    DOCKER.get_or_init(|| {
        try_docker().unwrap_or_else(|error| {
            panic!("no Docker Engine answers ({error}). These tests need one: `make test` installs and starts it.")
        })
    })
}

fn try_docker() -> Result<Docker, bollard::errors::Error> {
    block_on(async { Docker::connect_with_defaults()?.negotiate_version().await })
}

/// What `docker inspect` says of a container, if it is there.
pub fn inspect(container: &str) -> Option<Value> {
    match block_on(docker().inspect_container(container, None)) {
        Ok(found) => Some(serde_json::to_value(found).expect("what came as JSON goes as JSON")),
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => None,
        Err(error) => panic!("inspecting {container}: {error}"),
    }
}

/// Whether the container runs.
pub fn is_running(container: &str) -> bool {
    inspect(container).is_some_and(|found| found["State"]["Running"] == true)
}

/// The container's first process, in the host's count; 0 when it doesn't run.
pub fn pid(container: &str) -> i32 {
    let pid = inspect(container).and_then(|found| found["State"]["Pid"].as_i64()).unwrap_or(0);
    i32::try_from(pid).expect("a process ID fits")
}

/// The container's log so far, both streams.
pub fn logs(container: &str) -> String {
    let options = query::LogsOptionsBuilder::new().stdout(true).stderr(true).build();
    let docker = docker();
    block_on(async {
        let mut stream = std::pin::pin!(docker.logs(container, Some(options)));
        let mut text = String::new();
        while let Some(chunk) = stream.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk.expect("logs can be read").into_bytes()));
        }
        text
    })
}

/// A container of the tiny image, running this: as powerdev would name and label it, but without an agent.
pub fn start(name: &str, project: &str, command: &[&str]) {
    let label = ("dev.powerdev.project".to_owned(), project.to_owned());
    let body = bollard::models::ContainerCreateBody {
        image: Some(tiny_image().to_owned()),
        cmd: Some(command.iter().map(ToString::to_string).collect()),
        labels: Some([label].into()),
        ..Default::default()
    };
    let options = query::CreateContainerOptionsBuilder::new().name(name).build();
    let docker = docker();
    block_on(async {
        docker.create_container(Some(options), body).await.expect("the Engine creates a container");
        docker.start_container(name, None).await.expect("the Engine starts a container");
    });
}

/// Starts a container that is there, past powerdev.
pub fn start_again(container: &str) {
    block_on(docker().start_container(container, None)).expect("the Engine starts a container");
}

/// A signal to the container's first process, past powerdev.
pub fn kill(container: &str, signal: &str) {
    let options = query::KillContainerOptionsBuilder::new().signal(signal).build();
    block_on(docker().kill_container(container, Some(options))).expect("a running container takes signals");
}

/// Gives a container another name, past powerdev.
pub fn rename(container: &str, name: &str) {
    let options = query::RenameContainerOptionsBuilder::new().name(name).build();
    block_on(docker().rename_container(container, options)).expect("the name is free");
}

/// Restarts a container, past powerdev.
pub fn restart(container: &str) {
    block_on(docker().restart_container(container, None::<query::RestartContainerOptions>)).expect("it restarts");
}

/// An image's ID, if it is there.
pub fn image_id(tag: &str) -> Option<String> {
    block_on(docker().inspect_image(tag)).ok()?.id
}

/// Gives an image this tag, whoever had it. One that is gone gets none.
pub fn tag(id: &str, tag: &str) {
    let (repository, tag) = tag.rsplit_once(':').expect("a name and a tag");
    let options = query::TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
    block_on(docker().tag_image(id, Some(options))).ok();
}

/// Where containers on the Engine's own bridge reach this machine.
pub fn gateway() -> String {
    let bridge = block_on(docker().inspect_network("bridge", None::<query::InspectNetworkOptions>));
    let configs = bridge.expect("the Engine has a bridge").ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let config = configs.into_iter().next().expect("a bridge has addresses");
    // Engine 20.10 names the gateway of a bridge only if it found the bridge when it started: else it is the first.
    config.gateway.unwrap_or_else(|| {
        let subnet = config.subnet.expect("a bridge has a subnet");
        let network: Ipv4Addr = subnet.split('/').next().unwrap_or_default().parse().expect("an address");
        Ipv4Addr::from_bits(network.to_bits() + 1).to_string()
    })
}

/// What `docker history --no-trunc` shows of an image.
pub fn history(image: &str) -> String {
    let layers = block_on(docker().image_history(image)).expect("the image is there");
    format!("{layers:?}")
}

/// Makes a container that isn't powerdev's, under any name. It never runs.
pub fn foreign_container(name: &str) {
    let options = query::CreateContainerOptionsBuilder::new().name(name).build();
    let (image, cmd) = (Some(tiny_image().to_owned()), Some(vec!["true".to_owned()]));
    let body = ContainerCreateBody { image, cmd, ..Default::default() };
    block_on(docker().create_container(Some(options), body)).expect("the tiny image makes a container");
}

/// Makes a network that isn't powerdev's, under any name.
pub fn foreign_network(name: &str) {
    let request = NetworkCreateRequest { name: name.to_owned(), ..Default::default() };
    block_on(docker().create_network(request)).expect("a network can be made");
}

/// Makes a volume that isn't powerdev's, under any name.
pub fn foreign_volume(name: &str) {
    let request = VolumeCreateRequest { name: Some(name.to_owned()), ..Default::default() };
    block_on(docker().create_volume(request)).expect("a volume can be made");
}

/// The ID of the network of this name, if there is one.
pub fn network_id(name: &str) -> Option<String> {
    block_on(docker().inspect_network(name, None)).ok().filter(|network| network.name.as_deref() == Some(name))?.id
}

/// Whether there is a volume of this name.
pub fn has_volume(name: &str) -> bool {
    block_on(docker().inspect_volume(name)).is_ok()
}

/// Removes a container by force, past powerdev. One that is gone is fine.
pub fn remove(container: &str) {
    let options = query::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    block_on(docker().remove_container(container, Some(options))).ok();
}

/// The Engine's events from now on.
pub struct Events(Pin<Box<dyn Stream<Item = Result<EventMessage, bollard::errors::Error>> + Send>>);

impl Events {
    /// Those of one container. Ask before you cause what you wait for.
    pub fn of(container: &str) -> Self {
        Self::filtered("container", container)
    }

    /// Those of all containers of one environment.
    pub fn of_environment(name: &str) -> Self {
        Self::filtered("label", &format!("dev.powerdev.project={name}"))
    }

    fn filtered(filter: &str, value: &str) -> Self {
        // The stream opens when it is first polled; asking for what happened since now makes that no race.
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let since = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
        let filters = std::collections::HashMap::from([(filter, vec![value])]);
        let options = query::EventsOptionsBuilder::new().since(&since).filters(&filters).build();
        Self(Box::pin(docker().events(Some(options))))
    }

    /// The next event with this action (`start`, `die`, `health_status: healthy` …).
    ///
    /// # Panics
    /// When the deadline passes first.
    pub fn wait(&mut self, action: &str, deadline: Duration) -> EventMessage {
        let next = async {
            while let Some(event) = self.0.next().await {
                let event = event.expect("the Engine sends events");
                if event.action.as_deref() == Some(action) {
                    return event;
                }
            }
            panic!("the Engine's events ended");
        };
        block_on(async { tokio::time::timeout(deadline, next).await })
            .unwrap_or_else(|_| panic!("no event `{action}` within {deadline:?}"))
    }
}

/// On every image that the tests make, and on those that are built on one: the run.
pub const RUN_LABEL: &str = "powerdev-test.run";

/// A small image with busybox and a user `dev`; made once a run, in a tenth of a second.
pub fn tiny_image() -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| {
        super::reaper::start();
        let tag = run_id();
        let options = query::CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo("powerdev-test/tiny")
            .tag(tag)
            .changes(vec!["ENV PATH=/usr/local/bin:/usr/bin:/bin:/sbin".to_owned(), format!("LABEL {RUN_LABEL}={tag}")])
            .build();
        let body = bollard::body_full(tiny_root(Path::new("/bin/busybox")).into());
        let docker = docker();
        block_on(async {
            let mut answers = std::pin::pin!(docker.create_image(Some(options), Some(body), None));
            while let Some(answer) = answers.next().await {
                answer.expect("the Engine imports an image");
            }
        });
        format!("powerdev-test/tiny:{tag}")
    })
}

/// Stands in for claude: tells what it was given, then waits for a line.
const CLAUDE: &str = r#"#!/bin/sh
words=""
for word; do words="$words [$word]"; done
echo "claude$words in $PWD, a key of ${#ANTHROPIC_API_KEY}"
read line
echo "heard $line"
exit 3
"#;

/// The root of the tiny image, as a tar archive.
pub fn tiny_root(busybox: &Path) -> Vec<u8> {
    let program = std::fs::read(busybox).unwrap_or_else(|error| {
        panic!("{}: {error}. Install Debian's busybox-static: `make test` does.", busybox.display())
    });
    let applets = std::process::Command::new(busybox).arg("--list").output().expect("busybox runs").stdout;
    let applets = String::from_utf8(applets).expect("names of applets are text");
    let (uid, gid) = dev_user();
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, path: &str, mode: u32, owner: (u32, u32), content: &[u8], link: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0.into());
        header.set_gid(owner.1.into());
        header.set_size(content.len() as u64);
        if kind == tar::EntryType::Symlink {
            tar.append_link(&mut header, path, link).expect("memory doesn't fail");
        } else {
            tar.append_data(&mut header, path, content).expect("memory doesn't fail");
        }
    };
    let root = (0, 0);
    for dir in ["bin", "sbin", "etc", "usr", "usr/bin", "usr/local", "usr/local/bin", "home", "opt", "run", "var"] {
        add(tar::EntryType::Directory, dir, 0o755, root, &[], "");
    }
    add(tar::EntryType::Directory, "tmp", 0o1777, root, &[], "");
    // A new volume takes the owner of the folder that it is mounted on.
    for dir in ["home/dev", "home/dev/.cache", "home/dev/logs", "home/dev/workspace", "workspace", "workspace/ext"] {
        add(tar::EntryType::Directory, dir, 0o755, (uid, gid), &[], "");
    }
    add(tar::EntryType::Regular, "bin/busybox", 0o755, root, &program, "");
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        add(tar::EntryType::Symlink, &format!("bin/{applet}"), 0o777, root, &[], "busybox");
    }
    add(tar::EntryType::Regular, "bin/claude", 0o755, root, CLAUDE.as_bytes(), "");
    let passwd = format!("root:x:0:0:root:/root:/bin/sh\ndev:x:{uid}:{gid}:dev:/home/dev:/bin/sh\n");
    add(tar::EntryType::Regular, "etc/passwd", 0o644, root, passwd.as_bytes(), "");
    let group = format!("root:x:0:\ndev:x:{gid}:\n");
    add(tar::EntryType::Regular, "etc/group", 0o644, root, group.as_bytes(), "");
    tar.into_inner().expect("memory doesn't fail")
}

/// User and group that containers get: ours, or 1000 when we are root.
pub fn dev_user() -> (u32, u32) {
    match rustix::process::getuid().as_raw() {
        0 => (1000, 1000),
        uid => (uid, rustix::process::getgid().as_raw()),
    }
}

/// What an Engine holds under one name: containers, networks, volumes and images, in the order of removal.
pub fn leftovers(name: &str) -> Vec<Leftover> {
    let mut found = Vec::new();
    let docker = docker();
    block_on(async {
        let all = query::ListContainersOptionsBuilder::new().all(true).build();
        for container in docker.list_containers(Some(all)).await.unwrap_or_default() {
            let names = container.names.unwrap_or_default();
            found.extend(names.first().filter(|n| n.contains(name)).map(|n| Leftover::Container(n[1..].to_owned())));
        }
        for network in docker.list_networks(None).await.unwrap_or_default() {
            found.extend(network.name.filter(|n| n.contains(name)).map(Leftover::Network));
        }
        let volumes = docker.list_volumes(None::<query::ListVolumesOptions>).await.ok();
        for volume in volumes.and_then(|list| list.volumes).unwrap_or_default() {
            found.extend(Some(volume.name).filter(|n| n.contains(name)).map(Leftover::Volume));
        }
        let all = query::ListImagesOptionsBuilder::new().build();
        for image in docker.list_images(Some(all)).await.unwrap_or_default() {
            // One that was pulled by its digest has no tag; one that has lost its name to a newer one has the label.
            let names = image.repo_tags.into_iter().chain(image.repo_digests);
            found.extend(names.filter(|n| n.contains(name)).map(Leftover::Image));
            found.extend(
                (image.labels.get(RUN_LABEL).map(String::as_str) == Some(name)).then_some(Leftover::Image(image.id)),
            );
        }
    });
    found
}

/// One thing that an Engine holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// A container's name.
    Container(String),
    /// A network's name.
    Network(String),
    /// A volume's name.
    Volume(String),
    /// An image's tag, its digest, or its ID.
    Image(String),
}

impl Leftover {
    /// Removes it; gone already is fine.
    pub fn remove(&self) {
        match self {
            Self::Container(name) => remove(name),
            Self::Network(name) => drop(block_on(docker().remove_network(name))),
            Self::Volume(name) => drop(block_on(docker().remove_volume(name, None::<query::RemoveVolumeOptions>))),
            Self::Image(tag) => {
                let options = query::RemoveImageOptionsBuilder::new().force(true).build();
                drop(block_on(docker().remove_image(tag, Some(options), None)));
            }
        }
    }
}

/// Removes everything that has `name` in its name. Without an Engine there is nothing to remove.
pub fn purge(name: &str) {
    if try_docker().is_err() {
        return;
    }
    for leftover in leftovers(name) {
        leftover.remove();
    }
}

/// The container's labels.
pub fn labels(container: &str) -> BTreeMap<String, String> {
    let found = inspect(container).unwrap_or_default();
    serde_json::from_value(found["Config"]["Labels"].clone()).unwrap_or_default()
}
