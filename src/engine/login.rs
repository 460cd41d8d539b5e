//! Logins at registries, as `docker login` left them: in `config.json` itself, or with a `docker-credential-*` program.
//!
//! Everything here is secret: no error, no `Debug` and no log holds a word of a login or of what a helper said.
//!
//! That is why it is our own: the docker_credential crate puts what a helper printed into its error, and waits for as
//! long as the helper likes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use powerdev_protocol::ExitCode;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::docker_config;
use super::endpoint::EndpointError;
use super::reference::Registry;
use crate::failure::Diagnostic;

/// How long a helper may take: it may ask the user to unlock a key ring.
const HELPER: Duration = Duration::from_secs(30);
/// What helpers call a secret that is no password.
const TOKEN: &str = "<token>";

/// The user's logins. Cheap to clone.
#[derive(Clone, Default)]
pub struct Logins {
    file: PathBuf,
    config: Arc<LoginConfig>,
}

/// Shows where they are, and for which registries.
impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins").field("file", &self.file).finish_non_exhaustive()
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct LoginConfig {
    auths: Option<BTreeMap<String, LoginEntry>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LoginEntry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// A login at one registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    pub(super) username: String,
    pub(super) password: String,
    pub(super) identity_token: String,
    registry_token: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(..)")
    }
}

/// Where a registry's login comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginSource {
    /// No login is known: the registry is asked as anybody may.
    None,
    /// It is in this file.
    File(PathBuf),
    /// This program knows, or knows of none: only asking it would tell.
    Helper {
        /// The helper's program, `docker-credential-…`.
        program: String,
        /// It is on the `PATH`.
        installed: bool,
        /// Who says to ask it.
        file: PathBuf,
    },
}

/// Why a login can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The configuration's entry isn't one.
    #[error("the login at {registry} in {} makes no sense", file.display())]
    Malformed {
        /// The registry whose login was asked for.
        registry: Registry,
        /// The docker CLI's configuration.
        file: PathBuf,
    },
    /// The helper isn't there.
    #[error("can't run {program}, which {} says has the login at {registry}", file.display())]
    NoHelper {
        /// The helper: `docker-credential-…`.
        program: String,
        /// The registry whose login was asked for.
        registry: Registry,
        /// The docker CLI's configuration.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The helper hangs.
    #[error("{program} hasn't told the login at {registry} within {} s", after.as_secs())]
    Silent {
        /// The helper: `docker-credential-…`.
        program: String,
        /// The registry whose login was asked for.
        registry: Registry,
        /// How long it was waited for.
        after: Duration,
    },
    /// The helper failed.
    #[error("{program} can't tell the login at {registry}: {status}")]
    Failed {
        /// The helper: `docker-credential-…`.
        program: String,
        /// The registry whose login was asked for.
        registry: Registry,
        /// How it ended.
        status: ExitStatus,
    },
    /// The helper said something else.
    #[error("what {program} says of the login at {registry} makes no sense")]
    Unreadable {
        /// The helper: `docker-credential-…`.
        program: String,
        /// The registry whose login was asked for.
        registry: Registry,
    },
}

impl Diagnostic for LoginError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Failed
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Malformed { registry, .. } => format!("log in again: {}", login_command(registry)),
            Self::NoHelper { program, file, .. } => {
                format!("install {program}, or take it out of `credsStore` and `credHelpers` in {}", file.display())
            }
            Self::Silent { program, registry, .. }
            | Self::Failed { program, registry, .. }
            | Self::Unreadable { program, registry } => {
                format!("see what it says yourself: `echo {} | {program} get`", registry.server())
            }
        })
    }
}

/// What to type to log in.
pub(super) fn login_command(registry: &Registry) -> String {
    format!("`docker login {}`", registry.login_argument()).replace(" `", "`")
}

impl Logins {
    /// Reads the docker CLI's configuration. None is like an empty one.
    ///
    /// # Errors
    /// When it can't be read or makes no sense.
    pub fn find() -> Result<Self, EndpointError> {
        docker_config::folder().map_or_else(|| Ok(Self::default()), |folder| Self::in_folder(&folder))
    }

    fn in_folder(folder: &Path) -> Result<Self, EndpointError> {
        Ok(Self { file: folder.join("config.json"), config: Arc::new(docker_config::read(folder)?) })
    }

    /// Whether there is no login anywhere.
    pub fn is_empty(&self) -> bool {
        let LoginConfig { auths, creds_store, cred_helpers } = &*self.config;
        let none = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
        none(creds_store)
            && auths.as_ref().is_none_or(BTreeMap::is_empty)
            && cred_helpers.as_ref().is_none_or(BTreeMap::is_empty)
    }

    /// Where the login at this registry would come from. Asks nobody.
    pub fn source(&self, registry: &Registry) -> LoginSource {
        let file = self.file.clone();
        match self.helper(registry) {
            Some(program) => LoginSource::Helper { installed: is_installed(&program), program, file },
            None if self.entry(registry).is_some() => LoginSource::File(file),
            None => LoginSource::None,
        }
    }

