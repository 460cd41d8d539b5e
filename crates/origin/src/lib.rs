//! Whose web pages may use what is served here: the rules of the guard, and of whatever else answers browsers.
//!
//! Browsers say which page a request comes from: in `Origin` when the page could do harm by it (anything but a plain
//! link or an image), in `Sec-Fetch-Site` always, if they are of 2023 or newer (<https://www.w3.org/TR/fetch-metadata/>).
//! No page can change either. `Host` is what the user typed, or what a hostile name server made of a name of its own
//! (DNS rebinding). Addresses can't be made up like that, nor names that only a local network knows; others don't pass.
//! Programs send neither header, and pass.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What a request says of who sent it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fetch {
    /// It can't change anything: GET or HEAD.
    pub read_only: bool,
    /// `Host`, in lower case.
    pub host: Option<String>,
    /// `Origin`, in lower case.
    pub origin: Option<String>,
    /// `Sec-Fetch-Site`, in lower case.
    pub fetch_site: Option<String>,
    /// The browser shows what comes in a window or tab of its own.
    pub top_level: bool,
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
    pub fn refusal(&self, fetch: &Fetch) -> Option<String> {
        let host = fetch.host.as_deref();
        if let Some(host) = host.filter(|host| !self.is_known(name_of(host))) {
            return Some(format!("the name {host} isn't this service's"));
        }
        match (&fetch.origin, fetch.fetch_site.as_deref()) {
            (Some(origin), _) if self.allowed.contains(origin) || host.is_some_and(|host| is_same(origin, host)) => {
                None
            }
            (Some(origin), _) => Some(format!("pages of {origin} may not use this service")),
            (None, Some("cross-site" | "same-site")) if !(fetch.read_only && fetch.top_level) => {
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

    /// A request line and headers.
    fn passes(lines: &[&str]) -> bool {
        let mut fetch = Fetch { read_only: lines[0].starts_with("GET "), ..Fetch::default() };
        let (mut navigates, mut document) = (false, false);
        for (name, value) in lines[1..].iter().filter_map(|line| line.split_once(':')) {
            let value = value.trim().to_ascii_lowercase();
            match name {
                "Host" => fetch.host = Some(value),
                "Origin" => fetch.origin = Some(value),
                "Sec-Fetch-Site" => fetch.fetch_site = Some(value),
                "Sec-Fetch-Mode" => navigates = value == "navigate",
                "Sec-Fetch-Dest" => document = value == "document",
                other => panic!("{other}: no header that matters"),
            }
        }
        fetch.top_level = navigates && document;
        Rules::new("https://box.example").refusal(&fetch).is_none()
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
}
