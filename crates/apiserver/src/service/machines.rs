//! Calls about machines, translated: what they mean is in `machines/`.

use std::sync::Arc;

use container_api::call::to_the_end;
use container_api::machine::{
    BootReply, BootRequest, CloneReply, CloneRequest, CreateReply, CreateRequest, DeleteReply,
    DeleteRequest, ListReply, ListRequest, ListSnapshotsReply, ListSnapshotsRequest,
    SetDefaultReply, SetDefaultRequest, SetReply, SetRequest, SnapshotReply, SnapshotRequest,
    machines_server,
};
use tonic::{Request, Response, Status};

use super::containers::{json, to_json};
use crate::machines::Machines;

/// The calls about machines.
#[derive(Debug)]
pub struct Service(pub Arc<Machines>);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl machines_server::Machines for Service {
    async fn create(&self, request: Request<CreateRequest>) -> Reply<CreateReply> {
        let request = request.into_inner();
        let configuration = json("machine", &request.configuration)?;
        let machines = self.0.clone();
        let created =
            async move { Box::pin(machines.create(configuration, request.set_default)).await };
        to_the_end(Box::pin(created)).await?;
        Ok(Response::new(CreateReply {}))
    }

    async fn list(&self, _: Request<ListRequest>) -> Reply<ListReply> {
        Ok(Response::new(ListReply {
            machines: to_json(&self.0.list())?,
        }))
    }

    async fn boot(&self, request: Request<BootRequest>) -> Reply<BootReply> {
        let BootRequest { id, ssh_agent } = request.into_inner();
        let machines = self.0.clone();
        let booted = async move { machines.boot(&id, &ssh_agent).await };
        let (machine, warnings) = to_the_end(booted).await?;
        Ok(Response::new(BootReply {
            machine: to_json(&machine)?,
            warnings,
        }))
    }

    async fn set(&self, request: Request<SetRequest>) -> Reply<SetReply> {
        let SetRequest { id, changes } = request.into_inner();
        let changes: Vec<_> = json("changes", &changes)?;
        let machines = self.0.clone();
        let (id, pending) = to_the_end(async move { machines.set(&id, &changes).await }).await?;
        Ok(Response::new(SetReply { id, pending }))
    }

    async fn set_default(&self, request: Request<SetDefaultRequest>) -> Reply<SetDefaultReply> {
        self.0.set_default(&request.into_inner().id)?;
        Ok(Response::new(SetDefaultReply {}))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Reply<DeleteReply> {
        let DeleteRequest { id, force } = request.into_inner();
        let machines = self.0.clone();
        let reclaimed_bytes = to_the_end(async move { machines.delete(&id, force).await }).await?;
        Ok(Response::new(DeleteReply { reclaimed_bytes }))
    }

    async fn clone_machine(&self, request: Request<CloneRequest>) -> Reply<CloneReply> {
        let CloneRequest { id, name, suffix } = request.into_inner();
        let machines = self.0.clone();
        to_the_end(async move { machines.clone_machine(&id, name, &suffix).await }).await?;
        Ok(Response::new(CloneReply {}))
    }

    async fn create_snapshot(&self, request: Request<SnapshotRequest>) -> Reply<SnapshotReply> {
        let SnapshotRequest { id, snapshot } = request.into_inner();
        let machines = self.0.clone();
        to_the_end(async move { machines.create_snapshot(&id, snapshot).await }).await?;
        Ok(Response::new(SnapshotReply {}))
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Reply<ListSnapshotsReply> {
        let snapshots = self.0.snapshots(&request.into_inner().id)?;
        Ok(Response::new(ListSnapshotsReply {
            snapshots: to_json(&snapshots)?,
        }))
    }

    async fn restore_snapshot(&self, request: Request<SnapshotRequest>) -> Reply<SnapshotReply> {
        let SnapshotRequest { id, snapshot } = request.into_inner();
        let machines = self.0.clone();
        to_the_end(async move { machines.restore_snapshot(&id, snapshot).await }).await?;
        Ok(Response::new(SnapshotReply {}))
    }

    async fn delete_snapshot(&self, request: Request<SnapshotRequest>) -> Reply<SnapshotReply> {
        let SnapshotRequest { id, snapshot } = request.into_inner();
        self.0.delete_snapshot(&id, &snapshot)?;
        Ok(Response::new(SnapshotReply {}))
    }
}