    /// The login at this registry, if there is one. Helpers may ask the user something, and have half a minute.
    ///
    /// # Errors
    /// When a helper fails or an entry makes no sense.
    pub async fn of(&self, registry: &Registry) -> Result<Option<Login>, LoginError> {
        if let Some(program) = self.helper(registry) {
            return self.ask(program, registry, HELPER).await;
        }
        let malformed = || LoginError::Malformed { registry: registry.clone(), file: self.file.clone() };
        self.entry(registry).map(|entry| entry.login().ok_or_else(malformed)).transpose()
    }

    /// The helper for this registry: the one that is named for it, else the one for all.
    fn helper(&self, registry: &Registry) -> Option<String> {
        let named = self.config.cred_helpers.iter().flatten().find(|(key, _)| registry.is(key)).map(|(_, name)| name);
        let name = named.or(self.config.creds_store.as_ref()).filter(|name| !name.is_empty())?;
        Some(format!("docker-credential-{name}"))
    }

    fn entry(&self, registry: &Registry) -> Option<&LoginEntry> {
        let auths = self.config.auths.as_ref()?;
        let entry = auths.get(registry.server());
        entry
            .or_else(|| auths.iter().find(|(key, _)| registry.is(key)).map(|(_, entry)| entry))
            .filter(|e| !e.is_empty())
    }

    async fn ask(&self, program: String, registry: &Registry, limit: Duration) -> Result<Option<Login>, LoginError> {
        let registry = registry.clone();
        let mut command = Command::new(&program);
        // Its complaints may quote what it knows.
        command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let asked = async {
            let mut helper = command.spawn()?;
            let mut stdin = helper.stdin.take().expect("asked for a pipe");
            // One that doesn't read says what it says all the same.
            stdin.write_all(registry.server().as_bytes()).await.ok();
            drop(stdin);
            helper.wait_with_output().await
        };
        let output = match tokio::time::timeout(limit, asked).await {
            Ok(Ok(output)) => output,
            Ok(Err(source)) => return Err(LoginError::NoHelper { program, registry, file: self.file.clone(), source }),
            Err(_) => return Err(LoginError::Silent { program, registry, after: limit }),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            if said.contains("credentials not found") {
                return Ok(None);
            }
            return Err(LoginError::Failed { program, registry, status: output.status });
        }
        match parse_answer(&output.stdout) {
            Some(login) => Ok(Some(login).filter(|login| *login != Login::default())),
            None => Err(LoginError::Unreadable { program, registry }),
        }
    }
}

/// What a helper answered to `get`; None where it isn't the JSON that helpers speak.
fn parse_answer(answer: &[u8]) -> Option<Login> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let Answer { username, secret } = serde_json::from_slice(answer).ok()?;
    Some(match username.as_str() {
        TOKEN => Login { identity_token: secret, ..Login::default() },
        _ => Login { username, password: secret, ..Login::default() },
    })
}

impl LoginEntry {
    /// `docker logout` and helpers leave empty entries behind.
    fn is_empty(&self) -> bool {
        [&self.auth, &self.username, &self.password, &self.identitytoken, &self.registrytoken]
            .iter()
            .all(|t| t.is_empty())
    }

    fn login(&self) -> Option<Login> {
        let (username, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            let text = String::from_utf8(STANDARD.decode(self.auth.trim()).ok()?).ok()?;
            let (username, password) = text.split_once(':')?;
            (username.to_owned(), password.trim_matches('\0').to_owned())
        };
        let (identity_token, registry_token) = (self.identitytoken.clone(), self.registrytoken.clone());
        Some(Login { username, password, identity_token, registry_token })
    }
}

impl Login {
    /// As the Engine takes it, in `X-Registry-Auth`. Its alphabet is the one for URLs: with the other one, the Engine
    /// takes some passwords for none.
    pub(super) fn header(&self, registry: &Registry) -> String {
        let mut document = json!({ "serveraddress": registry.server() });
        let parts = [
            ("username", &self.username),
            ("password", &self.password),
            ("identitytoken", &self.identity_token),
            ("registrytoken", &self.registry_token),
        ];
        for (key, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
            document[key] = json!(value);
        }
        URL_SAFE.encode(document.to_string())
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let executable = |dir: PathBuf| rustix::fs::access(dir.join(program), rustix::fs::Access::EXEC_OK).is_ok();
    std::env::split_paths(&path).any(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(config: &str) -> (tempfile::TempDir, Result<Logins, EndpointError>) {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.json"), config).expect("a file");
        let logins = Logins::in_folder(folder.path());
        (folder, logins)
    }

    async fn login(config: &str, registry: &str) -> Result<Option<Login>, LoginError> {
        logins(config).1.expect("a configuration").of(&Registry::named(registry)).await
    }

    fn password(username: &str, password: &str) -> Login {
        Login { username: username.into(), password: password.into(), ..Login::default() }
    }

    #[tokio::test]
    async fn logins_in_the_file_itself() {
        let config = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6YTpiAAA="},
            "https://ghcr.io/v2/": {"username": "me", "password": "plain"},
            "azure.io": {"auth": "MDA6", "identitytoken": "refresh"},
            "empty.io": {},
            "broken.io": {"auth": "not base64!"}
        }}"#;
        let found = |registry| login(config, registry);
        assert_eq!(found("docker.io").await.expect("found"), Some(password("me", "a:b")));
        assert_eq!(found("ghcr.io").await.expect("found"), Some(password("me", "plain")));
        assert_eq!(found("azure.io").await.expect("found").expect("a login").identity_token, "refresh");
        assert_eq!(found("empty.io").await.expect("none"), None);
        assert_eq!(found("other.io").await.expect("none"), None);
        let error = found("broken.io").await.expect_err("no login").to_string();
        assert!(error.contains("broken.io") && !error.contains("base64!"), "{error}");
    }

