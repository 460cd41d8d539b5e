//! What goes wrong around the services takes neither the agent nor the other services down, and is told.

use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters as query;
use powerdev_protocol::{Action, EventKind, HealthState, ServiceState};
use serde_json::json;

use super::cell::{Cell, PATIENCE, Setup, tmpfs};
use crate::common::{Project, engine, wait};

#[test]
fn a_crash_loop_waits_longer_each_time_and_is_told() {
    let cell = Cell::start(json!({
        "bad": {"command": "echo boom; exit 9", "restart": {"backoff": 0.1, "max_backoff": 0.8, "jitter": 0}},
        "good": {"command": "exec sleep 1000"},
    }));
    let events = cell.events();
    let mut starts = Vec::new();
    while starts.len() < 6 {
        starts.push(events.wait("a start", |event| match event.kind {
            EventKind::Service { name, to: ServiceState::Ready, .. } if name == "bad" => Some(event.at_ms),
            _ => None,
        }));
    }
    let gaps: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[4] > gaps[0] * 2, "{gaps:?}");
    assert!(gaps[4] >= 750, "the longest wait is kept: {gaps:?}");
    let bad = cell.wait_state("bad", ServiceState::Backoff);
    assert!(bad.retry_in_ms.is_some_and(|left| left <= 800), "{bad:?}");
    let health = cell.health();
    assert_eq!(health.state, HealthState::Unhealthy);
    assert!(health.detail.contains("bad") && !health.detail.contains("good"), "{health:?}");
    assert_eq!(cell.service("good").restarts, 0);
}

#[test]
fn a_killed_service_is_back_within_a_fifth_of_a_second() {
    let cell = Cell::start(json!({"web": {"command": "exec sleep 1000", "restart": {"reset": 0}}}));
    let before = cell.wait_state("web", ServiceState::Ready);
    let pid = before.pid.expect("it runs");
    let events = cell.events();
    let (_, _) = cell.engine_exec(&["/bin/kill", "-9", &pid.to_string()], b"");
    let of = |to: ServiceState| {
        move |event: powerdev_protocol::Event| match event.kind {
            EventKind::Service { to: now, .. } if now == to => Some(event.at_ms),
            _ => None,
        }
    };
    let died = events.wait("its death", of(ServiceState::Backoff));
    let back = events.wait("its return", of(ServiceState::Ready));
    assert!(back - died <= 200, "{} ms", back - died);
    let after = cell.service("web");
    assert_eq!(after.restarts, 1);
    assert_eq!(after.last_exit.and_then(|exit| exit.signal), Some(9));
}

#[test]
fn out_of_memory_is_told_apart_from_other_kills() {
    // Doubles a string until the kernel has enough.
    let glutton = "until [ -e /out/go ]; do sleep 0.02; done; x=0123456789abcdef; while :; do x=$x$x; done";
    let cell = Setup::new(json!({
        "glutton": {"command": glutton, "restart": {"policy": "never"}},
        "killed": {"command": "kill -9 $$", "restart": {"policy": "never"}},
        "good": {"command": "exec sleep 1000"},
    }))
    .host(|host| {
        host.memory = Some(64 << 20);
        host.memory_swap = Some(64 << 20);
    })
    .start();
    let killed = cell.wait_state("killed", ServiceState::Failed).last_exit.expect("it ended");
    assert!(!killed.oom, "{}", killed.reason);
    let events = cell.events();
    cell.engine_exec(&["/bin/touch", "/out/go"], b"");
    let glutton = cell.wait_state("glutton", ServiceState::Failed).last_exit.expect("it ended");
    assert!(glutton.oom && glutton.reason.contains("out of memory"), "{glutton:?}");
    let kills = events.wait("the kernel's kill is told", |event| match event.kind {
        EventKind::Oom { kills } => Some(kills),
        _ => None,
    });
    assert!(kills >= 1);
    let status = cell.status();
    assert!(status.usage.oom_kills >= 1);
    assert_eq!(status.usage.memory_limit_bytes, Some(64 << 20));
    assert_eq!(cell.service("good").restarts, 0);
}

