//! The Engine's client against a real Engine: everything that powerdev asks of it, and what it says when that fails.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream as FutureStream, StreamExt, TryStreamExt};
use powerdev::engine::{Endpoint, Engine, EngineError, EngineEventKind, ExecSpec, LogOptions, RunState, Stream};
use powerdev::failure::Diagnostic as _;
use powerdev::spec::{
    Confinement, ContainerSpec, Gpus, HealthCheck, LogRotation, MountSource, MountSpec, NetworkSpec, Published, Role,
    ScratchSpec, VolumeKind, label,
};
use powerdev::units::{ByteSize, Cpus, User};
use powerdev_protocol::ExitCode;
use powerdev_protocol::control::TerminalSize;
use tokio::io::AsyncWriteExt;

use crate::common::Project;
use crate::common::engine::{block_on, dev_user, foreign_network, tiny_image};

const SOON: Duration = Duration::from_secs(20);

/// Runs until it is told to stop, then ends with 3.
const PATIENT: &str = "trap 'exit 3' TERM; echo begun; while :; do sleep 0.05; done";

fn spec(project: &Project, script: &str) -> ContainerSpec {
    let (uid, gid) = dev_user();
    ContainerSpec {
        name: project.container(),
        role: Role::Environment,
        project: project.name().to_owned(),
        project_dir: project.dir().display().to_string(),
        version: "0".into(),
        image: tiny_image().into(),
        hostname: "tiny".into(),
        user: User { uid, gid },
        entrypoint: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        environment: BTreeMap::from([("COLOUR".into(), "blue".into())]),
        mounts: Vec::new(),
        scratch: vec![ScratchSpec { target: "/tmp".into(), mode: 0o1777, owner: None, exec: false }],
        ports: Vec::new(),
        network: None,
        names_host: false,
        confinement: Confinement {
            capabilities: Vec::new(),
            unconfined: false,
            no_new_privileges: true,
            read_only_root: true,
        },
        cpus: Some(Cpus(1000)),
        memory: ByteSize(64 << 20),
        pids: 64,
        shm: ByteSize(1 << 20),
        gpus: Gpus::None,
        health: HealthCheck {
            command: vec!["/bin/true".into()],
            interval_ms: 60_000,
            timeout_ms: 5_000,
            start_period_ms: 0,
            retries: 1,
        },
        log: LogRotation { max_size: ByteSize(1 << 20), max_files: 2 },
        stop_timeout_s: 10,
    }
}

fn network(project: &Project) -> NetworkSpec {
    NetworkSpec { name: project.container(), project: project.name().to_owned() }
}

async fn engine() -> Engine {
    Engine::connect().await.expect("these tests need an Engine")
}

/// A container that runs this script, and the Engine it runs on.
async fn running(project: &Project, script: &str) -> (Engine, String) {
    let engine = engine().await;
    engine.create_container(&spec(project, script)).await.expect("it is created");
    engine.start_container(&project.container()).await.expect("it starts");
    (engine, project.container())
}

async fn collect(output: impl FutureStream<Item = Result<(Stream, Bytes), EngineError>>) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut output = pin!(output);
    while let Some((stream, bytes)) = output.try_next().await.expect("the output can be read") {
        match stream {
            Stream::Stdout => out.extend_from_slice(&bytes),
            Stream::Stderr => err.extend_from_slice(&bytes),
        }
    }
    (out, err)
}

fn command(words: &[&str]) -> ExecSpec {
    ExecSpec { command: words.iter().map(|word| word.to_string()).collect(), ..ExecSpec::default() }
}

/// Runs it and gives what it said on both streams and its exit code.
async fn exec(engine: &Engine, container: &str, words: &[&str]) -> (Vec<u8>, Vec<u8>, i64) {
    let exec = engine.exec(container, &command(words)).await.expect("it runs");
    let (out, err) = collect(exec.output).await;
    (out, err, engine.exec_exit_code(&exec.id).await.expect("it has ended"))
}

