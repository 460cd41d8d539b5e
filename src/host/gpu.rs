//! GPUs, as NVIDIA's own library names them.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::Gpu;

/// The GPUs of this machine; none where there is no NVIDIA driver. One that can't be read is left out.
pub fn detect() -> Vec<Gpu> {
    let Ok(nvml) = Nvml::init() else { return Vec::new() };
    let count = nvml.device_count().unwrap_or(0);
    (0..count).filter_map(|index| read(&nvml, index).ok()).collect()
}

fn read(nvml: &Nvml, index: u32) -> Result<Gpu, NvmlError> {
    let device = nvml.device_by_index(index)?;
    // Shared-memory machines (Grace, Jetson) report no memory of the GPU's own.
    let memory = device.memory_info().map_or(0, |memory| memory.total);
    Ok(Gpu { index, uuid: device.uuid()?, name: device.name()?, memory })
}
