//! PID 1 and the guard, which whoever runs inside can reach: nothing that is put in their way, and no crowd of clients,
//! keeps them from their work.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::{against_each, environment, inside};
use crate::common::{Project, engine, wait};

const SOON: Duration = Duration::from_secs(30);

/// The agent itself answers, in a time that health checks allow.
fn answers(project: &Project, security: &str) {
    let begun = Instant::now();
    let said = inside(project, "dev", "/opt/powerdev/bin/powerdev-agent health");
    assert_eq!((said.code, said.out()), (0, "healthy\n"), "{security}: {}", said.err());
    assert!(begun.elapsed() < Duration::from_secs(10), "{security}: {:?}", begun.elapsed());
    assert_eq!(project.powerdev(["health"]).run().ok().out(), "healthy\n", "{security}");
}

/// As above, as soon as it has looked after its socket.
fn answers_soon(project: &Project, security: &str) {
    let healthy = || project.powerdev(["health"]).run().out() == "healthy\n";
    wait::until("the socket is there again", SOON, || healthy().then_some(()));
    answers(project, security);
}

#[test]
fn a_pipe_in_a_logs_place_stops_nothing() {
    against_each(|project, security| {
        for thing in ["mkfifo", "mkdir", "ln -s /dev/zero"] {
            let put = format!("rm -rf ~/logs/idle.log; {thing} ~/logs/idle.log && kill -HUP 1");
            inside(project, "dev", &put).ok();
            answers(project, security);
            project.powerdev(["services", "restart", "idle"]).run().ok();
            answers(project, security);
        }
        inside(project, "dev", "rm -rf ~/logs/idle.log; mkfifo ~/logs/idle.log").ok();
        project.powerdev(["restart"]).run().ok();
        answers(project, security);
    });
}

#[test]
fn a_folder_in_the_sockets_place_gives_way() {
    against_each(|project, security| {
        for thing in ["mkdir -p agent.sock/full/of/folders", "ln -s /dev/zero agent.sock", "mkfifo agent.sock"] {
            inside(project, "dev", &format!("cd /run/powerdev && rm -rf agent.sock && {thing}")).ok();
            answers_soon(project, security);
        }
        inside(project, "dev", "cd /run/powerdev && rm -rf agent.sock && mkdir -p agent.sock/full/of/folders").ok();
        project.powerdev(["restart"]).run().ok();
        answers(project, security);
    });
}

#[test]
fn a_crowd_of_clients_keeps_nobody_out() {
    against_each(|project, security| {
        let client = "/opt/powerdev/bin/powerdev-agent connect >/dev/null 2>&1";
        let crowds = [
            // Who follow and do nothing else.
            format!("for n in $(seq 300); do (echo '{{\"op\":\"events\"}}'; exec sleep 60) | {client} & done"),
            // Who ask without end.
            format!("for n in $(seq 20); do yes '{{\"op\":\"status\"}}' | {client} & done"),
        ];
        for crowd in crowds {
            let pid = engine::pid(&project.container());
            inside(project, "dev", &format!("{crowd}; sleep 2")).ok();
            (0..5).for_each(|_| answers(project, security));
            assert_eq!(engine::pid(&project.container()), pid, "{security}: it is the same PID 1");
            inside(project, "dev", "killall yes sleep; true").ok();
            wait::until("its service is back", SOON, || project.powerdev(["health"]).run().code.eq(&0).then_some(()));
        }
    });
}

#[test]
fn lines_without_an_end_kill_nobody() {
    for security in super::CLOSED {
        let project = environment(security, "memory: 64m\n");
        let pid = engine::pid(&project.container());
        let place = project.state_home().join("powerdev").join(project.name()).join("run/agent.sock");
        let clients: Vec<UnixStream> = (0..64).map(|_| UnixStream::connect(&place).expect("it listens")).collect();
        for mut client in &clients {
            client.set_write_timeout(Some(SOON)).expect("a socket");
            client.write_all(&[b' '; 1000 << 10]).ok(); // It may be hung up on.
        }
        answers(&project, security);
        assert_eq!(engine::pid(&project.container()), pid, "{security}: PID 1 lives");
        drop(clients);
    }
}

const GUARDED: &str = "
web:
  command: [/opt/powerdev/bin/powerdev-agent, guard, '8080', '8081', --, sleep, '1000000']
  ports: [8080]
  ready: { tcp: 8080 }
";

/// What the guard answers to a program.
fn asked(port: u16) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it is published");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
    write!(stream, "GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn silent_clients_do_not_close_a_guarded_port() {
    for security in super::CLOSED {
        let project = Project::bare();
        let services = GUARDED.lines().map(|line| format!("  {line}\n")).collect::<String>();
        project.yaml(&format!("services:\n{services}security: {security}\n"));
        project.powerdev(["up"]).run().ok();
        let status = project.powerdev(["status", "--json"]).run().ok().json();
        let port = status["ports"][0]["host"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it is published");
        let silent: Vec<TcpStream> = (0..400).map(|_| connect()).collect();
        for mut refused in &silent[..50] {
            refused.write_all(b"POST / HTTP/1.1\r\nHost: evil.example\r\n\r\nand on it ").ok(); // It may have had to go.
        }
        // Nothing listens behind it, and that is what it says, soon.
        (0..5).for_each(|_| assert_eq!(asked(port), "HTTP/1.1 502", "{security}"));
        for name in ["evil.local", "printer", "evil.example"] {
            let mut stream = connect();
            write!(stream, "GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").expect("sent");
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).expect("an answer");
            assert_eq!(&answer, b"HTTP/1.1 403", "{security}: {name}");
        }
        drop(silent);
    }
}
