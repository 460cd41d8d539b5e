//! A registry of the test's own: Debian's `docker-registry` on a port of 127.0.0.1, which Engines take without TLS.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::engine::{RUN_LABEL, tiny_root};
use super::process::die_with_us;
use super::project::{run_dir, run_id};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// This machine's architecture, in an Engine's words.
pub const NATIVE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
/// One that this machine doesn't run.
pub const FOREIGN: &str = if cfg!(target_arch = "aarch64") { "s390x" } else { "arm64" };

/// A registry that runs until it is dropped.
#[derive(Debug)]
pub struct Registry {
    daemon: Child,
    dir: TempDir,
    address: String,
    authorization: String,
}

/// An image that was pushed.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Its manifest's digest.
    pub digest: String,
    /// Its manifest's size, in bytes.
    pub size: usize,
    /// Digest of its last layer.
    pub layer: String,
}

impl Registry {
    /// Open to everybody.
    pub fn open() -> Self {
        Self::start("", "")
    }

    /// Open to this user alone.
    pub fn private(user: &str, password: &str) -> Self {
        // Debian's perl knows the kind of hash that the registry takes.
        let hash = Command::new("perl")
            .args(["-e", r#"print crypt($ARGV[0], '$2y$04$abcdefghijklmnopqrstuu')"#, password])
            .output()
            .expect("perl is on every Debian");
        let line = format!("{user}:{}\n", String::from_utf8(hash.stdout).expect("text"));
        let auth = "auth: {htpasswd: {realm: test, path: DIR/htpasswd}}";
        let authorization = format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")));
        Self::start_with(auth, &authorization, &line)
    }

    /// Open to whoever brings a token from the server at this URL. Which one it doesn't look at.
    pub fn with_tokens(url: &str) -> Self {
        Self::start(&format!("auth: {{silly: {{realm: '{url}', service: test}}}}"), "Authorization: Bearer any\r\n")
    }

    fn start(auth: &str, authorization: &str) -> Self {
        Self::start_with(auth, authorization, "")
    }

    fn start_with(auth: &str, authorization: &str, htpasswd: &str) -> Self {
        // In the run's folder, so that the reaper removes it when nobody else can.
        super::reaper::start();
        let dir = tempfile::Builder::new().prefix("registry").tempdir_in(run_dir()).expect("a temporary folder");
        let at = dir.path().display().to_string();
        std::fs::write(dir.path().join("htpasswd"), htpasswd).expect("writable");
        let config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: DIR/data}}}}\nhttp: {{addr: '127.0.0.1:0'}}\n{auth}\n"
        );
        std::fs::write(dir.path().join("config.yml"), config.replace("DIR", &at)).expect("writable");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(dir.path().join("config.yml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        die_with_us(&mut command);
        let mut daemon = command.spawn().expect("docker-registry is installed: `scripts/bootstrap.sh test` does");
        let mut lines = BufReader::new(daemon.stderr.take().expect("asked for a pipe")).lines().map_while(Result::ok);
        let mut said = String::new();
        let address = lines.by_ref().find_map(|line| {
            writeln!(said, "{line}").expect("memory doesn't fail");
            let (_, address) = line.split_once("listening on ")?;
            Some(address.split(['"', ' ']).next()?.to_owned())
        });
        let address = address.unwrap_or_else(|| panic!("docker-registry doesn't start:\n{said}"));
        // What it goes on to say must be read, or it blocks.
        std::thread::spawn(move || lines.for_each(drop));
        Self { daemon, dir, address, authorization: authorization.to_owned() }
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.daemon.kill().ok();
        self.daemon.wait().expect("a child can be waited for");
    }

    /// Pushes the tiny image with one more layer, `bytes` of noise in the file `/noise`, for this architecture.
    pub fn push(&self, repository: &str, tag: &str, arch: &str, bytes: usize) -> Pushed {
        let layers = [tiny_root("/bin/busybox".as_ref()), noise(bytes)];
        let digests: Vec<String> = layers.iter().map(|layer| self.blob(repository, layer)).collect();
        let config = json!({
            "architecture": arch, "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/sbin"],
                "Labels": {RUN_LABEL: run_id()},
            },
            // Plain archives: what they hold is what they are.
            "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let config = config.to_string().into_bytes();
        let sized = |kind: &str, size: usize, digest: &str| json!({"mediaType": format!("application/vnd.docker.{kind}"), "size": size, "digest": digest});
        let described: Vec<Value> = layers
            .iter()
            .zip(&digests)
            .map(|(layer, digest)| sized("image.rootfs.diff.tar.gzip", layer.len(), digest))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": sized("container.image.v1+json", config.len(), &self.blob(repository, &config)),
            "layers": described,
        });
        let manifest = manifest.to_string();
        self.manifest(repository, tag, MANIFEST, &manifest);
        let layer = digests.last().expect("two layers").clone();
        Pushed { digest: digest(manifest.as_bytes()), size: manifest.len(), layer }
    }

    /// Pushes a list that has this image for another architecture.
    pub fn push_list(&self, repository: &str, tag: &str, image: &Pushed, arch: &str) {
        let list = json!({"schemaVersion": 2, "mediaType": LIST, "manifests": [{
            "mediaType": MANIFEST, "size": image.size, "digest": image.digest,
            "platform": {"architecture": arch, "os": "linux"},
        }]});
        self.manifest(repository, tag, LIST, &list.to_string());
    }

    /// Makes what is stored other than what it was, of the same size.
    pub fn damage(&self, digest: &str) {
        let hash = digest.trim_start_matches("sha256:");
        let path = format!("data/docker/registry/v2/blobs/sha256/{}/{hash}/data", &hash[..2]);
        let path: PathBuf = self.dir.path().join(path);
        let mut bytes = std::fs::read(&path).expect("a blob is a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).expect("ours");
    }

    fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let (status, headers) = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[]);
        assert_eq!(status, 202, "{headers}");
        let location = headers.lines().find_map(|line| line.strip_prefix("Location: ")).expect("an upload has a place");
        let path = location.trim_start_matches("http://").split_once('/').expect("a path").1;
        let (status, headers) =
            self.ask("PUT", &format!("/{path}&digest={digest}"), "Content-Type: application/octet-stream\r\n", bytes);
        assert_eq!(status, 201, "{headers}");
        digest
    }

    fn manifest(&self, repository: &str, tag: &str, kind: &str, manifest: &str) {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let (status, headers) = self.ask("PUT", &path, &format!("Content-Type: {kind}\r\n"), manifest.as_bytes());
        assert_eq!(status, 201, "{headers}");
    }

    /// One request; gives the answer's status, and all of it as text.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{}{headers}\r\n",
            self.address,
            body.len(),
            self.authorization
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in text");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer.replace("\r\n", "\n"))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!("sha256:{}", hex::encode(hash))
}

/// An archive of one file that no two calls make alike, and that doesn't compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes.max(16)];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut content))
        .expect("a Linux machine");
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, "noise", content.as_slice()).expect("memory doesn't fail");
    tar.into_inner().expect("memory doesn't fail")
}
