//! Exec: a further process in a running container.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::{Agent, AgentError, check_id};
use crate::container::Cgroup;
use crate::launch::ProcessPlan;
use crate::process::{self, Birth, Inside, Process, SpawnError, StdioOptions};
use crate::spec;

impl Agent {
    /// Runs `process` in the container under the name `id`; `apart`, in a control group that can be ended whole.
    pub async fn exec(
        &self,
        id: String,
        process: spec::Process,
        user: &str,
        stdin: bool,
        apart: bool,
    ) -> Result<Arc<Process>, AgentError> {
        check_id(&id)?;
        self.state().processes.reserve(&id)?;
        let group = apart.then_some(id.as_str());
        match self.exec_reserved(process, user, stdin, group).await {
            Ok(process) => {
                self.state().processes.insert(id, Arc::clone(&process));
                Ok(process)
            }
            Err(error) => {
                self.state().processes.release(&id);
                // What fails while everything goes fails of that.
                let ending = self
                    .container()
                    .is_ok_and(|container| container.leader.is_ending());
                Err(if ending { AgentError::Stopping } else { error })
            }
        }
    }

    async fn exec_reserved(
        &self,
        process: spec::Process,
        user: &str,
        stdin: bool,
        apart: Option<&str>,
    ) -> Result<Arc<Process>, AgentError> {
        let container = self.container()?;
        let leader = container.leader.pidfd().ok_or(AgentError::Stopping)?;
        if container.cgroup.is_to_be_frozen() {
            // The process would stand still before it could run anything.
            return Err(AgentError::Frozen);
        }
        let plan = ProcessPlan::new(process, user, container.seccomp.clone(), false)?;
        let stdio = StdioOptions {
            terminal: plan.terminal,
            stdin,
        };
        let inside = Inside {
            leader: leader.get_ref(),
            own: &self.own,
            namespaces: container.namespaces,
        };
        if let Some(id) = apart {
            let group = container.cgroup.apart(id);
            let directory = group.create().map_err(AgentError::Cgroup)?;
            let birth = process::join(stdio, &plan, inside, directory.as_fd()).await;
            let process = birth
                .map_err(AgentError::Spawn)
                .and_then(|birth| adopt(birth, &container.cgroup));
            if let Ok(process) = &process {
                let process = Arc::clone(process);
                tokio::spawn(async move {
                    process.ended().await;
                    group.remove();
                });
            } else {
                group.remove();
            }
            return process;
        }
        let cgroup = container.cgroup.directory();
        let mut birth = process::join(stdio, &plan, inside, cgroup).await;
        if birth.as_ref().is_err_and(SpawnError::is_unfit_group) {
            // The container has made groups of its own and moved into one, or removed the one that it began in.
            let pid = container.leader.pid;
            let group = Cgroup::directory_of(pid).map_err(AgentError::Cgroup)?;
            birth = process::join(stdio, &plan, inside, group.as_fd()).await;
        }
        adopt(birth?, &container.cgroup)
    }
}

/// Watches a process of the container in `cgroup`.
pub fn adopt(birth: Birth, cgroup: &Arc<Cgroup>) -> Result<Arc<Process>, AgentError> {
    let cgroup = Arc::clone(cgroup);
    Process::new(birth, move || cgroup.oom_kills() > 0).map_err(AgentError::Watch)
}
