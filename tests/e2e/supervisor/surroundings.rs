//! The agent needs next to nothing of what is around it: no libc, no writable root, no privilege.

use powerdev_protocol::{Action, HealthState, ServiceState, paths};
use serde_json::json;

use super::cell::{Setup, empty_image, tmpfs};
use crate::common::engine;

#[test]
fn an_image_without_libc_or_anything_else() {
    let image = empty_image();
    let cell = Setup::new(json!({
        "events": {"command": [paths::AGENT_BIN, "ctl", "events", "--json"]},
        "once": {"command": [paths::AGENT_BIN, "version"], "restart": {"policy": "never"}},
    }))
    .image(&image)
    .start();
    cell.wait_state("once", ServiceState::Completed);
    cell.wait_state("events", ServiceState::Ready);
    let (code, said) = cell.engine_exec(&[paths::AGENT_BIN, "health"], b"");
    assert_eq!((code, said.as_str()), (0, "healthy\n"));
    let (code, said) = cell.exec(&[]);
    assert_eq!(code, 127, "there is no shell: {said}");
    cell.signal(15);
    assert_eq!(cell.wait_exit(), 0);
}

#[test]
fn a_read_only_root_without_any_privilege() {
    let cell = Setup::new(json!({
        "web": {"command": "echo said; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status > /out/begun; mv /out/begun /out/status; exec sleep 1000"},
    }))
    .host(|host| {
        host.readonly_rootfs = Some(true);
        host.cap_drop = Some(vec!["ALL".into()]);
        host.security_opt = Some(vec!["no-new-privileges".into()]);
        host.tmpfs = tmpfs(&[("/tmp", "")]);
    })
    .start();
    cell.wait_state("web", ServiceState::Ready);
    let status = cell.wait_out("status");
    assert!(status.contains("CapEff:\t0000000000000000") && status.contains("NoNewPrivs:\t1"), "{status}");
    cell.command("web", Action::Restart);
    // The services' logs have no place to go, which is told and stops nothing.
    let status = cell.status();
    assert!(status.notices.iter().any(|notice| notice.contains("log")), "{:?}", status.notices);
    assert_eq!(status.health.state, HealthState::Healthy);
}

#[test]
fn a_restart_by_the_engine_alone_brings_everything_back() {
    let cell = Setup::new(json!({"web": {"command": "echo ${#TOKEN} >> /out/length; exec sleep 1000"}}))
        .secret("TOKEN", "abcdefgh")
        .start();
    cell.wait_state("web", ServiceState::Ready);
    engine::block_on(engine::docker().restart_container(cell.name(), None)).expect("the Engine restarts it");
    cell.wait_state("web", ServiceState::Ready);
    assert_eq!(cell.wait_out("length"), "8\n8\n");
}

#[test]
fn broken_services_are_told_and_leave_a_container_to_look_into() {
    for (file, part) in [
        ("{\"project\": ", "services.json"),
        (r#"{"project":"p","environment":{},"services":{"a":{"command":"x","depends_on":{"b":"ready"}}}}"#, "`b`"),
    ] {
        let cell = Setup::raw(file).start();
        let health = cell.health();
        assert_eq!(health.state, HealthState::Unhealthy, "{health:?}");
        assert!(health.detail.contains(part), "{health:?}");
        assert!(engine::logs(cell.name()).contains(part));
        let (code, _) = cell.engine_exec(&[paths::AGENT_BIN, "health"], b"");
        assert_eq!(code, 1);
        cell.signal(15);
        cell.wait_exit();
    }
}
