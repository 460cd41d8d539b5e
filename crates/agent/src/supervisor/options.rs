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
        let mut parser = lexopt::Parser::from_args(arguments);
        loop {
            let place = match parser.next() {
                Ok(None) => break,
                Ok(Some(lexopt::Arg::Long("services"))) => &mut options.services,
                Ok(Some(lexopt::Arg::Long("secrets"))) => &mut options.secrets,
                Ok(Some(lexopt::Arg::Long("run-dir"))) => &mut options.run_dir,
                Ok(Some(lexopt::Arg::Long("log-dir"))) => &mut options.log_dir,
                Ok(Some(other)) => {
                    complaints.push(format!("`init`: {}: ignored", other.unexpected()));
                    continue;
                }
                Err(error) => {
                    complaints.push(format!("`init`: {error}: ignored"));
                    continue;
                }
            };
            match parser.value() {
                Ok(value) => *place = value.into(),
                Err(error) => complaints.push(format!("`init`: {error}: ignored")),
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
            ["`init`: invalid option '--frob': ignored", "`init`: missing argument for option '--log-dir': ignored"]
                .map(String::from)
        );
    }
}