#[test]
fn a_container_from_creation_to_removal() {
    let project = Project::bare();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port").port();
    let home = format!("powerdev-{}-home", project.name());
    let spec = ContainerSpec {
        network: Some(project.container()),
        ports: vec![Published { container: 3000, host: port, address: Ipv4Addr::LOCALHOST.into() }],
        mounts: vec![
            MountSpec {
                target: "/home/dev".into(),
                source: MountSource::Volume { name: home.clone(), kind: VolumeKind::State },
                read_only: false,
            },
            MountSpec {
                target: "/opt".into(),
                source: MountSource::Folder(project.dir().display().to_string()),
                read_only: true,
            },
        ],
        ..spec(&project, PATIENT)
    };
    let name = spec.name.clone();
    block_on(async {
        let engine = engine().await;
        assert!(engine.ensure_network(&network(&project)).await.expect("a network"), "it wasn't there");
        assert!(!engine.ensure_network(&network(&project)).await.expect("a network"), "it is there");
        assert_eq!(engine.container(&name).await.expect("an answer"), None);

        let id = engine.create_container(&spec).await.expect("it is created");
        let created = engine.container(&name).await.expect("an answer").expect("it is there");
        assert_eq!((created.state, &created.id, created.is_environment()), (RunState::Created, &id, true));
        assert_eq!(created.spec.as_ref(), Some(&spec));
        assert_eq!(created.labels[label::CONFIG], spec.hash());
        assert_eq!((created.started_at_ms, created.pid), (None, None));

        engine.start_container(&name).await.expect("it starts");
        engine.start_container(&name).await.expect("running already is fine");
        let up = engine.container(&name).await.expect("an answer").expect("it is there");
        assert_eq!((up.state, &up.ports), (RunState::Running, &spec.ports));
        assert!(up.pid.is_some() && up.started_at_ms.is_some());
        let listed = engine.environments().await.expect("a list");
        let listed = listed.into_iter().find(|c| c.name == name).expect("it is in the list");
        assert_eq!((&listed.id, listed.state, listed.project()), (&id, RunState::Running, Some(project.name())));
        assert_eq!((&listed.ports, &listed.spec), (&up.ports, &up.spec));

        engine.pause_container(&name).await.expect("it freezes");
        let error = engine.exec(&name, &command(&["true"])).await.expect_err("a frozen container runs nothing");
        assert_eq!((error.is_not_running(), error.exit_code()), (true, ExitCode::NotRunning), "{error:?}");
        engine.unpause_container(&name).await.expect("it goes on");

        let inventory = engine.inventory().await.expect("an inventory");
        let of = |items: &[powerdev::engine::Item], name: &str| items.iter().find(|item| item.name == name).cloned();
        let volume = of(&inventory.volumes, &home).expect("the volume is listed");
        assert_eq!((volume.kind.as_deref(), volume.in_use, volume.used_by), (Some("state"), true, vec![name.clone()]));
        assert!(volume.size.is_some(), "the Engine measures volumes");
        assert!(of(&inventory.networks, &name).is_some_and(|network| network.in_use));
        assert!(of(&inventory.containers, &name).is_some_and(|container| container.in_use));
        let error = engine.remove_volume(&home).await.expect_err("it is in use");
        assert_eq!(error.exit_code(), ExitCode::Conflict, "{error:?}");

        engine.stop_container(&name, None).await.expect("it stops");
        engine.stop_container(&name, None).await.expect("stopped already is fine");
        let down = engine.container(&name).await.expect("an answer").expect("it is there");
        assert_eq!((down.state, down.exit_code, down.pid), (RunState::Exited, 3, None));
        assert_eq!(down.ports, spec.ports, "those that it was created with");
        assert!(down.finished_at_ms >= down.started_at_ms);
        let error = engine.exec(&name, &command(&["true"])).await.expect_err("it doesn't run");
        assert_eq!((error.exit_code(), error.is_not_running()), (ExitCode::NotRunning, true), "{error:?}");

        engine.restart_container(&name, Some(Duration::from_millis(10))).await.expect("it starts again");
        let error = engine.remove_container(&name, false).await.expect_err("it runs");
        assert_eq!(error.exit_code(), ExitCode::Conflict, "{error:?}");
        engine.remove_container(&name, true).await.expect("it goes");
        engine.remove_container(&name, true).await.expect("gone already is fine");
        engine.remove_network(&name).await.expect("it goes");
        engine.remove_network(&name).await.expect("gone already is fine");
        engine.remove_volume(&home).await.expect("it goes");
        engine.remove_volume(&home).await.expect("gone already is fine");
        let error = engine.start_container(&name).await.expect_err("it is gone");
        assert_eq!((error.is_not_found(), error.exit_code()), (true, ExitCode::NotRunning), "{error:?}");
    });
}

