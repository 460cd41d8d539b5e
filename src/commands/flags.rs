//! Settings as flags: they win over every other layer.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};

use crate::config::Overrides;
use crate::config::setting::Setting;
use crate::config::settings::SETTINGS;

/// The flags of every setting that is declared with one.
#[derive(Debug, Clone, Default)]
pub struct SettingFlags {
    /// What they say.
    pub overrides: Overrides,
}

fn declared() -> impl Iterator<Item = (&'static Setting, &'static str)> {
    SETTINGS.iter().filter_map(|setting| Some((*setting, setting.flag?)))
}

fn flag(setting: &Setting, name: &'static str) -> Arg {
    let syntax = &setting.syntax;
    let why = setting.why.trim_end_matches('.');
    let (takes, choices) = ((syntax.takes)(), (syntax.choices)());
    let arg = Arg::new(name).long(name).value_name(syntax.placeholder);
    // As docker calls it.
    let arg = if name == "gpu" { arg.alias("gpus") } else { arg };
    if !choices.is_empty() {
        // clap lists them in the help, and completes them.
        return arg.help(why).ignore_case(true).value_parser(PossibleValuesParser::new(choices));
    }
    // Only what can be typed as it stands says more than the value's name.
    if takes.contains('`') { arg.help(format!("{why} [{takes}]")) } else { arg.help(why) }
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(declared().map(|(setting, name)| flag(setting, name)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |overrides: Overrides, (setting, name): (&'static Setting, &str)| {
            overrides.with(setting, matches.get_one::<String>(name))
        };
        Ok(Self { overrides: declared().fold(Overrides::default(), given) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::config::{Profile, load_with};
    use crate::units::Cpus;

    #[test]
    fn what_a_flag_says_wins_over_the_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("powerdev.yaml"), "cpus: 1\nprofile: core\n").expect("written");
        let matches = SettingFlags::augment_args(Command::new("up")).get_matches_from([
            "up",
            "--cpus",
            "1.5",
            "--profile",
            "FULL",
        ]);
        let flags = SettingFlags::from_arg_matches(&matches).expect("clap knows its own flags");
        let settings = load_with(Some(dir.path()), None, &flags.overrides).expect("right");
        assert_eq!((settings.cpus, settings.profile), (Some(Cpus(1500)), Profile::Full));
        assert!(settings.base_image.is_none(), "a flag that isn't given says nothing");
    }

    #[test]
    fn every_flag_says_what_it_takes() {
        let command = SettingFlags::augment_args(Command::new("up"));
        let help = |name: &str| command.get_arguments().find(|arg| arg.get_id() == name).and_then(Arg::get_help);
        let help = |name: &str| help(name).map(ToString::to_string).unwrap_or_default();
        assert!(help("gpu").ends_with("[`auto`, `all`, `none`, or ids such as `0,1`]"), "{}", help("gpu"));
        assert!(help("base").ends_with("is built on"), "{}", help("base"));
    }
}
