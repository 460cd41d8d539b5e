//! `powerdev init`: writes `.env` and `powerdev.yaml`, both commented, and makes the project's folders.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use powerdev_protocol::ExitCode;
use rustix::fs::OFlags;
use serde::Serialize;

use super::Context;
use crate::agent_mount;
use crate::config::settings::{EXTERNAL_DIR, PROFILE, SECURITY};
use crate::config::{self, Choice, Profile, SecurityProfile, layout, template, yaml};
use crate::failure::Failure;
use crate::files;
use crate::host;
use crate::state;
use crate::trust::Standing;

/// Write a commented .env and powerdev.yaml here, and make the project's folders
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Write the files anew where they are there already
    #[arg(long)]
    force: bool,
    /// Ask nothing, take the defaults
    #[arg(long, short)]
    yes: bool,
    /// Which stage of the Dockerfile
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Which security profile
    #[arg(long, value_enum)]
    security: Option<SecurityProfile>,
    /// A folder of this machine that appears at /workspace/ext in place of the project's
    #[arg(long, value_name = "DIR")]
    external_dir: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize)]
struct InitReport {
    dir: String,
    written: Vec<String>,
    kept: Vec<String>,
    /// Where what was written anew is kept as it was.
    copies: Vec<String>,
}

/// Runs `powerdev init`.
///
/// # Errors
/// When the folder can't be written.
pub async fn run(args: InitArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let dir = here(context.global.project.as_deref())?;
    let answers = answers(&args, context)?;
    let owner = host::container_user(Some(&dir));
    agent_mount::prepare(&dir, owner)?;
    let mut report = InitReport { dir: dir.display().to_string(), ..InitReport::default() };
    // Whoever may read .env has the secrets.
    let files = [(".env", answers.env(), 0o600), (yaml::FILE, answers.yaml(), 0o644)];
    for (name, content, mode) in files {
        let path = dir.join(name);
        // A link counts wherever it leads, nowhere included.
        let is_there = path.symlink_metadata().is_ok();
        if is_there && !args.force {
            report.kept.push(name.to_owned());
            continue;
        }
        if is_there {
            report.copies.extend(keep_copy(&dir, name)?);
        }
        state::replace(&path, content.as_bytes(), mode, host::sudo_user())?;
        report.written.push(name.to_owned());
    }
    trust(&dir, &report.written)?;
    match ignore(&dir)? {
        Ignored::Written => report.written.push(".gitignore".to_owned()),
        Ignored::ByLink => {
            context.ui.notice(".gitignore is no plain file, and isn't touched: .env and .agent-mount belong in it")
        }
        Ignored::Already => {}
    }
    if context.ui.json() {
        context.ui.document(&report)?;
    } else {
        tell(&report, context);
    }
    Ok(ExitCode::Done)
}

/// Keeps what is about to be written anew, keys among it, where neither Git nor a build nor a container sees it. None:
/// there is nothing, but for a link that leads nowhere.
fn keep_copy(dir: &Path, name: &str) -> anyhow::Result<Option<String>> {
    let path = dir.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ");
    let copy = format!("{}/{name}.{now}", layout::AGENT_MOUNT);
    state::replace(&dir.join(&copy), &files::read(&path)?, 0o600, host::sudo_user())?;
    Ok(Some(copy))
}

/// What was just written is the user's own word: what it asks for needs no other. What was there is not his.
fn trust(dir: &Path, written: &[String]) -> anyhow::Result<()> {
    // A file that was kept may be broken: whoever needs it says so.
    let Ok(settings) = config::load(Some(dir), None) else { return Ok(()) };
    let written: Vec<PathBuf> = written.iter().map(|file| dir.join(file)).collect();
    Standing::of(&settings, None)?.agree_to_files(&written)
}

fn tell(report: &InitReport, context: &Context<'_>) {
    for file in &report.written {
        context.ui.status(format_args!("wrote {file}"));
    }
    for copy in &report.copies {
        context.ui.status(format_args!("kept what was there as {copy}"));
    }
    for file in &report.kept {
        context.ui.status(format_args!("kept {file}, which was there (--force writes it anew)"));
    }
    context.ui.status("put your keys into .env, then run `powerdev up`");
}

