//! Host ports: the wanted one, or a free one near by where it is busy; the same one as last time where possible.

use std::collections::BTreeMap;

use crate::config::Port;
use crate::state::LastPort;

/// A host port that stands in for a busy one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Inside the container.
    pub container: u16,
    /// What was wanted.
    pub wanted: u16,
    /// What it is instead.
    pub host: u16,
}

/// Chooses a host port for each wanted one. `remembered` maps container ports to those of last time, which count for as
/// long as the same is wanted; `avoid` are ports that turned out to be taken although they looked free.
///
/// Returns container port -> host port, and which of them aren't the wanted ones.
pub fn choose(
    wanted: &[Port],
    remembered: &BTreeMap<u16, LastPort>,
    avoid: &[u16],
    is_free: impl Fn(u16) -> bool,
) -> (BTreeMap<u16, u16>, Vec<Replaced>) {
    let mut chosen = BTreeMap::new();
    let mut replaced = Vec::new();
    for port in wanted {
        let last = remembered.get(&port.container).filter(|last| last.wanted == port.host).map(|last| last.host);
        let candidates = last.into_iter().chain(candidates(port.host));
        let taken = |host: &u16| !avoid.contains(host) && !chosen.values().any(|other| other == host) && is_free(*host);
        let host = candidates.into_iter().find(taken).unwrap_or(port.host);
        if host != port.host {
            replaced.push(Replaced { container: port.container, wanted: port.host, host });
        }
        chosen.insert(port.container, host);
    }
    (chosen, replaced)
}

/// The port itself, then every tenth above it: the last digit stays, and neighbours keep theirs.
fn candidates(port: u16) -> impl Iterator<Item = u16> {
    (port..=u16::MAX).step_by(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port { container: number, host: number }
    }

    #[test]
    fn a_busy_port_moves_on_by_tens_and_is_told() {
        let (chosen, replaced) = choose(&[port(3000), port(3010)], &BTreeMap::new(), &[3020], |host| host != 3000);
        assert_eq!(chosen, BTreeMap::from([(3000, 3010), (3010, 3030)]));
        assert_eq!(replaced[0], Replaced { container: 3000, wanted: 3000, host: 3010 });
    }

    #[test]
    fn the_port_of_last_time_comes_first() {
        let remembered = BTreeMap::from([(3000, LastPort { wanted: 3000, host: 3040 })]);
        let (chosen, _) = choose(&[port(3000)], &remembered, &[], |_| true);
        assert_eq!(chosen[&3000], 3040);
        let (chosen, _) = choose(&[port(3000)], &remembered, &[], |host| host != 3040);
        assert_eq!(chosen[&3000], 3000);
        let other = Port { container: 3000, host: 8080 };
        let (chosen, replaced) = choose(&[other], &remembered, &[], |_| true);
        assert_eq!((chosen[&3000], replaced.len()), (8080, 0), "another one is wanted now");
    }
}
