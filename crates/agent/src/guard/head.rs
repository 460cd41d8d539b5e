//! The head of a request: who sent it, and whether it may pass.
//!
//! Browsers say which page a request comes from: in `Origin` when the page could do harm by it (anything but a plain
//! link or an image), in `Sec-Fetch-Site` always, if they are of 2023 or newer (<https://www.w3.org/TR/fetch-metadata/>).
//! No page can change either. `Host` is what the user typed, or what a hostile name server made of a name of its own
//! (DNS rebinding). Addresses can't be made up like that, nor names that only a local network knows; others don't pass.
//! Programs send neither header, and pass.

use std::net::{Ipv4Addr, Ipv6Addr};

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
    read_only: bool,
    host: Option<String>,
    origin: Option<String>,
    fetch_site: Option<String>,
    /// The browser shows what comes in a window or tab of its own.
    top_level: bool,
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
        let method = request.method.unwrap_or_default();
        let mut head = Self { length, read_only: matches!(method, "GET" | "HEAD"), ..Self::default() };
        let (mut navigates, mut document) = (false, false);
        for header in request.headers {
            let value = || String::from_utf8_lossy(header.value).trim().to_ascii_lowercase();
            match header.name.to_ascii_lowercase().as_str() {
                // Two of them are two opinions on who is asked.
                "host" if head.host.is_some() => return Err(Malformed),
                "origin" if head.origin.is_some() => return Err(Malformed),
                "host" => head.host = Some(value()),
                "origin" => head.origin = Some(value()),
                "sec-fetch-site" => head.fetch_site = Some(value()),
                "sec-fetch-mode" => navigates = value() == "navigate",
                "sec-fetch-dest" => document = value() == "document",
                "upgrade" => head.upgrades = true,
                _ => {}
            }
        }
        head.top_level = navigates && document;
        Ok(Some(head))
    }

    /// The head as it is passed on: one request a connection, so that each one's head is looked at.
    pub fn passed_on(&self, bytes: &[u8]) -> Vec<u8> {
        let head = &bytes[..self.length];
        if self.upgrades {
            return head.to_vec();
        }
        let mut passed = Vec::with_capacity(head.len() + 32);
        let keeps = |line: &[u8]| {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
            !["connection", "keep-alive", "proxy-connection"]
                .iter()
                .any(|hop| name.eq_ignore_ascii_case(hop.as_bytes()))
        };
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

/// Whose requests pass.
#[derive(Debug, Default)]
pub struct Rules {
    /// Origins in lower case, without a slash at the end.
    allowed: Vec<String>,
}

impl Rules {
    /// The usual ones, and these origins, separated by spaces or commas.
    pub fn new(allowed: &str) -> Self {
        let words = allowed.split([' ', ',']).filter(|word| !word.is_empty());
        Self { allowed: words.map(|word| word.trim_end_matches('/').to_ascii_lowercase()).collect() }
    }

    /// Why this request may not pass, if it may not.
    pub fn refusal(&self, head: &Head) -> Option<String> {
        let host = head.host.as_deref();
        if let Some(host) = host.filter(|host| !self.is_known(name_of(host))) {
            return Some(format!("the name {host} isn't this service's"));
        }
        match (&head.origin, head.fetch_site.as_deref()) {
            (Some(origin), _) if self.allowed.contains(origin) || host.is_some_and(|host| is_same(origin, host)) => {
                None
            }
            (Some(origin), _) => Some(format!("pages of {origin} may not use this service")),
            (None, Some("cross-site" | "same-site")) if !(head.read_only && head.top_level) => {
                Some("pages of other sites may not use this service".to_owned())
            }
            (None, _) => None,
        }
    }

    /// Whether a name server can't have made it up, or it was allowed.
    fn is_known(&self, name: &str) -> bool {
        is_loopback(name)
            || !name.contains('.')
            || name.ends_with(".local")
            || name.parse::<Ipv4Addr>().is_ok()
            || name.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok()
            || self.allowed.iter().filter_map(|origin| authority_of(origin)).any(|allowed| name_of(allowed) == name)
    }
}

/// `host:port` of `scheme://host:port`, without the port that the scheme has anyway.
fn authority_of(origin: &str) -> Option<&str> {
    let (scheme, authority) = origin.split_once("://")?;
    let usual = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    Some(authority.strip_suffix(usual).unwrap_or(authority))
}

/// The name without its port.
fn name_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost"
        || name.ends_with(".localhost")
        || name == "[::1]"
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a page of this origin asks its own server. This machine has several names: a page that was opened by one
/// of them may ask by another.
fn is_same(origin: &str, host: &str) -> bool {
    let Some(origin) = authority_of(origin) else { return false };
    let (theirs, ours) = (name_of(origin), name_of(host));
    let ports = (&origin[theirs.len()..], &host[ours.len()..]);
    origin == host || (is_loopback(theirs) && is_loopback(ours) && ports.0 == ports.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[&str]) -> Head {
        let text = format!("{}\r\n\r\n", lines.join("\r\n"));
        Head::parse(text.as_bytes()).expect("it is HTTP").expect("it is whole")
    }

    fn passes(lines: &[&str]) -> bool {
        Rules::new("https://box.example").refusal(&head(lines)).is_none()
    }

    const WS: &str = "GET /ws HTTP/1.1";

    #[test]
    fn its_own_pages_and_programs_pass() {
        for lines in [
            &["GET / HTTP/1.0"][..],
            &[WS, "Host: localhost:3000"],
            &[WS, "Host: localhost:3000", "Origin: http://localhost:3000"],
            &[WS, "Host: localhost:3000", "Origin: http://127.0.0.1:3000"],
            &[WS, "Host: [::1]:3000", "Origin: http://localhost:3000"],
            &[WS, "Host: 192.168.7.9:3000", "Origin: http://192.168.7.9:3000"],
            &[WS, "Host: localhost", "Origin: http://localhost:80"],
            &[WS, "Host: gpu-box:3000", "Origin: http://gpu-box:3000"],
            &[WS, "Host: gpu-box.local:3000", "Origin: http://gpu-box.local:3000"],
            &[WS, "Host: box.example", "Origin: https://box.example"],
            &[WS, "Host: 10.0.0.1:3000", "Origin: https://BOX.example"],
            &["POST /api HTTP/1.1", "Host: localhost:3000", "Sec-Fetch-Site: same-origin"],
            &["GET / HTTP/1.1", "Host: localhost:3000", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"],
            // A link on another site, followed.
            &[
                "GET / HTTP/1.1",
                "Host: localhost:3000",
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Dest: document",
            ],
        ] {
            assert!(passes(lines), "{lines:?}");
        }
    }

    #[test]
    fn pages_of_others_do_not() {
        for lines in [
            &[WS, "Host: localhost:3000", "Origin: https://evil.example"][..],
            &[WS, "Host: localhost:3000", "Origin: null"],
            &[WS, "Host: localhost:3000", "Origin: "],
            // Another project's page, or another development server's.
            &[WS, "Host: localhost:3000", "Origin: http://localhost:3017"],
            &[WS, "Host: localhost:3000", "Origin: file://localhost:3000"],
            &[WS, "Host: localhost:3000", "Origin: http://localhost.evil.example:3000"],
            &[WS, "Host: 192.168.7.9:3000", "Origin: http://192.168.7.8:3000"],
            &[WS, "Origin: http://localhost:3000"],
            // A name server says that evil.example is 127.0.0.1.
            &[WS, "Host: evil.example:3000", "Origin: http://evil.example:3000"],
            &[WS, "Host: evil.example:3000"],
            &[WS, "Host: 127.0.0.1.evil.example"],
            &["GET /api HTTP/1.1", "Host: localhost:3000", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"],
            &["GET /api HTTP/1.1", "Host: localhost:3000", "Sec-Fetch-Site: same-site"],
            // In a frame, where it could be clicked without being seen; and a form.
            &[
                "GET / HTTP/1.1",
                "Host: localhost:3000",
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Dest: iframe",
            ],
            &[
                "POST / HTTP/1.1",
                "Host: localhost:3000",
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Dest: document",
            ],
        ] {
            assert!(!passes(lines), "{lines:?}");
        }
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

        let lines = [WS, "Host: localhost", "Connection: Upgrade", "Upgrade: websocket"];
        let text = format!("{}\r\n\r\n", lines.join("\r\n"));
        assert_eq!(head(&lines).passed_on(text.as_bytes()), text.as_bytes());
    }
}
