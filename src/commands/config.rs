//! `powerdev config`: every setting with its value and where it came from.

use powerdev_protocol::ExitCode;
use serde::Serialize;

use super::Context;
use crate::config::settings::{DOCKER_CPUS, DOCKER_MEMORY};
use crate::config::{Origin, Settings, ShownValue, yaml};
use crate::host::HostFacts;
use crate::plan;
use crate::ui::table::Table;

/// Show every setting, its value, and where it came from
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// Print the JSON Schema of powerdev.yaml instead
    #[arg(long)]
    schema: bool,
}

#[derive(Debug, Serialize)]
struct ConfigReport<'a> {
    name: &'a str,
    dir: String,
    settings: &'a [ShownValue],
    notices: &'a [String],
}

/// Runs `powerdev config`.
///
/// # Errors
/// When the settings are wrong: a usage [`crate::failure::Failure`].
pub async fn run(args: ConfigArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    if args.schema {
        let schema = yaml::schema();
        if context.ui.json() {
            context.ui.document(&schema)?;
        } else {
            context.ui.print_lines(&serde_json::to_string_pretty(&schema)?)?;
        }
        return Ok(ExitCode::Done);
    }
    let settings = context.settings()?;
    let values = detected(&settings);
    if context.ui.json() {
        let dir = settings.dir.display().to_string();
        let (name, notices) = (settings.name.as_str(), settings.notices.as_slice());
        context.ui.document(&ConfigReport { name, dir, settings: &values, notices })?;
    } else {
        settings.notices.iter().for_each(|notice| context.ui.notice(notice));
        context.ui.print_table(&table(&values, &settings))?;
    }
    Ok(ExitCode::Done)
}

/// The values, with what this machine makes of `auto`. The Engine may have less: it isn't asked here.
fn detected(settings: &Settings) -> Vec<ShownValue> {
    let limits = plan::limits(settings, &HostFacts::detect(None), 0, 0, &mut Vec::new());
    let mut values = settings.values.clone();
    for (setting, detected) in [(&DOCKER_CPUS, limits.cpus.to_string()), (&DOCKER_MEMORY, limits.memory.to_string())] {
        let automatic =
            |value: &&mut ShownValue| value.name == setting.name && value.value.eq_ignore_ascii_case("auto");
        if let Some(value) = values.iter_mut().find(automatic) {
            value.value = detected;
            value.origin = Origin::Detected;
        }
    }
    values
}

fn table(values: &[ShownValue], settings: &Settings) -> Table {
    let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
    for value in values {
        let shown = if value.value.is_empty() { "-" } else { &value.value };
        table.row([value.name.clone(), shown.to_owned(), place_of(&value.origin, settings)]);
    }
    table
}

/// Where a value came from, in words; files from the project's folder.
fn place_of(origin: &Origin, settings: &Settings) -> String {
    let place = |file: &std::path::Path, line: Option<usize>| {
        yaml::place(file.strip_prefix(&settings.dir).unwrap_or(file), line)
    };
    match origin {
        Origin::Default => "default".into(),
        Origin::Detected => "this machine".into(),
        Origin::Yaml { file, line } => place(file, *line),
        Origin::EnvFile { file, line } => place(file, Some(*line)),
        Origin::Environment { variable } => format!("${variable}"),
        Origin::Flag { flag } => flag.clone(),
    }
}
