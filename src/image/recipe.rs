//! What is built: powerdev's own Dockerfile, or the project's.
//!
//! A project's Dockerfile is most often for the project's own product, and then is none of our business. It is ours
//! when it says so: `.powerdev/Dockerfile` always, `Dockerfile` when it has a stage named after the profile. The
//! context is the project's folder in both cases. In a checkout of powerdev the Dockerfile is powerdev's own, as long as
//! nobody has changed it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use powerdev_protocol::ExitCode;
use sha2::{Digest, Sha256};

use super::context::BuildContext;
use super::dockerfile::Dockerfile;
use super::embedded;
use super::ignore::Ignore;
use crate::config::{Choice, Profile, Want, WantKind};
use crate::failure::Failure;
use crate::files;

/// Where a Dockerfile that wants the CA certificates of this machine copies them from.
const CA_FOLDER: &str = "templates/image/ca";

/// The argument by which a Dockerfile takes the base image.
pub const BASE_IMAGE: &str = "BASE_IMAGE";

/// A Dockerfile with its context.
#[derive(Debug)]
pub struct Recipe {
    /// The Dockerfile, read.
    pub dockerfile: Dockerfile,
    /// Where it lies in the context.
    pub path: String,
    /// Its stage; None: the last.
    pub target: Option<String>,
    /// What it may copy.
    pub context: BuildContext,
    /// The project's folder, when the Dockerfile is the project's.
    pub project: Option<PathBuf>,
    /// That Dockerfile, as what its project's user has to agree to: these very bytes are built.
    pub want: Option<Want>,
}

impl Recipe {
    /// The project's own Dockerfile with its context, without the paths in `private` unless `.dockerignore` puts them
    /// back. None: the project has none.
    ///
    /// # Errors
    /// A [`Failure`] when a file can't be read.
    pub fn of_project(
        dir: &Path,
        profile: Profile,
        certificates: &BTreeMap<String, String>,
        private: &[String],
    ) -> anyhow::Result<Option<Self>> {
        let Some(own) = Own::find(dir, profile)? else { return Ok(None) };
        let want = Some(own.want(dir));
        let Own { dockerfile, path, text, target } = own;
        let mut context = BuildContext::of_folder(dir, &Ignore::of_paths(private).then(read_ignore(dir, path)?))?;
        // It must be there even where the rules leave it out.
        context.put(path, 0o644, text);
        let recipe = Self { dockerfile, path: path.into(), target, context, project: Some(dir.to_owned()), want };
        Ok(Some(recipe.with(certificates)))
    }

    /// powerdev's own.
    ///
    /// # Errors
    /// A [`Failure`] when there is no such profile.
    pub fn embedded(profile: Profile, certificates: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let dockerfile = Dockerfile::parse(embedded::DOCKERFILE);
        let stage = profile.word();
        if !dockerfile.has_stage(&stage) {
            let message = format!("the profile `{stage}` is not in this release");
            return Err(Failure::new(ExitCode::Usage, message)
                .hint(format!("use PROFILE=core, or give the project's Dockerfile a stage named `{stage}`"))
                .into());
        }
        let mut context = BuildContext::default();
        for (path, mode, content) in embedded::FILES {
            context.put(path, *mode, *content);
        }
        let (path, target) = ("Dockerfile".into(), Some(stage));
        Ok(Self { dockerfile, path, target, context, project: None, want: None }.with(certificates))
    }

    /// Not where nobody asked for them: `COPY .` would take them along.
    fn with(mut self, certificates: &BTreeMap<String, String>) -> Self {
        for (name, pem) in certificates.iter().filter(|_| self.dockerfile.mentions(CA_FOLDER)) {
            self.context.put(&format!("{CA_FOLDER}/{name}"), 0o644, pem.clone().into_bytes());
        }
        self
    }

    /// Whether it begins with powerdev's own image.
    pub fn is_on_powerdevs(&self, profile: Profile) -> bool {
        self.dockerfile.is_from(&powerdevs(profile))
    }

    /// Puts the tag of powerdev's own image in the place of its name: the one that is `latest` may be another user's,
    /// and a registry's is nobody's.
    pub fn begin_with(&mut self, profile: Profile, tag: &str) {
        let text = self.dockerfile.with_image(&powerdevs(profile), tag);
        self.context.put(&self.path, 0o644, text.into_bytes());
    }
}

/// The name of powerdev's own image in a Dockerfile.
fn powerdevs(profile: Profile) -> String {
    format!("powerdev/{}", profile.word())
}

/// A project's own Dockerfile.
struct Own {
    dockerfile: Dockerfile,
    path: &'static str,
    text: Vec<u8>,
    target: Option<String>,
}

impl Own {
    fn find(dir: &Path, profile: Profile) -> anyhow::Result<Option<Self>> {
        for (path, always) in [(".powerdev/Dockerfile", true), ("Dockerfile", false)] {
            let file = dir.join(path);
            // A folder of that name may be anybody's: the next one.
            if !always && file.is_dir() {
                continue;
            }
            let Some(text) = files::read_within(dir, Path::new(path))? else { continue };
            let dockerfile = Dockerfile::parse(&String::from_utf8_lossy(&text));
            if !always && embedded::is_at(dir) {
                return Ok(None);
            }
            let stage = profile.word();
            let target = dockerfile.has_stage(&stage).then_some(stage);
            if target.is_some() || always {
                return Ok(Some(Self { dockerfile, path, text, target }));
            }
        }
        Ok(None)
    }
}

