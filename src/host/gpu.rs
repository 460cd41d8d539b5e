//! GPUs, as NVIDIA's own library names them, or NVIDIA's own program where that library can't be loaded.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::Gpu;

/// `nvidia-smi` comes with every driver; under WSL it isn't always in the PATH.
const TOOLS: [&str; 2] = ["nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi"];
/// How long it may take: it waits for ever for a GPU that has fallen off the bus.
const PATIENCE: Duration = Duration::from_secs(5);

/// The GPUs of this machine; none where there is no NVIDIA driver. One that can't be read is left out.
pub fn detect() -> Vec<Gpu> {
    // A static binary has no dynamic linker of its own: a library that wants the machine's C library may end it.
    if cfg!(target_feature = "crt-static") {
        return ask_nvidia_smi();
    }
    match Nvml::init() {
        Ok(nvml) => {
            let count = nvml.device_count().unwrap_or(0);
            (0..count).filter_map(|index| read(&nvml, index).ok()).collect()
        }
        Err(NvmlError::LibloadingError(_)) => ask_nvidia_smi(),
        Err(_) => Vec::new(),
    }
}

fn read(nvml: &Nvml, index: u32) -> Result<Gpu, NvmlError> {
    let device = nvml.device_by_index(index)?;
    // Shared-memory machines (Grace, Jetson) report no memory of the GPU's own.
    let memory = device.memory_info().map_or(0, |memory| memory.total);
    Ok(Gpu { index, uuid: device.uuid()?, name: device.name()?, memory })
}

fn ask_nvidia_smi() -> Vec<Gpu> {
    let fields = ["--query-gpu=index,uuid,memory.total,name", "--format=csv,noheader,nounits"];
    let spawn = |tool: &&str| {
        let mut command = Command::new(tool);
        command.args(fields).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()
    };
    let Some(child) = TOOLS.iter().find_map(spawn) else { return Vec::new() };
    let (to, from) = mpsc::channel();
    // Left behind if it hangs: a process that waits for a broken GPU can't be killed either.
    thread::spawn(move || to.send(child.wait_with_output()));
    match from.recv_timeout(PATIENCE) {
        Ok(Ok(output)) if output.status.success() => parse(&String::from_utf8_lossy(&output.stdout)),
        _ => Vec::new(),
    }
}

/// A line a GPU: index, ID, memory in MiB, name. What isn't known is `[N/A]`.
fn parse(lines: &str) -> Vec<Gpu> {
    let gpu = |line: &str| {
        let mut fields = line.splitn(4, ", ");
        let (index, uuid) = (fields.next()?.trim().parse().ok()?, fields.next()?.to_owned());
        let memory = fields.next()?.parse::<u64>().map_or(0, |mebibytes| mebibytes << 20);
        Some(Gpu { index, uuid, memory, name: fields.next()?.trim_end().to_owned() })
    };
    lines.lines().filter_map(gpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_lines_are_read() {
        // The second as Jetsons tell it.
        let output =
            "0, GPU-6a3c1d0e-7a55-1f7b-3b8c-0d5a1f0e9b11, 81559, NVIDIA H100 80GB HBM3\n1, GPU-1, [N/A], Orin, nvgpu\n";
        let gpus = parse(output);
        assert_eq!(gpus.len(), 2);
        assert_eq!((gpus[0].index, gpus[0].memory), (0, 81_559 << 20));
        assert_eq!(gpus[0].uuid, "GPU-6a3c1d0e-7a55-1f7b-3b8c-0d5a1f0e9b11");
        assert_eq!(gpus[0].name, "NVIDIA H100 80GB HBM3");
        assert_eq!((gpus[1].memory, gpus[1].name.as_str()), (0, "Orin, nvgpu"));
        assert!(parse("No devices were found\n").is_empty());
    }
}
