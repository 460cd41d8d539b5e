//! What the container uses, read from its cgroup and `/proc`.

use powerdev_protocol::Usage;

/// Takes samples, and remembers the last one to tell the CPU's use from the difference.
#[derive(Debug, Default)]
pub struct Sampler {}

impl Sampler {
    /// A sampler without a sample.
    pub fn new() -> Self {
        Self {}
    }

    /// Reads everything that can be read; what can't be is 0 or None.
    pub fn sample(&mut self) -> Usage {
        Usage::default()
    }
}
