//! Whose web pages may use what is served here: the rules of the guard, and of whatever else answers browsers.
//!
//! Browsers say which page a request comes from: in `Origin` when the page could do harm by it (anything but a plain
//! link or an image), in `Sec-Fetch-Site` always, if they are of 2023 or newer (<https://www.w3.org/TR/fetch-metadata/>).
//! No page can change either. `Host` is what the user typed, or what a hostile name server made of a name of its own
//! (DNS rebinding). Addresses can't be made up like that; of names only those pass that this machine has. Programs send
//! neither header, and pass.

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
    /// The browser says that another site's page sent it.
    pub elsewhere: bool,
    /// The browser shows what comes in a window or tab of its own.
    pub top_level: bool,
}

/// A request that contradicts itself about who is asked, or who asks.
#[derive(Debug, PartialEq, Eq)]
pub struct Contradiction;

impl Fetch {
    /// Reads a request: its method, what it asks for, its headers. Where a header stands there several times, the worst
    /// of it counts; two opinions on who is asked, or who asks, count as none.
    ///
    /// # Errors
    /// [`Contradiction`]: such a request doesn't pass.
    pub fn read<'a>(
        method: &str,
        target: &str,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, Contradiction> {
        let mut fetch = Self { read_only: matches!(method, "GET" | "HEAD"), ..Self::default() };
        let (mut modes, mut destinations) = (Words::default(), Words::default());
        for (name, value) in headers {
            let value = String::from_utf8_lossy(value).trim().to_ascii_lowercase();
            match name.to_ascii_lowercase().as_str() {
                "host" => once(&mut fetch.host, value)?,
                "origin" => once(&mut fetch.origin, value)?,
                // What isn't known can't be better than what is.
                "sec-fetch-site" => fetch.elsewhere |= !Words::of(&value).are(&["same-origin", "none"]),
                "sec-fetch-mode" => modes.extend(&value),
                "sec-fetch-dest" => destinations.extend(&value),
                _ => {}
            }
        }
        fetch.top_level = modes.are(&["navigate"]) && destinations.are(&["document"]);
        match (asked_of_proxy(target), &fetch.host) {
            (Some(asked), Some(host)) if asked != *host => Err(Contradiction),
            _ => Ok(fetch),
        }
    }
}

fn once(place: &mut Option<String>, value: String) -> Result<(), Contradiction> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Contradiction),
    }
}

/// The server that is named where a whole address is asked for, as of a proxy: servers go by it, and not by `Host`.
fn asked_of_proxy(target: &str) -> Option<String> {
    let (_, rest) = target.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?']))?;
    Some(rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase())
}

/// What a header says, if it is there several times, too.
#[derive(Debug, Default)]
struct Words(Vec<String>);

impl Words {
    fn of(value: &str) -> Self {
        let mut words = Self::default();
        words.extend(value);
        words
    }

    fn extend(&mut self, value: &str) {
        self.0.extend(value.split(',').map(|word| word.trim().to_owned()));
    }

    /// Whether it says something, and nothing but these.
    fn are(&self, wanted: &[&str]) -> bool {
        !self.0.is_empty() && self.0.iter().all(|word| wanted.contains(&word.as_str()))
    }
}

/// Whose requests pass.
#[derive(Debug, Default)]
pub struct Rules {
    /// Origins in lower case, without a slash at the end.
    allowed: Vec<String>,
    /// Names of what serves here, in lower case.
    names: Vec<String>,
}

impl Rules {
    /// The usual ones, and these origins, separated by spaces or commas. `names` are those that this service is known by:
    /// of its container, its environment, its host; each counts without its domain, and under `.local`, too.
    pub fn new<T: AsRef<str>>(allowed: &str, names: impl IntoIterator<Item = T>) -> Self {
        let words = allowed.split([' ', ',']).filter(|word| !word.is_empty());
        let mut rules = Self {
            allowed: words.map(|word| word.trim_end_matches('/').to_ascii_lowercase()).collect(),
            names: Vec::new(),
        };
        for name in names {
            let name = name.as_ref().trim().to_ascii_lowercase();
            let short = name.split('.').next().unwrap_or_default().to_owned();
            if !short.is_empty() {
                rules.names.extend([format!("{short}.local"), short, name]);
            }
        }
        rules
    }

    /// Why this request may not pass, if it may not.
    pub fn refusal(&self, fetch: &Fetch) -> Option<String> {
        let host = fetch.host.as_deref();
        if let Some(host) = host.filter(|host| !self.is_known(name_of(host))) {
            return Some(format!("the name {host} isn't this service's"));
        }
        match &fetch.origin {
            Some(origin) if self.allowed.contains(origin) || host.is_some_and(|host| is_same(origin, host)) => None,
            Some(origin) => Some(format!("pages of {origin} may not use this service")),
            None if fetch.elsewhere && !(fetch.read_only && fetch.top_level) => {
                Some("pages of other sites may not use this service".to_owned())
            }
            None => None,
        }
    }

    /// Whether a name server can't have made it up, or it was allowed.
    fn is_known(&self, name: &str) -> bool {
        is_loopback(name)
            || self.names.iter().any(|known| known == name)
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
        let mut words = lines[0].split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers = lines[1..].iter().filter_map(|line| line.split_once(':'));
        let Ok(fetch) = Fetch::read(method, target, headers.map(|(name, value)| (name, value.as_bytes()))) else {
            return false;
        };
        Rules::new("https://box.example", ["gpu-box.lan.example", "demo", ""]).refusal(&fetch).is_none()
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
            &[WS, "Host: GPU-box.lan.example:3000", "Origin: http://gpu-box.lan.example:3000"],
            &[WS, "Host: demo:3000"],
            &["GET http://localhost:3000/ HTTP/1.1", "Host: localhost:3000"],
            &["GET /?to=http://evil.example HTTP/1.1", "Host: localhost:3000"],
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
            // A name of the local network, but another machine's: whoever is in that network may answer for it.
            &[WS, "Host: printer:3000", "Origin: http://printer:3000"],
            &[WS, "Host: evil.local:3000", "Origin: http://evil.local:3000"],
            &[WS, "Host: gpu-box.evil.example"],
            &[WS, "Host: 2130706433:3000"],
            &[WS, "Host: local"],
            // Said twice, or two things at once: the worse counts.
            &[WS, "Host: localhost", "Host: evil.example"],
            &[WS, "Host: localhost", "Origin: http://localhost", "Origin: https://evil.example"],
            &["GET http://evil.example/ HTTP/1.1", "Host: localhost"],
            &["GET /a HTTP/1.1", "Host: localhost", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"],
            &["GET /a HTTP/1.1", "Host: localhost", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin"],
            &["GET /a HTTP/1.1", "Host: localhost", "sec-fetch-site: same-origin, cross-site"],
            &["GET /a HTTP/1.1", "Host: localhost", "Sec-Fetch-Site: whatever"],
            &["GET /a HTTP/1.1", "Host: localhost", "Sec-Fetch-Site:"],
            &[
                "GET /a HTTP/1.1",
                "Host: localhost",
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Mode: cors",
                "Sec-Fetch-Dest: document",
            ],
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
