//! Calls about volumes.

use std::sync::Arc;

use container_api::call::to_the_end;
use container_api::volume::{
    ArchiveReply, ArchiveRequest, CreateReply, CreateRequest, DeleteReply, DeleteRequest,
    ListReply, ListRequest, ResizeReply, ResizeRequest, volumes_server,
};
use container_resource::volume::VolumeRequest;
use tonic::{Request, Response, Status};

use super::containers::{json, to_json};
use crate::containers::Containers;

/// The calls about volumes.
#[derive(Debug)]
pub struct Service(pub Arc<Containers>);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl volumes_server::Volumes for Service {
    async fn create(&self, request: Request<CreateRequest>) -> Reply<CreateReply> {
        let request = json("volume", &request.into_inner().request)?;
        let containers = self.0.clone();
        let volume = to_the_end(async move { containers.create_volume(request).await }).await?;
        Ok(Response::new(CreateReply {
            volume: to_json(&volume)?,
        }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Reply<ListReply> {
        let names = request.into_inner().names;
        let volumes = self.0.list_volumes(&names)?;
        Ok(Response::new(ListReply {
            volumes: to_json(&volumes)?,
        }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Reply<DeleteReply> {
        let name = request.into_inner().name;
        let containers = self.0.clone();
        let reclaimed_bytes =
            to_the_end(async move { containers.delete_volume(&name).await }).await?;
        Ok(Response::new(DeleteReply { reclaimed_bytes }))
    }

    async fn archive(&self, request: Request<ArchiveRequest>) -> Reply<ArchiveReply> {
        let ArchiveRequest {
            name,
            words,
            stdio,
            create,
            request,
        } = request.into_inner();
        let create = match (create, request.is_empty()) {
            (false, _) => None,
            (true, true) => Some(VolumeRequest::default()),
            (true, false) => Some(json("volume", &request)?),
        };
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
