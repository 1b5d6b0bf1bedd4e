//! Machines that were saved while they waited for their first request.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use container_api::guest::ProcessesRequest;
use container_api::guest_channel::Guest;
use container_api::{Chain, Error, Kind, hello};
use container_engine::{Engine, Template, VmSpec};
use container_resource::bundle::{Boot, Timeline};
use container_resource::container::ContainerConfiguration;
use serde::Deserialize;

use super::boot::{HELLO_TIMEOUT, start_error};
use super::nics::nics;
use super::{Host, Machine, Origin, spec};
use crate::limits::limit;

/// How long a guest takes to report its free memory to the host, which it does 2 s after it was freed
/// (`PAGE_REPORTING_DELAY` of the kernel's `mm/page_reporting.c`). What was reported before a machine was saved, no machine
/// of the template reports again.
pub const SETTLED: Duration = limit(3);

/// How long a restored guest may take to answer a call that has nothing to do.
const ANSWER_TIMEOUT: Duration = limit(10);

/// What a template is made, or a machine prepared, for: on the standard input of `make-template` and `standby`.
#[derive(Debug, Deserialize)]
pub struct TemplateRequest {
    /// A container whose machine would have used it.
    pub configuration: ContainerConfiguration,
    /// What that container was started with.
    pub boot: Boot,
    /// Where the machine runs.
    #[serde(skip)]
    pub(crate) host: Host,
}

/// A request, with what this host has for it.
#[derive(Debug)]
pub struct Resolved {
    /// What machines are started with.
    pub engine: Engine,
    /// The machine, with empty disks.
    pub shape: VmSpec,
    /// The name that machines of this shape have in common.
    pub key: String,
    /// Where their template is.
    pub directory: PathBuf,
}

impl TemplateRequest {
    /// Looks at what is there now. The network interfaces of the request have the `taps`, which need not be on a network.
    pub async fn resolve(&self, taps: Vec<OwnedFd>) -> Result<Resolved, Error> {
        let engine = self.host.engine(&self.boot).await?;
        let mut shape = spec::shape(&self.configuration, &self.boot, &engine)?;
        shape
            .devices
            .extend(nics(&self.boot.interfaces, taps, engine.accelerator())?);
        let key = key(&engine, &shape)?;
        let directory = spec::templates(&self.boot.cache).join(&key);
        Ok(Resolved {
            engine,
            shape,
            key,
            directory,
        })
    }
}

/// Boots a machine up to its first words and saves it, with the `taps` of the request's network interfaces; nothing is done where a
/// template exists.
pub async fn make(request: &TemplateRequest, taps: Vec<OwnedFd>) -> Result<(), Error> {
    let Resolved {
        engine,
        shape: spec,
        directory,
        ..
    } = request.resolve(taps).await?;
    if engine.open_template(&directory, &spec).is_ok() {
        return Ok(());
    }
    // A damaged or foreign one is of no use to anybody.
    Template::remove(&directory).map_err(|error| {
        Error::caused(Kind::Internal, error).context("remove the damaged template")
    })?;
    if let Some(parent) = directory.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|error| Error::caused(Kind::Internal, error).context("make a directory"))?;
    }
    let mut saveable = engine.start_saveable(&spec).await.map_err(start_error)?;
    let mut channel = saveable
        .vm
        .take_channel()
        .ok_or_else(|| Error::new(Kind::Internal, "the guest channel was taken"))?;
    tokio::time::timeout(HELLO_TIMEOUT, hello::read_line(&mut channel))
        .await
        .map_err(|_| Error::new(Kind::Timeout, "the guest did not announce itself"))?
        .map_err(|error| Error::caused(Kind::Internal, error))?;
    tokio::time::sleep(SETTLED).await;
    saveable
        .save(&directory)
        .await
        .map_err(|error| Error::caused(Kind::Internal, error).context("save the machine"))
}

/// Starts `spec` from its template, if there is one that fits. Gives nothing when the machine must boot: that
/// is never an error of the container.
pub async fn restore(
    engine: &Engine,
    spec: &VmSpec,
    cache: &Path,
    timeline: &mut Timeline,
) -> Option<Machine> {
    let directory = spec::templates(cache).join(key(engine, spec).ok()?);
    let template = match engine.open_template(&directory, spec) {
        Ok(template) => template,
        Err(error) => {
            tracing::info!("no template: {}", Chain(&error));
            return None;
        }
    };
    timeline.reached("template opened");
    match start(engine, &template, spec).await {
        Ok(machine) => {
            timeline.reached("machine restored");
            Some(machine)
        }
        Err(error) => {
            tracing::warn!("the template does not restore: {error:#}");
            discard(&directory);
            None
        }
    }
}

/// Removes a template that does not restore: the next one may, and this one would cost every start of its shape the same
/// time.
pub fn discard(directory: &Path) {
    if let Err(error) = Template::remove(directory) {
        tracing::warn!("cannot remove {}: {error:#}", directory.display());
    }
}

/// Starts `spec` from `template`.
pub async fn start(engine: &Engine, template: &Template, spec: &VmSpec) -> Result<Machine, Error> {
    let mut vm = engine
        .restore(template, spec)
        .await
        .map_err(|error| Error::caused(Kind::Internal, error))?;
    vm.note_on_console(&boot_of(template));
    let channel = vm
        .take_channel()
        .ok_or_else(|| Error::new(Kind::Internal, "the guest channel was taken"))?;
    let guest = Guest::connect(channel)
        .await
        .map_err(|error| Error::caused(Kind::Internal, error))?;
    // Whatever it says: it is alive, and the machine worth more than a cold boot.
    let mut calls = guest.calls();
    let answer = calls.processes(ProcessesRequest {});
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Err(status)) if Error::from(status.clone()).kind == Kind::Unavailable => {
            return Err(Error::of_guest(status));
        }
        Ok(_) => {}
        Err(_) => return Err(Error::new(Kind::Timeout, "the restored guest is silent")),
    }
    Ok(Machine {
        vm,
        guest,
        shares: None,
        origin: Origin::Template,
    })
}

/// What stands in the log of a machine's console for the boot that it did not have.
pub fn boot_of(template: &Template) -> Vec<u8> {
    let said = template.console();
    let mut note = b"[started from a template. Its guest said, when it was made:]\n".to_vec();
    note.extend_from_slice(&said);
    if said.last().is_some_and(|&last| last != b'\n') {
        note.push(b'\n');
    }
    note.extend_from_slice(b"[since this machine's own start:]\n");
    note
}

/// The name that machines of the shape of `spec` have in common.
pub fn key(engine: &Engine, spec: &VmSpec) -> Result<String, Error> {
    engine
        .template_key(spec)
        .map_err(|error| Error::caused(Kind::Internal, error).context("name the template"))
}
