//! The harness holds what it promises: the tiny image runs, waiting ends, and nothing is left, even after `kill -9`.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};
use rustix::process::Signal;

use crate::common::engine::{self, Events};
use crate::common::{Invocation, Project, run_id, wait};

/// Set for the run that is to be killed.
const VICTIM: &str = "POWERDEV_TEST_VICTIM";

fn run_container(name: &str, script: &str) {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let (uid, gid) = engine::dev_user();
    let body = ContainerCreateBody {
        image: Some(engine::tiny_image().to_owned()),
        user: Some(format!("{uid}:{gid}")),
        cmd: Some(command),
        host_config: Some(HostConfig { network_mode: Some("none".into()), ..Default::default() }),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let docker = engine::docker();
    engine::block_on(async {
        docker.create_container(Some(options), body).await.expect("the tiny image makes a container");
        docker.start_container(name, None::<StartContainerOptions>).await.expect("it starts");
    });
}

#[test]
fn tiny_image_runs_and_events_arrive() {
    let project = Project::bare();
    let name = project.container();
    let mut events = Events::of(&name);
    run_container(&name, "id -un; pwd; exit 7");
    let died = events.wait("die", Duration::from_secs(20));
    assert_eq!(died.actor.and_then(|a| a.attributes).expect("attributes")["exitCode"], "7");
    assert_eq!(engine::logs(&name), "dev\n/\n");
    drop(project);
    assert!(engine::inspect(&name).is_none(), "dropping the project removes its container");
}

#[test]
fn a_run_past_its_deadline_is_killed_and_told() {
    let project = Project::bare();
    let dir = project.dir();
    let late = std::panic::catch_unwind(|| {
        Invocation::program("sh", &dir)
            .args(["-c", "echo early; exec sleep 60"])
            .deadline(Duration::from_millis(300))
            .run()
    });
    let told = *late.expect_err("60 s are more than 300 ms").downcast::<String>().expect("a panic with text");
    assert!(told.contains("still runs") && told.contains("early"), "{told}");
}

#[test]
fn a_terminal_is_one() {
    let project = Project::bare();
    let mut terminal = Invocation::program("sh", &project.dir())
        .args(["-c", "stty size; read a; echo got-$a; exit 3"])
        .terminal(24, 80);
    terminal.expect("24 80");
    terminal.send("keys\r");
    terminal.expect("got-keys");
    assert_eq!(terminal.wait().0, 3);
}

#[test]
fn nothing_is_left_of_a_killed_run() {
    let mut victim = Command::new(std::env::current_exe().expect("we know our own path"))
        .args(["harness::victim", "--exact", "--nocapture"])
        .env(VICTIM, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("our own binary can be started");
    let out = std::io::BufReader::new(victim.stdout.take().expect("standard output is piped"));
    let name = std::io::BufRead::lines(out)
        .map_while(Result::ok)
        .find_map(|line| line.split_once("running as ").map(|(_, name)| name.to_owned()))
        .expect("the victim says its name");
    assert!(engine::is_running(&name));
    let pid = rustix::process::Pid::from_child(&victim);
    rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
    victim.wait().expect("it ends");
    let run = name.trim_start_matches("powerdev-").rsplit_once('-').expect("run and number").0.to_owned();
    assert_ne!(run, run_id());
    wait::until("the reaper removes the container and the image", Duration::from_secs(30), || {
        engine::leftovers(&run).is_empty().then_some(())
    });
}

/// Does nothing in a usual run; started by the test above, it makes a container and waits to be killed.
#[test]
fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let project = Project::bare();
    run_container(&project.container(), "exec sleep 600");
    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(&mut out, format!("running as {}\n", project.container()).as_bytes()).expect("it reads");
    std::io::Write::flush(&mut out).expect("it reads");
    // Ends with the test that started us, at the latest.
    std::io::stdin().read_line(&mut String::new()).ok();
}
