//! `powerdev up`: builds if needed, starts, waits until ready. `start` and `daemon` share its steps.

use std::time::Instant;

use powerdev_protocol::{ExitCode, HealthState, Reloaded, ServiceStatus};
use serde::Serialize;

use super::flags::SettingFlags;
use super::outline::outline;
use super::{Context, agree, moved, tell};
use crate::clock::{Deadline, Seconds};
use crate::config::Settings;
use crate::deployment::Deployment;
use crate::interrupt::interruptible;
use crate::lifecycle::report::{self, PortReport};
use crate::lifecycle::{self, Applied, BringUp, Build, Done, Up, ready};
use crate::plan::{Difference, Plan};
use crate::site::Site;
use crate::spec::{ContainerSpec, NetworkSpec};
use crate::ssh;

/// Build if needed, start, wait until ready
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    #[command(flatten)]
    bring: BringArgs,
}

/// What `up`, `start` and `daemon` take.
#[derive(Debug, clap::Args)]
pub struct BringArgs {
    /// Replace the container that is there; what is in .agent-mount and in the home folder stays
    #[arg(long, alias = "force-recreate")]
    recreate: bool,
    /// Nothing: as with docker compose, and so by itself
    #[arg(long = "detach", short = 'd', hide = true)]
    _detach: bool,
    /// Agree to what the project's files ask for beyond its folder: `powerdev trust` shows it
    #[arg(long)]
    trust: bool,
    /// Print what would be done, and touch nothing; with --json as it would be asked of the Engine
    #[arg(long)]
    dry_run: bool,
    /// Return as soon as the container runs
    #[arg(long)]
    no_wait: bool,
    /// Seconds to wait until every service is ready
    #[arg(long, value_name = "SECS", default_value_t = Seconds::whole(300))]
    timeout: Seconds,
    #[command(flatten)]
    settings: SettingFlags,
}

/// What came of it, for machines.
#[derive(Debug, Serialize)]
struct UpDocument<'a> {
    name: &'a str,
    container: &'a str,
    done: Done,
    image: &'a str,
    health: HealthState,
    ports: &'a [PortReport],
    services: &'a [ServiceStatus],
    drift: &'a [Difference],
    pending: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<&'a Applied>,
    /// On an Engine elsewhere: the command that brings the ports here.
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<&'a str>,
    notices: Vec<String>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct DryRun<'a> {
    dry_run: bool,
    done: Done,
    plan: Planned<'a>,
    drift: &'a [Difference],
    pending: &'a [&'static str],
}

/// The plan, with the environment's container by itself: that is what a reader looks for.
#[derive(Debug, Serialize)]
struct Planned<'a> {
    container: &'a ContainerSpec,
    networks: &'a [NetworkSpec],
    notices: &'a [String],
}

impl<'a> Planned<'a> {
    fn of(plan: &'a Plan) -> Self {
        Self { container: plan.environment(), networks: &plan.networks, notices: &plan.notices }
    }
}

/// An environment that runs.
pub(super) struct Running {
    /// The environment, and what was deployed.
    pub deployment: Deployment,
    /// What was done for it to run. None after a dry run: nothing runs.
    pub done: Option<Done>,
}

/// Runs `powerdev up`.
///
/// # Errors
/// See [`lifecycle::bring_up`] and [`ready::healthy`].
pub async fn run(args: UpArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    bring_up(&args.bring, Build::IfChanged, context).await?;
    Ok(ExitCode::Done)
}

/// Brings the environment up and says so.
pub(super) async fn bring_up(args: &BringArgs, build: Build, context: &Context<'_>) -> anyhow::Result<Running> {
    let begun = Instant::now();
    let ui = context.ui;
    let mut settings = context.settings_with(&args.settings.overrides)?;
    let moved = moved::notice(&settings)?;
    settings.notices.extend(moved.iter().cloned());
    for notice in &settings.notices {
        ui.notice(notice);
    }
    if !args.dry_run {
        if moved.is_some() {
            moved::ask(context)?;
        }
        agree::to_wants(&settings, args.trust, context)?;
    }
    let deployment = Deployment::new(settings, context.engine().await?)?;
    let options = BringUp { recreate: args.recreate, build };
    if args.dry_run {
        let up = lifecycle::dry_run(&deployment, options).await?;
        tell_dry_run(&up, &deployment.settings, context)?;
        return Ok(Running { deployment, done: None });
    }
    let mut up = lifecycle::bring_up(&deployment, ui, options).await?;
    up.plan.notices.extend(ssh::keep(&deployment.environment).await);
    tell(&up, context);
    let left = "it goes on starting: `powerdev status` shows how far it is, `powerdev stop` stops it";
    let (health, services) = interruptible("waiting", Some(left), wait(args, &deployment, &up, context)).await?;
    let ports = report::published(&up.made_from.ports, &report::services_by_port(&deployment.settings));
    let tunnel = Site::tunnel(deployment.engine.endpoint(), &up.made_from.ports);
    if ui.json() {
        ui.document(&UpDocument {
            name: deployment.settings.name.as_str(),
            container: &up.plan.environment().name,
            done: up.done,
            image: &up.plan.environment().image,
            health,
            ports: &ports,
            services: &services,
            drift: &up.drift,
            pending: &up.pending,
            applied: up.applied.as_ref(),
            tunnel: tunnel.as_deref(),
            notices: [deployment.settings.notices.clone(), up.plan.notices.clone()].concat(),
            seconds: begun.elapsed().as_secs_f64(),
        })?;
    } else {
        ui.status(format_args!("{} is {} ({:.1} s)", deployment.settings.name, health, begun.elapsed().as_secs_f64()));
        tell::addresses(ui, &ports);
        tell::tunnel(ui, deployment.engine.endpoint(), tunnel.as_deref());
    }
    Ok(Running { deployment, done: Some(up.done) })
}

