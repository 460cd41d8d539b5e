use std::time::Instant;

use serde_json::json;

use crate::harness::{Agent, kill, pid_of};

fn attach(agent: &Agent, size: Option<(u16, u16)>, replay: u32) -> crate::harness::Connection {
    let mut connection = agent.connect();
    let size = size.map(|(rows, cols)| json!({"rows": rows, "cols": cols}));
    let answer = connection.ask(json!({"op": "attach", "name": "a", "size": size, "replay": replay}));
    assert_eq!(answer["answer"], "ok");
    connection
}

#[test]
fn a_terminal_is_shared_replayed_resized_and_survives_a_restart() {
    let agent = Agent::start(
        json!({"a": {"command": "echo hello from $$; while read line; do echo \"<$line>\"; stty size; done", "restart": {"backoff": 0.01}}}),
    );
    agent.wait_log("a", "hello");
    let pid = pid_of(&agent.wait_state("a", "ready"));
    let mut one = attach(&agent, Some((11, 22)), 1000);
    one.data_until(&format!("hello from {pid}\r\n"));
    let mut two = attach(&agent, None, 0);
    one.frame(0, b"typed\n");
    one.data_until("<typed>\r\n11 22\r\n");
    let seen = two.data_until("<typed>\r\n11 22\r\n");
    assert!(!seen.contains("hello"), "no replay was asked for: {seen:?}");
    two.frame(1, br#"{"rows":33,"cols":44}"#);
    two.frame(0, b"again\n");
    one.data_until("<again>\r\n33 44\r\n");
    kill(pid, libc::SIGKILL);
    let seen = one.data_until("hello from ");
    assert!(!seen.contains(&format!("from {pid}")));
    one.frame(0, b"new\n");
    one.data_until("<new>\r\n33 44\r\n");
}

#[test]
fn pipes_pass_every_byte_and_end() {
    let agent = Agent::start(json!({"a": {"command": ["cat"], "tty": false, "restart": {"policy": "never"}}}));
    agent.wait_state("a", "ready");
    let mut connection = attach(&agent, None, 0);
    let bytes: Vec<u8> = (0..60_000u32).map(|n| (n % 251) as u8).collect();
    let mut got = Vec::new();
    for _ in 0..4 {
        connection.frame(0, &bytes);
    }
    while got.len() < 4 * bytes.len() {
        got.extend(connection.data());
    }
    assert!(got == bytes.repeat(4));
    connection.frame(2, b"");
    agent.wait_state("a", "completed");
}

#[test]
fn what_a_service_does_not_read_yet_is_kept_for_it() {
    let agent = Agent::start(
        json!({"a": {"command": "while ! test -e $T/go; do sleep 0.02; done; exec wc -c", "tty": false, "restart": {"policy": "never"}}}),
    );
    agent.wait_state("a", "ready");
    let mut connection = attach(&agent, None, 0);
    let writer = std::thread::spawn(move || {
        for _ in 0..40 {
            connection.frame(0, &[b'x'; 50_000]);
        }
        connection.frame(2, b"");
        connection
    });
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy", "the others are served meanwhile");
    std::fs::write(agent.path("go"), "").unwrap();
    let mut connection = writer.join().unwrap();
    assert!(connection.data_until("\n").contains("2000000"));
}

#[test]
fn typing_is_answered_in_a_moment() {
    let agent = Agent::start(json!({"a": {"command": ["cat"]}}));
    agent.wait_state("a", "ready");
    let mut connection = attach(&agent, None, 0);
    let mut times: Vec<_> = (0..101)
        .map(|_| {
            let begin = Instant::now();
            connection.frame(0, b"x");
            assert_eq!(connection.data(), b"x");
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    assert!(times[50].as_millis() < 20, "the median of an echo: {:?}", times[50]);
}

#[test]
fn who_does_not_read_is_hung_up_on_with_the_reason_and_harms_nobody() {
    let agent =
        Agent::start(json!({"a": {"command": ["cat"], "tty": false}, "loud": {"command": ["yes", "0123456789"]}}));
    agent.wait_state("a", "ready");
    let mut deaf = agent.connect();
    assert_eq!(deaf.ask(json!({"op": "attach", "name": "loud"}))["answer"], "ok");
    let mut one = attach(&agent, None, 0);
    for _ in 0..20 {
        one.frame(0, b"ping\n");
        one.data_until("ping\n");
    }
    crate::harness::until("more was written than is kept for it", || {
        agent.path("logs/loud.log.1").exists().then_some(())
    });
    assert_eq!(deaf.farewell(), "more than 1 MiB of output was waiting to be taken");
}

#[test]
fn registered_processes_are_signalled_by_their_token() {
    let agent = Agent::start(json!({}));
    let mut child = std::process::Command::new("python3")
        .args([
            "-c",
            "import os,socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'{\"op\":\"register\",\"token\":\"t1\"}\\n'); print(s.recv(99).decode(), flush=True); s.close(); os.execvp('sleep',['sleep','1000'])",
        ])
        .arg(agent.path("run/agent.sock"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line.trim(), r#"{"answer":"ok"}"#);
    let signal = |token: &str| agent.ask(json!({"op": "signal", "token": token, "signal": 15}));
    assert_eq!(signal("t2")["message"], "no process is registered under this token");
    assert_eq!(signal("t1")["answer"], "ok");
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    assert_eq!(signal("t1")["answer"], "error", "it has ended");
}
