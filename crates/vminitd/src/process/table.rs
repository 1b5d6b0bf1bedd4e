//! The processes that were asked for, by the ids that the host gave them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use thiserror::Error;

use super::lifetime::Process;

/// Processes that run at a time.
const RUNNING_MAX: usize = 4096;
/// Ended processes that are remembered: after somebody has waited for them, and in any case.
const ENDED_KEPT: usize = 128;
const ENDED_MAX: usize = 1024;

/// Why a process is not in the table.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TableError {
    /// The id is unknown, or its process ended long ago.
    #[error("there is no process {0:?}")]
    Unknown(String),
    /// The id was used before.
    #[error("the process {0:?} exists already")]
    Exists(String),
    /// Too many run at a time.
    #[error("the container has {RUNNING_MAX} processes of ours already")]
    Full,
}

/// The table.
#[derive(Debug, Default)]
pub struct Table {
    processes: HashMap<String, Arc<Process>>,
    /// Ids of processes that are being started.
    reserved: HashSet<String>,
    /// Ids of the others in the order of their start.
    order: VecDeque<String>,
}

impl Table {
    /// Sets `id` aside for a process that is about to start.
    pub fn reserve(&mut self, id: &str) -> Result<(), TableError> {
        if self.processes.contains_key(id) || self.reserved.contains(id) {
            return Err(TableError::Exists(id.to_owned()));
        }
        let ended = self.forget();
        if self.processes.len() - ended + self.reserved.len() >= RUNNING_MAX {
            return Err(TableError::Full);
        }
        self.reserved.insert(id.to_owned());
        Ok(())
    }

    /// Gives a reserved id up: its process did not start.
    pub fn release(&mut self, id: &str) {
        self.reserved.remove(id);
    }

    /// Adds a process under its reserved id.
    pub fn insert(&mut self, id: String, process: Arc<Process>) {
        self.reserved.remove(&id);
        self.order.push_back(id.clone());
        self.processes.insert(id, process);
    }

    /// Finds a process.
    pub fn get(&self, id: &str) -> Result<Arc<Process>, TableError> {
        self.processes
            .get(id)
            .cloned()
            .ok_or_else(|| TableError::Unknown(id.to_owned()))
    }

    /// Every process that is remembered.
    pub fn all(&self) -> Vec<Arc<Process>> {
        self.processes.values().cloned().collect()
    }

    /// Drops the oldest ended processes when there are too many; how many ended ones are left. The first
    /// process, which is the container's, is never dropped.
    fn forget(&mut self) -> usize {
        let mut ended = self
            .processes
            .values()
            .filter(|process| process.exit().is_some())
            .count();
        let mut index = 1;
        while ended > ENDED_KEPT && index < self.order.len() {
            let id = &self.order[index];
            let drop = self.processes.get(id).is_some_and(|process| {
                process.exit().is_some() && (process.was_waited_for() || ended > ENDED_MAX)
            });
            if drop {
                self.processes.remove(id);
                self.order.remove(index);
                ended -= 1;
            } else {
                index += 1;
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Birth;
    use crate::watch::watch;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::io::Interest;

    /// A process of this machine that ends at once with `code`.
    #[expect(
        clippy::zombie_processes,
        reason = "the table's process is what waits for it"
    )]
    async fn ended(code: &str) -> Arc<Process> {
        let child = std::process::Command::new("/bin/sh")
            .args(["-c", &format!("exit {code}")])
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let (reader, _) = rustix::pipe::pipe().unwrap();
        let birth = Birth {
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty()).unwrap(),
            stdin: None,
            stdout: Arc::new(watch(reader, Interest::READABLE).unwrap()),
            stderr: None,
            terminal: None,
        };
        let process = Process::new(birth, || false).unwrap();
        process.ended().await;
        process
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_kernel_tells_how_it_ended() {
        let process = ended("7").await;
        assert_eq!(process.wait().await.code, 7);
        assert!(process.was_waited_for() && process.pidfd().is_none());
        let error = process.signal(9).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
        assert_eq!(ended("$(kill -9 $$)").await.exit().unwrap().code, 137);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_id_is_used_once() {
        let mut table = Table::default();
        let taken = Err(TableError::Exists("a".to_owned()));
        table.reserve("a").unwrap();
        assert_eq!(table.reserve("a"), taken);
        table.release("a");
        table.reserve("a").unwrap();
        table.insert("a".to_owned(), ended("0").await);
        assert_eq!(table.reserve("a"), taken);
        assert!(table.get("a").is_ok());
        assert_eq!(
            table.get("b").unwrap_err(),
            TableError::Unknown("b".to_owned())
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_ended_are_forgotten_once_waited_for() {
        let mut table = Table::default();
        let process = ended("0").await;
        for number in 0..=ENDED_KEPT {
            table.insert(number.to_string(), Arc::clone(&process));
        }
        table.reserve("unwaited").unwrap();
        assert!(table.get("1").is_ok());
        process.wait().await;
        table.reserve("next").unwrap();
        assert!(table.get("0").is_ok(), "the container's own process");
        assert!(table.get("1").is_err());
        assert!(table.get("2").is_ok());
    }
}
