//! Shells and commands beside the services: their environment, their codes, and the services' own terminals.

use powerdev_protocol::{Action, HealthState, ServiceState, paths};
use serde_json::json;

use super::cell::{Cell, Setup};
use crate::common::{engine, wait};

const CANARY: &str = "canary-4711-do-not-tell";

#[test]
fn commands_have_the_services_environment_and_no_secret_leaks() {
    let script = "echo $HOME $USER $PLAIN ${#TOKEN} $LANG; echo $PATH; pwd";
    let cell = Setup::new(json!({"web": {"command": format!("{{ {script}; }} > /out/service; exec sleep 1000")}}))
        .secret("TOKEN", CANARY)
        .start();
    let (code, said) = cell.exec(&["/bin/sh", "-c", script]);
    let expected = "/home/dev dev seen 23 C.UTF-8\n/usr/local/bin:/usr/bin:/bin:/sbin:/opt/powerdev/bin\n/home/dev\n";
    assert_eq!((code, said.as_str()), (0, expected));
    assert_eq!(cell.wait_out("service"), expected, "a service sees what a shell sees");
    let (_, lines) = cell.engine_exec(&["/bin/sh", "-c", "cat /proc/[0-9]*/cmdline"], b"");
    let told = [
        engine::inspect(cell.name()).expect("it is there").to_string(),
        engine::logs(cell.name()),
        serde_json::to_string(&cell.status()).expect("JSON"),
        lines,
    ];
    assert!(told.iter().all(|text| !text.contains(CANARY)));
}

#[test]
fn codes_pass_through_and_what_cannot_run_has_the_shells_codes() {
    let cell = Cell::start(json!({"web": {"command": "exec sleep 1000"}}));
    for (command, code, part) in [
        (&["/bin/sh", "-c", "exit 42"][..], 42, ""),
        (&["no-such-program"], 127, "can't run no-such-program: there is no such program"),
        (&["/etc/passwd"], 126, "can't run /etc/passwd: permission denied"),
        (&["/bin/sh", "-c", "kill -TERM $$"], 143, ""),
    ] {
        let (ended, said) = cell.exec(command);
        assert_eq!(ended, code, "{command:?}: {said}");
        assert!(said.contains(part), "{command:?}: {said}");
        assert!(said.lines().count() <= 1, "{command:?}: {said}");
    }
    let directory = |folder: &str| {
        cell.engine_exec(
            &[paths::AGENT_BIN, "exec", "--directory", folder, "--env", "A=b c", "--", "/bin/sh", "-c", "pwd; echo $A"],
            b"",
        )
    };
    assert_eq!(directory("/out"), (0, "/out\nb c\n".into()));
    let (code, said) = directory("/nowhere");
    assert!(code == 126 && said.contains("/nowhere"), "{code} {said}");
}

#[test]
fn bytes_pass_through_a_command_unchanged() {
    let cell = Cell::start(json!({"web": {"command": "exec sleep 1000"}}));
    let input: Vec<u8> = (0..2_000_000_u32).map(|n| b'a' + (n % 23) as u8).collect();
    let (code, said) = cell.engine_exec(&[paths::AGENT_BIN, "exec", "--", "/bin/cat"], &input);
    assert_eq!(code, 0);
    assert!(said.as_bytes() == input, "{} bytes came back of {}", said.len(), input.len());
}

#[test]
fn a_login_shell_is_what_no_command_means() {
    let cell = Cell::start(json!({"web": {"command": "exec sleep 1000"}}));
    let mut shell = cell.terminal(&[paths::AGENT_BIN, "exec"]);
    shell.send("echo shell-$0-$PLAIN; exit 5\r");
    shell.expect("shell-/bin/sh-seen");
    assert_eq!(shell.finish().0, 5);
}

#[test]
fn a_registered_command_gets_signals() {
    let cell = Cell::start(json!({"web": {"command": "exec sleep 1000"}}));
    let script = "trap 'echo got-usr1; exit 9' USR1; echo ready; while :; do sleep 0.02; done";
    let mut shell = cell.terminal(&[paths::AGENT_BIN, "exec", "--token", "the-token", "--", "/bin/sh", "-c", script]);
    shell.expect("ready");
    cell.send_signal("the-token", 10).expect("the token is known");
    shell.expect("got-usr1");
    assert_eq!(shell.finish().0, 9);
    wait::until("the token is forgotten", super::cell::PATIENCE, || cell.send_signal("the-token", 10).err());
    assert!(cell.send_signal("another", 10).is_err());
}

