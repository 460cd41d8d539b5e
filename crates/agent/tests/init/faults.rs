use std::os::unix::process::CommandExt;
use std::process::Stdio;

use serde_json::json;

use crate::harness::{Agent, pid_of, until};

#[test]
fn services_that_cannot_be_read_are_told_and_read_again_on_hup() {
    let good = r#"{"project":"","environment":{},"services":{"a":{"command":"exec sleep 1000"}}}"#;
    for (text, part) in [
        ("{\"project\"", "EOF"),
        (
            r#"{"project":"","environment":{},"services":{"a":{"command":"x","depends_on":{"b":"ready"}}}}"#,
            "`b`, which is no service",
        ),
        (r#"{"project":"","environment":{},"services":{"a":{"command":"x","bogus":1}}}"#, "bogus"),
    ] {
        let mut agent = Agent::launch(text, |_| {});
        let health = agent.ask(json!({"op": "health"}));
        assert_eq!(health["state"], "unhealthy");
        assert!(health["detail"].as_str().unwrap().contains(part), "{health}");
        assert_eq!(agent.status()["services"], json!([]));
        std::fs::write(agent.path("services.json"), good).unwrap();
        agent.signal(libc::SIGHUP);
        agent.wait_state("a", "ready");
        agent.signal(libc::SIGTERM);
        assert_eq!(agent.exit_code(), 0);
    }
}

#[test]
fn a_log_that_nobody_reads_stops_nothing_and_is_counted() {
    let agent = Agent::start_with(
        json!({"loud": {"command": "i=0; while test $i -lt 40000; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; exec sleep 1000"}}),
        |command| {
            command.stdout(Stdio::piped());
        },
    );
    until("lines are dropped", || agent.status()["dropped_lines"].as_u64().filter(|n| *n > 1000));
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy");
    until("the log on disk has them all", || (agent.log("loud").lines().count() == 40_000).then_some(()));
}

#[test]
fn what_was_dropped_is_told_in_the_log_once_somebody_reads_again() {
    let mut agent = Agent::start_with(
        json!({"loud": {"command": "i=0; while test $i -lt 20000; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; exec sleep 1000"}}),
        |command| {
            command.stdout(Stdio::piped());
        },
    );
    until("lines are dropped", || agent.status()["dropped_lines"].as_u64().filter(|n| *n > 1000));
    until("all are written", || (agent.log("loud").lines().count() == 20_000).then_some(()));
    let stdout = std::io::BufReader::new(agent.child.stdout.take().unwrap());
    let told = std::io::BufRead::lines(stdout).map(Result::unwrap).find(|line| line.contains("were dropped here"));
    assert!(told.unwrap().starts_with("powerdev | "));
}

#[test]
fn a_closed_stdout_stops_nothing() {
    let agent = Agent::start_with(json!({"a": {"command": "echo one; exec sleep 1000"}}), |command| {
        command.stdout(Stdio::piped());
        // SAFETY: close is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                for fd in 0..3 {
                    libc::close(fd);
                }
                Ok(())
            });
        }
    });
    agent.wait_log("a", "one");
    agent.wait("health", |status| status["health"]["state"] == "healthy");
}

#[test]
fn a_reader_that_goes_away_stops_nothing() {
    let mut agent =
        Agent::start_with(json!({"a": {"command": "while :; do echo tick; sleep 0.01; done"}}), |command| {
            command.stdout(Stdio::piped());
        });
    drop(agent.child.stdout.take());
    until("lines are dropped", || agent.status()["dropped_lines"].as_u64().filter(|n| *n > 3));
    assert_eq!(agent.service("a")["restarts"], 0);
}

