//! Who belongs to whom: the processes of `/proc`, and which service each belongs to. What left its service's
//! process group and session (setsid, double fork) is found by its parents or by the mark in its environment.

use std::collections::{BTreeMap, BTreeSet};

use powerdev_protocol::paths::{SERVICE_VARIABLE, SESSION_VARIABLE};

use super::owner::Mark;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// Its parent's ID.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    pub session: i32,
    /// It has ended, and waits to be reaped.
    pub zombie: bool,
    /// It has a controlling terminal.
    pub terminal: bool,
}

/// Every process that `/proc` shows.
pub fn all() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| parse_stat(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)).collect()
}

/// When a process was started, in clock ticks since boot: with its ID it names the process for good.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    fields(&stat)?.nth(19)?.parse().ok()
}

/// The fields after the command's name, which may itself hold spaces and parentheses.
fn fields(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    Some(std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace())
}

fn parse_stat(pid: i32, stat: &[u8]) -> Option<Process> {
    let mut fields = fields(stat)?;
    let zombie = matches!(fields.next()?, "Z" | "X");
    let mut number = || fields.next()?.parse::<i32>().ok();
    let (parent, group, session, terminal) = (number()?, number()?, number()?, number()?);
    Some(Process { pid, parent, group, session, zombie, terminal: terminal != 0 })
}

/// The mark that a process carries.
pub fn mark(pid: i32) -> Option<Mark> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = |name: &str| {
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        String::from_utf8(value.to_vec()).ok()
    };
    value(SERVICE_VARIABLE).map(Mark::Service).or_else(|| value(SESSION_VARIABLE).map(Mark::Session))
}

/// Every live process below `root`, itself not counted, parents first.
pub fn below(root: i32, processes: &[Process]) -> Vec<&Process> {
    let mut children: BTreeMap<i32, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([root]);
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if seen.insert(child.pid) {
                next.push(child.pid);
                if !child.zombie {
                    found.push(*child);
                }
            }
        }
    }
    found
}

/// What is known of the processes of one service or session.
#[derive(Debug, Clone, Copy)]
pub struct KnownProcesses<'a, O> {
    /// Whose they are.
    pub owner: O,
    /// The mark that they carry.
    pub mark: &'a Mark,
    /// The main process that it had last.
    pub leader: Option<i32>,
    /// The process of its probe.
    pub probe: Option<i32>,
    /// What leads its terminal's session. It is the supervisor's, and not one of the owner's processes.
    pub session: Option<i32>,
}

/// The processes of each owner among those below `root`. `mark` reads the mark of one that nothing else tells of.
pub fn by_owner<O: Copy + Ord>(
    root: i32,
    processes: &[Process],
    all_known: &[KnownProcesses<'_, O>],
    mark: impl Fn(i32) -> Option<Mark>,
) -> BTreeMap<O, Vec<i32>> {
    let mut found: BTreeMap<O, Vec<i32>> = all_known.iter().map(|known| (known.owner, Vec::new())).collect();
    let mut owners: BTreeMap<i32, O> = BTreeMap::new();
    let mut led_by: BTreeMap<i32, O> = BTreeMap::new();
    let mut leaders = BTreeSet::new();
    for known in all_known.iter().rev() {
        led_by.extend([known.leader, known.session, known.probe].into_iter().flatten().map(|pid| (pid, known.owner)));
        leaders.extend(known.session);
    }
    let led_by = |id: i32| led_by.get(&id).copied();
    for process in below(root, processes).into_iter().filter(|process| !leaders.contains(&process.pid)) {
        let owner = led_by(process.pid)
            .or_else(|| owners.get(&process.parent).copied())
            .or_else(|| led_by(process.session))
            .or_else(|| led_by(process.group))
            .or_else(|| {
                let mark = mark(process.pid)?;
                all_known.iter().find(|known| *known.mark == mark).map(|known| known.owner)
            });
        if let Some(owner) = owner {
            owners.insert(process.pid, owner);
            found.entry(owner).or_default().push(process.pid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, session: i32) -> Process {
        Process { pid, parent, group: session, session, zombie: false, terminal: false }
    }

    #[test]
    fn stat_is_read_whatever_the_name_holds() {
        let stat = b"42 (a) S (b) Z 1 40 39 34816 42 4194304 0";
        let expected = Process { pid: 42, parent: 1, group: 40, session: 39, zombie: true, terminal: true };
        assert_eq!(parse_stat(42, stat), Some(expected));
        assert_eq!(parse_stat(42, b"42 (x"), None);
        assert!(start_time(std::process::id() as i32).is_some_and(|ticks| ticks > 0));
    }

    #[test]
    fn escaped_processes_are_found() {
        let processes = [
            process(10, 1, 10), // web
            process(11, 10, 10),
            process(12, 11, 12),                         // setsid, below web
            process(13, 1, 10),                          // orphan in web's session
            process(14, 1, 14),                          // double fork and setsid: only the mark is left
            process(15, 14, 15),                         // its child
            process(20, 1, 20),                          // db
            process(30, 1, 30),                          // an orphan of a shell
            process(99, 7, 10),                          // not below us
            process(50, 1, 50),                          // leads the session of tty
            Process { group: 51, ..process(51, 1, 50) }, // tty
            Process { group: 52, ..process(52, 1, 50) }, // an orphan of tty, in a group of its own
            Process { zombie: true, ..process(40, 1, 10) },
        ];
        let mark = |pid| (pid == 14).then(|| Mark::Service("web".into()));
        let marks = ["web", "db", "new", "tty"].map(|name| Mark::Service(name.into()));
        let known = |owner, mark, leader, session| KnownProcesses { owner, mark, leader, session, probe: None };
        let services = [
            known("web", &marks[0], Some(10), None),
            known("db", &marks[1], Some(20), None),
            known("new", &marks[2], None, None),
            known("tty", &marks[3], Some(51), Some(50)),
        ];
        let found = by_owner(1, &processes, &services, mark);
        let mut web = found["web"].clone();
        web.sort_unstable();
        assert_eq!(web, [10, 11, 12, 13, 14, 15]);
        assert_eq!(found["db"], [20]);
        assert!(found["new"].is_empty());
        assert_eq!(found["tty"].len(), 2, "{:?}", found["tty"]);
    }
}
