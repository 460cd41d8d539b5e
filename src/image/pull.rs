//! Pulling an image: with the user's login, with progress, and only if the Engine's machine can run it.

use std::time::Instant;

use indicatif::ProgressBar;
use powerdev_protocol::ExitCode;

use crate::engine::{Engine, EngineError, Image, Login, Logins, Pulled, Registry, Trouble};
use crate::failure::{self, Diagnostic, Failure};
use crate::host;
use crate::site::Site;
use crate::ui::Ui;
use crate::units::ByteSize;

/// An image that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The Engine or the registry says no.
    #[error("{source}")]
    Engine {
        /// In their words.
        source: EngineError,
        /// What to do about the login that couldn't be had.
        login: Option<String>,
    },
    /// It is for other machines.
    #[error("the image {image} is for {arch}, which this machine can't run")]
    Platform {
        /// The image.
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
                if matches!(refused.trouble, Trouble::Login | Trouble::NoSuchImageOrLogin) =>
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
pub async fn pull(engine: &Engine, image: &str, ui: &Ui) -> Result<Image, PullError> {
    let plain = |source| PullError::Engine { source, login: None };
    let before = engine.image(image).await.map_err(plain)?;
    let (login, no_login) = login(image, ui).await;
    let since = Instant::now();
    ui.status(format_args!("pulling {image}"));
    let asking = ui.spinner(&format!("asking {}", Registry::of(image)));
    let mut shown = Shown { ui, bar: asking, last: Pulled::default() };
    let pulled = engine.pull(image, login.as_ref(), |pulled| shown.update(pulled)).await;
    shown.bar.finish_and_clear();
    pulled.map_err(|source| PullError::Engine { source, login: no_login })?;
    let now = engine.image(image).await.map_err(plain)?.unwrap_or_default();
    if let Err(error) = check_platform(engine, image, &now).await {
        undo(engine, image, before.as_ref(), &now).await;
        return Err(error);
    }
    match before {
        Some(before) if before.id == now.id => ui.status(format_args!("{image} is the newest already")),
        _ => {
            ui.status(format_args!("pulled {image} ({}) in {:.1} s", ByteSize(now.size), since.elapsed().as_secs_f64()))
        }
    }
    Ok(now)
}

/// The user's login at the image's registry; without one most images can be had all the same, so that a login that
/// can't be told is a notice, and its hint comes back.
async fn login(image: &str, ui: &Ui) -> (Option<Login>, Option<String>) {
    let (why, hint) = match Logins::find() {
        Ok(logins) => match logins.of(&Registry::of(image)).await {
            Ok(login) => return (login, None),
            Err(error) => (failure::chain(&error), error.hint()),
        },
        Err(error) => (failure::chain(&error), error.hint()),
    };
    ui.notice(format_args!("{why}: pulling {image} without a login"));
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

/// A bar on a terminal, a line a layer elsewhere.
struct Shown<'a> {
    ui: &'a Ui,
    /// A spinner until there is something to measure.
    bar: ProgressBar,
    last: Pulled,
}

impl Shown<'_> {
    fn update(&mut self, pulled: Pulled) {
        let Pulled { current, total, done, layers, retrying } = pulled;
        if self.last.total == 0 && total > 0 {
            self.bar.finish_and_clear();
            self.bar = self.ui.bytes_bar(total, "");
        }
        self.bar.set_length(total);
        self.bar.set_position(current);
        let doing = match (retrying, current == total) {
            (true, _) => "broke off, trying again",
            (false, true) => "unpacking",
            (false, false) => "loading",
        };
        self.bar.set_message(format!("{doing}, {done} of {layers} layers"));
        if !self.ui.live() {
            if retrying && !self.last.retrying {
                self.ui.status("  the download broke off; the Engine tries again");
            }
            if done != self.last.done {
                self.ui.status(format_args!("  {done} of {layers} layers"));
            }
        }
        self.last = pulled;
    }
}
