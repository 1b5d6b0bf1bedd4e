//! The container's processes as the guest's kernel lists them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use container_api::types::Process;

use super::cgroup::Cgroup;
use crate::clock::boottime_ns;

/// Bytes of one command line that are shown.
const COMMAND_MAX: usize = 4096;
/// Bytes of all command lines together: an answer must fit into one message.
const COMMANDS_MAX: usize = 2 * 1024 * 1024;
/// Processes in one answer.
const PROCESSES_MAX: usize = 16 * 1024;
/// Levels of groups that a container may have made below its own.
const DEPTH_MAX: usize = 32;
/// Ticks per second of /proc/<pid>/stat (`USER_HZ`).
const TICKS: u64 = 100;

/// Lists the processes of the container, by their ids. One that ends meanwhile is left out.
pub fn processes(cgroup: &Cgroup) -> Vec<Process> {
    let mut pids = Vec::new();
    members(cgroup.path(), 0, &mut pids);
    pids.sort_unstable();
    pids.truncate(PROCESSES_MAX);
    let now = boottime_ns();
    let mut room = COMMANDS_MAX;
    let mut list = Vec::with_capacity(pids.len());
    for pid in pids {
        if let Some(process) = process(pid, now, room.min(COMMAND_MAX)) {
            room -= process.command.len().min(room);
            list.push(process);
        }
    }
    list
}

/// Processes of the group and of the groups below it.
pub fn members(group: &Path, depth: usize, pids: &mut Vec<i32>) {
    let list = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    pids.extend(list.lines().filter_map(|pid| pid.parse::<i32>().ok()));
    if depth == DEPTH_MAX {
        return;
    }
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            members(&entry.path(), depth + 1, pids);
        }
    }
}

fn process(pid: i32, now_ns: u64, command_max: usize) -> Option<Process> {
    let directory = format!("/proc/{pid}");
    let uid = fs::metadata(&directory).ok()?.uid();
    let stat = fs::read(format!("{directory}/stat")).ok()?;
    let stat = Stat::parse(&String::from_utf8_lossy(&stat))?;
    let mut command = Vec::new();
    let file = fs::File::open(format!("{directory}/cmdline")).ok()?;
    file.take(command_max as u64)
        .read_to_end(&mut command)
        .ok()?;
    Some(Process {
        pid,
        parent: stat.parent,
        uid,
        cpu_usec: stat.cpu_ticks * 1_000_000 / TICKS,
        age_seconds: (now_ns / 1_000_000_000).saturating_sub(stat.start_ticks / TICKS),
        command: printable(&command, &stat.name, command_max),
        state: stat.state,
    })
}

/// Arguments separated by spaces; a process without arguments is shown by its name in brackets, as ps(1) does.
fn printable(arguments: &[u8], name: &str, max: usize) -> String {
    let arguments = arguments.strip_suffix(&[0]).unwrap_or(arguments);
    let mut text = if arguments.is_empty() {
        format!("[{name}]")
    } else {
        String::from_utf8_lossy(arguments).replace('\0', " ")
    };
    while text.len() > max {
        text.pop();
    }
    text
}

/// Fields of /proc/<pid>/stat (`proc_pid_stat(5)`).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: String,
    parent: i32,
    cpu_ticks: u64,
    start_ticks: u64,
}

impl Stat {
    /// The name is in parentheses and may itself contain any character.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once('(')?;
        let (name, rest) = rest.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            name: name.replace('\0', ""),
            state: (*fields.first()?).to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            cpu_ticks: number(11)?.saturating_add(number(12)?),
            start_ticks: number(19)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 0 0 20 0 1 0 1234 5 6";
        let expected = Stat {
            name: "a) b (c)".to_owned(),
            state: "S".to_owned(),
            parent: 1,
            cpu_ticks: 110,
            start_ticks: 1234,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (x) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn commands_are_one_short_line() {
        assert_eq!(printable(b"sleep\x001\0", "sleep", 99), "sleep 1");
        assert_eq!(printable(b"", "kthread", 99), "[kthread]");
        assert_eq!(printable(b"\xff\xff\xff", "x", 4), "\u{fffd}");
    }

    #[test]
    fn this_process_is_seen() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = process(pid, boottime_ns(), COMMAND_MAX).unwrap();
        assert!(process.command.contains("vminitd"));
        assert_eq!(process.uid, rustix::process::getuid().as_raw());
    }
}
