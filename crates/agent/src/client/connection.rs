//! One connection to the agent: a request is a line, so is the answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use powerdev_protocol::control::MAX_LINE;
use powerdev_protocol::hello::{Hello, OtherRelease};
use powerdev_protocol::{Request, Response, paths};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::de::DeserializeOwned;

/// Why the agent can't be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Nobody listens, or nobody accepts.
    #[error("the agent doesn't answer at {}", paths::SOCKET)]
    Unreachable {
        #[source]
        source: io::Error,
    },
    /// The connection broke, or the answer took too long.
    #[error("the agent hung up or took too long")]
    Broken {
        #[source]
        source: io::Error,
    },
    /// The agent is of a release that this one can't talk to, or doesn't know the request.
    #[error("{other}: {}", .other.remedy())]
    OtherRelease {
        /// Which is which.
        #[from]
        other: OtherRelease,
    },
    /// The answer is none that this release knows.
    #[error("the agent's answer makes no sense to this release")]
    Nonsense {
        #[source]
        source: serde_json::Error,
    },
}

/// A connection to the agent's control socket.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<UnixStream>,
    /// What the agent said of itself, once it was asked anything.
    agent: Option<Hello>,
}

impl Connection {
    /// Connects. From then on each answer may take as long as `deadline`; see [`Connection::be_patient`].
    ///
    /// # Errors
    /// [`ConnectionError::Unreachable`] when nobody accepts before the deadline.
    pub fn open(deadline: Duration) -> Result<Self, ConnectionError> {
        Self::open_at(paths::SOCKET, deadline)
    }

    fn open_at(path: &str, deadline: Duration) -> Result<Self, ConnectionError> {
        let unreachable = |source| ConnectionError::Unreachable { source };
        let stream = UnixStream::from(connect(path, deadline).map_err(unreachable)?);
        stream.set_nonblocking(false).map_err(unreachable)?;
        stream.set_read_timeout(Some(deadline)).map_err(unreachable)?;
        stream.set_write_timeout(Some(deadline)).map_err(unreachable)?;
        Ok(Self { stream: BufReader::new(stream), agent: None })
    }

    /// Lets answers take as long as they need.
    ///
    /// # Errors
    /// When the socket refuses, which it doesn't.
    pub fn be_patient(&mut self) -> Result<(), ConnectionError> {
        self.stream.get_ref().set_read_timeout(None).map_err(|source| ConnectionError::Broken { source })
    }

    /// Asks and takes the answer.
    ///
    /// # Errors
    /// When the connection breaks, the deadline passes, or the answer isn't one.
    pub fn ask(&mut self, request: &Request) -> Result<Response, ConnectionError> {
        let greeting = self.agent.is_none().then(|| Request::Hello(Hello::ours()));
        let mut lines = Vec::new();
        for request in greeting.iter().chain([request]) {
            serde_json::to_writer(&mut lines, request).map_err(|source| ConnectionError::Nonsense { source })?;
            lines.push(b'\n');
        }
        self.stream.get_mut().write_all(&lines).map_err(|source| ConnectionError::Broken { source })?;
        if greeting.is_some() {
            let agent = Hello::of_answer(&self.answer()?);
            Hello::ours().check(&agent)?;
            self.agent = Some(agent);
        }
        let answer = self.answer()?;
        if let (Response::Error { .. }, Some(agent)) = (&answer, &self.agent) {
            agent.knows(request)?;
        }
        Ok(answer)
    }

    fn answer(&mut self) -> Result<Response, ConnectionError> {
        self.next()?.ok_or_else(|| ConnectionError::Broken { source: io::ErrorKind::UnexpectedEof.into() })
    }

    /// Takes one more line. None when the agent has hung up.
    ///
    /// # Errors
    /// When the connection breaks, the deadline passes, or the line isn't a `T`.
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ConnectionError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_LINE as u64);
        limited.read_until(b'\n', &mut line).map_err(|source| ConnectionError::Broken { source })?;
        if line.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&line).map(Some).map_err(|source| ConnectionError::Nonsense { source })
    }

    /// The socket, and what was read of it beyond the last line.
    pub fn into_parts(self) -> (UnixStream, Vec<u8>) {
        let rest = self.stream.buffer().to_vec();
        (self.stream.into_inner(), rest)
    }
}

/// A blocking connect would wait for ever for an agent whose queue is full.
fn connect(path: &str, deadline: Duration) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let until = Instant::now() + deadline;
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            // The queue is full. Nothing tells when there is room again, so ask now and then.
            Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn socket(test: &str) -> (UnixListener, String) {
        let path = std::env::temp_dir().join(format!("powerdev-client-{test}-{}.sock", std::process::id()));
        std::fs::remove_file(&path).ok();
        let path = path.to_str().expect("a plain path").to_owned();
        (UnixListener::bind(&path).expect("bound"), path)
    }

    #[test]
    fn asks_and_keeps_what_follows_the_answer() {
        let (listener, path) = socket("ask");
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().expect("accepted");
            let mut line = String::new();
            let mut reader = BufReader::new(peer.try_clone().expect("cloned"));
            for _ in 0..2 {
                reader.read_line(&mut line).expect("read");
            }
            let hello = serde_json::to_string(&Response::Hello(Hello::ours())).expect("plain data");
            peer.write_all(format!("{hello}\n{{\"answer\":\"ok\"}}\n\x00\x00\x00\x00\x01x").as_bytes())
                .expect("written");
            line
        });
        let mut connection = Connection::open_at(&path, Duration::from_secs(5)).expect("open");
        assert_eq!(connection.ask(&Request::Events).expect("an answer"), Response::Ok);
        assert_eq!(connection.into_parts().1, b"\x00\x00\x00\x00\x01x");
        let said = server.join().expect("ended");
        assert!(said.starts_with("{\"op\":\"hello\"") && said.ends_with("{\"op\":\"events\"}\n"), "{said}");
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_silent_agent_and_a_missing_one_are_told() {
        let (_listener, path) = socket("silent");
        let mut connection = Connection::open_at(&path, Duration::from_millis(50)).expect("queued");
        let error = connection.ask(&Request::Health).expect_err("nobody answers");
        assert!(matches!(error, ConnectionError::Broken { .. }), "{error}");
        std::fs::remove_file(&path).expect("removed");
        let error = Connection::open_at(&path, Duration::from_millis(50)).expect_err("nobody listens");
        assert!(matches!(error, ConnectionError::Unreachable { .. }), "{error}");
    }

    #[test]
    fn a_full_queue_ends_at_the_deadline() {
        let (_listener, path) = socket("full");
        let queued: Vec<_> = std::iter::repeat_with(|| Connection::open_at(&path, Duration::from_millis(30)))
            .take(5000)
            .take_while(Result::is_ok)
            .collect();
        assert!(queued.len() < 5000, "the queue has an end");
        std::fs::remove_file(path).expect("removed");
    }
}
