//! Archive: an operation on the container's files.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use container_api::streams::StandardStream;
use container_archive::operation::{Operation, Subject, Task};
use rustix::fs::{Mode, OFlags, open};

use super::exec::adopt;
use super::{Agent, AgentError, Container, check_id};
use crate::archive::{FILL, file_system, release};
use crate::container::{Cgroup, cgroup};
use crate::fatal::say;
use crate::process::{self, Process};

impl Agent {
    /// Begins the operation that `words` ask for, as the process `id`. One that wants a standstill has the container frozen until
    /// it has ended.
    pub async fn archive(
        self: &Arc<Self>,
        id: String,
        words: &[Vec<u8>],
    ) -> Result<Arc<Process>, AgentError> {
        check_id(&id)?;
        let task = Task::parse(words).ok_or(AgentError::Operation)?;
        let container = self.container()?;
        let hold = match task.operation {
            Operation::Hold => Some(Hold::claim(self, task.subject)?),
            _ => None,
        };
        self.state().processes.reserve(&id)?;
        let standstill = task.operation.wants_standstill();
        let begun = async {
            if standstill {
                self.state().standstills += 1;
                self.settle(&container).await?;
            }
            begin(&container, &task.operation, words).await
        };
        match begun.await {
            Ok(process) => {
                self.state().processes.insert(id, Arc::clone(&process));
                if standstill {
                    let (agent, process) = (Arc::clone(self), Arc::clone(&process));
                    tokio::spawn(async move {
                        process.ended().await;
                        if let Some(hold) = hold {
                            release(&file_system(hold.subject));
                        }
                        agent.stands_no_longer(&container).await;
                    });
                }
                Ok(process)
            }
            Err(error) => {
                self.state().processes.release(&id);
                if standstill {
                    self.stands_no_longer(&container).await;
                }
                Err(error)
            }
        }
    }

    async fn stands_no_longer(&self, container: &Container) {
        {
            let mut state = self.state();
            state.standstills = state.standstills.saturating_sub(1);
        }
        match self.settle(container).await {
            Ok(()) | Err(AgentError::Stopping) => {}
            Err(error) => say(&format!("cannot thaw the container: {error}")),
        }
    }
}

/// A file system that one operation holds, or is about to.
struct Hold {
    agent: Arc<Agent>,
    subject: Subject,
}

impl Hold {
    fn claim(agent: &Arc<Agent>, subject: Subject) -> Result<Self, AgentError> {
        let mut state = agent.state();
        if state.held.contains(&subject) {
            return Err(AgentError::Held);
        }
        state.held.push(subject);
        let agent = Arc::clone(agent);
        Ok(Self { agent, subject })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let subject = self.subject;
        self.agent.state().held.retain(|held| *held != subject);
    }
}

async fn begin(
    container: &Arc<Container>,
    operation: &Operation,
    words: &[Vec<u8>],
) -> Result<Arc<Process>, AgentError> {
    let leader = container.leader.pidfd().ok_or(AgentError::Stopping)?;
    let group = group()?;
    let stdin = operation.reads();
    let birth = process::archive(stdin, words, leader.get_ref(), group.as_fd()).await?;
    adopt(birth, &container.cgroup)
}

/// The control group of operations. Not the container's: that may be frozen, and what is written is not its doing.
pub(super) fn group() -> Result<OwnedFd, AgentError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let group = open(cgroup::ROOT, flags, Mode::empty());
    group.map_err(|error| AgentError::Cgroup(error.into()))
}

/// Fills the empty volume that is mounted at `volume` with what `root` has at `from`.
pub(super) async fn fill(
    root: &OwnedFd,
    from: &str,
    volume: &Path,
    cgroup: &Arc<Cgroup>,
) -> Result<(), AgentError> {
    let group = group()?;
    let words = [FILL, from.as_bytes(), volume.as_os_str().as_bytes()].map(<[u8]>::to_vec);
    let birth = process::archive(false, &words, root, group.as_fd()).await?;
    let process = adopt(birth, cgroup)?;
    process.ended().await;
    if process.exit().is_some_and(|exit| exit.code == 0) {
        return Ok(());
    }
    let said = match process::output(&process, StandardStream::Stderr) {
        Some(mut errors) => errors.next().await.ok().flatten().unwrap_or_default(),
        None => Bytes::new(),
    };
    let reason = String::from_utf8_lossy(&said).trim().to_owned();
    Err(AgentError::Fill(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_held_once() {
        let agent = Agent::new().unwrap();
        let root = Hold::claim(&agent, Subject::Root).unwrap();
        let _volume = Hold::claim(&agent, Subject::Volume(0)).unwrap();
        let again = Hold::claim(&agent, Subject::Root);
        assert!(matches!(again, Err(AgentError::Held)));
        drop(root);
        assert!(Hold::claim(&agent, Subject::Root).is_ok());
        assert!(Hold::claim(&agent, Subject::Volume(0)).is_err());
    }
}
