//! Runs an agent, talks to it, and waits for what it tells, always with a deadline.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Long enough for a machine that is busy with other tests.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub struct Agent {
    pub child: Child,
    pub dir: tempfile::TempDir,
}

impl Agent {
    /// Starts one with these services, and waits until it answers.
    pub fn start(services: Value) -> Self {
        Self::start_with(services, |_| {})
    }

    pub fn start_with(services: Value, change: impl FnOnce(&mut Command)) -> Self {
        let agent =
            Self::launch(&json!({"project": "test", "environment": {}, "services": services}).to_string(), change);
        agent.connect();
        agent
    }

    /// Starts one with this text as its services. `$T` is its folder.
    pub fn launch(services: &str, change: impl FnOnce(&mut Command)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("services.json"), services).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_powerdev-agent"));
        command.arg("init");
        for (option, name) in [
            ("--services", "services.json"),
            ("--secrets", "secrets.json"),
            ("--run-dir", "run"),
            ("--log-dir", "logs"),
        ] {
            command.arg(option).arg(dir.path().join(name));
        }
        command.env("T", dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        change(&mut command);
        let child = command.spawn().unwrap();
        Self { child, dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn connect(&self) -> Connection {
        let stream = until("the agent listens", || UnixStream::connect(self.path("run/agent.sock")).ok());
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Connection { reader: BufReader::new(stream) }
    }

    pub fn ask(&self, request: Value) -> Value {
        self.connect().ask(request)
    }

    pub fn status(&self) -> Value {
        self.ask(json!({"op": "status"}))
    }

    pub fn service(&self, name: &str) -> Value {
        let status = self.status();
        status["services"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone()
    }

    /// Asks for the status after each event until it is as wanted.
    pub fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut events = self.events();
        let end = Instant::now() + DEADLINE;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < end, "{what} has not come: {status:#}");
            events.line();
        }
    }

    pub fn wait_state(&self, name: &str, state: &str) -> Value {
        let of =
            |status: &Value| status["services"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone();
        of(&self.wait(&format!("{name} {state}"), |status| of(status)["state"] == state))
    }

    pub fn events(&self) -> Connection {
        let mut connection = self.connect();
        assert_eq!(connection.ask(json!({"op": "events"}))["answer"], "ok");
        connection
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Waits for its end, and gives its exit code.
    pub fn exit_code(&mut self) -> i32 {
        until("the agent ends", || self.child.try_wait().unwrap()).code().expect("it exited by itself")
    }

    pub fn log(&self, service: &str) -> String {
        std::fs::read_to_string(self.path(&format!("logs/{service}.log"))).unwrap_or_default()
    }

    pub fn wait_log(&self, service: &str, text: &str) -> String {
        until(&format!("`{text}` in the log of {service}"), || Some(self.log(service)).filter(|log| log.contains(text)))
    }
}

impl Drop for Agent {
    /// Stops it, so that nothing of it is left on the machine whatever the test did.
    fn drop(&mut self) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > end {
                self.child.kill().ok();
                self.child.wait().ok();
                break;
            }
            self.signal(libc::SIGTERM);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub struct Connection {
    reader: BufReader<UnixStream>,
}

impl Connection {
    pub fn send(&mut self, request: &Value) {
        self.bytes(format!("{request}\n").as_bytes());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    /// The next line, as JSON.
    pub fn line(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    pub fn ask(&mut self, request: Value) -> Value {
        self.send(&request);
        self.line()
    }

    /// The next event of which this holds.
    pub fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let event = self.line();
            if wanted(&event) {
                return event;
            }
            assert!(Instant::now() < end, "the event has not come");
        }
    }

    pub fn service_event(&mut self, name: &str, to: &str) -> Value {
        self.event(|event| event["name"] == name && event["to"] == to)
    }

    pub fn frame(&mut self, kind: u8, payload: &[u8]) {
        let mut bytes = vec![kind];
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(payload);
        self.bytes(&bytes);
    }

    /// The next frame's kind and payload. None when the agent has hung up.
    pub fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        match self.reader.read_exact(&mut head) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            read => read.unwrap(),
        }
        let mut payload = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize];
        self.reader.read_exact(&mut payload).unwrap();
        Some((head[0], payload))
    }

    /// The payload of the next frame.
    pub fn data(&mut self) -> Vec<u8> {
        let mut head = [0; 5];
        self.reader.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 0);
        let mut payload = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize];
        self.reader.read_exact(&mut payload).unwrap();
        payload
    }

    /// Why the agent hangs up, after all that it sends before.
    pub fn farewell(&mut self) -> String {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).unwrap();
        let mut frames = &rest[..];
        loop {
            let length = u32::from_be_bytes(frames[1..5].try_into().unwrap()) as usize;
            let (frame, after) = frames.split_at(5 + length);
            if frame[0] == 3 {
                assert!(after.is_empty(), "it is the last that is said");
                return String::from_utf8(frame[5..].to_vec()).unwrap();
            }
            frames = after;
        }
    }

    /// Frames until all of them hold this text.
    pub fn data_until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        let end = Instant::now() + DEADLINE;
        loop {
            all.extend(self.data());
            let so_far = String::from_utf8_lossy(&all);
            if so_far.contains(text) {
                return so_far.into_owned();
            }
            assert!(Instant::now() < end, "{text:?} has not come: {so_far:?}");
        }
    }

    /// Whether the agent hung up.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.reader.read(&mut [0]), Ok(0) | Err(_))
    }
}

/// For what nobody tells of: looks again and again until it is there.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn kill(pid: i32, signal: i32) {
    // SAFETY: takes two integers.
    unsafe { libc::kill(pid, signal) };
}

pub fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn pid_of(service: &Value) -> i32 {
    service["pid"].as_i64().expect("it runs") as i32
}