/// The folder to write to: the one given, else the current one. Not one further up: `init` begins a project.
fn here(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let dir = match given {
        Some(dir) => dir.to_owned(),
        None => std::env::current_dir().context("the current folder can't be read; was it removed?")?,
    };
    match dir.canonicalize() {
        Ok(dir) if dir.is_dir() => config::refuse_below_data(&dir).map(|()| dir).map_err(Into::into),
        _ => Err(Failure::usage(format!("{} isn't a folder", dir.display())).hint("make it first").into()),
    }
}

/// What differs from the templates.
#[derive(Debug, Default)]
struct Answers {
    profile: Profile,
    security: SecurityProfile,
    external_dir: Option<String>,
}

impl Answers {
    fn env(&self) -> String {
        match &self.external_dir {
            Some(dir) => {
                let name = EXTERNAL_DIR.name;
                template::put(&template::env_template(), name, &format!("{name}='{dir}'"))
            }
            None => template::env_template(),
        }
    }

    fn yaml(&self) -> String {
        let mut text = template::yaml_template();
        for (setting, word) in [(&PROFILE, self.profile.word()), (&SECURITY, self.security.word())] {
            if let Some(key) = setting.key.filter(|_| word != setting.default) {
                text = template::put(&text, key, &format!("{key}: {word}"));
            }
        }
        text
    }
}

/// Flags answer; what they leave open is asked on a terminal, and stays at its default elsewhere.
fn answers(args: &InitArgs, context: &Context<'_>) -> anyhow::Result<Answers> {
    let ask = !args.yes && !context.ui.json() && context.ui.can_ask();
    let profile = match args.profile {
        None if ask => choose("Which image?", context)?,
        given => given.unwrap_or_default(),
    };
    let security = match args.security {
        None if ask => choose("How closed is the container?", context)?,
        given => given.unwrap_or_default(),
    };
    let external_dir = match &args.external_dir {
        Some(dir) => Some(folder(dir)?),
        None if ask => {
            let answer = context.ui.ask("Another folder to work on at /workspace/ext (empty: this one)", "")?;
            (!answer.is_empty()).then(|| folder(Path::new(&answer))).transpose()?
        }
        None => None,
    };
    Ok(Answers { profile, security, external_dir })
}

/// Asks for one of a few words, which explain themselves.
fn choose<T: Choice>(question: &str, context: &Context<'_>) -> anyhow::Result<T> {
    let choices: Vec<String> = T::value_variants().iter().map(Choice::explained).collect();
    let choices: Vec<&str> = choices.iter().map(String::as_str).collect();
    Ok(T::value_variants()[context.ui.choose(question, &choices)?].clone())
}

/// The folder in full, in a form that `.env` can hold between single quotes.
fn folder(dir: &Path) -> anyhow::Result<String> {
    let wrong = |why: &str| Failure::usage(format!("{} {why}", dir.display())).hint("give a folder that is there");
    let full = dir.canonicalize().map_err(|error| wrong("can't be opened").source(error))?;
    match full.to_str() {
        Some(text) if full.is_dir() && !text.contains(['\'', '\\', '\n']) => Ok(text.to_owned()),
        Some(_) if full.is_dir() => Err(wrong("has a quote, a backslash or a line's end in its name").into()),
        _ => Err(wrong("isn't a folder").into()),
    }
}

/// What became of `.gitignore`.
enum Ignored {
    /// Nothing was missing, or there is no Git repository.
    Already,
    Written,
    /// It is a link or the like: what it leads to is none of ours.
    ByLink,
}

/// Adds what shouldn't be shared to `.gitignore` where the folder belongs to a Git repository.
fn ignore(dir: &Path) -> anyhow::Result<Ignored> {
    if !dir.ancestors().any(|folder| folder.join(".git").exists()) {
        return Ok(Ignored::Already);
    }
    let path = dir.join(".gitignore");
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Ok(Ignored::ByLink);
    }
    let failed = || format!("can't write {}", path.display());
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).custom_flags(flags).open(&path).with_context(failed)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).with_context(failed)?;
    let text = String::from_utf8_lossy(&text);
    let has = |entry: &str| text.lines().any(|line| line.trim().trim_matches('/') == entry);
    let missing = [".env", layout::AGENT_MOUNT].into_iter().filter(|entry| !has(entry));
    let mut lines: String = missing.map(|entry| format!("/{entry}\n")).collect();
    if lines.is_empty() {
        return Ok(Ignored::Already);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        lines.insert(0, '\n');
    }
    file.write_all(lines.as_bytes()).with_context(failed)?;
    Ok(Ignored::Written)
}
