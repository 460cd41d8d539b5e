//! Making the container: beside the one that it replaces, if there is one, so that a refusal costs nothing.
//!
//! ```text
//! create powerdev-x.NEW -> stop powerdev-x -> call it powerdev-x.OLD and the new one powerdev-x -> start -> remove .OLD
//! ```
//!
//! Whatever goes wrong on the way, Ctrl-C included, is undone here. What a `kill -9` leaves is told by those names, and
//! put right by [`Environment::settle`](crate::environment::Environment::settle) when the environment is next used.

use anyhow::Context as _;

use super::Up;
use super::up::{Done, choose_ports, found, make_plan, published};
use crate::delivery::{self, Bundle};
use crate::deployment::Deployment;
use crate::engine::{Container, EngineError, EngineInfo, Volume};
use crate::failure;
use crate::interrupt::interruptible;
use crate::plan::Plan;
use crate::spec::swap;

/// How often a port that looked free may turn out to be taken before giving up: others look for ports, too.
const PORT_TRIES: usize = 5;

/// Makes a new container, in place of `old` if there is one, and starts it. All of it, or nothing: what was made is
/// removed again, and `old` goes on as it was.
pub(super) async fn make(
    deployment: &Deployment,
    old: Option<Container>,
    image: &str,
    info: &EngineInfo,
) -> anyhow::Result<Up> {
    let kept = old.as_ref().and_then(|container| container.spec.as_ref()).map(published);
    // Planned before anything is made: a plan that can't be made must leave no trace.
    let planned = make_plan(deployment, image, info, choose_ports(deployment, kept, &[], &[]).0)?;
    let before = match &old {
        Some(old) => delivery::current(deployment, old).await.ok(),
        None => None,
    };
    let volumes = deployment.environment.volumes().await?;
    let bundle = delivery::before_making(deployment, &planned.environment().gpus)?;
    let mut attempt = Attempt {
        deployment,
        old: old.as_ref(),
        before,
        bundle,
        volumes,
        networks: Vec::new(),
        made: None,
        swap: Swap::No,
    };
    let made = interruptible("the start", None, attempt.carry_out(image, info)).await;
    let error = match made {
        Ok(up) => return Ok(up),
        Err(error) => error,
    };
    let name = &planned.environment().name;
    Err(match (attempt.undo().await, &old) {
        (Ok(()), None) => error.context(format!("can't start {name}")),
        (Ok(()), Some(_)) => error.context(format!("can't replace {name}, which goes on as it was")),
        (Err(undone), _) => {
            error.context(format!("can't replace {name}, nor start it as it was ({})", failure::chain(undone.as_ref())))
        }
    })
}

/// How far the old container has made room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swap {
    No,
    /// It was told to stop.
    Stopping,
    /// It has another name.
    Aside,
}

/// One try to make a container, and all that has to be known to undo it.
struct Attempt<'a> {
    deployment: &'a Deployment,
    old: Option<&'a Container>,
    /// What the old one found in the place of what was delivered for the new one.
    before: Option<Bundle>,
    bundle: Option<Bundle>,
    /// Those of the environment that were there before.
    volumes: Vec<Volume>,
    networks: Vec<String>,
    /// The ID of the new container.
    made: Option<String>,
    swap: Swap,
}

