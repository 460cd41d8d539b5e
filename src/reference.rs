//! `docs/reference.md`, made from the command line as clap sees it, the settings' declarations and the exit codes.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};
use powerdev_protocol::ExitCode;

use crate::cli::Cli;
use crate::config::setting::Visibility;
use crate::config::settings;

const HEAD: &str = "\
<!-- Generated: `make generate`, or POWERDEV_BLESS=1 cargo test --test generated. Don't edit. -->

# Reference

";

const COMMANDS: &str = "\
## Commands

`powerdev` alone, typed at a terminal, shows the environments and what can be done next in this folder.

Every command takes these:

";

const SETTINGS: &str = "\
A value is taken from the first of these that has one: a flag, powerdev's own environment, `.env`, `powerdev.yaml`, the
default. In the environment every setting goes by `POWERDEV_` and its name (`POWERDEV_GPU`); those marked * go by their
bare name as well. Every other key of `.env` is a secret: it reaches services and shells, and nothing else. One without
a value there takes it from powerdev's own environment.

`powerdev config` shows what holds in a project and why. `powerdev.yaml` also has `ports`, `mounts`, `environment`,
`secrets` and `services`: [powerdev.schema.json](powerdev.schema.json) describes them all, for editors too.

";

const DOCKER: &str = "\
powerdev goes by what the docker CLI is told, and writes none of it.

| | |
|---|---|
| `DOCKER_HOST`, `DOCKER_CONTEXT`, `DOCKER_TLS`, `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH` | Which Engine, and how to reach it |
| `DOCKER_CONFIG` | The docker CLI's folder, in place of `~/.docker`; what follows is in its `config.json` |
| `currentContext` | Which Engine, where no variable says it |
| `auths` | Logins at registries, as `docker login` writes them: for images that are pulled, and for those that a build asks for |
| `credHelpers`, `credsStore` | Programs (`docker-credential-…`) that know the login of one registry, or of all; each has half a minute to tell it |
| `proxies` | Proxies for builds, services and shells: those under the Engine's address, else under `default` |
| `HTTP_PROXY`, `HTTPS_PROXY`, `FTP_PROXY`, `NO_PROXY`, `ALL_PROXY` | Proxies for builds, in either spelling; they win over those of `.env`, and these over `proxies` |

Logins, and users and passwords in the addresses of proxies, are secret: they are in no image, no `docker inspect`, no
document and no message. Pulling is the Engine's work, and goes by the Engine's own proxies and mirrors: `powerdev doctor`
shows them.

";

/// The whole page.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    // Writing to a string succeeds.
    write(&mut page).ok();
    page
}

fn write(page: &mut String) -> std::fmt::Result {
    let mut cli = Cli::command();
    cli.build();
    page.push_str(COMMANDS);
    flags(page, cli.get_arguments().filter(|arg| arg.is_global_set()))?;
    for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
        section(page, command, 3)?;
    }
    page.push_str("\n## Settings\n\n");
    page.push_str(SETTINGS);
    page.push_str("| Name | In `powerdev.yaml` | Takes | Default | |\n|---|---|---|---|---|\n");
    for setting in settings::all() {
        let star = if setting.ambient && setting.variable() != setting.name { " *" } else { "" };
        let yaml = setting.key.map_or_else(|| "`environment`".to_owned(), |key| format!("`{key}`"));
        let default = match setting.default {
            "" => setting.unset.to_owned(),
            default => format!("`{default}`"),
        };
        let seen_by = match setting.visibility {
            Visibility::Host => "",
            Visibility::Container => " Services and shells see it.",
            Visibility::ProfileFull => " Services and shells see it, in other profiles only where it is set.",
        };
        let takes = (setting.syntax.takes)();
        writeln!(page, "| `{}`{star} | {yaml} | {takes} | {default} | {}{seen_by} |", setting.name, cell(setting.why))?;
    }
    page.push_str("\n### Secrets that many have\n\n");
    for (secret, why) in settings::SECRETS {
        writeln!(page, "- `{secret}`: {why}")?;
    }
    page.push_str("\n## What the docker CLI is told\n\n");
    page.push_str(DOCKER);
    page.push_str("## Exit codes\n\n| Code | |\n|---|---|\n");
    for (code, meaning) in ExitCode::ALL {
        writeln!(page, "| {} | {meaning} |", *code as u8)?;
    }
    page.push_str("\n`exec` ends with the code of the command that it ran.\n");
    Ok(())
}

fn section(page: &mut String, command: &Command, depth: usize) -> std::fmt::Result {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    writeln!(page, "\n{} {name}\n", "#".repeat(depth))?;
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    writeln!(page, "{about}{}\n", if about.ends_with('.') { "" } else { "." })?;
    let usage = command.clone().render_usage().to_string();
    writeln!(page, "```text\n{}\n```", usage.trim_start_matches("Usage: "))?;
    let own = |arg: &&Arg| !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help";
    if command.get_arguments().any(|arg| own(&arg)) {
        page.push('\n');
        flags(page, command.get_arguments().filter(own))?;
    }
    if let Some(after) = command.get_after_help() {
        writeln!(page, "\n```text\n{after}\n```")?;
    }
    command.get_subcommands().filter(|sub| sub.get_name() != "help").try_for_each(|sub| section(page, sub, depth + 1))
}

fn flags<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) -> std::fmt::Result {
    page.push_str("| | |\n|---|---|\n");
    for arg in args {
        let names: Vec<String> = [arg.get_short().map(|c| format!("-{c}")), arg.get_long().map(|l| format!("--{l}"))]
            .into_iter()
            .flatten()
            .collect();
        let takes = arg.get_num_args().is_some_and(|range| range.takes_values());
        let value = arg.get_value_names().unwrap_or_default().iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let value = if takes { value.join(" ") } else { String::new() };
        let head = format!("{} {value}", names.join(", ")).trim().to_owned();
        let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let choices: Vec<String> =
            arg.get_possible_values().iter().map(|one| format!("`{}`", one.get_name())).collect();
        if takes && !choices.is_empty() {
            write!(help, ": {}", choices.join(", "))?;
        }
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if takes && !defaults.is_empty() {
            write!(help, " [default: {}]", defaults.join(" "))?;
        }
        writeln!(page, "| `{head}` | {} |", cell(&help))?;
    }
    Ok(())
}

/// Text as it may stand in a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}
