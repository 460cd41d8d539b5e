//! The guard as a program: a service that answers whoever asks behind it, clients of all sorts before it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);
const AGENT: &str = env!("CARGO_BIN_EXE_powerdev-agent");

/// A guard whose command says that it runs, and ends with 7 when its input does.
struct Guard {
    child: Child,
    port: u16,
}

impl Guard {
    fn before(target: u16) -> Self {
        Self::run(target, &["sh", "-c", "echo runs; read line; exit 7"])
    }

    fn run(target: u16, command: &[&str]) -> Self {
        // Free a moment ago; the next one to ask gets another.
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port").port();
        let mut child = Command::new(AGENT)
            .args(["guard", &port.to_string(), &target.to_string(), "--"])
            .args(command)
            .env("POWERDEV_ALLOW_ORIGINS", "https://box.example")
            .env("POWERDEV_HOST_NAME", "gpu-box")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent runs");
        // It listens before it runs the command.
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("it says so");
        assert_eq!(line, "runs\n");
        Self { child, port }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("the guard listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        stream
    }

    /// What is answered to a head with these lines.
    fn ask(&self, lines: &[&str]) -> String {
        let mut stream = self.connect();
        write!(stream, "{}\r\n\r\n", lines.join("\r\n")).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered, and closed");
        answer
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// A service that answers with the head it got, or becomes an echo. Gives its port.
fn service() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).expect("a head") == 0 {
                        return;
                    }
                }
                if head.contains("Upgrade:") {
                    write!(stream, "HTTP/1.1 101 Switching Protocols\r\n\r\n").expect("sent");
                    std::io::copy(&mut reader, &mut stream).expect("echoed");
                } else {
                    write!(stream, "HTTP/1.1 200 OK\r\n\r\n{head}").expect("sent");
                }
                stream.shutdown(Shutdown::Write).ok();
            });
        }
    });
    port
}

#[test]
fn its_own_pages_pass_and_those_of_others_do_not() {
    let guard = Guard::before(service());
    let own = format!("Host: localhost:{}", guard.port);
    let same = format!("Origin: http://127.0.0.1:{}", guard.port);
    let answer = guard.ask(&["GET /a HTTP/1.1", &own, &same, "Connection: keep-alive"]);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n\r\nGET /a HTTP/1.1\r\n"), "{answer}");
    assert!(
        answer.contains(&same) && answer.contains("Connection: close") && !answer.contains("keep-alive"),
        "{answer}"
    );
    for origin in ["https://evil.example", "null", "http://localhost:1"] {
        for upgrade in ["X: y", "Upgrade: websocket"] {
            let answer = guard.ask(&["GET /ws HTTP/1.1", &own, upgrade, &format!("Origin: {origin}")]);
            assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n") && answer.contains(origin), "{answer}");
        }
    }
    let rebound = guard.ask(&["GET /a HTTP/1.1", "Host: evil.example"]);
    assert!(rebound.starts_with("HTTP/1.1 403 "), "{rebound}");
    assert!(guard.ask(&["GET /a HTTP/1.1", &own, "Origin: https://box.example"]).starts_with("HTTP/1.1 200 "));
    assert!(guard.ask(&["HELO there"]).starts_with("HTTP/1.1 400 "));
}

#[test]
fn what_was_let_in_is_passed_on_byte_for_byte() {
    let guard = Guard::before(service());
    let stream = guard.connect();
    write!(&stream, "GET /ws HTTP/1.1\r\nHost: localhost:{}\r\nUpgrade: x\r\n\r\n", guard.port).expect("sent");
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (writer, bytes) = (stream.try_clone().expect("a socket"), sent.clone());
    let writing = thread::spawn(move || {
        (&writer).write_all(&bytes).expect("sent");
        writer.shutdown(Shutdown::Write).expect("half closed");
    });
    let mut answer = Vec::new();
    (&stream).read_to_end(&mut answer).expect("answered, and closed");
    writing.join().expect("all was sent");
    let head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    assert!(answer.starts_with(head));
    assert!(answer[head.len()..] == sent, "{} bytes came back", answer.len());
}

