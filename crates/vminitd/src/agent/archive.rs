//! Archive: an operation on the container's files.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use container_archive::operation::Operation;
use rustix::fs::{Mode, OFlags, open};

use super::exec::adopt;
use super::{Agent, AgentError, Container, check_id};
use crate::container::cgroup;
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
        let operation = Operation::parse(words).ok_or(AgentError::Operation)?;
        let container = self.container()?;
        self.state().processes.reserve(&id)?;
        let standstill = operation.wants_standstill();
        let begun = async {
            if standstill {
                self.state().standstills += 1;
                self.settle(&container).await?;
            }
            begin(&container, &operation, words).await
        };
        match begun.await {
            Ok(process) => {
                self.state().processes.insert(id, Arc::clone(&process));
                if standstill {
                    let (agent, process) = (Arc::clone(self), Arc::clone(&process));
                    tokio::spawn(async move {
                        process.ended().await;
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

async fn begin(
    container: &Arc<Container>,
    operation: &Operation,
    words: &[Vec<u8>],
) -> Result<Arc<Process>, AgentError> {
    let leader = container.leader.pidfd().ok_or(AgentError::Stopping)?;
    // Not the container's group: that may be frozen, and what is written is not its doing.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let group = open(cgroup::ROOT, flags, Mode::empty());
    let group = group.map_err(|error| AgentError::Cgroup(error.into()))?;
    let stdin = operation.reads();
    let birth = process::archive(stdin, words, leader.get_ref(), group.as_fd()).await?;
    adopt(birth, &container.cgroup)
}