#[test]
fn what_powerdev_didnt_make_is_not_taken_over() {
    let project = Project::bare();
    foreign_network(&project.container());
    block_on(async {
        let engine = engine().await;
        let name = project.container();
        let error = engine.ensure_network(&network(&project)).await.expect_err("it isn't ours");
        assert!(matches!(&error, EngineError::Foreign { name: foreign, .. } if *foreign == name), "{error:?}");
        assert_eq!(error.exit_code(), ExitCode::Conflict);
        engine.create_container(&spec(&project, PATIENT)).await.expect("it is created");
        let error = engine.create_container(&spec(&project, PATIENT)).await.expect_err("the name is taken");
        assert_eq!((error.is_conflict(), error.exit_code()), (true, ExitCode::Conflict), "{error:?}");
    });
}

#[test]
fn what_is_made_beside_an_environment_is_none() {
    let (project, beside) = (Project::bare(), Project::bare());
    block_on(async {
        let engine = engine().await;
        engine.create_container(&spec(&project, PATIENT)).await.expect("it is created");
        let helper = ContainerSpec { role: Role::Helper, ..spec(&beside, PATIENT) };
        engine.create_container(&helper).await.expect("it is created");
        let names: Vec<String> = engine.environments().await.expect("a list").into_iter().map(|c| c.name).collect();
        assert!(names.contains(&project.container()) && !names.contains(&beside.container()), "{names:?}");
    });
}

