//! What the container uses, read from its own cgroup (version 1 or 2) and from `/proc`.
//!
//! Reading is a handful of small files in memory: some tens of microseconds. What can't be read counts as nothing,
//! so that a sample never fails.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use powerdev_protocol::Usage;

/// CPU use is averaged over at least this long: shorter windows say little.
const WINDOW: Duration = Duration::from_millis(200);

/// The very first samples count as if at least so much time had passed.
const SHORTEST: Duration = Duration::from_millis(10);

/// Takes samples, and remembers the last one to tell CPU use from CPU time.
#[derive(Debug)]
pub struct Sampler {
    cgroup: Cgroup,
    baseline: (Instant, u64),
    cpu_percent: Option<f64>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// Finds this process's cgroup.
    pub fn new() -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let cgroup = Cgroup::find(Path::new("/sys/fs/cgroup"), &own);
        let mut usage = Usage::default();
        cgroup.read(&mut usage);
        Self { cgroup, baseline: (Instant::now(), usage.cpu_usec), cpu_percent: None }
    }

    /// What is used now.
    pub fn sample(&mut self) -> Usage {
        let mut usage = Usage::default();
        self.cgroup.read(&mut usage);
        (usage.network_rx_bytes, usage.network_tx_bytes) = network(&text(Path::new("/proc/net/dev")));
        usage.cpu_percent = self.percent(Instant::now(), usage.cpu_usec);
        usage
    }

    fn percent(&mut self, now: Instant, cpu_usec: u64) -> Option<f64> {
        let (since, before) = self.baseline;
        let elapsed = now.saturating_duration_since(since);
        let used = cpu_usec.saturating_sub(before);
        let percent = used as f64 / elapsed.max(SHORTEST).as_micros() as f64 * 100.0;
        if elapsed < WINDOW {
            // Before the first window is over, what there is of it says more than nothing.
            return self.cpu_percent.or(Some(percent));
        }
        self.cpu_percent = Some(percent);
        self.baseline = (now, cpu_usec);
        self.cpu_percent
    }
}

/// Where the counters lie.
#[derive(Debug, PartialEq, Eq)]
enum Cgroup {
    /// One folder a controller.
    V1 {
        memory: PathBuf,
        cpu: PathBuf,
        cpuacct: PathBuf,
        pids: PathBuf,
    },
    V2(PathBuf),
}

impl Cgroup {
    /// `own` is `/proc/self/cgroup`. Inside a container its paths may be the host's, while the mount shows only the
    /// container's part: the path counts only where it leads somewhere.
    fn find(root: &Path, own: &str) -> Self {
        let path_of = |controller: &str| {
            own.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/'))
            })
        };
        let folder = |mount: PathBuf, controller: &str, file: &str| {
            let nested = mount.join(path_of(controller).unwrap_or_default());
            if nested.join(file).exists() { nested } else { mount }
        };
        if root.join("cgroup.controllers").exists() {
            return Self::V2(folder(root.into(), "", "memory.current"));
        }
        Self::V1 {
            memory: folder(root.join("memory"), "memory", "memory.usage_in_bytes"),
            cpu: folder(root.join("cpu"), "cpu", "cpu.cfs_quota_us"),
            cpuacct: folder(root.join("cpuacct"), "cpuacct", "cpuacct.usage"),
            pids: folder(root.join("pids"), "pids", "pids.current"),
        }
    }

    fn read(&self, usage: &mut Usage) {
        match self {
            Self::V1 { memory, cpu, cpuacct, pids } => {
                let stat = text(&memory.join("memory.stat"));
                let used = number(&text(&memory.join("memory.usage_in_bytes"))).unwrap_or(0);
                usage.memory_bytes = used.saturating_sub(keyed(&stat, "total_inactive_file").unwrap_or(0));
                usage.memory_limit_bytes = keyed(&stat, "hierarchical_memory_limit").filter(|bytes| *bytes < UNLIMITED);
                usage.oom_kills = keyed(&text(&memory.join("memory.oom_control")), "oom_kill").unwrap_or(0);
                usage.cpu_usec = number(&text(&cpuacct.join("cpuacct.usage"))).unwrap_or(0) / 1000;
                let quota = text(&cpu.join("cpu.cfs_quota_us"));
                usage.cpu_limit = cpus(&quota, &text(&cpu.join("cpu.cfs_period_us")));
                read_pids(pids, usage);
            }
            Self::V2(folder) => {
                let stat = text(&folder.join("memory.stat"));
                let used = number(&text(&folder.join("memory.current"))).unwrap_or(0);
                usage.memory_bytes = used.saturating_sub(keyed(&stat, "inactive_file").unwrap_or(0));
                usage.memory_limit_bytes = number(&text(&folder.join("memory.max")));
                usage.oom_kills = keyed(&text(&folder.join("memory.events")), "oom_kill").unwrap_or(0);
                usage.cpu_usec = keyed(&text(&folder.join("cpu.stat")), "usage_usec").unwrap_or(0);
                let max = text(&folder.join("cpu.max"));
                usage.cpu_limit = max.split_once(' ').and_then(|(quota, period)| cpus(quota, period));
                read_pids(folder, usage);
            }
        }
    }
}