impl Own {
    /// By its content: what it copies from the project changes all day long, and runs in no other place than its commands.
    fn want(&self, dir: &Path) -> Want {
        let says = format!("builds its image by its own {}, whose commands run as root in the build", self.path);
        let value = format!("{}:{}", self.path, hex::encode(Sha256::digest(&self.text)));
        Want::new(WantKind::Dockerfile, value, says, &dir.join(self.path), None)
    }
}

/// A project's own Dockerfile, as what its user has to agree to.
///
/// # Errors
/// When it can't be read.
pub fn own_want(dir: &Path, profile: Profile) -> anyhow::Result<Option<Want>> {
    Ok(Own::find(dir, profile)?.map(|own| own.want(dir)))
}

/// The image that a project's own Dockerfile begins with, where it doesn't take the base image that it is given.
pub fn own_base(dir: &Path, profile: Profile) -> Option<String> {
    let own = Own::find(dir, profile).ok()??;
    let takes_ours = own.dockerfile.has_arg(BASE_IMAGE) || own.dockerfile.is_from(&powerdevs(profile));
    (!takes_ours).then(|| own.dockerfile.first_image().map(str::to_owned))?
}

/// `<Dockerfile>.dockerignore`, else `.dockerignore`.
fn read_ignore(dir: &Path, dockerfile: &str) -> anyhow::Result<Ignore> {
    for name in [format!("{dockerfile}.dockerignore"), ".dockerignore".into()] {
        let file = dir.join(&name);
        if let Some(text) = files::read_within(dir, Path::new(&name))? {
            return Ignore::parse(&String::from_utf8_lossy(&text))
                .map_err(|error| Failure::usage(format!("{}: {error}", file.display())).into());
        }
    }
    Ok(Ignore::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(dir: &Path, profile: Profile) -> anyhow::Result<Recipe> {
        let own = Recipe::of_project(dir, profile, &BTreeMap::new(), &[])?;
        own.map_or_else(|| Recipe::embedded(profile, &BTreeMap::new()), Ok)
    }

    #[test]
    fn a_projects_own_product_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("Dockerfile"), "FROM scratch AS app").expect("written");
        let recipe = find(folder.path(), Profile::Core).expect("powerdev's own");
        assert_eq!((recipe.project, recipe.target.as_deref()), (None, Some("core")));
    }

    #[test]
    fn a_projects_dockerfile_wins_when_it_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("Dockerfile"), "FROM scratch AS core").expect("written");
        let recipe = find(folder.path(), Profile::Core).expect("the project's");
        assert_eq!((recipe.path.as_str(), recipe.target.as_deref()), ("Dockerfile", Some("core")));

        std::fs::create_dir(folder.path().join(".powerdev")).expect("made");
        std::fs::write(folder.path().join(".powerdev/Dockerfile"), "FROM scratch").expect("written");
        let recipe = find(folder.path(), Profile::Full).expect("the project's");
        assert_eq!((recipe.path.as_str(), recipe.target), (".powerdev/Dockerfile", None));
    }

    #[test]
    fn an_unchanged_checkout_has_powerdevs_own() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(find(checkout, Profile::Core).expect("powerdev's own").project, None);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::copy(checkout.join("Dockerfile"), folder.path().join("Dockerfile")).expect("copied");
        let recipe = find(folder.path(), Profile::Core).expect("the project's");
        assert_eq!(recipe.project.as_deref(), Some(folder.path()), "with other files, or none");
    }

    #[test]
    fn a_profile_that_isnt_there_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = find(folder.path(), Profile::Full).expect_err("no such stage");
        let failure = error.downcast_ref::<Failure>().expect("a failure");
        assert_eq!(failure.code, ExitCode::Usage);
        assert!(failure.message.contains("`full` is not in this release"), "{}", failure.message);
    }

    #[test]
    fn bad_rules_are_told_with_file_and_line() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("Dockerfile"), "FROM scratch AS core").expect("written");
        std::fs::write(folder.path().join(".dockerignore"), "a\n[").expect("written");
        let error = find(folder.path(), Profile::Core).expect_err("a bad rule").to_string();
        assert!(error.contains(".dockerignore: line 2: `[`"), "{error}");
    }

    #[test]
    fn a_dockerfiles_own_base_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = |text: &str| {
            std::fs::write(folder.path().join("Dockerfile"), text).expect("written");
            own_base(folder.path(), Profile::Core)
        };
        assert_eq!(base("FROM --platform=linux/amd64 ghcr.io/team/x:1 AS core\n").as_deref(), Some("ghcr.io/team/x:1"));
        assert_eq!(base("ARG BASE_IMAGE\nFROM $BASE_IMAGE AS core\n"), None);
        assert_eq!(base("FROM $OTHER AS core\n"), None);
        assert_eq!(base("FROM product\n"), None, "the product's");
        assert_eq!(base("FROM powerdev/core AS core\n"), None, "powerdev's, which is built here");
    }
}