#[test]
fn what_cannot_start_says_why() {
    let project = Project::bare();
    let (first, second) = (Project::bare(), Project::bare());
    block_on(async {
        let engine = engine().await;
        let gpus = ContainerSpec { gpus: Gpus::All, ..spec(&project, PATIENT) };
        engine.create_container(&gpus).await.expect("the Engine creates it all the same");
        if !engine.info().await.expect("an answer").gpu {
            let error = engine.start_container(&gpus.name).await.expect_err("there are no GPUs");
            assert!(matches!(error, EngineError::NoGpuRuntime { .. }), "{error:?}");
            assert!(error.hint().expect("a hint").contains("GPU=none"));
            let left = engine.container(&gpus.name).await.expect("an answer").expect("it is left behind");
            assert_eq!(left.state, RunState::Created);
        }
        engine.remove_container(&gpus.name, true).await.expect("it goes");

        let mount = MountSpec {
            target: "/opt".into(),
            source: MountSource::Folder(project.dir().join("absent").display().to_string()),
            read_only: true,
        };
        let error = engine.create_container(&ContainerSpec { mounts: vec![mount], ..spec(&project, PATIENT) }).await;
        let error = error.expect_err("the folder isn't there");
        assert!(error.hint().is_some_and(|hint| hint.contains("create that folder")), "{error:?}");

        let gone = ContainerSpec { image: "powerdev-test/none:1".into(), ..spec(&project, PATIENT) };
        let error = engine.create_container(&gone).await.expect_err("the image isn't there");
        assert_eq!((error.is_not_found(), error.exit_code()), (true, ExitCode::NotRunning), "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("powerdev build")), "{error:?}");
        assert_eq!(engine.image("powerdev-test/none:1").await.expect("an answer"), None);
        let tiny = engine.image(tiny_image()).await.expect("an answer").expect("it is there");
        assert!(tiny.tags.contains(&tiny_image().to_owned()) && tiny.size > 0);

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let host = listener.local_addr().expect("it is bound").port();
        let ports = vec![Published { container: 80, host, address: Ipv4Addr::LOCALHOST.into() }];
        for project in [&first, &second] {
            engine.ensure_network(&network(project)).await.expect("a network");
        }
        let taken = ContainerSpec { ports, network: Some(first.container()), ..spec(&first, PATIENT) };
        engine.create_container(&taken).await.expect("it is created");
        let error = engine.start_container(&taken.name).await.expect_err("the port is ours");
        assert_eq!((error.is_port_taken(), error.exit_code()), (true, ExitCode::Conflict), "{error:?}");
        drop(listener);
        engine.start_container(&taken.name).await.expect("the port is free");
        let other = ContainerSpec { name: second.container(), network: Some(second.container()), ..taken.clone() };
        engine.create_container(&other).await.expect("it is created");
        let error = engine.start_container(&other.name).await.expect_err("the port is the first one's");
        assert!(error.is_port_taken(), "{error:?}");
    });
}

#[test]
fn commands_with_both_streams_and_their_code() {
    let project = Project::bare();
    block_on(async {
        let (engine, name) = running(&project, PATIENT).await;
        let script = "echo out; echo err >&2; printf '\\001\\002\\000'; id -u; exit 42";
        let (out, err, code) = exec(&engine, &name, &["sh", "-c", script]).await;
        let expected = [b"out\n\x01\x02\x00".as_slice(), format!("{}\n", dev_user().0).as_bytes()].concat();
        assert_eq!((out, err.as_slice(), code), (expected, b"err\n".as_slice(), 42));
        let spec = ExecSpec {
            user: Some("0:0".into()),
            directory: Some("/tmp".into()),
            ..command(&["sh", "-c", "id -u; pwd"])
        };
        let as_root = engine.exec(&name, &spec).await.expect("it runs");
        assert_eq!(collect(as_root.output).await.0, b"0\n/tmp\n");
        // Its streams are closed long before it ends.
        let (_, _, code) = exec(&engine, &name, &["sh", "-c", "exec >&- 2>&-; sleep 0.3; exit 9"]).await;
        assert_eq!(code, 9);
    });
}

#[test]
fn twenty_megabytes_through_a_command_and_half_closed() {
    let project = Project::bare();
    let input: Vec<u8> = (0..20u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    block_on(async {
        let (engine, name) = running(&project, PATIENT).await;
        let spec = ExecSpec { stdin: true, ..command(&["sh", "-c", "cat; echo end >&2"]) };
        let mut exec = engine.exec(&name, &spec).await.expect("it runs");
        let sending = input.clone();
        let send = tokio::spawn(async move {
            exec.input.write_all(&sending).await.expect("it takes all");
            exec.input.shutdown().await.expect("the end can be told");
            exec.input
        });
        let (out, err) = collect(exec.output).await;
        drop(send.await.expect("the sender ends"));
        assert_eq!(err, b"end\n", "the output goes on after the input's end");
        assert!(out == input, "{} bytes came back for {}", out.len(), input.len());
        assert_eq!(engine.exec_exit_code(&exec.id).await.expect("a code"), 0);
    });
}

#[test]
fn a_terminals_bytes_arrive_whatever_they_are() {
    let project = Project::bare();
    block_on(async {
        let (engine, name) = running(&project, PATIENT).await;
        let size = TerminalSize { rows: 33, cols: 111 };
        // Raw, so that the terminal changes nothing; its first byte is 1, as a frame's would be.
        let script = "stty raw -echo; printf '\\001\\000\\000\\000\\377\\377\\377\\377tail'; read -r line; stty size";
        let spec = ExecSpec { tty: true, stdin: true, size: Some(size), ..command(&["sh", "-c", script]) };
        let mut exec = engine.exec(&name, &spec).await.expect("it runs");
        let mut seen = Vec::new();
        while !seen.ends_with(b"tail") {
            let (_, bytes) = exec.output.try_next().await.expect("readable").expect("more to come");
            seen.extend_from_slice(&bytes);
        }
        assert_eq!(seen, b"\x01\0\0\0\xff\xff\xff\xfftail");
        engine.exec_resize(&exec.id, TerminalSize { rows: 44, cols: 55 }).await.expect("it can be resized");
        exec.input.write_all(b"\n").await.expect("it reads");
        assert_eq!(collect(exec.output).await.0, b"44 55\n");
    });
}

#[test]
fn a_shell_that_is_left_goes_on() {
    let project = Project::bare();
    block_on(async {
        let (engine, name) = running(&project, PATIENT).await;
        let script = "echo $$ > /tmp/pid; echo ready; read -r line; sleep 1000";
        let spec = ExecSpec { tty: true, stdin: true, ..command(&["sh", "-c", script]) };
        let mut left = engine.exec(&name, &spec).await.expect("it runs");
        left.output.try_next().await.expect("readable").expect("it says something");
        drop(left);
        let alive = "sleep 0.5; kill -0 $(cat /tmp/pid)";
        assert_eq!(exec(&engine, &name, &["sh", "-c", alive]).await.2, 0, "the Engine lets it live");
    });
}

#[test]
fn the_command_line_goes_where_the_context_says() {
    let project = Project::bare();
    let proxy = Proxy::start(project.dir().join("context.sock"));
    let meta = serde_json::json!({ "Name": "elsewhere", "Endpoints": { "docker": { "Host": proxy.url() } } });
    let folder = sha256("elsewhere");
    let file = project.home().join(".docker/contexts/meta").join(folder).join("meta.json");
    std::fs::create_dir_all(file.parent().expect("a file has a folder")).expect("our own home");
    std::fs::write(&file, meta.to_string()).expect("our own home");
    let ps = || project.powerdev(["ps", "--json"]).env_remove("DOCKER_HOST").env("DOCKER_CONTEXT", "elsewhere");
    ps().run().ok().json();
    assert!(!proxy.pipes.lock().expect("nobody panics").is_empty(), "it went through the context's socket");
    proxy.cut();
    let gone = ps().run().code(3).json();
    assert!(gone["error"].as_str().is_some_and(|error| error.contains("context elsewhere")), "{gone}");
    let unknown = project.powerdev(["ps", "--json"]).env_remove("DOCKER_HOST").env("DOCKER_CONTEXT", "none").run();
    assert!(unknown.code(2).err().contains("no docker context named `none`"));
}

/// As the docker CLI names its folders.
fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[test]
fn logs_since_tail_and_until_the_end() {
    let project = Project::bare();
    block_on(async {
        let script = "echo one; echo two >&2; sleep 0.3; echo three; read -t 0.3 x; printf no-newline";
        let (engine, name) = running(&project, script).await;
        let read = async |options: LogOptions| {
            let chunks = engine.logs(&name, &options).map_ok(|chunk| (chunk.stream, chunk.bytes));
            let (out, err) = collect(chunks).await;
            (String::from_utf8(out).expect("text"), String::from_utf8(err).expect("text"))
        };
        let (out, err) = read(LogOptions { follow: true, ..LogOptions::default() }).await;
        // Engines end a log that is followed a moment before they have what was written last.
        assert!(out.starts_with("one\nthree\n") && err == "two\n", "{out:?} {err:?}");
        let (out, _) = read(LogOptions { tail: Some(2), ..LogOptions::default() }).await;
        assert_eq!(out, "three\nno-newline");
        let (stamped, _) = read(LogOptions { timestamps: true, ..LogOptions::default() }).await;
        let at: jiff::Timestamp =
            stamped.lines().nth(1).and_then(|line| line.split(' ').next()).expect("a time").parse().expect("RFC 3339");
        let since_ns = Some(i64::try_from(at.as_nanosecond()).expect("this century"));
        let (out, err) = read(LogOptions { since_ns, ..LogOptions::default() }).await;
        assert_eq!((out.as_str(), err.as_str()), ("three\nno-newline", ""), "to the nanosecond");
        let mut none = pin!(engine.logs("powerdev-none", &LogOptions::default()));
        let error = none.next().await.expect("an answer").expect_err("no such container");
        assert!(error.is_not_found(), "{error:?}");
    });
}

#[test]
fn events_tell_what_happens() {
    let project = Project::bare();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    block_on(async {
        let hungry = ContainerSpec {
            health: HealthCheck { interval_ms: 100, ..spec(&project, "").health },
            ..spec(&project, "sleep 0.5; exec dd if=/dev/zero of=/dev/null bs=512M count=1")
        };
        let engine = engine().await;
        let mut events = Box::pin(engine.events(Some(since.as_nanos() as i64)));
        engine.create_container(&hungry).await.expect("it is created");
        engine.start_container(&hungry.name).await.expect("it starts");
        let mut seen = Vec::new();
        let all = async {
            while seen.last() != Some(&EngineEventKind::Destroy) {
                let event = events.next().await.expect("events go on").expect("the Engine is there");
                if event.project != project.name() {
                    continue;
                }
                assert!(event.at_ns >= since.as_nanos() as i64 && event.container == project.container());
                if matches!(event.kind, EngineEventKind::Die { .. }) {
                    engine.remove_container(&hungry.name, true).await.expect("it goes");
                }
                seen.push(event.kind);
            }
        };
        tokio::time::timeout(SOON, all).await.expect("events come");
        let place = |kind: &EngineEventKind| seen.iter().position(|other| other == kind);
        for pair in [
            [EngineEventKind::Create, EngineEventKind::Start],
            [EngineEventKind::Start, EngineEventKind::Health("healthy".into())],
            [EngineEventKind::Health("healthy".into()), EngineEventKind::Oom],
            [EngineEventKind::Oom, EngineEventKind::Die { exit_code: 137 }],
        ] {
            assert!(place(&pair[0]).is_some() && place(&pair[0]) < place(&pair[1]), "{pair:?} in {seen:?}");
        }
        assert!(!seen.iter().any(|kind| matches!(kind, EngineEventKind::Other(word) if word.starts_with("exec"))));
    });
}

#[test]
fn files_go_in_and_come_out() {
    let project = Project::bare();
    block_on(async {
        let engine = engine().await;
        let mut writable = spec(&project, PATIENT);
        writable.confinement.read_only_root = false;
        engine.create_container(&writable).await.expect("it is created");
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o640);
        tar.append_data(&mut header, "note", b"hello".as_slice()).expect("memory doesn't fail");
        let tar = tar.into_inner().expect("memory doesn't fail");
        engine.upload(&writable.name, "/home/dev", tar).await.expect("it is taken");
        let pieces: Vec<Bytes> =
            engine.download(&writable.name, "/home/dev/note").try_collect().await.expect("it is given");
        let archive = pieces.concat();
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut entry = archive.entries().expect("an archive").next().expect("an entry").expect("a whole one");
        assert_eq!(entry.header().mode().expect("a mode") & 0o777, 0o640);
        assert_eq!(std::io::read_to_string(&mut entry).expect("text"), "hello");
        let error = engine.upload(&writable.name, "/nowhere", Vec::new()).await.expect_err("no such folder");
        assert!(error.is_not_found(), "{error:?}");
    });
}

/// The real Engine behind another socket, until dropped or cut.
struct Proxy {
    path: PathBuf,
    pipes: Arc<Mutex<Vec<UnixStream>>>,
}

impl Proxy {
    fn start(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).expect("a socket");
        let pipes = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::clone(&pipes);
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let real = std::env::var("DOCKER_HOST").unwrap_or_default();
                let real = real.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned();
                let engine = UnixStream::connect(real).expect("the Engine is there");
                let copy = |stream: &UnixStream| stream.try_clone().expect("descriptors are left");
                open.lock().expect("nobody panics").extend([copy(&client), copy(&engine)]);
                for (mut from, mut to) in [(copy(&client), copy(&engine)), (engine, client)] {
                    std::thread::spawn(move || {
                        std::io::copy(&mut from, &mut to).ok();
                        to.shutdown(std::net::Shutdown::Write).ok();
                    });
                }
            }
        });
        Self { path, pipes }
    }

    fn url(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// The Engine dies: what is open breaks, and nobody answers any more.
    fn cut(&self) {
        std::fs::remove_file(&self.path).expect("the socket is there");
        for stream in self.pipes.lock().expect("nobody panics").drain(..) {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }
}

#[test]
fn an_engine_that_dies_is_told_from_one_that_refuses() {
    let project = Project::bare();
    let proxy = Proxy::start(project.dir().join("proxy.sock"));
    block_on(async {
        let endpoint = Endpoint::parse(&proxy.url(), "the test").expect("an address");
        let engine = Engine::connect_to(endpoint).await.expect("the Engine answers through the proxy");
        engine.create_container(&spec(&project, PATIENT)).await.expect("it is created");
        engine.start_container(&project.container()).await.expect("it starts");
        let name = project.container();
        let mut exec = engine.exec(&name, &command(&["sh", "-c", "echo on; sleep 60"])).await.expect("it runs");
        exec.output.try_next().await.expect("readable").expect("it says something");
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let mut logs = Box::pin(engine.logs(&name, &follow));
        logs.try_next().await.expect("readable").expect("it says something");
        let mut events = Box::pin(engine.events(Some(0)));
        events.try_next().await.expect("readable").expect("something has happened");
        let engine_two = engine.clone();
        let stopping = tokio::spawn(async move { engine_two.stop_container("powerdev-none-at-all", None).await });
        assert!(stopping.await.expect("it ends").expect_err("no such container").is_not_found());

        proxy.cut();
        let torn = tokio::time::timeout(SOON, async {
            let exec = async {
                loop {
                    match exec.output.next().await {
                        Some(Err(error)) => return Some(error),
                        Some(Ok(_)) => {}
                        None => return None,
                    }
                }
            };
            let events = async {
                loop {
                    if let Err(error) = events.try_next().await {
                        return error;
                    }
                }
            };
            (exec.await, events.await, logs.try_next().await)
        });
        let (exec_error, events_error, logs_end) = torn.await.expect("nothing hangs");
        assert!(events_error.is_unreachable(), "{events_error:?}");
        assert!(logs_end.expect_err("the log broke off").is_unreachable());
        // An exec's stream has no end of its own: what tells is the question how it ended.
        assert!(exec_error.is_none_or(|error| error.is_unreachable()));
        let error = engine.exec_exit_code(&exec.id).await.expect_err("nobody answers");
        assert_eq!(error.exit_code(), ExitCode::EngineUnreachable, "{error:?}");
        let error = engine.container(&name).await.expect_err("nobody answers");
        assert!(error.to_string().contains(&proxy.url()), "{error}");
    });
}

async fn refused(url: &str) -> EngineError {
    let endpoint = Endpoint::parse(url, "default socket").expect("an address");
    Engine::connect_to(endpoint).await.expect_err("nobody answers")
}

fn socket(path: &Path) -> String {
    format!("unix://{}", path.display())
}

#[test]
fn nobody_answering_says_what_to_do() {
    let project = Project::bare();
    block_on(async {
        let absent = refused(&socket(&project.dir().join("absent.sock"))).await;
        assert!(absent.hint().is_some_and(|hint| hint.contains("systemctl start docker")), "{absent:?}");
        let path = project.dir().join("dead.sock");
        drop(UnixListener::bind(&path).expect("a socket"));
        let dead = refused(&socket(&path)).await;
        let path = project.write("plain.sock", "");
        let plain = refused(&socket(&path)).await;
        let silent = UnixListener::bind(project.dir().join("silent.sock")).expect("a socket");
        let hangs_up = std::thread::spawn(move || drop(silent.accept()));
        let hung_up = refused(&socket(&project.dir().join("silent.sock"))).await;
        hangs_up.join().expect("it ends");
        for error in [absent, dead, plain, hung_up] {
            assert_eq!(error.exit_code(), ExitCode::EngineUnreachable, "{error:?}");
            assert!(error.to_string().contains("(default socket)") && error.hint().is_some(), "{error}");
        }
    });
}