/// Version 1 says "no limit" with the largest number of whole pages: anything of that size means none.
const UNLIMITED: u64 = 1 << 60;

/// The tasks' controller has the same files in both versions.
fn read_pids(folder: &Path, usage: &mut Usage) {
    usage.pids = number(&text(&folder.join("pids.current"))).unwrap_or(0);
    usage.pids_limit = number(&text(&folder.join("pids.max")));
    usage.pids_refused = keyed(&text(&folder.join("pids.events")), "max").unwrap_or(0);
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A file that holds one number. None for `max`, `-1` and what isn't there.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number after `key` in a file of `key number` lines.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == key).and_then(|(_, n)| number(n))
}

/// CPUs from a quota and its period, both in microseconds. None when there is no quota.
fn cpus(quota: &str, period: &str) -> Option<f64> {
    let period = number(period).filter(|period| *period > 0)?;
    Some(number(quota)? as f64 / period as f64)
}

/// Bytes received and sent on every interface but the loopback, out of `/proc/net/dev`.
fn network(dev: &str) -> (u64, u64) {
    let mut total = (0, 0);
    for (name, counters) in dev.lines().filter_map(|line| line.split_once(':')) {
        let mut counters = counters.split_ascii_whitespace().map(|word| number(word).unwrap_or(0));
        if name.trim() != "lo" {
            total.0 += counters.next().unwrap_or(0);
            total.1 += counters.nth(7).unwrap_or(0);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lays out captured files in a folder of their own, named after the test.
    fn lay_out(test: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("powerdev-usage-{test}-{}", std::process::id()));
        for (path, content) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("has a folder")).expect("made");
            std::fs::write(path, content).expect("written");
        }
        root
    }

    fn usage_of(cgroup: &Cgroup) -> Usage {
        let mut usage = Usage::default();
        cgroup.read(&mut usage);
        usage
    }

    /// Captured in a container of Docker Engine 20.10: `-m 256m --cpus 1.5 --pids-limit 100`, cgroup version 1.
    const V1: &[(&str, &str)] = &[
        ("memory/memory.usage_in_bytes", "5746688\n"),
        (
            "memory/memory.stat",
            "cache 3743744\nrss 229376\ninactive_file 11\nhierarchical_memory_limit 268435456\n\
             hierarchical_memsw_limit 536870912\ntotal_cache 3743744\ntotal_inactive_file 1826816\n",
        ),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ("cpu/cpu.cfs_quota_us", "150000\n"),
        ("cpu/cpu.cfs_period_us", "100000\n"),
        ("cpuacct/cpuacct.usage", "59961508\n"),
        ("pids/pids.current", "2\n"),
        ("pids/pids.max", "100\n"),
        ("pids/pids.events", "max 7\n"),
    ];

    #[test]
    fn version_1() {
        let root = lay_out("v1", V1);
        let own = "8:pids:/docker/1d4b\n4:memory:/docker/1d4b\n2:cpu,cpuacct:/docker/1d4b\n0::/docker/1d4b\n";
        let usage = usage_of(&Cgroup::find(&root, own));
        std::fs::remove_dir_all(root).expect("removed");
        let expected = Usage {
            cpu_usec: 59961,
            cpu_limit: Some(1.5),
            memory_bytes: 5746688 - 1826816,
            memory_limit_bytes: Some(256 << 20),
            pids: 2,
            pids_limit: Some(100),
            pids_refused: 7,
            oom_kills: 2,
            ..Usage::default()
        };
        assert_eq!(usage, expected);
    }

    #[test]
    fn version_1_without_limits() {
        let root = lay_out(
            "v1-free",
            &[
                ("memory/memory.stat", "hierarchical_memory_limit 9223372036854771712\n"),
                ("cpu/cpu.cfs_quota_us", "-1\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
                ("pids/pids.max", "max\n"),
            ],
        );
        let usage = usage_of(&Cgroup::find(&root, ""));
        std::fs::remove_dir_all(root).expect("removed");
        assert_eq!(usage, Usage::default());
    }

    /// Captured on cgroup version 2 with a cgroup namespace of the container's own.
    const V2: &[(&str, &str)] = &[
        ("cgroup.controllers", "cpuset cpu io memory pids\n"),
        ("memory.current", "10485760\n"),
        ("memory.max", "536870912\n"),
        ("memory.stat", "anon 1000000\nfile 9000000\ninactive_anon 5\ninactive_file 4194304\n"),
        ("memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n"),
        ("cpu.stat", "usage_usec 123456\nuser_usec 100000\nsystem_usec 23456\n"),
        ("cpu.max", "250000 100000\n"),
        ("pids.current", "12\n"),
        ("pids.max", "4096\n"),
        ("pids.events", "max 0\n"),
    ];

    #[test]
    fn version_2() {
        let root = lay_out("v2", V2);
        let usage = usage_of(&Cgroup::find(&root, "0::/\n"));
        std::fs::remove_dir_all(root).expect("removed");
        let expected = Usage {
            cpu_usec: 123456,
            cpu_limit: Some(2.5),
            memory_bytes: 10485760 - 4194304,
            memory_limit_bytes: Some(512 << 20),
            pids: 12,
            pids_limit: Some(4096),
            oom_kills: 1,
            ..Usage::default()
        };
        assert_eq!(usage, expected);
    }

    #[test]
    fn version_2_with_the_hosts_namespace_is_found_below() {
        let nested: Vec<(String, &str)> =
            V2.iter().map(|(path, content)| (format!("system.slice/docker-1.scope/{path}"), *content)).collect();
        let mut files: Vec<(&str, &str)> = nested.iter().map(|(path, content)| (path.as_str(), *content)).collect();
        files.push(V2[0]);
        let root = lay_out("v2-host", &files);
        let cgroup = Cgroup::find(&root, "0::/system.slice/docker-1.scope\n");
        assert_eq!(cgroup, Cgroup::V2(root.join("system.slice/docker-1.scope")));
        assert_eq!(usage_of(&cgroup).pids, 12);
        std::fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn nothing_there_is_nothing_used() {
        let root = Path::new("/nonexistent");
        assert_eq!(usage_of(&Cgroup::find(root, "nonsense\n:::\n")), Usage::default());
        assert_eq!(network(""), (0, 0));
    }

    #[test]
    fn network_counts_all_but_the_loopback() {
        let dev = "Inter-|   Receive                                                |  Transmit\n \
                   face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop\n    \
                   lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n  \
                   eth0:1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0\n  \
                   eth1: 1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(network(dev), (1001, 2002));
    }

    #[test]
    fn cpu_use_is_averaged_over_a_window() {
        let start = Instant::now();
        let mut sampler =
            Sampler { cgroup: Cgroup::V2("/nonexistent".into()), baseline: (start, 0), cpu_percent: None };
        // The first answer has a figure, too, and doesn't end the window.
        assert_eq!(sampler.percent(start, 0), Some(0.0));
        assert_eq!(sampler.percent(start + Duration::from_millis(1), 900), Some(9.0));
        assert_eq!(sampler.percent(start + Duration::from_millis(100), 50_000), Some(50.0));
        assert_eq!(sampler.percent(start + Duration::from_secs(1), 1_500_000), Some(150.0));
        // Too soon after: the last average still holds, and the window goes on.
        assert_eq!(sampler.percent(start + Duration::from_millis(1001), 1_501_000), Some(150.0));
        assert_eq!(sampler.percent(start + Duration::from_secs(3), 2_500_000), Some(50.0));
    }
}
