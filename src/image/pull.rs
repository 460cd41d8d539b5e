//! Pulling an image: with the user's login, with progress, and only if the Engine's machine can run it.

use std::time::Instant;

use powerdev_protocol::ExitCode;

use crate::engine::{Engine, EngineError, Image, Login, Logins, PullTrouble, Pulled, Registry};
use crate::failure::{self, Diagnostic, Failure};
use crate::host;
use crate::reporter::{Reporter, Task, Work};
use crate::site::Site;
use crate::units::ByteSize;

/// An image that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The Engine or the registry says no.
    #[error("{source}")]
    Engine {
        /// What the Engine said, in words of the registry.
        source: EngineError,
        /// What to do about the login that couldn't be had.
        login: Option<String>,
    },
    /// It is for other machines.
    #[error("the image {image} is for {arch}, which this machine can't run")]
    Platform {
        /// The image that was asked for.
        image: String,
        /// What it is for, in the Engine's words.
        arch: String,
    },
}

impl PullError {
    /// The Engine itself is gone, so that nothing else needs to be tried.
    pub fn is_the_engines(&self) -> bool {
        matches!(self, Self::Engine { source, .. } if source.is_unreachable())
    }

    /// With what to do without the image.
    pub fn or(self, code: ExitCode, instead: &str) -> Failure {
        let code = if self.is_the_engines() { self.exit_code() } else { code };
        let hint = self.hint().map_or_else(|| instead.to_owned(), |hint| format!("{hint}; or {instead}"));
        Failure::new(code, self.to_string()).hint(hint).source(self)
    }
}

impl Diagnostic for PullError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Engine { source, .. } => source.exit_code(),
            Self::Platform { .. } => ExitCode::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Engine { source: EngineError::NotPulled(refused), login: Some(login) }
                if matches!(refused.trouble, PullTrouble::Login | PullTrouble::NoSuchImageOrLogin) =>
            {
                Some(login.clone())
            }
            Self::Engine { source, .. } => source.hint(),
            Self::Platform { .. } => {
                let fix = "name an image for this machine's architecture, or register an emulator \
                           (Debian's package qemu-user-static)";
                Some(fix.to_owned())
            }
        }
    }
}

/// Pulls an image. One that was here under this name stays, unless a newer one takes its place.
///
/// # Errors
/// When it can't be pulled, or can't run here.
pub async fn pull(engine: &Engine, image: &str, reporter: &dyn Reporter) -> Result<Image, PullError> {
    let plain = |source| PullError::Engine { source, login: None };
    let before = engine.image(image).await.map_err(plain)?;
    let (login, no_login) = login(image, reporter).await;
    let since = Instant::now();
    reporter.status(format_args!("pulling {image}"));
    let transfer = reporter.task(format!("asking {}", Registry::of(image)), Work::Transfer);
    let mut last = Pulled::default();
    let pulled = engine.pull(image, login.as_ref(), |now| tell(&transfer, &mut last, now)).await;
    drop(transfer);
    pulled.map_err(|source| PullError::Engine { source, login: no_login })?;
    let now = engine.image(image).await.map_err(plain)?.unwrap_or_default();
    if let Err(error) = check_platform(engine, image, &now).await {
        undo(engine, image, before.as_ref(), &now).await;
        return Err(error);
    }
    match before {
        Some(before) if before.id == now.id => reporter.status(format_args!("{image} is the newest already")),
        _ => reporter.status(format_args!(
            "pulled {image} ({}) in {:.1} s",
            ByteSize(now.size),
            since.elapsed().as_secs_f64()
        )),
    }
    Ok(now)
}

/// The user's login at the image's registry; without one most images can be had all the same, so that a login that
/// can't be told is a notice, and its hint comes back.
async fn login(image: &str, reporter: &dyn Reporter) -> (Option<Login>, Option<String>) {
    let (why, hint) = match Logins::find() {
        Ok(logins) => match logins.of(&Registry::of(image)).await {
            Ok(login) => return (login, None),
            Err(error) => (failure::chain(&error), error.hint()),
        },
        Err(error) => (failure::chain(&error), error.hint()),
    };
    reporter.notice(format_args!("{why}: pulling {image} without a login"));
    (None, hint)
}

/// Refuses what is sure not to run: the Engine's kernel is this machine's, and has no emulator either.
///
/// # Errors
/// [`PullError::Platform`]; what the Engine says.
pub async fn check_platform(engine: &Engine, tag: &str, image: &Image) -> Result<(), PullError> {
    if Site::of(engine.endpoint()).runs(&image.arch) != Some(false) {
        return Ok(());
    }
    let info = engine.info().await.map_err(|source| PullError::Engine { source, login: None })?;
    if info.kernel != host::kernel() {
        return Ok(());
    }
    Err(PullError::Platform { image: tag.to_owned(), arch: image.arch.clone() })
}

/// Makes the name mean what it meant before the pull.
async fn undo(engine: &Engine, image: &str, before: Option<&Image>, now: &Image) {
    // Why it is undone is what the user needs to hear; what is left costs room, nothing else.
    match before {
        Some(before) if before.id == now.id => {}
        Some(before) => {
            engine.tag_image(&before.id, image).await.ok();
            engine.remove_image(&now.id).await.ok();
        }
        None => drop(engine.remove_image(image).await.ok()),
    }
}

/// Tells how far a pull is; a layer that has come is worth a line.
fn tell(transfer: &Task<'_>, last: &mut Pulled, now: Pulled) {
    let Pulled { current, total, done, layers, retrying } = now;
    let doing = match (retrying, current == total) {
        (true, _) => "broke off, trying again",
        (false, true) => "unpacking",
        (false, false) => "loading",
    };
    let came = format!("{done} of {layers} layers");
    let milestone = match () {
        () if retrying && !last.retrying => Some("the download broke off; the Engine tries again"),
        () if done != last.done => Some(came.as_str()),
        () => None,
    };
    transfer.advanced(current, total, &format!("{doing}, {came}"), milestone);
    *last = now;
}
