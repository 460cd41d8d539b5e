//! CPUs and memory: what is set, or what is detected less what the machine needs itself.

use crate::config::Settings;
use crate::host::HostFacts;
use crate::units::{ByteSize, Cpus};

/// CPUs that are given at most without being asked for: beyond, build tools start more jobs than memory carries.
const MOST_CPUS: u32 = 24;

/// What the container may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub cpus: Cpus,
    pub memory: ByteSize,
}

/// The limits; what was clamped goes to the notices. The Engine's own CPUs and memory win over the host's, since its
/// containers may run in a virtual machine or elsewhere; 0 is unknown.
pub fn limits(
    settings: &Settings,
    host: &HostFacts,
    engine_cpus: u32,
    engine_memory: u64,
    notices: &mut Vec<String>,
) -> Limits {
    let there = Cpus::whole(if engine_cpus > 0 { engine_cpus } else { host.cpus });
    let cpus = match settings.cpus {
        Some(asked) if asked > there => {
            notices.push(format!("{asked} CPUs are asked for and {there} are there: the environment gets {there}"));
            there
        }
        Some(asked) => asked,
        None => there.min(Cpus::whole(MOST_CPUS)),
    };
    let total = ByteSize(if engine_memory > 0 { engine_memory } else { host.memory });
    let memory = match settings.memory {
        Some(asked) if total.0 > 0 && asked > total => {
            notices
                .push(format!("{asked} of memory are asked for and {total} are there: the environment gets {total}"));
            total
        }
        Some(asked) => asked,
        None => ByteSize(total.0 - reserve(total.0)),
    };
    Limits { cpus, memory }
}

/// What is left to the machine: an eighth of its memory, at least 1 GiB and at most 8, but never more than half.
fn reserve(total: u64) -> u64 {
    (total / 8).clamp(1 << 30, 8 << 30).min(total / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_machines_keep_half_and_large_ones_eight_gib() {
        const GIB: u64 = 1 << 30;
        for (total, left) in
            [(0, 0), (GIB, GIB / 2), (4 * GIB, GIB), (16 * GIB, 2 * GIB), (64 * GIB, 8 * GIB), (512 * GIB, 8 * GIB)]
        {
            assert_eq!(reserve(total), left, "{total}");
        }
    }
}
