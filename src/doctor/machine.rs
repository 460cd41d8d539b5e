//! Checks of this machine and of the user's own folders.

use std::path::Path;

use super::{Check, Facts};
use crate::config::GpuRequest;
use crate::control::Patience;
use crate::delivery;
use crate::engine::Container;
use crate::host::FileSystem;
use crate::state::state_home;
use crate::units::ByteSize;

/// Below this an agent and a compiler don't fit together, in bytes.
const LITTLE_MEMORY: u64 = 4 << 30;

pub(super) async fn checks(facts: &Facts) -> Vec<Check> {
    vec![memory(facts), user(facts), gpu(facts), state(), agent(), running_agent(facts).await]
}

/// Whether there is room where `path` lies, for what takes `room` bytes; `fix` makes some.
pub(super) async fn disk(check: &'static str, path: &Path, room: u64, fix: &str) -> Check {
    let place = path.to_owned();
    let Some(Ok(disk)) = super::patiently(move || FileSystem::of(&place)).await else {
        return Check::skip(check, format!("{} can't be looked at from here", path.display()));
    };
    let detail = format!("{} free in {}, {} % used", ByteSize(disk.available), path.display(), disk.percent());
    let little = disk.available < room || disk.is_nearly_full();
    if little { Check::warn(check, detail).fix(fix) } else { Check::ok(check, detail) }
}

fn memory(facts: &Facts) -> Check {
    let host = (facts.host.memory, facts.host.cpus);
    let (memory, cpus) = facts.engine.as_ref().map_or(host, |(_, info)| (info.memory, info.cpus));
    let detail = format!("{}, {cpus} CPUs", ByteSize(memory));
    if memory < LITTLE_MEMORY {
        return Check::warn("memory", detail).fix("give the machine more memory, or run fewer services");
    }
    Check::ok("memory", detail)
}

fn user(facts: &Facts) -> Check {
    let user = facts.host.user;
    if rustix::process::geteuid().is_root() {
        return Check::ok("user", format!("root; inside, dev is {user}"));
    }
    let rootless = facts.engine.as_ref().is_ok_and(|(_, info)| info.rootless);
    if rootless {
        return Check::warn("user", format!("{user}, on a rootless Engine: inside, dev is another user than you"))
            .fix("if .agent-mount can't be written inside, use an Engine that runs as root");
    }
    Check::ok("user", format!("{user}, inside and outside"))
}

fn gpu(facts: &Facts) -> Check {
    let site = facts.site();
    let Some(gpus) = site.map_or(Some(facts.host.gpus.as_slice()), |site| site.visible_gpus(&facts.host)) else {
        let can = if facts.engine.as_ref().is_ok_and(|(_, info)| info.gpu) { "can" } else { "can't" };
        return Check::skip("gpu", format!("the Engine is on another machine; it {can} hand out GPUs"));
    };
    let wanted = facts.settings.as_ref().map(|settings| settings.gpu.clone()).unwrap_or_default();
    let runtime = facts.engine.as_ref().is_ok_and(|(_, info)| info.gpu);
    let names: Vec<&str> = gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    let toolkit = "install the NVIDIA container toolkit, `sudo nvidia-ctk runtime configure`, restart the Engine";
    match (wanted, names.is_empty(), runtime) {
        (GpuRequest::None, ..) => Check::skip("gpu", "GPU=none"),
        (GpuRequest::Auto, true, _) => Check::ok("gpu", "none found: the environment runs without"),
        (_, true, _) => Check::fail("gpu", "GPUs are asked for, and the driver shows none")
            .fix("install NVIDIA's driver (`nvidia-smi` shows the GPUs then), or set GPU=auto"),
        (GpuRequest::Auto, false, false) => {
            Check::warn("gpu", format!("{}, and the Engine can't hand them out", names.join(", "))).fix(toolkit)
        }
        (_, false, false) => Check::fail("gpu", "the Engine can't hand out GPUs").fix(toolkit),
        (_, false, true) => Check::ok("gpu", names.join(", ")),
    }
}

fn state() -> Check {
    let name = "state-folder";
    let folder = match state_home() {
        Ok(folder) => folder,
        Err(error) => return Check::fail(name, error.to_string()).fix("set HOME to your home folder"),
    };
    // The folder is made when it is needed: what has to be writable is the nearest one above that is there.
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::access(there, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Check::ok(name, folder.display().to_string()),
        Err(error) => Check::fail(name, format!("{} can't be written: {error}", there.display()))
            .fix("make it yours, or set XDG_STATE_HOME to a folder that is"),
    }
}

fn agent() -> Check {
    if delivery::BINARY.is_empty() {
        return Check::fail("agent", "this powerdev was built without its agent").fix("build it again with cargo");
    }
    Check::ok("agent", format!("{} of powerdev {}", &delivery::SHA256[..12], env!("CARGO_PKG_VERSION")))
}

/// The agent that runs, against the one that this powerdev carries.
async fn running_agent(facts: &Facts) -> Check {
    let check = "running-agent";
    let Some(environment) =
        facts.environment.as_ref().filter(|_| facts.container.as_ref().is_some_and(Container::is_up))
    else {
        return Check::skip(check, "the environment doesn't run");
    };
    let asked = async { anyhow::Ok(environment.agent(Patience::Answer).await?.status().await?) };
    match asked.await {
        Ok(status) if status.sha256 == delivery::SHA256 => Check::ok(check, "the same as this powerdev's"),
        Ok(status) => Check::warn(
            check,
            format!("{} of powerdev {}", status.sha256.get(..12).unwrap_or_default(), status.version),
        )
        .fix("`powerdev restart` replaces it by this powerdev's"),
        Err(error) => {
            Check::fail(check, error.to_string()).fix("`powerdev restart`; `powerdev logs` shows what it said")
        }
    }
}
