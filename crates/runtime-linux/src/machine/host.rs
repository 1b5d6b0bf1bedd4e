//! What a machine is started with on this host, and what is done before its guest says anything that it could have made up.

use container_api::{Error, Kind};
use container_engine::{Engine, FindVmmError, HostMemory, INSTALL, Vm};
use container_resource::bundle::{Boot, Bundle};
use container_resource::settings::VmmConfinement;

use crate::confinement;

/// Where a machine runs.
#[derive(Clone, Debug, Default)]
pub enum Host {
    /// Under the VMM of this host. The process is confined: it has nothing more to do than to serve its machine.
    #[default]
    Own,
    /// Under a test's VMM. The process is that of all tests.
    #[cfg(test)]
    Scripted(Engine),
}

impl Host {
    /// The engine, as strict as `boot` wants it.
    pub async fn engine(&self, boot: &Boot) -> Result<Engine, Error> {
        match self {
            Self::Own => {
                let engine = Engine::open(&boot.cache).await.map_err(find_error)?;
                Ok(
                    engine
                        .accept_less_confinement(boot.vmm_confinement == VmmConfinement::Optional),
                )
            }
            #[cfg(test)]
            Self::Scripted(engine) => Ok(engine.clone()),
        }
    }

    /// Confines this process, which has nothing more to do than to serve `vm`. What that costs the host it may still ask.
    pub fn confine(
        &self,
        vm: &Vm,
        bundle: &Bundle,
        boot: &Boot,
    ) -> Result<Option<HostMemory>, Error> {
        let memory = HostMemory::open(vm)
            .inspect_err(|error| tracing::debug!("the machine's memory is not told: {error:#}"))
            .ok();
        match self {
            Self::Own => enter(bundle, boot)?,
            #[cfg(test)]
            Self::Scripted(_) => {}
        }
        Ok(memory)
    }
}

fn enter(bundle: &Bundle, boot: &Boot) -> Result<(), Error> {
    let accept_less = boot.vmm_confinement == VmmConfinement::Optional;
    let confined = confinement::enter(bundle.directory(), accept_less).map_err(|error| {
        Error::caused(Kind::Unsupported, error)
            .context("confine the runtime helper")
            .with_hint("Linux 5.13 and newer can; `landlock` must be among the kernel's `lsm=`.")
    })?;
    tracing::debug!("{confined:?}");
    Ok(())
}

/// The VMM is missing or too old.
fn find_error(error: FindVmmError) -> Error {
    Error::caused(Kind::Unsupported, error)
        .with_hint(format!("{INSTALL} installs one that will do."))
}
