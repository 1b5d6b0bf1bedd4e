//! The system as a whole.

use std::time::Duration;

use container_api::api::system_server;
use container_api::api::{
    ListTemplatesReply, ListTemplatesRequest, PingReply, PingRequest, PruneTemplatesReply,
    PruneTemplatesRequest, ShutdownReply, ShutdownRequest,
};
use container_api::call::to_the_end;
use container_api::log;
use container_api::roots::Roots;
use container_api::{Error, Kind, api};
use tonic::{Request, Response, Status};

use super::containers::to_json;
use crate::images;
use crate::shutdown::Shutdown;
use crate::trouble::Trouble;

/// The calls about the system.
#[derive(Clone, Debug)]
pub struct System {
    roots: Roots,
    shutdown: Shutdown,
}

impl System {
    /// Those of the system in `roots`, which ends as `shutdown` says.
    pub fn new(roots: Roots, shutdown: Shutdown) -> Self {
        Self { roots, shutdown }
    }

    /// The helpers that end again and again.
    fn troubles(&self) -> Vec<api::Trouble> {
        let ours = self.shutdown.images.trouble();
        let ours = ours.map(|trouble| (images::PLUGIN.to_owned(), trouble));
        let all = ours
            .into_iter()
            .chain(self.shutdown.networks.troubles())
            .chain(self.shutdown.auxiliary.troubles());
        let told = |(service, Trouble { failures, message })| api::Trouble {
            service,
            failures,
            message,
        };
        all.map(told).collect()
    }
}

#[tonic::async_trait]
impl system_server::System for System {
    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingReply>, Status> {
        Ok(Response::new(PingReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("CONTAINER_COMMIT")
                .unwrap_or("unspecified")
                .to_owned(),
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
            .to_owned(),
            app_name: "container-apiserver".to_owned(),
            app_root: self.roots.app.display().to_string(),
            install_root: self.roots.install.display().to_string(),
            log_root: if log::is_journal() {
                String::new()
            } else {
                self.roots.log.display().to_string()
            },
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            troubles: self.troubles(),
        }))
    }

    async fn shutdown(
        &self,
        request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownReply>, Status> {
        let grace = Duration::from_millis(request.into_inner().grace_ms.into());
        // Half of it is not taken back when the client goes: no policy starts anything any more.
        let shutdown = self.shutdown.clone();
        to_the_end(async move { shutdown.run(grace).await }).await?;
        Ok(Response::new(ShutdownReply {}))
    }

    async fn list_templates(
        &self,
        _: Request<ListTemplatesRequest>,
    ) -> Result<Response<ListTemplatesReply>, Status> {
        let templates =
            self.shutdown.templates.list().map_err(|error| {
                Error::caused(Kind::Internal, error).context("list the templates")
            })?;
        Ok(Response::new(ListTemplatesReply {
            templates: to_json(&templates)?,
        }))
    }

    async fn prune_templates(
        &self,
        _: Request<PruneTemplatesRequest>,
    ) -> Result<Response<PruneTemplatesReply>, Status> {
        let pruned = self.shutdown.templates.prune().await.map_err(|error| {
            Error::caused(Kind::Internal, error).context("delete the templates")
        })?;
        let reclaimed_bytes = pruned.iter().map(|template| template.size_in_bytes).sum();
        let keys = pruned.into_iter().map(|template| template.id).collect();
        Ok(Response::new(PruneTemplatesReply {
            keys,
            reclaimed_bytes,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use container_api::api::system_server::System as _;
    use container_resource::settings::NetworkSettings;
    use futures::FutureExt;
    use tokio::sync::Notify;

    use super::*;
    use crate::auxiliary::Auxiliary;
    use crate::containers::Containers;
    use crate::images::Images;
    use crate::networks::Networks;
    use crate::standby::Standby;
    use crate::templates::Templates;

    #[tokio::test]
    async fn the_system_ends_though_who_asked_for_it_is_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = Roots::new(scratch.path().into(), "/p".into(), None).unwrap();
        let containers = Containers::idle(&roots);
        let images = Images::new(roots.clone(), false);
        let networks = Networks::new(&roots, NetworkSettings::default(), false);
        let standby = Standby::new(&roots, &networks, false, false);
        let templates = Templates::new(&roots, &networks, standby);
        let stop = Arc::new(Notify::new());
        let shutdown = Shutdown {
            auxiliary: Auxiliary::find(&roots),
            templates,
            containers,
            networks,
            images,
            stop: stop.clone(),
        };
        let system = System::new(roots, shutdown);
        let call = system.shutdown(Request::new(ShutdownRequest { grace_ms: 0 }));
        assert!(call.now_or_never().is_none());
        stop.notified().await;
    }
}
