//! Calls about volumes.

use std::sync::Arc;

use container_api::call::to_the_end;
use container_api::volume::{
    ArchiveReply, ArchiveRequest, CreateReply, CreateRequest, DeleteReply, DeleteRequest,
    ListReply, ListRequest, PruneReply, PruneRequest, ResizeReply, ResizeRequest, Usage,
    volumes_server,
};
use container_api::{Error, Kind};
use tonic::{Request, Response, Status};

use crate::containers::Containers;
use crate::volumes::usage;

/// The calls about volumes.
#[derive(Debug)]
pub struct Service(pub Arc<Containers>);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl volumes_server::Volumes for Service {
    async fn create(&self, request: Request<CreateRequest>) -> Reply<CreateReply> {
        let request = serde_json::from_slice(&request.into_inner().request)
            .map_err(|error| Error::chain(Kind::InvalidArgument, &error).context("volume"))?;
        let containers = self.0.clone();
        let volume = to_the_end(async move { containers.create_volume(request).await }).await?;
        let volume =
            serde_json::to_vec(&volume).map_err(|error| Error::chain(Kind::Internal, &error))?;
        Ok(Response::new(CreateReply {
            volume: volume.into(),
        }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Reply<ListReply> {
        let names = request.into_inner().names;
        let mut volumes =
            self.0.volumes.list().map_err(|error| {
                Error::chain(Kind::Internal, &error).context("list the volumes")
            })?;
        volumes.retain(|volume| names.is_empty() || names.contains(&volume.id));
        let usage = usage(&self.0, &volumes).into_iter();
        let usage = usage.map(|(allocated_bytes, used)| Usage {
            allocated_bytes,
            used,
        });
        let usage = usage.collect();
        let volumes =
            serde_json::to_vec(&volumes).map_err(|error| Error::chain(Kind::Internal, &error))?;
        Ok(Response::new(ListReply {
            volumes: volumes.into(),
            usage,
        }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Reply<DeleteReply> {
        let name = request.into_inner().name;
        let containers = self.0.clone();
        let reclaimed_bytes =
            to_the_end(async move { containers.delete_volume(&name).await }).await?;
        Ok(Response::new(DeleteReply { reclaimed_bytes }))
    }

    async fn prune(&self, _: Request<PruneRequest>) -> Reply<PruneReply> {
        let containers = self.0.clone();
        let (names, reclaimed_bytes) =
            to_the_end(async move { containers.prune_volumes().await }).await?;
        Ok(Response::new(PruneReply {
            names,
            reclaimed_bytes,
        }))
    }

    async fn archive(&self, request: Request<ArchiveRequest>) -> Reply<ArchiveReply> {
        let ArchiveRequest {
            name,
            words,
            stdio,
            create,
        } = request.into_inner();
        let lent = self.0.lent(stdio)?;
        let containers = self.0.clone();
        let archive = async move { containers.archive_volume(&name, &words, create, lent).await };
        let exit_code = to_the_end(archive).await?;
        Ok(Response::new(ArchiveReply { exit_code }))
    }

    async fn resize(&self, request: Request<ResizeRequest>) -> Reply<ResizeReply> {
        let ResizeRequest { name, size_bytes } = request.into_inner();
        let containers = self.0.clone();
        to_the_end(async move { containers.resize_volume(&name, size_bytes).await }).await?;
        Ok(Response::new(ResizeReply {}))
    }
}