/// Waits as far as the flags say: for the agent at least.
async fn wait(
    args: &BringArgs,
    deployment: &Deployment,
    up: &Up,
    context: &Context<'_>,
) -> anyhow::Result<(HealthState, Vec<ServiceStatus>)> {
    let deadline = Deadline::after(args.timeout.duration());
    let mut client = deployment.environment.agent_up(Some(&up.made_from), deadline).await?;
    if args.no_wait {
        let status = client.status().await?;
        return Ok((status.health.state, status.services));
    }
    let status = ready::healthy(&deployment.environment, deadline, context.ui).await?;
    Ok((status.health.state, status.services))
}

/// Says what was done, and what the user should know about it.
fn tell(up: &Up, context: &Context<'_>) {
    let ui = context.ui;
    let name = &up.plan.environment().name;
    match up.done {
        Done::Created => ui.status(format_args!("Created and started {name} from {}", up.plan.environment().image)),
        Done::Recreated => ui.status(format_args!("Replaced {name}, from {}", up.plan.environment().image)),
        Done::Started => ui.status(format_args!("Started {name}")),
        Done::Adopted => ui.status(format_args!("{name} is running already")),
    }
    for notice in &up.plan.notices {
        ui.notice(notice);
    }
    for replaced in &up.replaced {
        ui.notice(format_args!("port {} is busy: {} stands in for it", replaced.wanted, replaced.host));
    }
    tell::started_from(ui, up.started_from.as_deref());
    tell::drift(ui, &up.drift);
    if let Some(applied) = &up.applied {
        tell_applied(applied, context);
    }
    tell_pending(&up.pending, context);
}

/// Says what waits for a restart.
fn tell_pending(pending: &[&str], context: &Context<'_>) {
    if !pending.is_empty() {
        let what = pending.join(", ");
        context.ui.notice(format_args!("changed since it started: {what}; `powerdev restart` applies it"));
    }
}

/// Says what became of changes while the environment ran.
fn tell_applied(applied: &Applied, context: &Context<'_>) {
    let Reloaded { started, stopped, restarted, .. } = &applied.services;
    for (what, names) in [("Starting", started), ("Stopping", stopped), ("Restarting", restarted)] {
        if !names.is_empty() {
            context.ui.status(format_args!("{what} {}", names.join(", ")));
        }
    }
    if applied.secrets && !applied.services.kept.is_empty() {
        context.ui.notice(
            "the secrets have changed: new shells and what starts from now on get them; `powerdev services restart NAME` \
             gives them to a service that runs",
        );
    }
}

fn tell_dry_run(up: &Up, settings: &Settings, context: &Context<'_>) -> anyhow::Result<()> {
    let ui = context.ui;
    if ui.json() {
        let Up { done, plan, drift, pending, .. } = up;
        return ui.document(&DryRun { dry_run: true, done: *done, plan: Planned::of(plan), drift, pending });
    }
    let what = match up.done {
        Done::Created => "would make and start",
        Done::Recreated => "would replace",
        Done::Started => "would start",
        Done::Adopted => "would leave running",
    };
    ui.status(format_args!("{what} {}:", up.plan.environment().name));
    ui.print_lines(outline(settings, &up.plan).trim_end())?;
    for notice in &up.plan.notices {
        ui.notice(notice);
    }
    match &up.pending {
        pending if lifecycle::reload::is_enough(pending) => {
            ui.notice(format_args!("would apply without a restart: {}", pending.join(", ")));
        }
        pending => tell_pending(pending, context),
    }
    tell::drift(ui, &up.drift);
    Ok(())
}