impl Attempt<'_> {
    async fn carry_out(&mut self, image: &str, info: &EngineInfo) -> anyhow::Result<Up> {
        let state = self.deployment.environment.state();
        let running = self.old.filter(|old| old.is_up());
        let held: Vec<u16> = running.iter().flat_map(|old| &old.ports).map(|port| port.host).collect();
        let mut taken = Vec::new();
        loop {
            let (ports, replaced) = choose_ports(self.deployment, None, &taken, &held);
            let plan = make_plan(self.deployment, image, info, ports.clone())?;
            match self.create_and_start(&plan).await {
                Ok(()) => {
                    state.remember_ports(&found(&self.deployment.settings, &ports))?;
                    self.remove_old().await;
                    let done = if self.old.is_some() { Done::Recreated } else { Done::Created };
                    return Ok(Up::of(done, plan, replaced));
                }
                Err(error) => match error.downcast_ref::<EngineError>() {
                    Some(busy) if busy.is_port_taken() && taken.len() < PORT_TRIES * ports.len().max(1) => {
                        let named = busy.taken_port().map(|port| vec![port]);
                        taken.extend(named.unwrap_or_else(|| ports.values().copied().collect()));
                        self.discard().await?;
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    async fn create_and_start(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let (engine, spec) = (&self.deployment.engine, plan.environment());
        delivery::check_sources(&self.deployment.environment, spec)?;
        // What the old one still reads waits until it is down.
        let bundle = self.bundle.as_ref().filter(|_| self.old.is_none());
        let networks = async {
            for network in &plan.networks {
                if engine.ensure_network(network).await? {
                    self.networks.push(network.name.clone());
                }
            }
            Ok::<_, EngineError>(())
        };
        // Both to their end, whatever becomes of the other: what is made must be known to be removed.
        let (networks, volumes) = tokio::join!(networks, delivery::prepare(engine, spec, bundle));
        networks.and(volumes)?;
        let name = if self.old.is_some() { swap::incoming(&spec.name) } else { spec.name.clone() };
        let made = engine.create_container_as(spec, &name).await?;
        self.made = Some(made.clone());
        if let Some(old) = self.old {
            self.make_room(old, plan).await?;
            engine.rename_container(&made, &spec.name).await?;
        }
        super::start(&self.deployment.environment, &made, Some(spec)).await
    }

    /// Stops the old one, and takes its name.
    async fn make_room(&mut self, old: &Container, plan: &Plan) -> Result<(), EngineError> {
        if self.swap == Swap::Aside {
            return Ok(());
        }
        let (engine, spec) = (&self.deployment.engine, plan.environment());
        self.swap = Swap::Stopping;
        super::stop(engine, old, None).await?;
        if self.bundle.is_some() {
            delivery::prepare(engine, spec, self.bundle.as_ref()).await?;
        }
        engine.rename_container(&old.id, &swap::outgoing(&spec.name)).await?;
        self.swap = Swap::Aside;
        Ok(())
    }

    /// Removes the new one, to make it anew.
    async fn discard(&mut self) -> Result<(), EngineError> {
        match self.made.take() {
            Some(made) => self.deployment.engine.remove_container(&made, true).await,
            None => Ok(()),
        }
    }

    /// The new one runs. An old one that can't be removed now goes when the environment is next used.
    async fn remove_old(&self) {
        if let Some(old) = self.old {
            self.deployment.engine.remove_container(&old.id, true).await.ok();
        }
    }

    /// As it was before: what was made goes, and the old one, if it ran, runs again. What went wrong first is what the
    /// user needs to hear: only that the old one doesn't come back is an error of its own.
    async fn undo(&mut self) -> anyhow::Result<()> {
        let Deployment { engine, environment, settings, .. } = self.deployment;
        self.discard().await.ok();
        let settled = environment.settle().await;
        if let Some(old) = self.old {
            settled?;
            if let Some(before) = &self.before {
                delivery::install(self.deployment, old, before).await.ok();
            }
            if old.is_up() && self.swap != Swap::No {
                let _placeholders = delivery::before_start(environment, old.spec.as_ref())?;
                // It may be stopping still: a restart waits for that.
                engine.restart_container(&old.id, None).await.context("it doesn't start any more")?;
            }
        }
        for network in &self.networks {
            engine.remove_network(network).await.ok();
        }
        let volumes = engine.volumes_of(settings.name.as_str()).await.unwrap_or_default();
        for volume in volumes.iter().filter(|volume| !self.volumes.contains(volume)) {
            engine.remove_volume(&volume.name).await.ok();
        }
        Ok(())
    }
}