#[test]
fn a_service_that_does_not_listen_is_told() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port").port();
    let guard = Guard::before(closed);
    let answer = guard.ask(&["GET / HTTP/1.1", "Host: localhost"]);
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("doesn't listen yet"), "{answer}");
}

#[test]
fn it_answers_to_its_own_names_alone() {
    let guard = Guard::before(service());
    for (host, status) in [("gpu-box", 200), ("gpu-box.local", 200), ("printer", 403), ("evil.local", 403)] {
        let answer = guard.ask(&["GET /a HTTP/1.1", &format!("Host: {host}:{}", guard.port)]);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
    let twice = ["GET /a HTTP/1.1", "Host: localhost", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"];
    assert!(guard.ask(&twice).starts_with("HTTP/1.1 403 "));
}

/// Answers within a second, whoever else is there.
fn answers_soon(guard: &Guard) {
    let begun = Instant::now();
    let answer = guard.ask(&["GET /a HTTP/1.1", "Host: localhost"]);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn clients_that_say_nothing_keep_nobody_out() {
    let guard = Guard::before(service());
    let silent: Vec<TcpStream> = (0..600).map(|_| guard.connect()).collect();
    answers_soon(&guard);
    for mut half in &silent[400..] {
        write!(half, "GET / HTTP/1.1\r\nHost: ").expect("sent");
    }
    answers_soon(&guard);
}

#[test]
fn who_is_turned_away_and_goes_on_sending_holds_nobody_up() {
    let guard = Guard::before(service());
    // As many as are let in, all of them busy; then one more, who is told so and goes on sending.
    let busy: Vec<TcpStream> = (0..256)
        .map(|_| {
            let mut stream = guard.connect();
            write!(stream, "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: x\r\n\r\n").expect("sent");
            let mut head = [0; 12];
            stream.read_exact(&mut head).expect("the service answers");
            assert_eq!(&head, b"HTTP/1.1 101");
            stream
        })
        .collect();
    let mut turned_away = guard.connect();
    let trickling = turned_away.try_clone().expect("a socket");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let trickle = thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(20)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            && (&trickling).write_all(b"x").is_ok()
        {}
    });
    let mut head = [0; 12];
    turned_away.read_exact(&mut head).expect("it is told");
    assert_eq!(&head, b"HTTP/1.1 503");
    let begun = Instant::now();
    drop(busy);
    // Their places are free once the guard has seen them go.
    while !guard.ask(&["GET /a HTTP/1.1", "Host: localhost"]).starts_with("HTTP/1.1 200 ") {
        assert!(begun.elapsed() < DEADLINE, "nobody is let in");
    }
    drop(stop);
    trickle.join().expect("it ends");
}

#[test]
fn who_was_refused_and_goes_on_sending_is_let_go() {
    let guard = Guard::before(service());
    let mut refused = guard.connect();
    write!(refused, "POST / HTTP/1.1\r\nHost: evil.example\r\n\r\n").expect("sent");
    let begun = Instant::now();
    while refused.write_all(b"x").is_ok() {
        assert!(begun.elapsed() < DEADLINE, "it is heard out for ever");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn its_end_is_the_commands() {
    let mut guard = Guard::before(1);
    drop(guard.child.stdin.take());
    assert_eq!(guard.child.wait().expect("it ends").code(), Some(7));
    let mut guard = Guard::run(1, &["sh", "-c", "echo runs; kill -9 $$"]);
    assert_eq!(guard.child.wait().expect("it ends").code(), Some(137));
    let missing = Command::new(AGENT).args(["guard", "0", "1", "--", "x"]).output().expect("the agent runs");
    assert_eq!(missing.status.code(), Some(2));
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let refused = Command::new(AGENT).args(["guard", &port, "1", "--", "true"]).output().expect("the agent runs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(&format!("can't listen on port {port}")));
}
