use serde_json::json;

use crate::harness::{Agent, pid_of, until};

#[test]
fn services_start_after_what_they_depend_on() {
    let agent = Agent::start(json!({
        "app": {"command": "echo app >>$T/order; exec sleep 1000", "depends_on": {"db": "ready", "setup": "completed"}},
        "db": {"command": "sleep 0.3; echo db >>$T/order; echo up; exec sleep 1000", "ready": {"log": "up"}, "depends_on": {"net": "started"}},
        "net": {"command": "exec sleep 1000", "ready": {"log": "never said"}},
        "setup": {"command": "sleep 0.1; echo setup >>$T/order", "restart": {"policy": "on-failure"}},
        "off": {"command": "touch $T/off", "enabled": false},
    }));
    let status = agent.wait("app", |status| {
        status["services"].as_array().unwrap().iter().any(|s| s["name"] == "app" && s["ready"] == true)
    });
    until("app's line", || {
        std::fs::read_to_string(agent.path("order")).ok().filter(|order| order == "setup\ndb\napp\n")
    });
    let names: Vec<_> = status["services"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, ["net", "db", "setup", "app"], "in the order of their start");
    assert_eq!(status["health"]["state"], "starting", "net isn't ready");
    assert!(!agent.path("off").exists());
}

#[test]
fn a_dependency_that_fails_for_good_fails_what_depends_on_it_until_it_is_back() {
    let agent = Agent::start(json!({
        "app": {"command": "exec sleep 1000", "depends_on": {"db": "ready"}},
        "db": {"command": "test -e $T/fixed || exit 3; echo up; exec sleep 1000", "ready": {"log": "up"}, "restart": {"policy": "never"}},
    }));
    let app = agent.wait_state("app", "failed");
    assert_eq!(app["last_exit"]["reason"], "`db`, which it depends on, failed");
    let health = agent.ask(json!({"op": "health"}));
    assert_eq!(health["state"], "unhealthy");
    assert!(health["detail"].as_str().unwrap().contains("db: failed: exited with 3"), "{health}");
    std::fs::write(agent.path("fixed"), "").unwrap();
    assert_eq!(agent.ask(json!({"op": "service", "name": "db", "action": "start", "wait": true}))["answer"], "ok");
    agent.wait_state("app", "ready");
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy");
}

#[test]
fn a_service_gets_its_directory_environment_terminal_and_clean_signals() {
    let agent = Agent::start_with(
        json!({
            "tty": {"command": "pwd; echo $A-$SECRET; tty; stty size; grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd | wc -l; echo end; exec sleep 1000",
                    "directory": "/usr", "environment": {"A": "own"}, "ready": {"log": "end"}},
            "pipe": {"command": "tty; echo to-stderr >&2; echo end; exec sleep 1000", "tty": false, "ready": {"log": "end"}},
        }),
        |command| {
            let secrets = command.get_args().skip_while(|a| *a != "--secrets").nth(1).unwrap();
            std::fs::write(secrets, r#"{"SECRET":"hush"}"#).unwrap();
        },
    );
    agent.wait_state("tty", "ready");
    agent.wait_state("pipe", "ready");
    let text = |service| {
        agent.log(service).lines().map(|l| l.split_once(' ').unwrap().1.to_string() + "\n").collect::<String>()
    };
    let log = text("tty");
    assert!(log.starts_with("/usr\nown-hush\n/dev/pts/"), "{log}");
    assert!(log.contains("\n40 120\n"), "{log}");
    assert!(log.contains("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n4\n"), "{log}");
    let log = text("pipe");
    assert!(log.starts_with("not a tty\n") && log.contains("to-stderr\n"), "{log}");
}

#[test]
fn status_tells_who_it_is() {
    let mut agent = Agent::start(json!({"a": {"command": "exec sleep 1000"}}));
    let status = agent.wait("a", |status| status["services"][0]["state"] == "ready");
    assert_eq!(status["pid"], agent.pid());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(status["notices"], json!([]));
    assert_eq!(status["dropped_lines"], 0);
    assert!(status["usage"]["cpu_percent"].is_number(), "however early it is asked: {}", status["usage"]);
    let child = std::fs::read_to_string(format!("/proc/{}/stat", pid_of(&status["services"][0]))).unwrap();
    let fields: Vec<&str> = child.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!(fields[1], agent.pid().to_string(), "its parent");
    assert_eq!(fields[2], pid_of(&status["services"][0]).to_string(), "it leads its group");
    let path = agent.path("run/agent.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.exit_code(), 0);
    assert!(!path.exists(), "its socket is taken away");
}

#[test]
fn the_containers_log_has_every_line_with_its_service() {
    let mut agent = Agent::start_with(
        json!({"a": {"command": "echo one; printf two; exec sleep 1000"}, "b": {"command": "echo three >&2; exec sleep 1000", "tty": false}}),
        |command| {
            command.stdout(std::process::Stdio::piped());
        },
    );
    agent.wait_log("a", "one");
    agent.wait_log("b", "three");
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.exit_code(), 0);
    let mut text = String::new();
    std::io::Read::read_to_string(agent.child.stdout.as_mut().unwrap(), &mut text).unwrap();
    for line in [
        "a | one",
        "a | two",
        "b | three",
        "powerdev | stopping (SIGTERM)",
        "powerdev | b: stopped: stopped on request",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is missing:\n{text}");
    }
}

#[test]
fn unknown_services_and_nonsense_are_refused_and_nothing_breaks() {
    let agent = Agent::start(json!({"a": {"command": "exec sleep 1000"}}));
    agent.wait_state("a", "ready");
    let mut connection = agent.connect();
    let answer = connection.ask(json!({"op": "service", "name": "zz", "action": "stop"}));
    assert_eq!(answer["message"], "no service `zz` here; there are: a");
    assert_eq!(connection.ask(json!({"op": "dance"}))["answer"], "error");
    connection.bytes(b"\xff\xfe{{{\n");
    assert_eq!(connection.line()["answer"], "error");
    assert_eq!(connection.ask(json!({"op": "health"}))["state"], "healthy", "the same connection goes on");
    let mut flood = agent.connect();
    flood.bytes(&vec![b'x'; 1 << 20]);
    flood.bytes(&vec![b'x'; 1 << 10]);
    assert!(flood.is_closed(), "a line without end is hung up on");
    let many: Vec<_> = (0..200).map(|_| agent.connect()).collect();
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy", "idle clients don't keep others out");
    drop(many);
}

#[test]
fn clients_say_who_they_are_before_they_ask_or_not_at_all() {
    let agent = Agent::start(json!({}));
    let mut connection = agent.connect();
    connection.bytes(b"{\"op\":\"hello\",\"protocol\":2,\"oldest\":1,\"release\":\"0.1.0\"}\n{\"op\":\"health\"}\n");
    let hello = connection.line();
    assert_eq!((hello["answer"].as_str(), hello["protocol"].as_u64()), (Some("hello"), Some(2)));
    assert_eq!(connection.line()["state"], "healthy", "both in one go");
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy", "one of before the greeting");

    let mut newer = agent.connect();
    newer.ask(json!({"op": "hello", "protocol": 9, "oldest": 9, "release": "9.0.0"}));
    let refused = newer.ask(json!({"op": "health"}));
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("release 9.0.0 (protocol 9): `powerdev restart`"), "{message}");
}
