//! Start: from a bare kernel to a running container.

use std::path::Path;
use std::sync::Arc;

use container_api::guest::{StartReply, StartRequest, Timeline};

use super::archive;
use super::exec::adopt;
use super::trim::trim;
use super::{Agent, AgentError, Container, check_id};
use crate::boot::UPPER;
use crate::clock::{add_entropy, boottime_ns, set_realtime};
use crate::container::volumes::{is_directory, is_empty};
use crate::container::{
    Cgroup, Leftover, forgive_standstill, guest_device, mount_root, mount_volumes, settings,
    trim_cache,
};
use crate::launch::ContainerPlan;
use crate::network;
use crate::process::{self, StdioOptions};
use crate::sockets::Sockets;
use crate::spec::{Resources, Spec};

/// Bytes: what the kernel's generator is seeded with.
const ENTROPY_MIN: usize = 32;

impl Agent {
    /// Builds the container and runs its first process. What fails half-way is not undone: the host ends the
    /// machine then.
    pub async fn start(&self, request: StartRequest) -> Result<StartReply, AgentError> {
        let request_ns = boottime_ns();
        check_id(&request.id)?;
        if request.entropy.len() < ENTROPY_MIN {
            return Err(AgentError::Missing("entropy of 32 bytes"));
        }
        if std::mem::replace(&mut self.state().started, true) {
            return Err(AgentError::Started);
        }
        set_realtime(request.realtime_ns).map_err(AgentError::Clock)?;
        add_entropy(&request.entropy).map_err(AgentError::Entropy)?;
        let mut spec: Spec = serde_json::from_slice(&request.oci_spec).map_err(AgentError::Json)?;
        // Set in the container's namespaces: each namespace of System V IPC has its own.
        spec.linux.sysctl.extend(request.sysctls);
        let root = request.root.ok_or(AgentError::Missing("root"))?;
        spec.root.readonly |= root.read_only;
        for device in &request.devices {
            let (nodes, rules) = guest_device(device)?;
            spec.linux.devices.extend(nodes);
            spec.linux.resources.devices.extend(rules);
        }
        let resources = std::mem::take(&mut spec.linux.resources);
        let mut plan = ContainerPlan::new(
            spec,
            request.hostname,
            &request.user,
            request.init,
            request.files,
        )?;
        plan.idle = request.idle;
        plan.process.rehearsal = request.rehearsal;
        let limits = settings(&resources)?;
        let interfaces = network::set_up(&request.interfaces)?;
        let network_ready_ns = if interfaces.is_empty() {
            0
        } else {
            boottime_ns()
        };
        self.state().interfaces = interfaces;
        self.state().has_upper_disk = root.upper_disk.is_some();
        let root = mount_root(&root)?;
        let volumes = mount_volumes(&request.volumes, &self.growth)?;
        let written = request.volumes.iter().zip(&volumes);
        let written = written.filter(|(volume, _)| !volume.read_only);
        let written = written.map(|(_, place)| place.as_path());
        self.state().leftover = Leftover::new(written.chain([Path::new(UPPER)]));
        let sockets = Sockets::open(&request.host_sockets, request.published_sockets)?;
        let root_mounted_ns = boottime_ns();
        let cgroup =
            Cgroup::create(&request.id, plan.may_divide_its_group()).map_err(AgentError::Cgroup)?;
        for setting in &limits {
            cgroup.set(setting).map_err(|source| AgentError::Setting {
                file: setting.file.clone(),
                value: setting.value.clone(),
                source,
            })?;
        }
        let Resources { devices, .. } = &resources;
        cgroup
            .restrict_devices(devices)
            .map_err(AgentError::Devices)?;
        let cgroup = Arc::new(cgroup);
        for (volume, place) in request.volumes.iter().zip(&volumes) {
            if volume.read_only || !is_empty(place) {
                continue;
            }
            for from in &volume.fill_from {
                // A process that finds nothing to do costs an emulator a tenth of a start.
                if is_directory(&root, from) && is_empty(place) {
                    archive::fill(&root, from, place, &cgroup).await?;
                }
            }
        }
        let stdio = StdioOptions {
            terminal: plan.process.terminal,
            stdin: request.stdin,
        };
        let birth = if plan.idle {
            process::idle(&plan, &root, &cgroup).await?
        } else {
            process::first(stdio, &plan, &root, &cgroup).await?
        };
        let process_started_ns = boottime_ns();
        if !self.growth.is_done() {
            let growth = Arc::clone(&self.growth);
            tokio::task::spawn_blocking(move || growth.finish());
        }
        tokio::spawn(trim_cache(Arc::downgrade(&cgroup)));
        tokio::spawn(forgive_standstill(Arc::downgrade(&cgroup)));
        let leader = adopt(birth, &cgroup)?;
        if !plan.idle {
            tokio::spawn(trim(Arc::downgrade(&cgroup), Arc::clone(&leader)));
        }
        let pid = leader.pid.as_raw_nonzero().get();
        let container = Container {
            cgroup,
            namespaces: plan.namespaces,
            leader: Arc::clone(&leader),
            seccomp: plan.process.seccomp,
            sockets: Arc::new(sockets),
        };
        let mut state = self.state();
        state.processes.insert(request.id, leader);
        state.container = Some(Arc::new(container));
        state.root = Some(root);
        Ok(StartReply {
            pid,
            timeline: Some(Timeline {
                request_ns,
                root_mounted_ns,
                process_started_ns,
                network_ready_ns,
            }),
        })
    }
}
