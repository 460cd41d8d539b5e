//! The image that ours is built on: the one that is here, else pulled, else made from Debian's own packages.

use std::process::Stdio;

use powerdev_protocol::ExitCode;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio_util::io::ReaderStream;

use super::pull::pull;
use crate::engine::{Engine, EngineError, Image};
use crate::failure::Failure;
use crate::reporter::{Reporter, Work};

/// What is pulled where nothing else is asked for.
pub const DEBIAN: &str = "debian:trixie-slim";
/// What is made where nothing can be pulled.
const BOOTSTRAPPED: &str = "powerdev-base:trixie";
/// Where Debian's packages come from.
const MIRRORS: &[&str] = &[
    "deb http://deb.debian.org/debian trixie main",
    "deb http://deb.debian.org/debian trixie-updates main",
    "deb http://deb.debian.org/debian-security trixie-security main",
];

/// A base image that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its name with its tag, as `FROM` takes it.
    pub tag: String,
    /// Its digest: another one is another base.
    pub id: String,
}

/// The base image, if it is here. None: whatever was asked for isn't.
///
/// # Errors
/// When the Engine can't be asked.
pub async fn local(engine: &Engine, asked: Option<&str>) -> Result<Option<Base>, EngineError> {
    let found = |tag: &str, image: Image| Base { tag: tag.to_owned(), id: image.id };
    if let Some(tag) = asked {
        return Ok(engine.image(tag).await?.map(|image| found(tag, image)));
    }
    let (debian, bootstrapped) = tokio::try_join!(engine.image(DEBIAN), engine.image(BOOTSTRAPPED))?;
    Ok(debian.map(|image| found(DEBIAN, image)).or(bootstrapped.map(|image| found(BOOTSTRAPPED, image))))
}

/// Gets the base image: pulls it, or makes it where none can be pulled. `here` is the one that is here already.
///
/// # Errors
/// A [`Failure`] that says what to install, or which image isn't to be had.
pub async fn fetch(
    engine: &Engine,
    asked: Option<&str>,
    here: Option<&Base>,
    reporter: &dyn Reporter,
) -> anyhow::Result<Base> {
    let other = "name another with BASE_IMAGE or --base";
    let tag = match asked {
        Some(tag) => {
            pull(engine, tag, reporter).await.map_err(|error| error.or(ExitCode::BuildFailed, other))?;
            tag
        }
        None => match pull(engine, DEBIAN, reporter).await {
            Ok(_) => DEBIAN,
            Err(error) if error.is_the_engines() => return Err(error.into()),
            // Something else in its place would be a surprise.
            Err(error) if here.is_some_and(|base| base.tag == DEBIAN) => {
                return Err(error.or(ExitCode::BuildFailed, "leave --pull out to build on the one here").into());
            }
            Err(error) => {
                reporter.status(format_args!("{error}: making {BOOTSTRAPPED} from Debian's packages"));
                bootstrap(engine, reporter).await?;
                BOOTSTRAPPED
            }
        },
    };
    let image = engine.image(tag).await?;
    let image = image.ok_or_else(|| Failure::new(ExitCode::BuildFailed, format!("{tag} is gone again")))?;
    Ok(Base { tag: tag.to_owned(), id: image.id })
}

/// Debian's smallest system, from its packages, piped into the Engine.
async fn bootstrap(engine: &Engine, reporter: &dyn Reporter) -> anyhow::Result<()> {
    let failed = |message: String| Failure::new(ExitCode::BuildFailed, message);
    let mut mmdebstrap = spawn().map_err(|error| {
        failed("can't make a base image: mmdebstrap can't be run".into())
            .hint("install it (`sudo apt-get install mmdebstrap`), or name an image that is here with BASE_IMAGE")
            .source(error)
    })?;
    let fetching = reporter.task("fetching Debian's packages (about half a minute)", Work::Wait);
    let stdout = mmdebstrap.stdout.take().expect("asked for a pipe");
    let mut stderr = mmdebstrap.stderr.take().expect("asked for a pipe");
    let mut said = String::new();
    let (imported, read) = tokio::join!(
        engine.import(BOOTSTRAPPED, ReaderStream::with_capacity(stdout, 256 * 1024)),
        stderr.read_to_string(&mut said)
    );
    drop(fetching);
    let status = mmdebstrap.wait().await?;
    if !status.success() {
        // What it piped before it failed became an image all the same.
        engine.remove_image(BOOTSTRAPPED).await.ok();
        let last: Vec<&str> = said.lines().rev().filter(|line| line.starts_with("E:")).take(3).collect();
        return Err(failed(format!("can't make a base image: mmdebstrap failed: {}", last.join("; ")))
            .hint(bootstrap_hint(&said))
            .into());
    }
    read?;
    imported?;
    Ok(())
}

/// What to do about what mmdebstrap said.
fn bootstrap_hint(said: &str) -> &'static str {
    if said.contains("unable to pick chroot mode") {
        "without being root it needs newuidmap (`sudo apt-get install uidmap`) and a range of user IDs for you in \
         /etc/subuid and /etc/subgid (`sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER`); \
         or name an image that is here with BASE_IMAGE"
    } else {
        "it needs a Debian mirror: check the network, or name an image that is here with BASE_IMAGE"
    }
}

fn spawn() -> std::io::Result<Child> {
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=minbase", "--include=ca-certificates"]);
    // As Debian's own slim image: manuals and translations stay out.
    for path in ["doc", "info", "locale", "man"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
    }
    command.arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
    command.args(["--format=tar", "trixie", "-"]).args(MIRRORS);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()
}

#[cfg(test)]
mod tests {
    use super::bootstrap_hint;

    #[test]
    fn an_unprivileged_user_is_told_what_mmdebstrap_lacks() {
        let said = "E: unable to pick chroot mode automatically (use --mode for manual selection)\n";
        assert!(bootstrap_hint(said).contains("apt-get install uidmap"));
        assert!(bootstrap_hint("E: apt-get update failed\n").contains("mirror"));
    }
}
