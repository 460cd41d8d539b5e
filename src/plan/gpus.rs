//! Which GPUs to ask the Engine for.

use super::ImageFacts;
use crate::config::{GpuRequest, Settings};
use crate::engine::spec::Gpus;
use crate::failure::Failure;
use crate::host::{Gpu, HostFacts};

const NO_RUNTIME: &str = "install the NVIDIA Container Toolkit and run `nvidia-ctk runtime configure`; \
                          `powerdev doctor` looks closer";

/// The GPUs to ask for; why there are none goes to the notices.
///
/// # Errors
/// A usage [`Failure`] when some are demanded that machine or Engine don't offer.
pub(super) fn choose(
    settings: &Settings,
    host: &HostFacts,
    image: &ImageFacts,
    notices: &mut Vec<String>,
) -> Result<Gpus, Failure> {
    // NVML knows this machine alone: of an Engine elsewhere only its runtime can be asked.
    let local = image.share.is_local();
    match &settings.gpu {
        GpuRequest::None => Ok(Gpus::None),
        GpuRequest::Auto => Ok(automatic(local, host, image, notices)),
        GpuRequest::All => {
            demand(local, "all", host, image)?;
            Ok(Gpus::All)
        }
        GpuRequest::Ids(ids) => {
            let list = ids.join(",");
            demand(local, &list, host, image)?;
            let unknown = ids.iter().find(|id| local && !id.starts_with("MIG-") && !host.gpus.iter().any(is(id)));
            match unknown {
                Some(id) => Err(Failure::usage(format!("GPU={list}: this machine has no GPU {id}"))
                    .hint(format!("it has {}", listed(&host.gpus)))),
                None => Ok(Gpus::Ids(ids.clone())),
            }
        }
    }
}

fn automatic(local: bool, host: &HostFacts, image: &ImageFacts, notices: &mut Vec<String>) -> Gpus {
    match (local, host.gpus.is_empty(), image.gpu_runtime) {
        // An Engine elsewhere that is set up for GPUs has some: only there can they be counted.
        (true, false, true) | (false, _, true) => return Gpus::All,
        (true, false, false) => {
            notices.push(format!("{} found, but the Engine can't hand it out: {NO_RUNTIME}", listed(&host.gpus)));
        }
        (true, true, _) => notices.push("no NVIDIA GPU found: the environment runs without one".into()),
        (false, _, false) => {}
    }
    Gpus::None
}

fn demand(local: bool, asked: &str, host: &HostFacts, image: &ImageFacts) -> Result<(), Failure> {
    if local && host.gpus.is_empty() {
        let message = format!("GPU={asked}: this machine shows no NVIDIA GPU");
        return Err(
            Failure::usage(message).hint("install its driver (`nvidia-smi` must list it), or set GPU=none or GPU=auto")
        );
    }
    if !image.gpu_runtime {
        return Err(Failure::usage(format!("GPU={asked}: the Engine can't hand out GPUs")).hint(NO_RUNTIME));
    }
    Ok(())
}

fn is(id: &str) -> impl Fn(&Gpu) -> bool {
    move |gpu| gpu.uuid == id || id.parse() == Ok(gpu.index)
}

fn listed(gpus: &[Gpu]) -> String {
    gpus.iter().map(|gpu| format!("GPU {} ({})", gpu.index, gpu.name)).collect::<Vec<_>>().join(", ")
}