    #[tokio::test]
    async fn no_configuration_is_no_login() {
        let nowhere = Logins::in_folder("/nowhere".as_ref()).expect("like an empty one");
        assert!(nowhere.is_empty());
        assert_eq!(nowhere.source(&Registry::named("ghcr.io")), LoginSource::None);
        assert!(logins("{\"auths\": null, \"credsStore\": \"\"}").1.expect("docker takes it").is_empty());
        assert!(logins("{").1.is_err());
    }

    #[test]
    fn the_helper_named_for_a_registry_wins() {
        let config = r#"{"auths": {"ghcr.io": {"auth": "bWU6eA=="}}, "credsStore": "all",
            "credHelpers": {"ghcr.io": "one", "https://index.docker.io/v1/": "hub"}}"#;
        let (_folder, logins) = logins(config);
        let logins = logins.expect("a configuration");
        let helper = |registry| logins.helper(&Registry::named(registry)).expect("one");
        assert_eq!(helper("ghcr.io"), "docker-credential-one");
        assert_eq!(helper("docker.io"), "docker-credential-hub");
        assert_eq!(helper("other.io"), "docker-credential-all");
        assert!(!logins.is_empty());
        assert!(matches!(logins.source(&Registry::named("other.io")), LoginSource::Helper { installed: false, .. }));
    }

    /// Asks a helper that is this shell script.
    async fn ask(script: &str, limit: Duration) -> Result<Option<Login>, LoginError> {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("docker-credential-test");
        // Written by another process: a file that is open for writing in any fork of this one can't be run.
        let write = format!("cat > {0} <<'END'\n#!/bin/sh\n{script}\nEND\nchmod 755 {0}", program.display());
        assert!(std::process::Command::new("sh").args(["-c", &write]).status().expect("sh runs").success());
        let program = program.display().to_string();
        Logins::default().ask(program, &Registry::named("ghcr.io"), limit).await
    }

    #[tokio::test]
    async fn a_helper_is_given_the_server_and_tells_the_login() {
        let limit = Duration::from_secs(20);
        let script = r#"test "$1" = get && printf '{"ServerURL":"","Username":"me","Secret":"%s"}' "$(cat)""#;
        assert_eq!(ask(script, limit).await.expect("told"), Some(password("me", "ghcr.io")));
        let script = r#"echo '{"Username":"<token>","Secret":"refresh"}'"#;
        assert_eq!(ask(script, limit).await.expect("told").expect("a login").identity_token, "refresh");
        let script = "echo 'credentials not found in native keychain'; exit 1";
        assert_eq!(ask(script, limit).await.expect("none"), None);
    }

    #[tokio::test]
    async fn a_helper_that_fails_is_told_without_its_words() {
        let limit = Duration::from_secs(20);
        for script in ["echo hush; echo hush >&2; exit 3", "echo hush"] {
            let error = ask(script, limit).await.expect_err("failed");
            let told = format!("{error} {error:?} {:?}", error.hint());
            assert!(!told.contains("hush") && told.contains("ghcr.io"), "{told}");
        }
        let error = ask("exec sleep 1000000", Duration::from_millis(200)).await.expect_err("too slow");
        assert!(matches!(error, LoginError::Silent { .. }), "{error}");
        let missing = Logins::default().ask("docker-credential-nowhere".into(), &Registry::named("x.io"), limit).await;
        assert!(
            missing
                .expect_err("not there")
                .hint()
                .is_some_and(|hint| hint.contains("install docker-credential-nowhere"))
        );
    }

    #[test]
    fn the_engine_gets_it_in_the_alphabet_for_urls() {
        let login = password("me", "ÿ?~>ÿ?~>ÿ?~>");
        let header = login.header(&Registry::named("ghcr.io"));
        assert!(!header.contains(['+', '/']), "{header}");
        let document: serde_json::Value =
            serde_json::from_slice(&URL_SAFE.decode(header).expect("base64")).expect("JSON");
        assert_eq!(document, json!({"serveraddress": "ghcr.io", "username": "me", "password": "ÿ?~>ÿ?~>ÿ?~>"}));
        assert_eq!(format!("{login:?}"), "Login(..)");
    }
}