#[test]
fn the_limit_of_tasks_is_told_and_survived() {
    let forker = "until [ -e /out/go ]; do sleep 0.02; done; while :; do sleep 1000 & done";
    let cell = Setup::new(json!({
        "forker": {"command": forker, "stop": {"grace": 1}, "restart": {"policy": "never"}},
        "good": {"command": "exec sleep 1000"},
    }))
    .host(|host| host.pids_limit = Some(40))
    .start();
    cell.wait_state("good", ServiceState::Ready);
    let events = cell.events();
    cell.engine_exec(&["/bin/touch", "/out/go"], b"");
    let refused = events.wait("the refusal is told", |event| match event.kind {
        EventKind::PidsLimit { refused } => Some(refused),
        _ => None,
    });
    assert!(refused >= 1);
    assert_eq!(cell.status().usage.pids_limit, Some(40));
    // With no task left to be had, the agent still answers, stops what is to blame, and can start what is asked for.
    cell.command("forker", Action::Stop);
    cell.command("good", Action::Restart);
    cell.wait_state("good", ServiceState::Ready);
}

#[test]
fn a_full_disk_stops_no_service() {
    let chatty = "yes 'a line that fills the disk' | head -n 100000; echo > /out/written; exec sleep 1000";
    let cell = Setup::new(json!({"chatty": {"command": chatty}}))
        .host(|host| host.tmpfs = tmpfs(&[("/home/dev/logs", "size=64k,mode=0777")]))
        .start();
    cell.wait_out("written");
    let status = cell.status();
    assert_eq!(cell.service("chatty").restarts, 0);
    assert_eq!(status.health.state, HealthState::Healthy);
    assert!(status.notices.iter().any(|notice| notice.contains("log")), "{:?}", status.notices);
}

#[test]
fn a_log_that_nobody_takes_blocks_nothing_and_the_loss_is_counted() {
    let chatty = "i=0; while [ $i -lt 20 ]; do yes 'a line for nobody' | head -n 5000; i=$((i+1)); done; \
                  echo > /out/written; exec sleep 1000";
    let gate = "until [ -e /out/go ]; do sleep 0.02; done";
    let cell = Cell::start(json!({
        "gate": {"command": gate, "restart": {"policy": "never"}},
        "chatty": {"command": chatty, "depends_on": {"gate": "completed"}},
    }));
    cell.wait_state("gate", ServiceState::Ready);
    // The Engine's end of the container's output is its shim, the parent of PID 1.
    let shim = Stuck::stop(&cell);
    std::fs::write(cell.out_path("go"), "").expect("written");
    cell.wait_out("written");
    let asked = Instant::now();
    let dropped = cell.status().dropped_lines;
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?} to answer", asked.elapsed());
    assert!(dropped > 0, "100,000 lines don't fit a pipe");
    drop(shim);
    wait::until("the log says that lines are missing", PATIENCE, || {
        engine::logs(cell.name()).contains("dropped").then_some(())
    });
}

/// A container's shim, stopped until dropped. A container of our own that sees the host's processes stops it: the
/// tests' user need not be root.
struct Stuck {
    pid: i32,
    project: Project,
}

impl Stuck {
    fn stop(cell: &Cell) -> Self {
        let init = engine::pid(cell.name());
        let status = std::fs::read_to_string(format!("/proc/{init}/status")).expect("the container runs here");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("every process has a parent");
        let stuck = Self { pid: parent.trim().parse().expect("a number"), project: Project::bare() };
        stuck.send("STOP");
        stuck
    }

    fn send(&self, signal: &str) {
        let name = self.project.container();
        let body = ContainerCreateBody {
            image: Some(engine::tiny_image().to_owned()),
            user: Some("0:0".into()),
            cmd: Some(vec!["/bin/kill".into(), format!("-{signal}"), self.pid.to_string()]),
            host_config: Some(HostConfig {
                pid_mode: Some("host".into()),
                network_mode: Some("none".into()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = query::CreateContainerOptionsBuilder::new().name(&name).build();
        let mut events = engine::Events::of(&name);
        let docker = engine::docker();
        engine::block_on(async {
            docker.create_container(Some(options), body).await.expect("the Engine creates it");
            docker.start_container(&name, None::<query::StartContainerOptions>).await.expect("the Engine starts it");
        });
        events.wait("die", PATIENCE);
        engine::remove(&name);
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.send("CONT");
    }
}
