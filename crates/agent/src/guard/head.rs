//! The head of a request: who sent it, and how it is passed on.

use powerdev_origin::Fetch;

/// The longest head; servers take 8 to 16 KiB.
pub const LONGEST: usize = 32 * 1024;
const HEADERS: usize = 100;

/// What is looked at of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its length with the empty line, in bytes.
    pub length: usize,
    /// It wants to become something else: a WebSocket.
    pub upgrades: bool,
    /// What it says of who sent it.
    pub fetch: Fetch,
}

/// No request of HTTP/1.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl Head {
    /// Reads a head. None while it isn't all there.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(length) = request.parse(bytes).map_err(|_| Malformed)? else {
            return if bytes.len() < LONGEST { Ok(None) } else { Err(Malformed) };
        };
        let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
        let headers = request.headers.iter().map(|header| (header.name, header.value));
        let fetch = Fetch::read(method, target, headers).map_err(|_| Malformed)?;
        let upgrades = request.headers.iter().any(|header| header.name.eq_ignore_ascii_case("upgrade"));
        // The one that is added has to fit, too.
        if !upgrades && request.headers.iter().all(|header| !is_hop(header.name.as_bytes())) {
            request.headers.get(HEADERS - 1).map_or(Ok(()), |_| Err(Malformed))?;
        }
        Ok(Some(Self { length, upgrades, fetch }))
    }

    /// The head as it is passed on: one request a connection, so that each one's head is looked at.
    pub fn passed_on(&self, bytes: &[u8]) -> Vec<u8> {
        let head = &bytes[..self.length];
        if self.upgrades {
            return head.to_vec();
        }
        let mut passed = Vec::with_capacity(head.len() + 32);
        let keeps = |line: &[u8]| !is_hop(line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii());
        for line in head.split_inclusive(|byte| *byte == b'\n') {
            if line.trim_ascii().is_empty() && !passed.is_empty() {
                break;
            }
            if keeps(line) {
                passed.extend_from_slice(line);
            }
        }
        passed.extend_from_slice(b"Connection: close\r\n\r\n");
        passed
    }
}

/// Whether a header is about one connection, and so isn't passed on.
fn is_hop(name: &[u8]) -> bool {
    ["connection", "keep-alive", "proxy-connection"].iter().any(|hop| name.eq_ignore_ascii_case(hop.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[&str]) -> Head {
        let text = format!("{}\r\n\r\n", lines.join("\r\n"));
        Head::parse(text.as_bytes()).expect("it is HTTP").expect("it is whole")
    }

    #[test]
    fn what_tells_who_sent_it_is_read() {
        let lines = [
            "GET / HTTP/1.1",
            "host: LOCALHOST:3000",
            "Origin: http://a",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
        ];
        let expected = Fetch {
            read_only: true,
            host: Some("localhost:3000".into()),
            origin: Some("http://a".into()),
            elsewhere: true,
            top_level: true,
        };
        assert_eq!(head(&lines).fetch, expected);
        assert_eq!(head(&["POST / HTTP/1.0"]).fetch, Fetch::default());
    }

    #[test]
    fn heads_come_in_pieces_and_have_an_end() {
        let whole = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nbody";
        for end in 0..whole.len() - 4 {
            assert_eq!(Head::parse(&whole[..end]), Ok(None), "{end}");
        }
        assert_eq!(Head::parse(whole).map(|head| head.map(|head| head.length)), Ok(Some(whole.len() - 4)));
        assert_eq!(Head::parse(b"\x16\x03\x01\x02\x00"), Err(Malformed), "TLS");
        assert_eq!(Head::parse(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Err(Malformed));
        assert_eq!(Head::parse(b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n"), Err(Malformed));
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(LONGEST));
        assert_eq!(Head::parse(endless.as_bytes()), Err(Malformed));
    }

    #[test]
    fn one_request_a_connection_unless_it_becomes_something_else() {
        let lines = ["GET / HTTP/1.1", "Host: localhost", "Connection: keep-alive", "keep-alive: 5", "X: 1"];
        let text = format!("{}\r\n\r\nbody", lines.join("\r\n"));
        let passed = head(&lines).passed_on(text.as_bytes());
        assert_eq!(passed, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: 1\r\nConnection: close\r\n\r\n");

        let full = |last: &str| format!("GET / HTTP/1.1\r\n{}{last}: 1\r\n\r\n", "X: 1\r\n".repeat(HEADERS - 1));
        assert_eq!(Head::parse(full("X").as_bytes()), Err(Malformed), "no room for the one that is added");
        let text = full("Connection");
        let passed = Head::parse(text.as_bytes()).expect("HTTP").expect("whole").passed_on(text.as_bytes());
        assert!(Head::parse(&passed).is_ok_and(|head| head.is_some()));

        let lines = ["GET /ws HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket"];
        let text = format!("{}\r\n\r\n", lines.join("\r\n"));
        assert_eq!(head(&lines).passed_on(text.as_bytes()), text.as_bytes());
    }
}
