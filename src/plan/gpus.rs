//! Which GPUs to ask the Engine for.

use super::PlaceFacts;
use crate::config::{GpuRequest, Settings};
use crate::failure::Failure;
use crate::host::Gpu;
use crate::spec::Gpus;

const NO_RUNTIME: &str = "install the NVIDIA Container Toolkit and run `nvidia-ctk runtime configure`; \
                          `powerdev doctor` looks closer";

/// The GPUs to ask for; why there are none goes to the notices.
///
/// # Errors
/// A usage [`Failure`] when some are demanded that machine or Engine don't offer.
pub(super) fn choose(settings: &Settings, place: &PlaceFacts, notices: &mut Vec<String>) -> Result<Gpus, Failure> {
    match &settings.gpu {
        GpuRequest::None => Ok(Gpus::None),
        GpuRequest::Auto => Ok(automatic(place, notices)),
        GpuRequest::All => {
            demand("all", place)?;
            Ok(Gpus::All)
        }
        GpuRequest::Ids(ids) => {
            let list = ids.join(",");
            demand(&list, place)?;
            let Some(gpus) = &place.gpus else { return Ok(Gpus::Ids(ids.clone())) };
            match ids.iter().find(|id| !id.starts_with("MIG-") && !gpus.iter().any(is(id))) {
                Some(id) => Err(Failure::usage(format!("GPU={list}: this machine has no GPU {id}"))
                    .hint(format!("it has {}", listed(gpus)))),
                None => Ok(Gpus::Ids(ids.clone())),
            }
        }
    }
}

fn automatic(place: &PlaceFacts, notices: &mut Vec<String>) -> Gpus {
    match (&place.gpus, place.gpu_runtime) {
        // Where nobody can count them, an Engine that is set up for GPUs has some.
        (None, true) => return Gpus::All,
        (None, false) => {}
        (Some(gpus), _) if gpus.is_empty() => {
            // Most machines have none, and nobody asked for one: that is worth no word at every start.
            tracing::info!("no NVIDIA GPU found: the environment runs without one");
        }
        (Some(_), true) => return Gpus::All,
        (Some(gpus), false) => {
            notices.push(format!("{} found, but the Engine can't hand it out: {NO_RUNTIME}", listed(gpus)));
        }
    }
    Gpus::None
}

fn demand(asked: &str, place: &PlaceFacts) -> Result<(), Failure> {
    if place.gpus.as_ref().is_some_and(Vec::is_empty) {
        let message = format!("GPU={asked}: this machine shows no NVIDIA GPU");
        return Err(
            Failure::usage(message).hint("install its driver (`nvidia-smi` must list it), or set GPU=none or GPU=auto")
        );
    }
    if !place.gpu_runtime {
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
