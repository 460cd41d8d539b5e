//! The arguments of `init`. A container needs none; tests point it elsewhere.

use std::ffi::OsString;
use std::path::PathBuf;

use powerdev_protocol::paths;

/// Where things lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitOptions {
    /// The services: JSON of [`powerdev_protocol::ServiceSet`].
    pub services: PathBuf,
    /// The secrets: one flat JSON object.
    pub secrets: PathBuf,
    /// Folder of the control socket and of the services' notification sockets.
    pub run_dir: PathBuf,
    /// Folder of the services' logs.
    pub log_dir: PathBuf,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            services: paths::SERVICES_FILE.into(),
            secrets: paths::SECRETS_FILE.into(),
            run_dir: paths::RUN_DIR.into(),
            log_dir: paths::LOG_DIR.into(),
        }
    }
}

impl InitOptions {
    /// Reads the arguments. PID 1 must come up whatever it is told: what isn't understood is returned as complaints
    /// beside the options.
    pub fn parse(arguments: Vec<OsString>) -> (Self, Vec<String>) {
        let mut options = Self::default();
        let mut complaints = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let place = match argument.to_str() {
                Some("--services") => &mut options.services,
                Some("--secrets") => &mut options.secrets,
                Some("--run-dir") => &mut options.run_dir,
                Some("--log-dir") => &mut options.log_dir,
                _ => {
                    complaints.push(format!("`init` has no argument {}: ignored", argument.display()));
                    continue;
                }
            };
            match arguments.next() {
                Some(value) => *place = value.into(),
                None => complaints.push(format!("{} needs a path: ignored", argument.display())),
            }
        }
        (options, complaints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_told_and_ignored() {
        let (options, complaints) =
            InitOptions::parse(["--run-dir", "/r", "--frob", "--log-dir"].map(Into::into).into());
        assert_eq!(options.run_dir, PathBuf::from("/r"));
        assert_eq!(options.log_dir, PathBuf::from(paths::LOG_DIR));
        assert_eq!(
            complaints,
            ["`init` has no argument --frob: ignored", "--log-dir needs a path: ignored"].map(String::from)
        );
    }
}