#[test]
fn a_log_folder_that_cannot_be_written_is_a_notice() {
    let agent = Agent::start_with(json!({"a": {"command": "while :; do echo tick; sleep 0.01; done"}}), |command| {
        let folder = command.get_args().skip_while(|a| *a != "--log-dir").nth(1).unwrap();
        std::fs::write(folder, "a file in the folder's place").unwrap();
    });
    let status = until("the notice", || {
        Some(agent.status())
            .filter(|status| status["notices"][0].as_str().is_some_and(|n| n.contains("a.log can't be written")))
    });
    assert_eq!(status["health"]["state"], "healthy");
}

#[test]
fn a_socket_that_was_taken_away_is_made_again() {
    let agent = Agent::start(json!({"a": {"command": "exec sleep 1000"}}));
    std::fs::remove_file(agent.path("run/agent.sock")).unwrap();
    assert_eq!(agent.ask(json!({"op": "health"}))["answer"], "health");
}

#[test]
fn without_descriptors_it_goes_on() {
    let limit = libc::rlimit { rlim_cur: 24, rlim_max: 24 };
    let agent = Agent::start_with(json!({"a": {"command": "exec sleep 1000"}}), |command| {
        // SAFETY: setrlimit is async-signal-safe.
        unsafe {
            command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
    });
    let pid = pid_of(&agent.wait_state("a", "ready"));
    let hogs: Vec<_> = (0..40).map(|_| agent.connect()).collect();
    crate::harness::kill(pid, libc::SIGKILL);
    drop(hogs);
    let a = agent
        .wait("a is back", |status| status["services"][0]["state"] == "ready" && status["services"][0]["pid"] != pid);
    assert_eq!(a["health"]["state"], "healthy");
}

#[test]
fn what_lies_in_a_logs_place_holds_nothing_up() {
    let agent = Agent::start(json!({
        "pipe": {"command": "while :; do echo tick; sleep 0.05; done"},
        "folder": {"command": "while :; do echo tick; sleep 0.05; done"},
    }));
    for name in ["pipe", "folder"] {
        agent.wait_log(name, "tick");
        std::fs::remove_file(agent.path(&format!("logs/{name}.log"))).unwrap();
    }
    let pipe = std::process::Command::new("mkfifo").arg(agent.path("logs/pipe.log")).status().unwrap();
    assert!(pipe.success());
    std::fs::create_dir(agent.path("logs/folder.log")).unwrap();
    agent.signal(libc::SIGHUP);
    let told = |name: &str| {
        until("it is told", || {
            let notices = agent.status()["notices"].clone();
            let told = notices.as_array().unwrap().iter().any(|notice| {
                let notice = notice.as_str().unwrap();
                notice.contains(&format!("{name}.log")) && notice.contains("what lies there is no file")
            });
            told.then_some(())
        });
    };
    told("pipe");
    told("folder");
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy");
    std::fs::remove_file(agent.path("logs/pipe.log")).unwrap();
    std::fs::remove_dir(agent.path("logs/folder.log")).unwrap();
    agent.signal(libc::SIGHUP);
    agent.wait_log("pipe", "tick");
    agent.wait_log("folder", "tick");
    assert_eq!(agent.status()["notices"], json!([]));
}

#[test]
fn a_folder_in_the_sockets_place_is_put_aside() {
    let agent = Agent::start(json!({"a": {"command": "exec sleep 1000"}}));
    let place = agent.path("run/agent.sock");
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir_all(place.join("full/of/folders")).unwrap();
    let status = until("the socket is made again", || {
        std::os::unix::net::UnixStream::connect(&place).ok().map(|_| agent.status())
    });
    assert!(status["notices"][0].as_str().unwrap().contains("was put aside"), "{status}");
}

#[test]
fn a_folder_in_the_sockets_place_is_no_hindrance_from_the_start_on() {
    let agent = Agent::start_with(json!({"a": {"command": "exec sleep 1000"}}), |command| {
        let folder = command.get_args().skip_while(|a| *a != "--run-dir").nth(1).unwrap();
        std::fs::create_dir_all(std::path::Path::new(folder).join("agent.sock/full/of/folders")).unwrap();
    });
    agent.wait_state("a", "ready");
}
