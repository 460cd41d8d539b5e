//! Where an Engine is looked for, in config of the tests' own.

use std::os::unix::net::UnixListener;

use super::*;

/// A home folder of its own, with nothing of this machine.
struct Home {
    dir: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let variables = BTreeMap::from([("XDG_RUNTIME_DIR".to_owned(), dir.path().join("run").display().to_string())]);
        Self { dir, variables }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn write(self, path: &str, text: &str) -> Self {
        let file = self.path(path);
        std::fs::create_dir_all(file.parent().expect("a file has a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file");
        self
    }

    /// `docker context create <name> --docker host=<host>`
    fn context(self, name: &str, host: &str, skip_verify: bool) -> Self {
        let meta = serde_json::json!({
            "Name": name,
            "Metadata": {},
            "Endpoints": { "docker": { "Host": host, "SkipTLSVerify": skip_verify } },
        });
        self.write(&format!(".docker/contexts/meta/{}/meta.json", id(name)), &meta.to_string())
    }

    fn listen(&self, path: &str) -> UnixListener {
        std::fs::create_dir_all(self.path(path).parent().expect("a socket has a folder")).expect("a folder");
        UnixListener::bind(self.path(path)).expect("a socket")
    }

    fn find(&self) -> Result<Endpoint, EndpointError> {
        let config = ClientConfig {
            variables: self.variables.clone(),
            home: Some(self.dir.path().into()),
            uid: 1000,
            default_socket: self.path("default.sock"),
        };
        config.endpoint()
    }
}

fn id(name: &str) -> String {
    hex::encode(Sha256::digest(name.as_bytes()))
}

#[test]
fn the_docker_clis_order() {
    let home = Home::new()
        .context("one", "tcp://one:2375", false)
        .context("two", "ssh://me@two:2222", false)
        .write(".docker/config.json", r#"{"auths":{},"currentContext":"one"}"#);
    let found = home.find().expect("the current context");
    assert_eq!((found.url.as_str(), found.origin.as_str(), found.local), ("tcp://one:2375", "context one", false));

    let home = home.set("DOCKER_CONTEXT", "two");
    let found = home.find().expect("the context of the variable");
    assert_eq!((found.url.as_str(), found.origin.as_str()), ("ssh://me@two:2222", "context two"));
    let destination = Address::Ssh { destination: "me@two".into(), port: Some(2222), socket: None };
    assert_eq!(found.address, destination);

    let home = home.set("DOCKER_HOST", "unix:///elsewhere.sock");
    let found = home.find().expect("the host of the variable");
    assert_eq!((found.origin.as_str(), found.address), ("DOCKER_HOST", Address::Unix("/elsewhere.sock".into())));
}

#[test]
fn default_context_is_the_default_socket() {
    let home = Home::new()
        .context("one", "tcp://one:2375", false)
        .write(".docker/config.json", r#"{"currentContext":"one"}"#)
        .set("DOCKER_CONTEXT", "default");
    let found = home.find().expect("the default");
    assert_eq!((found.origin.as_str(), found.local), ("default socket", true));
}

#[test]
fn docker_config_moves_the_folder() {
    let home = Home::new().context("one", "tcp://one", false).write("cfg/config.json", "{}");
    let config = home.path("cfg").display().to_string();
    let home = home.set("DOCKER_CONFIG", &config);
    assert_eq!(home.find().expect("no context there").origin, "default socket");
    assert!(matches!(home.set("DOCKER_CONTEXT", "one").find(), Err(EndpointError::NoSuchContext { .. })));
}

#[test]
fn a_rootless_socket_where_the_default_is_missing() {
    let home = Home::new();
    assert_eq!(home.find().expect("nothing there").origin, "default socket");
    let _desktop = home.listen(".docker/run/docker.sock");
    assert_eq!(
        home.find().expect("one socket").url,
        format!("unix://{}", home.path(".docker/run/docker.sock").display())
    );
    let _rootless = home.listen("run/docker.sock");
    let found = home.find().expect("two sockets");
    assert_eq!(
        (found.origin.as_str(), found.address),
        ("rootless socket", Address::Unix(home.path("run/docker.sock")))
    );
    let _default = home.listen("default.sock");
    assert_eq!(home.find().expect("three sockets").origin, "default socket");
}

#[test]
fn tls_of_contexts_and_of_variables() {
    let dir = format!(".docker/contexts/tls/{}/docker", id("safe"));
    let home = Home::new()
        .context("safe", "tcp://safe:2376", false)
        .write(&format!("{dir}/ca.pem"), "")
        .write(&format!("{dir}/cert.pem"), "")
        .write(&format!("{dir}/key.pem"), "")
        .set("DOCKER_CONTEXT", "safe");
    let path = |file: &str| home.path(&format!("{dir}/{file}"));
    let tls = TlsFiles { ca: Some(path("ca.pem")), identity: Some((path("cert.pem"), path("key.pem"))), verify: true };
    let expected = Address::Tcp { host: "safe".into(), port: 2376, tls: Some(tls) };
    assert_eq!(home.find().expect("the context").address, expected);

    let home = Home::new().context("lax", "tcp://lax", true).set("DOCKER_CONTEXT", "lax");
    let Address::Tcp { port, tls: Some(tls), .. } = home.find().expect("the context").address else {
        panic!("TLS without a check is still TLS")
    };
    assert_eq!((port, tls.verify), (2376, false));

    let home = Home::new().set("DOCKER_HOST", "tcp://host").set("DOCKER_TLS_VERIFY", "1").write(".docker/ca.pem", "");
    let Address::Tcp { port, tls: Some(tls), .. } = home.find().expect("the host").address else { panic!("TLS") };
    assert_eq!((port, tls.verify, tls.ca), (2376, true, Some(home.path(".docker/ca.pem"))));
}

#[test]
fn addresses_of_every_kind() {
    let tcp = |host: &str, port| Some(Address::Tcp { host: host.into(), port, tls: None });
    let ssh = |destination: &str, port, socket: Option<&str>| {
        Some(Address::Ssh { destination: destination.into(), port, socket: socket.map(str::to_owned) })
    };
    for (url, expected) in [
        ("tcp://", tcp("localhost", 2375)),
        ("build:2375", tcp("build", 2375)),
        ("tcp://[::1]:99", tcp("::1", 99)),
        ("tcp://[::1]", tcp("::1", 2375)),
        ("http://build/", tcp("build", 2375)),
        ("ssh://build", ssh("build", None, None)),
        ("ssh://me@build:22/run/user/1000/docker.sock", ssh("me@build", Some(22), Some("/run/user/1000/docker.sock"))),
        ("ssh://-oProxyCommand=evil", None),
        ("ssh://", None),
        ("unix://relative", None),
        ("tcp://host:port", None),
        ("npipe:////./pipe/docker_engine", None),
        ("ftp://host", None),
    ] {
        assert_eq!(Address::parse(url, None), expected, "{url}");
    }
}

#[test]
fn only_a_socket_shares_this_machines_folders() {
    for (url, local, ssh) in [
        ("unix:///run/docker.sock", true, None),
        ("tcp://127.0.0.1:2375", false, None),
        ("tcp://localhost", false, None),
        ("tcp://build:2375", false, Some("build")),
        ("ssh://me@build", false, Some("me@build")),
        ("ssh://build:2222", false, Some("-p 2222 build")),
    ] {
        let found = Endpoint::parse(url, "test").expect("an address");
        assert_eq!((found.local, found.ssh().as_deref()), (local, ssh), "{url}");
    }
}

#[test]
fn what_makes_no_sense_is_told_with_its_file() {
    let error = Home::new().write(".docker/config.json", "{").find().expect_err("half a document");
    assert!(matches!(&error, EndpointError::Malformed { file, .. } if file.ends_with("config.json")), "{error}");
    let error = Home::new().set("DOCKER_CONTEXT", "gone").find().expect_err("no such context");
    assert_eq!(error.to_string(), "there is no docker context named `gone` (DOCKER_CONTEXT)");
    let error = Home::new().set("DOCKER_HOST", "carrier-pigeon://x").find().expect_err("no such scheme");
    assert_eq!(error.to_string(), "DOCKER_HOST is `carrier-pigeon://x`, which is no Engine's address");
}