#[test]
fn attached_to_a_terminal_it_types_resizes_leaves_and_survives_restarts() {
    let cell = Cell::start(json!({"shell": {"command": ["/bin/sh"]}}));
    let before = cell.wait_state("shell", ServiceState::Ready);
    let mut screen = cell.terminal(&[paths::AGENT_BIN, "attach", "shell"]);
    screen.send("echo typed-$((40+2))\r");
    screen.expect("typed-42");
    screen.resize(33, 99);
    wait::until("the service's terminal has the new size", super::cell::PATIENCE, || {
        screen.send("stty size; echo asked\r");
        screen.expect("asked\r\n");
        screen.screen().contains("33 99").then_some(())
    });
    cell.command("shell", Action::Restart);
    wait::until("the new shell answers on the same connection", super::cell::PATIENCE, || {
        screen.send("echo again-$((40+3))\r");
        screen.read_for(std::time::Duration::from_millis(300));
        screen.screen().contains("again-43").then_some(())
    });
    screen.send("\x10\x11");
    let (code, said) = screen.finish();
    assert_eq!(code, 0);
    assert!(said.contains("left shell"), "{said}");
    let after = cell.service("shell");
    assert_eq!(after.state, ServiceState::Ready);
    assert_ne!(after.pid, before.pid, "it was restarted, once");

    // Who comes later is shown what was there before.
    let mut screen = cell.terminal(&[paths::AGENT_BIN, "attach", "shell"]);
    screen.expect("again-43");
    screen.send("\x10");
    screen.send("\x11");
    assert_eq!(screen.finish().0, 0);
}

#[test]
fn attached_by_pipes_bytes_pass_both_ways_and_input_ends() {
    let script = "n=$(wc -c); echo counted-$n; exec sleep 1000";
    let cell = Cell::start(json!({"pipe": {"command": script, "tty": false}}));
    cell.wait_state("pipe", ServiceState::Ready);
    let mut pipe = cell.piped(&[paths::AGENT_BIN, "attach", "pipe"]);
    pipe.send(vec![b'x'; 300_000]);
    pipe.end_input();
    pipe.expect("counted-300000\n");
    cell.signal(15);
    pipe.finish();
}

#[test]
fn attaching_to_what_is_not_there_says_so() {
    let cell = Cell::start(json!({"web": {"command": "exec sleep 1000"}}));
    let (code, said) = cell.engine_exec(&[paths::AGENT_BIN, "attach", "wbe"], b"");
    assert_ne!(code, 0);
    assert!(said.contains("wbe"), "{said}");
}

#[test]
fn the_health_check_counts_only_what_is_ready() {
    let cell = Cell::start(json!({
        "slow": {"command": "until [ -e /out/go ]; do sleep 0.02; done; echo here-i-am; exec sleep 1000",
                 "ready": {"log": "here-i-am"}},
    }));
    let health = || cell.engine_exec(&[paths::AGENT_BIN, "health"], b"");
    let (code, said) = health();
    assert!(code == 1 && said.starts_with("starting: slow") && said.lines().count() == 1, "{code} {said}");
    assert_eq!(cell.health().state, HealthState::Starting);
    cell.engine_exec(&["/bin/touch", "/out/go"], b"");
    cell.wait_state("slow", ServiceState::Ready);
    assert_eq!(health(), (0, "healthy\n".into()));
    cell.command("slow", Action::Stop);
    assert_eq!(health().0, 0, "stopped on request is no illness");
}

#[test]
fn ctl_asks_and_commands_from_inside() {
    let cell = Cell::start(json!({"web": {"command": "exec sleep 1000"}}));
    cell.wait_state("web", ServiceState::Ready);
    let ctl = |words: &[&str]| {
        let all: Vec<&str> = [paths::AGENT_BIN, "ctl"].iter().chain(words).copied().collect();
        cell.engine_exec(&all, b"")
    };
    let (code, said) = ctl(&["services", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&said).expect("one document");
    assert_eq!(code, 0);
    assert_eq!((&document["schema_version"], &document["services"][0]["name"]), (&json!(1), &json!("web")));
    assert_eq!(ctl(&["stop", "web", "--wait"]).0, 0);
    assert_eq!(cell.service("web").state, ServiceState::Stopped);
    assert!(ctl(&["status"]).1.contains("stopped"));
    assert_eq!(ctl(&["start", "--wait", "web"]).0, 0);
    assert_eq!(cell.service("web").state, ServiceState::Ready);
    let (code, said) = ctl(&["restart", "wbe"]);
    assert!(code == 4 && said.contains("no service `wbe` here; there are: web"), "{code} {said}");
    let (code, said) = cell.engine_exec(&[paths::AGENT_BIN, "attach", "wbe"], b"");
    assert!(code == 4 && said.contains("no service `wbe`"), "{code} {said}");
    assert_eq!(ctl(&["dance"]).0, 2);
    cell.rewrite(&json!({"web": {"command": "exec sleep 1000"}, "new": {"command": "exec sleep 1000"}}));
    assert_eq!(ctl(&["reload"]), (0, "started   new\nkept      web\n".into()));
    cell.wait_state("new", ServiceState::Ready);
    cell.rewrite(&json!({"new": {"command": ""}}));
    let (code, said) = ctl(&["reload", "--json"]);
    assert!(code == 1 && said.contains("service `new` has an empty command"), "{code} {said}");
    assert_eq!(cell.service("web").state, ServiceState::Ready);
}
